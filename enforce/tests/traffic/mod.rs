//! Labelled traffic for runaway detection: agents at their normal work, and agents that run away, each from a seed.
//!
//! Thresholds were chosen on [`TUNING`] alone; figures are of [`HELD_OUT`], which nothing was chosen on.

mod measure;
mod normal;
mod random;
mod runaways;

pub(crate) use measure::{false_alarms, trial};
pub(crate) use normal::{KINDS, Kind, normal};
pub(crate) use runaways::{SHAPES, Shape, runaway};

use random::Random;
use sluice_enforce::runaway::{CallShape, ShapeView};
use sluice_schemas::time::DAY;
use sluice_schemas::{EnrichedBatch, Micros, Owner, Profile, Sym};

/// First seed of what thresholds are chosen on.
pub(crate) const TUNING: u64 = 1_000_000;
/// First seed of what figures are of.
pub(crate) const HELD_OUT: u64 = 9_000_000;
/// Days of an agent's month.
pub(crate) const MONTH: i64 = 30;
/// Midnight of a Monday: 2026-08-31.
pub(crate) const START: i64 = 20_696 * DAY;

/// Price of a token, in pico-dollars.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Price {
    /// Of the prompt.
    pub(crate) input: i64,
    /// Of the answer.
    pub(crate) output: i64,
}

/// Three and fifteen dollars a million tokens.
pub(crate) const LARGE: Price = Price { input: 3_000_000, output: 15_000_000 };
/// One and five.
pub(crate) const SMALL: Price = Price { input: 1_000_000, output: 5_000_000 };
/// The large one with most of the prompt read from the cache.
pub(crate) const CACHED: Price = Price { input: 750_000, output: 15_000_000 };
/// Two cents a million.
pub(crate) const EMBED: Price = Price { input: 20_000, output: 0 };

/// Calls of a few agents.
#[derive(Default)]
pub(crate) struct Traffic {
    batch: EnrichedBatch,
    shapes: Vec<CallShape>,
    sessions: Vec<(u32, u32)>,
}

/// Who calls: profiles of a session, for calls that succeed and calls that fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    fine: u32,
    failed: u32,
}

impl Traffic {
    /// Adds a session of an agent; the empty name for calls without one.
    pub(crate) fn session(&mut self, agent: &str, session: &str) -> Caller {
        let strings = &mut self.batch.batch.strings;
        let (agent_id, session_id, throttled) = (strings.intern(agent), strings.intern(session), strings.intern("ThrottlingException"));
        let mut add = |error_code: Sym| {
            self.batch.batch.profiles.push(Profile { error_code, ..Profile::default() });
            self.batch.owners.push(Owner { agent_id, session_id, ..Owner::default() });
            self.batch.owners.len() as u32 - 1
        };
        let caller = Caller { fine: add(Sym::EMPTY), failed: add(throttled) };
        self.sessions.push((caller.fine, caller.failed));
        caller
    }

    /// Adds a call that succeeded. Logs tell whole seconds.
    pub(crate) fn call(&mut self, who: Caller, at: i64, prompt: i64, output: i64, price: Price) {
        let cost_picousd = prompt * price.input + output * price.output;
        self.push(who.fine, at, prompt, output, cost_picousd);
    }

    /// Adds a call that failed, which costs nothing.
    pub(crate) fn failure(&mut self, who: Caller, at: i64, prompt: i64) {
        self.push(who.failed, at, prompt, 0, 0);
    }

    fn push(&mut self, profile: u32, at: i64, prompt: i64, output: i64, cost_picousd: i64) {
        let event_time = Micros(START + at).floor(sluice_schemas::time::SECOND);
        let (prompt, output) = (prompt.max(1) as u32, output.max(0) as u32);
        self.shapes.push(CallShape { event_time, cost_picousd, profile, model: Sym::EMPTY, scope: Sym::EMPTY, prompt, output });
    }

    /// Puts the calls in the order of their times.
    fn sort(&mut self) {
        self.shapes.sort_by_key(|shape| shape.event_time);
    }

    fn view<'a>(&'a self, shapes: &'a [CallShape]) -> ShapeView<'a> {
        ShapeView { batch: &self.batch, shapes }
    }

    /// Returns how many calls there are.
    pub(crate) fn calls(&self) -> usize {
        self.shapes.len()
    }
}
