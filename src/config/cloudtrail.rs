//! `[cloudtrail]`: what is done with events that tell of calls to models.

use std::time::Duration;

use serde::Deserialize;

use super::parse_duration;

/// `[cloudtrail]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCloudTrail {
    join: bool,
    meter: String,
    meter_after: String,
}

impl Default for RawCloudTrail {
    fn default() -> Self {
        Self { join: true, meter: "auto".to_owned(), meter_after: "15m".to_owned() }
    }
}

/// What is done with events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloudTrailConfig {
    /// Tell callers apart by them, and keep them.
    pub(crate) join: bool,
    /// Time after which a call that no log brought is metered from its event; never if absent.
    pub(crate) meter_after: Option<Duration>,
}

impl RawCloudTrail {
    /// Checks the section.
    pub(crate) fn check(&self, faults: &mut Vec<String>) -> CloudTrailConfig {
        let after = parse_duration(&self.meter_after).unwrap_or_else(|error| {
            faults.push(format!("cloudtrail.meter_after: {error}"));
            Duration::ZERO
        });
        if !["auto", "off"].contains(&self.meter.as_str()) {
            faults.push(format!("cloudtrail.meter: '{}' is not known: auto or off", self.meter));
        }
        CloudTrailConfig { join: self.join, meter_after: (self.join && self.meter == "auto").then_some(after) }
    }
}
