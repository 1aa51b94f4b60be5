//! Every action gets one receipt, whatever fails in between.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::actions::{ActionError, HoldAction};
use crate::fire::Withheld;
use crate::guard::{Protected, Scoping};
use crate::hold::HoldPolicy;
use crate::store::FileStore;
use crate::store::conformance::sample_crossing;
use crate::store::dying::Dying;

const PERMIT: CommitPermit = CommitPermit::after_commit(7);

/// Fire ids and notes of what an action did.
type Did = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// Fails as told, then succeeds, and remembers what it did.
struct Scripted {
    name: &'static str,
    failures: Mutex<Vec<u16>>,
    did: Did,
    calls: AtomicUsize,
}

impl Scripted {
    fn new(name: &'static str, failures: &[u16]) -> (Box<Self>, Did) {
        let did = Arc::new(Mutex::new(Vec::new()));
        let failures = Mutex::new(failures.iter().rev().copied().collect());
        (Box::new(Self { name, failures, did: Arc::clone(&did), calls: AtomicUsize::new(0) }), did)
    }
}

impl Action for Scripted {
    fn name(&self) -> &str {
        self.name
    }
    fn kind(&self) -> ActionKind {
        ActionKind::Notify
    }
    fn apply(&self, permit: &CommitPermit, fire: &Crossing) -> Result<Receipt, ActionError> {
        crate::actions::check_permit(permit, fire)?;
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(status) = self.failures.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Err(ActionError::Status { host: "x".to_owned(), status });
        }
        let did = (fire.breach.fire_id.clone(), fire.breach.note.clone());
        self.did.lock().unwrap_or_else(PoisonError::into_inner).push(did);
        Ok(Receipt { state: ReceiptState::Done, detail: String::new() })
    }
}

fn store() -> (TempDir, Arc<FileStore>) {
    let folder = TempDir::new().expect("a folder");
    let store = FileStore::open(&folder.path().join("s.redb")).expect("a store");
    (folder, Arc::new(store))
}

fn seconds(seconds: i64) -> Micros {
    Micros(200_000_000 + seconds * SECOND)
}

#[test]
fn a_process_that_ends_takes_on_no_further_crossing() {
    let (_folder, store) = store();
    let (log, did) = Scripted::new("log", &[]);
    let mut outbox = Outbox::new(store, vec![log], 0);
    ["f", "g", "h"].iter().for_each(|id| outbox.enqueue(sample_crossing(id, "agent_id=a")));
    let known = Arc::clone(&did);
    let settled = outbox.tick_while(&PERMIT, seconds(0), &|_| known.lock().expect("a lock").is_empty()).expect("ticks");
    assert!(settled.len() < 3 && outbox.len() == 3 - settled.len(), "{settled:?}");
    assert_eq!(outbox.tick(&PERMIT, seconds(1)).expect("ticks").len() + settled.len(), 3);
    assert_eq!(did.lock().expect("a lock").len(), 3);
}

#[test]
fn a_crossing_waits_for_its_commit_then_runs_all_actions_once() {
    let (_folder, store) = store();
    let (log, did) = Scripted::new("log", &[]);
    let hold = Box::new(HoldAction::new(store.clone(), HoldPolicy::default()));
    let mut outbox = Outbox::new(store.clone(), vec![log, hold], 0);
    outbox.enqueue(sample_crossing("f", "agent_id=a"));
    outbox.enqueue(sample_crossing("f", "agent_id=a"));
    assert_eq!(outbox.tick(&CommitPermit::after_commit(6), seconds(0)).expect("ticks"), Vec::<String>::new());
    assert_eq!(store.fire("f").expect("read"), None, "nothing is claimed before the commit");
    assert_eq!(outbox.tick(&PERMIT, seconds(1)).expect("ticks"), ["f"]);
    assert!(outbox.is_empty());
    assert_eq!(store.holds().expect("holds").len(), 1);
    assert_eq!(did.lock().expect("lock").len(), 1);
    let record = store.fire("f").expect("read").expect("claimed");
    assert_eq!((record.receipts.len(), record.done_at), (2, Some(seconds(1))));
    // The same crossing again, as a rebuilt ledger finds it.
    outbox.enqueue(sample_crossing("f", "agent_id=a"));
    assert_eq!(outbox.tick(&PERMIT, seconds(2)).expect("ticks"), ["f"]);
    assert_eq!(did.lock().expect("lock").len(), 1);
}

/// When an outbox has something to do by itself.
fn next_wake(outbox: &Outbox) -> Option<Micros> {
    outbox.jobs.values().flat_map(|job| job.waits.values()).map(|wait| wait.until).min()
}

#[test]
fn what_fails_for_a_while_is_tried_again_and_delays_nobody() {
    let (_folder, store) = store();
    let (webhook, slow) = Scripted::new("a-webhook", &[503, 503, 503]);
    let (file, fast) = Scripted::new("file", &[]);
    let mut outbox = Outbox::new(store.clone(), vec![webhook, file], 0);
    outbox.enqueue(sample_crossing("f", "agent_id=a"));
    outbox.enqueue(sample_crossing("g", "agent_id=a"));
    assert_eq!(outbox.tick(&PERMIT, seconds(0)).expect("ticks").len(), 0);
    assert_eq!(fast.lock().expect("lock").len(), 2);
    assert_eq!(next_wake(&outbox), Some(seconds(1)));
    let mut settled = Vec::new();
    for second in 0..10 {
        settled.extend(outbox.tick(&PERMIT, seconds(second)).expect("ticks"));
    }
    settled.sort_unstable();
    assert_eq!((settled, slow.lock().expect("lock").len()), (vec!["f".to_owned(), "g".to_owned()], 2));
}

/// A receiver that never answers.
struct Silent(Arc<AtomicUsize>);

impl Action for Silent {
    fn name(&self) -> &str {
        "silent"
    }
    fn kind(&self) -> ActionKind {
        ActionKind::Notify
    }
    fn apply(&self, _permit: &CommitPermit, _fire: &Crossing) -> Result<Receipt, ActionError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(ActionError::Unreachable { host: "x".to_owned(), detail: "timeout".to_owned() })
    }
}

#[test]
fn a_silent_receiver_is_asked_once_a_round_and_holds_do_not_wait_for_it() {
    let (_folder, store) = store();
    let asked = Arc::new(AtomicUsize::new(0));
    let policy = HoldPolicy { most_per_hour: 100, most_per_minute: 100, ..HoldPolicy::default() };
    let hold = Box::new(HoldAction::new(store.clone(), policy));
    let mut outbox = Outbox::new(store.clone(), vec![Box::new(Silent(Arc::clone(&asked))), hold], 0);
    for number in 0..20 {
        outbox.enqueue(sample_crossing(&format!("f{number}"), "agent_id=a"));
    }
    assert_eq!(outbox.tick(&PERMIT, seconds(0)).expect("ticks"), Vec::<String>::new());
    assert_eq!((asked.load(Ordering::Relaxed), store.holds().expect("holds").len()), (1, 20));
    outbox.tick(&PERMIT, seconds(1)).expect("ticks");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn what_cannot_work_is_given_up_and_told_in_the_trail() {
    let (_folder, store) = store();
    let (webhook, _) = Scripted::new("webhook", &[404]);
    let mut outbox = Outbox::new(store.clone(), vec![webhook], 0);
    outbox.enqueue(sample_crossing("f", "agent_id=a"));
    assert_eq!(outbox.tick(&PERMIT, seconds(0)).expect("ticks"), ["f"]);
    let trail = store.audit_trail(0, 9).expect("trail");
    assert_eq!((trail.len(), trail[0].1.state.as_str(), trail[0].1.detail.as_str()), (1, "failed", "x answered 404"));
    // One that never recovers ends after a day.
    let (webhook, _) = Scripted::new("webhook", &[503; 400]);
    let mut outbox = Outbox::new(store.clone(), vec![webhook], 0);
    outbox.enqueue(sample_crossing("g", "agent_id=a"));
    let mut now = seconds(0);
    let mut ticks = 0;
    while outbox.tick(&PERMIT, now).expect("ticks").is_empty() {
        now = next_wake(&outbox).expect("a wait");
        ticks += 1;
    }
    assert!((140..170).contains(&ticks), "{ticks}");
    assert!(now >= seconds(24 * 3600));
}

#[test]
fn a_degraded_hold_is_told_with_its_reason() {
    let (_folder, store) = store();
    let (log, did) = Scripted::new("log", &[]);
    let protected = Protected { own: Vec::new(), patterns: vec!["agent_id=a".to_owned()] };
    let hold = HoldAction::new(store.clone(), HoldPolicy::default()).scoped(Scoping { protected, ..Scoping::default() });
    let mut outbox = Outbox::new(store.clone(), vec![log, Box::new(hold)], 0);
    let mut crossing = sample_crossing("f", "agent_id=a");
    crossing.actions = vec![ActionKind::Hold];
    crossing.breach.actions = vec!["hold".to_owned()];
    outbox.enqueue(crossing);
    assert_eq!(outbox.tick(&PERMIT, seconds(0)).expect("ticks"), ["f"]);
    assert_eq!(*did.lock().expect("lock"), [("f".to_owned(), Some("hold not put: the target is protected by 'agent_id=a'".to_owned()))]);
    assert!(store.holds().expect("holds").is_empty());
}

#[test]
fn a_withheld_hold_asks_for_none() {
    let (_folder, store) = store();
    let mut outbox = Outbox::new(store.clone(), vec![Box::new(HoldAction::new(store.clone(), HoldPolicy::default()))], 0);
    let mut crossing = sample_crossing("f", "agent_id=a");
    (crossing.actions, crossing.hold, crossing.withheld) = (vec![ActionKind::Notify], None, Some(Withheld::PeriodOver));
    outbox.enqueue(crossing);
    assert_eq!(outbox.tick(&PERMIT, seconds(0)).expect("ticks"), ["f"]);
    assert!(store.holds().expect("holds").is_empty());
}

#[test]
fn a_fenced_outbox_stops() {
    let (_folder, store) = store();
    let own = store.take_fence("old", Micros(0)).expect("taken");
    let (log, did) = Scripted::new("log", &[503]);
    let mut outbox = Outbox::new(store.clone(), vec![log], own);
    outbox.enqueue(sample_crossing("f", "agent_id=a"));
    outbox.tick(&PERMIT, seconds(0)).expect("ticks");
    store.take_fence("new", Micros(0)).expect("taken");
    // Claimed before, and still it must not act.
    let error = outbox.tick(&PERMIT, seconds(5)).expect_err("fenced");
    assert_eq!((error.class(), did.lock().expect("lock").len()), (ErrorClass::Fenced, 0));
    // The newer process finishes it.
    let (log, did) = Scripted::new("log", &[]);
    let mut newer = Outbox::new(store.clone(), vec![log], store.fence().expect("read"));
    assert_eq!(newer.resume().expect("read"), 1);
    assert_eq!(newer.tick(&PERMIT, seconds(6)).expect("ticks"), ["f"]);
    assert_eq!(did.lock().expect("lock").len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn killed_anywhere_it_ends_with_one_hold_and_one_line_each(kills in proptest::collection::vec(0_usize..24, 0..6)) {
        let (folder, store) = store();
        let path = folder.path().join("breaches.jsonl");
        let crossings = [sample_crossing("f", "agent_id=a"), sample_crossing("g", "agent_id=b")];
        for left in kills.into_iter().chain([usize::MAX]) {
            let dying: Arc<Dying> = Arc::new(Dying::after(store.clone(), left));
            let hold = Box::new(HoldAction::new(dying.clone(), HoldPolicy::default()));
            let file = Box::new(crate::actions::FileAction::new(&path));
            let mut outbox = Outbox::new(dying, vec![file, hold], 0);
            // The ledger's rows still hold both: nothing was settled.
            crossings.iter().cloned().for_each(|crossing| outbox.enqueue(crossing));
            match outbox.tick(&PERMIT, seconds(0)) {
                Ok(settled) => prop_assert_eq!(settled.len(), 2),
                Err(error) => prop_assert_eq!(error.class(), ErrorClass::Corrupt),
            }
        }
        let text = std::fs::read_to_string(&path).expect("written");
        let ids: Vec<&str> = text.lines().filter_map(|line| line.split("\"fire_id\":\"").nth(1)?.split('"').next()).collect();
        prop_assert_eq!(ids.len(), 2);
        prop_assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["f", "g"]));
        prop_assert_eq!(store.holds().expect("holds").len(), 2);
        prop_assert!(store.unfinished().expect("read").is_empty());
        for fire_id in ["f", "g"] {
            prop_assert_eq!(store.fire(fire_id).expect("read").expect("claimed").receipts.len(), 2);
        }
    }
}

/// Takes up to ten a call, and remembers how many each call carried and how many were under way at once.
#[derive(Default)]
struct Batching {
    calls: Mutex<Vec<usize>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    told: Mutex<BTreeSet<String>>,
}

impl crate::notice::Receiver for Batching {
    fn name(&self) -> &str {
        "batching"
    }
    fn tell(&self, notice: &crate::notice::Notice<'_>) -> Result<Receipt, ActionError> {
        self.tell_all(&[*notice]).remove(0)
    }
    fn tell_all(&self, notices: &[crate::notice::Notice<'_>]) -> Vec<Result<Receipt, ActionError>> {
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(now, Ordering::SeqCst);
        // Long enough for another lane to begin.
        std::thread::sleep(std::time::Duration::from_millis(2));
        self.calls.lock().expect("a lock").push(notices.len());
        let receipt = |notice: &crate::notice::Notice<'_>| {
            assert!(self.told.lock().expect("a lock").insert(notice.id().to_owned()), "told once");
            Ok(Receipt { state: ReceiptState::Done, detail: String::new() })
        };
        let receipts = notices.iter().map(receipt).collect();
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        receipts
    }
    fn most_at_once(&self) -> usize {
        10
    }
    fn lanes(&self) -> usize {
        4
    }
}

#[test]
fn a_storm_is_told_in_full_batches_by_several_lanes() {
    let (_folder, store) = store();
    let batching = Arc::new(Batching::default());
    let mut outbox = Outbox::new(store.clone(), vec![Box::new(Arc::clone(&batching))], 0);
    for number in 0..1005 {
        let mut crossing = sample_crossing(&format!("f{number}"), &format!("agent_id=a{number}"));
        crossing.actions = vec![ActionKind::Notify];
        outbox.enqueue(crossing);
    }
    assert_eq!(outbox.tick(&PERMIT, seconds(0)).expect("ticks").len(), 1005);
    let mut calls = batching.calls.lock().expect("a lock").clone();
    calls.sort_unstable();
    assert_eq!((calls.len(), calls[0], calls[1], batching.told.lock().expect("a lock").len()), (101, 5, 10, 1005));
    assert!((2..=4).contains(&batching.most_under_way.load(Ordering::SeqCst)));
    assert!(store.unfinished().expect("read").is_empty());
    assert_eq!(store.audit_trail(0, 5000).expect("trail").len(), 1005);
}

#[test]
fn what_was_told_is_not_told_again_because_its_receipt_could_not_be_written() {
    let (_folder, store) = store();
    let (log, did) = Scripted::new("log", &[503]);
    let mut outbox = Outbox::new(store.clone(), vec![log], 0);
    let mut crossing = sample_crossing("f", "agent_id=a");
    crossing.actions = vec![ActionKind::Notify];
    outbox.enqueue(crossing);
    assert_eq!(outbox.tick(&PERMIT, seconds(0)).expect("ticks"), Vec::<String>::new());
    // As after a step of the store that failed.
    let job = outbox.jobs.get_mut("f").expect("a job");
    note(job, "log", Ok(Receipt { state: ReceiptState::Done, detail: String::new() }), seconds(1)).expect("noted");
    postpone(job, STORE, seconds(1));
    assert_eq!(outbox.tick(&PERMIT, seconds(1)).expect("ticks"), Vec::<String>::new());
    assert_eq!(outbox.tick(&PERMIT, seconds(9)).expect("ticks"), ["f"]);
    assert_eq!(did.lock().expect("a lock").len(), 0);
    assert_eq!(store.fire("f").expect("read").expect("claimed").receipts.len(), 1);
}
