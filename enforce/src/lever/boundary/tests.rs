//! The lever against IAM in memory.

use super::*;
use crate::lever::iam_bench::*;

fn lever() -> Boundary {
    Boundary::new("arn:aws:iam::{account}:policy/sluice-bedrock-boundary")
}

fn stop_and_let_go(bench: &Bench) {
    for (subject, arn) in [(role(), ROLE), (user(), USER)] {
        let (lever, order, before) = (lever(), order(&subject), bench.aws.snapshot(arn));
        assert_eq!(stands(&lever.look(&bench.aws, &order).unwrap()), (false, None));
        let image = bench.pull(&lever, &order);
        assert!(lever.pull(&bench.aws, &order).unwrap().requests.is_empty(), "again");
        assert_eq!(bench.aws.boundary(arn).as_deref(), Some(BOUNDARY));
        assert!(!bench.may(arn, "bedrock:InvokeModel") && bench.may(arn, "bedrock:ListFoundationModels") && bench.may(arn, "s3:GetObject"));
        assert!(!bench.may(arn, "ec2:RunInstances"), "it adds nothing");
        assert_eq!(bench.lift(&lever, &order, &image).requests.len(), 1);
        assert_eq!(bench.lift(&lever, &order, &image).requests.len(), 0, "again");
        assert_eq!(bench.aws.snapshot(arn), before);
    }
}

#[test]
fn it_stops_and_lets_go() {
    stop_and_let_go(&Bench::new());
}

#[test]
fn what_it_says_of_itself() {
    check_about(&lever(), include_str!("../../../../deploy/iam/lever-boundary.json"), &[&stop_and_let_go]);
}

#[test]
fn calls_that_fail() {
    survives(&lever(), &role(), ROLE, &FAULTS);
    survives(&lever(), &user(), USER, &FAULTS);
}

#[test]
fn another_boundary_is_left_alone() {
    let (bench, lever, subject) = (Bench::new(), lever(), role());
    let order = order(&subject);
    bench.aws.set_boundary(ROLE, Some(GRANT));
    is_unfit(lever.look(&bench.aws, &order), "left alone");
    is_unfit(lever.pull(&bench.aws, &order), "left alone");
    assert_eq!(bench.lift(&lever, &order, &Value::Null).detail, format!("the boundary {GRANT} is not ours and stays"));
    assert_eq!(bench.aws.boundary(ROLE).as_deref(), Some(GRANT));
    bench.aws.set_boundary(ROLE, Some(BOUNDARY));
    let image = bench.pull(&lever, &order);
    assert_eq!(bench.lift(&lever, &order, &image).detail, format!("{BOUNDARY} was set before and stays"));
}

#[test]
fn a_boundary_that_stops_nothing() {
    let (bench, lever, subject) = (Bench::new(), lever(), role());
    let order = order(&subject);
    bench.pull(&lever, &order);
    bench.aws.put_policy(BOUNDARY, &allow("*"));
    assert!(lever.look(&bench.aws, &order).unwrap().ineffective.is_some());
    bench.aws.set_boundary(ROLE, None);
    is_unfit(lever.pull(&bench.aws, &order), "does not stop Bedrock");
    bench.aws.delete_policy(BOUNDARY);
    is_unfit(lever.pull(&bench.aws, &order), "create it from deploy/iam");
    bench.aws.delete(ROLE);
    for error in [lever.look(&bench.aws, &order).unwrap_err(), lever.pull(&bench.aws, &order).unwrap_err()] {
        assert!(matches!(error, LeverError::Gone { .. }), "{error}");
    }
}
