//! Levers on one role, pulled and lifted in any order while calls fail, reads lag and people edit the role: what is to be stopped is
//! stopped, what is not goes on, and at the end the role is as people left it.

#![cfg(test)]

use proptest::prelude::*;
use serde_json::Value;
use sluice_enforce::aws::{Aws, CallError};
use sluice_enforce::iam::evaluate::Verdict;
use sluice_enforce::iam::fake::{FakeAws, Fault};
use sluice_enforce::lever::boundary::Boundary;
use sluice_enforce::lever::deny_policy::DenyPolicy;
use sluice_enforce::lever::deny_session::DenySession;
use sluice_enforce::lever::detach::Detach;
use sluice_enforce::lever::revoke_sessions::RevokeSessions;
use sluice_enforce::lever::{Lever, LeverError, Order, Sight, Subject};
use sluice_schemas::{ErrorClass, Micros};

const ROLE: &str = "arn:aws:iam::111122223333:role/agents/triage";
const MODEL: &str = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0";
const NOW: Micros = Micros(1_790_000_000_000_000);
const ALLOW: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "bedrock:*", "Resource": "*"}}"#;
const FILES: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}"#;

fn policy(name: &str) -> String {
    format!("arn:aws:iam::111122223333:policy/{name}")
}

/// A lever on a subject, and whom it stops: session and source identity.
struct Hold {
    lever: Box<dyn Lever>,
    subject: Subject,
    stops: fn(&str, &str) -> bool,
    image: Option<Value>,
}

fn holds() -> Vec<Hold> {
    let role = || Subject::Role { arn: ROLE.to_owned() };
    let session = |name: &str| Subject::RoleSession { role: ROLE.to_owned(), session: name.to_owned() };
    let identity = Subject::SourceIdentity { role: ROLE.to_owned(), identity: "alice".to_owned() };
    let hold = |lever: Box<dyn Lever>, subject, stops| Hold { lever, subject, stops, image: None };
    vec![
        hold(Box::new(DenyPolicy::new(&policy("deny"))), role(), |_, _| true),
        hold(Box::new(Detach::new([policy("use").as_str()])), role(), |_, _| true),
        hold(Box::new(Boundary::new(&policy("boundary"))), role(), |_, _| true),
        hold(Box::new(DenySession::new()), session("one"), |session, _| session == "one"),
        hold(Box::new(DenySession::new()), session("two"), |session, _| session == "two"),
        hold(Box::new(DenySession::new()), identity, |_, identity| identity == "alice"),
        // All tokens of the test are older.
        hold(Box::new(RevokeSessions::new()), role(), |_, _| true),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Pull(usize),
    Lift(usize),
    Fault(Fault),
    Lag(usize),
    /// Somebody attaches or detaches a policy of their own.
    Attach,
    Detach,
    /// Somebody writes or deletes an inline policy of their own.
    PutInline,
    DeleteInline,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fault = prop_oneof![Just(Fault::Throttle), Just(Fault::LostRequest), Just(Fault::LostAnswer), Just(Fault::CutAnswer)];
    let step = prop_oneof![
        6 => (0..7_usize).prop_map(Step::Pull),
        5 => (0..7_usize).prop_map(Step::Lift),
        4 => fault.prop_map(Step::Fault),
        2 => (0..5_usize).prop_map(Step::Lag),
        1 => Just(Step::Attach),
        1 => Just(Step::Detach),
        1 => Just(Step::PutInline),
        1 => Just(Step::DeleteInline),
    ];
    proptest::collection::vec(step, 1..25)
}

fn order(subject: &Subject) -> Order<'_> {
    Order { subject, holds: &[], reason: "a test", since: NOW, until: None, now: NOW }
}

/// Calls until it succeeds; only what passes by itself may come in between.
fn again<T>(call: impl Fn() -> Result<T, LeverError>) -> T {
    for _ in 0..30 {
        match call() {
            Ok(done) => return done,
            Err(error) => assert_eq!(error.class(), ErrorClass::Transient, "{error}"),
        }
    }
    panic!("it fails and fails");
}

struct Scene {
    aws: FakeAws,
    holds: Vec<Hold>,
}

impl Scene {
    fn new() -> Self {
        let aws = FakeAws::new();
        aws.create(ROLE);
        for (name, text) in [
            ("deny", include_str!("../../deploy/iam/deny-bedrock.json")),
            ("boundary", include_str!("../../deploy/iam/bedrock-boundary.json")),
            ("use", ALLOW),
            ("files", FILES),
        ] {
            aws.put_policy(&policy(name), text);
        }
        aws.attach(ROLE, &policy("use"));
        Self { aws, holds: holds() }
    }

    fn look(&self, at: usize) -> Sight {
        let hold = &self.holds[at];
        again(|| hold.lever.look(&self.aws, &order(&hold.subject)))
    }

    fn pull(&self, at: usize) {
        let hold = &self.holds[at];
        again(|| hold.lever.pull(&self.aws, &order(&hold.subject)));
    }

    fn lift(&self, at: usize, image: &Value) {
        let hold = &self.holds[at];
        again(|| hold.lever.lift(&self.aws, &order(&hold.subject), image));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Pull(at) => {
                if self.holds[*at].image.is_none() {
                    // What stood before must not be read while an earlier lift still spreads.
                    self.aws.settle();
                    self.holds[*at].image = Some(self.look(*at).image);
                }
                self.pull(*at);
            }
            Step::Lift(at) => {
                if let Some(image) = self.holds[*at].image.take() {
                    self.lift(*at, &image);
                }
            }
            Step::Fault(fault) => self.aws.fail_next("*", *fault),
            Step::Lag(calls) => self.aws.set_lag(*calls),
            Step::Attach if !self.aws.attached(ROLE).contains(&policy("files")) => self.aws.attach(ROLE, &policy("files")),
            Step::Attach => {}
            Step::Detach => self.aws.detach(ROLE, &policy("files")),
            Step::PutInline => self.aws.put_inline(ROLE, "theirs", FILES),
            Step::DeleteInline => self.aws.delete_inline(ROLE, "theirs"),
        }
    }

    /// Looks again and again, as the reconciler does, until everything is as wanted.
    fn converge(&self) {
        for _ in 0..10 {
            let mut is_done = true;
            for at in 0..self.holds.len() {
                self.aws.settle();
                let sight = self.look(at);
                let wanted = self.holds[at].image.is_some();
                match (wanted, sight.stands) {
                    (true, false) => self.pull(at),
                    // Nothing is to be put back but what this lever put: it had found nothing of its own before.
                    (false, true) if at != 1 => self.lift(at, &Value::Null),
                    _ => continue,
                }
                is_done = false;
            }
            if is_done {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn check(&self) {
        for (session, identity) in [("one", "bob"), ("two", "bob"), ("three", "alice"), ("three", "bob")] {
            let is_stopped = self.holds.iter().any(|hold| hold.image.is_some() && (hold.stops)(session, identity));
            let principal = format!("arn:aws:sts::111122223333:assumed-role/triage/{session}");
            let issued = NOW.plus(-3_600_000_000).to_string();
            let context = [("aws:SourceIdentity", identity), ("aws:TokenIssueTime", issued.as_str())];
            let found = self.aws.may(&principal, "bedrock:InvokeModel", MODEL, &context);
            assert_eq!(matches!(found, Verdict::Allowed { .. }), !is_stopped, "{session} {identity}: {found:?}");
            assert!(!matches!(found, Verdict::Unknown { .. }), "{found:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_to_be_stopped_is_stopped_and_nothing_is_left_behind(steps in steps()) {
        let mut scene = Scene::new();
        for step in &steps {
            scene.step(step);
            if matches!(step, Step::Pull(_) | Step::Lift(_)) {
                scene.converge();
                scene.check();
            }
        }
        for at in 0..scene.holds.len() {
            scene.step(&Step::Lift(at));
        }
        scene.converge();
        scene.check();
        let mut attached = scene.aws.attached(ROLE);
        attached.retain(|arn| *arn != policy("files"));
        prop_assert_eq!(attached, [policy("use")]);
        prop_assert_eq!(scene.aws.boundary(ROLE), None);
        let snapshot = scene.aws.snapshot(ROLE);
        prop_assert!(!snapshot.contains("sluice-"), "{}", snapshot);
    }

    #[test]
    fn what_cannot_be_read_does_not_panic(body in ".{0,60}", inner in "[<>/a-zA-Z&;]{0,40}") {
        struct Says(String);
        impl Aws for Says {
            fn call(&self, _: &sluice_enforce::aws::Call) -> Result<sluice_enforce::aws::Reply, CallError> {
                Ok(sluice_enforce::aws::Reply { body: self.0.clone().into_bytes(), request_id: String::new() })
            }
        }
        for text in [body, format!("<R><GetRoleResult><Role>{inner}</Role></GetRoleResult></R>")] {
            for hold in holds() {
                let error = hold.lever.look(&Says(text.clone()), &order(&hold.subject)).map(drop);
                prop_assert!(error.is_err());
            }
        }
    }
}
