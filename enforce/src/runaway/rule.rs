//! A validated `[[runaway]]` rule: whom it watches, by which detectors, and what follows.

use std::sync::Arc;

use sluice_schemas::PicoUsd;

use crate::budget::{ActionKind, Mode, digest};
use crate::predicate::Predicate;
use crate::target::Dimension;

use super::slices::Widths;

/// Spend above a rate that somebody chose, over a fast and a slow window at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurnTerms {
    /// Highest rate that is all right, dollars an hour.
    pub rate: PicoUsd,
}

/// Spend above what the target's own days usually reach, over a fast and a slow window at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaselineTerms {
    /// How many times the usual highest fast window.
    pub fast_times: u32,
    /// How many times the usual highest slow window.
    pub slow_times: u32,
    /// What a target of which no day is known may spend in the slow window.
    pub unknown: PicoUsd,
}

/// Near-equal calls at a steady interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopTerms {
    /// Calls that make a loop.
    pub calls: u32,
    /// How far prompts may lie from their mean.
    pub input_percent: u32,
    /// How far answers may lie from their mean.
    pub output_percent: u32,
    /// How far intervals may lie from their mean, on average.
    pub interval_percent: u32,
    /// How many times the dearest run of a usual day.
    pub times: u32,
}

/// Prompts that grow call after call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrowthTerms {
    /// Calls that make a snowball.
    pub calls: u32,
    /// Length of the last prompt, in percent of the first one.
    pub grown_percent: u32,
    /// Longest pause between two calls, in microseconds; a longer one is a person's.
    pub pause: i64,
    /// How many times the dearest run of a usual day.
    pub times: u32,
    /// How many times the least spend where no day of the target is known.
    pub unknown_times: u32,
    /// Tokens that a prompt grows beyond a busy agent's pace.
    pub read: u32,
    /// Tokens of answers beyond a busy agent's pace.
    pub written: u32,
    /// How far steps and answers may lie from their means, root mean square, and intervals twice as far.
    pub even_percent: u32,
}

/// Sessions that are opened at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanOutTerms {
    /// Sessions opened in the fast window.
    pub sessions: u32,
    /// How many times the most of a usual day.
    pub times: u32,
    /// Sessions opened in the last minute that have called at a machine's pace ever since.
    pub busy: u32,
    /// Longest pause at a machine's pace, in microseconds.
    pub pause: i64,
}

/// Failed calls that are made again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorTerms {
    /// Failed calls in the fast window.
    pub calls: u32,
    /// Their share of its calls.
    pub percent: u32,
    /// How many times the most of a usual day.
    pub times: u32,
}

/// A rule. Its name stands where a budget's stands: in breaches, holds and orders.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Which calls it watches; `None` for all.
    pub filter: Option<Predicate>,
    /// What a target is.
    pub each: Vec<Dimension>,
    /// What follows a finding.
    pub actions: Vec<ActionKind>,
    /// Whether a hold pulls a permission.
    pub mode: Mode,
    /// How long a hold lasts, in microseconds.
    pub hold_for: i64,
    /// What has to be spent before anything is said.
    pub min_spend: PicoUsd,
    /// How long nothing may be found before the next finding is another episode, in microseconds.
    pub cooldown: i64,
    /// How long a target's calls are put in order before they are judged, in microseconds of event time.
    pub settle: i64,
    /// The fast window, in microseconds.
    pub fast: i64,
    /// The slow window, in microseconds.
    pub slow: i64,
    /// On where a rate is given.
    pub burn: Option<BurnTerms>,
    /// See [`BaselineTerms`].
    pub baseline: Option<BaselineTerms>,
    /// See [`LoopTerms`].
    pub repeat: Option<LoopTerms>,
    /// See [`GrowthTerms`].
    pub growth: Option<GrowthTerms>,
    /// See [`ErrorTerms`].
    pub errors: Option<ErrorTerms>,
    /// See [`FanOutTerms`].
    pub fan_out: Option<FanOutTerms>,
}

impl Rule {
    /// Returns a digest of everything that the meaning of a target's stored state rests on.
    #[must_use]
    pub fn state_digest(&self) -> String {
        let each: Vec<String> = self.each.iter().map(ToString::to_string).collect();
        let filter = self.filter.as_ref().map_or("", Predicate::text);
        digest(&["runaway/2", &self.name, filter, &each.join(","), &self.fast.to_string(), &self.slow.to_string()])
    }

    pub(super) const fn widths(&self) -> Widths {
        Widths::new(self.fast, self.slow)
    }
}

/// The rules in force, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub(super) rules: Vec<Arc<Rule>>,
}

impl Rules {
    /// Iterates over them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }

    /// Tells whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}
