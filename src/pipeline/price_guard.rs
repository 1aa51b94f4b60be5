//! The price-jump guard: prices that rise by much make holds wait for a person for a day, for a wrong price looks like a runaway.
//!
//! Prices come with a reloaded configuration as well as with a new program, so the lake keeps the prices in force and its manifest
//! says which they are and until when they are doubted.

use std::sync::PoisonError;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_enrich::prices::{Catalogue, RateChange};
use sluice_schemas::Micros;
use sluice_schemas::time::DAY;

use super::Pipeline;
use crate::view::Level;

/// A price that is at least this many times the one before is a jump.
const JUMP: u32 = 2;

/// Kind of the documents that hold prices.
const KIND: &str = "prices";
/// Where the manifest says which prices are in force.
const KEY: &str = "prices";

/// The prices in force, as the manifest names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PricesInForce {
    /// The document that holds them.
    document: String,
    /// Until when they are doubted, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doubt: Option<(Micros, String)>,
}

impl Pipeline {
    /// Compares the prices of this start with those of the process before, whose doubt goes on.
    pub(super) fn open_prices(&mut self) -> anyhow::Result<()> {
        if !self.settings.act {
            return Ok(());
        }
        let catalogue = self.enricher.read().unwrap_or_else(PoisonError::into_inner).catalogue().clone();
        let document = self.lake.keep_document(KIND, &catalogue.to_text()).context("keep the prices in the lake")?;
        let before = self.lake.state().enforcement.get(KEY).map(PricesInForce::deserialize);
        let before = before.transpose().context("the manifest holds what another version wrote of prices")?;
        self.prices = Some(document.clone());
        let Some(before) = before else { return Ok(()) };
        if let Some((until, why)) = before.doubt {
            self.ledger.doubt(Some(why.clone()));
            self.price_doubt = Some((until, why));
            self.trust_prices(self.settings.clock.now());
        }
        if before.document != document {
            let text = self.lake.document(&before.document).context("prices of the process before")?;
            match text.as_deref().map(Catalogue::from_text) {
                Some(Ok(known)) => self.doubt_jumps(&known, &catalogue),
                Some(Err(error)) => tracing::warn!(document = before.document, %error, "prices of before cannot be compared with these"),
                None => tracing::warn!(document = before.document, "prices of before are gone and cannot be compared with these"),
            }
        }
        Ok(())
    }

    /// Looks for jumps from the prices in force to those of a new configuration.
    pub(super) fn guard_prices(&mut self, after: &Catalogue) -> anyhow::Result<()> {
        if self.settings.act {
            self.prices = Some(self.lake.keep_document(KIND, &after.to_text()).context("keep the prices in the lake")?);
        }
        let before = self.enricher.read().unwrap_or_else(PoisonError::into_inner).catalogue().clone();
        self.doubt_jumps(&before, after);
        Ok(())
    }

    /// Adds to what the manifest carries which prices are in force; a process that does not act leaves that as it was.
    pub(super) fn with_prices(&self, mut carried: Value) -> anyhow::Result<Value> {
        let known = self.prices.as_ref().map(|document| PricesInForce { document: document.clone(), doubt: self.price_doubt.clone() });
        let said = match known {
            Some(known) => Some(serde_json::to_value(known).context("write which prices are in force")?),
            None => self.lake.state().enforcement.get(KEY).cloned(),
        };
        if let (Some(fields), Some(said)) = (carried.as_object_mut(), said) {
            fields.insert(KEY.to_owned(), said);
        }
        Ok(carried)
    }

    fn doubt_jumps(&mut self, before: &Catalogue, after: &Catalogue) {
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
    use std::path::Path;
    use std::sync::Arc;

    use sluice_ingest::files::{FolderSource, Mode as FolderMode};

    use super::super::simulation::step::VirtualClock;
    use super::super::{Mode, Settings};
    use super::*;
    use crate::config::{Config, Origin};

    /// 2026-10-20T12:00:00Z.
    const NOON: Micros = Micros(1_792_497_600_000_000);

    fn price_file(usd: &str) -> String {
        let card = format!("[[card]]\nmodel = 'x.y-v1:0'\nusd_per_million_tokens = {{ input = '{usd}', output = '9' }}");
        format!("format = 'sluice.prices/1'\nlabel = 'l'\n{card}")
    }

    fn prices(usd: &str) -> Catalogue {
        Catalogue::from_text(&price_file(usd)).unwrap()
    }

    /// Starts a process with a price, has it read a call and ends it, unless it only looks; returns what it doubts.
    fn start(folder: &Path, clock: &VirtualClock, usd: &str, act: bool, call: Option<u32>) -> Option<String> {
        std::fs::write(folder.join("prices.toml"), price_file(usd)).unwrap();
        let config = Config::load(&Origin { file: Some(folder.join("sluice.toml").into()), lake: None }).unwrap();
        let settings = Settings { config, mode: Mode::Live, act, clock: Arc::new(clock.clone()), board: Arc::default() };
        let mut pipeline = Pipeline::open(settings).unwrap();
        let doubt = pipeline.price_doubt.as_ref().map(|(_, why)| why.clone());
        if let Some(number) = call {
            let record = format!(
                r#"{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"2026-10-20T11:59:00Z","accountId":"111122223333","identity":{{"arn":"arn:aws:iam::111122223333:user/a"}},"region":"us-east-1","requestId":"{number:08x}-0000-4000-8000-000000000000","operation":"Converse","modelId":"x.y-v1:0","input":{{"inputTokenCount":1000}},"output":{{"outputTokenCount":1}}}}"#
            );
            std::fs::write(folder.join("logs").join(format!("{number}.jsonl")), record + "\n").unwrap();
            let source = FolderSource::open(&[folder.join("logs")], &pipeline.positions, FolderMode::Once).unwrap();
            let (handle, commands) = Pipeline::handle();
            pipeline.run(Box::new(source), &handle, &commands, &mut |_, _| {}).unwrap();
        }
        doubt
    }

    #[test]
    fn prices_of_the_process_before_are_compared_and_its_doubt_goes_on() {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let folder = folder.path();
        std::fs::create_dir(folder.join("logs")).unwrap();
        std::fs::write(folder.join("sluice.toml"), "[lake]\npath = 'lake'\n[enrich]\nprices_file = 'prices.toml'\n").unwrap();
        let clock = VirtualClock::at(NOON);
        let jump = Some("prices rose: x.y-v1:0 input at least 2 times".to_owned());
        let start = |usd: &str, act: bool, call: Option<u32>| start(folder, &clock, usd, act, call);
        assert_eq!(start("8", true, Some(1)), None, "nothing to compare with");
        assert_eq!(start("9", true, Some(2)), None);
        // A replay with other prices is no word on those in force.
        assert_eq!(start("1", false, Some(3)), None);
        assert_eq!(start("9", true, None), None);
        assert_eq!(start("18", true, None), jump, "and ended before it committed anything");
        assert_eq!(start("18", true, Some(4)), jump);
        clock.reach(NOON.plus(DAY / 2));
        assert_eq!(start("18", true, None), jump, "the same prices, but the day is not over");
        clock.reach(NOON.plus(DAY));
        assert_eq!(start("18", true, None), None);
        assert_eq!(start("35", true, None), None);
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
