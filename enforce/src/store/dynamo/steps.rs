//! The steps of a shared store, each as what it reads, decides and writes.

use std::sync::PoisonError;
use std::time::Duration;

use serde::Serialize;
use sluice_schemas::Micros;
use sluice_schemas::time::{DAY, SECOND};

use super::commit::{FenceCheck, Put, Write};
use super::row::{Key, Row};
use super::{Changed, Decision, DynamoStore, Fence};
use crate::audit::{Head, Versions};
use crate::hold::Hold;
use crate::store::{AuditEntry, Claim, Command, Confirmation, FireRecord, Receipt, SharedStore, StoreError};

/// Days an answered command is kept so that handing it in again stays harmless.
const ANSWERED_DAYS: i64 = 90;
/// Looks for the other row of a transaction.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

impl SharedStore for DynamoStore {
    fn take_fence(&self, owner: &str, now: Micros) -> Result<u64, StoreError> {
        let key = Key::meta("fence");
        let taken = self.step("take the fence", FenceCheck::None, |write_id| {
            let before = self.table.get(&key)?;
            // Our own, if the answer to the last try was lost.
            if let Some(own) = before.as_ref().filter(|row| row.write_id == write_id) {
                return Ok(Decision::Known(Fence { number: own.revision, write_id: write_id.to_owned() }));
            }
            let number = before.as_ref().map_or(0, |row| row.revision) + 1;
            let write = Write::default().put(Put::new(key.clone(), before, &format!("{owner} {now}"))?);
            Ok(Decision::Write(write, Fence { number, write_id: write_id.to_owned() }))
        })?;
        let number = taken.number;
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
        Ok(number)
    }

    fn fence(&self) -> Result<u64, StoreError> {
        Ok(self.table.get(&Key::meta("fence"))?.map_or(0, |row| row.revision))
    }

    fn claim(&self, record: &FireRecord) -> Result<Claim, StoreError> {
        let fence = match self.own() {
            Some(own) if own.number == record.fence => FenceCheck::Exactly(own),
            _ => FenceCheck::AtMost(record.fence),
        };
        let (key, open) = (Key::new("fire", record.fire_id()), Key::new("fire-open", record.fire_id()));
        self.step("claim a fire id", fence, |write_id| {
            Ok(match self.row::<FireRecord>(&key)? {
                // Our own, if the answer to the last try was lost.
                Some((_, row)) if row.made_by == write_id => Decision::Known(Claim::New),
                Some((known, _)) => Decision::Known(Claim::Already(Box::new(known))),
                None => {
                    let write = Write::default().put(Put::new(key.clone(), None, record)?);
                    Decision::Write(write.put(Put::new(open.clone(), None, &record.claimed_at)?), Claim::New)
                }
            })
        })
    }

    fn put_receipt(&self, fire_id: &str, action: &str, receipt: &Receipt, audit: &AuditEntry) -> Result<(), StoreError> {
        self.change("write a receipt", (Key::new("fire", fire_id), "fire"), Some(audit), |mut record: FireRecord, _, _| {
            if record.receipts.contains_key(action) {
                return Ok(Changed::No(()));
            }
            record.receipts.insert(action.to_owned(), receipt.clone());
            Ok(Changed::To { after: record, ttl: None, closes: None, answer: () })
        })
    }

    fn mark_done(&self, fire_id: &str, at: Micros) -> Result<(), StoreError> {
        self.change("settle a fire", (Key::new("fire", fire_id), "fire"), None, |record: FireRecord, _, _| {
            if record.done_at.is_some() {
                return Ok(Changed::No(()));
            }
            let after = FireRecord { done_at: Some(at), ..record };
            Ok(Changed::To { after, ttl: None, closes: Some(Key::new("fire-open", fire_id)), answer: () })
        })
    }

    fn fire(&self, fire_id: &str) -> Result<Option<FireRecord>, StoreError> {
        Ok(self.row(&Key::new("fire", fire_id))?.map(|(record, _)| record))
    }

    fn fires(&self) -> Result<Vec<FireRecord>, StoreError> {
        self.all("fire")
    }

    fn unfinished(&self) -> Result<Vec<FireRecord>, StoreError> {
        let mut records = Vec::new();
        for (open, _) in self.table.query("fire-open", None, usize::MAX)? {
            let record = self.claimed(&open)?;
            // It may have been settled since the list was read.
            if record.done_at.is_none() {
                records.push(record);
            }
        }
        Ok(records)
    }

    fn put_hold(&self, hold: &Hold, audit: &AuditEntry) -> Result<Hold, StoreError> {
        let key = Key::new("hold", &hold.id);
        self.step("put a hold", self.own_check(), |_| {
            Ok(match self.row::<Hold>(&key)? {
                Some((known, _)) => Decision::Known(known),
                None => Decision::Write(Write::default().put(Put::new(key.clone(), None, hold)?).line(Some(audit)), hold.clone()),
            })
        })
    }

    fn update_hold(&self, hold: &Hold, audit: &AuditEntry) -> Result<Hold, StoreError> {
        self.change("change a hold", (Key::new("hold", &hold.id), "hold"), Some(audit), |known: Hold, row, write_id| {
            if row.write_id == write_id {
                return Ok(Changed::No(known));
            }
            if known.revision != hold.revision {
                return Err(StoreError::Conflict { what: "hold", id: hold.id.clone() });
            }
            let next = Hold { revision: hold.revision + 1, ..hold.clone() };
            Ok(Changed::To { after: next.clone(), ttl: None, closes: None, answer: next })
        })
    }

    fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.all("hold")
    }

    fn hold(&self, id: &str) -> Result<Option<Hold>, StoreError> {
        Ok(self.row(&Key::new("hold", id))?.map(|(hold, _)| hold))
    }

    fn confirm(&self, confirmation: &Confirmation, audit: &AuditEntry) -> Result<(), StoreError> {
        let key = Key::new("confirmation", &confirmation.budget);
        self.overwrite("confirm a budget", &key, confirmation, audit)
    }

    fn confirmations(&self) -> Result<Vec<Confirmation>, StoreError> {
        self.all("confirmation")
    }

    fn submit(&self, command: &Command) -> Result<Command, StoreError> {
        let (key, open) = (Key::new("command", &command.id), Key::new("command-open", &command.id));
        self.step("hand in a command", self.own_check(), |_| {
            Ok(match self.row::<Command>(&key)? {
                Some((known, _)) => Decision::Known(known),
                None => {
                    let write = Write::default().put(Put::new(key.clone(), None, command)?);
                    Decision::Write(write.put(Put::new(open.clone(), None, command)?), command.clone())
                }
            })
        })
    }

    fn open_commands(&self) -> Result<Vec<Command>, StoreError> {
        self.all("command-open")
    }

    fn answer(&self, id: &str, outcome: &str, audit: &AuditEntry) -> Result<(), StoreError> {
        self.change("answer a command", (Key::new("command", id), "command"), Some(audit), |command: Command, _, _| {
            if command.outcome.is_some() {
                return Ok(Changed::No(()));
            }
            let after = Command { outcome: Some(outcome.to_owned()), ..command };
            let ttl = audit.at.plus(ANSWERED_DAYS * DAY).0.div_euclid(SECOND);
            Ok(Changed::To { after, ttl: Some(ttl), closes: Some(Key::new("command-open", id)), answer: () })
        })
    }

    fn set_stopped(&self, stopped: bool, audit: &AuditEntry) -> Result<(), StoreError> {
        self.overwrite("set the kill switch", &Key::meta("stopped"), &stopped, audit)
    }

    fn stopped(&self) -> Result<bool, StoreError> {
        Ok(self.row(&Key::meta("stopped"))?.is_some_and(|(stopped, _)| stopped))
    }

    fn audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.step("write the audit trail", self.own_check(), |_| Ok(Decision::Write(Write::default().line(Some(entry)), ())))
    }

    fn audit_trail(&self, after: u64, most: usize) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        let rows = self.table.query("audit", Some(&Key::line(first)), most)?;
        let line = |(key, row): &(Key, Row)| {
            let number = key.line_number().ok_or_else(|| self.table.corrupt(key, "is not the number of a line"))?;
            Ok((number, self.decode(key, row)?))
        };
        rows.iter().map(line).collect()
    }

    fn audit_head(&self) -> Result<Option<Head>, StoreError> {
        self.head_of(self.table.get(&Key::meta("audit"))?.as_ref())
    }

    fn set_versions(&self, versions: Versions) {
        *self.versions.lock().unwrap_or_else(PoisonError::into_inner) = versions;
    }
}

impl DynamoStore {
    /// Reads the fire that a row of `fire-open` names. While the transaction that writes both is under way, one can be seen
    /// before the other.
    fn claimed(&self, open: &Key) -> Result<FireRecord, StoreError> {
        for _ in 0..LOOKS {
            if let Some(record) = self.fire(&open.sk)? {
                return Ok(record);
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Err(self.table.corrupt(open, "names a fire that is not there"))
    }

    /// Writes a row whatever it held, and a line of the audit trail. That it holds only from the revision that was read keeps a
    /// write whose answer was lost from landing on top of a later one.
    fn overwrite<T: Serialize>(&self, operation: &'static str, key: &Key, body: &T, audit: &AuditEntry) -> Result<(), StoreError> {
        self.step(operation, self.own_check(), |write_id| {
            let before = self.table.get(key)?;
            if before.as_ref().is_some_and(|row| row.write_id == write_id) {
                return Ok(Decision::Known(()));
            }
            Ok(Decision::Write(Write::default().put(Put::new(key.clone(), before, body)?).line(Some(audit)), ()))
        })
    }
}
