//! Holds are put with caution, and end with their reason.

use std::sync::Arc;

use proptest::prelude::*;
use sluice_schemas::time::HOUR;
use tempfile::TempDir;

use super::*;
use crate::fire::{Crossing, HoldTerms};
use crate::guard::Obstacle;
use crate::guard::Protected;
use crate::lever::Subject;
use crate::overrides::{self, Grant, Override};
use crate::reconcile::want::Pull;
use crate::store::conformance::sample_crossing;
use crate::store::{FileStore, ReceiptState, SharedStore};
use crate::test_support::{Spend, apply, budgets, ledger};

/// 2026-10-01T00:00Z in minutes.
const OCTOBER: i64 = 1_790_812_800 / 60;
const MINUTE: i64 = 60_000_000;

fn decided(policy: &HoldPolicy, crossing: &Crossing, holds: &[Hold]) -> Decided {
    decide_hold((policy, &Protected::default()), crossing, holds, &Switches::default(), Scope::default())
}

/// The hold, whether it is in force or waits; else why there is none.
fn put(policy: &HoldPolicy, crossing: &Crossing, holds: &[Hold]) -> Result<Hold, String> {
    let decided = decided(policy, crossing, holds);
    decided.hold.map(|hold| *hold).ok_or(decided.detail)
}

fn approval(actor: &str) -> Approval<'_> {
    Approval { actor, reason: "looked at it", until: None }
}

fn changes(ledger: &crate::Ledger, holds: &[Hold], overrides: &Overrides, now: Micros) -> Vec<HoldChange> {
    reconcile_holds(&ledger.status(now), &ledger.overview(), holds, overrides, now)
}

/// Targets of the holds in force.
fn in_force(store: &FileStore) -> Vec<String> {
    store.holds().expect("holds").into_iter().filter(Hold::is_in_force).map(|hold| hold.target).collect()
}

fn store() -> (TempDir, FileStore) {
    let folder = TempDir::new().expect("a folder");
    let store = FileStore::open(&folder.path().join("s.redb")).expect("a store");
    (folder, store)
}

#[test]
fn protected_targets_are_never_held() {
    let crossing = sample_crossing("f", "agent_id=ci-runner,role=Admin");
    let decide = |pattern: &str| {
        let protected = Protected { own: Vec::new(), patterns: vec![pattern.to_owned()] };
        decide_hold((&HoldPolicy::default(), &protected), &crossing, &[], &Switches::default(), Scope::default())
    };
    for pattern in ["agent_id=ci-runner,role=Admin", "agent_id=ci-*", "ci-runner", "Adm*", "role=Admin", "*"] {
        let refused = decide(pattern);
        assert_eq!((refused.hold, refused.detail), (None, format!("the target is protected by '{pattern}'")));
    }
    for pattern in ["ci", "agent_id=ci", "admin", "agent_id", ""] {
        assert!(decide(pattern).hold.is_some(), "{pattern}");
    }
}

#[test]
fn holds_beyond_the_caps_wait_for_a_person() {
    let policy = HoldPolicy { most_per_hour: 6, most_per_minute: 5, most_percent: 4, ..HoldPolicy::default() };
    let mut holds: Vec<Hold> = Vec::new();
    for (number, expected) in [(0, true), (1, true), (2, true), (3, true), (4, false)] {
        // Four percent of a hundred targets.
        let hold = put(&policy, &sample_crossing(&number.to_string(), "agent_id=a"), &holds).expect("put");
        assert_eq!(hold.is_in_force(), expected, "{hold:?}");
        holds.push(hold);
    }
    let waiting = |crossing: &Crossing, holds: &[Hold]| decided(&policy, crossing, holds);
    let surplus = waiting(&sample_crossing("x", "agent_id=b"), &holds);
    assert_eq!(
        (surplus.state, surplus.detail.as_str()),
        (ReceiptState::AwaitsApproval, "the largest share of the budget's targets is held")
    );
    // Released holds free their share, but still count for the minute and the hour.
    holds.iter_mut().for_each(|hold| hold.state = HoldState::Released);
    assert_eq!(waiting(&sample_crossing("x", "agent_id=b"), &holds).detail, "the most holds within a minute are reached");
    holds.push(Hold { id: "5".to_owned(), ..holds[0].clone() });
    let mut later = sample_crossing("x", "agent_id=b");
    later.breach.detected_at = Micros(later.breach.detected_at.0 + HOUR / 2);
    assert_eq!(waiting(&later, &holds).detail, "the most holds within an hour are reached");
    later.breach.detected_at = Micros(later.breach.detected_at.0 + HOUR / 2);
    assert_eq!(waiting(&later, &holds).state, ReceiptState::Done);
    let stopped = Switches { stopped: true, ..Switches::default() };
    let told = decide_hold((&policy, &Protected::default()), &later, &[], &stopped, Scope::default());
    assert_eq!((told.hold, told.detail.as_str()), (None, "the kill switch is thrown"));
    let tripped = Switches { tripped: Some("ten failures".to_owned()), ..Switches::default() };
    assert_eq!(
        decide_hold((&policy, &Protected::default()), &later, &[], &tripped, Scope::default()).detail,
        "the breaker has tripped: ten failures"
    );
}

#[test]
fn a_hold_that_would_hit_others_flags_and_waits() {
    let pull = |lever, subject| Pull { lever, subject };
    let role = pull(LeverKind::DenyPolicy, Subject::Role { arn: "arn:aws:iam::1:role/Shared".to_owned() });
    let flag = pull(LeverKind::Flag, Subject::Target { target: "agent_id=a".to_owned() });
    let obstacle = |approvable| Some(Obstacle { reason: "others".to_owned(), advice: "a role of its own".to_owned(), approvable });
    let grips = vec![Grip { chain: vec![role.clone(), flag.clone()] }];
    let scope = Scope { grips: grips.clone(), preview: Vec::new(), obstacle: obstacle(true) };
    let crossing = sample_crossing("f", "agent_id=a");
    let decide = |scope: Scope| decide_hold((&HoldPolicy::default(), &Protected::default()), &crossing, &[], &Switches::default(), scope);
    let waits = decide(scope.clone());
    let hold = waits.hold.expect("put");
    assert_eq!((hold.state, waits.detail.as_str()), (HoldState::PendingApproval, "others; a role of its own"));
    assert_eq!(hold.pulls(), [Grip { chain: vec![flag.clone()] }]);
    let (_folder, store) = store();
    store.put_hold(&hold, &crate::store::conformance::sample_line("hold")).expect("put");
    let Ok(Approved::Hold(approved)) = approve(&store, &budgets(""), "f", &approval("ann"), Micros(5)) else { panic!("not approved") };
    assert_eq!(approved.pulls(), grips);
    // What no person may approve either flags at once and says why.
    let only_flag = Scope { grips: vec![Grip { chain: vec![flag] }], obstacle: obstacle(false), ..scope };
    let degraded = decide(only_flag);
    assert_eq!(degraded.state, ReceiptState::Degraded);
    assert!(degraded.hold.is_some_and(|hold| hold.is_in_force() && hold.note.is_some()));
}

#[test]
fn waiting_ends_when_nobody_says_a_word() {
    let (ledger, hold) = held(DAILY);
    let by = Micros((OCTOBER + 60) * MINUTE);
    let waiting = Hold { state: HoldState::PendingApproval, approve_by: Some(by), ..hold };
    assert_eq!(reconciled(&ledger, &waiting, OCTOBER + 59), None);
    assert_eq!(reconciled(&ledger, &waiting, OCTOBER + 60), Some(Change::Release { reason: NOBODY_APPROVED }));
    let (_folder, store) = store();
    store.put_hold(&waiting, &crate::store::conformance::sample_line("hold")).expect("put");
    // A word that comes too late is none, even before anybody has looked.
    let none = budgets("");
    assert!(matches!(approve(&store, &none, &waiting.id, &approval("ann"), by), Err(HoldError::Over { at, .. }) if at == by));
    let change = HoldChange { id: waiting.id.clone(), change: Change::Release { reason: NOBODY_APPROVED } };
    let ended = apply_change(&store, &change, by).expect("ended");
    // It must not come into force because nobody said no.
    assert_eq!(reconciled(&ledger, &ended, OCTOBER + 61), None);
    // One that ended for another reason waits again.
    let fell = Hold {
        released: Some(Released { reason: "spend was taken back".to_owned(), ..ended.released.clone().expect("released") }),
        ..ended
    };
    assert_eq!(reconciled(&ledger, &fell, OCTOBER + 61), Some(Change::Reopen));
    let change = HoldChange { id: fell.id.clone(), change: Change::Reopen };
    assert_eq!(apply_change(&store, &change, by.plus(MINUTE)).expect("reopened").state, HoldState::PendingApproval);
}

#[test]
fn exceptions_release_a_hold_and_end() {
    let (_folder, store) = store();
    let (ledger, hold) = held(DAILY);
    let minute = |minute: i64| Micros((OCTOBER + minute) * MINUTE);
    let given = |grant: Grant, until: i64| Override {
        id: String::new(),
        budget: "daily".to_owned(),
        target: Some("agent_id=a".to_owned()),
        grant,
        since: minute(0),
        until: minute(until),
        actor: "ann".to_owned(),
        reason: "month end".to_owned(),
    };
    let exempt = overrides::grant(&store, given(Grant::Exempt, 60), minute(0)).expect("granted");
    assert_eq!(overrides::grant(&store, given(Grant::Exempt, 60), minute(0)).expect("granted"), exempt, "said twice is said once");
    let known = Overrides::read(&store).expect("read");
    let released = &changes(&ledger, std::slice::from_ref(&hold), &known, minute(1))[0];
    assert_eq!(released.change, Change::Release { reason: "a person exempted it" });
    let ended = Hold {
        state: HoldState::Released,
        released: Some(Released { at: minute(1), actor: "sluice".to_owned(), reason: String::new() }),
        ..hold.clone()
    };
    assert_eq!(changes(&ledger, std::slice::from_ref(&ended), &known, minute(59)), []);
    assert_eq!(changes(&ledger, std::slice::from_ref(&ended), &known, minute(60))[0].change, Change::Reopen);
    overrides::revoke(&store, &exempt.id, "bob", "enough", minute(2)).expect("revoked");
    // Two dollars were spent of one; another one and a cent make room, another one does not.
    for (cents, spared) in [(100, false), (101, true)] {
        let amount = PicoUsd(PicoUsd::from_dollars(cents).0 / 100);
        let extra = Overrides::of(vec![given(Grant::Extra { amount }, 60)]);
        assert_eq!(!changes(&ledger, std::slice::from_ref(&hold), &extra, minute(1)).is_empty(), spared, "{cents}");
    }
    // A crossing within an exception leaves a hold that comes back by itself.
    let mut crossing = sample_crossing("f", "agent_id=a");
    crossing.breach.detected_at = minute(3);
    let switches = Switches { overrides: Overrides::of(vec![given(Grant::Exempt, 60)]), ..Switches::default() };
    let spared = decide_hold((&HoldPolicy::default(), &Protected::default()), &crossing, &[], &switches, Scope::default());
    assert!(spared.hold.is_some_and(|hold| hold.state == HoldState::Released && hold.released.is_some_and(|by| by.actor == "sluice")));
    assert!(spared.detail.starts_with("exempted by ann until"), "{}", spared.detail);
}

#[test]
fn one_target_alone_can_be_held() {
    let mut crossing = sample_crossing("f", "*");
    crossing.hold = Some(HoldTerms { approval: true, until: None, live_targets: 1, hold_at: None, why: None });
    let hold = put(&HoldPolicy::default(), &crossing, &[]).expect("put");
    assert_eq!((hold.state, hold.mode, hold.is_in_force()), (HoldState::PendingApproval, Mode::Enforce, false));
}

#[test]
fn people_have_the_last_word() {
    let (_folder, store) = store();
    let now = Micros(1_000);
    let budgets = budgets("[[budget]]\nname = \"new\"\nlimit = \"1 USD\"\nwindow = \"day\"");
    let paused = pause(&store, "agent_id=a", "ann", "looks wrong", None, Scope::default(), now).expect("paused");
    assert_eq!(pause(&store, "agent_id=a", "bob", "me too", None, Scope::default(), now.plus(5)).expect("paused"), paused);
    let mut waiting = sample_crossing("f", "agent_id=a");
    waiting.hold = Some(HoldTerms { approval: true, until: None, live_targets: 9, hold_at: None, why: None });
    let waiting = put(&HoldPolicy::default(), &waiting, &[]).expect("put");
    let audit = store.audit_trail(0, 1).expect("trail")[0].1.clone();
    store.put_hold(&waiting, &audit).expect("put");
    assert_eq!(in_force(&store), ["agent_id=a"]);

    let Ok(Approved::Hold(approved)) = approve(&store, &budgets, "f", &approval("ann"), now) else { panic!("not approved") };
    assert_eq!((approved.state, approved.approved_by.as_deref()), (HoldState::Active, Some("ann")));
    assert!(matches!(approve(&store, &budgets, "f", &approval("ann"), now), Err(HoldError::State { .. })));
    assert_eq!(resume(&store, "agent_id=a", "ann", "fine", now).expect("resumed").len(), 1);
    // The hold for the breach still stands.
    assert_eq!(in_force(&store), ["agent_id=a"]);
    let released = release(&store, "f", "ann", "agreed", now).expect("released");
    assert_eq!(released.released.map(|released| released.reason).as_deref(), Some("agreed"));
    assert!(matches!(release(&store, "f", "ann", "again", now), Err(HoldError::State { .. })));
    assert!(matches!(release(&store, "nope", "ann", "", now), Err(HoldError::Unknown { .. })));
    assert!(in_force(&store).is_empty());
    // A second pause is a new hold.
    assert_ne!(pause(&store, "agent_id=a", "ann", "again", None, Scope::default(), now.plus(9)).expect("paused").id, paused.id);

    let Ok(Approved::Budget(confirmation)) = approve(&store, &budgets, "new", &approval("ann"), now) else { panic!("not approved") };
    assert_eq!(Some(confirmation.digest), budgets.get("new").map(|budget| budget.digest()));
    assert!(matches!(approve(&store, &budgets, "old", &approval("ann"), now), Err(HoldError::Unknown { .. })));
    let words: Vec<String> = store.audit_trail(1, 99).expect("trail").into_iter().map(|(_, line)| line.action).collect();
    assert_eq!(words, ["pause", "approve", "release", "release", "pause", "approve"]);
}

const DAILY: &str = r#"
[[budget]]
name = "daily"
each = ["agent_id"]
limit = "1 USD"
window = "day"
mode = "enforce"
[[budget.threshold]]
at = "100%"
do = ["hold"]
"#;

/// A ledger in which agent `a` is over its budget, and the hold for it.
fn held(toml: &str) -> (crate::Ledger, Hold) {
    let mut ledger = ledger(toml);
    let crossings = apply(&mut ledger, &[Spend::new("a", OCTOBER, 2_000_000)]);
    let hold = put(&HoldPolicy::default(), &crossings[0], &[]).expect("put");
    (ledger, hold)
}

fn reconciled(ledger: &crate::Ledger, hold: &Hold, minute: i64) -> Option<Change> {
    let now = Micros(minute * MINUTE);
    changes(ledger, std::slice::from_ref(hold), &Overrides::default(), now).into_iter().next().map(|change| change.change)
}

#[test]
fn a_hold_ends_with_its_day() {
    let (ledger, hold) = held(DAILY);
    assert_eq!(reconciled(&ledger, &hold, OCTOBER + 1439), None);
    assert_eq!(reconciled(&ledger, &hold, OCTOBER + 1440), Some(Change::Release { reason: "its time is over" }));
    let released = Hold { state: HoldState::Released, ..hold };
    assert_eq!(reconciled(&ledger, &released, OCTOBER + 1440), None);
}

#[test]
fn a_hold_ends_when_the_limit_is_raised_or_the_budget_goes() {
    let (mut ledger, hold) = held(DAILY);
    ledger.reconfigure(budgets(&DAILY.replace("1 USD", "1.50 USD")));
    assert_eq!(reconciled(&ledger, &hold, OCTOBER), None);
    ledger.reconfigure(budgets(&DAILY.replace("1 USD", "3 USD")));
    assert!(matches!(reconciled(&ledger, &hold, OCTOBER), Some(Change::Release { .. })));
    ledger.reconfigure(budgets(&DAILY.replace("[\"hold\"]", "[\"notify\"]")));
    assert_eq!(reconciled(&ledger, &hold, OCTOBER), Some(Change::Release { reason: "the budget holds no more" }));
    ledger.reconfigure(budgets(""));
    assert_eq!(reconciled(&ledger, &hold, OCTOBER), Some(Change::Release { reason: "the budget was removed" }));
}

#[test]
fn what_the_ledger_does_not_know_lifts_nothing() {
    let (mut ledger, hold) = held(DAILY);
    // Another way of counting: the counters are gone until history is read.
    ledger.reconfigure(budgets(&DAILY.replace("[\"agent_id\"]", "[\"agent_id\", \"region\"]")));
    assert_eq!(reconciled(&ledger, &hold, OCTOBER), None);
    let fresh = crate::test_support::ledger(DAILY);
    assert_eq!(reconciled(&fresh, &hold, OCTOBER), None);
}

#[test]
fn a_rolling_hold_ends_when_the_sum_fell() {
    let (ledger, hold) = held(&DAILY.replace("\"day\"", "\"rolling 1h\""));
    assert_eq!(hold.until, None);
    assert_eq!(reconciled(&ledger, &hold, OCTOBER + 30), None);
    // Logs may be ten minutes behind the clock.
    assert_eq!(reconciled(&ledger, &hold, OCTOBER + 65), None);
    assert_eq!(reconciled(&ledger, &hold, OCTOBER + 72), Some(Change::Release { reason: "the rolling sum fell" }));
    let forgotten = crate::test_support::ledger(&DAILY.replace("\"day\"", "\"rolling 1h\""));
    assert_eq!(reconciled(&forgotten, &hold, OCTOBER + 72), None);
    assert_eq!(reconciled(&forgotten, &hold, OCTOBER + 422), Some(Change::Release { reason: "the rolling sum fell" }));
}

#[test]
fn a_hold_follows_the_mode_of_its_budget() {
    let (mut ledger, hold) = held(DAILY);
    ledger.reconfigure(budgets(&DAILY.replace("enforce", "observe")));
    assert_eq!(reconciled(&ledger, &hold, OCTOBER), Some(Change::Mode(Mode::Observe)));
    let (_folder, store) = store();
    store.put_hold(&hold, &crate::store::conformance::sample_line("hold")).expect("put");
    let change = HoldChange { id: hold.id, change: Change::Mode(Mode::Observe) };
    let observed = apply_change(&store, &change, Micros(5)).expect("changed");
    assert!(!observed.is_in_force());
    // Stepping up again waits for a person.
    ledger.reconfigure(budgets(DAILY));
    assert_eq!(reconciled(&ledger, &observed, OCTOBER), None);
    ledger.confirm("daily", Micros(OCTOBER * MINUTE));
    assert_eq!(reconciled(&ledger, &observed, OCTOBER), Some(Change::Mode(Mode::Enforce)));
}

#[test]
fn a_hold_that_ended_by_itself_comes_back_with_its_reason() {
    let (mut ledger, hold) = held(DAILY);
    let ended = |actor: &str| Hold {
        state: HoldState::Released,
        released: Some(Released { at: Micros(0), actor: actor.to_owned(), reason: String::new() }),
        ..hold.clone()
    };
    assert_eq!(reconciled(&ledger, &ended("sluice"), OCTOBER), Some(Change::Reopen));
    assert_eq!(reconciled(&ledger, &ended("ann"), OCTOBER), None);
    assert_eq!(reconciled(&ledger, &ended("sluice"), OCTOBER + 1440), None);
    ledger.reconfigure(budgets(&DAILY.replace("1 USD", "3 USD")));
    assert_eq!(reconciled(&ledger, &ended("sluice"), OCTOBER), None);
    // Back at the old limit the fire id is spent: no crossing would bring the hold back.
    ledger.reconfigure(budgets(DAILY));
    assert_eq!(reconciled(&ledger, &ended("sluice"), OCTOBER), None);
    ledger.confirm("daily", Micros(OCTOBER * MINUTE));
    assert_eq!(reconciled(&ledger, &ended("sluice"), OCTOBER), Some(Change::Reopen));
    // An open hold of the same target is enough.
    let now = Micros(OCTOBER * MINUTE);
    let both = [ended("sluice"), Hold { id: "other".to_owned(), ..hold.clone() }];
    assert_eq!(changes(&ledger, &both, &Overrides::default(), now), []);

    let (_folder, store) = store();
    let change = HoldChange { id: hold.id.clone(), change: Change::Reopen };
    let audit = crate::store::conformance::sample_line("hold");
    store.put_hold(&hold, &audit).expect("put");
    assert!(matches!(apply_change(&store, &change, now), Err(HoldError::State { .. })));
    apply_change(&store, &HoldChange { id: hold.id.clone(), change: Change::Release { reason: "x" } }, now).expect("released");
    assert!(apply_change(&store, &change, now).expect("reopened").is_in_force());
    release(&store, &hold.id, "ann", "enough", now).expect("released");
    assert!(matches!(apply_change(&store, &change, now), Err(HoldError::State { .. })));
}

proptest! {
    /// C10, on whatever the ledger went through: after a reconciliation every open hold has a living reason.
    #[test]
    fn every_open_hold_has_a_living_reason(
        spends in proptest::collection::vec((0_usize..3, 0_i64..3 * 1440, 0_i64..900_000), 1..40), limit in 1_i64..3, later in 0_i64..1440
    ) {
        let spends: Vec<Spend> = spends.into_iter().map(|(agent, minute, usd)| Spend::new(["a", "b", "c"][agent], OCTOBER + minute, usd)).collect();
        let mut ledger = crate::Ledger::new(budgets(DAILY), Arc::new(crate::NoLimits));
        let mut holds: Vec<Hold> = Vec::new();
        for spend in &spends {
            for crossing in apply(&mut ledger, std::slice::from_ref(spend)) {
                holds.extend(put(&HoldPolicy { most_per_hour: 1000, most_per_minute: 1000, most_percent: 100, ..HoldPolicy::default() }, &crossing, &holds));
            }
        }
        ledger.reconfigure(budgets(&DAILY.replace("1 USD", &format!("{limit} USD"))));
        let now = Micros((OCTOBER + 3 * 1440 + later) * MINUTE);
        let status = ledger.status(now);
        for change in reconcile_holds(&status, &ledger.overview(), &holds, &Overrides::default(), now) {
            holds.retain(|hold| hold.id != change.id);
        }
        for hold in &holds {
            let living = status.iter().any(|s| s.target == hold.target && s.period_end > Some(now) && s.spent >= PicoUsd::from_dollars(limit));
            prop_assert!(living, "{hold:?}");
        }
    }
}

mod waiting;
