//! What there is to read: shards of records, and what a reader that has come to given positions must know. The ground truth.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use sluice_ingest::source::{Payload, Piece, StreamRecord};
use sluice_schemas::position::{Positions, Sequence};
use sluice_schemas::time::{HOUR, MINUTE, SECOND};
use sluice_schemas::{Micros, Position};

use super::random::Random;

/// 2026-10-01T20:00:00Z: a day of Berlin ends two hours later, one of UTC four.
pub(crate) const START: Micros = Micros(1_790_884_800_000_000);
/// Models, and USD a million tokens for input and output; `None` is a model without a price.
pub(crate) const MODELS: [(&str, Option<(i128, i128)>); 3] =
    [("acme.large-v1:0", Some((3, 15))), ("acme.small-v1:0", Some((1, 5))), ("acme.secret-v1:0", None)];
pub(crate) const REGIONS: [&str; 2] = ["us-east-1", "eu-central-1"];

/// One call to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) at: Micros,
    pub(crate) agent: String,
    pub(crate) session: String,
    pub(crate) model: usize,
    pub(crate) region: &'static str,
    pub(crate) input: i64,
    pub(crate) output: i64,
    pub(crate) failed: bool,
}

impl Call {
    /// Cost in pico-dollars; `None` without a price.
    pub(crate) fn cost(&self) -> Option<i128> {
        if self.failed && self.input == 0 && self.output == 0 {
            return Some(0);
        }
        // A dollar a million tokens is a million pico-dollars a token.
        MODELS[self.model].1.map(|(input, output)| (i128::from(self.input) * input + i128::from(self.output) * output) * 1_000_000)
    }

    fn line(&self) -> String {
        let error = if self.failed { r#","errorCode":"ThrottlingException""# } else { "" };
        format!(
            concat!(
                r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"{}","accountId":"111122223333","#,
                r#""identity":{{"arn":"arn:aws:sts::111122223333:assumed-role/Agents/main"}},"region":"{}","requestId":"{}","#,
                r#""operation":"Converse","modelId":"{}","requestMetadata":{{"agent_id":"{}","session_id":"{}"}}{},"#,
                r#""input":{{"inputContentType":"application/json","inputTokenCount":{}}},"#,
                r#""output":{{"outputContentType":"application/json","outputTokenCount":{}}}}}"#
            ),
            self.at, self.region, self.id, MODELS[self.model].0, self.agent, self.session, error, self.input, self.output
        )
    }
}

/// What a record of a shard is.
#[derive(Clone, Debug)]
enum Kind {
    Call(usize),
    Bad,
    Control,
}

#[derive(Clone, Debug)]
struct Record {
    line: String,
    kind: Kind,
}

/// How a shard is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Lines,
    Stream,
    Gzip,
}

/// An ordered lane.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) name: String,
    pub(crate) form: Form,
    /// Must be read and committed to its end before this one.
    pub(crate) parent: Option<usize>,
    records: Vec<Record>,
    /// Where each record begins in the stream of bytes, and where the last one ends.
    offsets: Vec<u64>,
}

/// How far a shard was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) records: usize,
    pub(crate) ended: bool,
}

/// All shards.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) shards: Vec<Shard>,
    calls: Vec<Call>,
}

/// What a reader must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    /// Every call once, by id.
    pub(crate) calls: BTreeMap<String, Call>,
    /// Refused records, each as often as it was delivered.
    pub(crate) rejected: BTreeMap<String, u64>,
    /// Records read.
    pub(crate) records: u64,
}

impl Shard {
    fn sequence(&self, record: usize) -> Sequence {
        Sequence::parse(&format!("495903380271490256608559692538361{:019}", 17 + record * 3)).unwrap()
    }

    /// Returns the position of a place.
    fn position(&self, place: Place) -> Option<Position> {
        if place == Place::default() {
            return None;
        }
        let ended = place.ended;
        Some(match self.form {
            Form::Stream if place.records == 0 => Position { ended, ..Position::default() },
            Form::Stream => Position { sequence: self.sequence(place.records - 1), ended, ..Position::default() },
            Form::Lines | Form::Gzip => Position {
                offset: self.offsets[place.records],
                identity: format!("content of {}", self.name),
                ended,
                ..Position::default()
            },
        })
    }

    /// Returns the place of a position.
    pub(crate) fn place(&self, position: Option<&Position>) -> Place {
        let Some(position) = position else { return Place::default() };
        let ends = (0..=self.records.len()).map(|records| Place { records, ended: position.ended });
        let found = ends.into_iter().find(|place| self.position(*place).as_ref() == Some(position));
        found.unwrap_or_else(|| panic!("{position:?} is no place of {}", self.name))
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn is_through(&self, place: Place) -> bool {
        place.ended
    }

    /// Returns the piece from a place on of at most so many records, and where it leads.
    pub(crate) fn piece(&self, from: Place, most: usize, arrival: Micros) -> (Piece, Place) {
        let end = if self.form == Form::Gzip { self.records.len() } else { (from.records + most).min(self.records.len()) };
        // A stream tells its end apart from its last record.
        let ended = end == self.records.len() && (self.form != Form::Stream || end == from.records);
        let to = Place { records: end, ended };
        let position = self.position(to).unwrap();
        let lines = || self.records[from.records..end].iter().flat_map(|record| record.line.bytes().chain(*b"\n")).collect::<Vec<u8>>();
        let payload = match self.form {
            Form::Lines => Payload::Lines(lines()),
            Form::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&lines()).unwrap();
                Payload::Gzip(encoder.finish().unwrap())
            }
            Form::Stream => Payload::Records((from.records..end).map(|at| self.stream_record(at)).collect()),
        };
        let piece = Piece {
            accepts: None,
            shard: self.name.clone(),
            from: self.position(from),
            payload,
            arrival,
            base_offset: self.offsets[from.records],
            identity: position.identity,
            to: (self.form != Form::Gzip).then_some(position.offset),
            sequence: position.sequence,
            ended,
            source_bytes: 0,
        };
        (piece, to)
    }

    fn stream_record(&self, at: usize) -> StreamRecord {
        StreamRecord { offset: 0, sequence: self.sequence(at), written: None, data: self.records[at].line.clone().into_bytes() }
    }
}

impl World {
    /// Makes shards that deliver in disorder, twice, late and damaged.
    pub(crate) fn generate(random: &mut Random) -> Self {
        let mut world = Self { shards: Vec::new(), calls: Vec::new() };
        let forms = [Form::Lines, Form::Stream, Form::Gzip, Form::Lines, Form::Stream, Form::Stream];
        for (number, form) in forms.into_iter().enumerate() {
            // The last two are the children of the first stream.
            let parent = (number > 3).then_some(1);
            let began = if parent.is_some() { START.plus(10 * HOUR) } else { START };
            let records = random.between(40, 160) as usize;
            let records: Vec<Record> = (0..records).map(|at| world.record(random, began.plus(at as i64 * 5 * MINUTE))).collect();
            let ends = records.iter().scan(0, |end, record| {
                *end += record.line.len() as u64 + 1;
                Some(*end)
            });
            let offsets = std::iter::once(0).chain(ends).collect();
            world.shards.push(Shard { name: format!("test:shard-{number}"), form, parent, records, offsets });
        }
        world
    }

    fn record(&mut self, random: &mut Random, at: Micros) -> Record {
        match random.below(100) {
            0..6 => Record { line: damaged(random), kind: Kind::Bad },
            6..8 => Record { line: CONTROL.to_owned(), kind: Kind::Control },
            // Delivered before, by this shard or another.
            8..24 if !self.calls.is_empty() => {
                let known = random.below(self.calls.len());
                Record { line: self.calls[known].line(), kind: Kind::Call(known) }
            }
            _ => {
                let call = self.call(random, at);
                let line = call.line();
                self.calls.push(call);
                Record { line, kind: Kind::Call(self.calls.len() - 1) }
            }
        }
    }

    fn call(&self, random: &mut Random, at: Micros) -> Call {
        let late = match random.below(20) {
            0 => random.between(10 * MINUTE, 4 * HOUR),
            1 => random.between(20 * HOUR, 30 * HOUR),
            _ => random.between(0, 4 * MINUTE),
        };
        let agent = random.below(5);
        let id = match random.below(20) {
            0 => format!("not a uuid {}", self.calls.len()),
            _ => format!("{:08x}-0000-4000-8000-{:012x}", random.next() >> 32, self.calls.len()),
        };
        let failed = random.chance(6);
        // What a failed call consumed all the same is paid for.
        let most = if failed && random.chance(60) { 1 } else { 4_000 };
        Call {
            id,
            at: Micros((at.0 - late) / SECOND * SECOND),
            agent: format!("agent-{agent}"),
            session: format!("s-{agent}-{}", random.below(3)),
            model: [0, 0, 1, 1, 1, 2][random.below(6)],
            region: REGIONS[random.below(2)],
            input: random.between(0, most),
            output: random.between(0, most.min(900)),
            failed,
        }
    }

    /// Returns the places of committed positions.
    pub(crate) fn places(&self, positions: &Positions) -> Vec<Place> {
        self.shards.iter().map(|shard| shard.place(positions.get(&shard.name))).collect()
    }

    /// Returns what a reader at these places must know.
    pub(crate) fn truth(&self, places: &[Place]) -> Truth {
        let mut truth = Truth::default();
        for (shard, place) in self.shards.iter().zip(places) {
            for record in &shard.records[..place.records] {
                truth.records += 1;
                match record.kind {
                    Kind::Call(call) => drop(truth.calls.insert(self.calls[call].id.clone(), self.calls[call].clone())),
                    Kind::Bad => *truth.rejected.entry(record.line.clone()).or_default() += 1,
                    Kind::Control => {}
                }
            }
        }
        truth
    }

    /// Returns the latest event among the next records of a shard: nothing arrives before it happened.
    pub(crate) fn latest_of(&self, shard: usize, from: Place, most: usize) -> Option<Micros> {
        let shard = &self.shards[shard];
        let end = if shard.form == Form::Gzip { shard.records.len() } else { (from.records + most).min(shard.records.len()) };
        let time = |record: &Record| match record.kind {
            Kind::Call(call) => Some(self.calls[call].at),
            _ => None,
        };
        shard.records[from.records..end].iter().filter_map(time).max()
    }

    /// Ids of all calls there are.
    pub(crate) fn ids(&self) -> BTreeSet<&str> {
        self.calls.iter().map(|call| call.id.as_str()).collect()
    }
}

const CONTROL: &str = concat!(
    r#"{"messageType": "CONTROL_MESSAGE", "owner": "CloudwatchLogs", "logGroup": "", "logStream": "", "subscriptionFilters": [], "#,
    r#""logEvents": [{"id": "", "timestamp": 1510109208016, "message": "CWL CONTROL MESSAGE: Checking health of destination Firehose"}]}"#
);

fn damaged(random: &mut Random) -> String {
    let number = random.next() >> 40;
    match random.below(3) {
        0 => format!("ERROR {number} upstream connect error"),
        1 => format!(r#"{{"schemaType":"ModelInvocationLog","requestId":"{number}""#),
        _ => format!(r#"{{"hello":"world","count":{number}}}"#),
    }
}
