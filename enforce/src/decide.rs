//! Whether a counter has crossed thresholds, and what that is called. Pure.
//!
//! A sum that only grows (calendar, session, lifetime) crosses a threshold at most once, so the set of crossings does not
//! depend on the order or the split of what arrives.
//!
//! A rolling sum is looked at bucket by bucket in event-time order. It fires when it reaches a threshold and is armed again
//! when it has fallen below nine tenths of it. The crossing is named by the slice of time it lies in (the epoch-aligned
//! stretch as long as the window) and by how many crossings of the slice came before it, so replays in event-time order
//! give the same names however they are split. Spend that comes late can move a crossing; as long as the sum did not fall in
//! between it stays the same crossing, under the name it had first.

use sluice_schemas::{Micros, PicoUsd};

use crate::budget::{Budget, LimitSource, Width, Window, short_usd};
use crate::counter::{Counter, Fired, FiredState};
use crate::fire::{Crossing, FireKey, Moment, Withheld, crossing};
use crate::limits::AgentLimits;
use crate::notation::MOST;
use crate::period::Period;
use crate::ring::{Excursion, Geometry};
use crate::tally::Tally;
use crate::target;

/// What is done about crossings while spend is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// They fire.
    Live,
    /// They are noted.
    Seed,
    /// Sums fall: nothing can be crossed.
    Retract,
    /// What was retracted is back: whatever it crossed, it crossed before.
    Restore,
}

impl Purpose {
    /// Tells whether a threshold can be crossed.
    pub(crate) const fn can_cross(self) -> bool {
        matches!(self, Self::Live | Self::Seed)
    }
}

/// What the counters are asked with.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) limits: &'a dyn AgentLimits,
    /// The clock.
    pub(crate) now: Micros,
    /// How far the logs have come.
    pub(crate) as_of: Micros,
    pub(crate) batch: u64,
    pub(crate) purpose: Purpose,
}

/// The surroundings of one counter.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) budget: &'a Budget,
    pub(crate) target: &'a str,
    pub(crate) confirmed: bool,
    pub(crate) context: Context<'a>,
}

/// Where a threshold was crossed.
struct Place {
    period: String,
    start: Micros,
    end: Option<Micros>,
    spent: Tally,
    event_time: Micros,
    bucket: i64,
    over: bool,
}

impl Site<'_> {
    /// Returns the limit of the target; `None` where nothing names one.
    pub(crate) fn limit(&self, tag_limit: Option<PicoUsd>) -> Option<PicoUsd> {
        let rule = &self.budget.limit;
        if let Some(exception) = rule.exceptions.get(self.target) {
            return Some(*exception);
        }
        match &rule.source {
            Some(LimitSource::Agent) => self.agent_limit().or(rule.base),
            Some(LimitSource::Tag(_)) => [tag_limit, rule.base].into_iter().flatten().min(),
            None => rule.base,
        }
        .map(|limit| limit.min(MOST))
    }

    /// Returns the limit as people configured it, without what calls say: a part of every fire id.
    pub(crate) fn configured_limit(&self) -> String {
        let rule = &self.budget.limit;
        let amount = |amount: Option<PicoUsd>| amount.map_or_else(String::new, short_usd);
        match (rule.exceptions.get(self.target), &rule.source) {
            (Some(exception), _) => short_usd(*exception),
            (None, Some(LimitSource::Agent)) => amount(self.agent_limit().or(rule.base)),
            (None, Some(LimitSource::Tag(key))) => format!("tag:{key} {}", amount(rule.base)),
            (None, None) => amount(rule.base),
        }
    }

    fn agent_limit(&self) -> Option<PicoUsd> {
        target::value_in(self.target, "agent_id").and_then(|agent| self.context.limits.limit(&agent))
    }

    /// Looks whether a sum that only grows has reached thresholds it had not reached.
    pub(crate) fn check(&self, counter: &mut Counter, period: Option<Period>, event_time: Micros, out: &mut Vec<Crossing>) {
        if !counter.may_have_crossed() {
            return;
        }
        counter.next_at = Some(PicoUsd(i128::MAX));
        let Some(limit) = self.limit(counter.tag_limit) else { return };
        for (index, threshold) in self.budget.thresholds.iter().enumerate() {
            let at = threshold.at.amount(limit);
            if counter.has_fired(index as u8) {
                continue;
            }
            if counter.tally.amount < at {
                counter.next_at = counter.next_at.map(|next| next.min(at));
                continue;
            }
            let place = self.place(counter, period, event_time);
            out.extend(self.fire(counter, index, limit, place));
        }
    }

    fn place(&self, counter: &Counter, period: Option<Period>, event_time: Micros) -> Place {
        let end = period.map(|period| period.end);
        Place {
            period: period.map_or_else(|| self.budget.window.to_string(), |period| period.id()),
            start: period.map_or(counter.first, |period| period.start),
            end,
            spent: counter.tally,
            event_time,
            bucket: 0,
            over: end.is_some_and(|end| self.context.now >= end),
        }
    }

    /// Looks for crossings of a rolling window and moves the window on.
    pub(crate) fn check_rolling(&self, counter: &mut Counter, geometry: Geometry, width: i64, out: &mut Vec<Crossing>) {
        let next_floor = counter.ring.as_ref().and_then(|ring| ring.next_floor(geometry));
        if let Some(limit) = self.limit(counter.tag_limit) {
            for (index, threshold) in self.budget.thresholds.iter().enumerate() {
                let at = threshold.at.amount(limit);
                let excursions = excursions(counter, geometry, index as u8, at);
                for excursion in &excursions {
                    if let Some(bucket) = excursion.start.filter(|_| !known(counter, index as u8, excursion)) {
                        let place = rolling_place(counter, geometry, width, index as u8, bucket, excursion);
                        let over = counter.spent(Some(geometry), self.context.as_of.max(counter.last)).amount < at;
                        out.extend(self.fire(counter, index, limit, Place { over, ..place }));
                    }
                }
                close_ended(counter, index as u8, &excursions, next_floor);
            }
        }
        if let Some(floor) = counter.ring.as_mut().and_then(|ring| ring.slide(geometry)) {
            counter.fired.retain(|fired| !fired.closed || fired.bucket >= floor - 2 * geometry.reach);
        }
    }

    /// Records a crossing and returns it, unless it is only to be noted.
    fn fire(&self, counter: &mut Counter, index: usize, limit: PicoUsd, place: Place) -> Option<Crossing> {
        let threshold = self.budget.thresholds.get(index)?;
        let configured = self.configured_limit();
        let fire_id = FireKey {
            budget: &self.budget.name,
            period: &place.period,
            threshold: &threshold.text,
            target: self.target,
            limit: &configured,
            generation: counter.generation,
        }
        .id();
        let (state, withheld) = match (self.context.purpose, place.over, self.confirmed) {
            (Purpose::Seed, _, _) => (FiredState::Seeded, None),
            (_, true, _) => (FiredState::Late, Some(Withheld::PeriodOver)),
            (_, false, false) => (FiredState::Unconfirmed, Some(Withheld::Unconfirmed)),
            (_, false, true) => (FiredState::Fired, None),
        };
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(fire_id.as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or_default();
        }
        let (event_time, bucket) = (place.event_time, place.bucket);
        counter.fired.push(Fired { threshold: index as u8, state, event_time, bucket, closed: false, fire_id: id });
        if state == FiredState::Seeded {
            return None;
        }
        let moment = Moment {
            period: place.period,
            start: place.start,
            end: place.end,
            limit,
            spent: place.spent.amount,
            unpriced: u64::try_from(place.spent.unpriced).unwrap_or(0),
            event_time,
            now: self.context.now,
            withheld,
        };
        Some(crossing(self.budget, self.target, threshold, fire_id, moment))
    }

    /// Fires what was only noted or told while the budget was not confirmed, as far as it still holds.
    pub(crate) fn confirm(&self, counter: &mut Counter, period: Option<Period>, geometry: Option<Geometry>) -> Vec<Crossing> {
        let waiting = |fired: &Fired| matches!(fired.state, FiredState::Seeded | FiredState::Unconfirmed);
        let over = period.is_some_and(|period| self.context.now >= period.end);
        let Some(limit) = self.limit(counter.tag_limit).filter(|_| !over && counter.fired.iter().any(waiting)) else { return Vec::new() };
        let spent = counter.spent(geometry, self.context.as_of);
        let (waiting, kept): (Vec<Fired>, Vec<Fired>) = std::mem::take(&mut counter.fired).into_iter().partition(waiting);
        counter.fired = kept;
        // What was told under the old ids must be free to act under new ones.
        if waiting.iter().any(|fired| fired.state == FiredState::Unconfirmed) {
            counter.generation += 1;
        }
        let mut crossings = Vec::new();
        for fired in waiting {
            let index = usize::from(fired.threshold);
            let reached = self.budget.thresholds.get(index).is_some_and(|threshold| spent.amount >= threshold.at.amount(limit));
            if !reached {
                // It fell again: nothing is due, and the record keeps it from firing twice.
                counter.fired.push(fired);
                continue;
            }
            let mut place = self.place(counter, period, fired.event_time);
            if let (Some(geometry), Window::Rolling { width }) = (geometry, self.budget.window) {
                let excursion = Excursion { start: Some(fired.bucket), end: None, at_start: spent };
                place = rolling_place(counter, geometry, width, fired.threshold, fired.bucket, &excursion);
            }
            crossings.extend(self.fire(counter, index, limit, place));
        }
        crossings
    }
}

fn excursions(counter: &Counter, geometry: Geometry, index: u8, at: PicoUsd) -> Vec<Excursion> {
    let Some(ring) = &counter.ring else { return Vec::new() };
    let before_floor = |fired: &Fired| ring.floor().is_some_and(|floor| fired.bucket < floor);
    let open = counter.fired.iter().any(|fired| fired.threshold == index && !fired.closed && before_floor(fired));
    ring.excursions(geometry, at, open)
}

/// Tells whether a recorded crossing lies within the excursion.
fn within(fired: &Fired, index: u8, excursion: &Excursion) -> bool {
    fired.threshold == index
        && excursion.start.is_none_or(|start| fired.bucket >= start)
        && excursion.end.is_none_or(|end| fired.bucket < end)
}

fn known(counter: &Counter, index: u8, excursion: &Excursion) -> bool {
    counter.fired.iter().any(|fired| within(fired, index, excursion))
}

/// Closes the records of excursions that ended before the row will begin; later ones are found again from the buckets.
fn close_ended(counter: &mut Counter, index: u8, excursions: &[Excursion], next_floor: Option<i64>) {
    for excursion in excursions {
        if excursion.end.is_some_and(|end| next_floor.is_some_and(|floor| end < floor)) {
            for fired in &mut counter.fired {
                fired.closed |= within(fired, index, excursion);
            }
        }
    }
}

fn rolling_place(counter: &Counter, geometry: Geometry, width: i64, index: u8, bucket: i64, excursion: &Excursion) -> Place {
    let crossed = geometry.start(bucket);
    let slice = crossed.floor(width);
    let same_slice = |fired: &&Fired| fired.threshold == index && geometry.start(fired.bucket).floor(width) == slice;
    let before = counter.fired.iter().filter(same_slice).count();
    let number = if before == 0 { String::new() } else { format!("#{}", before + 1) };
    let end = geometry.start(bucket + 1);
    Place {
        period: format!("{slice}/{}{number}", Width(width)),
        start: geometry.start(bucket - geometry.reach),
        end: Some(end),
        spent: excursion.at_start,
        event_time: counter.last.min(end.plus(-1)).max(crossed),
        bucket,
        over: false,
    }
}
