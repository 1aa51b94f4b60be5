//! What is not told to everybody yet, and what was told for good, as the shared store has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sluice_enforce::notice::News;
use sluice_enforce::store::records::{Record, RecordKind};
use sluice_enforce::{SharedStore, StoreError};
use sluice_schemas::Micros;
use sluice_schemas::time::MINUTE;

use super::{Desk, GIVE_UP_AFTER, Message};

/// Time between two looks for rows that nobody needs.
const SWEEP: i64 = MINUTE;

/// News on its way.
struct Open {
    /// How it is told.
    once: Option<Micros>,
    /// Revision of its row, none where it could not be written.
    revision: Option<u64>,
    /// How many are still to be told.
    left: usize,
    /// When it became true.
    at: Micros,
}

/// A row of [`RecordKind::Told`].
#[derive(Serialize, Deserialize)]
struct Once {
    /// When the row goes.
    until: Micros,
    /// What is to be told; absent once it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    news: Option<News>,
}

pub(super) struct Book {
    store: Arc<dyn SharedStore>,
    /// By id.
    open: BTreeMap<String, Open>,
    /// What was told for good, by id: when that is forgotten, and the revision of its row.
    told: BTreeMap<String, (Micros, Option<u64>)>,
    swept: Micros,
}

impl Book {
    pub(super) fn new(store: Arc<dyn SharedStore>) -> Self {
        Self { store, open: BTreeMap::new(), told: BTreeMap::new(), swept: Micros(0) }
    }

    /// Takes over what an earlier process left. What is too old to be told is removed, whether or not somebody was there to hear it.
    pub(super) fn take_over(&mut self, desks: &mut [Desk], now: Micros) -> Result<(), StoreError> {
        let mut left = Vec::new();
        for record in self.store.records(RecordKind::Notice)? {
            let news: News = read(&record)?;
            left.push((record, None, news));
        }
        for record in self.store.records(RecordKind::Told)? {
            let once: Once = read(&record)?;
            match once.news {
                Some(news) => left.push((record, Some(once.until), news)),
                None => drop(self.told.insert(record.id, (once.until, Some(record.revision)))),
            }
        }
        left.sort_by_key(|(_, _, news)| news.notice().at());
        for (record, once, news) in left {
            let at = news.notice().at();
            if now.0.saturating_sub(at.0) >= GIVE_UP_AFTER {
                let kind = once.map_or(RecordKind::Notice, |_| RecordKind::Told);
                self.remove(kind, &record.id, Some(record.revision));
                continue;
            }
            self.open.insert(record.id, Open { once, revision: Some(record.revision), left: desks.len(), at });
            let news = Arc::new(news);
            desks.iter_mut().for_each(|desk| desk.waiting.push_back(Arc::clone(&news)));
        }
        self.swept = Micros(0);
        self.sweep(now);
        Ok(())
    }

    /// Writes news down before anybody is told. What cannot be written is told all the same.
    pub(super) fn note(&mut self, message: Message, desks: &mut [Desk], now: Micros) {
        let Message { news, once } = message;
        let (id, at) = (news.notice().id().to_owned(), news.notice().at());
        let is_old = now.0.saturating_sub(at.0) >= GIVE_UP_AFTER;
        if desks.is_empty() || is_old || self.open.contains_key(&id) || self.told.contains_key(&id) {
            return;
        }
        let written = match once {
            None => self.write(RecordKind::Notice, &id, 0, &news),
            Some(until) => self.write(RecordKind::Told, &id, 0, &Once { until, news: Some(news.clone()) }),
        };
        if let Err(error) = &written {
            tracing::warn!(of = news.notice().thread(), %error, "news is told, and is not told later if this process ends before");
        }
        self.open.insert(id, Open { once, revision: written.ok(), left: desks.len(), at });
        let news = Arc::new(news);
        desks.iter_mut().for_each(|desk| desk.waiting.push_back(Arc::clone(&news)));
    }

    /// Notes that one receiver has heard it, or never will.
    pub(super) fn done(&mut self, id: &str) {
        let Some(open) = self.open.get_mut(id) else { return };
        open.left = open.left.saturating_sub(1);
        if open.left > 0 {
            return;
        }
        let Some(open) = self.open.remove(id) else { return };
        let Some(until) = open.once else { return self.remove(RecordKind::Notice, id, open.revision) };
        let noted = open.revision.map(|revision| self.write(RecordKind::Told, id, revision, &Once { until, news: None }));
        if let Some(Err(error)) = &noted {
            tracing::warn!(notice = id, %error, "what was told could not be noted; the next process tells it again");
        }
        self.told.insert(id.to_owned(), (until, noted.and_then(Result::ok)));
    }

    /// Removes, from time to time, what need not be remembered, and news that nobody was there to hear.
    pub(super) fn sweep(&mut self, now: Micros) {
        if now.0.saturating_sub(self.swept.0) < SWEEP {
            return;
        }
        self.swept = now;
        let over: Vec<(String, Option<u64>)> =
            self.told.iter().filter(|(_, (until, _))| *until <= now).map(|(id, (_, revision))| (id.clone(), *revision)).collect();
        for (id, revision) in over {
            self.told.remove(&id);
            self.remove(RecordKind::Told, &id, revision);
        }
        let is_stale = |open: &Open| open.left == 0 && now.0.saturating_sub(open.at.0) >= GIVE_UP_AFTER;
        let stale: Vec<String> = self.open.iter().filter(|(_, open)| is_stale(open)).map(|(id, _)| id.clone()).collect();
        for id in stale {
            if let Some(open) = self.open.remove(&id) {
                self.remove(open.once.map_or(RecordKind::Notice, |_| RecordKind::Told), &id, open.revision);
            }
        }
    }

    fn write<T: Serialize>(&self, kind: RecordKind, id: &str, revision: u64, body: &T) -> Result<u64, String> {
        let body = serde_json::to_value(body).map_err(|error| error.to_string())?;
        self.store.put_record(kind, id, revision, &body, None).map_err(|error| error.to_string())
    }

    fn remove(&self, kind: RecordKind, id: &str, revision: Option<u64>) {
        let Some(revision) = revision else { return };
        if let Err(error) = self.store.remove_record(kind, id, revision, None) {
            tracing::warn!(notice = id, %error, "a row of news could not be removed; the next process finds it again");
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(record: &Record) -> Result<T, StoreError> {
    T::deserialize(&record.body)
        .map_err(|error| StoreError::Corrupt { place: "the shared store".to_owned(), detail: format!("news {}: {error}", record.id) })
}
