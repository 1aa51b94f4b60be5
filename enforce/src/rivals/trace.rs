//! Calls to simulate on: stored ones, or made from a seed.

use sluice_schemas::time::SECOND;
use sluice_schemas::{Micros, PicoUsd};

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceCall {
    /// Whose budget it counts against.
    pub target: String,
    /// When it began.
    pub start: Micros,
    /// How long it took, in microseconds.
    pub duration: i64,
    /// What it cost.
    pub cost: PicoUsd,
}

/// What a made trace looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Decides everything random.
    pub seed: u64,
    /// First moment.
    pub from: Micros,
    /// Length in microseconds.
    pub length: i64,
    /// Targets; every fourth of them runs away at some time.
    pub targets: u32,
    /// Mean time between two calls of a target in its usual way, in microseconds.
    pub every: i64,
}

/// Makes a trace: each target calls at its own pace; one that runs away calls twenty times as often, with three calls at once, from a moment
/// in the middle half of the time to its end.
#[must_use]
pub fn generate(wanted: &Generated) -> Vec<TraceCall> {
    let mut calls = Vec::new();
    for target in 0..wanted.targets {
        let mut draw = Draw::new(wanted.seed, u64::from(target));
        let quarter = wanted.length / 4;
        let runs_away = target.is_multiple_of(4).then(|| wanted.from.plus(quarter + draw.below(2 * quarter)));
        let end = wanted.from.plus(wanted.length);
        let mut at = wanted.from.plus(draw.below(wanted.every));
        while at < end {
            let wild = runs_away.is_some_and(|from| at >= from);
            for _ in 0..if wild { 3 } else { 1 } {
                let cost = PicoUsd(i128::from(1_000_000_000 + draw.below(40_000_000_000)));
                let duration = SECOND + draw.below(20 * SECOND);
                calls.push(TraceCall { target: format!("agent-{target}"), start: at, duration, cost });
            }
            let pause = if wild { wanted.every / 20 } else { wanted.every };
            at = at.plus(1 + draw.below(2 * pause));
        }
    }
    calls.sort_by(|a, b| (a.start, &a.target, a.cost).cmp(&(b.start, &b.target, b.cost)));
    calls
}

/// Random numbers: the same for the same seed and stream, on every machine.
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self(seed ^ stream.wrapping_add(1).wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    /// Returns a number from 0 up to, not including, `end`; 0 if there is none.
    pub(super) fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        u64::try_from(end).ok().filter(|end| *end > 0).and_then(|end| i64::try_from(x % end).ok()).unwrap_or(0)
    }
}
