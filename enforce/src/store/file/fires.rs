//! Steps of a fire within one transaction of the file, which may hold many of them.

use redb::WriteTransaction;
use sluice_schemas::Micros;

use super::{FIRES, FileStore, OPEN_FIRES, not_found};
use crate::store::{AuditEntry, Claim, FireRecord, Receipt, StoreError};

impl FileStore {
    pub(super) fn claim_in(&self, transaction: &WriteTransaction, record: &FireRecord) -> Result<Claim, StoreError> {
        self.refuse_if_behind(transaction, record.fence)?;
        let id = record.fire_id();
        if let Some(known) = self.row(transaction, FIRES, id)? {
            return Ok(Claim::Already(Box::new(known)));
        }
        self.put(transaction, FIRES, id, record)?;
        self.put(transaction, OPEN_FIRES, id, &record.claimed_at)?;
        Ok(Claim::New)
    }

    pub(super) fn put_receipt_in(
        &self,
        transaction: &WriteTransaction,
        (fire_id, action): (&str, &str),
        receipt: &Receipt,
        audit: &AuditEntry,
    ) -> Result<(), StoreError> {
        let mut record: FireRecord = self.row(transaction, FIRES, fire_id)?.ok_or_else(|| not_found("fire", fire_id))?;
        if record.receipts.contains_key(action) {
            return Ok(());
        }
        record.receipts.insert(action.to_owned(), receipt.clone());
        self.put(transaction, FIRES, fire_id, &record)?;
        self.append_audit(transaction, audit)
    }

    pub(super) fn mark_done_in(&self, transaction: &WriteTransaction, fire_id: &str, at: Micros) -> Result<(), StoreError> {
        let mut record: FireRecord = self.row(transaction, FIRES, fire_id)?.ok_or_else(|| not_found("fire", fire_id))?;
        record.done_at = record.done_at.or(Some(at));
        self.put(transaction, FIRES, fire_id, &record)?;
        self.remove(transaction, OPEN_FIRES, fire_id)
    }
}
