//! The sessions of a target that are followed at once: where each one's calls are added up.

use serde::{Deserialize, Serialize};

use super::growth::Growth;
use super::repeat::Repeats;
use super::rule::{FanOutTerms, Rule};
use super::shape::Seen;

/// Sessions (with their models) of a target that are followed at once; of more, the ones idle longest are forgotten.
pub const MOST_LANES: usize = 16;

/// Calls of one session to one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lane {
    #[serde(rename = "k")]
    key: u64,
    #[serde(rename = "r")]
    pub(super) repeats: Repeats,
    #[serde(rename = "g")]
    pub(super) growth: Growth,
    /// Event times of its first and of its last call.
    #[serde(rename = "o", default)]
    opened: i64,
    #[serde(rename = "l", default)]
    last: i64,
    /// Calls since it was opened; none once there was a pause.
    #[serde(rename = "b", default)]
    busy: u32,
}

/// Sessions that were opened of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Busy {
    /// Those that never paused.
    pub(super) sessions: u32,
    /// Their calls.
    pub(super) calls: u32,
    /// Those that paused, or ended.
    pub(super) paused: u32,
}

/// The latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lanes(Vec<Lane>);

impl Lanes {
    /// Moves the call's lane to the front and adds the call to it; tells whether it is a new one.
    pub(super) fn follow(&mut self, call: &Seen, rule: &Rule) -> bool {
        let found = self.0.iter().position(|lane| lane.key == call.lane);
        match found {
            Some(at) => self.0[..=at].rotate_right(1),
            None => {
                self.0.truncate(MOST_LANES - 1);
                self.0.insert(0, Lane { key: call.lane, opened: call.at, last: call.at, ..Lane::default() });
            }
        }
        let Some(lane) = self.0.first_mut() else { return true };
        if let Some(terms) = &rule.fan_out {
            let goes_on = call.at - lane.last <= terms.pause && (found.is_none() || lane.busy > 0);
            lane.busy = if goes_on { lane.busy.saturating_add(1) } else { 0 };
        }
        lane.last = call.at;
        if let Some(terms) = &rule.repeat {
            lane.repeats.add(call, terms);
        }
        if let Some(terms) = &rule.growth {
            lane.growth.add(call, terms);
        }
        found.is_none()
    }

    /// Returns the lane of the last call.
    pub(super) fn latest(&self) -> Option<&Lane> {
        self.0.first()
    }

    /// Returns the lanes that were opened within `width` before a moment; those of one call are neither busy nor paused while they may go on.
    pub(super) fn busy(&self, at: i64, width: i64, terms: &FanOutTerms) -> Busy {
        let mut busy = Busy::default();
        for lane in self.0.iter().filter(|lane| at - lane.opened <= width) {
            if lane.busy == 0 || at - lane.last > terms.pause {
                busy.paused += 1;
            } else if lane.busy >= 2 {
                busy.sessions += 1;
                busy.calls = busy.calls.saturating_add(lane.busy);
            }
        }
        busy
    }
}
