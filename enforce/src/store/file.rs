//! The shared store of one machine: a redb file, each step one synced transaction.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_schemas::Micros;

use self::guard::Guard;
use super::{AuditEntry, Claim, Command, Confirmation, Ended, FireRecord, Receipt, SharedStore, StoreError};
use crate::audit::{Head, Versions};
use crate::hold::Hold;

mod fires;
mod guard;
mod records;
mod trail;

/// Format that is written.
const FORMAT: u32 = 1;
const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const FIRES: Rows = TableDefinition::new("fires");
const OPEN_FIRES: Rows = TableDefinition::new("open_fires");
const HOLDS: Rows = TableDefinition::new("holds");
const CONFIRMATIONS: Rows = TableDefinition::new("confirmations");
const COMMANDS: Rows = TableDefinition::new("commands");
const OPEN_COMMANDS: Rows = TableDefinition::new("open_commands");
const RECORDS: Rows = TableDefinition::new("records");
const AUDIT: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit");

type Rows = TableDefinition<'static, &'static str, &'static [u8]>;

/// A shared store in a file.
pub struct FileStore {
    database: Arc<Database>,
    guard: Guard,
    path: PathBuf,
    /// Fence this handle took; 0 if it took none.
    own: AtomicU64,
    versions: Mutex<Versions>,
}

impl FileStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another process has it, [`StoreError::Corrupt`] if it is not a store or a damaged one.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let place = path.display().to_string();
        let is_new = !path.exists();
        let (guard, database) = Guard::opening(
            path,
            |error| StoreError::Unavailable { operation: "open", detail: error.to_string() },
            || Database::create(path).map_err(|error| failure(&place, "open", &error.into())),
        )?;
        let store = Self { database: Arc::new(database), guard, path: path.to_owned(), own: AtomicU64::new(0), versions: Mutex::default() };
        if is_new {
            store.sync_folder()?;
        }
        store.write("open", |transaction| {
            for table in [FIRES, OPEN_FIRES, HOLDS, CONFIRMATIONS, COMMANDS, OPEN_COMMANDS, RECORDS] {
                transaction.open_table(table).map_err(|error| store.failed("open", error))?;
            }
            transaction.open_table(AUDIT).map_err(|error| store.failed("open", error))?;
            store.check_format(transaction)
        })?;
        Ok(store)
    }

    /// Returns another handle, with no fence of its own.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            database: Arc::clone(&self.database),
            guard: self.guard.clone(),
            path: self.path.clone(),
            own: AtomicU64::new(0),
            versions: Mutex::default(),
        }
    }

    /// A new file is durable once its folder is.
    fn sync_folder(&self) -> Result<(), StoreError> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| StoreError::Unavailable { operation: "sync its folder", detail: error.to_string() })
    }

    fn check_format(&self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        let mut meta = transaction.open_table(META).map_err(|error| self.failed("open", error))?;
        let found = meta.get("format").map_err(|error| self.failed("open", error))?.map(|value| value.value().to_owned());
        match found {
            None => {
                meta.insert("format", FORMAT.to_string().as_str()).map_err(|error| self.failed("open", error))?;
                Ok(())
            }
            Some(found) if found == FORMAT.to_string() => Ok(()),
            Some(found) => Err(StoreError::Format { place: self.path.display().to_string(), found, known: FORMAT }),
        }
    }

    fn failed(&self, operation: &'static str, error: impl Into<redb::Error>) -> StoreError {
        failure(&self.path.display().to_string(), operation, &error.into())
    }

    fn corrupt(&self, table: &str, key: &str, detail: &str) -> StoreError {
        StoreError::Corrupt { place: self.path.display().to_string(), detail: format!("row '{key}' of {table}: {detail}") }
    }

    /// Runs one durable transaction; an error leaves the file as it was.
    fn write<T>(&self, operation: &'static str, step: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let held = self.guard.hold().map_err(|error| StoreError::Unavailable { operation, detail: error.to_string() })?;
        let Some(_held) = held else {
            let own = self.own.load(Ordering::Relaxed);
            return Err(StoreError::Fenced { own, current: own + 1 });
        };
        let transaction = self.database.begin_write().map_err(|error| self.failed(operation, error))?;
        let result = step(&transaction)?;
        transaction.commit().map_err(|error| self.failed(operation, error))?;
        Ok(result)
    }

    /// Like [`FileStore::write`], and refuses if this handle took a fence that is no longer in force.
    fn write_fenced<T>(
        &self,
        operation: &'static str,
        step: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write(operation, |transaction| {
            match self.own.load(Ordering::Relaxed) {
                0 => {}
                own => self.refuse_if_behind(transaction, own)?,
            }
            step(transaction)
        })
    }

    fn refuse_if_behind(&self, transaction: &WriteTransaction, own: u64) -> Result<(), StoreError> {
        let current = self.fence_in(transaction)?;
        if own < current { Err(StoreError::Fenced { own, current }) } else { Ok(()) }
    }

    fn decode<T: DeserializeOwned>(&self, table: &str, key: &str, bytes: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(bytes).map_err(|error| self.corrupt(table, key, &error.to_string()))
    }

    fn get<T: DeserializeOwned>(&self, table: Rows, key: &str) -> Result<Option<T>, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.failed("read", error))?;
        let rows = transaction.open_table(table).map_err(|error| self.failed("read", error))?;
        let row = rows.get(key).map_err(|error| self.failed("read", error))?;
        row.map(|row| self.decode(&table.to_string(), key, row.value())).transpose()
    }

    fn all<T: DeserializeOwned>(&self, table: Rows) -> Result<Vec<T>, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.failed("read", error))?;
        let rows = transaction.open_table(table).map_err(|error| self.failed("read", error))?;
        let mut all = Vec::new();
        for row in rows.iter().map_err(|error| self.failed("read", error))? {
            let (key, value) = row.map_err(|error| self.failed("read", error))?;
            all.push(self.decode(&table.to_string(), key.value(), value.value())?);
        }
        Ok(all)
    }

    fn row<T: DeserializeOwned>(&self, transaction: &WriteTransaction, table: Rows, key: &str) -> Result<Option<T>, StoreError> {
        let rows = transaction.open_table(table).map_err(|error| self.failed("read", error))?;
        let row = rows.get(key).map_err(|error| self.failed("read", error))?;
        row.map(|row| self.decode(&table.to_string(), key, row.value())).transpose()
    }

    fn put<T: Serialize>(&self, transaction: &WriteTransaction, table: Rows, key: &str, row: &T) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(row).map_err(|error| self.corrupt(&table.to_string(), key, &error.to_string()))?;
        let mut rows: Table<'_, &str, &[u8]> = transaction.open_table(table).map_err(|error| self.failed("write", error))?;
        rows.insert(key, bytes.as_slice()).map_err(|error| self.failed("write", error))?;
        Ok(())
    }

    fn remove(&self, transaction: &WriteTransaction, table: Rows, key: &str) -> Result<(), StoreError> {
        let mut rows: Table<'_, &str, &[u8]> = transaction.open_table(table).map_err(|error| self.failed("write", error))?;
        rows.remove(key).map_err(|error| self.failed("write", error))?;
        Ok(())
    }

    fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.failed("read", error))?;
        let meta = transaction.open_table(META).map_err(|error| self.failed("read", error))?;
        Ok(meta.get(key).map_err(|error| self.failed("read", error))?.map(|value| value.value().to_owned()))
    }

    fn set_meta(&self, transaction: &WriteTransaction, key: &str, value: &str) -> Result<(), StoreError> {
        let mut meta = transaction.open_table(META).map_err(|error| self.failed("write", error))?;
        meta.insert(key, value).map_err(|error| self.failed("write", error))?;
        Ok(())
    }

    fn fence_in(&self, transaction: &WriteTransaction) -> Result<u64, StoreError> {
        let meta = transaction.open_table(META).map_err(|error| self.failed("read", error))?;
        let text = meta.get("fence").map_err(|error| self.failed("read", error))?.map(|value| value.value().to_owned());
        text.map_or(Ok(0), |text| text.parse().map_err(|_| self.corrupt("meta", "fence", &text)))
    }
}

/// Tells damage from a file that cannot be reached.
fn failure(place: &str, operation: &'static str, error: &redb::Error) -> StoreError {
    let place = place.to_owned();
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => StoreError::Busy { place },
        redb::Error::Corrupted(detail) => StoreError::Corrupt { place, detail: detail.clone() },
        redb::Error::TableTypeMismatch { .. } | redb::Error::TableIsMultimap(_) | redb::Error::TypeDefinitionChanged { .. } => {
            StoreError::Corrupt { place, detail: error.to_string() }
        }
        redb::Error::UpgradeRequired(version) => StoreError::Format { place, found: format!("file version {version}"), known: FORMAT },
        redb::Error::Io(io) if matches!(io.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) => {
            StoreError::Corrupt { place, detail: io.to_string() }
        }
        other => StoreError::Unavailable { operation, detail: other.to_string() },
    }
}

impl SharedStore for FileStore {
    fn take_fence(&self, owner: &str, now: Micros) -> Result<u64, StoreError> {
        let taken = self.write("take the fence", |transaction| {
            let next = self.fence_in(transaction)? + 1;
            self.set_meta(transaction, "fence", &next.to_string())?;
            self.set_meta(transaction, "fence_owner", &format!("{owner} {now}"))?;
            Ok(next)
        })?;
        self.own.store(taken, Ordering::Relaxed);
        Ok(taken)
    }

    fn fence(&self) -> Result<u64, StoreError> {
        let text = self.meta("fence")?;
        text.map_or(Ok(0), |text| text.parse().map_err(|_| self.corrupt("meta", "fence", &text)))
    }

    fn claim(&self, record: &FireRecord) -> Result<Claim, StoreError> {
        self.write("claim a fire id", |transaction| self.claim_in(transaction, record))
    }

    fn rows_at_once(&self) -> usize {
        500
    }

    fn claim_all(&self, records: &[FireRecord]) -> Result<Vec<Claim>, StoreError> {
        self.write("claim fire ids", |transaction| records.iter().map(|record| self.claim_in(transaction, record)).collect())
    }

    fn put_receipt(&self, fire_id: &str, action: &str, receipt: &Receipt, audit: &AuditEntry) -> Result<(), StoreError> {
        self.write_fenced("write a receipt", |transaction| self.put_receipt_in(transaction, (fire_id, action), receipt, audit))
    }

    fn put_receipts(&self, ended: &[Ended]) -> Result<(), StoreError> {
        self.write_fenced("write receipts", |transaction| {
            let put = |ended: &Ended| {
                let names = (ended.audit.fire_id.as_str(), ended.audit.action.as_str());
                self.put_receipt_in(transaction, names, &ended.receipt, &ended.audit)
            };
            ended.iter().try_for_each(put)
        })
    }

    fn mark_done(&self, fire_id: &str, at: Micros) -> Result<(), StoreError> {
        self.write_fenced("settle a fire", |transaction| self.mark_done_in(transaction, fire_id, at))
    }

    fn mark_all_done(&self, fire_ids: &[String], at: Micros) -> Result<(), StoreError> {
        self.write_fenced("settle fires", |transaction| fire_ids.iter().try_for_each(|id| self.mark_done_in(transaction, id, at)))
    }

    fn fire(&self, fire_id: &str) -> Result<Option<FireRecord>, StoreError> {
        self.get(FIRES, fire_id)
    }

    fn fires(&self) -> Result<Vec<FireRecord>, StoreError> {
        self.all(FIRES)
    }

    fn unfinished(&self) -> Result<Vec<FireRecord>, StoreError> {
        let transaction = self.database.begin_read().map_err(|error| self.failed("read", error))?;
        let open = transaction.open_table(OPEN_FIRES).map_err(|error| self.failed("read", error))?;
        let mut records = Vec::new();
        for row in open.iter().map_err(|error| self.failed("read", error))? {
            let (key, _) = row.map_err(|error| self.failed("read", error))?;
            let id = key.value();
            records.push(self.get(FIRES, id)?.ok_or_else(|| self.corrupt("open_fires", id, "names a fire that is not there"))?);
        }
        Ok(records)
    }

    fn put_hold(&self, hold: &Hold, audit: &AuditEntry) -> Result<Hold, StoreError> {
        self.write_fenced("put a hold", |transaction| {
            if let Some(known) = self.row(transaction, HOLDS, &hold.id)? {
                return Ok(known);
            }
            self.put(transaction, HOLDS, &hold.id, hold)?;
            self.append_audit(transaction, audit)?;
            Ok(hold.clone())
        })
    }

    fn update_hold(&self, hold: &Hold, audit: &AuditEntry) -> Result<Hold, StoreError> {
        self.write_fenced("change a hold", |transaction| {
            let known: Hold = self.row(transaction, HOLDS, &hold.id)?.ok_or_else(|| not_found("hold", &hold.id))?;
            if known.revision != hold.revision {
                return Err(StoreError::Conflict { what: "hold", id: hold.id.clone() });
            }
            let next = Hold { revision: hold.revision + 1, ..hold.clone() };
            self.put(transaction, HOLDS, &hold.id, &next)?;
            self.append_audit(transaction, audit)?;
            Ok(next)
        })
    }

    fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.all(HOLDS)
    }

    fn hold(&self, id: &str) -> Result<Option<Hold>, StoreError> {
        self.get(HOLDS, id)
    }

    fn confirm(&self, confirmation: &Confirmation, audit: &AuditEntry) -> Result<(), StoreError> {
        self.write_fenced("confirm a budget", |transaction| {
            self.put(transaction, CONFIRMATIONS, &confirmation.budget, confirmation)?;
            self.append_audit(transaction, audit)
        })
    }

    fn confirmations(&self) -> Result<Vec<Confirmation>, StoreError> {
        self.all(CONFIRMATIONS)
    }

    fn submit(&self, command: &Command) -> Result<Command, StoreError> {
        self.write_fenced("hand in a command", |transaction| {
            if let Some(known) = self.row(transaction, COMMANDS, &command.id)? {
                return Ok(known);
            }
            self.put(transaction, COMMANDS, &command.id, command)?;
            self.put(transaction, OPEN_COMMANDS, &command.id, command)?;
            Ok(command.clone())
        })
    }

    fn open_commands(&self) -> Result<Vec<Command>, StoreError> {
        self.all(OPEN_COMMANDS)
    }

    fn answer(&self, id: &str, outcome: &str, audit: &AuditEntry) -> Result<(), StoreError> {
        self.write_fenced("answer a command", |transaction| {
            let mut command: Command = self.row(transaction, COMMANDS, id)?.ok_or_else(|| not_found("command", id))?;
            if command.outcome.is_some() {
                return Ok(());
            }
            command.outcome = Some(outcome.to_owned());
            self.put(transaction, COMMANDS, id, &command)?;
            self.remove(transaction, OPEN_COMMANDS, id)?;
            self.append_audit(transaction, audit)
        })
    }

    fn set_stopped(&self, stopped: bool, audit: &AuditEntry) -> Result<(), StoreError> {
        self.write_fenced("set the kill switch", |transaction| {
            self.set_meta(transaction, "stopped", if stopped { "true" } else { "false" })?;
            self.append_audit(transaction, audit)
        })
    }

    fn stopped(&self) -> Result<bool, StoreError> {
        let text = self.meta("stopped")?;
        text.map_or(Ok(false), |text| text.parse().map_err(|_| self.corrupt("meta", "stopped", &text)))
    }

    fn audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.write_fenced("write the audit trail", |transaction| self.append_audit(transaction, entry))
    }

    fn audit_trail(&self, after: u64, most: usize) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
        self.read_trail(after, most)
    }

    fn audit_head(&self) -> Result<Option<Head>, StoreError> {
        self.meta(trail::HEAD)?.map(|text| self.decode_head(&text)).transpose()
    }

    fn set_versions(&self, versions: Versions) {
        *self.versions.lock().unwrap_or_else(PoisonError::into_inner) = versions;
    }
}

fn not_found(what: &'static str, id: &str) -> StoreError {
    StoreError::NotFound { what, id: id.to_owned() }
}

#[cfg(test)]
mod tests;
