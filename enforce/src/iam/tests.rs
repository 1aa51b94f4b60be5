//! Calls and answers, against the service in memory.

use super::evaluate::Verdict;
use super::fake::{FakeAws, Fault};
use super::*;

const ROLE: &str = "arn:aws:iam::111122223333:role/agents/triage";
const USER: &str = "arn:aws:iam::111122223333:user/bot";

fn policy(number: usize) -> String {
    format!("arn:aws:iam::111122223333:policy/p{number}")
}

fn allow(action: &str) -> String {
    format!(r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "{action}", "Resource": "*"}}}}"#)
}

#[test]
fn everything_of_a_role_and_of_a_user_with_groups() {
    let aws = FakeAws::new();
    aws.set_page(2);
    for arn in [ROLE, USER] {
        aws.create(arn);
        for number in 0..5 {
            aws.put_policy(&policy(number), &allow(&format!("s3:Get{number}")));
            aws.attach(arn, &policy(number));
        }
        for name in ["a", "b", "c"] {
            aws.put_inline(arn, name, &allow(&format!("s3:Put{name}")));
        }
        aws.set_boundary(arn, Some(&policy(4)));
    }
    aws.join_group(USER, "bots", Some(&policy(0)), Some(&allow("bedrock:*")));
    let role = Principal::parse(ROLE).unwrap();
    let iam = Iam::new(&aws, &role);
    assert_eq!(iam.attached().unwrap(), (0..5).map(policy).collect::<Vec<_>>());
    assert_eq!(iam.inline_names().unwrap(), ["a", "b", "c"]);
    assert_eq!(iam.inline("b").unwrap(), allow("s3:Putb"));
    let identity = iam.identity().unwrap();
    assert_eq!((identity.arn.as_str(), identity.path.as_str(), identity.description.as_str()), (ROLE, "/agents/", "a <role>"));
    assert!(identity.id.starts_with("AROA") && identity.boundary == Some(policy(4)), "{identity:?}");
    let names = |granted: Granted| granted.identity.iter().map(|policy| policy.name().to_owned()).collect::<Vec<_>>();
    let granted = iam.granted(&[policy(1)]).unwrap();
    assert_eq!(granted.boundary.as_ref().map(|policy| policy.name().to_owned()), Some(policy(4)));
    assert_eq!(names(granted).len(), 4 + 3);
    let user = Principal::parse(USER).unwrap();
    let named = names(Iam::new(&aws, &user).granted(&[]).unwrap());
    assert_eq!(named.len(), 5 + 3 + 2);
    assert!(named.contains(&"inline policy inline of group bots".to_owned()), "{named:?}");
}

#[test]
fn writes_and_their_errors() {
    let aws = FakeAws::new();
    let role = Principal::parse(ROLE).unwrap();
    let iam = Iam::new(&aws, &role);
    assert!(iam.identity().unwrap_err().is_gone());
    aws.create(ROLE);
    aws.put_policy(&policy(1), &allow("s3:*"));
    assert!(iam.detach(&policy(1)).unwrap_err().is_gone());
    assert_eq!(iam.attach(&policy(1)).unwrap(), "request-3");
    iam.attach(&policy(1)).unwrap();
    assert_eq!(aws.attached(ROLE), [policy(1)]);
    iam.put_inline("x", &allow("s3:*")).unwrap();
    iam.delete_inline("x").unwrap();
    assert!(iam.delete_inline("x").unwrap_err().is_gone());
    iam.put_boundary(&policy(1)).unwrap();
    iam.delete_boundary().unwrap();
    assert!(iam.put_boundary(&policy(9)).unwrap_err().is_gone());
    let long = allow(&format!("s3:{}", "a".repeat(ROLE_INLINE_MAX)));
    assert!(iam.put_inline("x", &long).unwrap_err().is_limit());
    for number in 2..11 {
        aws.put_policy(&policy(number), &allow("s3:*"));
        aws.attach(ROLE, &policy(number));
    }
    aws.put_policy(&policy(11), &allow("s3:*"));
    assert!(iam.attach(&policy(11)).unwrap_err().is_limit());
}

#[test]
fn faults_lag_and_grants() {
    let aws = FakeAws::new();
    aws.create(ROLE);
    aws.put_policy(&policy(1), &allow("s3:*"));
    let role = Principal::parse(ROLE).unwrap();
    let iam = Iam::new(&aws, &role);
    aws.fail_next("iam:AttachRolePolicy", Fault::Throttle);
    assert!(iam.attach(&policy(1)).unwrap_err().is_throttling());
    aws.fail_next("*", Fault::LostAnswer);
    assert!(matches!(iam.attach(&policy(1)), Err(CallError::Network { .. })));
    assert_eq!(aws.attached(ROLE), [policy(1)], "it took effect");
    aws.fail_next("*", Fault::LostRequest);
    assert!(iam.detach(&policy(1)).is_err());
    assert_eq!(aws.attached(ROLE), [policy(1)], "it did not");
    aws.fail_next("*", Fault::CutAnswer);
    assert!(matches!(iam.attached(), Err(CallError::Garbled { .. })));
    aws.set_lag(2);
    iam.detach(&policy(1)).unwrap();
    assert_eq!([iam.attached().unwrap().len(), iam.attached().unwrap().len(), iam.attached().unwrap().len()], [1, 1, 0]);
    aws.calm();
    aws.allow_only(&allow("iam:ListAttached*"));
    iam.attached().unwrap();
    assert!(iam.attach(&policy(1)).unwrap_err().is_denied());
}

#[test]
fn what_a_principal_may_do() {
    let aws = FakeAws::new();
    aws.create(ROLE);
    let model = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0";
    let may = |principal: &str| aws.may(principal, "bedrock:InvokeModel", model, &[]);
    assert_eq!(may(ROLE), Verdict::ImplicitDeny { layer: "identity policies" });
    aws.put_inline(ROLE, "use", &allow("bedrock:Invoke*"));
    assert!(matches!(may(ROLE), Verdict::Allowed { .. }));
    let id = Iam::new(&aws, &Principal::parse(ROLE).unwrap()).identity().unwrap().id;
    let deny = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Deny", "Action": "*", "Resource": "*",
            "Condition": {{"StringEquals": {{"aws:userid": "{id}:one"}}}}}}]}}"#
    );
    aws.put_inline(ROLE, "deny", &deny);
    assert!(matches!(may("arn:aws:sts::111122223333:assumed-role/triage/one"), Verdict::ExplicitDeny { .. }));
    assert!(matches!(may("arn:aws:sts::111122223333:assumed-role/triage/two"), Verdict::Allowed { .. }));
    aws.set_service_control(&[&[&allow("s3:*")]]);
    assert_eq!(may("arn:aws:sts::111122223333:assumed-role/triage/two"), Verdict::ImplicitDeny { layer: "service control policies" });
    assert!(matches!(may("arn:aws:iam::111122223333:role/none"), Verdict::Unknown { .. }));
}
