//! The audit trail of the table: where the next line goes, and whether one whose answer was lost is there.
//!
//! A line and the head of the chain are written in one transaction that holds only if the head still has the revision the line was
//! chained to and nothing stands under the line's number. So two writers never chain to the same line, and a transaction that comes
//! through late, after the head has moved, no longer holds.

use std::sync::PoisonError;

use super::commit::Put;
use super::row::{Key, Row};
use super::{DynamoStore, Head, Versions};
use crate::audit::chain::seal;
use crate::store::{AuditEntry, StoreError};

/// Where a line of the audit trail goes.
#[derive(Clone, Debug)]
pub(super) struct Place {
    number: u64,
    /// The head it is chained to, as it was read.
    head: Option<Row>,
}

impl DynamoStore {
    /// Returns the place behind the last line, as far as it is known.
    pub(super) fn next_place(&self) -> Result<Place, StoreError> {
        let known = self.head.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let row = match known {
            Some(row) => Some(row),
            None => self.table.get(&Key::meta("audit"))?,
        };
        match self.head_of(row.as_ref())? {
            Some(head) => Ok(Place { number: head.number + 1, head: row }),
            // Lines from before there was a chain.
            None => Ok(Place { number: self.newest_line()? + 1, head: row }),
        }
    }

    /// Returns the rows that add a line at its place.
    pub(super) fn puts_of_line(&self, entry: &AuditEntry, at: &Place) -> Result<(Put, Put), StoreError> {
        let versions: Versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = seal(&entry.clone().under(&versions), at.number, self.head_of(at.head.as_ref())?.as_ref());
        let head = Head { number: at.number, hash: line.hash.clone() };
        Ok((Put::new(Key::line(at.number), None, &line)?, Put::new(Key::meta("audit"), at.head.clone(), &head)?))
    }

    /// Tells whether the line of a transaction that failed is there. `place` is set again where it may still land.
    pub(super) fn has_landed(&self, write_id: &str, at: Place, place: &mut Option<Place>) -> Result<bool, StoreError> {
        // The head first: if it has not moved when it is read, a line that is found later is told at the next look.
        let head = self.table.get(&Key::meta("audit"))?;
        let line = self.table.get(&Key::line(at.number))?;
        self.keep_head(head.clone());
        if line.as_ref().is_some_and(|line| line.write_id == write_id) {
            return Ok(true);
        }
        let revision = |row: &Option<Row>| row.as_ref().map(|row| (row.revision, row.write_id.clone()));
        if revision(&head) == revision(&at.head) {
            let number = match line {
                // A program that knows no chain wrote it, without moving the head.
                Some(_) => self.newest_line()? + 1,
                None => at.number,
            };
            *place = Some(Place { number, head });
        }
        Ok(false)
    }

    /// Keeps the head for the next line, or forgets it.
    pub(super) fn keep_head(&self, head: Option<Row>) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }

    /// Reads a head.
    pub(super) fn head_of(&self, row: Option<&Row>) -> Result<Option<Head>, StoreError> {
        row.map(|row| self.decode(&Key::meta("audit"), row)).transpose()
    }

    /// Returns the number of the last line; 0 if there is none.
    fn newest_line(&self) -> Result<u64, StoreError> {
        let Some(key) = self.table.newest("audit")? else { return Ok(0) };
        key.line_number().ok_or_else(|| self.table.corrupt(&key, "is not the number of a line"))
    }
}
