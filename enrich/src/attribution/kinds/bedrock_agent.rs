//! Agents of Bedrock Agents: the one agent whose service role the call was made with.

use sluice_schemas::Rank;
use sluice_schemas::directory::EntryKind;

use super::Context;
use crate::attribution::saying::{Attribute, Kind, Refusal, Said, Specificity};

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    if context.runs_as.is_empty() {
        return;
    }
    let agents: Vec<_> = context.agents_of_role(EntryKind::Agent).collect();
    let label = Kind::BedrockAgent.as_str();
    match agents.as_slice() {
        [] => {}
        [agent] => said.say(Kind::BedrockAgent, Attribute::Agent, label, agent.name.as_str(), (Specificity::RunsAs, Rank::Aws)),
        several => {
            for agent in several {
                said.refuse(Kind::BedrockAgent, Attribute::Agent, label, &agent.name, (Specificity::RunsAs, Rank::Aws, Refusal::Ambiguous));
            }
        }
    }
}
