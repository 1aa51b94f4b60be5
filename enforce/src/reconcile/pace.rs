//! How many calls a second: what AWS takes without complaint, found by asking for less when it complains. Pure.
//!
//! IAM publishes no rates. A bucket of tokens refills at a rate that is halved by each refusal and grows slowly while there are none;
//! after a refusal nothing is sent for a while, so a storm of holds never becomes a storm of refused calls.

use sluice_schemas::Micros;
use sluice_schemas::time::SECOND;

/// Tokens are counted in millionths.
const TOKEN: i64 = 1_000_000;
/// Longest pause after refusals in a row.
const LONGEST_PAUSE: i64 = 60 * SECOND;

/// A rate of calls.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Most calls a second.
    most: i64,
    /// Present rate, in millionths of a call a second.
    rate: i64,
    tokens: i64,
    filled_at: Option<Micros>,
    paused_until: Micros,
    refusals: u32,
}

impl Pace {
    /// Begins at the highest rate; at least one a second.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let most = i64::from(per_second.max(1));
        Self { most, rate: most * TOKEN, tokens: most * TOKEN, filled_at: None, paused_until: Micros(i64::MIN), refusals: 0 }
    }

    /// Takes leave for one call; `Err` says when to ask again.
    pub fn take(&mut self, now: Micros) -> Result<(), Micros> {
        self.fill(now)?;
        if self.tokens >= TOKEN {
            self.tokens -= TOKEN;
            return Ok(());
        }
        let missing = TOKEN - self.tokens;
        Err(now.plus((missing * 1_000 / (self.rate / 1_000).max(1)).max(1)))
    }

    /// Tells whether [`Pace::take`] would give leave.
    pub fn has(&mut self, now: Micros) -> bool {
        self.fill(now).is_ok() && self.tokens >= TOKEN
    }

    fn fill(&mut self, now: Micros) -> Result<(), Micros> {
        // A pause that ends later than any does was noted by a clock that was set back since.
        if (1..=LONGEST_PAUSE).contains(&self.paused_until.0.saturating_sub(now.0)) {
            return Err(self.paused_until);
        }
        if let Some(filled) = self.filled_at {
            let passed = now.0.saturating_sub(filled.0).clamp(0, 10 * SECOND);
            self.tokens = (self.tokens + self.rate / 1_000 * passed / 1_000).min(self.rate.max(TOKEN));
        }
        self.filled_at = Some(now);
        Ok(())
    }

    /// Hears that a call was taken.
    pub fn accepted(&mut self) {
        self.refusals = 0;
        // Back to the full rate in about a hundred calls.
        self.rate = (self.rate + self.most * TOKEN / 100).min(self.most * TOKEN);
    }

    /// Hears that AWS asks for less.
    pub fn refused(&mut self, now: Micros) {
        self.refusals = self.refusals.saturating_add(1);
        self.rate = (self.rate / 2).max(TOKEN / 5);
        self.tokens = 0;
        let pause = SECOND.saturating_mul(1 << self.refusals.min(6)).min(LONGEST_PAUSE);
        self.paused_until = now.plus(pause);
        self.filled_at = Some(self.paused_until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pace: &mut Pace, from: i64, until: i64) -> u32 {
        let (mut now, mut sent) = (Micros(from), 0);
        while now.0 < until {
            match pace.take(now) {
                Ok(()) => sent += 1,
                Err(at) => {
                    assert!(at > now, "time goes on");
                    now = at;
                }
            }
        }
        sent
    }

    #[test]
    fn ten_a_second_are_ten_a_second() {
        let mut pace = Pace::new(10);
        let sent = sent(&mut pace, 0, 100 * SECOND);
        assert!((1_000..=1_010).contains(&sent), "{sent}");
    }

    #[test]
    fn a_refusal_halves_the_rate_and_it_comes_back() {
        let mut pace = Pace::new(10);
        assert!(pace.take(Micros(0)).is_ok());
        pace.refused(Micros(0));
        assert_eq!(pace.take(Micros(1)), Err(Micros(2 * SECOND)));
        let slow = sent(&mut pace, 2 * SECOND, 12 * SECOND);
        assert!((49..=52).contains(&slow), "{slow}");
        (0..100).for_each(|_| pace.accepted());
        let fast = sent(&mut pace, 12 * SECOND, 22 * SECOND);
        assert!((99..=111).contains(&fast), "{fast}");
    }

    #[test]
    fn refusals_in_a_row_pause_for_longer_and_never_for_ever() {
        let mut pace = Pace::new(10);
        let mut now = Micros(0);
        for _ in 0..40 {
            pace.refused(now);
            let Err(next) = pace.take(now) else { panic!("it must pause") };
            assert!(next.0 - now.0 <= LONGEST_PAUSE);
            now = next;
        }
        assert_eq!(pace.rate, TOKEN / 5);
    }
}
