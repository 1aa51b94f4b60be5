//! `[personal]`: what stands in place of people's names, and which claims about them are kept.

use std::path::PathBuf;

use serde::Deserialize;
use sluice_enforce::lever::LeverKind;
use sluice_enrich::config::EnrichConfig;
use sluice_ingest::decode::Pseudonyms;

use super::Location;

/// `[personal]` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPersonal {
    pub(super) key: Option<PathBuf>,
    prefixes: Vec<String>,
    names: Vec<String>,
}

impl RawPersonal {
    /// Checks the section, with where its key lies and the text of it; nothing after a fault. Returns the pseudonyms and the prefixes.
    pub(super) fn check(
        self,
        key: Option<(Location, String)>,
        levers: &[LeverKind],
        faults: &mut Vec<String>,
    ) -> Option<(Option<Pseudonyms>, Vec<String>)> {
        let Some((_, key)) = key else {
            if !self.names.is_empty() {
                faults.push("personal.names: without a key names are kept as they are; set key, or leave this out".to_owned());
                return None;
            }
            return Some((None, self.prefixes));
        };
        if levers.contains(&LeverKind::DenySession) {
            // IAM knows a session by its name: a lever that is to stop one has to know it, too.
            let lever = LeverKind::DenySession.as_str();
            faults.push(format!("personal: the lever '{lever}' names sessions to IAM, which pseudonyms hide; leave one of the two out"));
        }
        let pseudonyms = Pseudonyms::new(&key, self.prefixes.clone(), self.names);
        pseudonyms.map(|pseudonyms| (Some(pseudonyms), self.prefixes)).map_err(|fault| faults.push(format!("personal: {fault}"))).ok()
    }
}

/// The keys by which agent, session and team are named: claims of tokens with such a name are kept, others may tell of people.
pub(super) fn claims(enrich: Option<&EnrichConfig>) -> Vec<String> {
    let keys = enrich.map(|enrich| &enrich.metadata);
    keys.into_iter().flat_map(|keys| [&keys.agent, &keys.session, &keys.team]).flatten().cloned().collect()
}
