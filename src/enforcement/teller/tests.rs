//! News of holds outlives the process that was to tell it.

use std::sync::Mutex;

use sluice_enforce::FileStore;
use sluice_enforce::actions::ActionError;
use sluice_enforce::guard::Scope;
use sluice_enforce::hold::pause;
use sluice_enforce::notice::HoldNews;
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
        let Notice::Hold(notice) = notice else { panic!("a breach") };
        self.heard.lock().unwrap().push(notice.notice_id.clone());
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
