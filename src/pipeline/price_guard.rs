//! The price-jump guard: prices that rise by much make holds wait for a person for a day, for a wrong price looks like a runaway.

use std::sync::PoisonError;

use sluice_enrich::prices::{Catalogue, RateChange};
use sluice_schemas::Micros;
use sluice_schemas::time::DAY;

use super::Pipeline;
use crate::view::Level;

/// A price that is at least this many times the one before is a jump.
const JUMP: u32 = 2;

impl Pipeline {
    /// Looks for jumps from the prices in force to those of a new configuration.
    pub(super) fn guard_prices(&mut self, after: &Catalogue) {
        let before = self.enricher.read().unwrap_or_else(PoisonError::into_inner).catalogue().clone();
        let now = self.settings.clock.now();
        let Some(jump) = jumps(&before.diff(after), now) else { return };
        let why = format!("prices rose: {jump}");
        self.live.event(now, Level::Alarm, format!("{why}; for a day holds wait for a person"));
        tracing::warn!(event = "price_jump", %jump, "holds wait for a person for a day");
        self.ledger.doubt(Some(why.clone()));
        self.price_doubt = Some((now.plus(DAY), why));
    }

    /// Ends the doubt about prices in its time.
    pub(super) fn trust_prices(&mut self, now: Micros) {
        if self.price_doubt.as_ref().is_some_and(|(until, _)| *until <= now) {
            self.price_doubt = None;
            self.ledger.doubt(None);
        }
    }
}

/// Says which prices in force jump, if any: the first, and how many more.
fn jumps(changes: &[RateChange], now: Micros) -> Option<String> {
    let is_now = |change: &&RateChange| change.from <= now && change.to.is_none_or(|to| now < to);
    let rises = |change: &&RateChange| match (change.before, change.after) {
        (Some(before), Some(after)) if !before.is_zero() => before.times(JUMP).is_none_or(|jump| after >= jump),
        _ => false,
    };
    let mut found = changes.iter().filter(is_now).filter(rises);
    let first = found.next()?;
    let more = found.count();
    let rest = if more == 0 { String::new() } else { format!(" and {more} more prices") };
    Some(format!("{} {} at least {JUMP} times{rest}", first.key.model, first.item))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(usd: &str) -> Catalogue {
        let card = format!("[[card]]\nmodel = 'x.y-v1:0'\nusd_per_million_tokens = {{ input = '{usd}', output = '9' }}");
        Catalogue::from_text(&format!("format = 'sluice.prices/1'\nlabel = 'l'\n{card}")).unwrap()
    }

    #[test]
    fn only_a_price_that_doubles_is_a_jump() {
        let before = prices("8");
        for (usd, is_jump) in [("8", false), ("4", false), ("15.999999", false), ("16", true), ("800", true)] {
            let found = jumps(&before.diff(&prices(usd)), Micros(0));
            assert_eq!(found.is_some(), is_jump, "{usd}: {found:?}");
        }
        assert_eq!(jumps(&before.diff(&prices("16")), Micros(0)).as_deref(), Some("x.y-v1:0 input at least 2 times"));
        // A price that was nothing, or is new, says nothing about a jump.
        assert_eq!(jumps(&prices("0").diff(&prices("8")), Micros(0)), None);
    }
}
