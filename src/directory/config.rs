//! The `[directory]` section.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::config::parse_duration;

/// Most questions a second: IAM answers some fifteen to all callers of an account together.
const MOST_PER_SECOND: u32 = 20;
/// Shortest time between two questions about one thing.
const SHORTEST: Duration = Duration::from_secs(60);

/// The section as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDirectory {
    enabled: bool,
    refresh: String,
    per_second: u32,
    lists: bool,
    file: Option<PathBuf>,
    roles: BTreeMap<String, String>,
    region: Option<String>,
    endpoint: Option<String>,
    profile: Option<String>,
}

impl Default for RawDirectory {
    fn default() -> Self {
        Self {
            enabled: false,
            refresh: "15m".to_owned(),
            per_second: 5,
            lists: true,
            file: None,
            roles: BTreeMap::new(),
            region: None,
            endpoint: None,
            profile: None,
        }
    }
}

/// What the section comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DirectoryConfig {
    /// Ask AWS.
    pub(crate) enabled: bool,
    /// How old an answer gets before it is asked for again.
    pub(crate) refresh: Duration,
    /// Questions a second, at most.
    pub(crate) per_second: u32,
    /// List runtimes, agents and registries of the places that calls come from, too.
    pub(crate) lists: bool,
    /// Entries from a file.
    pub(crate) file: Option<PathBuf>,
    /// Role to take on for the things of another account, by account id.
    pub(crate) roles: BTreeMap<String, String>,
    /// Region, endpoint and profile of the credentials.
    pub(crate) aws: [Option<String>; 3],
}

impl RawDirectory {
    /// Checks the section.
    pub(crate) fn check(self, base: &Path, faults: &mut Vec<String>) -> DirectoryConfig {
        let refresh = parse_duration(&self.refresh).unwrap_or_else(|error| {
            faults.push(format!("directory.refresh: {error}"));
            SHORTEST
        });
        if refresh < SHORTEST {
            faults.push("directory.refresh: at least 1m; AWS throttles who asks more often".to_owned());
        }
        if !(1..=MOST_PER_SECOND).contains(&self.per_second) {
            faults.push(format!("directory.per_second: between 1 and {MOST_PER_SECOND}"));
        }
        for (account, role) in &self.roles {
            if account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_digit()) {
                faults.push(format!("directory.roles: '{account}' is no account id, which is digits"));
            }
            if !role.starts_with("arn:") || !role.contains(":role/") {
                faults.push(format!("directory.roles: '{role}' is no ARN of a role"));
            }
        }
        if self.enabled && cfg!(not(feature = "aws")) {
            faults.push("directory.enabled: this build cannot ask AWS: build it with --features aws, or give a file".to_owned());
        }
        DirectoryConfig {
            enabled: self.enabled,
            refresh,
            per_second: self.per_second,
            lists: self.lists,
            file: self.file.map(|file| base.join(file)),
            roles: self.roles,
            aws: [self.region, self.endpoint, self.profile],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<DirectoryConfig, Vec<String>> {
        let mut faults = Vec::new();
        let raw: RawDirectory = toml::from_str(text).unwrap();
        let config = raw.check(Path::new("/etc/sluice"), &mut faults);
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    #[test]
    fn nothing_is_asked_unless_it_is_wanted() {
        let config = check("").unwrap();
        assert_eq!((config.enabled, config.refresh, config.file), (false, Duration::from_secs(900), None));
        assert_eq!(check("file = 'd.json'").unwrap().file.unwrap(), Path::new("/etc/sluice/d.json"));
    }

    #[test]
    fn every_fault_is_told() {
        let faults = check("refresh = '5s'\nper_second = 0\n[roles]\nprod = 'reader'").unwrap_err();
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(check("refresh = 'soon'").unwrap_err()[0].contains("directory.refresh"));
    }
}
