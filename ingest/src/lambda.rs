//! A worker as an AWS Lambda function: Kinesis hands it records, it publishes them for the ledger and says from which record on
//! they must be handed in again.
//!
//! Owns: the event of a Kinesis event source mapping and the answer to it. Does not own: how events reach the process, nor how long
//! publishing is tried.
//!
//! What is in a record is never a failure: what cannot be read becomes a refused record that is published like a call. Only a record
//! that could not be published is handed in again, with all that follow it in its shard. What came before a batch is not known here,
//! and with several batches of a shard at a time they overtake one another: [`UNORDERED`].
//!
//! Source of the shapes: AWS Lambda Developer Guide, "Process Amazon Kinesis Data Streams records with Lambda" and "Configuring partial
//! batch response with Kinesis Data Streams and Lambda".

use aws_smithy_types::base64;
use serde::{Deserialize, Serialize};
use sluice_schemas::position::{Sequence, SequenceError};
use sluice_schemas::{ErrorClass, Micros, Position};

use crate::decode::Decoder;
use crate::kinesis::lanes_of;
use crate::relay::worker::{Publish, Tally, batches};
use crate::relay::{Origin, RelayError, UNORDERED, encode};
use crate::source::{Payload, Piece, StreamRecord};

/// Why an event cannot be worked on. It is handed in again as a whole.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not an event of a Kinesis event source mapping.
    #[error("not an event of a Kinesis event source mapping; this function is for no other trigger")]
    Foreign(#[source] serde_json::Error),
    /// A record that does not say where it is from.
    #[error("a record with the event id {id:?}, which names no shard")]
    NoShard {
        /// Its event id.
        id: String,
    },
    /// A record whose number is none.
    #[error("a record without a place")]
    Sequence(#[from] SequenceError),
    /// A batch cannot be written.
    #[error("a batch cannot be written")]
    Encode(#[from] RelayError),
}

impl EventError {
    /// Returns what the failure asks of the caller.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Foreign(_) | Self::NoShard { .. } | Self::Sequence(_) => ErrorClass::Misconfigured,
            Self::Encode(_) => ErrorClass::Bug,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(rename = "eventID")]
    event_id: String,
    #[serde(rename = "eventSourceARN")]
    stream: String,
    kinesis: Data,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    sequence_number: String,
    data: String,
    #[serde(default)]
    approximate_arrival_timestamp: Option<serde_json::Number>,
}

/// The answer to an event: the records from which on their shards must be handed in again; none when all is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// One for each shard at most.
    #[serde(rename = "batchItemFailures")]
    pub failures: Vec<Failure>,
}

/// A record that must be handed in again, with all that follow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its sequence number.
    #[serde(rename = "itemIdentifier")]
    pub sequence: String,
}

/// What a function works with.
#[derive(Debug)]
pub struct Function {
    /// Its name, for messages.
    pub name: String,
    /// Largest message.
    pub limit: usize,
    /// Reads records.
    pub decoder: Decoder,
}

impl Function {
    /// Publishes the records of an event; `publish` has tried as often as there is time for when it fails.
    ///
    /// # Errors
    /// It is no event of Kinesis.
    pub fn work(&mut self, event: &[u8], now: Micros, publish: &mut Publish<'_>) -> Result<(Answer, Tally), EventError> {
        let (mut answer, mut tally) = (Answer::default(), Tally::default());
        for piece in pieces(event, now)? {
            tally.pieces += 1;
            answer.failures.extend(self.lane(piece, publish, &mut tally)?);
        }
        Ok((answer, tally))
    }

    /// Publishes the records of one shard; returns the first that was not taken.
    fn lane(&mut self, piece: Piece, publish: &mut Publish<'_>, tally: &mut Tally) -> Result<Option<Failure>, EventError> {
        let (shard, arrival) = (piece.shard.clone(), piece.arrival);
        let mut numbers = match &piece.payload {
            Payload::Records(records) => records.iter().map(|record| record.sequence.clone()).collect(),
            _ => Vec::new(),
        };
        for (batch, mut span, marks) in batches(piece, &mut self.decoder, self.limit) {
            // Batches of the event know one another, but the ledger may have others in between.
            span.from = None;
            let (calls, through) = (batch.invocations.len() as u64, span.to.sequence.clone());
            let nothing = batch.invocations.is_empty() && batch.trail.is_empty() && batch.rejected.is_empty() && batch.control == 0;
            if !nothing {
                let messages = encode(&batch, &Origin { worker: self.name.clone(), span, arrival, marks }, self.limit)?;
                if let Err(error) = publish(&shard, &messages) {
                    let first = numbers.first().unwrap_or(&through).to_string();
                    tracing::error!(event = "publish_failed", shard, sequence = first, %error, "records are to be handed in again");
                    return Ok(Some(Failure { sequence: first }));
                }
                tally.messages += messages.len() as u64;
            }
            tally.calls += calls;
            numbers.retain(|number| *number > through);
        }
        Ok(None)
    }
}

/// Takes an event apart: a piece for each shard, as a rule one.
fn pieces(event: &[u8], now: Micros) -> Result<Vec<Piece>, EventError> {
    let event: Event = serde_json::from_slice(event).map_err(EventError::Foreign)?;
    let mut lanes: Vec<(String, Vec<StreamRecord>)> = Vec::new();
    for Record { event_id, stream, kinesis } in event.records {
        let Some((shard, _)) = event_id.split_once(':').filter(|(shard, _)| !shard.is_empty()) else {
            return Err(EventError::NoShard { id: event_id });
        };
        let lane = format!("{}/{shard}", lanes_of(&stream));
        let record = StreamRecord {
            offset: 0,
            sequence: Sequence::parse(&kinesis.sequence_number)?,
            written: kinesis.approximate_arrival_timestamp.as_ref().and_then(written),
            // What is no base64 is what came, and is refused as such.
            data: base64::decode(&kinesis.data).unwrap_or_else(|_| kinesis.data.into_bytes()),
        };
        match lanes.iter_mut().find(|(known, _)| *known == lane) {
            Some((_, records)) => records.push(record),
            None => lanes.push((lane, vec![record])),
        }
    }
    Ok(lanes.into_iter().map(|(lane, records)| piece(lane, records, now)).collect())
}

fn piece(shard: String, mut records: Vec<StreamRecord>, now: Micros) -> Piece {
    records.sort_by(|one, other| one.sequence.cmp(&other.sequence));
    let last = records.last();
    let through = last.and_then(|last| last.written).map_or(0, |written| u64::try_from(written.0 / 1_000).unwrap_or(0));
    let to = Position {
        offset: through,
        sequence: last.map(|last| last.sequence.clone()).unwrap_or_default(),
        identity: UNORDERED.to_owned(),
        ended: false,
    };
    Piece {
        accepts: None,
        shard,
        from: None,
        source_bytes: records.iter().map(|record| record.data.len() as u64).sum(),
        payload: Payload::Records(records),
        arrival: now,
        base_offset: 0,
        identity: to.identity,
        to: Some(to.offset),
        sequence: to.sequence,
        ended: false,
    }
}

/// Reads seconds since 1970 with a fraction, without a float.
fn written(seconds: &serde_json::Number) -> Option<Micros> {
    let text = seconds.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let micros = whole.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(digits.parse().ok()?)?;
    Some(Micros(micros))
}

#[cfg(test)]
mod tests;
