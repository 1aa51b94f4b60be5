//! Two sums of the same calls that were taken at slightly different times, compared.
//!
//! A metric carries the minute in which it was counted, a log record the second of its request; so a call near the edge of an hour may
//! stand in one hour here and in the next one there. The running difference of the two sums tells them apart: a call that stands
//! elsewhere lifts it for some minutes, a call that is missing for ever. A difference counts as far as it never falls again.
//!
//! What stands open at the edge where the comparison begins is taken off: nothing where no call is near it or all slots around it agree
//! to the token, else as many calls as five minutes of traffic. So what is found is missing; what is missing is found wherever the traffic
//! pauses, and on a key that never pauses from the size of five minutes on.

use sluice_schemas::Micros;
use sluice_schemas::time::{HOUR, MINUTE};

use super::{Counts, Series, Stretch, Tokens};

/// Time by which the two times of one call may differ.
pub const SKEW: i64 = 5 * MINUTE;
/// Time before the first hour in which a quiet moment to begin at is looked for.
pub const LEAD: i64 = HOUR;
/// Where the calls agree, tokens may differ by this part of what the other side counted: one in a thousand.
pub const TOKENS_TOLERANCE: u64 = 1_000;

/// What is missing in one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    /// Start of the hour.
    pub hour: Micros,
    /// Calls that are missing at least.
    pub calls: u64,
    /// Tokens that are missing at least.
    pub tokens: Tokens,
    /// Missing calls of which no tokens are known.
    pub untold: u64,
}

/// Compares the lake's counts with those of the other side over the hours that are settled.
///
/// Both series must reach from [`LEAD`] before the stretch to [`SKEW`] behind what is settled, in slots of `slot` microseconds.
/// Whether a side counts failed calls as invocations is left open: what is missing is missing either way.
#[must_use]
pub fn compare(lake: &Series, other: &Series, stretch: &Stretch, slot: i64) -> Vec<Lacking> {
    let grid = Grid::new(lake, other, stretch, slot);
    if grid.hours == 0 {
        return Vec::new();
    }
    let of = |series: &Series, read: &dyn Fn(&Counts) -> i128| grid.line(series, read);
    let calls = |counts: &Counts| i128::from(counts.calls);
    let failed = |counts: &Counts| i128::from(counts.failed);
    let taken = |counts: &Counts| calls(counts) + failed(counts);
    let without = |counts: &Counts| calls(counts) - failed(counts);
    // The other side counted successes, or all that it took on: the larger of two lower bounds is a lower bound.
    let succeeded = grid.rises(&of(lake, &calls), &of(other, &without));
    let accepted = grid.rises(&of(lake, &taken), &of(other, &calls));
    let missing = if sum(&accepted) > sum(&succeeded) { accepted } else { succeeded };
    let tokens = [0, 1, 2, 3].map(|class| {
        let read = move |counts: &Counts| i128::from(counts.tokens.classes()[class]);
        let (mine, theirs) = (of(lake, &read), of(other, &read));
        let lacking = grid.rises(&mine, &theirs);
        // Rounding of the other side, where no call is missing.
        let tolerated = sum(&missing) == 0 && sum(&lacking) <= total(&theirs) / TOKENS_TOLERANCE;
        if tolerated { vec![0; lacking.len()] } else { lacking }
    });
    let of_hour = |at: usize| {
        let (calls, tokens) = (missing[at], Tokens::of([0, 1, 2, 3].map(|class| tokens[class][at])));
        let untold = if tokens.total() == 0 { calls } else { 0 };
        Lacking { hour: stretch.since.plus(at as i64 * HOUR), calls, tokens, untold }
    };
    (0..grid.hours).map(of_hour).collect()
}

fn sum(values: &[u64]) -> u64 {
    values.iter().copied().fold(0, u64::saturating_add)
}

fn total(line: &[i128]) -> u64 {
    u64::try_from(line.iter().sum::<i128>()).unwrap_or(0)
}

/// Slots from the lead-in to the end of the skew behind the last settled hour.
struct Grid {
    start: Micros,
    slot: i64,
    /// Slots of the lead-in.
    lead: usize,
    /// Settled hours.
    hours: usize,
    /// Slots of an hour.
    per_hour: usize,
    /// Slots of the skew.
    skew: usize,
    len: usize,
    /// For each edge between slots, whether the two sides differ anywhere near it.
    open: Vec<bool>,
}

impl Grid {
    fn new(lake: &Series, other: &Series, stretch: &Stretch, slot: i64) -> Self {
        let slots = |time: i64| usize::try_from((time + slot - 1) / slot).unwrap_or(0);
        let hours = usize::try_from(stretch.settled().hour() - stretch.since.hour()).unwrap_or(0);
        let (lead, per_hour, skew) = (slots(LEAD), slots(HOUR), slots(SKEW));
        let len = lead + hours * per_hour + skew;
        let mut grid = Self { start: stretch.since.plus(-LEAD), slot, lead, hours, per_hour, skew, len, open: Vec::new() };
        let (mine, theirs) = (grid.counts(lake), grid.counts(other));
        let differ: Vec<bool> = mine.iter().zip(&theirs).map(|(mine, theirs)| mine != theirs).collect();
        // Calls that stand elsewhere one after the other can make slots agree by chance, so it takes a while of agreement.
        grid.open = (0..=len).map(|edge| differ[edge.saturating_sub(2 * skew)..(edge + 2 * skew).min(len)].contains(&true)).collect();
        grid
    }

    fn slot_of(&self, at: Micros) -> usize {
        usize::try_from((at.0 - self.start.0).div_euclid(self.slot)).unwrap_or(usize::MAX)
    }

    fn counts(&self, series: &Series) -> Vec<Counts> {
        let mut line = vec![Counts::default(); self.len];
        for (at, counts) in series.range(self.start..) {
            if let Some(slot) = line.get_mut(self.slot_of(*at)) {
                *slot += *counts;
            }
        }
        line
    }

    fn line(&self, series: &Series, read: &dyn Fn(&Counts) -> i128) -> Vec<i128> {
        self.counts(series).iter().map(read).collect()
    }

    /// Returns by hour how far `theirs` rose over `mine` without ever falling again.
    fn rises(&self, mine: &[i128], theirs: &[i128]) -> Vec<u64> {
        let early = self.early(mine, theirs);
        // The quietest moment of the lead-in, the latest of those: what the edge leaves open there is taken off.
        let anchor = (0..=self.lead).rev().min_by_key(|at| early[*at]).unwrap_or(self.lead);
        let mut level = vec![0_i128; self.len + 1];
        level[anchor] = -early[anchor];
        for at in anchor..self.len {
            // More calls here than the other side can still come to count: of other traffic, and no excuse for what is missing later.
            level[at + 1] = (level[at] + theirs[at] - mine[at]).max(-early[at + 1]);
        }
        for at in (anchor..self.len).rev() {
            level[at] = level[at].min(level[at + 1]);
        }
        let risen = |hour: usize| level[self.lead + hour * self.per_hour].max(0);
        (0..self.hours).map(|hour| u64::try_from(risen(hour + 1) - risen(hour)).unwrap_or(0)).collect()
    }

    /// Returns for each edge between slots how many calls before it may stand behind it on the other side.
    fn early(&self, mine: &[i128], theirs: &[i128]) -> Vec<i128> {
        let within =
            |line: &[i128], from: usize, to: usize| line[from..to.min(line.len())].iter().map(|value| (*value).max(0)).sum::<i128>();
        let crossing = |edge: usize| within(mine, edge.saturating_sub(self.skew), edge).min(within(theirs, edge, edge + self.skew));
        // What agrees as it was counted may differ as it is read: one side takes failed calls for calls.
        let differ: Vec<bool> = mine.iter().zip(theirs).map(|(mine, theirs)| mine != theirs).collect();
        let near = |edge: usize| differ[edge.saturating_sub(2 * self.skew)..(edge + 2 * self.skew).min(self.len)].contains(&true);
        (0..=self.len).map(|edge| if self.open[edge] || near(edge) { crossing(edge) } else { 0 }).collect()
    }
}
