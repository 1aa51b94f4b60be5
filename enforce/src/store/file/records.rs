//! Compared and set rows in the file: one table, keys `kind/id`.

use redb::ReadableDatabase;
use serde_json::Value;

use super::{FileStore, RECORDS};
use crate::store::records::{Record, RecordKind, Records};
use crate::store::{AuditEntry, StoreError};

fn key(kind: RecordKind, id: &str) -> String {
    format!("{}/{id}", kind.as_str())
}

fn conflict(kind: RecordKind, id: &str) -> StoreError {
    StoreError::Conflict { what: kind.as_str(), id: id.to_owned() }
}

impl Records for FileStore {
    fn put_record(&self, kind: RecordKind, id: &str, revision: u64, body: &Value, audit: Option<&AuditEntry>) -> Result<u64, StoreError> {
        let key = key(kind, id);
        self.write_fenced("write a record", |transaction| {
            let known: Option<Record> = self.row(transaction, RECORDS, &key)?;
            if known.map_or(0, |known| known.revision) != revision {
                return Err(conflict(kind, id));
            }
            let next = Record { id: id.to_owned(), revision: revision + 1, body: body.clone() };
            self.put(transaction, RECORDS, &key, &next)?;
            audit.map_or(Ok(()), |audit| self.append_audit(transaction, audit))?;
            Ok(next.revision)
        })
    }

    fn remove_record(&self, kind: RecordKind, id: &str, revision: u64, audit: Option<&AuditEntry>) -> Result<(), StoreError> {
        let key = key(kind, id);
        self.write_fenced("remove a record", |transaction| {
            let known: Option<Record> = self.row(transaction, RECORDS, &key)?;
            match known {
                None => return Ok(()),
                Some(known) if known.revision != revision => return Err(conflict(kind, id)),
                Some(_) => {}
            }
            self.remove(transaction, RECORDS, &key)?;
            audit.map_or(Ok(()), |audit| self.append_audit(transaction, audit))
        })
    }

    fn record(&self, kind: RecordKind, id: &str) -> Result<Option<Record>, StoreError> {
        self.get(RECORDS, &key(kind, id))
    }

    fn records(&self, kind: RecordKind) -> Result<Vec<Record>, StoreError> {
        let (first, after) = (key(kind, ""), format!("{}0", kind.as_str()));
        let transaction = self.database.begin_read().map_err(|error| self.failed("read", error))?;
        let rows = transaction.open_table(RECORDS).map_err(|error| self.failed("read", error))?;
        let mut all = Vec::new();
        for row in rows.range(first.as_str()..after.as_str()).map_err(|error| self.failed("read", error))? {
            let (key, value) = row.map_err(|error| self.failed("read", error))?;
            all.push(self.decode("records", key.value(), value.value())?);
        }
        Ok(all)
    }
}
