//! AgentCore runtimes: a session name that only the service sets, and the one runtime that runs as the role.

use sluice_schemas::Rank;
use sluice_schemas::directory::EntryKind;

use super::Context;
use crate::attribution::saying::{Attribute, Kind, Refusal, Said, Specificity};

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    if context.runs_as.is_empty() || context.principal.is_none_or(|principal| principal.agentcore_session().is_none()) {
        return;
    }
    let runtimes: Vec<_> = context.agents_of_role(EntryKind::Runtime).collect();
    let label = Kind::Runtime.as_str();
    match runtimes.as_slice() {
        [] => {}
        [runtime] => said.say(Kind::Runtime, Attribute::Agent, label, runtime.name.as_str(), (Specificity::RunsAs, Rank::Pinned)),
        several => {
            for runtime in several {
                said.refuse(Kind::Runtime, Attribute::Agent, label, &runtime.name, (Specificity::RunsAs, Rank::Pinned, Refusal::Ambiguous));
            }
        }
    }
}
