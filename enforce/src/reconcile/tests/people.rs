//! People who edit what stands, quotas and permissions that come and go, holds that share a lever.

use serde_json::Value;

use super::*;
use crate::iam::fake::Fault;
use crate::reconcile::step::OnManualDetach;

fn deny() -> Pull {
    role(LeverKind::DenyPolicy)
}

#[test]
fn a_stop_that_a_person_took_off_stays_off_until_another_hold() {
    let mut bench = Bench::new();
    let hold = bench.hold("agent_id=a", vec![deny()]);
    bench.settle();
    bench.aws.detach(ROLE, DENY);
    bench.settle();
    assert_eq!((bench.stage(&deny()), bench.told(Happened::TakenOff), bench.has_deny()), (Some(Stage::TakenOff), 1, false));
    let lines = bench.store.audit_trail(0, usize::MAX).expect("a trail").len();
    let calls = bench.aws.calls().len();
    // A failing look is no reason to put it back, and nothing is written or asked while nothing happens.
    bench.aws.plan(|_| Some(Fault::Refuse(403, "AccessDenied")));
    bench.run(2_000, 20);
    bench.aws.calm();
    bench.run(2_000, 20);
    assert!(!bench.has_deny());
    assert_eq!((bench.store.audit_trail(0, usize::MAX).expect("a trail").len(), bench.aws.calls().len()), (lines, calls));
    let second = bench.hold("agent_id=b", vec![deny()]);
    bench.settle();
    assert!(bench.has_deny());
    bench.release(&hold);
    bench.settle();
    assert!(bench.has_deny(), "the second hold keeps it");
    bench.release(&second);
    bench.settle();
    assert_eq!((bench.has_deny(), bench.intents().len()), (false, 0));
}

#[test]
fn a_stop_that_a_person_took_off_is_put_back_where_that_is_wanted() {
    let mut bench = Bench::with(Settings { on_manual_detach: OnManualDetach::Repair, ..settings() }, levers());
    bench.hold("agent_id=a", vec![deny()]);
    bench.settle();
    bench.aws.detach(ROLE, DENY);
    bench.settle();
    assert_eq!((bench.has_deny(), bench.told(Happened::Repaired), bench.told(Happened::TakenOff)), (true, 1, 0));
}

#[test]
fn a_stop_that_may_not_be_looked_at_any_more_stays_as_it_is_noted() {
    let flag = Pull { lever: LeverKind::Boundary, subject: Subject::Role { arn: ROLE.to_owned() } };
    let mut bench = Bench::new();
    let hold = bench.hold("agent_id=a", vec![deny(), flag.clone()]);
    bench.settle();
    bench.aws.plan(|call| (!call.writes).then_some(Fault::Refuse(403, "AccessDenied")));
    bench.run(2_000, 20);
    assert_eq!((bench.stage(&deny()), bench.has_deny(), bench.told(Happened::Failing)), (Some(Stage::Stands), true, 1));
    assert!(bench.intent(&deny()).is_some_and(|intent| intent.trouble.is_some()), "people can read why");
    assert_eq!((bench.told(Happened::Refused), bench.stage(&flag)), (0, None), "nothing stands in for what stands");
    bench.aws.calm();
    bench.settle();
    bench.release(&hold);
    bench.settle();
    assert_eq!((bench.has_deny(), bench.intents().len()), (false, 0));
}

#[test]
fn what_was_lifted_lately_is_not_taken_for_foreign() {
    let mut bench = Bench::new();
    let first = bench.hold("agent_id=a", vec![deny(), role(LeverKind::Boundary)]);
    bench.settle();
    bench.release(&first);
    bench.turn();
    assert_eq!((bench.has_deny(), bench.intents().len()), (false, 0));
    // A copy of IAM that has not heard of the lift yet.
    bench.aws.set_lag(1);
    bench.hold("agent_id=a", vec![deny()]);
    bench.run(8, 2);
    bench.aws.set_lag(0);
    bench.settle();
    assert_eq!((bench.stage(&deny()), bench.has_deny(), bench.told(Happened::Foreign)), (Some(Stage::Stands), true, 0));
}

#[test]
fn what_stood_before_is_never_lifted() {
    let mut bench = Bench::new();
    bench.aws.attach(ROLE, DENY);
    let before = bench.shape();
    let hold = bench.hold("agent_id=a", vec![deny()]);
    bench.settle();
    assert_eq!((bench.stage(&deny()), bench.told(Happened::Foreign), bench.writes()), (Some(Stage::Foreign), 1, 0));
    bench.release(&hold);
    bench.settle();
    assert_eq!((bench.shape(), bench.intents().len(), bench.writes()), (before, 0, 0));
}

#[test]
fn what_a_person_puts_between_plan_and_pull_is_theirs() {
    for lever in [LeverKind::DenyPolicy, LeverKind::Boundary] {
        let mut bench = Bench::new();
        let hold = bench.hold("agent_id=a", vec![role(lever)]);
        // Refused: planned, and nothing changed.
        bench.aws.plan(|call| call.writes.then_some(Fault::Refuse(403, "AccessDenied")));
        bench.turn();
        assert_eq!(bench.stage(&role(lever)), Some(Stage::Refused));
        bench.aws.calm();
        if lever == LeverKind::DenyPolicy {
            bench.aws.attach(ROLE, DENY)
        } else {
            bench.aws.set_boundary(ROLE, Some(LIMIT))
        }
        let theirs = bench.shape();
        bench.run(1_200, 20);
        assert_eq!(bench.stage(&role(lever)), Some(Stage::Foreign));
        bench.release(&hold);
        bench.settle();
        assert_eq!(bench.shape(), theirs, "{lever}");
    }
}

#[test]
fn a_foreign_stop_that_stops_nothing_is_told_and_stays_foreign() {
    let mut bench = Bench::new();
    bench.aws.put_policy(DENY, &allow("logs:*"));
    bench.aws.attach(ROLE, DENY);
    let hold = bench.hold("agent_id=a", vec![deny()]);
    bench.settle();
    bench.aws.put_policy(DENY, include_str!("../../../../deploy/iam/deny-bedrock.json"));
    bench.settle();
    bench.aws.put_policy(DENY, &allow("logs:*"));
    bench.settle();
    assert_eq!((bench.stage(&deny()), bench.told(Happened::Ineffective)), (Some(Stage::Foreign), 1));
    // Once the person takes it away it is ours to put.
    bench.aws.put_policy(DENY, include_str!("../../../../deploy/iam/deny-bedrock.json"));
    bench.aws.detach(ROLE, DENY);
    bench.settle();
    assert_eq!((bench.stage(&deny()), bench.told(Happened::TakenOff)), (Some(Stage::Stands), 0));
    bench.release(&hold);
    bench.settle();
    assert!(!bench.has_deny());
}

#[test]
fn a_detach_gives_back_what_it_took_and_nothing_else() {
    let detach = role(LeverKind::Detach);
    let has = |bench: &Bench, at: usize| bench.aws.attached(ROLE).iter().any(|policy| policy == GRANTS[at]);
    // A person gives one of two back: the other follows at the end of the hold.
    let mut bench = Bench::new();
    let hold = bench.hold("agent_id=a", vec![detach.clone()]);
    bench.settle();
    bench.aws.attach(ROLE, GRANTS[0]);
    bench.settle();
    assert_eq!((bench.stage(&detach), has(&bench, 1)), (Some(Stage::TakenOff), false));
    let second = bench.hold("agent_id=b", vec![detach.clone()]);
    bench.settle();
    assert!(!has(&bench, 0) && !has(&bench, 1));
    bench.release(&hold);
    bench.release(&second);
    bench.settle();
    assert!(has(&bench, 0) && has(&bench, 1));
    assert_eq!(bench.intents().len(), 0);
    // What a person took away before the pull, while it waited, is not given back.
    let mut bench = Bench::new();
    let hold = bench.hold("agent_id=a", vec![detach.clone()]);
    bench.aws.plan(|call| call.writes.then_some(Fault::LostRequest));
    bench.store.set_stopped(true, &crate::store::conformance::sample_line("stop")).expect("stopped");
    bench.turn();
    bench.store.set_stopped(false, &crate::store::conformance::sample_line("go")).expect("goes on");
    bench.aws.calm();
    bench.aws.detach(ROLE, GRANTS[1]);
    bench.settle();
    assert_eq!(bench.stage(&detach), Some(Stage::Stands));
    bench.release(&hold);
    bench.settle();
    assert!(has(&bench, 0) && !has(&bench, 1));
}

#[test]
fn a_role_that_comes_back_is_another() {
    for lever in [LeverKind::DenyPolicy, LeverKind::Detach] {
        let mut bench = Bench::new();
        let hold = bench.hold("agent_id=a", vec![role(lever)]);
        bench.settle();
        bench.aws.delete(ROLE);
        bench.settle();
        assert_eq!((bench.stage(&role(lever)), bench.told(Happened::Gone)), (Some(Stage::Gone), 1));
        bench.aws.create(ROLE);
        let fresh = bench.shape();
        bench.run(60, 5);
        assert_eq!(bench.has_deny(), lever == LeverKind::DenyPolicy, "it is stopped soon");
        bench.release(&hold);
        bench.settle();
        assert_eq!((bench.shape(), bench.intents().len()), (fresh, 0), "{lever}: the new role gets no grant");
    }
}

#[test]
fn the_next_lever_stands_in_until_the_first_stands() {
    let first_fails: [fn(&FakeAws); 2] = [
        |aws| aws.plan(|call| (call.action == "iam:AttachRolePolicy").then_some(Fault::Refuse(403, "AccessDenied"))),
        |aws| {
            for number in aws.attached(ROLE).len()..10 {
                let policy = format!("arn:aws:iam::111122223333:policy/filler-{number}");
                aws.put_policy(&policy, &allow("logs:*"));
                aws.attach(ROLE, &policy);
            }
        },
    ];
    let boundary = role(LeverKind::Boundary);
    for fails in first_fails {
        let mut bench = Bench::new();
        fails(&bench.aws);
        let hold = bench.hold("agent_id=a", vec![deny(), boundary.clone()]);
        bench.settle();
        assert_eq!((bench.stage(&deny()), bench.stage(&boundary)), (Some(Stage::Refused), Some(Stage::Stands)));
        assert_eq!(bench.told(Happened::Refused), 1);
        bench.run(4_000, 50);
        assert_eq!(bench.told(Happened::Refused), 1, "told once");
        bench.aws.calm();
        bench.aws.detach(ROLE, "arn:aws:iam::111122223333:policy/filler-9");
        // At no moment neither stands.
        for _ in 0..400 {
            bench.pass(5);
            bench.turn();
            assert!(bench.is_there(&deny()) || bench.is_there(&boundary));
        }
        assert_eq!((bench.stage(&deny()), bench.stage(&boundary)), (Some(Stage::Stands), None));
        bench.release(&hold);
        bench.settle();
        assert!(!bench.has_deny() && bench.intents().is_empty());
    }
}

#[test]
fn the_first_lever_that_only_fails_for_a_while_does_not_end_its_stand_in() {
    let mut bench = Bench::new();
    let boundary = role(LeverKind::Boundary);
    bench.aws.plan(|call| (call.action == "iam:AttachRolePolicy").then_some(Fault::Refuse(403, "AccessDenied")));
    bench.hold("agent_id=a", vec![deny(), boundary.clone()]);
    bench.settle();
    bench.aws.plan(|call| (call.action == "iam:AttachRolePolicy").then_some(Fault::Throttle));
    bench.run(3_000, 10);
    assert_eq!((bench.stage(&deny()), bench.is_there(&boundary)), (Some(Stage::Planned), true));
    assert_eq!(bench.told(Happened::Failing), 1);
}

#[test]
fn another_boundary_that_a_person_set_is_left_alone() {
    let mut bench = Bench::new();
    let boundary = role(LeverKind::Boundary);
    let hold = bench.hold("agent_id=a", vec![boundary.clone()]);
    bench.settle();
    bench.aws.set_boundary(ROLE, Some(FOREIGN_LIMIT));
    bench.settle();
    assert_eq!(bench.stage(&boundary), Some(Stage::Refused));
    bench.release(&hold);
    bench.settle();
    assert_eq!((bench.aws.boundary(ROLE).as_deref(), bench.intents().len()), (Some(FOREIGN_LIMIT), 0));
}

#[test]
fn a_longer_hold_makes_a_session_deny_last_longer() {
    let mut bench = Bench::new();
    let before = bench.shape();
    let pull = session("run-1");
    let short = bench.hold_until("agent_id=a", vec![pull.clone()], Some(bench.now().plus(3_600 * SECOND)));
    bench.settle();
    let long = bench.hold_until("agent_id=b", vec![pull.clone()], Some(bench.now().plus(7_200 * SECOND)));
    bench.settle();
    let unending = bench.hold("agent_id=c", vec![pull.clone()]);
    bench.settle();
    assert_eq!((bench.stage(&pull), bench.told(Happened::TakenOff)), (Some(Stage::Stands), 0));
    [short, unending, long].iter().for_each(|hold| bench.release(hold));
    bench.settle();
    assert_eq!(bench.shape(), before);
}

#[test]
fn holds_that_share_a_kick_do_not_undo_it() {
    let mut bench = Bench::new();
    let before = bench.shape();
    let pull = role(LeverKind::RevokeSessions);
    let first = bench.hold("agent_id=a", vec![pull.clone()]);
    bench.settle();
    let second = bench.hold("agent_id=b", vec![pull.clone()]);
    bench.settle();
    bench.release(&first);
    bench.settle();
    assert_eq!((bench.stage(&pull), bench.told(Happened::TakenOff), bench.is_there(&pull)), (Some(Stage::Stands), 0, true));
    bench.release(&second);
    bench.settle();
    assert_eq!(bench.shape(), before);
}

#[test]
fn a_hold_that_comes_back_while_it_is_lifted_stands() {
    // The lift is done and looks lag: what is seen is from before it.
    let mut bench = Bench::new();
    let hold = bench.hold("agent_id=a", vec![deny()]);
    bench.settle();
    bench.release(&hold);
    bench.aws.set_lag(50);
    bench.turn();
    assert_eq!((bench.stage(&deny()), bench.has_deny()), (Some(Stage::Lifting), false));
    bench.pass(1);
    bench.hold("agent_id=a", vec![deny()]);
    bench.turn();
    bench.aws.calm();
    bench.settle();
    assert_eq!((bench.has_deny(), bench.told(Happened::TakenOff)), (true, 0));
}

#[test]
fn the_switch_and_the_breaker_stop_pulls_and_never_lifts() {
    let line = crate::store::conformance::sample_line;
    let mut bench = Bench::new();
    let hold = bench.hold("agent_id=a", vec![deny()]);
    bench.settle();
    bench.store.set_stopped(true, &line("stop")).expect("stopped");
    let other = bench.hold("agent_id=b", vec![role(LeverKind::Boundary)]);
    bench.settle();
    assert!(bench.has_deny() && !bench.is_there(&role(LeverKind::Boundary)), "what stands stays, nothing is pulled");
    bench.release(&hold);
    bench.settle();
    assert!(!bench.has_deny());
    bench.store.set_stopped(false, &line("go")).expect("goes on");
    bench.settle();
    assert!(bench.is_there(&role(LeverKind::Boundary)));
    bench.release(&other);
    bench.settle();
    // Stops that people take off again and again.
    for number in 0..3 {
        bench.hold(&format!("agent_id=c{number}"), vec![deny()]);
        bench.settle();
        bench.aws.detach(ROLE, DENY);
        bench.settle();
    }
    assert_eq!(bench.told(Happened::Tripped), 1);
    bench.hold("agent_id=d", vec![deny()]);
    bench.settle();
    assert!(!bench.has_deny());
    assert!(super::super::close(&bench.store, "ann", "looked", bench.now()).expect("closed"));
    bench.settle();
    assert!(bench.has_deny());
    bench.check_trail();
}

#[test]
fn a_trip_and_its_end_are_told_by_every_process_with_one_id() {
    use crate::notice::{BREAKER_JSON_SCHEMA, BreakerNotice, News, Notice};
    let told = |bench: &mut Bench| -> Vec<BreakerNotice> {
        let notice = |change| match change {
            Change::Tripped { tripped, held_back } => BreakerNotice::tripped(&tripped, held_back, "sluice lever close-breaker".to_owned()),
            Change::Closed(closed) => BreakerNotice::closed(&closed),
        };
        std::mem::take(&mut bench.breaker).into_iter().map(notice).collect()
    };
    let mut bench = Bench::new();
    for number in 0..3 {
        bench.hold(&format!("agent_id=c{number}"), vec![deny()]);
        bench.settle();
        bench.aws.detach(ROLE, DENY);
        bench.settle();
    }
    let [trip] = &told(&mut bench)[..] else { panic!("not one trip") };
    assert!(trip.reason.starts_with("people took 3 stops off") && trip.held_back > Some(0), "{trip:?}");
    let waiting = bench.hold("agent_id=d", vec![deny()]);
    bench.settle();
    assert_eq!(told(&mut bench), [], "once");
    // The next process finds it so, and names what is held back by then; whoever tells it knows by the id that it was told.
    bench.restart();
    bench.turn();
    let [again] = &told(&mut bench)[..] else { panic!("not told by the next process") };
    assert_eq!((&again.notice_id, again.at), (&trip.notice_id, trip.at));
    assert!(again.targets.contains(&waiting.id), "{again:?}");

    // Closed while nobody looks, and by whom.
    assert!(super::super::close(&bench.store, "ann", "the roles were renamed", bench.now()).expect("closed"));
    bench.restart();
    bench.settle();
    let [closed] = &told(&mut bench)[..] else { panic!("its end is not told") };
    assert_eq!((closed.actor.as_str(), closed.reason.as_str(), closed.held_back), ("ann", "the roles were renamed", None));
    assert_eq!(closed.trip_id, trip.trip_id);
    assert!(bench.has_deny());
    for notice in [trip, again, closed] {
        let news = News::Breaker(notice.clone());
        assert_eq!(news.notice().resolves(), notice == closed);
        let json: Value = serde_json::from_str(&news.notice().json().expect("json")).expect("json");
        assert_eq!(crate::fire::tests::follows(BREAKER_JSON_SCHEMA, &json), Ok(()), "{json}");
        assert_eq!(Notice::Breaker(notice).kind(), format!("breaker_{}", notice.state.as_str()));
        let stored = serde_json::to_value(&news).expect("json");
        assert_eq!(serde_json::from_value::<News>(stored).expect("news"), news, "as it waits in the store");
    }
    let text = News::Breaker(trip.clone()).notice().text();
    assert!(text.contains("Once you know why: sluice lever close-breaker"), "{text}");
}

#[test]
fn a_clock_that_jumps_leaves_nothing_waiting() {
    let mut bench = Bench::new();
    let before = bench.shape();
    bench.pass(400 * 86_400);
    bench.aws.plan(|call| call.writes.then_some(Fault::Throttle));
    let hold = bench.hold("agent_id=a", vec![deny()]);
    bench.run(600, 10);
    bench.aws.calm();
    bench.pass(-400 * 86_400);
    bench.settle();
    assert!(bench.has_deny(), "{:?}", bench.intents());
    bench.pass(90 * 86_400);
    bench.turn();
    bench.pass(-90 * 86_400);
    bench.settle();
    assert_eq!((bench.stage(&deny()), bench.told(Happened::TakenOff)), (Some(Stage::Stands), 0));
    bench.release(&hold);
    bench.settle();
    assert_eq!((bench.shape(), bench.intents().len()), (before, 0));
}
