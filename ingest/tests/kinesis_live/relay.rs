//! Workers publish on a stream that is split and merged meanwhile, die between publishing and committing, and meet a network that
//! refuses, loses and stalls; the ledger's side reads every call, each refused record and each control message once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sluice_ingest::aws::{AwsSettings, load};
use sluice_ingest::committed::{Committed, Durable};
use sluice_ingest::decode::Decoder;
use sluice_ingest::kinesis::KinesisSource;
use sluice_ingest::kinesis::publish::{KinesisRelay, RelayStream};
use sluice_ingest::piece::decode_piece;
use sluice_ingest::relay::worker::{PublishError, Worker, WorkerError, run};
use sluice_ingest::relay::{MESSAGE_BYTES, Refused, admit};
use sluice_ingest::source::{Payload, Piece, Poll, Progress, Source, SourceError, StreamRecord};
use sluice_schemas::position::{ChainDecision, Positions, Sequence, chain};
use sluice_schemas::{Batch, Clock, ErrorClass, Micros, Position, Rejected, RequestId, SystemClock};

use crate::fault_proxy::{Answer, Fault, FaultProxy};
use crate::support::{Service, call, endpoint};
use crate::{LIMIT, oldest};

const LANES: u64 = 3;
/// Records of a lane: of ten, one is refused and one is a control message.
const RECORDS: u64 = 200;

/// A partition of a topic, as far as a worker sees of it: from where the group stands, a few records at a time.
struct Lane {
    shard: String,
    number: u64,
    at: u64,
    begun: bool,
}

impl Lane {
    fn open(number: u64, committed: &Committed) -> Self {
        let shard = format!("kafka:c/raw/{number}");
        let at = committed.of(Durable::Local, &shard);
        Self { number, at: at.as_ref().map_or(0, |at| at.offset), begun: at.is_some(), shard }
    }

    fn record(&self, offset: u64) -> StreamRecord {
        let data = match offset % 10 {
            4 => format!("nonsense {}-{offset}", self.number).into_bytes(),
            7 => b"Permissions are correctly set for Amazon Bedrock logs.".to_vec(),
            _ => call(self.number * RECORDS + offset).into_bytes(),
        };
        StreamRecord { offset, sequence: Sequence::default(), written: None, data }
    }
}

impl Source for Lane {
    fn poll(&mut self, _: Duration, now: Micros) -> Result<Poll, SourceError> {
        if self.at == RECORDS {
            return Ok(Poll::Ended);
        }
        let end = RECORDS.min(self.at + 1 + self.at % 7);
        let from = self.begun.then(|| Position { offset: self.at, ..Position::default() });
        let records = (self.at..end).map(|offset| self.record(offset)).collect();
        (self.at, self.begun) = (end, true);
        thread::sleep(Duration::from_millis(20));
        Ok(Poll::Piece(Piece {
            shard: self.shard.clone(),
            from,
            payload: Payload::Records(records),
            arrival: now,
            base_offset: 0,
            identity: String::new(),
            to: Some(end),
            sequence: Sequence::default(),
            ended: false,
            source_bytes: 0,
            accepts: None,
        }))
    }

    fn progress(&self) -> Progress {
        Progress::default()
    }
}

fn trouble(upstream: &str) -> FaultProxy {
    let refused = |status, kind: &str| Answer {
        status,
        content_type: "application/x-amz-json-1.1",
        body: format!(r#"{{"__type":"{kind}","message":"trouble"}}"#),
    };
    let puts = AtomicU64::new(0);
    FaultProxy::start(upstream, move |request| match puts.fetch_add(1, Ordering::Relaxed) % 40 {
        _ if request.header("x-amz-target") != Some("Kinesis_20131202.PutRecord") => Fault::Pass,
        5 => Fault::Instead(refused(500, "InternalFailure")),
        11..14 => Fault::Instead(refused(400, "ProvisionedThroughputExceededException")),
        19 => Fault::After(refused(503, "ServiceUnavailable")),
        25 => Fault::Lost,
        30 => Fault::AnswerLost,
        36 => Fault::Stalled,
        _ => Fault::Pass,
    })
}

/// Reads a lane to its end, with a worker that dies every so many publications before it commits the last.
fn work(service: &Service, proxy: &FaultProxy, stream: &str, number: u64) {
    let settings: RelayStream = serde_json::from_value(serde_json::json!({ "stream": stream })).expect("settings");
    let aws = AwsSettings { region: Some("eu-central-1".to_owned()), endpoint: Some(proxy.url.clone()), profile: None };
    let config = service.runtime.block_on(load(&aws)).expect("a configuration");
    let (committed, stop) = (Committed::default(), AtomicBool::new(false));
    for life in 1.. {
        let mut relay = KinesisRelay::open(settings.clone(), &config, service.runtime.handle().clone(), Duration::from_secs(2));
        let mut published = 0;
        let mut publish = |shard: &str, messages: &[Vec<u8>]| {
            relay.publish(shard, messages)?;
            published += 1;
            if published == 7 * life {
                return Err(PublishError { resource: "test".to_owned(), problem: "killed".to_owned(), class: ErrorClass::Bug });
            }
            Ok(())
        };
        let name = format!("worker-{number}");
        let worker = Worker { name, limit: MESSAGE_BYTES, committed: &committed, clock: &SystemClock, stop: &stop, intake: Arc::default() };
        match run(&mut Lane::open(number, &committed), &mut publish, &worker) {
            Ok(_) => return,
            Err(WorkerError::Publish(error)) => assert_eq!(error.class, ErrorClass::Bug, "{error}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Every stretch is published whole, so that no row is ever looked up.
struct Nothing;

impl Refused for Nothing {
    type Error = std::convert::Infallible;

    fn is_known(&mut self, shard: &str, _: &Rejected) -> Result<bool, Self::Error> {
        panic!("{shard}: a refused record of an ordered stretch is told by its place")
    }

    fn keep(&mut self, _: &str, _: &Rejected) {}
}

/// What a ledger makes of the stream.
#[derive(Default)]
struct Read {
    positions: Positions,
    upstream: Positions,
    ids: BTreeSet<u128>,
    rejected: Vec<Vec<u8>>,
    control: u64,
    repeated: u64,
}

impl Read {
    fn take(&mut self, piece: Piece) -> (String, Position) {
        let mut batch = Batch::default();
        let span = decode_piece(piece, &mut Decoder::new(), &mut batch);
        assert_eq!(chain(self.positions.get(&span.shard), &span), ChainDecision::Accept, "{span:?}");
        let Ok(admitted) = admit(&mut batch, &mut self.upstream, &mut Nothing);
        assert!(admitted.gaps.is_empty(), "{admitted:?}");
        self.repeated += admitted.repeated_control + admitted.repeated_rejected;
        for call in &batch.invocations {
            let RequestId::Uuid(id) = call.request_id else { panic!("{call:?}") };
            self.repeated += u64::from(!self.ids.insert(id));
        }
        self.rejected.extend(batch.rejected.into_iter().map(|rejected| rejected.raw));
        self.control += batch.control;
        self.positions.insert(span.shard.clone(), span.to.clone());
        (span.shard, span.to)
    }
}

#[test]
fn workers_publish_on_a_stream_and_nothing_is_lost_or_doubled() {
    let Some(endpoint) = endpoint() else { return };
    let (service, stream) = (Service::new(&endpoint), "relayed");
    service.create(stream, 2);
    let proxy = trouble(&endpoint);
    thread::scope(|scope| {
        let (service, proxy) = (&service, &proxy);
        let workers: Vec<_> = (0..LANES).map(|number| scope.spawn(move || work(service, proxy, stream, number))).collect();
        let resharding = scope.spawn(|| {
            thread::sleep(Duration::from_millis(700));
            service.split(stream, 0);
            thread::sleep(Duration::from_millis(700));
            service.merge(stream, 1);
        });
        let (committed, runtime) = (Arc::new(Committed::default()), service.runtime.handle().clone());
        let opened =
            KinesisSource::open(&oldest(stream), &Positions::new(), Arc::clone(&committed), runtime, &service.config, SystemClock.now());
        let (mut source, mut read) = (opened.expect("a source"), Read::default());
        let (begun, all) = (Instant::now(), (LANES * RECORDS * 8 / 10, LANES * RECORDS / 10));
        let mut last = Instant::now();
        let is_all = |read: &Read| read.ids.len() as u64 == all.0 && workers.iter().all(thread::ScopedJoinHandle::is_finished);
        while last.elapsed() < Duration::from_secs(1) || !is_all(&read) {
            assert!(begun.elapsed() < LIMIT, "{} calls, {} refused, {} control", read.ids.len(), read.rejected.len(), read.control);
            if let Poll::Piece(piece) = source.poll(Duration::from_millis(50), SystemClock.now()).expect("a source") {
                let reached = read.take(piece);
                committed.note(Durable::Local, [reached]);
                last = Instant::now();
            }
        }
        workers.into_iter().for_each(|worker| worker.join().expect("a worker"));
        resharding.join().expect("a split and a merge");
        let (kept, distinct) = (read.rejected.len() as u64, read.rejected.iter().collect::<BTreeSet<_>>().len() as u64);
        assert_eq!((read.ids.len() as u64, kept, distinct, read.control), (all.0, all.1, all.1, all.1));
        assert!(read.repeated > 0 && proxy.faults() > 0, "{} repeated, {} faults", read.repeated, proxy.faults());
    });
}
