//! Claims of the token that an AgentCore gateway accepted: signed by the identity provider, so no caller can choose them.

use std::borrow::Cow;

use super::{Context, Pinned, named};
use crate::attribution::saying::{Attribute, Kind, Said, Specificity};

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    let Some((run, _)) = context.evidence.run.as_ref().filter(|(run, _)| !run.claims.is_empty()) else {
        return;
    };
    let rank = context.rank_of(Pinned::Token);
    let keys = context.keys;
    for (about, keys) in [(Attribute::Agent, &keys.agent), (Attribute::Session, &keys.session), (Attribute::Team, &keys.team)] {
        if let Some((key, value)) = named(&run.claims, keys) {
            said.say(Kind::Gateway, about, format!("gateway:{key}"), value, (Specificity::Run, rank));
        }
    }
    for (claim, value) in &run.claims {
        said.tag(Cow::Owned(format!("bedrock-agentcore:InboundJwtClaim/{claim}")), value);
    }
}
