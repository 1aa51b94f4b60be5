//! The section `[enforce]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use sluice_enforce::guard::{Protected, ScopePolicy};
use sluice_enforce::hold::HoldPolicy;
use sluice_enforce::lever::LeverKind;
use sluice_enforce::reconcile::Settings;
use sluice_enforce::reconcile::breaker::BreakerLimits;

use crate::config::parse_duration;

/// The section as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawEnforce {
    pub(crate) breaches_file: Option<PathBuf>,
    pub(crate) webhook: Option<String>,
    protected: Vec<String>,
    levers: Vec<String>,
    deny_policy_arn: Option<String>,
    detach_policy_arns: Vec<String>,
    boundary_policy_arn: Option<String>,
    service_control_policy_id: Option<String>,
    region: Option<String>,
    endpoint: Option<String>,
    profile: Option<String>,
    own_role_arn: Option<String>,
    role_arn: Option<String>,
    external_id: Option<String>,
    on_manual_detach: String,
    resync: String,
    spread: String,
    most_per_minute: u32,
    most_per_hour: u32,
    most_percent: u8,
    most_principals: usize,
    most_innocent: String,
    approve_within: String,
    writes_per_second: u32,
    reads_per_second: u32,
    breaker_failures: u32,
    breaker_taken_off: u32,
}

impl Default for RawEnforce {
    fn default() -> Self {
        let policy = HoldPolicy::default();
        Self {
            breaches_file: None,
            webhook: None,
            protected: Vec::new(),
            levers: Vec::new(),
            deny_policy_arn: None,
            detach_policy_arns: Vec::new(),
            boundary_policy_arn: None,
            service_control_policy_id: None,
            region: None,
            endpoint: None,
            profile: None,
            own_role_arn: None,
            role_arn: None,
            external_id: None,
            on_manual_detach: "respect".to_owned(),
            resync: "30s".to_owned(),
            spread: "60s".to_owned(),
            most_per_minute: policy.most_per_minute,
            most_per_hour: policy.most_per_hour,
            most_percent: policy.most_percent,
            most_principals: ScopePolicy::default().most_principals,
            most_innocent: "1%".to_owned(),
            approve_within: "24h".to_owned(),
            writes_per_second: Settings::default().writes_per_second,
            reads_per_second: Settings::default().reads_per_second,
            breaker_failures: BreakerLimits::default().failures,
            breaker_taken_off: BreakerLimits::default().taken_off,
        }
    }
}

/// The section after all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnforceConfig {
    /// Levers in order of preference; none records holds and pulls nothing.
    pub(crate) levers: Vec<LeverKind>,
    /// The fixed policy that denies Bedrock.
    pub(crate) deny_policy_arn: Option<String>,
    /// Policies that grant Bedrock.
    pub(crate) detach_policy_arns: Vec<String>,
    /// The boundary that allows all but Bedrock.
    pub(crate) boundary_policy_arn: Option<String>,
    /// The service control policy.
    pub(crate) service_control_policy_id: Option<String>,
    /// Region, endpoint and profile of the credentials.
    pub(crate) aws: [Option<String>; 3],
    /// Role to take on in the account of the credentials.
    pub(crate) own_role_arn: Option<String>,
    /// Role to take on in accounts other than that of the credentials; `{account}` stands for theirs.
    pub(crate) role_arn: Option<String>,
    /// External id for it.
    pub(crate) external_id: Option<String>,
    /// Who is never stopped.
    pub(crate) protected: Vec<String>,
    /// Caps.
    pub(crate) most_per_minute: u32,
    pub(crate) most_per_hour: u32,
    pub(crate) most_percent: u8,
    pub(crate) most_principals: usize,
    /// Thousandths of a percent.
    pub(crate) most_innocent: u32,
    /// How long a hold waits for a person.
    pub(crate) approve_within: Duration,
    /// What is done about a stop that a person took off.
    pub(crate) repairs: bool,
    /// Between two looks at what stands.
    pub(crate) resync: Duration,
    /// How long a change of IAM takes to be seen everywhere.
    pub(crate) spread: Duration,
    /// Calls a second.
    pub(crate) writes_per_second: u32,
    pub(crate) reads_per_second: u32,
    /// The breaker.
    pub(crate) breaker_failures: u32,
    pub(crate) breaker_taken_off: u32,
}

impl RawEnforce {
    /// Checks the section; every fault is appended to `faults`.
    pub(crate) fn check(self, has_flags: bool, faults: &mut Vec<String>) -> EnforceConfig {
        let mut time = |text: &str, key: &str| {
            parse_duration(text)
                .and_then(|time| if time.is_zero() { Err("must be longer than zero".to_owned()) } else { Ok(time) })
                .unwrap_or_else(|problem| {
                    faults.push(format!("enforce.{key}: {problem}"));
                    Duration::from_secs(60)
                })
        };
        let (resync, spread) = (time(&self.resync, "resync"), time(&self.spread, "spread"));
        let approve_within = time(&self.approve_within, "approve_within");
        let levers = self.levers(has_flags, faults);
        let repairs = match self.on_manual_detach.as_str() {
            "respect" => false,
            "repair" => true,
            other => {
                faults.push(format!("enforce.on_manual_detach: '{other}' is not known: use respect or repair"));
                false
            }
        };
        let most_innocent = percent(&self.most_innocent).unwrap_or_else(|| {
            faults.push(format!("enforce.most_innocent: '{}' is not a share: write it like \"1%\"", self.most_innocent));
            0
        });
        if let Some(role) = self.role_arn.as_deref().filter(|role| !role.contains("{account}")) {
            faults.push(format!(
                "enforce.role_arn: '{role}' has no {{account}}: write it like \"arn:aws:iam::{{account}}:role/sluice-enforcer\""
            ));
        }
        if self.most_percent > 100 {
            faults.push("enforce.most_percent: at most 100".to_owned());
        }
        if self.writes_per_second == 0 || self.reads_per_second == 0 {
            faults.push("enforce: writes_per_second and reads_per_second are at least 1".to_owned());
        }
        EnforceConfig {
            levers,
            deny_policy_arn: self.deny_policy_arn,
            detach_policy_arns: self.detach_policy_arns,
            boundary_policy_arn: self.boundary_policy_arn,
            service_control_policy_id: self.service_control_policy_id,
            aws: [self.region, self.endpoint, self.profile],
            own_role_arn: self.own_role_arn,
            role_arn: self.role_arn,
            external_id: self.external_id,
            protected: self.protected,
            most_per_minute: self.most_per_minute,
            most_per_hour: self.most_per_hour,
            most_percent: self.most_percent,
            most_principals: self.most_principals,
            most_innocent,
            approve_within,
            repairs,
            resync,
            spread,
            writes_per_second: self.writes_per_second,
            reads_per_second: self.reads_per_second,
            breaker_failures: self.breaker_failures,
            breaker_taken_off: self.breaker_taken_off,
        }
    }

    /// Reads the words of `levers`, and looks whether each has what it needs.
    fn levers(&self, has_flags: bool, faults: &mut Vec<String>) -> Vec<LeverKind> {
        let mut levers = Vec::new();
        for word in &self.levers {
            match LeverKind::parse(word) {
                Some(lever) if levers.contains(&lever) => faults.push(format!("enforce.levers: '{word}' occurs twice")),
                Some(lever) => levers.push(lever),
                None => faults.push(format!("enforce.levers: '{word}' is no lever: use {}", words())),
            }
        }
        let mut needs = |lever: LeverKind, is_there: bool, key: &str| {
            if levers.contains(&lever) && !is_there {
                faults.push(format!("enforce.{key}: needed by the lever {lever}"));
            }
        };
        needs(LeverKind::DenyPolicy, self.deny_policy_arn.is_some(), "deny_policy_arn");
        needs(LeverKind::Detach, !self.detach_policy_arns.is_empty(), "detach_policy_arns");
        needs(LeverKind::Boundary, self.boundary_policy_arn.is_some(), "boundary_policy_arn");
        needs(LeverKind::Scp, self.service_control_policy_id.is_some(), "service_control_policy_id");
        if levers.contains(&LeverKind::Flag) && !has_flags {
            faults.push("[flags]: a table is needed by the lever flag".to_owned());
        }
        if !levers.is_empty() && !cfg!(feature = "aws") {
            faults.push("enforce.levers: this build calls no AWS: build it with --features aws, or leave the list empty".to_owned());
        }
        levers
    }
}

impl EnforceConfig {
    /// Returns who is never stopped; `own` is what this program acts as.
    pub(crate) fn protected(&self, own: Vec<String>) -> Protected {
        Protected { own, patterns: self.protected.clone() }
    }

    /// Returns the limits of caution.
    pub(crate) fn hold_policy(&self) -> HoldPolicy {
        HoldPolicy {
            most_per_hour: self.most_per_hour,
            most_per_minute: self.most_per_minute,
            most_percent: self.most_percent,
            approve_within: micros(self.approve_within),
        }
    }
}

pub(super) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn words() -> String {
    LeverKind::ALL.map(LeverKind::as_str).join(", ")
}

/// Reads `1%` or `0.5%` in thousandths of a percent.
fn percent(text: &str) -> Option<u32> {
    let number = text.trim().strip_suffix('%')?.trim();
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 3 || !digits(whole) || !digits(part) {
        return None;
    }
    let value = whole.parse::<u32>().ok()?.checked_mul(1_000)? + format!("{part:0<3}").parse::<u32>().ok()?;
    (value <= 100_000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        toml::from_str::<RawEnforce>(text).unwrap().check(false, &mut faults);
        faults
    }

    #[test]
    fn shares() {
        assert_eq!(
            [percent("1%"), percent("0.5 %"), percent("100%"), percent("12.345%")],
            [Some(1_000), Some(500), Some(100_000), Some(12_345)]
        );
        for wrong in ["1", "%", "-1%", "101%", "1.2345%", ".5%"] {
            assert_eq!(percent(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let found =
            faults("levers = ['deny-policy', 'deny-policy', 'shout']\non_manual_detach = 'sulk'\nmost_innocent = 'few'\nresync = '0s'");
        let about = |part: &str| assert!(found.iter().any(|fault| fault.contains(part)), "{part}: {found:?}");
        ["occurs twice", "'shout' is no lever", "deny_policy_arn: needed", "'sulk'", "'few'", "resync"].iter().for_each(|part| about(part));
        assert!(faults("").is_empty());
    }
}
