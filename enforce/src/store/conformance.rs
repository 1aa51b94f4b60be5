//! What every [`SharedStore`] has to do, as checks that panic: run them against each implementation.
//!
//! A check needs an empty store. [`reopening`] also needs a way to open the same store again, as a new process would.

#![expect(clippy::unwrap_used, reason = "these are tests that live outside a test module so that other implementations can run them")]

use std::collections::BTreeMap;

use sluice_schemas::breach::Breach;
use sluice_schemas::{Micros, PicoUsd};

use super::records::{Record, RecordKind};
use super::{AuditEntry, Claim, Command, Confirmation, FireRecord, Receipt, ReceiptState, SharedStore, StoreError};
use crate::audit::{Verifier, Versions};
use crate::budget::{ActionKind, Mode};
use crate::fire::{Crossing, HoldTerms};
use crate::hold::{Cause, Hold, HoldState};

/// Returns a crossing for tests.
#[must_use]
pub fn sample_crossing(fire_id: &str, target: &str) -> Crossing {
    let breach = Breach {
        schema: crate::fire::BREACH_SCHEMA.to_owned(),
        fire_id: fire_id.to_owned(),
        budget: "daily".to_owned(),
        target: target.to_owned(),
        period: "2026-10-01".to_owned(),
        period_start: Micros(0),
        period_end: Some(Micros(86_400_000_000)),
        threshold: "100%".to_owned(),
        limit_usd: PicoUsd::from_dollars(25),
        spent_usd: PicoUsd::from_dollars(26),
        projected_usd: None,
        projection: None,
        unpriced_calls: 0,
        event_time: Micros(60_000_000),
        detected_at: Micros(120_000_000),
        actions: vec!["notify".to_owned(), "hold".to_owned()],
        mode: "enforce".to_owned(),
        epoch: 7,
        note: None,
        explanation: None,
    };
    let hold = Some(HoldTerms { approval: false, until: breach.period_end, live_targets: 100, hold_at: None, why: None });
    Crossing { breach, actions: vec![ActionKind::Notify, ActionKind::Hold], withheld: None, hold }
}

fn record(fire_id: &str, fence: u64) -> FireRecord {
    let crossing = sample_crossing(fire_id, "agent_id=a");
    FireRecord { crossing, fence, claimed_at: Micros(5), receipts: BTreeMap::new(), done_at: None }
}

/// Returns a line of the audit trail for tests.
#[must_use]
pub fn sample_line(action: &str) -> AuditEntry {
    AuditEntry {
        at: Micros(9),
        fire_id: "f".to_owned(),
        action: action.to_owned(),
        target: "agent_id=a".to_owned(),
        state: "done".to_owned(),
        actor: "someone".to_owned(),
        detail: "it's \"quoted\"\n".to_owned(),
        requests: vec!["r-1".to_owned(), "r-2".to_owned()],
        ..AuditEntry::default()
    }
}

/// Returns the lines of a trail as their writers wrote them, after a look at their chain.
///
/// # Panics
/// If the chain does not hold.
pub fn lines<S: SharedStore + ?Sized>(store: &S) -> Vec<(u64, AuditEntry)> {
    let trail = store.audit_trail(0, usize::MAX).unwrap();
    let mut verifier = Verifier::default();
    trail.iter().for_each(|(number, entry)| verifier.take(*number, entry));
    let report = verifier.finish(store.audit_head().unwrap().as_ref());
    assert_eq!(report.faults, []);
    assert!(trail.is_empty() || report.begins_at == Some(1));
    trail.into_iter().map(|(number, entry)| (number, entry.unsealed())).collect()
}

fn hold(id: &str) -> Hold {
    Hold {
        id: id.to_owned(),
        target: "agent_id=a".to_owned(),
        cause: Cause::Manual { actor: "someone".to_owned(), note: String::new() },
        until: None,
        mode: Mode::Enforce,
        state: HoldState::Active,
        created_at: Micros(1),
        approved_by: None,
        released: None,
        revision: 0,
        scope: crate::guard::Scope::default(),
        burn: PicoUsd::ZERO,
        note: None,
        approve_by: None,
    }
}

/// Runs every check that needs one store, each on a store that `make` opens anew.
pub fn all<S: SharedStore>(mut make: impl FnMut() -> S) {
    claims_once(&make());
    fences(&make());
    keeps_receipts(&make());
    holds_change_in_turn(&make());
    confirms_and_stops(&make());
    answers_commands_once(&make());
    audits_in_order(&make());
    records_change_in_turn(&make());
    stamps_lines_with_versions(&make());
}

/// A record is written over the revision that was read, and one kind does not see another's.
pub fn records_change_in_turn<S: SharedStore>(store: &S) {
    let body = |number: u64| serde_json::json!({ "number": number });
    assert_eq!(store.record(RecordKind::Intent, "a").unwrap(), None);
    assert_eq!(store.put_record(RecordKind::Intent, "a", 0, &body(1), Some(&sample_line("plan"))).unwrap(), 1);
    let late = store.put_record(RecordKind::Intent, "a", 0, &body(9), None);
    assert!(matches!(late, Err(StoreError::Conflict { .. })), "{late:?}");
    assert_eq!(store.put_record(RecordKind::Intent, "a", 1, &body(2), None).unwrap(), 2);
    assert_eq!(store.put_record(RecordKind::Override, "a", 0, &body(3), None).unwrap(), 1);
    assert_eq!(store.put_record(RecordKind::Intent, "b", 0, &body(4), None).unwrap(), 1);
    let read = store.records(RecordKind::Intent).unwrap();
    let expected = [("a", 2, body(2)), ("b", 1, body(4))].map(|(id, revision, body)| Record { id: id.to_owned(), revision, body });
    assert_eq!(read, expected);
    assert!(matches!(store.remove_record(RecordKind::Intent, "a", 1, None), Err(StoreError::Conflict { .. })));
    store.remove_record(RecordKind::Intent, "a", 2, Some(&sample_line("forget"))).unwrap();
    store.remove_record(RecordKind::Intent, "a", 2, None).unwrap();
    assert_eq!(store.put_record(RecordKind::Intent, "a", 0, &body(5), None).unwrap(), 1);
    assert_eq!(store.record(RecordKind::Override, "a").unwrap().map(|record| record.body), Some(body(3)));
    let lines: Vec<String> = store.audit_trail(0, 10).unwrap().into_iter().map(|(_, line)| line.action).collect();
    assert_eq!(lines, ["plan", "forget"]);
}

/// A fire id is new once, whoever asks.
pub fn claims_once<S: SharedStore>(store: &S) {
    assert_eq!(store.fire("a").unwrap(), None);
    assert_eq!(store.claim(&record("a", 0)).unwrap(), Claim::New);
    let other = FireRecord { claimed_at: Micros(99), ..record("a", 0) };
    assert_eq!(store.claim(&other).unwrap(), Claim::Already(Box::new(record("a", 0))));
    assert_eq!(store.claim(&record("b", 0)).unwrap(), Claim::New);
    // Many at once: one of them gets it.
    let wins: usize = std::thread::scope(|scope| {
        let claim = || usize::from(store.claim(&record("raced", 0)).unwrap() == Claim::New);
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(100)).sum()
    });
    assert_eq!(wins, 1);
}

/// A higher fence shuts the lower ones out.
pub fn fences<S: SharedStore>(store: &S) {
    assert_eq!(store.fence().unwrap(), 0);
    let first = store.take_fence("one", Micros(1)).unwrap();
    let second = store.take_fence("two", Micros(2)).unwrap();
    assert!(second > first && first > 0);
    assert_eq!(store.fence().unwrap(), second);
    assert!(matches!(store.claim(&record("a", first)), Err(StoreError::Fenced { own, current }) if own == first && current == second));
    assert_eq!(store.fire("a").unwrap(), None);
    assert_eq!(store.claim(&record("a", second)).unwrap(), Claim::New);
}

/// The first receipt of an action stays, and a settled fire is no longer unfinished.
pub fn keeps_receipts<S: SharedStore>(store: &S) {
    let receipt = |state| Receipt { state, detail: "x".to_owned() };
    let unknown = store.put_receipt("a", "log", &receipt(ReceiptState::Done), &sample_line("log"));
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
    assert!(matches!(store.mark_done("a", Micros(1)), Err(StoreError::NotFound { .. })));
    store.claim(&record("a", 0)).unwrap();
    store.claim(&record("b", 0)).unwrap();
    store.put_receipt("a", "log", &receipt(ReceiptState::Done), &sample_line("log")).unwrap();
    store.put_receipt("a", "log", &receipt(ReceiptState::Failed), &sample_line("log")).unwrap();
    store.put_receipt("a", "hold", &receipt(ReceiptState::Degraded), &sample_line("hold")).unwrap();
    let kept = store.fire("a").unwrap().unwrap();
    assert_eq!((kept.receipts["log"].state, kept.receipts["hold"].state), (ReceiptState::Done, ReceiptState::Degraded));
    assert_eq!(store.audit_trail(0, 10).unwrap().len(), 2);
    store.mark_done("a", Micros(7)).unwrap();
    store.mark_done("a", Micros(8)).unwrap();
    assert_eq!(store.fire("a").unwrap().unwrap().done_at, Some(Micros(7)));
    let open: Vec<String> = store.unfinished().unwrap().iter().map(|record| record.fire_id().to_owned()).collect();
    assert_eq!(open, ["b"]);
}

/// A hold is put once and changed only by who saw its latest state.
pub fn holds_change_in_turn<S: SharedStore>(store: &S) {
    assert!(matches!(store.update_hold(&hold("h"), &sample_line("x")), Err(StoreError::NotFound { .. })));
    assert_eq!(store.put_hold(&hold("h"), &sample_line("hold")).unwrap(), hold("h"));
    let again = Hold { target: "agent_id=b".to_owned(), ..hold("h") };
    assert_eq!(store.put_hold(&again, &sample_line("hold")).unwrap(), hold("h"));
    let released = Hold { state: HoldState::Released, ..hold("h") };
    let stored = store.update_hold(&released, &sample_line("release")).unwrap();
    assert_eq!((stored.state, stored.revision), (HoldState::Released, 1));
    assert!(matches!(store.update_hold(&hold("h"), &sample_line("x")), Err(StoreError::Conflict { .. })));
    // A released hold is not put again.
    assert_eq!(store.put_hold(&hold("h"), &sample_line("hold")).unwrap(), stored);
    assert_eq!(store.hold("h").unwrap(), Some(stored.clone()));
    assert_eq!(store.holds().unwrap(), [stored]);
    assert_eq!(store.audit_trail(0, 10).unwrap().len(), 2, "what did not happen is not in the trail");
}

/// The latest word on a budget and on the kill switch counts.
pub fn confirms_and_stops<S: SharedStore>(store: &S) {
    let confirmation =
        |digest: &str| Confirmation { budget: "daily".to_owned(), digest: digest.to_owned(), actor: "someone".to_owned(), at: Micros(3) };
    store.confirm(&confirmation("1"), &sample_line("approve")).unwrap();
    store.confirm(&confirmation("2"), &sample_line("approve")).unwrap();
    assert_eq!(store.confirmations().unwrap(), [confirmation("2")]);
    assert!(!store.stopped().unwrap());
    store.set_stopped(true, &sample_line("stop")).unwrap();
    assert!(store.stopped().unwrap());
    store.set_stopped(false, &sample_line("stop")).unwrap();
    assert!(!store.stopped().unwrap());
}

/// A command is handed in once and answered once.
pub fn answers_commands_once<S: SharedStore>(store: &S) {
    let command = Command {
        id: "c".to_owned(),
        actor: "someone".to_owned(),
        at: Micros(1),
        verb: "pause".to_owned(),
        arguments: BTreeMap::from([("agent".to_owned(), "a".to_owned())]),
        outcome: None,
    };
    assert_eq!(store.submit(&command).unwrap(), command);
    assert_eq!(store.submit(&Command { verb: "resume".to_owned(), ..command.clone() }).unwrap(), command);
    assert_eq!(store.open_commands().unwrap(), std::slice::from_ref(&command));
    store.answer("c", "done", &sample_line("pause")).unwrap();
    store.answer("c", "failed", &sample_line("pause")).unwrap();
    assert_eq!(store.open_commands().unwrap(), []);
    assert_eq!(store.submit(&command).unwrap().outcome.as_deref(), Some("done"));
    assert!(matches!(store.answer("d", "done", &sample_line("x")), Err(StoreError::NotFound { .. })));
}

/// The audit trail keeps its order and can be read in pieces.
pub fn audits_in_order<S: SharedStore>(store: &S) {
    for action in ["a", "b", "c"] {
        store.audit(&sample_line(action)).unwrap();
    }
    assert_eq!(lines(store), [(1, sample_line("a")), (2, sample_line("b")), (3, sample_line("c"))]);
    let numbers = |after| store.audit_trail(after, 2).unwrap().into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!((numbers(0), numbers(2), numbers(u64::MAX)), (vec![1, 2], vec![3], vec![]));
}

/// Lines name the versions in force, unless they name others.
pub fn stamps_lines_with_versions<S: SharedStore>(store: &S) {
    let versions = |policy: &str| Versions { policy: policy.to_owned(), prices: "list#1".to_owned() };
    store.audit(&sample_line("a")).unwrap();
    store.set_versions(versions("p1"));
    store.audit(&sample_line("b")).unwrap();
    store.audit(&AuditEntry { policy_version: "p0".to_owned(), ..sample_line("c") }).unwrap();
    let seen: Vec<_> = lines(store).into_iter().map(|(_, line)| (line.policy_version, line.price_version)).collect();
    let expected = [("", ""), ("p1", "list#1"), ("p0", "list#1")];
    assert_eq!(seen, expected.map(|(policy, prices)| (policy.to_owned(), prices.to_owned())));
}

/// What was written is there for the next process.
pub fn reopening<S: SharedStore>(mut open: impl FnMut() -> S) {
    let fence = {
        let store = open();
        let fence = store.take_fence("one", Micros(1)).unwrap();
        store.claim(&record("a", fence)).unwrap();
        store.put_hold(&hold("h"), &sample_line("hold")).unwrap();
        fence
    };
    let store = open();
    assert_eq!(store.fence().unwrap(), fence);
    assert_eq!(store.claim(&record("a", fence)).unwrap(), Claim::Already(Box::new(record("a", fence))));
    assert_eq!(store.unfinished().unwrap().len(), 1);
    assert!(!store.fires().unwrap().is_empty());
    assert_eq!(store.hold("h").unwrap(), Some(hold("h")));
    assert_eq!(lines(&store), [(1, sample_line("hold"))]);
    store.audit(&sample_line("later")).unwrap();
    assert_eq!(lines(&store).len(), 2, "the chain goes on");
}

/// A writer whose fence another took writes nothing any more, whatever it was about to do. Both handles are of one empty store.
pub fn zombies<S: SharedStore>(one: &S, two: &S) {
    let old = one.take_fence("one", Micros(1)).unwrap();
    one.claim(&record("a", old)).unwrap();
    one.put_hold(&hold("h"), &sample_line("hold")).unwrap();
    let command = Command {
        id: "c".to_owned(),
        actor: "someone".to_owned(),
        at: Micros(1),
        verb: "pause".to_owned(),
        arguments: BTreeMap::new(),
        outcome: None,
    };
    one.submit(&command).unwrap();
    let new = two.take_fence("two", Micros(2)).unwrap();
    let line = sample_line("late");
    let receipt = Receipt { state: ReceiptState::Done, detail: String::new() };
    let confirmation = Confirmation { budget: "daily".to_owned(), digest: "1".to_owned(), actor: "x".to_owned(), at: Micros(3) };
    let is_refused = |result: Result<(), StoreError>, step: &str| match result {
        Err(StoreError::Fenced { own, current }) => assert_eq!((own, current), (old, new), "{step}"),
        other => panic!("{step} of a writer without the fence: {other:?}"),
    };
    is_refused(one.claim(&record("b", old)).map(drop), "claim");
    is_refused(one.claim(&record("a", old)).map(drop), "claim again");
    is_refused(one.put_receipt("a", "log", &receipt, &line), "put_receipt");
    is_refused(one.mark_done("a", Micros(9)), "mark_done");
    is_refused(one.put_hold(&hold("i"), &line).map(drop), "put_hold");
    is_refused(one.update_hold(&hold("h"), &line).map(drop), "update_hold");
    is_refused(one.confirm(&confirmation, &line), "confirm");
    is_refused(one.submit(&Command { id: "d".to_owned(), ..command.clone() }).map(drop), "submit");
    is_refused(one.answer("c", "done", &line), "answer");
    is_refused(one.set_stopped(true, &line), "set_stopped");
    is_refused(one.audit(&line), "audit");
    assert_eq!(two.fires().unwrap(), [record("a", old)]);
    assert_eq!(two.unfinished().unwrap().len(), 1);
    assert_eq!(two.holds().unwrap(), [hold("h")]);
    assert_eq!(two.confirmations().unwrap(), []);
    assert_eq!(two.open_commands().unwrap(), [command]);
    assert!(!two.stopped().unwrap());
    assert_eq!(lines(two), [(1, sample_line("hold"))]);
    // It still reads, and its successor writes.
    assert_eq!(one.fence().unwrap(), new);
    assert!(matches!(two.claim(&record("a", new)).unwrap(), Claim::Already(known) if known.fence == old));
    assert_eq!(two.claim(&record("b", new)).unwrap(), Claim::New);
}
