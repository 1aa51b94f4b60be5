//! What a counter adds up, and how fast.

use sluice_schemas::time::MINUTE;
use sluice_schemas::{Micros, PicoUsd};

/// Signed sums, so that spend booked to the wrong owner can be taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Money by the budget's own count.
    pub amount: PicoUsd,
    /// Calls.
    pub calls: i64,
    /// Calls without a price.
    pub unpriced: i64,
}

impl Tally {
    /// Adds another tally.
    pub fn add(&mut self, other: Self) {
        self.amount += other.amount;
        self.calls += other.calls;
        self.unpriced += other.unpriced;
    }

    /// Returns the tally that takes this one back.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { amount: -self.amount, calls: -self.calls, unpriced: -self.unpriced }
    }

    /// Tells whether there is nothing in it.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// Length of the stretch that a rate is taken over.
pub(crate) const SLOT: i64 = 5 * MINUTE;
pub(crate) const SLOTS_AN_HOUR: i128 = 12;
/// After this silence a rate is zero rather than old. Logs may come minutes late, so it is longer than a slot.
const SILENCE: i64 = 3 * SLOT;

/// Spend in the last two five-minute stretches of event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Burn {
    pub(crate) slot: i64,
    pub(crate) current: PicoUsd,
    pub(crate) previous: PicoUsd,
    pub(crate) peak: PicoUsd,
}

impl Burn {
    /// Adds spend of a minute.
    pub fn add(&mut self, minute: Micros, amount: PicoUsd) {
        let slot = minute.0.div_euclid(SLOT);
        match slot - self.slot {
            0 => self.current += amount,
            -1 => self.previous += amount,
            1 => (self.slot, self.previous, self.current) = (slot, self.current, amount),
            step if step > 1 => (self.slot, self.previous, self.current) = (slot, PicoUsd::ZERO, amount),
            _ => return,
        }
        self.peak = self.peak.max(self.current).max(self.previous);
    }

    /// Returns the rate in dollars an hour around the last event, or zero after a silence.
    #[must_use]
    pub fn per_hour(&self, last: Micros, now: Micros) -> PicoUsd {
        if now.0.saturating_sub(last.0) > SILENCE {
            return PicoUsd::ZERO;
        }
        let into = i128::from((last.0.saturating_add(MINUTE)).clamp(self.slot * SLOT, (self.slot + 1) * SLOT) - self.slot * SLOT);
        let slot = i128::from(SLOT);
        let share_of_previous = self.previous.0 / slot * (slot - into);
        PicoUsd((self.current.0 + share_of_previous) * SLOTS_AN_HOUR)
    }

    /// Returns the highest rate seen, in dollars an hour.
    #[must_use]
    pub fn peak_per_hour(&self) -> PicoUsd {
        PicoUsd(self.peak.0 * SLOTS_AN_HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_shown_as_it_is() {
        let mut burn = Burn::default();
        for minute in 0..60 {
            burn.add(Micros(minute * MINUTE), PicoUsd::from_dollars(1));
        }
        let last = Micros(59 * MINUTE);
        assert_eq!(burn.per_hour(last, last), PicoUsd::from_dollars(60));
        assert_eq!(burn.peak_per_hour(), PicoUsd::from_dollars(60));
        assert_eq!(burn.per_hour(last, last.plus(SILENCE + 1)), PicoUsd::ZERO);
    }
}
