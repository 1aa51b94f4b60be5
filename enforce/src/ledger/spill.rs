//! Keeps memory bounded: idle session and lifetime counters can live in the store alone.
//!
//! Nothing is spilled unless the caller asks, and whoever asks keeps this order after each `apply`: read the rows named by
//! [`Ledger::unrestored`], hand them to [`Ledger::restore`], then commit.

use std::sync::Arc;

use sluice_schemas::Micros;

use super::{Ledger, rows};
use crate::book::Key;
use crate::codec::{self, LedgerError};
use crate::decide::Purpose;
use crate::fire::Crossing;

impl Ledger {
    /// Returns how many counters are in memory.
    #[must_use]
    pub fn live_counters(&self) -> usize {
        self.books.iter().map(|book| book.counters.len()).sum()
    }

    /// Returns how many counters are in the store alone.
    #[must_use]
    pub fn spilled_counters(&self) -> usize {
        self.books.iter().map(|book| book.spilled.len()).sum()
    }

    /// Drops the longest idle session and lifetime counters from memory until `most` are left, and returns how many went.
    ///
    /// Counters whose row is not committed and counters that crossed a threshold stay: a hold may rest on them.
    pub fn spill(&mut self, most: usize) -> usize {
        let excess = self.live_counters().saturating_sub(most);
        if excess == 0 {
            return 0;
        }
        let mut idle: Vec<((u64, Micros), usize, Key)> = Vec::new();
        for (at, book) in self.books.iter().enumerate() {
            if book.geometry.is_none() && !book.budget.window.is_calendar() {
                let clean = book.counters.iter().filter(|(_, counter)| !counter.dirty && counter.fired.is_empty());
                idle.extend(clean.map(|(key, counter)| ((counter.batch, counter.last), at, key.clone())));
            }
        }
        idle.sort_unstable();
        idle.truncate(excess);
        for (_, at, key) in &idle {
            let book = &mut self.books[*at];
            let hash = book.hash(key.borrowed());
            book.spilled.insert(hash);
            book.counters.remove(key);
        }
        idle.len()
    }

    /// Returns the keys of rows that are needed to complete counters touched since.
    #[must_use]
    pub fn unrestored(&self) -> Vec<Vec<u8>> {
        let keys = |book: &crate::book::Book| -> Vec<Vec<u8>> {
            book.unrestored.iter().map(|key| codec::counter_key(&book.budget.name, key.borrowed())).collect()
        };
        self.books.iter().flat_map(keys).collect()
    }

    /// Completes counters from their rows (`read` returns `None` where the store has none) and returns the crossings that
    /// show now.
    ///
    /// # Errors
    /// Returns the first row that contradicts itself.
    pub fn restore(&mut self, mut read: impl FnMut(&[u8]) -> Option<Vec<u8>>) -> Result<Vec<Crossing>, LedgerError> {
        let limits = Arc::clone(&self.limits);
        let context = self.context(limits.as_ref(), Purpose::Live);
        let mut crossings = Vec::new();
        for book in &mut self.books {
            for key in std::mem::take(&mut book.unrestored) {
                let row_key = codec::counter_key(&book.budget.name, key.borrowed());
                let stored = read(&row_key).map(|value| rows::read_counter(&book.budget, &row_key, &value)).transpose()?;
                let hash = book.hash(key.borrowed());
                book.spilled.remove(&hash);
                let mut last = Micros(i64::MIN);
                if let Some(counter) = book.counters.get_mut(&key) {
                    counter.unrestored = false;
                    last = counter.last;
                    stored.into_iter().for_each(|stored| counter.merge(stored));
                }
                book.check(key.borrowed(), None, last, context, &mut crossings);
                book.mark(key.borrowed());
            }
        }
        self.enlist(&mut crossings);
        Ok(crossings)
    }
}
