//! Compared and set rows in the table: one partition a kind. Their revision is kept in the body, so that a row that is removed and
//! written anew begins again.

use serde_json::Value;

use super::commit::{Put, Write};
use super::row::Key;
use super::{Decision, DynamoStore};
use crate::store::records::{Record, RecordKind, Records};
use crate::store::{AuditEntry, StoreError};

fn conflict(kind: RecordKind, id: &str) -> StoreError {
    StoreError::Conflict { what: kind.as_str(), id: id.to_owned() }
}

impl Records for DynamoStore {
    fn put_record(&self, kind: RecordKind, id: &str, revision: u64, body: &Value, audit: Option<&AuditEntry>) -> Result<u64, StoreError> {
        let key = Key::new(kind.as_str(), id);
        self.step("write a record", self.own_check(), |write_id| {
            let known = self.row::<Record>(&key)?;
            if let Some((known, _)) = known.as_ref().filter(|(_, row)| row.write_id == write_id) {
                return Ok(Decision::Known(known.revision));
            }
            if known.as_ref().map_or(0, |(known, _)| known.revision) != revision {
                return Err(conflict(kind, id));
            }
            let next = Record { id: id.to_owned(), revision: revision + 1, body: body.clone() };
            let put = Put::new(key.clone(), known.map(|(_, row)| row), &next)?;
            Ok(Decision::Write(Write::default().put(put).line(audit), next.revision))
        })
    }

    fn remove_record(&self, kind: RecordKind, id: &str, revision: u64, audit: Option<&AuditEntry>) -> Result<(), StoreError> {
        let key = Key::new(kind.as_str(), id);
        self.step("remove a record", self.own_check(), |_| {
            let Some((known, row)) = self.row::<Record>(&key)? else { return Ok(Decision::Known(())) };
            if known.revision != revision {
                return Err(conflict(kind, id));
            }
            Ok(Decision::Write(Write::default().delete_as_read(key.clone(), &row).line(audit), ()))
        })
    }

    fn record(&self, kind: RecordKind, id: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.row(&Key::new(kind.as_str(), id))?.map(|(record, _)| record))
    }

    fn records(&self, kind: RecordKind) -> Result<Vec<Record>, StoreError> {
        self.all(kind.as_str())
    }
}
