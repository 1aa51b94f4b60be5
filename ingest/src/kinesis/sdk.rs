//! Carries out calls with the AWS SDK and puts what comes back, failures too, into this source's words. Decides nothing.
//!
//! Sources: Kinesis Data Streams API reference (ListShards, GetShardIterator, GetRecords, SubscribeToShard,
//! RegisterStreamConsumer).

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Builder;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{
    ChildShard, ConsumerStatus, Record, Shard, ShardIteratorType, StartingPosition, StreamDescriptionSummary, SubscribeToShardEvent,
    SubscribeToShardEventStream,
};
use sluice_schemas::position::Sequence;
use sluice_schemas::{ErrorClass, Micros};

use super::call::{Answer, Begin, Call, Cursor, Failure, Listed, Overview, Reply};
use super::place::lanes_of;
use crate::aws::{self, Fault, explain};
use crate::source::{SourceError, StreamRecord};

/// Shards in one page of a list: the most there can be.
const PAGE: i32 = 1_000;
/// Time without any event after which a subscription counts as broken: the service sends one every few seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// Looks, a second apart, at a new consumer until it can be used.
const CONSUMER_LOOKS: u32 = 60;

/// The events of a shard, as they come.
#[derive(Debug)]
pub(crate) struct Subscription(SubscribeToShardOutput);

/// The way to one stream.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// Repeats failed calls by itself: for what is asked seldom.
    patient: Client,
    /// Does not: who calls it repeats with a pause that knows the shard.
    client: Client,
    resource: String,
    arn: String,
    region: String,
    consumer: Option<String>,
}

impl Connection {
    /// Finds a stream by its name or ARN and, for fan-out, registers the consumer of that name.
    ///
    /// # Errors
    /// The stream is not there, not permitted, not reachable; or the consumer cannot be registered.
    pub(crate) async fn open(config: &SdkConfig, stream: &str, consumer: Option<&str>) -> Result<(Self, Overview), SourceError> {
        let builder = || Builder::from(config).stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let mut connection = Self {
            patient: Client::from_conf(builder().build()),
            client: Client::from_conf(builder().retry_config(RetryConfig::disabled()).build()),
            resource: format!("kinesis stream {stream}"),
            arn: stream.to_owned(),
            region: config.region().map(ToString::to_string).unwrap_or_default(),
            consumer: None,
        };
        if !stream.starts_with("arn:") {
            connection.arn = format!("arn:aws:kinesis:{}:*:stream/{stream}", connection.region);
        }
        let summary = connection.patient.describe_stream_summary();
        let summary = if stream.starts_with("arn:") { summary.stream_arn(stream) } else { summary.stream_name(stream) };
        let output = summary.send().await.map_err(|error| explain(connection.names("kinesis:DescribeStreamSummary"), error))?;
        let summary = output.stream_description_summary.ok_or_else(|| connection.empty("DescribeStreamSummary"))?;
        connection.arn.clone_from(&summary.stream_arn);
        let shards = connection.shards().await.map_err(|error| explain(connection.names("kinesis:ListShards"), error))?;
        if let Some(name) = consumer {
            connection.consumer = Some(connection.register(name).await?);
        }
        Ok((connection, overview(&summary, shards)))
    }

    /// Returns what the names of the stream's shards in the ledger begin with.
    pub(crate) fn prefix(&self) -> String {
        lanes_of(&self.arn)
    }

    const fn names<'a>(&'a self, action: &'a str) -> aws::Call<'a> {
        aws::Call { resource: self.resource.as_str(), action, arn: self.arn.as_str(), region: self.region.as_str() }
    }

    fn empty(&self, action: &str) -> SourceError {
        SourceError::Service {
            resource: self.resource.clone(),
            problem: format!("{action} gave an answer without content"),
            fix: "check 'endpoint'".to_owned(),
            class: ErrorClass::Misconfigured,
            source: None,
        }
    }

    async fn shards(&self) -> Result<Vec<Shard>, SdkError<aws_sdk_kinesis::operation::list_shards::ListShardsError>> {
        let mut output = self.patient.list_shards().stream_arn(&self.arn).max_results(PAGE).send().await?;
        let mut shards = output.shards.take().unwrap_or_default();
        while let Some(token) = output.next_token.take() {
            output = self.patient.list_shards().next_token(token).max_results(PAGE).send().await?;
            shards.extend(output.shards.take().unwrap_or_default());
        }
        Ok(shards)
    }

    /// Returns the ARN of the consumer of that name, which is registered if it is not yet.
    async fn register(&self, name: &str) -> Result<String, SourceError> {
        for _ in 0..CONSUMER_LOOKS {
            let described = self.patient.describe_stream_consumer().stream_arn(&self.arn).consumer_name(name).send().await;
            match described.map(|output| output.consumer_description) {
                Ok(Some(consumer)) if consumer.consumer_status == ConsumerStatus::Active => return Ok(consumer.consumer_arn),
                Ok(_) => {}
                Err(error) if Fault::of(&error).code() == "ResourceNotFoundException" => {
                    let registered = self.patient.register_stream_consumer().stream_arn(&self.arn).consumer_name(name).send().await;
                    registered.map_err(|error| explain(self.names("kinesis:RegisterStreamConsumer"), error))?;
                }
                Err(error) => return Err(explain(self.names("kinesis:DescribeStreamConsumer"), error)),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Err(SourceError::Service {
            resource: self.resource.clone(),
            problem: format!("consumer {name} does not become active"),
            fix: "look at it with aws kinesis describe-stream-consumer, then start again".to_owned(),
            class: ErrorClass::Transient,
            source: None,
        })
    }

    /// Carries out a call.
    pub(crate) async fn carry_out(&self, call: Call) -> Result<Reply, Failure> {
        match call {
            Call::List => self.list().await.map(Reply::Listed),
            Call::Open { shard, begin } => match &self.consumer {
                None => self.iterator(&shard, begin).await.map(Reply::Opened),
                Some(consumer) => self.subscribe(consumer, &shard, begin).await.map(Reply::Opened),
            },
            Call::Fetch { cursor: Cursor::Iterator(iterator), .. } => self.records(iterator).await.map(Reply::Fetched),
            Call::Fetch { cursor: Cursor::Subscription(subscription), .. } => self.event(subscription).await.map(Reply::Fetched),
        }
    }

    async fn list(&self) -> Result<Overview, Failure> {
        let described = self.patient.describe_stream_summary().stream_arn(&self.arn).send().await;
        let summary = described.map_err(|error| self.failure("kinesis:DescribeStreamSummary", &error))?;
        let summary = summary.stream_description_summary.ok_or_else(|| garbled("DescribeStreamSummary"))?;
        let shards = self.shards().await.map_err(|error| self.failure("kinesis:ListShards", &error))?;
        Ok(overview(&summary, shards))
    }

    async fn iterator(&self, shard: &str, begin: Begin) -> Result<Cursor, Failure> {
        let request = self.client.get_shard_iterator().stream_arn(&self.arn).shard_id(shard);
        let request = match begin {
            Begin::Oldest => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Begin::At(millis) => request.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(date(millis)),
            Begin::After(sequence) => {
                request.shard_iterator_type(ShardIteratorType::AfterSequenceNumber).starting_sequence_number(sequence.as_str())
            }
        };
        let output = request.send().await.map_err(|error| match self.failure("kinesis:GetShardIterator", &error) {
            Failure::Refused(said) if Fault::of(&error).code() == "InvalidArgumentException" => Failure::NoSuchPlace(said),
            failure => failure,
        })?;
        output.shard_iterator.map(Cursor::Iterator).ok_or_else(|| garbled("GetShardIterator"))
    }

    async fn records(&self, iterator: String) -> Result<Answer, Failure> {
        let request = self.client.get_records().stream_arn(&self.arn).shard_iterator(iterator);
        let output = request.send().await.map_err(|error| match self.failure("kinesis:GetRecords", &error) {
            // An iterator is ours to renew, whatever is wrong with it.
            Failure::Refused(_) if Fault::of(&error).code() == "InvalidArgumentException" => Failure::Expired,
            failure => failure,
        })?;
        let GetRecordsOutput { records, next_shard_iterator, millis_behind_latest, child_shards, .. } = output;
        Ok(Answer {
            records: stream_records(records)?,
            ended: next_shard_iterator.is_none(),
            next: next_shard_iterator.map(Cursor::Iterator),
            behind_ms: millis_behind_latest.and_then(|millis| u64::try_from(millis).ok()),
            continuation: None,
            children: child_shards.unwrap_or_default().into_iter().map(child).collect(),
        })
    }

    async fn subscribe(&self, consumer: &str, shard: &str, begin: Begin) -> Result<Cursor, Failure> {
        let position = StartingPosition::builder();
        let position = match begin {
            Begin::Oldest => position.r#type(ShardIteratorType::TrimHorizon),
            Begin::At(millis) => position.r#type(ShardIteratorType::AtTimestamp).timestamp(date(millis)),
            Begin::After(sequence) => position.r#type(ShardIteratorType::AfterSequenceNumber).sequence_number(sequence.as_str()),
        };
        let position = position.build().map_err(|error| Failure::Trouble(error.to_string()))?;
        let request = self.client.subscribe_to_shard().consumer_arn(consumer).shard_id(shard).starting_position(position);
        let output = request.send().await.map_err(|error| match self.failure("kinesis:SubscribeToShard", &error) {
            Failure::Refused(said) if Fault::of(&error).code() == "InvalidArgumentException" => Failure::NoSuchPlace(said),
            failure => failure,
        })?;
        Ok(Cursor::Subscription(Box::new(Subscription(output))))
    }

    async fn event(&self, mut subscription: Box<Subscription>) -> Result<Answer, Failure> {
        let received = tokio::time::timeout(SILENCE, subscription.0.event_stream.recv()).await;
        let event = received.map_err(|_| Failure::Trouble("the subscription is silent".to_owned()))?;
        match event.map_err(|error| self.failure("kinesis:SubscribeToShard", &error))? {
            Some(SubscribeToShardEventStream::SubscribeToShardEvent(event)) => {
                let answer = pushed(event)?;
                Ok(Answer { next: (!answer.ended).then_some(Cursor::Subscription(subscription)), ..answer })
            }
            Some(_) => Ok(Answer { next: Some(Cursor::Subscription(subscription)), ..Answer::default() }),
            // After five minutes the service ends it.
            None => Ok(Answer::default()),
        }
    }

    fn failure<E, R>(&self, action: &str, error: &SdkError<E, R>) -> Failure
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: fmt::Debug + 'static,
    {
        let fault = Fault::of(error);
        let (fix, class) = aws::remedy(self.names(action), &fault);
        let said = format!("{}; {fix}", fault.problem);
        match fault.code() {
            "ExpiredIteratorException" => Failure::Expired,
            "ResourceNotFoundException" => Failure::Gone(said),
            "ResourceInUseException" => Failure::Throttled(said),
            code if aws::is_throttling(code) => Failure::Throttled(said),
            _ if class == ErrorClass::Transient => Failure::Trouble(said),
            _ => Failure::Refused(said),
        }
    }
}

fn overview(summary: &StreamDescriptionSummary, shards: Vec<Shard>) -> Overview {
    Overview {
        created: u64::try_from(summary.stream_creation_timestamp.secs()).unwrap_or(0),
        retention_ms: u64::try_from(summary.retention_period_hours).unwrap_or(24) * 3_600_000,
        shards: shards.into_iter().map(listed).collect(),
    }
}

fn listed(shard: Shard) -> Listed {
    Listed { id: shard.shard_id, parents: shard.parent_shard_id.into_iter().chain(shard.adjacent_parent_shard_id).collect() }
}

fn child(shard: ChildShard) -> Listed {
    Listed { id: shard.shard_id, parents: shard.parent_shards }
}

/// Takes an event of a subscription. The last one of a shard names its children and no place to go on from.
fn pushed(event: SubscribeToShardEvent) -> Result<Answer, Failure> {
    let continuation = sequence(&event.continuation_sequence_number)?;
    Ok(Answer {
        records: stream_records(event.records)?,
        next: None,
        ended: continuation.is_none(),
        behind_ms: u64::try_from(event.millis_behind_latest).ok(),
        continuation: Some(continuation).filter(|continuation| !continuation.is_none()),
        children: event.child_shards.unwrap_or_default().into_iter().map(child).collect(),
    })
}

fn stream_records(records: Vec<Record>) -> Result<Vec<StreamRecord>, Failure> {
    records
        .into_iter()
        .map(|record| {
            let written = record.approximate_arrival_timestamp.and_then(|at| at.to_millis().ok()).map(|millis| Micros(millis * 1_000));
            let sequence = sequence(&record.sequence_number)?;
            if sequence.is_none() {
                return Err(garbled("a record without a sequence number"));
            }
            Ok(StreamRecord { offset: 0, sequence, written, data: record.data.into_inner() })
        })
        .collect()
}

fn sequence(text: &str) -> Result<Sequence, Failure> {
    Sequence::parse(text).map_err(|error| Failure::Trouble(error.to_string()))
}

fn date(millis: u64) -> DateTime {
    DateTime::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

fn garbled(what: &str) -> Failure {
    Failure::Trouble(format!("an answer without content: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(continuation: &str, children: Vec<ChildShard>) -> SubscribeToShardEvent {
        let record = Record::builder().sequence_number("7").data(vec![1].into()).build().expect("a record");
        let event = SubscribeToShardEvent::builder().records(record).continuation_sequence_number(continuation).millis_behind_latest(5);
        event.set_child_shards(Some(children)).build().expect("an event")
    }

    #[test]
    fn the_last_event_of_a_shard_has_no_continuation() {
        let answer = pushed(event("9", Vec::new())).expect("an answer");
        assert_eq!((answer.ended, answer.behind_ms, answer.records.len()), (false, Some(5), 1));
        assert_eq!(answer.continuation.expect("a place").as_str(), "9");
        let child = ChildShard::builder().shard_id("c").parent_shards("a").set_hash_key_range(Some(
            aws_sdk_kinesis::types::HashKeyRange::builder().starting_hash_key("0").ending_hash_key("1").build().expect("a range"),
        ));
        let answer = pushed(event("", vec![child.build().expect("a child")])).expect("an answer");
        assert!(answer.ended && answer.continuation.is_none());
        assert_eq!(answer.children, [Listed { id: "c".to_owned(), parents: vec!["a".to_owned()] }]);
        assert!(pushed(event("x", Vec::new())).is_err(), "a number that is none");
    }
}
