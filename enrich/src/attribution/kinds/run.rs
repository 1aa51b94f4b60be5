//! The run that a call belongs to: a span of the application, which is its own word, or a data event that AWS wrote.

use std::borrow::Cow;

use sluice_schemas::Rank;

use super::{Context, Pinned};
use crate::attribution::resource::Resource;
use crate::attribution::saying::{Attribute, Kind, Said, Specificity};
use crate::evidence::Tie;

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    let Some((run, tie)) = &context.evidence.run else {
        return;
    };
    // Only a span knows the request id of a model call; a data event has one of its own.
    let (kind, specificity) = if *tie == Tie::Request { (Kind::Span, Specificity::Call) } else { (Kind::Run, Specificity::Run) };
    let rank = context.rank_of(Pinned::Run);
    let own_word = Rank::Claimed.min(rank);
    if run.agent_name.is_empty() {
        let entry = context.directory.runtime_or_agent(&run.resource_arn).filter(|entry| !entry.name.is_empty());
        let name = entry.map(|entry| Cow::Borrowed(entry.name.as_str())).or_else(|| Resource::parse(&run.resource_arn)?.name());
        said.say(kind, Attribute::Agent, format!("{}:resource", kind.as_str()), name.unwrap_or_default(), (specificity, rank));
    } else {
        let label = if kind == Kind::Span { "span:gen_ai.agent.name" } else { "run:agent_name" };
        said.say(kind, Attribute::Agent, label, run.agent_name.as_str(), (specificity, own_word));
    }
    let label = if kind == Kind::Span { "span:session.id" } else { "run:session_id" };
    said.say(kind, Attribute::Session, label, run.session_id.as_str(), (specificity, rank));
    said.tag("run:resource", &run.resource_arn);
    said.tag("run:user", &run.user_id);
}
