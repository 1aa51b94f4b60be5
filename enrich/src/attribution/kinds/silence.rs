//! Why a kind of evidence names no agent: what was looked for and not found.

use sluice_schemas::directory::EntryKind;

use super::principal_tags::API_KEY_USER;
use super::{Context, user_agent};
use crate::agents::AgentsFile;
use crate::attribution::ladder::Facts;
use crate::attribution::principal::PrincipalKind;
use crate::attribution::saying::Kind;

const NO_EVENT: &str = "the call's own CloudTrail event is not known";
const NO_RUN: &str = "no span and no data event is tied to the call";

/// Says what was looked for.
pub(crate) fn silence(kind: Kind, context: &Context<'_>, agents: &AgentsFile, facts: &Facts<'_>) -> String {
    let keys = || context.keys.agent.join(", ");
    let caller = context.evidence.caller.as_deref();
    let role = context.principal.is_some_and(|principal| principal.kind == PrincipalKind::Role);
    match kind {
        Kind::Rule if context.rules.is_empty() => "there is no rules file".to_owned(),
        Kind::Rule => "no rule that names an agent matches".to_owned(),
        Kind::Span | Kind::Run if context.evidence.run.is_none() => NO_RUN.to_owned(),
        Kind::Span => "what is tied to the call is no span of its request id, or names no agent".to_owned(),
        Kind::Run => "what is tied to the call names no runtime or agent".to_owned(),
        Kind::Gateway => "no token that a gateway accepted is known of its run".to_owned(),
        Kind::Metadata if context.metadata.is_empty() => "the call carries no request metadata".to_owned(),
        Kind::Metadata => format!("its request metadata has none of {}", keys()),
        Kind::SessionTag | Kind::SourceIdentity | Kind::SessionName if !role => "the caller is no role session".to_owned(),
        Kind::SessionTag if context.evidence.session.is_none() && caller.is_some() => {
            "no AssumeRole event of this session name and access key is known".to_owned()
        }
        Kind::SessionTag if context.evidence.session.is_none() => "the AssumeRole event that opened the session is not known".to_owned(),
        Kind::SessionTag if context.evidence.session.as_ref().is_some_and(|(session, _)| session.role_arn.is_empty()) => {
            "the AssumeRole event that opened the session came without its parameters: what it was tagged with is not known".to_owned()
        }
        Kind::SessionTag => format!("the session was opened without a tag of {}", keys()),
        Kind::SourceIdentity if caller.is_none() && context.evidence.session.is_none() => NO_EVENT.to_owned(),
        Kind::SourceIdentity => "the session has no source identity".to_owned(),
        Kind::SessionName | Kind::Principal if agents.is_none() => "there is no agents file".to_owned(),
        Kind::SessionName if facts.principal.is_empty() => {
            "the agents file registers no agent on this role that a session name could tell".to_owned()
        }
        Kind::SessionName => "the agents file gives this session name to no agent of the role, or to several".to_owned(),
        Kind::InferenceProfile if !context.is_through_profile() => {
            "the call names a model itself, not an application inference profile".to_owned()
        }
        Kind::InferenceProfile if context.directory.profile(context.model_id).is_none() => "the profile's tags are not known".to_owned(),
        Kind::InferenceProfile => format!("the profile has no tag of {}", keys()),
        Kind::IssuedTo if caller.is_none() => NO_EVENT.to_owned(),
        Kind::IssuedTo => "the credentials were issued to no function or runtime".to_owned(),
        Kind::Runtime => of_role(context, EntryKind::Runtime, "AgentCore runtime"),
        Kind::BedrockAgent => of_role(context, EntryKind::Agent, "Bedrock agent"),
        Kind::Registry => of_role(context, EntryKind::RegistryRecord, "record of the Agent Registry"),
        Kind::ApiKey if context.principal.is_none_or(|principal| !principal.name.starts_with(API_KEY_USER)) => {
            "the caller is no user of a Bedrock API key".to_owned()
        }
        Kind::ApiKey | Kind::PrincipalTag if context.principal_entry.is_none() => "the principal's tags are not known".to_owned(),
        Kind::ApiKey | Kind::PrincipalTag => format!("the principal has no tag of {}", keys()),
        Kind::Principal => registered(agents, facts),
        Kind::UserAgent => match caller.and_then(|caller| user_agent::framework(&caller.user_agent)) {
            Some(framework) => format!("it hints at {framework}, which is no name of an agent"),
            None if caller.is_none() => NO_EVENT.to_owned(),
            None => "it tells of no known framework".to_owned(),
        },
    }
}

fn of_role(context: &Context<'_>, kind: EntryKind, what: &str) -> String {
    let runs = context.agents_of_role(kind).next().is_some();
    if runs && kind == EntryKind::Runtime {
        return "a runtime has this role, but the session's name is not one that AgentCore gives".to_owned();
    }
    format!("no {what} is known to run as this principal")
}

fn registered(agents: &AgentsFile, facts: &Facts<'_>) -> String {
    let ids: Vec<_> = facts.principal.iter().filter_map(|&at| agents.numbered(at)).map(|agent| agent.id.as_str()).collect();
    match ids.as_slice() {
        [] => "the agents file registers no agent on this principal".to_owned(),
        [id] => format!("the agents file registers {id} here, which other evidence speaks against or names first"),
        several => format!("{} agents share this principal: {}", several.len(), several.join(", ")),
    }
}
