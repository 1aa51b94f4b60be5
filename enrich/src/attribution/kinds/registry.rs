//! Agent Registry: the one record that names the call's role, and what the record of a named agent adds.

use sluice_schemas::Rank;
use sluice_schemas::directory::{Entry, EntryKind};

use super::Context;
use crate::attribution::saying::{Attribute, Kind, Refusal, Said, Specificity};

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    if context.runs_as.is_empty() {
        return;
    }
    let records: Vec<_> = context.runs_as().filter(|entry| entry.kind == EntryKind::RegistryRecord && !entry.name.is_empty()).collect();
    let label = Kind::Registry.as_str();
    match records.as_slice() {
        [] => {}
        [record] => said.say(Kind::Registry, Attribute::Agent, label, record.name.as_str(), (Specificity::RunsAs, Rank::Pinned)),
        several => {
            for record in several {
                said.refuse(Kind::Registry, Attribute::Agent, label, &record.name, (Specificity::RunsAs, Rank::Pinned, Refusal::Ambiguous));
            }
        }
    }
}

/// Adds what the record of an agent tells as tags.
pub(crate) fn record_of<'a>(context: &Context<'a>, agent: &str, said: &mut Said<'a>) {
    if let Some(record) = context.directory.record(agent) {
        said.tag("registry:owner", &record.owner);
        said.tag("registry:limit", &record.limit);
        said.tag("registry:description", &record.description);
        said.tag("registry:record", &record.arn);
    }
}

/// Returns the team of an agent's record.
pub(crate) fn team_of<'a>(context: &Context<'a>, agent: &str) -> &'a str {
    context.directory.record(agent).map_or("", |record: &'a Entry| record.team.as_str())
}
