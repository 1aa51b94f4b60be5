//! The lever against IAM in memory.

use sluice_schemas::time::{HOUR, MINUTE};

use super::*;
use crate::lever::iam_bench::*;

const ONE: &str = "arn:aws:sts::111122223333:assumed-role/triage/one@example.com";
const TWO: &str = "arn:aws:sts::111122223333:assumed-role/triage/two";

fn session(name: &str) -> Subject {
    Subject::RoleSession { role: ROLE.to_owned(), session: name.to_owned() }
}

fn identity(name: &str) -> Subject {
    Subject::SourceIdentity { role: ROLE.to_owned(), identity: name.to_owned() }
}

fn is_allowed_as(bench: &Bench, source_identity: &str) -> bool {
    let found = bench.aws.may(TWO, "bedrock:InvokeModel", MODEL, &[("aws:SourceIdentity", source_identity)]);
    matches!(found, crate::iam::evaluate::Verdict::Allowed { .. })
}

fn stop_and_let_go(bench: &Bench) {
    let (lever, before) = (DenySession::new(), bench.aws.snapshot(ROLE));
    let (one, alice) = (session("one@example.com"), identity("alice"));
    let image = bench.pull(&lever, &order(&one));
    assert!(!bench.may(ONE, "bedrock:InvokeModel") && bench.may(ONE, "s3:GetObject") && bench.may(TWO, "bedrock:InvokeModel"));
    bench.pull(&lever, &order(&alice));
    assert!(lever.pull(&bench.aws, &order(&one)).unwrap().requests.is_empty(), "again");
    assert!(!is_allowed_as(bench, "alice") && is_allowed_as(bench, "bob") && !bench.may(ONE, "bedrock:InvokeModel"));
    bench.lift(&lever, &order(&one), &image);
    assert!(bench.may(ONE, "bedrock:InvokeModel") && !is_allowed_as(bench, "alice"));
    assert_eq!(bench.lift(&lever, &order(&alice), &image).requests.len(), 1);
    assert!(bench.lift(&lever, &order(&alice), &image).requests.is_empty(), "again");
    assert_eq!(bench.aws.snapshot(ROLE), before, "nothing is left of our policy");
}

#[test]
fn it_stops_and_lets_go() {
    stop_and_let_go(&Bench::new());
}

#[test]
fn what_it_says_of_itself() {
    check_about(&DenySession, include_str!("../../../../deploy/iam/lever-deny-session.json"), &[&stop_and_let_go]);
}

#[test]
fn calls_that_fail() {
    survives(&DenySession, &session("one"), ROLE, &FAULTS);
}

#[test]
fn what_has_ended_goes_with_the_next_write() {
    let (bench, lever) = (Bench::new(), DenySession);
    let (one, two, three) = (session("one"), session("two"), session("three"));
    let until = |subject, hours: i64| Order { until: Some(NOW.plus(hours * HOUR)), ..order(subject) };
    bench.pull(&lever, &until(&one, 1));
    bench.pull(&lever, &until(&two, 3));
    bench.pull(&lever, &Order { now: NOW.plus(HOUR + MINUTE), ..order(&three) });
    let text = bench.aws.inline(ROLE, POLICY_NAME).unwrap();
    assert!(!text.contains(":one\"") && text.contains(":two\"") && text.contains(":three\""), "{text}");
    // A hold that lasts longer than what is written is written anew.
    assert!(lever.look(&bench.aws, &until(&two, 2)).unwrap().stands);
    assert!(!lever.look(&bench.aws, &until(&two, 4)).unwrap().stands);
    bench.pull(&lever, &until(&two, 4));
}

#[test]
fn a_role_made_anew_begins_empty() {
    let (bench, lever, one, two) = (Bench::new(), DenySession, session("one"), session("two"));
    bench.pull(&lever, &order(&one));
    let text = bench.aws.inline(ROLE, POLICY_NAME).unwrap();
    let id = bench.aws.create(ROLE);
    bench.aws.put_inline(ROLE, POLICY_NAME, &text);
    assert!(!lever.look(&bench.aws, &order(&one)).unwrap().stands, "that was another role's session");
    bench.pull(&lever, &order(&two));
    let text = bench.aws.inline(ROLE, POLICY_NAME).unwrap();
    assert!(text.contains(&format!("{id}:two")) && !text.contains(":one"), "{text}");
}

#[test]
fn a_policy_that_was_weakened_is_written_anew() {
    let (bench, lever, one) = (Bench::new(), DenySession, session("one"));
    bench.pull(&lever, &order(&one));
    let text = bench.aws.inline(ROLE, POLICY_NAME).unwrap();
    for (from, to) in [("\"Deny\"", "\"Allow\""), ("bedrock:Invoke*", "bedrock:InvokeFlow")] {
        bench.aws.put_inline(ROLE, POLICY_NAME, &text.replace(from, to));
        assert!(!lever.look(&bench.aws, &order(&one)).unwrap().stands, "{to}");
        bench.pull(&lever, &order(&one));
        assert_eq!(bench.aws.inline(ROLE, POLICY_NAME).unwrap(), text);
    }
}

#[test]
fn it_fills_the_quota_and_no_more() {
    let (bench, lever) = (Bench::new(), DenySession);
    bench.aws.put_inline(ROLE, "large", &allow(&format!("s3:{}", "a".repeat(3000))));
    let mut denied = 0;
    let full = loop {
        let subject = session(&format!("{denied:064}"));
        match lever.pull(&bench.aws, &order(&subject)) {
            Ok(_) => denied += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&full, LeverError::Full { reason, .. } if reason.contains("10240")) && full.falls_back(), "{full}");
    assert!((50..100).contains(&denied), "{denied}");
    let first = session(&format!("{:064}", 0));
    bench.lift(&lever, &order(&first), &Value::Null);
    bench.pull(&lever, &order(&session(&format!("{denied:064}"))));
    assert!(!lever.look(&bench.aws, &order(&first)).unwrap().stands);
}

#[test]
fn reads_that_are_behind_are_made_good_by_looking_again() {
    let (bench, lever) = (Bench::new(), DenySession);
    bench.aws.set_lag(4);
    let subjects: Vec<Subject> = ["one", "two", "three"].map(session).into();
    for subject in &subjects {
        lever.pull(&bench.aws, &order(subject)).unwrap();
    }
    for _ in 0..6 {
        for subject in &subjects {
            if !lever.look(&bench.aws, &order(subject)).unwrap().stands {
                lever.pull(&bench.aws, &order(subject)).unwrap();
            }
        }
    }
    bench.aws.settle();
    for subject in &subjects {
        assert!(lever.look(&bench.aws, &order(subject)).unwrap().stands, "{subject}");
    }
}

#[test]
fn whom_it_refuses() {
    let lever = DenySession;
    for name in ["a", "${aws:userid}", "*", "a b", "a\"", ""] {
        is_unfit(lever.fits(&session(name)), "no name that AWS gives");
    }
    is_unfit(lever.fits(&role()), "sessions and source identities");
    let reserved = "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Dev_1";
    is_unfit(lever.fits(&Subject::RoleSession { role: reserved.to_owned(), session: "ab".to_owned() }), "permission set");
    let (bench, subject) = (Bench::new(), session("one"));
    bench.aws.put_inline(ROLE, POLICY_NAME, "{}");
    is_unfit(lever.pull(&bench.aws, &order(&subject)), "is not ours");
    bench.aws.delete(ROLE);
    let gone = lever.pull(&bench.aws, &order(&subject)).unwrap_err();
    assert!(matches!(gone, LeverError::Gone { .. }), "{gone}");
}
