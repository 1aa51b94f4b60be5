//! The table: strongly consistent reads, transactions, and its making.

use std::error::Error;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription, TableStatus,
    TimeToLiveSpecification, TransactWriteItem,
};

use super::bridge::Bridge;
use super::error::{Call, explain, is_worth_another_try};
use super::pause;
use super::row::{Item, Key, Row, random_id};
use super::settings::DynamoSettings;
use crate::store::StoreError;

/// IAM actions a step needs.
const WRITE: &str = "dynamodb:PutItem, dynamodb:DeleteItem and dynamodb:ConditionCheckItem";
/// Most items of a page; their size bounds it too.
const PAGE: usize = 1000;
/// Attempts of a call that is throttled, fails in the service or gets no answer.
const ATTEMPTS: u32 = 6;
/// Looks at a new table before it is given up, a second apart.
const LOOKS: u32 = 60;

/// A table and the client that reaches it.
pub(super) struct Table {
    /// Its name.
    pub(super) name: String,
    region: String,
    client: Client,
    bridge: Bridge,
}

/// Keys of a table, all texts, and the attribute by which rows expire.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    keys: &'static [(&'static str, KeyType)],
    expiry: &'static str,
}

impl Layout {
    /// That of the shared store.
    pub(super) const STORE: Self = Self { keys: &[("pk", KeyType::Hash), ("sk", KeyType::Range)], expiry: "ttl" };
    /// That of the flags.
    pub(super) const FLAGS: Self = Self { keys: &[("pk", KeyType::Hash)], expiry: "expires" };
}

/// How a transaction was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Carried out.
    Done,
    /// A condition does not hold.
    ConditionFailed,
    /// Another transaction or a limit of throughput stands in its way.
    Busy,
}

impl Table {
    /// Prepares the client; nothing is sent yet.
    pub(super) fn connect(settings: &DynamoSettings) -> Result<Self, StoreError> {
        let failed = |detail: String| StoreError::Unavailable { operation: "start", detail };
        let bridge = Bridge::start("shared-store").map_err(|error| failed(error.to_string()))?;
        let loading = settings.clone();
        let config = bridge.call(loading.load()).ok_or_else(|| failed("loading the configuration of AWS failed".to_owned()))?;
        let region = config.region().map_or("no region", |region| region.as_ref()).to_owned();
        let once = aws_sdk_dynamodb::config::Builder::from(&config).retry_config(RetryConfig::disabled()).build();
        Ok(Self { name: settings.table.clone(), region, client: Client::from_conf(once), bridge })
    }

    /// Returns how texts name it.
    pub(super) fn place(&self) -> String {
        format!("table {} in {}", self.name, self.region)
    }

    /// Returns the error of a row that cannot be.
    pub(super) fn corrupt(&self, key: &Key, detail: &str) -> StoreError {
        StoreError::Corrupt { place: self.place(), detail: format!("row '{}' '{}': {detail}", key.pk, key.sk) }
    }

    fn call(&self, operation: &'static str, permission: &'static str) -> Call<'_> {
        Call { operation, permission, table: &self.name, region: &self.region }
    }

    /// Sends a call and waits for its answer; again where another try may help, since every call here may be repeated.
    ///
    /// The SDK's own retries are off: they pass over connections that break before the answer, and share a quota that runs dry
    /// when a region has trouble, which is when a hold has to get through.
    fn send<T, E, F>(&self, call: Call<'_>, make: impl Fn() -> F) -> Result<Result<T, SdkError<E>>, StoreError>
    where
        T: Send + 'static,
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E>>> + Send + 'static,
    {
        let broken = || StoreError::Unavailable { operation: call.operation, detail: "the call broke off".to_owned() };
        let mut attempt = 0;
        loop {
            let answer = self.bridge.call(make()).ok_or_else(broken)?;
            match &answer {
                Err(error) if attempt + 1 < ATTEMPTS && is_worth_another_try(call, error) => {
                    std::thread::sleep(pause(attempt, &random_id()));
                    attempt += 1;
                }
                _ => return Ok(answer),
            }
        }
    }

    /// Reads a row.
    pub(super) fn get(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        let get = self.client.get_item().table_name(&self.name).set_key(Some(key.item())).consistent_read(true);
        let call = self.call("read", "dynamodb:GetItem");
        let answer = self.send(call, || get.clone().send())?.map_err(|error| explain(call, &error))?;
        answer.item().map(|item| Row::read(item).map_err(|detail| self.corrupt(key, detail))).transpose()
    }

    /// Reads up to `most` rows of a kind, sorted by id, from `first` on.
    pub(super) fn query(&self, kind: &'static str, first: Option<&Key>, most: usize) -> Result<Vec<(Key, Row)>, StoreError> {
        let mut rows = Vec::new();
        let mut next: Option<Item> = None;
        while rows.len() < most {
            let page = i32::try_from((most - rows.len()).min(PAGE)).unwrap_or(i32::MAX);
            let (items, following) = self.page(kind, first, next.take(), (true, page))?;
            for item in items {
                let key = Key::new(kind, item.get("sk").and_then(|value| value.as_s().ok()).map_or("", String::as_str));
                let row = Row::read(&item).map_err(|detail| self.corrupt(&key, detail))?;
                rows.push((key, row));
            }
            match following {
                Some(following) => next = Some(following),
                None => break,
            }
        }
        Ok(rows)
    }

    /// Returns the key of the last row of a kind.
    pub(super) fn newest(&self, kind: &'static str) -> Result<Option<Key>, StoreError> {
        let (items, _) = self.page(kind, None, None, (false, 1))?;
        Ok(items.first().and_then(|item| item.get("sk")).and_then(|sk| sk.as_s().ok()).map(|sk| Key::new(kind, sk)))
    }

    fn page(
        &self,
        kind: &'static str,
        first: Option<&Key>,
        start: Option<Item>,
        (forward, limit): (bool, i32),
    ) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let query = self.client.query().table_name(&self.name).consistent_read(true).scan_index_forward(forward).limit(limit);
        let query = query.set_exclusive_start_key(start).expression_attribute_values(":pk", AttributeValue::S(kind.to_owned()));
        let query = match first {
            None => query.key_condition_expression("pk = :pk"),
            Some(first) => query
                .key_condition_expression("pk = :pk AND sk >= :first")
                .expression_attribute_values(":first", AttributeValue::S(first.sk.clone())),
        };
        let call = self.call("list", "dynamodb:Query");
        let answer = self.send(call, || query.clone().send())?.map_err(|error| explain(call, &error))?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key.filter(|key| !key.is_empty())))
    }

    /// Sends a transaction. `token` makes DynamoDB itself recognise it when the SDK sends it again within ten minutes.
    pub(super) fn transact(&self, operation: &'static str, token: String, actions: Vec<TransactWriteItem>) -> Result<Sent, StoreError> {
        let write = self.client.transact_write_items().client_request_token(token).set_transact_items(Some(actions));
        let call = self.call(operation, WRITE);
        match self.send(call, || write.clone().send())? {
            Ok(_) => Ok(Sent::Done),
            Err(error) => {
                let sent = match error.as_service_error() {
                    Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                        verdict(canceled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or("None")))
                    }
                    Some(TransactWriteItemsError::TransactionInProgressException(_)) => Some(Sent::Busy),
                    _ => None,
                };
                sent.ok_or_else(|| explain(call, &error))
            }
        }
    }

    /// Makes the table unless it exists; `true` if it was made.
    pub(super) fn ensure(&self, layout: Layout) -> Result<bool, StoreError> {
        const OPERATION: &str = "make the table";
        if let Some(found) = self.describe()? {
            return self.check_keys(&found, layout).map(|()| false);
        }
        let unsent =
            |error: aws_sdk_dynamodb::error::BuildError| StoreError::Unavailable { operation: OPERATION, detail: error.to_string() };
        let mut create = self.client.create_table().table_name(&self.name).billing_mode(BillingMode::PayPerRequest);
        for (name, role) in layout.keys.iter().cloned() {
            let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build();
            let key = KeySchemaElement::builder().attribute_name(name).key_type(role).build();
            create = create.attribute_definitions(attribute.map_err(unsent)?).key_schema(key.map_err(unsent)?);
        }
        let create = create.deletion_protection_enabled(true);
        let call = self.call(OPERATION, "dynamodb:CreateTable");
        match self.send(call, || create.clone().send())? {
            Ok(_) => {}
            // Made by the try whose answer was lost, or by someone else just now.
            Err(error) if matches!(error.as_service_error(), Some(CreateTableError::ResourceInUseException(_))) => {}
            Err(error) => return Err(explain(call, &error)),
        }
        self.await_active()?;
        let expiry = TimeToLiveSpecification::builder().enabled(true).attribute_name(layout.expiry).build().map_err(unsent)?;
        let expiring = self.client.update_time_to_live().table_name(&self.name).time_to_live_specification(expiry);
        let call = self.call(OPERATION, "dynamodb:UpdateTimeToLive");
        self.send(call, || expiring.clone().send())?.map_err(|error| explain(call, &error))?;
        Ok(true)
    }

    fn await_active(&self) -> Result<(), StoreError> {
        for _ in 0..LOOKS {
            if self.describe()?.is_some_and(|found| found.table_status() == Some(&TableStatus::Active)) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        Err(StoreError::Unavailable { operation: "make the table", detail: format!("{} is still not active", self.place()) })
    }

    fn describe(&self) -> Result<Option<TableDescription>, StoreError> {
        let call = self.call("look at the table", "dynamodb:DescribeTable");
        let describe = self.client.describe_table().table_name(&self.name);
        match self.send(call, || describe.clone().send())? {
            Ok(answer) => Ok(answer.table),
            Err(SdkError::ServiceError(error)) if matches!(error.err(), DescribeTableError::ResourceNotFoundException(_)) => Ok(None),
            Err(error) => Err(explain(call, &error)),
        }
    }

    fn check_keys(&self, found: &TableDescription, layout: Layout) -> Result<(), StoreError> {
        let keys = found.key_schema().iter().map(|key| (key.attribute_name(), key.key_type()));
        let is_text = |name: &str| {
            let mut definitions = found.attribute_definitions().iter();
            definitions.any(|found| found.attribute_name() == name && *found.attribute_type() == ScalarAttributeType::S)
        };
        if keys.eq(layout.keys.iter().map(|(name, role)| (*name, role))) && layout.keys.iter().all(|(name, _)| is_text(name)) {
            return Ok(());
        }
        Err(StoreError::Refused {
            operation: "use the table",
            place: self.place(),
            problem: "it has other keys".to_owned(),
            fix: "name another table: this one belongs to something else".to_owned(),
        })
    }
}

/// Judges the reasons of a cancelled transaction, one for each action; `None` if sending it again cannot help.
fn verdict<'a>(reasons: impl Iterator<Item = &'a str>) -> Option<Sent> {
    let mut sent = None;
    for reason in reasons {
        match reason {
            "None" => {}
            "ConditionalCheckFailed" => sent = Some(Sent::ConditionFailed),
            "TransactionConflict" | "ProvisionedThroughputExceeded" | "ThrottlingError" | "RequestLimitExceeded" => {
                sent = sent.or(Some(Sent::Busy));
            }
            _ => return None,
        }
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_of_a_cancelled_transaction_are_told_apart() {
        let judge = |reasons: &[&'static str]| verdict(reasons.iter().copied());
        assert_eq!(judge(&["None", "ConditionalCheckFailed", "None"]), Some(Sent::ConditionFailed));
        assert_eq!(judge(&["TransactionConflict", "None"]), Some(Sent::Busy));
        assert_eq!(judge(&["ConditionalCheckFailed", "TransactionConflict"]), Some(Sent::ConditionFailed));
        assert_eq!(judge(&["ThrottlingError"]), Some(Sent::Busy));
        assert_eq!(judge(&["ProvisionedThroughputExceeded"]), Some(Sent::Busy));
        assert_eq!(judge(&["ValidationError", "TransactionConflict"]), None);
        assert_eq!(judge(&["None"]), None);
        assert_eq!(judge(&[]), None);
    }
}
