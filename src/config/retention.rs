//! `[lake.retention]`: how long rows of a table are kept.

use serde::Deserialize;
use sluice_schemas::tables;
use sluice_schemas::time::DAY;

use super::parse_duration;

/// `[lake.retention]` as written; what is absent is kept for ever.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRetention {
    calls: Option<String>,
    spend_minute: Option<String>,
    spend_hour: Option<String>,
    spend_day: Option<String>,
    spend_session: Option<String>,
    evidence: Option<String>,
    rejected: Option<String>,
    corrections: Option<String>,
    breaches: Option<String>,
}

/// Days that rows are kept, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retention(Vec<(&'static str, i32)>);

impl Retention {
    /// Iterates over the tables with the days for which they keep rows.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&'static str, i32)> + '_ {
        self.0.iter().copied()
    }

    /// Returns the first event date (days since 1970-01-01) of which calls are kept on `today`; absent where all are.
    pub(crate) fn calls_from(&self, today: i32) -> Option<i32> {
        self.tables().find(|(table, _)| *table == tables::CALLS).map(|(_, days)| today - days)
    }
}

impl RawRetention {
    /// Checks the section: what is still needed to count, join and stop is not let go.
    pub(super) fn check(self, faults: &mut Vec<String>) -> Retention {
        let asked = [
            (tables::CALLS, self.calls, 62, "budgets of the month before and this one count from them"),
            (tables::SPEND_MINUTE, self.spend_minute, 2, "the day before and this one are still added to"),
            (tables::SPEND_HOUR, self.spend_hour, 2, "the day before and this one are still added to"),
            (tables::SPEND_DAY, self.spend_day, 2, "the day before and this one are still added to"),
            (tables::SPEND_SESSION, self.spend_session, 2, "the day before and this one are still added to"),
            (tables::EVIDENCE, self.evidence, 2, "evidence is joined to calls of the day before and this one"),
            (tables::REJECTED, self.rejected, 2, "records that come again are told by them"),
            (tables::CORRECTIONS, self.corrections, 2, "the day before and this one are still corrected"),
            (tables::BREACHES, self.breaches, 62, "what crossed in the month before and this one is told by them"),
        ];
        let mut kept = Vec::new();
        for (table, text, least, why) in asked {
            let Some(text) = text else { continue };
            match parse_duration(&text) {
                Err(error) => faults.push(format!("lake.retention.{table}: {error}")),
                Ok(time) => {
                    let days = i32::try_from(time.as_micros() / DAY as u128).unwrap_or(i32::MAX);
                    if days < least {
                        faults.push(format!("lake.retention.{table}: at least {least}d, since {why}"));
                    }
                    kept.push((table, days));
                }
            }
        }
        Retention(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> (Retention, Vec<String>) {
        let mut faults = Vec::new();
        let raw: RawRetention = toml::from_str(text).unwrap();
        (raw.check(&mut faults), faults)
    }

    #[test]
    fn what_is_needed_is_not_let_go() {
        let (kept, faults) = check("calls = '400d'\nevidence = '90d'");
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(kept.tables().collect::<Vec<_>>(), [("calls", 400), ("evidence", 90)]);
        assert_eq!((kept.calls_from(1_000), Retention::default().calls_from(1_000)), (Some(600), None));
        let (_, faults) = check("calls = '30d'\nrejected = '1h'\nbreaches = 'long'");
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].contains("lake.retention.calls: at least 62d"), "{faults:?}");
    }
}
