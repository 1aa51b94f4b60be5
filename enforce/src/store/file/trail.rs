//! The audit trail of the file: lines by number, and the head of their chain, which moves with each in one transaction.

use std::sync::PoisonError;

use redb::{ReadableDatabase, ReadableTable, WriteTransaction};

use super::{AUDIT, FileStore, META};
use crate::audit::chain::{Head, seal};
use crate::store::{AuditEntry, StoreError};

/// Where the head stands.
pub(super) const HEAD: &str = "audit_head";

impl FileStore {
    /// Adds a line behind the last one.
    ///
    /// Its number is that of the last line and not of the head: a program that knows no chain may have written in between.
    pub(super) fn append_audit(&self, transaction: &WriteTransaction, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut trail = transaction.open_table(AUDIT).map_err(|error| self.failed("write", error))?;
        let last = trail.last().map_err(|error| self.failed("write", error))?.map_or(0, |(number, _)| number.value());
        let head = {
            let meta = transaction.open_table(META).map_err(|error| self.failed("read", error))?;
            let text = meta.get(HEAD).map_err(|error| self.failed("read", error))?.map(|value| value.value().to_owned());
            text.map(|text| self.decode_head(&text)).transpose()?
        };
        // Below the head a line is gone; a new one must not take its place unnoticed.
        let number = head.as_ref().map_or(0, |head| head.number).max(last) + 1;
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = seal(&entry.clone().under(&versions), number, head.as_ref());
        let bytes = serde_json::to_vec(&line).map_err(|error| self.corrupt("audit", "new", &error.to_string()))?;
        trail.insert(number, bytes.as_slice()).map_err(|error| self.failed("write", error))?;
        let head =
            serde_json::to_string(&Head { number, hash: line.hash }).map_err(|error| self.corrupt("meta", HEAD, &error.to_string()))?;
        self.set_meta(transaction, HEAD, &head)
    }

    pub(super) fn read_trail(&self, after: u64, most: usize) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.failed("read", error))?;
        let trail = transaction.open_table(AUDIT).map_err(|error| self.failed("read", error))?;
        let mut lines = Vec::new();
        for row in trail.range(after.saturating_add(1)..).map_err(|error| self.failed("read", error))?.take(most) {
            let (number, value) = row.map_err(|error| self.failed("read", error))?;
            lines.push((number.value(), self.decode("audit", &number.value().to_string(), value.value())?));
        }
        Ok(lines)
    }

    pub(super) fn decode_head(&self, text: &str) -> Result<Head, StoreError> {
        self.decode("meta", HEAD, text.as_bytes())
    }
}
