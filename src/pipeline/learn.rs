//! What AWS says about callers becomes part of every state: rows of `directory`, attribution and prices of the calls that follow, and of
//! the calls that had no price for want of it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use sluice_enrich::enricher::Enricher;
use sluice_schemas::directory::Entry;
use sluice_schemas::tables;

use super::worker::Rows;
use super::{Mode, Pipeline, RateOrder};
use crate::directory::read_file;
use crate::view::Level;

impl Pipeline {
    /// Takes over what the lake and rows on their way there tell, then the entries of the configured file.
    pub(super) fn open_directory(&mut self) -> anyhow::Result<()> {
        let mut stored = sluice_aggregate::directory::of_lake(&self.lake)?;
        for (_, _, rows) in self.pending.iter().filter(|(table, ..)| table == tables::DIRECTORY) {
            stored.extend(sluice_aggregate::directory::entries(rows)?);
        }
        let settled = self.lake.state().evidence_settled;
        let rows_of = |entry: &Entry| stored.iter().filter(|other| (other.kind, &other.arn) == (entry.kind, &entry.arn)).count();
        let unsettled = stored.iter().filter(|entry| entry.seen_at > settled && rows_of(entry) == 1).cloned().collect::<Vec<_>>();
        unsettled.iter().for_each(|entry| self.settle_thing(entry));
        let known = self.directory.learn(stored);
        // What was stored was rated by when it was learnt.
        self.directory.rating_due = false;
        let file = self.settings.config.directory.file.clone();
        let told = file.map(|file| read_file(&file, self.settings.clock.now())).transpose()?;
        let is_new = self.learn(told.unwrap_or_default())?;
        if !known.is_empty() && !is_new {
            self.equip()?;
        }
        Ok(())
    }

    /// Nobody is asked: the configuration that wants it was refused.
    #[cfg(not(feature = "aws"))]
    #[expect(clippy::unnecessary_wraps, reason = "a build with the AWS clients may fail here")]
    pub(super) fn start_asking(&mut self, _handle: &super::Handle) -> anyhow::Result<Option<crate::directory::Asking>> {
        Ok(None)
    }

    /// Starts to ask AWS about what calls name, where that is wanted; a replay asks nobody.
    #[cfg(feature = "aws")]
    pub(super) fn start_asking(&mut self, handle: &super::Handle) -> anyhow::Result<Option<crate::directory::Asking>> {
        let config = &self.settings.config.directory;
        if !config.enabled || self.settings.mode == Mode::Bulk {
            return Ok(None);
        }
        let (known, clock) = (self.directory.entries(), Arc::clone(&self.settings.clock));
        let (asking, wishes) = crate::directory::Asking::start(config, known, handle.commands.clone(), clock)?;
        self.directory.wish_to(wishes);
        Ok(Some(asking))
    }

    /// Makes entries part of every state; tells whether one of them said something new.
    pub(super) fn learn(&mut self, entries: Vec<Entry>) -> anyhow::Result<bool> {
        let news = self.directory.learn(entries);
        if news.is_empty() {
            return Ok(false);
        }
        let mut by_day: BTreeMap<i32, Vec<Entry>> = BTreeMap::new();
        for (entry, known) in &news {
            if !known {
                self.settle_thing(entry);
            }
            by_day.entry(entry.seen_at.day()).or_default().push(entry.clone());
        }
        for (day, entries) in by_day {
            let rows = sluice_aggregate::directory::rows(&entries)?;
            self.keep_rows(Rows::Plain(tables::DIRECTORY.to_owned(), day, rows))?;
        }
        self.equip()?;
        tracing::info!(event = "directory", entries = news.len(), "AWS told something new of callers");
        Ok(true)
    }

    /// Calls that follow are attributed and priced by what is known now.
    fn equip(&self) -> anyhow::Result<()> {
        let mut place = self.enricher.write().unwrap_or_else(PoisonError::into_inner);
        let enricher = Enricher::clone(&place);
        *place = Arc::new(self.directory.equip(enricher));
        Ok(())
    }

    /// Rates calls again that had no price when models behind profiles were not known yet, unless calls are being rated.
    pub(super) fn rate_for_directory(&mut self) -> anyhow::Result<()> {
        /// Time for pieces that were begun with what was known before: their calls are to be rated again, too.
        const UNDER_WAY: i64 = 10 * sluice_schemas::time::SECOND;
        let now = self.settings.clock.now();
        if std::mem::take(&mut self.directory.rating_due) && self.settings.mode == Mode::Live {
            self.directory.rate_at.get_or_insert(now.plus(UNDER_WAY));
        }
        if self.rating.is_some() || self.directory.rate_at.is_none_or(|due| now < due) {
            return Ok(());
        }
        self.directory.rate_at = None;
        self.live.event(now, Level::Info, "models behind inference profiles are known; calls are rated again".to_owned());
        self.begin_rating(RateOrder { all: false, dry_run: false }, None)
    }
}
