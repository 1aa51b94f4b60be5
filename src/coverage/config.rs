//! The section `[coverage]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::is_remote;
use crate::config::parse_duration;

/// What stands for the account in a role's ARN.
pub(crate) const ACCOUNT: &str = "{account}";
/// Shortest time between two checks.
const EVERY_MIN: Duration = Duration::from_secs(300);
/// Longest of the times.
const DAYS_14: Duration = Duration::from_secs(14 * 86_400);

/// The section as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawCoverage {
    every: String,
    window: String,
    lateness: String,
    cloudwatch: bool,
    accounts: Vec<String>,
    regions: Vec<String>,
    role_arn: Option<String>,
    endpoint: Option<String>,
    profile: Option<String>,
    log_copy: Vec<PathBuf>,
}

impl Default for RawCoverage {
    fn default() -> Self {
        Self {
            every: "1h".to_owned(),
            window: "24h".to_owned(),
            lateness: "15m".to_owned(),
            cloudwatch: true,
            accounts: Vec::new(),
            regions: Vec::new(),
            role_arn: None,
            endpoint: None,
            profile: None,
            log_copy: Vec::new(),
        }
    }
}

/// The section after all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoverageConfig {
    /// Time between two checks of a daemon; zero for none.
    pub(crate) every: Duration,
    /// Stretch of one check of a daemon.
    pub(crate) window: Duration,
    /// How late a log or a metric may come, in microseconds.
    pub(crate) lateness: i64,
    /// Whether CloudWatch is asked.
    pub(crate) cloudwatch: bool,
    /// Accounts to ask beside those seen in the lake.
    pub(crate) accounts: Vec<String>,
    /// Regions to ask beside those seen in the lake.
    pub(crate) regions: Vec<String>,
    /// Role to read with; `{account}` in it stands for the account that is asked.
    pub(crate) role_arn: Option<String>,
    /// URL to send every call to.
    pub(crate) endpoint: Option<String>,
    /// Profile of the shared AWS configuration files.
    pub(crate) profile: Option<String>,
    /// Copies of the log in S3 or in folders.
    pub(crate) log_copy: Vec<PathBuf>,
}

impl RawCoverage {
    /// Checks the section; paths are relative to `base`, every fault is appended to `faults`.
    pub(crate) fn check(self, base: &Path, faults: &mut Vec<String>) -> CoverageConfig {
        let mut time = |text: &str, key: &str, least: Duration, zero_is_off: bool| match parse_duration(text) {
            Ok(value) if (least..=DAYS_14).contains(&value) || (zero_is_off && value.is_zero()) => value,
            Ok(_) => {
                let off = if zero_is_off { "; 0s for never" } else { "" };
                faults.push(format!("coverage.{key}: must be between {least:?} and 14 days{off}"));
                least
            }
            Err(error) => {
                faults.push(format!("coverage.{key}: {error}"));
                least
            }
        };
        let every = time(&self.every, "every", EVERY_MIN, true);
        let window = time(&self.window, "window", Duration::from_secs(3_600), false);
        let lateness = time(&self.lateness, "lateness", Duration::from_secs(60), false);
        let wrong = |account: &&String| account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit());
        faults.extend(self.accounts.iter().filter(wrong).map(|account| format!("coverage.accounts: '{account}' is not twelve digits")));
        let wrong = |region: &&String| {
            region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        faults.extend(self.regions.iter().filter(wrong).map(|region| format!("coverage.regions: '{region}' is no region like us-east-1")));
        if let Some(role) = self.role_arn.as_ref().filter(|role| !role.starts_with("arn:") || !role.contains(":role/")) {
            faults.push(format!("coverage.role_arn: '{role}' is no role like arn:aws:iam::{ACCOUNT}:role/sluice-coverage"));
        }
        if self.endpoint.as_deref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            faults.push("coverage.endpoint: not an http(s) address".to_owned());
        }
        let place = |path: PathBuf| if is_remote(&path) { path } else { base.join(path) };
        CoverageConfig {
            every,
            window,
            lateness: i64::try_from(lateness.as_micros()).unwrap_or(i64::MAX),
            cloudwatch: self.cloudwatch,
            accounts: self.accounts,
            regions: self.regions,
            role_arn: self.role_arn,
            endpoint: self.endpoint,
            profile: self.profile,
            log_copy: self.log_copy.into_iter().map(place).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<CoverageConfig, Vec<String>> {
        let raw: RawCoverage = toml::from_str(text).unwrap();
        let mut faults = Vec::new();
        let config = raw.check(Path::new("/etc/sluice"), &mut faults);
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    #[test]
    fn an_hour_is_checked_every_hour_by_default() {
        let config = check("").unwrap();
        assert_eq!((config.every, config.lateness), (Duration::from_secs(3_600), 900_000_000));
        assert_eq!(check("every = '0s'").unwrap().every, Duration::ZERO);
        assert_eq!(check("log_copy = ['logs', 's3://b/p']").unwrap().log_copy, [Path::new("/etc/sluice/logs"), Path::new("s3://b/p")]);
    }

    #[test]
    fn every_fault_is_told() {
        let faults = check("every = '1s'\nwindow = '1'\naccounts = ['1']\nregions = ['US']\nrole_arn = 'x'\nendpoint = 'x'").unwrap_err();
        assert_eq!(faults.len(), 6, "{faults:?}");
    }
}
