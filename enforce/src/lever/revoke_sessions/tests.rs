//! The lever against IAM in memory.

use super::*;
use crate::iam::evaluate::Verdict;
use crate::lever::iam_bench::*;

fn is_allowed(bench: &Bench, action: &str, issued: &str) -> bool {
    let context: &[(&str, &str)] = if issued.is_empty() { &[] } else { &[("aws:TokenIssueTime", issued)] };
    let session = "arn:aws:sts::111122223333:assumed-role/triage/one";
    matches!(bench.aws.may(session, action, MODEL, context), Verdict::Allowed { .. })
}

fn stop_and_let_go(bench: &Bench) {
    let (lever, subject, before) = (RevokeSessions::new(), role(), bench.aws.snapshot(ROLE));
    let order = order(&subject);
    let image = bench.pull(&lever, &order);
    assert!(lever.pull(&bench.aws, &order).unwrap().requests.is_empty(), "again");
    let time = |offset: i64| Micros(NOW.0 / SECOND * SECOND + offset * SECOND).to_string();
    assert!(!is_allowed(bench, "bedrock:InvokeModel", &time(0)), "issued in the same second");
    assert!(is_allowed(bench, "bedrock:InvokeModel", &time(1)), "taken on anew");
    assert!(is_allowed(bench, "s3:GetObject", &time(-1)) && is_allowed(bench, "bedrock:InvokeModel", ""));
    assert_eq!(bench.lift(&lever, &order, &image).requests.len(), 1);
    assert!(bench.lift(&lever, &order, &image).requests.is_empty(), "again");
    assert_eq!(bench.aws.snapshot(ROLE), before);
}

#[test]
fn it_stops_and_lets_go() {
    stop_and_let_go(&Bench::new());
}

#[test]
fn what_it_says_of_itself() {
    check_about(&RevokeSessions, include_str!("../../../../deploy/iam/lever-revoke-sessions.json"), &[&stop_and_let_go]);
}

#[test]
fn calls_that_fail() {
    survives(&RevokeSessions, &role(), ROLE, &FAULTS);
}

#[test]
fn of_two_orders_the_later_holds() {
    let (bench, lever, subject) = (Bench::new(), RevokeSessions, role());
    let (first, second) = (order(&subject), Order { since: NOW.plus(60 * SECOND), ..order(&subject) });
    bench.pull(&lever, &second);
    assert!(lever.look(&bench.aws, &first).unwrap().stands, "it covers the first");
    assert!(lever.pull(&bench.aws, &first).unwrap().requests.is_empty());
    assert!(lever.lift(&bench.aws, &first, &Value::Null).unwrap().detail.starts_with("a later order"));
    assert!(lever.look(&bench.aws, &second).unwrap().stands);
    bench.lift(&lever, &second, &Value::Null);
    assert_eq!(bench.aws.inline(ROLE, POLICY_NAME), None);
}

#[test]
fn a_policy_that_was_weakened_is_written_anew() {
    let (bench, lever, subject) = (Bench::new(), RevokeSessions, role());
    let order = order(&subject);
    bench.pull(&lever, &order);
    let text = bench.aws.inline(ROLE, POLICY_NAME).unwrap();
    bench.aws.put_inline(ROLE, POLICY_NAME, &text.replace("\"Deny\"", "\"Allow\""));
    assert!(!lever.look(&bench.aws, &order).unwrap().stands);
    bench.pull(&lever, &order);
    assert_eq!(bench.aws.inline(ROLE, POLICY_NAME).unwrap(), text);
}

#[test]
fn whom_it_refuses() {
    let (lever, subject) = (RevokeSessions, role());
    is_unfit(lever.fits(&user()), "roles");
    is_unfit(lever.fits(&Subject::RoleSession { role: ROLE.to_owned(), session: "one".to_owned() }), "name the role");
    let bench = Bench::new();
    bench.aws.put_inline(ROLE, POLICY_NAME, &allow("s3:*"));
    is_unfit(lever.pull(&bench.aws, &order(&subject)), "is not ours");
    bench.aws.delete_inline(ROLE, POLICY_NAME);
    bench.aws.put_inline(ROLE, "large", &allow(&"a".repeat(10_000)));
    let full = lever.pull(&bench.aws, &order(&subject)).unwrap_err();
    assert!(matches!(full, LeverError::Full { .. }), "{full}");
    bench.aws.delete(ROLE);
    let gone = lever.look(&bench.aws, &order(&subject)).unwrap_err();
    assert!(matches!(gone, LeverError::Gone { .. }), "{gone}");
}
