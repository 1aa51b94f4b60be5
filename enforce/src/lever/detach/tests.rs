//! The lever against IAM in memory.

use super::*;
use crate::iam::fake::Fault;
use crate::lever::iam_bench::*;

const READ_ONLY: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";

fn lever() -> Detach {
    Detach::new(["arn:aws:iam::{account}:policy/use-bedrock"])
}

fn stop_and_let_go(bench: &Bench) {
    bench.aws.put_policy(READ_ONLY, &allow("bedrock:List*"));
    bench.aws.join_group(USER, "bots", Some(READ_ONLY), Some(&allow("bedrock:Get*")));
    for (subject, arn) in [(role(), ROLE), (user(), USER)] {
        bench.aws.attach(arn, READ_ONLY);
        let (lever, order) = (lever(), order(&subject));
        assert_eq!(stands(&lever.look(&bench.aws, &order).unwrap()), (false, None));
        let image = bench.pull(&lever, &order);
        assert_eq!(image, json!({ "detached": [GRANT] }));
        assert_eq!(lever.pull(&bench.aws, &order).unwrap().detail, "nothing was left to detach");
        assert_eq!(bench.aws.attached(arn), [READ_ONLY]);
        assert!(!bench.may(arn, "bedrock:InvokeModel") && bench.may(arn, "s3:GetObject"));
        for _ in 0..2 {
            bench.lift(&lever, &order, &image);
            assert_eq!(bench.aws.attached(arn), [READ_ONLY, GRANT]);
        }
        assert!(bench.may(arn, "bedrock:InvokeModel"));
    }
}

#[test]
fn it_stops_and_lets_go() {
    stop_and_let_go(&Bench::new());
}

#[test]
fn what_it_says_of_itself() {
    check_about(&lever(), include_str!("../../../../deploy/iam/lever-detach.json"), &[&stop_and_let_go]);
}

#[test]
fn calls_that_fail() {
    survives(&lever(), &role(), ROLE, &FAULTS);
    survives(&lever(), &user(), USER, &FAULTS);
}

#[test]
fn what_still_allows_is_named() {
    let (bench, lever, subject) = (Bench::new(), lever(), role());
    let order = order(&subject);
    let words = |bench: &Bench| lever.look(&bench.aws, &order).unwrap().ineffective.unwrap_or_default();
    let other = "arn:aws:iam::111122223333:policy/power";
    bench.aws.put_policy(other, &allow("*"));
    bench.aws.attach(ROLE, other);
    assert!(words(&bench).starts_with(&format!("{other}, statement 1 allows bedrock:InvokeModel")), "told before it is pulled");
    bench.pull(&lever, &order);
    assert!(words(&bench).starts_with(&format!("{other}, statement 1 allows")));
    bench.aws.set_boundary(ROLE, Some(BOUNDARY));
    assert_eq!(words(&bench), "", "a boundary limits it");
    bench.aws.set_boundary(ROLE, None);
    bench.aws.detach(ROLE, other);
    bench.aws.put_inline(ROLE, "more", &allow("bedrock:InvokeModel"));
    assert!(words(&bench).starts_with("inline policy more, statement 1 allows bedrock:InvokeModel on"));
    bench.aws.delete_inline(ROLE, "more");
    bench.aws.join_group(USER, "bots", None, Some(&allow("bedrock:*")));
    let user = user();
    let sight = lever.look(&bench.aws, &crate::lever::iam_bench::order(&user)).unwrap();
    assert!(sight.ineffective.unwrap().starts_with("inline policy inline of group bots"));
}

#[test]
fn edits_by_people_while_it_is_held() {
    let two = Detach::new([GRANT, DENY]);
    let (bench, subject) = (Bench::new(), role());
    let order = order(&subject);
    bench.aws.attach(ROLE, DENY);
    let image = bench.pull(&two, &order);
    assert_eq!(image, json!({ "detached": [GRANT, DENY] }));
    bench.aws.delete_policy(GRANT);
    let done = bench.lift(&two, &order, &image);
    assert_eq!(done.detail, format!("{GRANT} no longer exists, attached {DENY}"));
    for number in 0..9 {
        bench.aws.attach(ROLE, &format!("arn:aws:iam::111122223333:policy/p{number}"));
    }
    bench.aws.put_policy(GRANT, &allow("bedrock:*"));
    let error = two.lift(&bench.aws, &order, &image).unwrap_err();
    assert!(matches!(error, LeverError::Full { .. }), "{error}");
    is_unfit(two.lift(&bench.aws, &order, &Value::Null), "attach them by hand");
    bench.aws.delete(ROLE);
    let lifted = two.lift(&bench.aws, &order, &image).unwrap_err();
    for error in [two.look(&bench.aws, &order).unwrap_err(), two.pull(&bench.aws, &order).unwrap_err(), lifted] {
        assert!(matches!(error, LeverError::Gone { .. }), "{error}");
    }
}

#[test]
fn whom_it_refuses() {
    is_unfit(Detach::new([]).fits(&role()), "no policy is configured");
    is_unfit(lever().fits(&Subject::Target { target: "a".to_owned() }), "roles and users");
    let bench = Bench::new();
    bench.aws.fail_next("iam:DetachRolePolicy", Fault::Refuse(400, "UnmodifiableEntity"));
    is_unfit(lever().pull(&bench.aws, &order(&role())), "service control policy");
}
