//! The ledger as rows of the local store, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_schemas::Micros;

use super::{Ledger, change};
use crate::book::{Book, Key};
use crate::budget::Budget;
use crate::codec::{self, BookRow, LedgerError, RowKey};
use crate::config::Budgets;
use crate::counter::Counter;
use crate::decide::Purpose;
use crate::fire::Crossing;
use crate::limits::AgentLimits;
use crate::ring::Bucket;

/// Returns the keys of all rows of a counter.
pub(super) fn keys_of(budget: &str, key: &Key, buckets: &[i64]) -> Vec<Vec<u8>> {
    let own = codec::counter_key(budget, key.borrowed());
    let buckets = buckets.iter().map(|index| codec::bucket_key(budget, key.borrowed(), *index));
    std::iter::once(own).chain(buckets).collect()
}

impl Ledger {
    /// Returns the rows that changed since the last call, for the same transaction as the positions; `None` deletes.
    ///
    /// To be written in this order.
    pub fn take_dirty(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut rows: Vec<(Vec<u8>, Option<Vec<u8>>)> = std::mem::take(&mut self.deletes).into_iter().map(|key| (key, None)).collect();
        for book in &mut self.books {
            let name = book.budget.name.clone();
            if std::mem::take(&mut book.dirty_self) {
                rows.push((codec::book_key(&name), Some(codec::write_book(book))));
            }
            for key in std::mem::take(&mut book.dirty) {
                let Some(counter) = book.counters.get_mut(&key) else { continue };
                if counter.unrestored {
                    // Written when the stored part is back: alone it would overwrite it.
                    book.dirty.push(key);
                    continue;
                }
                counter.dirty = false;
                if let Some(ring) = &mut counter.ring {
                    let (changed, removed) = ring.take_changes();
                    rows.extend(removed.into_iter().map(|index| (codec::bucket_key(&name, key.borrowed(), index), None)));
                    let write =
                        |bucket: Bucket| (codec::bucket_key(&name, key.borrowed(), bucket.index), Some(codec::write_bucket(bucket.tally)));
                    rows.extend(changed.into_iter().map(write));
                }
                rows.push((codec::counter_key(&name, key.borrowed()), Some(codec::write_counter(&book.budget, counter))));
            }
        }
        for fire_id in std::mem::take(&mut self.changed_pending) {
            let value = self.pending.get(&fire_id).map(codec::write_pending);
            rows.push((codec::pending_key(&fire_id), value));
        }
        rows
    }

    /// Reads a ledger back. Without rows it is a new one. Budgets that changed meanwhile are treated as by
    /// [`Ledger::reconfigure`].
    ///
    /// # Errors
    /// Returns the first row that contradicts itself.
    pub fn load(
        budgets: Arc<Budgets>,
        limits: Arc<dyn AgentLimits>,
        rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<Self, LedgerError> {
        let mut ledger = Self::new(Arc::clone(&budgets), limits);
        let mut stored = Stored::read(rows)?;
        stored.check()?;
        ledger.pending = std::mem::take(&mut stored.pending);
        if stored.books.is_empty() {
            return Ok(ledger);
        }
        ledger.pristine = false;
        let limits = Arc::clone(&ledger.limits);
        let mut books = Vec::with_capacity(budgets.len());
        for budget in budgets.iter() {
            let known = stored.books.get(&budget.name).and_then(|stored| Some((stored, stored.row.as_ref()?)));
            let known = known.filter(|(_, row)| row.counting_digest == budget.counting_digest() && !row.seeding);
            let Some((stored_book, row)) = known else {
                books.push(change::unseeded(Arc::clone(budget)));
                continue;
            };
            let mut book = stored_book.restore(Arc::clone(budget), row)?;
            if row.digest != budget.digest() {
                change::rearm_changed(&mut book, ledger.context(limits.as_ref(), Purpose::Live));
            }
            ledger.newest = book.counters.values().map(|counter| counter.last).fold(ledger.newest, Micros::max);
            stored.books.remove(&budget.name);
            books.push(book);
        }
        ledger.books = books;
        for (name, book) in &stored.books {
            let replaced = ledger.books.iter().any(|other| other.budget.name == *name);
            ledger.deletes.extend(book.keys(name).chain((!replaced).then(|| codec::book_key(name))));
        }
        Ok(ledger)
    }
}

/// Rows of one budget.
#[derive(Default)]
struct StoredBook {
    row: Option<BookRow>,
    /// Key and value of each counter's row.
    counters: Vec<(Key, Vec<u8>)>,
    buckets: BTreeMap<Key, Vec<Bucket>>,
}

#[derive(Default)]
struct Stored {
    books: BTreeMap<String, StoredBook>,
    pending: BTreeMap<String, Crossing>,
}

impl Stored {
    fn read(rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, LedgerError> {
        let mut stored = Self::default();
        for (key, value) in rows {
            match codec::read_key(&key)? {
                RowKey::Book { budget } => stored.book(budget).row = Some(codec::read_book(&key, &value)?),
                RowKey::Counter { budget, key } => stored.book(budget).counters.push((key, value)),
                RowKey::Bucket { budget, key: counter, index } => {
                    let tally = codec::read_bucket(&key, &value)?;
                    stored.book(budget).buckets.entry(counter).or_default().push(Bucket { index, tally });
                }
                RowKey::Pending { fire_id } => {
                    stored.pending.insert(fire_id, codec::read_pending(&key, &value)?);
                }
            }
        }
        Ok(stored)
    }

    /// Rows of one transaction come and go together: one without the other is damage.
    fn check(&self) -> Result<(), LedgerError> {
        for (name, book) in &self.books {
            if book.row.is_none() {
                return Err(LedgerError::orphan(&codec::book_key(name), "is missing, but there are counters of it"));
            }
            let counters: BTreeSet<&Key> = book.counters.iter().map(|(key, _)| key).collect();
            if let Some(key) = book.buckets.keys().find(|key| !counters.contains(key)) {
                return Err(LedgerError::orphan(&codec::counter_key(name, key.borrowed()), "is missing, but there are buckets of it"));
            }
        }
        Ok(())
    }

    fn book(&mut self, budget: String) -> &mut StoredBook {
        self.books.entry(budget).or_default()
    }
}

impl StoredBook {
    fn restore(&self, budget: Arc<Budget>, row: &BookRow) -> Result<Book, LedgerError> {
        let mut book = Book::new(budget);
        book.confirmed = row.confirmed;
        book.forgotten_before = row.forgotten_before;
        (book.unplaced, book.too_late) = (row.unplaced, row.too_late);
        book.dirty_self = row.digest != book.budget.digest();
        for (key, value) in &self.counters {
            let row_key = codec::counter_key(&book.budget.name, key.borrowed());
            let mut counter = read_counter(&book.budget, &row_key, value)?;
            if let Some(ring) = &mut counter.ring {
                self.buckets.get(key).into_iter().flatten().for_each(|bucket| ring.put_back(*bucket));
            }
            book.counters.insert(key.clone(), counter);
        }
        Ok(book)
    }

    /// Returns the keys of all rows but the budget's own.
    fn keys<'a>(&'a self, budget: &'a str) -> impl Iterator<Item = Vec<u8>> + 'a {
        let counters = self.counters.iter().map(|(key, _)| codec::counter_key(budget, key.borrowed()));
        let bucket_keys = |(key, buckets): (&'a Key, &'a Vec<Bucket>)| -> Vec<Vec<u8>> {
            buckets.iter().map(|bucket| codec::bucket_key(budget, key.borrowed(), bucket.index)).collect()
        };
        counters.chain(self.buckets.iter().flat_map(bucket_keys))
    }
}

/// Reads a counter's row for a budget whose thresholds may have changed.
pub(super) fn read_counter(budget: &Budget, key: &[u8], value: &[u8]) -> Result<Counter, LedgerError> {
    let threshold = |text: &str| {
        let index = budget.thresholds.iter().position(|threshold| threshold.text == text)?;
        u8::try_from(index).ok()
    };
    codec::read_counter(key, value, threshold)
}
