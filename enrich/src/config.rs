//! Settings of this stage: which metadata keys name the owner of a call, and where agents and prices come from.
//!
//! ```toml
//! [enrich]
//! agents_file = "agents.toml"          # which agents exist and what is theirs; absent = every principal is open
//! rules_file  = "rules.toml"           # how names of roles, sessions and tags tell agents; absent = no rules
//! prices_file = "prices.toml"          # prices laid over the built-in ones; absent = the built-in ones
//! [enrich.metadata]                    # the first key of a list that a call carries counts
//! agent   = ["agent_id", "agent", "agentId"]
//! session = ["session_id", "session", "sessionId"]
//! team    = ["team", "team_id"]
//! [enrich.inference_profiles]          # the model behind an application inference profile, whose ARN does not tell it
//! "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6" = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
//! [[enrich.discount]]                  # off every price, those of prices_file included; several that match multiply
//! provider = "anthropic"
//! percent  = "12.5%"
//! from     = "2026-10-01"
//! ```

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use serde::Deserialize;
use sluice_schemas::time::parse_day;
use sluice_schemas::{ErrorClass, Micros};

use crate::attribution::is_plain;
use crate::prices::{Catalogue, CatalogueError, Discount};

/// Keys of request metadata that name agent, session and team; of several the first that a call carries counts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetadataKeys {
    /// Keys of the agent id.
    pub agent: Vec<String>,
    /// Keys of the session id.
    pub session: Vec<String>,
    /// Keys of the team.
    pub team: Vec<String>,
}

impl MetadataKeys {
    /// Tells whether a tag of this key names an agent.
    pub(crate) fn is_of_agent(&self, key: &str) -> bool {
        self.agent.iter().any(|wanted| wanted.eq_ignore_ascii_case(key))
    }
}

impl Default for MetadataKeys {
    fn default() -> Self {
        let keys = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            agent: keys(&["agent_id", "agent", "agentId"]),
            session: keys(&["session_id", "session", "sessionId"]),
            team: keys(&["team", "team_id"]),
        }
    }
}

/// `[enrich]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawEnrich {
    agents_file: Option<String>,
    rules_file: Option<String>,
    prices_file: Option<String>,
    metadata: MetadataKeys,
    inference_profiles: BTreeMap<String, String>,
    discount: Vec<RawDiscount>,
}

/// `[[enrich.discount]]` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDiscount {
    provider: Option<String>,
    model: Option<String>,
    percent: String,
    from: Option<String>,
    to: Option<String>,
}

/// Valid settings. Reading the files they name is up to the program.
#[derive(Clone, Debug, Default)]
pub struct EnrichConfig {
    /// The agents file.
    pub agents_file: Option<PathBuf>,
    /// The rules file.
    pub rules_file: Option<PathBuf>,
    /// A price file to lay over the built-in prices.
    pub prices_file: Option<PathBuf>,
    /// Metadata keys.
    pub metadata: MetadataKeys,
    /// Model by ARN of an application inference profile or a provisioned model.
    pub inference_profiles: BTreeMap<String, String>,
    /// Discounts on list prices.
    pub discounts: Vec<Discount>,
}

impl EnrichConfig {
    /// Lays the text of the price file over the built-in prices, names the models of inference profiles and takes the discounts off.
    ///
    /// # Errors
    /// [`CatalogueError`] for a price file that cannot be read.
    pub fn catalogue(&self, builtin: &Catalogue, prices_file: Option<&str>) -> Result<Catalogue, CatalogueError> {
        let listed = match prices_file {
            Some(text) => builtin.overlay(&Catalogue::from_text(text)?)?,
            None => builtin.clone(),
        };
        Ok(listed.with_aliases(self.inference_profiles.clone()).with_discounts(&self.discounts))
    }
}

/// Why `[enrich]` was refused. All faults are listed, not only the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[enrich] has {} fault(s): {}", faults.len(), faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct EnrichConfigError {
    /// What is wrong.
    pub faults: Vec<EnrichFault>,
}

impl EnrichConfigError {
    /// Tells the caller what to do: a person has to change the file.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Misconfigured
    }
}

/// One fault of `[enrich]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrichFault {
    /// A path without text.
    #[error("{field} is empty: leave it out instead")]
    EmptyPath {
        /// The field.
        field: &'static str,
    },
    /// A key that request metadata cannot have.
    #[error("metadata.{list}: '{key}' cannot be a metadata key")]
    Key {
        /// `agent`, `session` or `team`.
        list: &'static str,
        /// The key.
        key: String,
    },
    /// One key for two things, or twice for one.
    #[error("metadata.{list}: '{key}' occurs twice")]
    SharedKey {
        /// The list of its second occurrence.
        list: &'static str,
        /// The key.
        key: String,
    },
    /// A profile whose key is no ARN, or without a model.
    #[error("inference_profiles: '{arn}' must be an ARN and name a model")]
    InferenceProfile {
        /// The key.
        arn: String,
    },
    /// A field of a discount that cannot be read.
    #[error("discount {number}: {field}: '{text}' cannot be read")]
    Discount {
        /// Its place in the file, from 1.
        number: usize,
        /// The field.
        field: &'static str,
        /// Its text.
        text: String,
    },
    /// A discount that ends before it begins.
    #[error("discount {number}: 'to' is not after 'from'")]
    EmptySpan {
        /// Its place in the file, from 1.
        number: usize,
    },
}

impl TryFrom<RawEnrich> for EnrichConfig {
    type Error = EnrichConfigError;

    fn try_from(raw: RawEnrich) -> Result<Self, EnrichConfigError> {
        let mut faults = Vec::new();
        check_keys(&raw.metadata, &mut faults);
        let paths = [("agents_file", &raw.agents_file), ("rules_file", &raw.rules_file), ("prices_file", &raw.prices_file)];
        for (field, path) in paths {
            if path.as_deref().is_some_and(|path| path.trim().is_empty()) {
                faults.push(EnrichFault::EmptyPath { field });
            }
        }
        let profiles = raw.inference_profiles.iter().filter(|(arn, model)| !arn.starts_with("arn:") || !is_plain(arn) || !is_plain(model));
        faults.extend(profiles.map(|(arn, _)| EnrichFault::InferenceProfile { arn: arn.clone() }));
        let discounts = (1..).zip(raw.discount).filter_map(|(number, raw)| check_discount(number, raw, &mut faults)).collect();
        if !faults.is_empty() {
            return Err(EnrichConfigError { faults });
        }
        Ok(Self {
            agents_file: raw.agents_file.map(PathBuf::from),
            rules_file: raw.rules_file.map(PathBuf::from),
            prices_file: raw.prices_file.map(PathBuf::from),
            metadata: raw.metadata,
            inference_profiles: raw.inference_profiles,
            discounts,
        })
    }
}

fn check_keys(keys: &MetadataKeys, faults: &mut Vec<EnrichFault>) {
    let mut seen = HashSet::new();
    for (list, names) in [("agent", &keys.agent), ("session", &keys.session), ("team", &keys.team)] {
        for key in names {
            if !is_plain(key) {
                faults.push(EnrichFault::Key { list, key: key.clone() });
            }
            if !seen.insert(key) {
                faults.push(EnrichFault::SharedKey { list, key: key.clone() });
            }
        }
    }
}

fn check_discount(number: usize, raw: RawDiscount, faults: &mut Vec<EnrichFault>) -> Option<Discount> {
    let before = faults.len();
    for (field, text) in [("provider", &raw.provider), ("model", &raw.model)] {
        if let Some(text) = text.as_deref().filter(|text| !is_plain(text)) {
            faults.push(EnrichFault::Discount { number, field, text: text.to_owned() });
        }
    }
    let percent = raw.percent.parse();
    if percent.is_err() {
        faults.push(EnrichFault::Discount { number, field: "percent", text: raw.percent });
    }
    let from = check_moment(number, "from", raw.from, faults);
    let to = check_moment(number, "to", raw.to, faults);
    if from.zip(to).is_some_and(|(from, to)| to <= from) {
        faults.push(EnrichFault::EmptySpan { number });
    }
    let discount = Discount { provider: raw.provider, model: raw.model, from, to, percent: percent.ok()? };
    (faults.len() == before).then_some(discount)
}

/// Reads a day, which stands for its first moment in UTC, or a moment.
fn check_moment(number: usize, field: &'static str, text: Option<String>, faults: &mut Vec<EnrichFault>) -> Option<Micros> {
    let text = text?;
    let day = parse_day(&text).map(|day| Micros(i64::from(day) * sluice_schemas::time::DAY));
    let moment = day.or_else(|| Micros::parse_utc(text.as_bytes()));
    if moment.is_none() {
        faults.push(EnrichFault::Discount { number, field, text });
    }
    moment
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<EnrichConfig, EnrichConfigError> {
        toml::from_str::<RawEnrich>(text).expect("shape").try_into()
    }

    #[test]
    fn nothing_written_is_the_default() {
        let config = read("").expect("valid");
        assert_eq!(config.metadata, MetadataKeys::default());
        assert!(config.agents_file.is_none() && config.prices_file.is_none() && config.discounts.is_empty());
    }

    #[test]
    fn reads_every_setting() {
        let config = read(
            r#"
            agents_file = "agents.toml"
            prices_file = "prices.toml"
            [metadata]
            agent = ["bot"]
            [inference_profiles]
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/a1" = "us.amazon.nova-lite-v1:0"
            [[discount]]
            provider = "anthropic"
            percent = "12.5%"
            from = "2026-10-01"
            to = "2027-01-01T00:00:00Z"
            "#,
        )
        .expect("valid");
        assert_eq!((config.metadata.agent.as_slice(), config.metadata.session.len()), (["bot".to_owned()].as_slice(), 3));
        assert_eq!(config.discounts.len(), 1);
        assert_eq!(config.discounts[0].from.map(|from| from.to_string()).as_deref(), Some("2026-10-01T00:00:00Z"));
        assert_eq!(config.discounts[0].percent.to_string(), "12.5");
        assert_eq!(config.inference_profiles.len(), 1);
    }

    #[test]
    fn prices_are_laid_over_then_named_then_discounted() {
        let arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/a1";
        let config = read(&format!("[inference_profiles]\n\"{arn}\" = \"x.y-v1:0\"\n[[discount]]\nprovider = \"x\"\npercent = \"50%\""))
            .expect("valid");
        let prices = |usd: &str| {
            format!("format = 'sluice.prices/1'\nlabel = 'l'\n[[card]]\nmodel = 'x.y-v1:0'\nusd_per_million_tokens = {{ input = '{usd}' }}")
        };
        let builtin = Catalogue::from_text(&prices("8")).expect("valid");
        let cost = |prices_file: Option<&str>| {
            let catalogue = config.catalogue(&builtin, prices_file).expect("valid");
            let usage = sluice_schemas::Usage { input: 1_000_000, ..Default::default() };
            let rates = catalogue.resolve(arn, "us-east-1", "", sluice_schemas::ServiceTier::Standard, "Converse");
            rates.quote(Micros(0), &usage, None, sluice_schemas::CostBasis::Exact, false).cost
        };
        assert_eq!((cost(None).display(2), cost(Some(&prices("6"))).display(2)), ("$4.00".to_owned(), "$3.00".to_owned()));
        assert!(config.catalogue(&builtin, Some("x")).is_err());
    }

    #[test]
    fn all_faults_at_once() {
        let error = read(
            r#"
            agents_file = " "
            [metadata]
            agent = ["agent", "agent"]
            session = ["a\tb", "team"]
            [inference_profiles]
            "a1" = ""
            [[discount]]
            percent = "1e1"
            from = "tomorrow"
            [[discount]]
            percent = "5%"
            from = "2026-10-02"
            to = "2026-10-01"
            "#,
        )
        .expect_err("faults");
        let shown: Vec<_> = error.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "metadata.agent: 'agent' occurs twice",
                "metadata.session: 'a\tb' cannot be a metadata key",
                "metadata.team: 'team' occurs twice",
                "agents_file is empty: leave it out instead",
                "inference_profiles: 'a1' must be an ARN and name a model",
                "discount 1: percent: '1e1' cannot be read",
                "discount 1: from: 'tomorrow' cannot be read",
                "discount 2: 'to' is not after 'from'",
            ]
        );
        assert_eq!(error.class(), ErrorClass::Misconfigured);
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(toml::from_str::<RawEnrich>("agent_file = 'x'").is_err());
        assert!(toml::from_str::<RawEnrich>("[metadata]\nagents = []").is_err());
    }
}
