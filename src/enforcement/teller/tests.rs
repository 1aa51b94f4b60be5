//! News of holds outlives the process that was to tell it.

use std::sync::Mutex;

use sluice_enforce::FileStore;
use sluice_enforce::actions::ActionError;
use sluice_enforce::guard::Scope;
use sluice_enforce::hold::pause;
use sluice_enforce::notice::{HoldNews, Notice};
use sluice_enforce::store::records::RecordKind;
use sluice_enforce::store::{Receipt, ReceiptState};
use sluice_schemas::SystemClock;

use super::*;

/// Writes down what it hears, unless it is away.
struct Ear {
    name: &'static str,
    is_away: bool,
    heard: Mutex<Vec<String>>,
}

impl Ear {
    fn new(name: &'static str, is_away: bool) -> Arc<Self> {
        Arc::new(Self { name, is_away, heard: Mutex::default() })
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Receiver for Ear {
    fn name(&self) -> &str {
        self.name
    }

    fn tell(&self, notice: &Notice<'_>) -> Result<Receipt, ActionError> {
        if self.is_away {
            return Err(ActionError::Unreachable { host: "away".to_owned(), detail: "nobody is there".to_owned() });
        }
        self.heard.lock().unwrap().push(notice.id().to_owned());
        Ok(Receipt { state: ReceiptState::Done, detail: String::new() })
    }
}

#[test]
fn what_one_process_could_not_tell_the_next_one_tells() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn SharedStore> = Arc::new(FileStore::open(&folder.path().join("shared.redb")).unwrap());
    let now = SystemClock.now();
    let hold = pause(&*store, "agent_id=a", "ann", "drill", None, Scope::default(), now).unwrap();
    let news = |state, at| HoldNotice::new(&hold, state, "an occasion", at);
    let (put, released) = (news(HoldNews::Put, now), news(HoldNews::Released, now.plus(1)));
    let ids = vec![put.notice_id.clone(), released.notice_id.clone()];
    let start = |ears: [&Arc<Ear>; 2]| {
        let receivers = ears.map(|ear| Arc::clone(ear) as Arc<dyn Receiver>).to_vec();
        Teller::start(receivers, Arc::clone(&store), Arc::new(SystemClock)).unwrap()
    };
    let rows = || store.records(RecordKind::Notice).unwrap().len();

    let (here, away) = (Ear::new("here", false), Ear::new("away", true));
    let teller = start([&here, &away]);
    teller.tell(put.clone());
    // The same news twice is one.
    teller.tell(put);
    teller.tell(released);
    drop(teller);
    assert_eq!((here.heard(), away.heard(), rows()), (ids.clone(), vec![], 2));

    // Who had heard it hears it again, under the same id; nothing is left for a third process.
    let (here, back) = (Ear::new("here", false), Ear::new("away", false));
    drop(start([&here, &back]));
    assert_eq!((here.heard(), back.heard(), rows()), (ids.clone(), ids, 0));
    let third = Ear::new("third", false);
    drop(start([&third, &third]));
    assert_eq!(third.heard(), Vec::<String>::new());
}

/// A store of its own, with a hold in it.
fn stage() -> (tempfile::TempDir, Arc<dyn SharedStore>, sluice_enforce::Hold) {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn SharedStore> = Arc::new(FileStore::open(&folder.path().join("shared.redb")).unwrap());
    let hold = pause(&*store, "agent_id=a", "ann", "drill", None, Scope::default(), SystemClock.now()).unwrap();
    (folder, store, hold)
}

#[test]
fn a_question_is_told_once_however_often_it_is_handed_in() {
    let (_folder, store, hold) = stage();
    let now = SystemClock.now();
    let question = || News::Hold(Box::new(HoldNotice::new(&hold, HoldNews::AwaitingApproval, "the same", now)));
    let start = |ears: &[&Arc<Ear>]| {
        let receivers = ears.iter().map(|ear| Arc::clone(ear) as Arc<dyn Receiver>).collect();
        Teller::start(receivers, Arc::clone(&store), Arc::new(SystemClock)).unwrap()
    };
    let hand_in = |ears: &[&Arc<Ear>], until| {
        let teller = start(ears);
        assert!(teller.tell_once(question(), until) && teller.tell_once(question(), until));
    };
    // The first process dies before one of two has heard it; the second tells that one, and the first hears it again.
    let (here, away) = (Ear::new("here", false), Ear::new("away", true));
    hand_in(&[&here, &away], now.plus(DAY));
    let (again, back) = (Ear::new("here", false), Ear::new("away", false));
    hand_in(&[&again, &back], now.plus(DAY));
    assert_eq!([&here, &away, &again, &back].map(|ear| ear.heard().len()), [1, 0, 1, 1]);
    // Then everybody has, and no process tells it any more.
    for _ in 0..3 {
        let ear = Ear::new("here", false);
        hand_in(&[&ear], now.plus(DAY));
        assert_eq!(ear.heard(), Vec::<String>::new());
    }
    assert_eq!((store.records(RecordKind::Told).unwrap().len(), store.records(RecordKind::Notice).unwrap().len()), (1, 0));
}

#[test]
fn news_of_days_ago_is_removed_and_not_told() {
    let (_folder, store, hold) = stage();
    let now = SystemClock.now();
    let put = |kind, id: &str, body: serde_json::Value| store.put_record(kind, id, 0, &body, None).unwrap();
    let notice = |at: Micros| HoldNotice::new(&hold, HoldNews::Put, &at.to_string(), at);
    let (old, fresh) = (notice(now.plus(-2 * DAY)), notice(now));
    for notice in [&old, &fresh] {
        put(RecordKind::Notice, &notice.notice_id, serde_json::to_value(notice).unwrap());
    }
    put(RecordKind::Told, "a question of last week", serde_json::json!({ "until": now.plus(-DAY) }));
    put(RecordKind::Told, "a question of today", serde_json::json!({ "until": now.plus(DAY) }));
    let left = || [RecordKind::Notice, RecordKind::Told].map(|kind| store.records(kind).unwrap().len());

    // Nobody is there to hear it: what is old goes, what is not waits for somebody until it is.
    drop(Teller::start(Vec::new(), Arc::clone(&store), Arc::new(SystemClock)).unwrap());
    assert_eq!(left(), [1, 1]);
    let ear = Ear::new("here", false);
    drop(Teller::start(vec![Arc::clone(&ear) as Arc<dyn Receiver>], Arc::clone(&store), Arc::new(SystemClock)).unwrap());
    assert_eq!((ear.heard(), left()), (vec![fresh.notice_id], [0, 1]));
}
