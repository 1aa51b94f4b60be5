//! A service in memory for tests of levers, and what all of them have in common.

use std::collections::BTreeSet;
use std::sync::Mutex;

use sluice_schemas::{ErrorClass, Micros};

use super::*;
use crate::lever::api_key::ApiKey;
use crate::lever::flag::Flag;
use crate::lever::profile::Profile;
use crate::lever::reject_alias::RejectAlias;
use crate::lever::scp::Scp;
use crate::lever::stop_session::StopSession;
use crate::lever::{DryRun, Lever, Order};

type Serve<T> = Box<dyn Fn(&mut T, &Call, &Value) -> Result<Value, CallError> + Send + Sync>;

/// Answers calls from a state, and lists them. JSON bodies are handed in read; a form is handed in as its text.
pub(crate) struct Fake<T> {
    state: Mutex<T>,
    serve: Serve<T>,
    calls: Mutex<Vec<Call>>,
}

impl<T> Fake<T> {
    pub(crate) fn new(state: T, serve: impl Fn(&mut T, &Call, &Value) -> Result<Value, CallError> + Send + Sync + 'static) -> Self {
        Self { state: Mutex::new(state), serve: Box::new(serve), calls: Mutex::default() }
    }

    pub(crate) fn state<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut self.state.lock().unwrap())
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn writes(&self) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.writes).collect()
    }

    /// Says that what was called is just what the lever says it needs.
    pub(crate) fn check_grants(&self, lever: &dyn Lever) {
        let called: BTreeSet<&str> = self.calls().iter().map(|call| call.action).collect();
        assert_eq!(called, lever.about().grants.iter().copied().collect::<BTreeSet<&str>>());
    }
}

impl<T: Send> Aws for Fake<T> {
    fn call(&self, call: &Call) -> Result<Reply, CallError> {
        self.calls.lock().unwrap().push(call.clone());
        let body = match &call.body {
            Body::None => Value::Null,
            Body::Json(text) => serde_json::from_str(text).unwrap(),
            Body::Form(form) => form.clone().into(),
        };
        let answer = (self.serve)(&mut self.state.lock().unwrap(), call, &body)?;
        let body = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
        Ok(Reply { body: body.into_bytes(), request_id: format!("r{}", self.calls.lock().unwrap().len()) })
    }
}

pub(crate) fn refused(call: &Call, status: u16, code: &str) -> CallError {
    let (code, message) = (code.to_owned(), "no".to_owned());
    CallError::Refused { action: call.action, status, code, message, request_id: String::new() }
}

pub(crate) fn order<'a>(subject: &'a Subject, holds: &'a [String]) -> Order<'a> {
    Order { subject, holds, reason: "budget 'daily' 2026-10-01", since: Micros(5), until: None, now: Micros(9) }
}

fn levers() -> Vec<Box<dyn Lever>> {
    vec![
        Box::new(ApiKey::default()),
        Box::new(Flag::new("flags", "eu-central-1", "")),
        Box::new(Profile),
        Box::new(RejectAlias),
        Box::new(Scp::new("p-deny", "", "us-east-1")),
        Box::new(StopSession),
    ]
}

#[test]
fn each_policy_grants_what_the_lever_says_it_needs() {
    for lever in levers() {
        let about = lever.about();
        let statements: Vec<Value> = serde_json::from_str(about.policy).unwrap_or_else(|error| panic!("{}: {error}", lever.kind()));
        let mut granted = BTreeSet::new();
        for statement in &statements {
            assert_eq!(statement["Effect"], "Allow");
            assert!(statement.get("Resource").is_some(), "{}", lever.kind());
            match &statement["Action"] {
                Value::String(action) => drop(granted.insert(action.clone())),
                Value::Array(actions) => granted.extend(actions.iter().map(|action| action.as_str().unwrap().to_owned())),
                other => panic!("{other}"),
            }
        }
        assert_eq!(granted, about.grants.iter().map(|action| (*action).to_owned()).collect(), "{}", lever.kind());
        assert!(!about.summary.is_empty() && about.cannot.len() > 40, "{}", lever.kind());
    }
}

#[test]
fn each_subject_has_one_lever_of_these() {
    let subjects = [
        Subject::ApiKey { user: "arn:aws:iam::111122223333:user/a".to_owned(), credential: "ACCAEXAMPLE123456789".to_owned() },
        Subject::Target { target: "agent_id=a".to_owned() },
        Subject::Profile { arn: "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2c3d4e5f6".to_owned() },
        Subject::AgentAlias { arn: "arn:aws:bedrock:us-east-1:111122223333:agent-alias/AGENT12345/ALIAS12345".to_owned() },
        Subject::OrganizationTarget { id: "111122223333".to_owned() },
        Subject::RuntimeSession {
            runtime: "arn:aws:bedrock-agentcore:us-east-1:111122223333:runtime/triage-x".to_owned(),
            qualifier: String::new(),
            session: "s".repeat(33),
        },
        Subject::Role { arn: "arn:aws:iam::111122223333:role/a".to_owned() },
    ];
    for (number, subject) in subjects.iter().enumerate() {
        let fits: Vec<usize> = levers().iter().enumerate().filter(|(_, lever)| lever.fits(subject).is_ok()).map(|(at, _)| at).collect();
        assert_eq!(fits, if number < 6 { vec![number] } else { vec![] }, "{subject}");
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let aws = Fake::new((), |(), _, _| Ok(Value::String("{}".to_owned())));
    let dry = DryRun::new(&aws);
    let subject = Subject::OrganizationTarget { id: "ou-ab12-cdefgh34".to_owned() };
    Scp::new("p-deny", "", "us-east-1").pull(&dry, &order(&subject, &["h".to_owned()])).unwrap();
    assert_eq!((aws.calls().len(), dry.listed().len(), dry.listed()[0].action), (0, 1, "organizations:AttachPolicy"));
}

#[test]
fn what_passes_in_a_moment_is_tried_again() {
    for (code, status, class) in [
        ("PolicyChangesInProgressException", 400, ErrorClass::Transient),
        ("RetryableConflictException", 409, ErrorClass::Transient),
        ("ConflictException", 409, ErrorClass::Transient),
        ("TooManyRequestsException", 400, ErrorClass::Transient),
        ("ServiceException", 500, ErrorClass::Transient),
        ("AccessDeniedException", 400, ErrorClass::Misconfigured),
    ] {
        let aws = Fake::new((), move |(), call, _| Err(refused(call, status, code)));
        let call = target("organizations", ("us-east-1", ""), "1.1", "X".to_owned(), &Value::Null);
        assert_eq!(send(&aws, &call).unwrap_err().class(), class, "{code}");
    }
}

#[test]
fn arns_are_taken_apart() {
    assert_eq!(parts("arn:aws:bedrock:us-east-1:111122223333:a/b:c", "bedrock"), Some(("us-east-1", "111122223333", "a/b:c")));
    assert_eq!(parts("arn:aws-us-gov:iam::111122223333:user/x", "iam"), Some(("", "111122223333", "user/x")));
    for bad in
        ["", "arn", "arn:aws:bedrock:us-east-1:x:a", "arn:aws:s3:us-east-1:111122223333:a", "arn:aws:bedrock:us-east-1:111122223333:"]
    {
        assert_eq!(parts(bad, "bedrock"), None, "{bad}");
    }
}
