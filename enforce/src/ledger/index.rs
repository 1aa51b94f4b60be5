//! Which budgets can count a call, found without asking all of them: by the values that their predicates need.

use std::ops::Range;

use hashbrown::HashMap;

use crate::book::Book;
use crate::predicate::Row;
use crate::predicate::needs::Field;

/// Budgets by what a call must have for them.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Fields that predicates need a value of, and the budgets by value.
    by_value: Vec<(Field, HashMap<String, Entries>)>,
    /// Budgets of which nothing can be said beforehand.
    always: Vec<usize>,
}

/// The budgets that need a value. Most values are of one budget, which stands beside them.
#[derive(Debug)]
struct Entries {
    first: Entry,
    more: Vec<Entry>,
}

/// A budget that needs a value.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Its place in the order of the file.
    book: usize,
    /// A call that has the value is what its predicate asks for; the predicate need not be asked.
    is_all: bool,
}

/// A kind of call that a budget may count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    book: usize,
    pub(super) kind: usize,
    /// Its predicate is true for it.
    pub(super) is_kept: bool,
}

/// Which budgets may count which kinds of call.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    found: Vec<Candidate>,
    /// Budgets in the order of the file, with their part of `found`; without one a budget may count every kind.
    pub(super) books: Vec<(usize, Option<Range<usize>>)>,
}

impl Candidates {
    /// Returns a budget's kinds in ascending order.
    pub(super) fn of(&self, part: &Range<usize>) -> &[Candidate] {
        self.found.get(part.clone()).unwrap_or_default()
    }
}

impl Index {
    /// Makes the index of all books.
    pub(super) fn of(books: &[Book]) -> Self {
        let mut index = Self::default();
        for (book, of_book) in books.iter().enumerate() {
            let Some(needs) = of_book.budget.filter.as_ref().and_then(|filter| filter.needs()) else {
                index.always.push(book);
                continue;
            };
            let known = index.by_value.iter().position(|(field, _)| *field == needs.field);
            let slot = known.unwrap_or_else(|| {
                index.by_value.push((needs.field.clone(), HashMap::new()));
                index.by_value.len() - 1
            });
            for value in needs.values {
                let entry = Entry { book, is_all: needs.is_all };
                let entries = index.by_value[slot].1.entry(value).or_insert(Entries { first: entry, more: Vec::new() });
                // A value may stand twice in one predicate.
                if entries.more.last().unwrap_or(&entries.first).book != book {
                    entries.more.push(entry);
                }
            }
        }
        index
    }

    /// An index that says nothing: every budget is asked.
    #[cfg(test)]
    pub(super) fn none(books: usize) -> Self {
        Self { by_value: Vec::new(), always: (0..books).collect() }
    }

    /// Finds the budgets that may count these kinds of call.
    pub(super) fn may_count(&self, rows: &[Row<'_>]) -> Candidates {
        let mut found: Vec<Candidate> = Vec::new();
        for (kind, row) in rows.iter().enumerate() {
            for (field, books) in &self.by_value {
                let Some(entries) = field.value(row).and_then(|value| books.get(value)) else { continue };
                let entries = std::iter::once(&entries.first).chain(&entries.more);
                found.extend(entries.map(|entry| Candidate { book: entry.book, kind, is_kept: entry.is_all }));
            }
        }
        found.sort_unstable();
        let mut books: Vec<(usize, Option<Range<usize>>)> = self.always.iter().map(|book| (*book, None)).collect();
        let mut from = 0;
        for of_book in found.chunk_by(|one, next| one.book == next.book) {
            books.extend(of_book.first().map(|first| (first.book, Some(from..from + of_book.len()))));
            from += of_book.len();
        }
        books.sort_unstable_by_key(|(book, _)| *book);
        Candidates { found, books }
    }
}
