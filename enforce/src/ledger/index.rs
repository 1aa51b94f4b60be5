//! Which budgets can count a call, found without asking all of them: by the values that their predicates need.

use hashbrown::HashMap;

use crate::book::Book;
use crate::predicate::Row;
use crate::predicate::needs::Field;

/// Budgets by what a call must have for them.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Fields that predicates need a value of, and the budgets by value; numbers are places in the order of the file.
    by_value: Vec<(Field, HashMap<String, Vec<usize>>)>,
    /// Budgets of which nothing can be said beforehand.
    always: Vec<usize>,
}

impl Index {
    /// Makes the index of all books.
    pub(super) fn of(books: &[Book]) -> Self {
        let mut index = Self::default();
        for (at, book) in books.iter().enumerate() {
            match book.budget.filter.as_ref().and_then(|filter| filter.needs()) {
                None => index.always.push(at),
                Some(needs) => {
                    let known = index.by_value.iter().position(|(field, _)| *field == needs.field);
                    let slot = known.unwrap_or_else(|| {
                        index.by_value.push((needs.field.clone(), HashMap::new()));
                        index.by_value.len() - 1
                    });
                    for value in needs.values {
                        let books = index.by_value[slot].1.entry(value).or_default();
                        // A value may stand twice in one predicate.
                        if books.last() != Some(&at) {
                            books.push(at);
                        }
                    }
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

    /// Returns for each budget that may count some of these kinds of call which ones, both in ascending order; without kinds it may count all.
    pub(super) fn may_count(&self, rows: &[Row<'_>]) -> Vec<(usize, Option<Vec<usize>>)> {
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for (kind, row) in rows.iter().enumerate() {
            for (field, books) in &self.by_value {
                let found = field.value(row).and_then(|value| books.get(value));
                pairs.extend(found.into_iter().flatten().map(|book| (*book, kind)));
            }
        }
        pairs.sort_unstable();
        let mut of_books: Vec<(usize, Option<Vec<usize>>)> = self.always.iter().map(|book| (*book, None)).collect();
        for (book, kind) in pairs {
            match of_books.last_mut() {
                Some((last, Some(kinds))) if *last == book => kinds.push(kind),
                _ => of_books.push((book, Some(vec![kind]))),
            }
        }
        of_books.sort_unstable_by_key(|(book, _)| *book);
        of_books
    }
}
