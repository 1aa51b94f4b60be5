//! Claims of the token that an AgentCore gateway accepted: signed by the identity provider, so no caller can choose them.

use std::borrow::Cow;

use sluice_schemas::Rank;

use super::{Context, named, trust_of};
use crate::attribution::saying::{Attribute, Kind, Said, Specificity};
use crate::evidence::Tie;

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    let Some((run, tie)) = context.evidence.run.as_ref().filter(|(run, _)| !run.claims.is_empty()) else {
        return;
    };
    // What is tied by request id is a span: the application's own word for what the token said.
    let signed = if *tie == Tie::Request { Rank::Claimed } else { Rank::Pinned };
    let rank = signed.min(trust_of(*tie));
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
