//! The section `[operate]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::config::parse_duration;

/// Longest drain: an orchestrator kills what takes longer anyway.
const DRAIN_MAX: Duration = Duration::from_secs(3_600);

/// The section as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawOperate {
    listen: Option<String>,
    instance: String,
    standby: bool,
    lease: String,
    stuck_after: String,
    drain: String,
    export_interval: String,
    emf: Option<String>,
    otlp: Option<String>,
    otlp_headers: BTreeMap<String, String>,
}

impl Default for RawOperate {
    fn default() -> Self {
        Self {
            listen: None,
            instance: "sluice".to_owned(),
            standby: false,
            lease: "10s".to_owned(),
            stuck_after: "2m".to_owned(),
            drain: "25s".to_owned(),
            export_interval: "60s".to_owned(),
            emf: None,
            otlp: None,
            otlp_headers: BTreeMap::new(),
        }
    }
}

/// Where EMF lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EmfTarget {
    /// Standard output.
    Stdout,
    /// The end of a file.
    File(PathBuf),
}

/// The section after all checks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct OperateConfig {
    /// Where health and metrics are served; none by default.
    pub(crate) listen: Option<SocketAddr>,
    /// Name of this installation in exported metrics.
    pub(crate) instance: String,
    /// Wait while another process is the ledger.
    pub(crate) standby: bool,
    /// How long a ledger may be silent before a standby takes over.
    pub(crate) lease: Duration,
    /// A coordinator that has not turned for so long is stuck.
    pub(crate) stuck_after: Duration,
    /// How long a stopping process may take for what it has read.
    pub(crate) drain: Duration,
    /// Time between two exports.
    pub(crate) export_interval: Duration,
    /// Where EMF lines go.
    pub(crate) emf: Option<EmfTarget>,
    /// Where OTLP metrics are posted.
    pub(crate) otlp: Option<String>,
    /// Headers of those posts; they may hold secrets.
    pub(crate) otlp_headers: BTreeMap<String, String>,
}

impl std::fmt::Debug for OperateConfig {
    /// Leaves out what may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperateConfig").field("listen", &self.listen).field("drain", &self.drain).finish_non_exhaustive()
    }
}

impl RawOperate {
    /// Checks the section; paths are relative to `base`, every fault is appended to `faults`.
    pub(crate) fn check(self, base: &Path, faults: &mut Vec<String>) -> OperateConfig {
        let mut time = |text: &str, key: &str, least: Duration, most: Duration| match parse_duration(text) {
            Ok(value) if (least..=most).contains(&value) => value,
            Ok(_) => {
                faults.push(format!("operate.{key}: must be between {least:?} and {most:?}"));
                most
            }
            Err(error) => {
                faults.push(format!("operate.{key}: {error}"));
                most
            }
        };
        let second = Duration::from_secs(1);
        let lease = time(&self.lease, "lease", second, DRAIN_MAX);
        let stuck_after = time(&self.stuck_after, "stuck_after", 5 * second, DRAIN_MAX);
        let drain = time(&self.drain, "drain", second, DRAIN_MAX);
        let export_interval = time(&self.export_interval, "export_interval", second, DRAIN_MAX);
        let listen = self.listen.and_then(|text| match text.parse::<SocketAddr>() {
            Ok(address) => Some(address),
            Err(_) => {
                faults.push(format!("operate.listen: '{text}' is not an address and a port like 127.0.0.1:9464"));
                None
            }
        });
        if self.instance.is_empty() || self.instance.len() > 250 || !self.instance.bytes().all(|byte| byte.is_ascii_graphic()) {
            faults.push("operate.instance: 1 to 250 visible ASCII characters without spaces".to_owned());
        }
        if self.otlp.as_deref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            // Not the text itself: it may hold a secret.
            faults.push("operate.otlp: not an http(s) address like http://127.0.0.1:4318/v1/metrics".to_owned());
        }
        let emf = self.emf.map(|text| if text == "stdout" { EmfTarget::Stdout } else { EmfTarget::File(base.join(text)) });
        OperateConfig {
            listen,
            instance: self.instance,
            standby: self.standby,
            lease,
            stuck_after,
            drain,
            export_interval,
            emf,
            otlp: self.otlp,
            otlp_headers: self.otlp_headers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<OperateConfig, Vec<String>> {
        let raw: RawOperate = toml::from_str(text).unwrap();
        let mut faults = Vec::new();
        let config = raw.check(Path::new("/etc/sluice"), &mut faults);
        if faults.is_empty() { Ok(config) } else { Err(faults) }
    }

    #[test]
    fn nothing_listens_and_nothing_is_exported_by_default() {
        let config = check("").unwrap();
        assert_eq!((config.listen, &config.emf, &config.otlp), (None, &None, &None));
        assert_eq!(config.drain, Duration::from_secs(25));
    }

    #[test]
    fn every_fault_is_told() {
        let faults = check("listen = '9464'\ndrain = '0s'\nstuck_after = '1'\ninstance = 'a b'\notlp = 'token@host'").unwrap_err();
        assert_eq!(faults.len(), 5, "{faults:?}");
        assert!(faults.iter().all(|fault| fault.starts_with("operate.") && !fault.contains("token")));
    }

    #[test]
    fn an_emf_file_is_relative_to_the_configuration() {
        assert_eq!(check("emf = 'emf.jsonl'").unwrap().emf, Some(EmfTarget::File(PathBuf::from("/etc/sluice/emf.jsonl"))));
        assert_eq!(check("emf = 'stdout'").unwrap().emf, Some(EmfTarget::Stdout));
    }

    #[test]
    fn headers_are_never_shown() {
        let config = check("otlp = 'http://x/v1/metrics?key=hush'\n[otlp_headers]\nauthorization = 'Bearer hush'").unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }
}
