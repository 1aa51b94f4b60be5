//! The shared store of many machines: one DynamoDB table, each step one conditional write.
//!
//! Every row is an item of one shape ([`row`]); rows of one kind have one partition key:
//!
//! | `pk` | `sk` | `body` |
//! |---|---|---|
//! | `meta` | `format`, `fence`, `stopped`, `lease`, `audit` | format of the table; owner of the fence, whose `rev` is the fence; the kill switch; the ledger's last [`Beat`](crate::Beat); [`Head`] of the audit trail |
//! | `fire` | fire id | [`FireRecord`](super::FireRecord) |
//! | `fire-open` | fire id | when it was claimed; there while an action is unsettled |
//! | `hold` | hold id | [`Hold`](crate::Hold) |
//! | `confirmation` | name of the budget | [`Confirmation`](super::Confirmation) |
//! | `command` | command id | [`Command`](super::Command); has a `ttl` once it is answered |
//! | `command-open` | command id | [`Command`](super::Command); there while nobody answered |
//! | `intent`, `override`, `guard`, `notice`, `told`, `order` | id | [`Record`](super::records::Record) |
//! | `audit` | number of the line, 20 digits | [`AuditEntry`]; numbers have no holes, each line holds the hash of the one before |
//!
//! A step reads its rows (strongly consistent), decides, and writes them in one transaction that holds only if no row has
//! changed since, if the line of the audit trail is the next one and its head, which moves with it, is the one the line was
//! chained to, and if the fence this handle took is still in force: a process that was replaced writes nothing, however late it wakes up. A handle that took no fence (a person's command line)
//! is bound by the revisions of the rows alone.
//!
//! A ledger needs `dynamodb:GetItem`, `Query`, `PutItem`, `DeleteItem` and `ConditionCheckItem` on the table; who reads alone, the
//! first two. Making it is [`DynamoStore::ensure_table`], or in other words:
//!
//! ```text
//! aws dynamodb create-table --table-name sluice --billing-mode PAY_PER_REQUEST --deletion-protection-enabled \
//!   --attribute-definitions AttributeName=pk,AttributeType=S AttributeName=sk,AttributeType=S \
//!   --key-schema AttributeName=pk,KeyType=HASH AttributeName=sk,KeyType=RANGE
//! aws dynamodb update-time-to-live --table-name sluice --time-to-live-specification Enabled=true,AttributeName=ttl
//! ```
//!
//! Each step writes its own random id into its rows. An answer that was lost makes the transaction fail when it is sent
//! again; the id found in the table then says that it was done.

mod bridge;
mod commit;
mod error;
mod lease;
mod records;
mod row;
mod settings;
mod steps;
mod table;
mod trail;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::commit::{Committed, FenceCheck, Put, Try, Write};
pub use self::lease::DynamoLease;
use self::row::{Key, Row};
pub use self::settings::DynamoSettings;
use self::table::{Layout, Table};
use super::{AuditEntry, StoreError};
use crate::audit::{Head, Versions};

/// Format that is written.
const FORMAT: u32 = 1;
/// Tries of a step that finds its rows changed or is told to wait.
const TRIES: u32 = 24;
/// Pause before the second try; it doubles, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// A fence this handle took, with the write id that tells it from one of the same number in a table that was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fence {
    number: u64,
    write_id: String,
}

/// A shared store in a DynamoDB table.
pub struct DynamoStore {
    table: Table,
    own: Mutex<Option<Fence>>,
    /// Head of the audit trail that was seen last.
    head: Mutex<Option<Row>>,
    versions: Mutex<Versions>,
}

/// What a step decided after it read its rows.
enum Decision<T> {
    /// Nothing is to be written.
    Known(T),
    /// This, and then the step is done.
    Write(Write, T),
}

impl DynamoStore {
    /// Opens the store in a table that exists.
    ///
    /// # Errors
    /// The table cannot be reached or is not one of these.
    pub fn open(settings: &DynamoSettings) -> Result<Self, StoreError> {
        let store = Self { table: Table::connect(settings)?, own: Mutex::new(None), head: Mutex::default(), versions: Mutex::default() };
        store.check_format()?;
        Ok(store)
    }

    /// Makes the table unless it exists, and waits until it can be used; `true` if it was made.
    ///
    /// Partition key `pk` and sort key `sk` (strings), paid per request, protected from deletion, items expire by `ttl`. Never
    /// called by a running daemon: what a table costs and who may read it is for its owner to say.
    ///
    /// # Errors
    /// The table cannot be made, or one of that name has other keys.
    pub fn ensure_table(settings: &DynamoSettings) -> Result<bool, StoreError> {
        Table::connect(settings)?.ensure(Layout::STORE)
    }

    /// Makes the table of flags ([`crate::lever::flag`]) unless it exists; `true` if it was made.
    ///
    /// # Errors
    /// The table cannot be made, or one of that name has other keys.
    pub fn ensure_flags(settings: &DynamoSettings) -> Result<bool, StoreError> {
        Table::connect(settings)?.ensure(Layout::FLAGS)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        const OPERATION: &str = "open";
        self.step(OPERATION, FenceCheck::None, |_| {
            Ok(match self.row::<u32>(&Key::meta("format"))? {
                None => Decision::Write(Write::default().put(Put::new(Key::meta("format"), None, &FORMAT)?), ()),
                Some((FORMAT, _)) => Decision::Known(()),
                Some((found, _)) => {
                    return Err(StoreError::Format { place: self.table.place(), found: found.to_string(), known: FORMAT });
                }
            })
        })
    }

    fn own(&self) -> Option<Fence> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a write of this handle has to find.
    fn own_check(&self) -> FenceCheck {
        self.own().map_or(FenceCheck::None, FenceCheck::Exactly)
    }

    /// Reads a row with its contents.
    fn row<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<(T, Row)>, StoreError> {
        let Some(row) = self.table.get(key)? else { return Ok(None) };
        Ok(Some((self.decode(key, &row)?, row)))
    }

    fn known<T: DeserializeOwned>(&self, key: &Key, what: &'static str) -> Result<(T, Row), StoreError> {
        self.row(key)?.ok_or_else(|| StoreError::NotFound { what, id: key.sk.clone() })
    }

    fn decode<T: DeserializeOwned>(&self, key: &Key, row: &Row) -> Result<T, StoreError> {
        serde_json::from_str(&row.body).map_err(|error| self.table.corrupt(key, &error.to_string()))
    }

    fn all<T: DeserializeOwned>(&self, kind: &'static str) -> Result<Vec<T>, StoreError> {
        let rows = self.table.query(kind, None, usize::MAX)?;
        rows.iter().map(|(key, row)| self.decode(key, row)).collect()
    }

    /// Reads, decides and writes until nothing came between.
    fn step<T>(
        &self,
        operation: &'static str,
        fence: FenceCheck,
        mut decide: impl FnMut(&str) -> Result<Decision<T>, StoreError>,
    ) -> Result<T, StoreError> {
        let write_id = row::random_id();
        let (mut place, mut detail) = (None, "");
        for attempt in 0..TRIES {
            let decision = decide(&write_id);
            if matches!(decision, Ok(Decision::Known(_)) | Err(StoreError::Conflict { .. } | StoreError::NotFound { .. })) {
                // Nothing is sent that would be refused, but whoever lost the fence must hear of it.
                self.refuse_if_behind(&fence)?;
            }
            match decision? {
                Decision::Known(answer) => return Ok(answer),
                Decision::Write(write, answer) => {
                    match self.commit(operation, &fence, &Try { write_id: &write_id, attempt }, &write, &mut place)? {
                        Committed::Done => return Ok(answer),
                        Committed::Changed => detail = "its rows keep changing",
                        Committed::Busy => detail = "the table is busy",
                    }
                }
            }
            std::thread::sleep(pause(attempt, &write_id));
        }
        Err(StoreError::Unavailable { operation, detail: format!("{detail}: gave up after {TRIES} tries") })
    }

    fn refuse_if_behind(&self, check: &FenceCheck) -> Result<(), StoreError> {
        if matches!(check, FenceCheck::None) {
            return Ok(());
        }
        let row = self.table.get(&Key::meta("fence"))?;
        if check.holds(row.as_ref()) {
            return Ok(());
        }
        Err(StoreError::Fenced { own: check.number(), current: row.map_or(0, |row| row.revision) })
    }

    /// Changes one row that must be there, and adds a line to the audit trail.
    fn change<T: Serialize + DeserializeOwned, R>(
        &self,
        operation: &'static str,
        (key, what): (Key, &'static str),
        audit: Option<&AuditEntry>,
        mut change: impl FnMut(T, &Row, &str) -> Result<Changed<T, R>, StoreError>,
    ) -> Result<R, StoreError> {
        self.step(operation, self.own_check(), |write_id| {
            let (before, row) = self.known::<T>(&key, what)?;
            Ok(match change(before, &row, write_id)? {
                Changed::No(answer) => Decision::Known(answer),
                Changed::To { after, ttl, closes, answer } => {
                    let put = Put::new(key.clone(), Some(row), &after)?.expiring(ttl);
                    Decision::Write(Write::default().put(put).delete(closes).line(audit), answer)
                }
            })
        })
    }
}

/// What becomes of a row that is there.
enum Changed<T, R> {
    /// It stays as it is.
    No(R),
    /// It is replaced.
    To { after: T, ttl: Option<i64>, closes: Option<Key>, answer: R },
}

/// Pause after a try: it grows, and differs between writers so that they do not meet again.
fn pause(attempt: u32, write_id: &str) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << attempt.min(16)).min(LONGEST_PAUSE);
    let spread = write_id.bytes().fold(attempt, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 100;
    longest / 2 + longest * spread / 200
}
