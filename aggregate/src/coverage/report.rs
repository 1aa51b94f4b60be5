//! What a comparison came to: a verdict for each side, key and hour, and the sum over them without counting a call twice.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice_schemas::{Micros, PicoUsd};

use super::sums::{self, Lacking};
use super::{Counts, Key, Missing, MissingCall, Prices, Series, Sides, Stretch, Tokens, Worth};

/// Who counted the calls beside the lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// CloudWatch metrics: sums by minute.
    Cloudwatch,
    /// CloudTrail events: each call by its id.
    Cloudtrail,
    /// The copy of the invocation log in S3: each call by its id.
    LogCopy,
}

impl Side {
    /// Returns its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cloudwatch => "cloudwatch",
            Self::Cloudtrail => "cloudtrail",
            Self::LogCopy => "log_copy",
        }
    }
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Calls, at least.
    pub calls: u64,
    /// Their tokens, at least.
    pub tokens: Tokens,
    /// What they would have cost.
    pub worth: Worth,
}

/// What may be said of a key and hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// The lake has what the other side has.
    Complete,
    /// It lacks calls or tokens.
    Gap(Gap),
    /// Too young to tell.
    Pending,
}

impl Verdict {
    /// Returns its word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Gap(_) => "gap",
            Self::Pending => "pending",
        }
    }
}

/// One side, key and hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Who else counted.
    pub side: Side,
    /// Start of the hour.
    pub hour: Micros,
    /// What was counted.
    #[serde(flatten)]
    pub key: Key,
    /// What the lake holds.
    pub lake: Counts,
    /// What the other side counted.
    pub other: Counts,
    /// What follows.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Why a side was not compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unasked {
    /// The side.
    pub side: Side,
    /// The account and region, or nothing for all.
    pub place: String,
    /// Why, and what to do.
    pub why: String,
}

/// What one side said as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SideReport {
    /// Keys and hours that were compared.
    pub compared: u64,
    /// Keys and hours that are too young.
    pub pending: u64,
    /// Calls the other side counted.
    pub calls: u64,
    /// Calls the lake lacks of them.
    pub missing: u64,
}

/// Everything that is missing, each call once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Keys and hours that were compared.
    pub compared: u64,
    /// Keys and hours that are too young to tell.
    pub pending: u64,
    /// Keys and hours that lack something.
    pub gaps: u64,
    /// Calls that are missing.
    pub calls: u64,
    /// Their tokens.
    pub tokens: Tokens,
    /// What they are worth, as far as a price is known.
    pub usd: PicoUsd,
    /// Missing calls and tokens without a known price.
    pub unpriced_calls: u64,
    /// Tokens of those.
    pub unpriced_tokens: u64,
}

/// A comparison of the lake with the other sides.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// By side, key and hour.
    pub rows: Vec<Row>,
    /// Missing calls by id, where the other side has ids.
    pub missing: Vec<MissingCall>,
    /// Sides that were not compared.
    pub unasked: Vec<Unasked>,
}

impl Report {
    /// Adds a comparison of sums: both sides in slots of `slot` microseconds, reaching beyond the stretch as [`sums::compare`] asks.
    pub fn add_sums(&mut self, side: Side, lake: &Sides, other: &Sides, stretch: &Stretch, slot: i64, prices: &Prices<'_>) {
        let nothing = Series::new();
        for (key, theirs) in other {
            let mine = lake.get(key).unwrap_or(&nothing);
            let lacking = sums::compare(mine, theirs, stretch, slot);
            let (lake, other) = (by_hour(mine), by_hour(theirs));
            for hour in stretch.hours() {
                let [lake, other] = [&lake, &other].map(|counts| counts.get(&hour).copied().unwrap_or_default());
                let found = lacking.iter().find(|lacking| lacking.hour == hour);
                let verdict = found.map_or(Verdict::Pending, |lacking| judged(key, lacking, prices));
                let idle = lake == Counts::default() && other == Counts::default() && !matches!(verdict, Verdict::Gap(_));
                if !idle {
                    self.rows.push(Row { side, hour, key: key.clone(), lake, other, verdict });
                }
            }
        }
    }

    /// Adds a comparison by ids.
    pub fn add_ids(&mut self, side: Side, found: Missing, stretch: &Stretch, prices: &Prices<'_>) {
        let settled = stretch.settled();
        for (key, series) in &found.seen {
            for (hour, seen) in series.range(stretch.since..stretch.until) {
                let lacks = found.lacking.get(key).and_then(|series| series.get(hour)).copied().unwrap_or_default();
                let untold = found.untold.get(&(key.clone(), *hour)).copied().unwrap_or(0);
                let lacking = Lacking { hour: *hour, calls: lacks.calls, tokens: lacks.tokens, untold };
                let verdict = if *hour < settled { judged(key, &lacking, prices) } else { Verdict::Pending };
                let held = Counts { calls: seen.calls - lacks.calls, failed: 0, tokens: seen.tokens.less(lacks.tokens) };
                self.rows.push(Row { side, hour: *hour, key: key.clone(), lake: held, other: *seen, verdict });
            }
        }
        self.missing.extend(found.ids.into_iter().filter(|call| call.event_time >= stretch.since && call.event_time < settled));
    }

    /// Says why a side was not compared.
    pub fn leave_out(&mut self, side: Side, place: impl Into<String>, why: impl Into<String>) {
        self.unasked.push(Unasked { side, place: place.into(), why: why.into() });
    }

    /// Returns what each side said.
    #[must_use]
    pub fn sides(&self) -> BTreeMap<Side, SideReport> {
        let mut sides: BTreeMap<Side, SideReport> = BTreeMap::new();
        for row in &self.rows {
            let of = sides.entry(row.side).or_default();
            match &row.verdict {
                Verdict::Pending => of.pending += 1,
                verdict => {
                    of.compared += 1;
                    of.calls += row.other.calls;
                    of.missing += if let Verdict::Gap(gap) = verdict { gap.calls } else { 0 };
                }
            }
        }
        sides
    }

    /// Returns the sum. Of several sides that miss calls of one key and hour the one that misses most counts: they miss the same calls.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let mut gaps: BTreeMap<(&Key, Micros), Gap> = BTreeMap::new();
        for row in &self.rows {
            match row.verdict {
                Verdict::Pending => totals.pending += 1,
                Verdict::Complete => totals.compared += 1,
                Verdict::Gap(gap) => {
                    totals.compared += 1;
                    let most = gaps.entry((&row.key, row.hour)).or_insert(gap);
                    if (gap.calls, gap.tokens.total()) > (most.calls, most.tokens.total()) {
                        *most = gap;
                    }
                }
            }
        }
        for gap in gaps.into_values() {
            totals.gaps += 1;
            totals.calls += gap.calls;
            totals.tokens += gap.tokens;
            match gap.worth.amount() {
                Some(amount) => totals.usd += amount,
                None => {
                    totals.unpriced_calls += gap.calls;
                    totals.unpriced_tokens += gap.tokens.total();
                }
            }
        }
        totals
    }

    /// Returns the hours that lack something, in order, each once.
    #[must_use]
    pub fn gap_hours(&self) -> Vec<Micros> {
        let mut hours: Vec<Micros> = self.rows.iter().filter(|row| matches!(row.verdict, Verdict::Gap(_))).map(|row| row.hour).collect();
        hours.sort_unstable();
        hours.dedup();
        hours
    }
}

fn judged(key: &Key, lacking: &Lacking, prices: &Prices<'_>) -> Verdict {
    if lacking.calls == 0 && lacking.tokens.total() == 0 {
        return Verdict::Complete;
    }
    let worth = prices.worth(key, lacking.untold, &lacking.tokens);
    Verdict::Gap(Gap { calls: lacking.calls, tokens: lacking.tokens, worth })
}

fn by_hour(series: &Series) -> Series {
    let mut hours = Series::new();
    for (at, counts) in series {
        *hours.entry(at.floor(sluice_schemas::time::HOUR)).or_default() += *counts;
    }
    hours
}
