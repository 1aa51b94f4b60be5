//! Reads Kinesis data streams: all shards of one or more streams, through splits and merges, from committed positions.
//!
//! Owns: which shard is read when ([`stream`], [`tree`], [`reader`], all pure) and the calls to the service ([`sdk`]). Does not
//! own: decoding, nor what is committed. One shard is one lane of the ledger, `kinesis:<region>/<account>/<stream>/<shard>`;
//! the stream itself has a position too, without records, which says that its first start is done.
//!
//! Permissions: kinesis:DescribeStreamSummary, ListShards, GetShardIterator and GetRecords on the stream; for fan-out
//! RegisterStreamConsumer and DescribeStreamConsumer on the stream and its consumers, and SubscribeToShard on the consumer;
//! kms:Decrypt on the key of an encrypted stream. Workers that publish to a stream ([`publish`]) need kinesis:PutRecord on it.
//!
//! Promise: every record of a shard once and in order, whatever fails, as long as the stream still has it; what it has
//! no more is recorded as a gap, once.

mod call;
mod inbox;
mod pace;
mod place;
pub mod publish;
mod reader;
mod sdk;
pub mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use sluice_schemas::position::Positions;
use sluice_schemas::{ErrorClass, Micros};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

pub use self::settings::KinesisSettings;

use self::call::{Overview, Request};
use self::inbox::{Inbox, Owed};
pub(crate) use self::place::lanes_of;
use self::place::millis;
use self::sdk::Connection;
use self::settings::{Mode, Start};
use self::stream::Stream;
use crate::committed::Committed;
use crate::source::{Order, Piece, Poll, Progress, Source, SourceError};

/// Reads Kinesis data streams.
#[derive(Debug)]
pub struct KinesisSource {
    streams: Vec<(Stream, Arc<Connection>)>,
    /// The stream whose piece is looked for first.
    turn: usize,
    inbox: Arc<Inbox>,
    tasks: JoinSet<()>,
    runtime: Handle,
    committed: Arc<Committed>,
    bytes: u64,
    /// The time of the last poll.
    now: Micros,
}

impl KinesisSource {
    /// Finds the streams and goes on from `positions`, those that are committed; `now` is the time at the call.
    ///
    /// Calls are made on `runtime`, which has threads of its own: the one that calls this or polls must not be one of them.
    ///
    /// # Errors
    /// Settings that contradict themselves, a stream that is not there or not permitted, a position that is not understood.
    pub fn open(
        settings: &KinesisSettings,
        positions: &Positions,
        committed: Arc<Committed>,
        runtime: Handle,
        config: &SdkConfig,
        now: Micros,
    ) -> Result<Self, SourceError> {
        let faults = settings.faults();
        if !faults.is_empty() {
            return Err(misconfigured("kinesis", faults.join("; "), "correct the settings of the source"));
        }
        let consumer = if settings.mode == Mode::FanOut { settings.consumer.as_deref() } else { None };
        let mut streams = Vec::new();
        for name in &settings.streams {
            let (connection, overview) = runtime.block_on(Connection::open(config, name, consumer))?;
            let prefix = connection.prefix();
            check_start(settings.start, name, &overview, positions.contains_key(&prefix), now)?;
            let stream = Stream::new(prefix, settings.start, settings.on_gap, positions, &overview, now);
            let stream = stream.map_err(|error| SourceError::Service {
                resource: format!("kinesis stream {name}"),
                problem: error.to_string(),
                fix: "it was written by another program: restore the local state, or start with an empty one".to_owned(),
                class: ErrorClass::Corrupt,
                source: Some(Box::new(error)),
            })?;
            streams.push((stream, Arc::new(connection)));
        }
        let (inbox, tasks) = (Arc::new(Inbox::default()), JoinSet::new());
        Ok(Self { streams, turn: 0, inbox, tasks, runtime, committed, bytes: 0, now })
    }

    /// Makes the calls that are due; returns when the next one is.
    fn ask(&mut self, now: Micros) -> Option<Micros> {
        while self.tasks.try_join_next().is_some() {}
        for (number, (stream, connection)) in self.streams.iter_mut().enumerate() {
            for Request { call, number: call_number, called } in stream.requests(&self.committed, now) {
                let shard = call.shard().map(str::to_owned);
                let owed = Owed::new(Arc::clone(&self.inbox), number, shard, call_number, called);
                let connection = Arc::clone(connection);
                self.tasks.spawn_on(async move { owed.deliver(connection.carry_out(call).await) }, &self.runtime);
            }
        }
        self.streams.iter().filter_map(|(stream, _)| stream.due()).min()
    }

    /// Takes a piece, of each stream in turn.
    fn take(&mut self) -> Option<Piece> {
        let count = self.streams.len();
        for step in 0..count {
            let number = (self.turn + step) % count;
            if let Some(piece) = self.streams[number].0.take() {
                self.turn = (number + 1) % count;
                self.bytes += piece.source_bytes;
                return Some(piece);
            }
        }
        None
    }

    fn receive(&mut self, wait: Duration, started: Instant, now: Micros) {
        let mut next = self.inbox.take(wait);
        while let Some((number, done)) = next {
            if let Some((stream, _)) = self.streams.get_mut(number) {
                stream.done(done, later(now, started));
            }
            next = self.inbox.take(Duration::ZERO);
        }
    }
}

impl Source for KinesisSource {
    fn poll(&mut self, wait: Duration, now: Micros) -> Result<Poll, SourceError> {
        let started = Instant::now();
        self.receive(Duration::ZERO, started, now);
        loop {
            self.now = later(now, started);
            let due = self.ask(self.now);
            if let Some(piece) = self.take() {
                return Ok(Poll::Piece(piece));
            }
            let left = wait.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(Poll::Idle);
            }
            let pause = due.map(|due| Duration::from_micros(u64::try_from(due.0 - self.now.0).unwrap_or(0)));
            self.receive(pause.map_or(left, |pause| pause.max(Duration::from_millis(1)).min(left)), started, now);
        }
    }

    fn progress(&self) -> Progress {
        let shards = self.streams.iter().flat_map(|(stream, _)| stream.health(self.now)).collect();
        Progress { bytes_total: self.bytes, bytes_done: self.bytes, shards, ..Progress::default() }
    }

    fn order(&mut self, order: &Order) -> bool {
        let Order::Resume(shard) = order;
        let now = self.now;
        self.streams.iter_mut().any(|(stream, _)| stream.resume(shard, now))
    }
}

/// Returns the moment that is reached when `now` was the time at `started`.
fn later(now: Micros, started: Instant) -> Micros {
    now.plus(i64::try_from(started.elapsed().as_micros()).unwrap_or(0))
}

/// Refuses a start that the stream cannot give.
fn check_start(start: Start, name: &str, overview: &Overview, begun: bool, now: Micros) -> Result<(), SourceError> {
    let Start::Timestamp(moment) = start else { return Ok(()) };
    if begun {
        return Ok(());
    }
    let (kept_from, resource) = (millis(now).saturating_sub(overview.retention_ms), format!("kinesis stream {name}"));
    if moment > now {
        return Err(misconfigured(&resource, format!("start = {moment} lies in the future"), "use start = \"latest\""));
    }
    if millis(moment) < kept_from {
        let problem = format!("start = {moment} is older than the stream keeps records ({} hours)", overview.retention_ms / 3_600_000);
        return Err(misconfigured(&resource, problem, "use start = \"trim_horizon\", and fill the rest from S3"));
    }
    Ok(())
}

fn misconfigured(resource: &str, problem: String, fix: &str) -> SourceError {
    SourceError::Service { resource: resource.to_owned(), problem, fix: fix.to_owned(), class: ErrorClass::Misconfigured, source: None }
}
