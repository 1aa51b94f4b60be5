//! The lever against IAM in memory.

use super::*;
use crate::iam::fake::Fault;
use crate::lever::iam_bench::*;

fn lever() -> DenyPolicy {
    DenyPolicy::new("arn:aws:iam::{account}:policy/sluice-deny-bedrock")
}

fn stop_and_let_go(bench: &Bench) {
    for (subject, arn) in [(role(), ROLE), (user(), USER)] {
        let (lever, order, before) = (lever(), order(&subject), bench.aws.snapshot(arn));
        assert_eq!(stands(&lever.look(&bench.aws, &order).unwrap()), (false, None));
        let image = bench.pull(&lever, &order);
        lever.pull(&bench.aws, &order).unwrap();
        assert_eq!(bench.aws.attached(arn), [GRANT, DENY]);
        assert!(!bench.may(arn, "bedrock:InvokeModel") && bench.may(arn, "bedrock:ListFoundationModels") && bench.may(arn, "s3:GetObject"));
        assert_eq!(bench.lift(&lever, &order, &image).requests.len(), 1);
        assert_eq!(bench.lift(&lever, &order, &image).requests.len(), 0, "again");
        assert!(bench.may(arn, "bedrock:InvokeModel"));
        assert_eq!(bench.aws.snapshot(arn), before);
    }
}

#[test]
fn it_stops_and_lets_go() {
    stop_and_let_go(&Bench::new());
}

#[test]
fn what_it_says_of_itself() {
    check_about(&lever(), include_str!("../../../../deploy/iam/lever-deny-policy.json"), &[&stop_and_let_go]);
}

#[test]
fn its_grant_reaches_no_other_role_and_no_other_policy() {
    let bench = Bench::new();
    let other = "arn:aws:iam::111122223333:role/admin";
    bench.aws.create(other);
    bench.aws.allow_only(&published(&lever().about()));
    let subject = Subject::Role { arn: other.to_owned() };
    let error = lever().pull(&bench.aws, &order(&subject)).unwrap_err();
    assert!(matches!(&error, LeverError::Call(error) if error.is_denied()), "{error}");
    let principal = Principal::parse(ROLE).unwrap();
    assert!(Iam::new(&bench.aws, &principal).attach(GRANT).unwrap_err().is_denied());
    assert!(Iam::new(&bench.aws, &principal).detach(GRANT).unwrap_err().is_denied());
}

#[test]
fn what_stood_before_stays() {
    let bench = Bench::new();
    bench.aws.attach(ROLE, DENY);
    let (lever, subject) = (lever(), role());
    let image = bench.pull(&lever, &order(&subject));
    assert_eq!(bench.lift(&lever, &order(&subject), &image).detail, format!("{DENY} was attached before and stays"));
    assert_eq!(bench.aws.attached(ROLE), [GRANT, DENY]);
}

#[test]
fn calls_that_fail() {
    survives(&lever(), &role(), ROLE, &FAULTS);
    survives(&lever(), &user(), USER, &FAULTS);
}

#[test]
fn edits_by_people() {
    let (bench, lever, subject) = (Bench::new(), lever(), role());
    let order = order(&subject);
    let image = bench.pull(&lever, &order);
    // What the policy says is read again once it may have become another for a minute.
    let later = |minutes| Order { now: order.now.plus(minutes * MINUTE), ..order };
    bench.aws.put_policy(
        DENY,
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "bedrock:InvokeAgent", "Resource": "*"}}"#,
    );
    assert_eq!(lever.look(&bench.aws, &order).unwrap().ineffective, None);
    let sight = lever.look(&bench.aws, &later(1)).unwrap();
    assert!(sight.stands && sight.ineffective.unwrap().contains("bedrock:InvokeModel"));
    let conditional = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "bedrock:*", "Resource": "*",
        "Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}}}"#;
    bench.aws.put_policy(DENY, conditional);
    assert!(lever.look(&bench.aws, &later(2)).unwrap().ineffective.unwrap().contains("aws:SourceVpc is not known"));
    bench.aws.detach(ROLE, DENY);
    assert!(!lever.look(&bench.aws, &later(2)).unwrap().stands);
    is_unfit(lever.pull(&bench.aws, &later(2)), "does not stop Bedrock");
    bench.aws.put_policy(DENY, &allow("s3:*"));
    is_unfit(lever.pull(&bench.aws, &later(3)), "to deny only");
    bench.aws.delete_policy(DENY);
    is_unfit(lever.pull(&bench.aws, &later(4)), "create it from deploy/iam");
    assert!(bench.lift(&lever, &order, &image).requests.is_empty());
    bench.aws.put_policy(DENY, DENY_TEXT);
    bench.aws.delete(ROLE);
    for error in [lever.look(&bench.aws, &order).unwrap_err(), lever.pull(&bench.aws, &order).unwrap_err()] {
        assert!(matches!(error, LeverError::Gone { .. }), "{error}");
    }
}

#[test]
fn whom_it_refuses() {
    let lever = lever();
    let at = |arn: &str| Subject::Role { arn: format!("arn:aws:iam::111122223333:role/{arn}") };
    is_unfit(lever.fits(&at("aws-service-role/lex.amazonaws.com/AWSServiceRoleForLex")), "service-linked");
    is_unfit(lever.fits(&at("aws-reserved/sso.amazonaws.com/AWSReservedSSO_Dev_1")), "permission set");
    is_unfit(lever.fits(&Subject::Role { arn: USER.to_owned() }), "no ARN");
    is_unfit(lever.fits(&Subject::Target { target: "agent_id=a".to_owned() }), "roles and users");
    is_unfit(DenyPolicy::new("arn:aws:iam::999999999999:policy/x").fits(&role()), "{account}");
    assert_eq!(lever.fits(&role()), Ok(()));
    let bench = Bench::new();
    bench.aws.fail_next("iam:AttachRolePolicy", Fault::Refuse(400, "UnmodifiableEntity"));
    is_unfit(lever.pull(&bench.aws, &order(&role())), "service control policy");
    for number in 0..9 {
        let policy = format!("arn:aws:iam::111122223333:policy/p{number}");
        bench.aws.attach(ROLE, &policy);
    }
    let error = lever.pull(&bench.aws, &order(&role())).unwrap_err();
    assert!(matches!(error, LeverError::Full { .. }) && error.falls_back(), "{error}");
}

#[test]
fn a_dry_run_lists_what_it_would_do() {
    let bench = Bench::new();
    let dry = super::super::DryRun::new(&bench.aws);
    lever().pull(&dry, &order(&role())).unwrap();
    assert_eq!(dry.listed().iter().map(|call| call.action).collect::<Vec<_>>(), ["iam:AttachRolePolicy"]);
    assert_eq!(bench.aws.attached(ROLE), [GRANT]);
}
