//! The lease as a row of the table.

use super::commit::{FenceCheck, Put, Write};
use super::row::Key;
use super::{Decision, DynamoSettings, DynamoStore};
use crate::lease::{Beat, Lease};
use crate::store::StoreError;

/// A lease in the table of the shared store.
pub struct DynamoLease(DynamoStore);

impl DynamoLease {
    /// Opens it with a client of its own, so that a beat waits for nothing else.
    ///
    /// # Errors
    /// The table cannot be reached or is not one of these.
    pub fn open(settings: &DynamoSettings) -> Result<Self, StoreError> {
        DynamoStore::open(settings).map(Self)
    }
}

impl Lease for DynamoLease {
    fn look(&self) -> Result<Option<Beat>, StoreError> {
        Ok(self.0.row::<Beat>(&Key::meta("lease"))?.map(|(beat, _)| beat))
    }

    fn beat(&self, seen: Option<&Beat>, next: &Beat) -> Result<bool, StoreError> {
        let key = Key::meta("lease");
        self.0.step("renew the lease", FenceCheck::None, |_| {
            let found = self.0.row::<Beat>(&key)?;
            let beat = found.as_ref().map(|(beat, _)| beat);
            if beat == Some(next) || beat != seen {
                return Ok(Decision::Known(beat == Some(next)));
            }
            let before = found.map(|(_, row)| row);
            Ok(Decision::Write(Write::default().put(Put::new(key.clone(), before, next)?), true))
        })
    }
}
