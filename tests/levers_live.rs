//! Levers against an emulator of IAM that checks signatures and policies: `tests/live/servers/moto.sh` starts it.
//!
//! It judges actions alone: it takes every condition for true and every resource for `*`, and knows no boundaries. So what a session,
//! an older token or a boundary is denied is judged elsewhere, by the evaluator; here it is written, read back and taken away.

#![cfg(test)]

#[path = "../src/enforcement/aws.rs"]
mod caller;
#[path = "live/servers.rs"]
mod servers;

use std::sync::Arc;

use caller::{Caller, CallerSettings};
use servers::Server;
use sluice_enforce::aws::{Aws, Body, Call, CallError, Method};
use sluice_enforce::iam::{Iam, Principal, wire};
use sluice_enforce::lever::boundary::Boundary;
use sluice_enforce::lever::deny_policy::DenyPolicy;
use sluice_enforce::lever::deny_session::{self, DenySession};
use sluice_enforce::lever::detach::Detach;
use sluice_enforce::lever::revoke_sessions::{self, RevokeSessions};
use sluice_enforce::lever::{Lever, LeverError, Order, Subject};
use sluice_enforce::proof::{Proof, Verdict, question, to_sign, verdict};
use sluice_ingest::aws::{AwsSettings, load};
use sluice_ingest::signed::SdkConfig;
use sluice_schemas::{Clock, Micros, SystemClock};

/// The emulator makes an account of every one that is named in the ARN of a role.
const ACCOUNT: &str = "111122223333";
const DENY: &str = include_str!("../deploy/iam/deny-bedrock.json");
const BOUNDARY: &str = include_str!("../deploy/iam/bedrock-boundary.json");
const USE: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["bedrock:*"], "Resource": "*"}]}"#;
const TRUST: &str =
    r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}"#;

fn sdk(server: &Server) -> SdkConfig {
    let settings = AwsSettings { region: Some("us-east-1".to_owned()), endpoint: Some(server.url.clone()), profile: None };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(load(&settings)).unwrap()
}

fn policy(name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:policy/{name}")
}

/// An account with policies and the roles of the enforcer and of an agent.
struct Account {
    server: Server,
    enforcer: Caller,
    agent: Caller,
    role: String,
}

impl Account {
    fn caller(server: &Server, role: &str) -> Caller {
        let settings = CallerSettings { role: Some(format!("arn:aws:iam::{{account}}:role/{role}")), ..CallerSettings::default() };
        Caller::new(sdk(server), settings, Arc::new(SystemClock))
    }

    fn new() -> Option<Self> {
        let server = servers::start("moto.sh")?;
        let setup = Self::caller(&server, "setup");
        let create = |action: &'static str, fields: &[(&str, &str)]| iam(&setup, action, fields).unwrap();
        for (name, text) in [("sluice-deny-bedrock", DENY), ("sluice-bedrock-boundary", BOUNDARY), ("use-bedrock", USE)] {
            create("iam:CreatePolicy", &[("PolicyName", name), ("PolicyDocument", text)]);
        }
        create("iam:CreateRole", &[("RoleName", "sluice-enforcer"), ("AssumeRolePolicyDocument", TRUST)]);
        let grants: Vec<&str> = levers().iter().flat_map(|lever| lever.about().grants).copied().collect();
        let grants = serde_json::json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": grants, "Resource": "*"}]});
        create("iam:PutRolePolicy", &[("RoleName", "sluice-enforcer"), ("PolicyName", "levers"), ("PolicyDocument", &grants.to_string())]);
        create("iam:CreateRole", &[("RoleName", "triage"), ("Path", "/agents/"), ("AssumeRolePolicyDocument", TRUST)]);
        create("iam:AttachRolePolicy", &[("RoleName", "triage"), ("PolicyArn", &policy("use-bedrock"))]);
        let (enforcer, agent) = (Self::caller(&server, "sluice-enforcer"), Self::caller(&server, "agents/triage"));
        let account = Self { server, enforcer, agent, role: format!("arn:aws:iam::{ACCOUNT}:role/agents/triage") };
        // Tokens are had before the emulator begins to ask who calls.
        iam(&account.enforcer, "iam:GetRole", &[("RoleName", "triage")]).unwrap();
        assert_eq!(account.invoke(), Ok(()));
        account.ask_who_calls(true);
        Some(account)
    }

    /// From here on every call needs a signature and a permission, or none does.
    fn ask_who_calls(&self, does: bool) {
        let url = format!("{}/moto-api/reset-auth", self.server.url);
        ureq::post(&url).header("content-type", "text/plain").send(if does { "0" } else { "inf" }).unwrap();
    }

    /// Calls a model as the agent does.
    fn invoke(&self) -> Result<(), String> {
        let call = Call {
            account: ACCOUNT.to_owned(),
            host: "bedrock-runtime",
            service: "bedrock",
            region: "us-east-1".to_owned(),
            global: false,
            method: Method::Post,
            path: "/model/nova/invoke".to_owned(),
            // The emulator fails where any kind of answer will do.
            headers: vec![("accept", "application/json".to_owned())],
            body: Body::Json("{}".to_owned()),
            action: "bedrock:InvokeModel",
            writes: false,
        };
        match self.agent.call(&call) {
            Ok(_) => Ok(()),
            Err(error) if error.is_denied() => Err("denied".to_owned()),
            Err(error) => panic!("{error}"),
        }
    }

    fn attached(&self) -> Vec<String> {
        Iam::new(&self.enforcer, &Principal::parse(&self.role).unwrap()).attached().unwrap()
    }
}

fn iam(aws: &Caller, action: &'static str, fields: &[(&str, &str)]) -> Result<(), CallError> {
    let call = Call {
        account: ACCOUNT.to_owned(),
        host: "iam",
        service: "iam",
        region: "us-east-1".to_owned(),
        global: true,
        method: Method::Post,
        path: "/".to_owned(),
        headers: Vec::new(),
        body: Body::Form(wire::form(action.trim_start_matches("iam:"), "2010-05-08", fields)),
        action,
        writes: true,
    };
    aws.call(&call).map(drop)
}

fn levers() -> [Box<dyn Lever>; 5] {
    [
        Box::new(DenyPolicy::new("arn:aws:iam::{account}:policy/sluice-deny-bedrock")),
        Box::new(Detach::new(["arn:aws:iam::{account}:policy/use-bedrock"])),
        Box::new(Boundary::new("arn:aws:iam::{account}:policy/sluice-bedrock-boundary")),
        Box::new(DenySession::new()),
        Box::new(RevokeSessions::new()),
    ]
}

fn order(subject: &Subject) -> Order<'_> {
    let now = SystemClock.now();
    Order { subject, holds: &[], reason: "a test", since: Micros(now.0), until: None, now }
}

#[test]
fn a_call_is_denied_and_allowed_again() {
    let Some(account) = Account::new() else { return };
    assert_eq!(account.invoke(), Ok(()));
    let (role, session) = (account.role.clone(), "sluice-enforcer".to_owned());
    let role_subject = Subject::Role { arn: role.clone() };
    let session_subject = Subject::RoleSession { role, session };
    let [deny, detach, _, deny_session, revoke] = levers();
    let inline = |name: &str| Iam::new(&account.enforcer, &Principal::parse(&account.role).unwrap()).inline(name);
    for (lever, subject, ours) in [
        (deny, &role_subject, None),
        (detach, &role_subject, None),
        (deny_session, &session_subject, Some(deny_session::POLICY_NAME)),
        (revoke, &role_subject, Some(revoke_sessions::POLICY_NAME)),
    ] {
        let (kind, order) = (lever.kind(), order(subject));
        let before = lever.look(&account.enforcer, &order).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert!(!before.stands, "{kind}");
        let done = lever.pull(&account.enforcer, &order).unwrap();
        assert!(done.requests.len() == 1 && !done.requests[0].is_empty(), "{kind}: {done:?}");
        let sight = lever.look(&account.enforcer, &order).unwrap();
        assert!(sight.stands && sight.ineffective.is_none(), "{kind}: {sight:?}");
        assert_eq!(account.invoke(), Err("denied".to_owned()), "{kind}");
        lever.pull(&account.enforcer, &order).unwrap();
        lever.lift(&account.enforcer, &order, &before.image).unwrap();
        lever.lift(&account.enforcer, &order, &before.image).unwrap();
        assert_eq!(account.invoke(), Ok(()), "{kind}");
        assert_eq!(account.attached(), [policy("use-bedrock")], "{kind}");
        assert!(ours.is_none_or(|name| inline(name).unwrap_err().is_gone()), "{kind}");
    }
}

#[test]
fn a_boundary_is_set_and_taken_away() {
    let Some(account) = Account::new() else { return };
    let (lever, subject) = (&levers()[2], Subject::Role { arn: account.role.clone() });
    let order = order(&subject);
    let before = lever.look(&account.enforcer, &order).unwrap();
    lever.pull(&account.enforcer, &order).unwrap();
    let sight = lever.look(&account.enforcer, &order).unwrap();
    assert!(sight.stands && sight.ineffective.is_none(), "{sight:?}");
    lever.lift(&account.enforcer, &order, &before.image).unwrap();
    assert_eq!(lever.look(&account.enforcer, &order).unwrap(), before);
}

#[test]
fn what_goes_wrong_says_so() {
    let Some(account) = Account::new() else { return };
    let gone = Subject::Role { arn: format!("arn:aws:iam::{ACCOUNT}:role/agents/none") };
    for lever in [&levers()[0], &levers()[1], &levers()[2], &levers()[4]] {
        let error = lever.look(&account.enforcer, &order(&gone)).unwrap_err();
        assert!(matches!(error, LeverError::Gone { .. }), "{}: {error}", lever.kind());
    }
    // The agent may use Bedrock and nothing else.
    let subject = Subject::Role { arn: account.role.clone() };
    let error = levers()[0].look(&account.agent, &order(&subject)).unwrap_err();
    assert!(matches!(&error, LeverError::Call(error) if error.is_denied()), "{error}");
    account.ask_who_calls(false);
    let homeless = Caller::new(sdk(&account.server), CallerSettings::default(), Arc::new(SystemClock));
    let error = levers()[0].look(&homeless, &order(&subject)).unwrap_err();
    assert!(error.to_string().contains("no role is configured"), "{error}");
}

#[test]
fn sts_says_who_signed_for_an_order() {
    let Some(server) = servers::start("moto.sh") else { return };
    let of = |role: Option<&str>| {
        let own_role = role.map(|role| format!("arn:aws:iam::{ACCOUNT}:role/{role}"));
        Caller::new(sdk(&server), CallerSettings { own_role, ..CallerSettings::default() }, Arc::new(SystemClock))
    };
    let (giver, ledger) = (of(Some("operator")), of(None));
    let region = giver.region().unwrap().to_owned();
    let binding = "0f".repeat(32);
    let proof = Proof::of_headers(&giver.sign(&question(&region, to_sign(&binding))).unwrap()).unwrap();
    assert!(
        proof.token.is_some()
            && proof.authorization.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-sluice-order")
    );
    let mut order = sluice_enforce::store::Command {
        id: "a".to_owned(),
        actor: "anyone".to_owned(),
        at: Micros(0),
        verb: "pause".to_owned(),
        arguments: [("proof".to_owned(), serde_json::to_string(&proof).unwrap())].into(),
        outcome: None,
    };
    assert_eq!(order.proof(&region, SystemClock.now()).as_ref(), Ok(&proof));
    order.arguments.clear();
    assert!(order.proof(&region, SystemClock.now()).is_err());
    // The ledger's own credentials are of somebody else: what it sends on is the giver's word alone.
    let Verdict::Proven(arn) = verdict(ledger.forward(&question(&region, proof.headers(&binding)))) else { panic!("not proven") };
    assert!(arn.starts_with(&format!("arn:aws:sts::{ACCOUNT}:assumed-role/operator/")), "{arn}");
}
