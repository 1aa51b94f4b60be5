//! How AWS is reached: callers for each way of the configuration, and what the clock of AWS says.

use std::sync::Arc;

use sluice_enforce::aws::Aws;
use sluice_schemas::Micros;
#[cfg(feature = "aws")]
use sluice_schemas::time::{DAY, HOUR, MINUTE, SECOND, days_from_civil};

use super::subject::Way;

/// Gives callers; tests give their own.
pub(crate) trait Reach: Send + Sync {
    /// Returns a caller of its own, so that two groups of checks do not wait for one another.
    ///
    /// # Errors
    /// A sentence for people.
    fn aws(&self, way: &Way) -> Result<Arc<dyn Aws>, String>;

    /// Returns the region of the credentials.
    fn region(&self) -> String;

    /// Returns what the clock of AWS says, and what that of this machine said then.
    ///
    /// # Errors
    /// A sentence for people.
    fn clocks(&self) -> Result<(Micros, Micros), String>;
}

/// Reads the date of an HTTP answer: `Sun, 06 Nov 1994 08:49:37 GMT`.
#[cfg(feature = "aws")]
pub(crate) fn http_date(text: &str) -> Option<Micros> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day: i64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = parts.next()?.parse().ok()?;
    let clock: Vec<i64> = parts.next()?.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = clock[..] else { return None };
    Some(Micros(days_from_civil(year, month, day) * DAY + hours * HOUR + minutes * MINUTE + seconds * SECOND))
}

#[cfg(feature = "aws")]
pub(crate) use live::connect;

#[cfg(feature = "aws")]
mod live {
    use std::time::Duration;

    use anyhow::Context;
    use sluice_ingest::aws::{self as sdk, AwsSettings};
    use sluice_ingest::signed::SdkConfig;
    use sluice_schemas::{Clock, SystemClock};

    use super::{Arc, Aws, Micros, Reach, Way, http_date};
    use crate::enforcement::{Caller, CallerSettings};

    /// Time for a call.
    const TIMEOUT: Duration = Duration::from_secs(6);

    /// AWS itself, or an emulator that the environment or the configuration names.
    struct Live {
        way: Way,
        region: String,
        endpoint: Option<String>,
    }

    fn load(way: &Way) -> anyhow::Result<SdkConfig> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        let settings = AwsSettings { region: way.region.clone(), endpoint: way.endpoint.clone(), profile: way.profile.clone() };
        Ok(runtime.block_on(sdk::load(&settings))?)
    }

    /// Returns AWS as the credentials of a way reach it.
    ///
    /// # Errors
    /// No region is given anywhere.
    pub(crate) fn connect(way: &Way) -> anyhow::Result<Box<dyn Reach>> {
        let config = load(way)?;
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        let endpoint = config.endpoint_url().map(str::to_owned);
        Ok(Box::new(Live { way: way.clone(), region, endpoint }))
    }

    impl Reach for Live {
        fn aws(&self, way: &Way) -> Result<Arc<dyn Aws>, String> {
            let way = Way {
                region: way.region.clone().or_else(|| Some(self.region.clone())),
                // An endpoint of the environment is of every service; so is that of an emulator.
                endpoint: if self.endpoint.is_some() && self.way.endpoint.is_none() { self.endpoint.clone() } else { way.endpoint.clone() },
                profile: way.profile.clone().or_else(|| self.way.profile.clone()),
                ..way.clone()
            };
            let config = load(&way).map_err(|error| format!("{error:#}"))?;
            let settings = CallerSettings { own_role: way.own_role, role: way.role, external_id: way.external_id, timeout: Some(TIMEOUT) };
            Ok(Arc::new(Caller::new(config, settings, Arc::new(SystemClock))))
        }

        fn region(&self) -> String {
            self.region.clone()
        }

        fn clocks(&self) -> Result<(Micros, Micros), String> {
            let suffix = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            let url = self.endpoint.clone().unwrap_or_else(|| format!("https://sts.{}.{suffix}/", self.region));
            let agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).max_redirects(0);
            let agent = ureq::Agent::new_with_config(agent.max_redirects_will_error(false).build());
            let answer = agent.get(&url).call().map_err(|error| format!("{url}: {error}"))?;
            let here = SystemClock.now();
            let date = answer.headers().get("date").and_then(|value| value.to_str().ok()).and_then(http_date);
            date.map(|there| (there, here)).ok_or_else(|| format!("{url}: an answer without a date"))
        }
    }
}

/// Says that this build calls no AWS.
///
/// # Errors
/// Always.
#[cfg(not(feature = "aws"))]
pub(crate) fn connect(_way: &Way) -> anyhow::Result<Box<dyn Reach>> {
    anyhow::bail!("this build calls no AWS: build it with --features aws")
}

#[cfg(test)]
#[cfg(feature = "aws")]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http() {
        let at = http_date("Sun, 22 Nov 2026 14:44:00 GMT").unwrap();
        assert_eq!(at.to_string(), "2026-11-22T14:44:00Z");
        for wrong in ["", "Sunday", "Sun, 22 Foo 2026 14:44:00 GMT", "Sun, 22 Nov 2026 14:44 GMT", "Sun, x Nov 2026 14:44:00 GMT"] {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
    }
}
