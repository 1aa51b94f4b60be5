//! Writes a whole plan: calls in order of time, some delivered twice, some damaged, and the truth beside them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sluice_schemas::{CostBasis, Micros};

use super::bad::Damage;
use super::call::TruthCall;
use super::cast::Cast;
use super::files::{Files, Lane, create_folder, write_whole};
use super::generator::Generator;
use super::random::Random;
use super::{Envelope, Layout, Plan, SimulateError};

/// Bytes held back for redelivery in a later file before they are written where we are.
const HELD_BYTES: usize = 64 << 20;
/// Offloaded bodies written as objects of their own.
const DATA_OBJECTS: u64 = 64;

/// What a run wrote; the totals every reader must arrive at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    /// Records written: calls, duplicates and bad ones.
    pub(crate) records: u64,
    /// Distinct readable calls.
    pub(crate) calls: u64,
    /// Records delivered again.
    pub(crate) duplicates: u64,
    /// Lines that carry no call by design: permission checks, control messages.
    pub(crate) control: u64,
    /// Unreadable records, by kind of damage.
    pub(crate) bad: BTreeMap<&'static str, u64>,
    /// Calls that failed.
    pub(crate) errors: u64,
    /// Calls whose cache writes have an unknown lifetime.
    pub(crate) envelope_basis: u64,
    /// Calls that claim another's agent.
    pub(crate) false_claims: u64,
    /// Calls through an application inference profile, whose model the log does not tell.
    pub(crate) opaque_models: u64,
    /// Sums over the distinct readable calls.
    pub(crate) tokens: Tokens,
    /// Files of records.
    pub(crate) files: u64,
    /// Objects with an offloaded body.
    pub(crate) data_objects: u64,
    /// Bytes of the files before compression.
    pub(crate) bytes: u64,
    /// Everybody who called.
    pub(crate) agents: Vec<AgentTruth>,
}

/// Token sums as the log reveals them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tokens {
    /// Uncached prompt tokens.
    pub(crate) input: u64,
    /// Generated tokens.
    pub(crate) output: u64,
    /// Tokens read from the cache.
    pub(crate) cache_read: u64,
    /// Tokens written to the cache for five minutes, or for an unknown time.
    pub(crate) cache_write_5m: u64,
    /// Tokens written to the cache for an hour.
    pub(crate) cache_write_1h: u64,
}

/// One agent: enough to register it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AgentTruth {
    /// Its true name.
    pub(crate) agent_id: String,
    /// Its team.
    pub(crate) team: String,
    /// How it can be told: `metadata`, `session_name`, `agent_core`, `user`, `spoofer`, `nobody`.
    pub(crate) identity: String,
    /// ARN of its role or user.
    pub(crate) principal: String,
}

impl Cast {
    /// Returns everybody, in a form to be written down.
    pub(crate) fn truth(&self) -> Vec<AgentTruth> {
        let truth = self.agents.iter().map(|agent| AgentTruth {
            agent_id: agent.id.to_string(),
            team: agent.team.to_owned(),
            identity: agent.identity.as_str().to_owned(),
            principal: agent.principal(),
        });
        truth.collect()
    }
}

/// Writes the traffic of a plan below `out`, and to `truth` one line of JSON for each distinct readable call, with its totals in
/// `<truth>.summary.json`.
///
/// # Errors
/// When the plan asks for nothing, or a file cannot be written.
pub(crate) fn write(plan: &Plan, out: &Path, truth: Option<&Path>) -> Result<Summary, SimulateError> {
    plan.check()?;
    let mut run = Run {
        plan,
        out,
        files: Files::create(plan, out)?,
        generator: Generator::new(plan),
        random: Random::new(plan.seed ^ 0xD1CE),
        truth: truth.map(TruthFile::create).transpose()?,
        held: Vec::new(),
        held_bytes: 0,
        damages: 0,
        summary: Summary::default(),
    };
    let slots = run.slots();
    for slot in 0..slots {
        let range = plan.calls * slot / slots..plan.calls * (slot + 1) / slots;
        run.slot(range.start, range.end, slot + 1 == slots)?;
    }
    run.finish()
}

/// A record to be delivered again.
struct Held {
    lane: Lane,
    entry: Vec<u8>,
}

struct Run<'a> {
    plan: &'a Plan,
    out: &'a Path,
    files: Files<'a>,
    generator: Generator,
    random: Random,
    truth: Option<TruthFile>,
    held: Vec<Held>,
    held_bytes: usize,
    damages: usize,
    summary: Summary,
}

impl Run<'_> {
    /// Returns into how many stretches of time the files are cut.
    fn slots(&self) -> u64 {
        let lanes = match self.plan.layout {
            Layout::Flat => 1,
            Layout::S3 => (self.plan.account_ids.len() * self.plan.regions.len()) as u64,
        };
        u64::from(self.plan.files).div_ceil(lanes).clamp(1, self.plan.calls.max(1))
    }

    /// Writes the calls `from..to` and closes their files.
    fn slot(&mut self, from: u64, to: u64, last: bool) -> Result<(), SimulateError> {
        for held in std::mem::take(&mut self.held) {
            self.files.append(&held.lane, &held.entry)?;
        }
        self.held_bytes = 0;
        let mut order: Vec<u64> = if self.plan.shuffle { (from..to).collect() } else { Vec::new() };
        self.random.shuffle(&mut order);
        let mut record = Vec::new();
        for number in from..to {
            let place = order.get((number - from) as usize).copied().unwrap_or(number);
            let at = self.plan.time_of(place);
            self.call(at, last, &mut record)?;
            if self.random.chance(u64::from(self.plan.bad_per_100k), 100_000) {
                self.bad(at)?;
            }
        }
        self.files.next_slot()
    }

    fn call(&mut self, at: Micros, last: bool, record: &mut Vec<u8>) -> Result<(), SimulateError> {
        record.clear();
        let call = self.generator.next_record(at, record);
        let lane = self.files.lane(&call.account_id, &call.region, at);
        let entry = self.files.entry(record, at);
        self.files.append(&lane, &entry)?;
        if let Some((path, body)) = self.generator.take_offloaded()
            && self.plan.layout == Layout::S3
            && self.summary.data_objects < DATA_OBJECTS
        {
            write_whole(&self.out.join(path), &body, true)?;
            self.summary.data_objects += 1;
        }
        self.summary.count(&call);
        if let Some(truth) = &mut self.truth {
            truth.write(&call)?;
        }
        if self.random.chance(u64::from(self.plan.duplicates_permille), 1000) {
            self.summary.duplicates += 1;
            let later = !last && self.held_bytes + entry.len() <= HELD_BYTES && self.random.chance(1, 2);
            if later {
                self.held_bytes += entry.len();
                self.held.push(Held { lane, entry });
            } else {
                self.files.append(&lane, &entry)?;
            }
        }
        Ok(())
    }

    fn bad(&mut self, at: Micros) -> Result<(), SimulateError> {
        let mut record = Vec::new();
        self.generator.next_bare_record(at, &mut record);
        let mut damage = Damage::ALL[self.damages % Damage::ALL.len()];
        self.damages += 1;
        if damage == Damage::NotUtf8 && self.plan.envelope == Envelope::CloudWatch {
            // The record is a string inside a message there, and a message of broken bytes would take its neighbours along.
            damage = Damage::Truncated;
        }
        let record = damage.apply(&record, &mut self.random);
        let lane = match (self.plan.account_ids.first(), self.plan.regions.first()) {
            (Some(account_id), Some(region)) => self.files.lane(account_id, region, at),
            _ => return Ok(()),
        };
        let entry = self.files.entry(&record, at);
        *self.summary.bad.entry(damage.as_str()).or_default() += 1;
        self.files.append(&lane, &entry)
    }

    fn finish(mut self) -> Result<Summary, SimulateError> {
        let bad: u64 = self.summary.bad.values().sum();
        self.summary.records = self.summary.calls + self.summary.duplicates + bad;
        self.summary.control = self.files.control;
        self.summary.files = self.files.files;
        self.summary.bytes = self.files.bytes;
        self.summary.agents = self.generator.cast().truth();
        if let Some(truth) = self.truth {
            truth.finish(&self.summary)?;
        }
        Ok(self.summary)
    }
}

impl Summary {
    fn count(&mut self, call: &TruthCall) {
        self.calls += 1;
        self.errors += u64::from(!call.error_code.is_empty());
        self.envelope_basis += u64::from(call.basis == CostBasis::Envelope);
        self.false_claims += u64::from(call.claimed_agent.as_ref().is_some_and(|claimed| *claimed != call.agent_id));
        self.opaque_models += u64::from(call.model_id.contains(":application-inference-profile/"));
        self.tokens.input += call.usage.input;
        self.tokens.output += call.usage.output;
        self.tokens.cache_read += call.usage.cache_read;
        self.tokens.cache_write_5m += call.usage.cache_write_5m;
        self.tokens.cache_write_1h += call.usage.cache_write_1h;
    }
}

impl Plan {
    /// Tells what makes the plan impossible.
    fn check(&self) -> Result<(), SimulateError> {
        let counts = [
            ("agent", u64::from(self.agents)),
            ("file", u64::from(self.files)),
            ("account", self.account_ids.len() as u64),
            ("region", self.regions.len() as u64),
        ];
        if let Some((what, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(SimulateError::Empty { what });
        }
        let shares = [
            ("duplicates per thousand", self.duplicates_permille, 1000),
            ("bad records per 100,000", self.bad_per_100k, 100_000),
            ("the runaway's number", self.runaway.unwrap_or(0), self.agents - 1),
        ];
        match shares.into_iter().find(|(_, value, limit)| value > limit) {
            Some((what, value, limit)) => Err(SimulateError::TooMany { what, value, limit }),
            None => Ok(()),
        }
    }

    /// Returns the event time of a call by its place in the order of time.
    fn time_of(&self, place: u64) -> Micros {
        let offset = i128::from(self.span_micros) * i128::from(place) / i128::from(self.calls.max(1));
        self.start.plus(i64::try_from(offset).unwrap_or(i64::MAX))
    }
}

/// The file of truth.
struct TruthFile {
    path: PathBuf,
    writer: BufWriter<File>,
    line: Vec<u8>,
}

impl TruthFile {
    fn create(path: &Path) -> Result<Self, SimulateError> {
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        let file = File::create(path).map_err(|source| SimulateError::Write { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), writer: BufWriter::with_capacity(256 * 1024, file), line: Vec::new() })
    }

    fn write(&mut self, call: &TruthCall) -> Result<(), SimulateError> {
        self.line.clear();
        call.write(&mut self.line);
        self.writer.write_all(&self.line).map_err(|source| SimulateError::Write { path: self.path.clone(), source })
    }

    fn finish(mut self, summary: &Summary) -> Result<(), SimulateError> {
        let mut name = self.path.clone().into_os_string();
        name.push(".summary.json");
        let written = self.writer.flush().and_then(|()| {
            let text = serde_json::to_string_pretty(summary)?;
            std::fs::write(&name, text + "\n")
        });
        written.map_err(|source| SimulateError::Write { path: self.path, source })
    }
}
