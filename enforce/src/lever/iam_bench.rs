//! What the tests of the levers on roles and users share: an account with a role and a user that use Bedrock.

use std::collections::BTreeSet;

use serde_json::Value;
use sluice_schemas::Micros;

use super::{About, Done, Lever, LeverError, Order, Sight, Subject};
use crate::iam::evaluate::{Policy, Verdict};
use crate::iam::fake::{FakeAws, Fault};

pub(super) const ROLE: &str = "arn:aws:iam::111122223333:role/agents/triage";
pub(super) const USER: &str = "arn:aws:iam::111122223333:user/agents/bot";
pub(super) const DENY: &str = "arn:aws:iam::111122223333:policy/sluice-deny-bedrock";
pub(super) const BOUNDARY: &str = "arn:aws:iam::111122223333:policy/sluice-bedrock-boundary";
pub(super) const GRANT: &str = "arn:aws:iam::111122223333:policy/use-bedrock";
pub(super) const MODEL: &str = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0";
pub(super) const DENY_TEXT: &str = include_str!("../../../deploy/iam/deny-bedrock.json");
pub(super) const BOUNDARY_TEXT: &str = include_str!("../../../deploy/iam/bedrock-boundary.json");

/// The moment of all orders.
pub(super) const NOW: Micros = Micros(1_790_000_000_500_000);

pub(super) struct Bench {
    pub(super) aws: FakeAws,
}

pub(super) fn allow(action: &str) -> String {
    format!(r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "{action}", "Resource": "*"}}}}"#)
}

pub(super) fn role() -> Subject {
    Subject::Role { arn: ROLE.to_owned() }
}

pub(super) fn user() -> Subject {
    Subject::User { arn: USER.to_owned() }
}

pub(super) fn order(subject: &Subject) -> Order<'_> {
    Order { subject, holds: &[], reason: "a test", since: NOW, until: None, now: NOW }
}

impl Bench {
    /// A role and a user with a managed policy that allows Bedrock and an inline one that allows S3.
    pub(super) fn new() -> Self {
        let aws = FakeAws::new();
        aws.put_policy(DENY, DENY_TEXT);
        aws.put_policy(BOUNDARY, BOUNDARY_TEXT);
        aws.put_policy(GRANT, &allow("bedrock:*"));
        for arn in [ROLE, USER] {
            aws.create(arn);
            aws.attach(arn, GRANT);
            aws.put_inline(arn, "files", &allow("s3:*"));
        }
        Self { aws }
    }

    pub(super) fn may(&self, principal: &str, action: &str) -> bool {
        matches!(self.aws.may(principal, action, MODEL, &[]), Verdict::Allowed { .. })
    }

    /// Looks, pulls, and returns what a lift needs; the stop stands afterwards.
    pub(super) fn pull(&self, lever: &dyn Lever, order: &Order<'_>) -> Value {
        let before = lever.look(&self.aws, order).unwrap();
        lever.pull(&self.aws, order).unwrap();
        let after = lever.look(&self.aws, order).unwrap();
        assert!(after.stands, "{after:?}");
        before.image
    }

    pub(super) fn lift(&self, lever: &dyn Lever, order: &Order<'_>, image: &Value) -> Done {
        lever.lift(&self.aws, order, image).unwrap()
    }
}

/// The published policy of a lever, filled in for the account of the tests.
pub(super) fn published(about: &About) -> String {
    let filled = [
        ("${AccountId}", "111122223333"),
        ("${AgentPath}", "agents/"),
        ("${DenyPolicyName}", "sluice-deny-bedrock"),
        ("${BoundaryPolicyName}", "sluice-bedrock-boundary"),
        ("${GrantingPolicyName}", "use-bedrock"),
    ];
    let document = document(about);
    filled.into_iter().fold(document, |text, (name, value)| text.replace(name, value))
}

/// The file of a lever in `deploy/iam`.
pub(super) fn document(about: &About) -> String {
    format!("{{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": {}\n}}\n", about.policy.replace('\n', "\n  "))
}

/// Checks what a lever says of itself: with its published policy and no other permission it does all it does in `paths`, it calls
/// exactly the actions it names, and the policy allows exactly these.
pub(super) fn check_about(lever: &dyn Lever, file: &str, paths: &[&dyn Fn(&Bench)]) {
    let about = lever.about();
    assert_eq!(file, document(&about), "write this into deploy/iam");
    assert_eq!(Policy::read("published", &published(&about)).fault(), None);
    let mut called = BTreeSet::new();
    for path in paths {
        let bench = Bench::new();
        bench.aws.allow_only(&published(&about));
        path(&bench);
        called.extend(bench.aws.actions());
    }
    let named: BTreeSet<&str> = about.grants.iter().copied().collect();
    assert_eq!(called, named);
    let statements: Value = serde_json::from_str(about.policy).unwrap();
    let actions = statements.as_array().unwrap().iter().flat_map(|statement| statement["Action"].as_array().unwrap());
    assert_eq!(actions.map(|action| action.as_str().unwrap()).collect::<BTreeSet<_>>(), named);
}

/// Runs pull and lift again and again while every call meets each fault once, then checks what stands.
pub(super) fn survives(lever: &dyn Lever, subject: &Subject, principal: &str, faults: &[Fault]) {
    for &fault in faults {
        for at in 0..12_usize {
            let bench = Bench::new();
            let before = bench.aws.snapshot(principal);
            let order = order(subject);
            let image = lever.look(&bench.aws, &order).unwrap().image;
            let mut left = at;
            bench.aws.plan(move |_| {
                left = left.wrapping_sub(1);
                (left == usize::MAX).then_some(fault)
            });
            again(|| lever.pull(&bench.aws, &order));
            assert!(again(|| lever.look(&bench.aws, &order)).stands, "{fault:?} {at}");
            again(|| lever.lift(&bench.aws, &order, &image));
            assert_eq!(bench.aws.snapshot(principal), before, "{fault:?} {at}");
        }
    }
}

pub(super) const FAULTS: [Fault; 4] = [Fault::Throttle, Fault::LostRequest, Fault::LostAnswer, Fault::CutAnswer];

/// Calls until it succeeds, as the reconciler does after an error that passes.
pub(super) fn again<T>(call: impl Fn() -> Result<T, LeverError>) -> T {
    for _ in 0..3 {
        match call() {
            Ok(done) => return done,
            Err(error) => assert_eq!(error.class(), sluice_schemas::ErrorClass::Transient, "{error}"),
        }
    }
    panic!("three failures in a row");
}

pub(super) fn is_unfit(result: Result<impl std::fmt::Debug, LeverError>, words: &str) {
    match result {
        Err(LeverError::Unfit { reason, .. }) => assert!(reason.contains(words), "{reason}"),
        other => panic!("{other:?}"),
    }
}

pub(super) fn stands(sight: &Sight) -> (bool, Option<&str>) {
    (sight.stands, sight.ineffective.as_deref())
}
