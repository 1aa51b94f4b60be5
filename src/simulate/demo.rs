//! The demo's traffic: eight agents at work, one of which runs away, written in real time as Bedrock would lay it out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice_schemas::Micros;

use super::Shape;
use super::call::{TruthCall, hour_folder};
use super::cast::{Caching, Cast, Identity, agent};
use super::generator::Generator;
use super::models::{Form, at};
use super::random::Random;
use super::run::AgentTruth;

/// Account of the demo.
const ACCOUNT: &str = "111122223333";
const REGION: &str = "us-east-1";
/// When the runaway loses its brakes.
const RUNAWAY_AFTER: Duration = Duration::from_secs(8);
/// Shortest pause of the runaway between two calls.
const RUNAWAY_PAUSE: Duration = Duration::from_millis(350);
/// Tokens of the runaway's context before it runs away.
const CALM_CONTEXT: u64 = 6000;

/// One member of the cast: name, team, identity, models, sessions, milliseconds between calls.
type Part = (&'static str, &'static str, Identity, &'static [usize], usize, u64);

const PARTS: [Part; 8] = [
    ("checkout-bot", "checkout", Identity::Metadata, &[at::HAIKU], 3, 1100),
    ("support-triage", "support", Identity::Metadata, &[at::NOVA_LITE, at::HAIKU], 3, 1300),
    ("doc-indexer", "search", Identity::SessionName, &[at::TITAN_EMBED, at::NOVA_MICRO], 1, 1000),
    (RUNAWAY, "research", Identity::SessionName, &[at::OPUS], 1, 2200),
    ("code-reviewer", "platform", Identity::AgentCore, &[at::SONNET], 2, 2000),
    ("invoice-matcher", "finance", Identity::Metadata, &[at::NOVA_PRO, at::NOVA_2_LITE], 2, 2400),
    ("data-export", "data", Identity::Spoofer, &[at::HAIKU], 2, 3100),
    ("nightly-batch", "", Identity::Nobody, &[at::GPT_OSS, at::LLAMA_8B], 1, 2900),
];

/// Name of the agent that runs away.
pub(crate) const RUNAWAY: &str = "research-planner";

/// Simulated agents that write their logs as time goes by.
pub(crate) struct DemoTraffic {
    generator: Generator,
    parts: Vec<Playing>,
    files: BTreeMap<PathBuf, File>,
}

/// An agent at work.
struct Playing {
    sessions: Vec<usize>,
    pause: Duration,
    due: Duration,
}

impl DemoTraffic {
    /// Sets the scene; the same seed makes the same calls.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut cast = Cast::default();
        for (number, (id, team, identity, models, ..)) in PARTS.iter().enumerate() {
            cast.agents.push(agent(id, team, *identity, ACCOUNT, models, number));
        }
        let mut parts = Vec::new();
        for (number, (.., sessions, millis)) in PARTS.iter().enumerate() {
            let mut playing =
                Playing { sessions: Vec::new(), pause: Duration::from_millis(*millis), due: Duration::from_millis(random.below(*millis)) };
            for ordinal in 0..*sessions {
                let mut session = cast.session(number, ordinal, REGION, Form::Id, &mut random);
                session.context = CALM_CONTEXT;
                session.caching = Caching::Short;
                playing.sessions.push(cast.sessions.len());
                cast.sessions.push(session);
            }
            parts.push(playing);
        }
        Self { generator: Generator::with_cast(cast, Shape::Agent, random), parts, files: BTreeMap::new() }
    }

    /// Returns everybody, to be registered.
    pub(crate) fn agents(&self) -> Vec<AgentTruth> {
        self.generator.cast().truth()
    }

    /// Writes the records that are due after `elapsed` since the start, stamped `now`, below `folder`. Each line is whole on disk
    /// before the next begins. Returns the records written.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn tick(&mut self, elapsed: Duration, now: Micros, folder: &Path) -> io::Result<u64> {
        let mut written = 0;
        for number in 0..self.parts.len() {
            while self.parts[number].due <= elapsed {
                let due = self.parts[number].due;
                let pause = self.pause(number, due);
                self.parts[number].due = due + pause;
                self.call(number, due, now, folder)?;
                written += 1;
            }
        }
        Ok(written)
    }

    /// Returns the pause after a call that was due at `due`: the runaway's shrinks to almost nothing.
    fn pause(&mut self, number: usize, due: Duration) -> Duration {
        let usual = self.parts[number].pause;
        if PARTS[number].0 == RUNAWAY && due >= RUNAWAY_AFTER {
            let seconds = u32::try_from((due - RUNAWAY_AFTER).as_secs()).unwrap_or(u32::MAX).saturating_add(2);
            return (usual / seconds).max(RUNAWAY_PAUSE);
        }
        // Between half and one and a half of the usual pause.
        let millis = u64::try_from(usual.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(millis / 2 + self.generator.random().below(millis))
    }

    fn call(&mut self, number: usize, due: Duration, now: Micros, folder: &Path) -> io::Result<TruthCall> {
        let sessions = &self.parts[number].sessions;
        let session = sessions[self.generator.random().index(sessions.len())];
        if PARTS[number].0 == RUNAWAY && due >= RUNAWAY_AFTER {
            self.generator.cast_mut().sessions[session].runaway = true;
        }
        let mut line = Vec::new();
        let call = self.generator.record_of(session, now, Shape::Agent, &mut line);
        line.push(b'\n');
        let path = folder.join(hour_folder(&call.account_id, &call.region, now)).join(format!("{}.jsonl", PARTS[number].0));
        let file = match self.files.entry(path) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                if let Some(parent) = place.key().parent() {
                    fs::create_dir_all(parent)?;
                }
                let file = File::options().create(true).append(true).open(place.key())?;
                place.insert(file)
            }
        };
        // One call to the system, so that a reader never sees half of a line it would have to wait for.
        file.write_all(&line)?;
        Ok(call)
    }
}
