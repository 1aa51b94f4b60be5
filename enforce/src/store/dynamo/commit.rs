//! One step's writes as one transaction, and what its failure means.

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put as PutItem, TransactWriteItem};
use serde::Serialize;

use super::row::{Key, Row};
use super::table::Sent;
use super::trail::Place;
use super::{DynamoStore, Fence};
use crate::store::{AuditEntry, StoreError};

/// What one step writes, all or nothing.
#[derive(Debug, Default)]
pub(super) struct Write {
    puts: Vec<Put>,
    /// Rows that are removed, there or not.
    deletes: Vec<Key>,
    /// What is added to the audit trail.
    line: Option<Box<AuditEntry>>,
}

/// A row that is written if it is as it was read.
#[derive(Debug)]
pub(super) struct Put {
    key: Key,
    before: Option<Row>,
    body: String,
    /// When it may expire, in seconds since 1970.
    ttl: Option<i64>,
}

/// What a write has to find of the fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FenceCheck {
    /// Nothing: the writer is no ledger.
    None,
    /// This very one.
    Exactly(Fence),
    /// None, or one that is not higher.
    AtMost(u64),
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Committed {
    /// It is in the table.
    Done,
    /// Something it relied on has changed: read again.
    Changed,
    /// Not now: try again.
    Busy,
}

/// Which try of which step.
pub(super) struct Try<'a> {
    /// Id of the step's writes.
    pub(super) write_id: &'a str,
    /// 0 at first.
    pub(super) attempt: u32,
}

impl Write {
    /// Adds a row.
    pub(super) fn put(mut self, put: Put) -> Self {
        self.puts.push(put);
        self
    }

    /// Removes a row.
    pub(super) fn delete(mut self, key: Option<Key>) -> Self {
        self.deletes.extend(key);
        self
    }

    /// Adds a line of the audit trail.
    pub(super) fn line(self, entry: Option<&AuditEntry>) -> Self {
        Self { line: entry.cloned().map(Box::new), ..self }
    }
}

impl Put {
    /// Writes `body` over `before`; over nothing if that is `None`.
    pub(super) fn new<T: Serialize>(key: Key, before: Option<Row>, body: &T) -> Result<Self, StoreError> {
        Ok(Self { key, before, body: to_json(body)?, ttl: None })
    }

    /// Lets the row expire at a time in seconds since 1970.
    pub(super) fn expiring(self, ttl: Option<i64>) -> Self {
        Self { ttl, ..self }
    }

    /// Returns the row that is there once it is written.
    pub(super) fn after(&self, write_id: &str) -> Row {
        Row {
            body: self.body.clone(),
            revision: self.before.as_ref().map_or(0, |row| row.revision) + 1,
            write_id: write_id.to_owned(),
            made_by: self.before.as_ref().map_or(write_id, |row| &row.made_by).to_owned(),
        }
    }

    fn action(&self, table: &str, write_id: &str) -> Result<TransactWriteItem, StoreError> {
        let after = self.after(write_id);
        let put = PutItem::builder().table_name(table).set_item(Some(after.item(&self.key, self.ttl)));
        let put = match &self.before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(row) => put.condition_expression("rev = :rev").expression_attribute_values(":rev", number(row.revision)),
        };
        Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
    }
}

impl FenceCheck {
    /// Tells whether a fence row satisfies it.
    pub(super) fn holds(&self, row: Option<&Row>) -> bool {
        match self {
            Self::None => true,
            Self::Exactly(own) => row.is_some_and(|row| row.revision == own.number && row.write_id == own.write_id),
            Self::AtMost(most) => row.is_none_or(|row| row.revision <= *most),
        }
    }

    /// Returns the fence of the writer.
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Exactly(own) => own.number,
            Self::AtMost(most) => *most,
        }
    }

    fn action(&self, table: &str) -> Result<Option<TransactWriteItem>, StoreError> {
        let check = ConditionCheck::builder().table_name(table).set_key(Some(Key::meta("fence").item()));
        let check = match self {
            Self::None => return Ok(None),
            Self::Exactly(own) => check
                .condition_expression("rev = :rev AND w = :w")
                .expression_attribute_values(":rev", number(own.number))
                .expression_attribute_values(":w", AttributeValue::S(own.write_id.clone())),
            Self::AtMost(most) => {
                check.condition_expression("attribute_not_exists(pk) OR rev <= :rev").expression_attribute_values(":rev", number(*most))
            }
        };
        Ok(Some(TransactWriteItem::builder().condition_check(check.build().map_err(incomplete)?).build()))
    }
}

impl DynamoStore {
    /// Writes what a step decided.
    ///
    /// `place` keeps where the step's line was sent: it is given up only once it is seen that it can no longer land there, so that a
    /// line whose answer was lost is found and not written a second time.
    pub(super) fn commit(
        &self,
        operation: &'static str,
        fence: &FenceCheck,
        attempt: &Try<'_>,
        write: &Write,
        place: &mut Option<Place>,
    ) -> Result<Committed, StoreError> {
        let table = &self.table.name;
        let mut actions: Vec<TransactWriteItem> = fence.action(table)?.into_iter().collect();
        for put in &write.puts {
            actions.push(put.action(table, attempt.write_id)?);
        }
        for key in &write.deletes {
            let delete = Delete::builder().table_name(table).set_key(Some(key.item())).build().map_err(incomplete)?;
            actions.push(TransactWriteItem::builder().delete(delete).build());
        }
        let mut next_head = None;
        if let Some(entry) = &write.line {
            let at = match place.take() {
                Some(at) => at,
                None => self.next_place()?,
            };
            let (line, head) = self.puts_of_line(entry, &at)?;
            for put in [&line, &head] {
                actions.push(put.action(table, attempt.write_id)?);
            }
            next_head = Some(head.after(attempt.write_id));
            *place = Some(at);
        }
        let token = format!("{}-{:03}", attempt.write_id, attempt.attempt);
        match self.table.transact(operation, token, actions)? {
            Sent::Done => {
                if next_head.is_some() {
                    self.keep_head(next_head);
                }
                Ok(Committed::Done)
            }
            Sent::Busy => Ok(Committed::Busy),
            Sent::ConditionFailed => self.look_again(fence, attempt.write_id, place),
        }
    }

    /// Finds out why a condition failed.
    fn look_again(&self, fence: &FenceCheck, write_id: &str, place: &mut Option<Place>) -> Result<Committed, StoreError> {
        if let Some(at) = place.take()
            && self.has_landed(write_id, at, place)?
        {
            // The transaction is done and its answer was lost.
            return Ok(Committed::Done);
        }
        self.refuse_if_behind(fence)?;
        Ok(Committed::Changed)
    }
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| unsendable(&error.to_string()))
}

fn incomplete(error: impl std::fmt::Display) -> StoreError {
    unsendable(&error.to_string())
}

fn unsendable(detail: &str) -> StoreError {
    StoreError::Unavailable { operation: "make a request", detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_of_the_same_number_is_not_the_same_fence() {
        let row =
            |revision, write_id: &str| Row { body: String::new(), revision, write_id: write_id.to_owned(), made_by: "first".to_owned() };
        let own = FenceCheck::Exactly(Fence { number: 2, write_id: "mine".to_owned() });
        assert!(own.holds(Some(&row(2, "mine"))));
        assert!(!own.holds(Some(&row(2, "another's"))));
        assert!(!own.holds(Some(&row(3, "another's"))) && !own.holds(Some(&row(1, "old"))) && !own.holds(None));
        assert!(FenceCheck::AtMost(0).holds(None) && !FenceCheck::AtMost(0).holds(Some(&row(1, "x"))));
        assert!(FenceCheck::AtMost(2).holds(Some(&row(2, "x"))) && FenceCheck::None.holds(Some(&row(9, "x"))));
    }
}
