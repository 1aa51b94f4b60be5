//! Source identity: set when the first role of a chain was assumed, kept through the chain, repeated in every event of the session.

use sluice_schemas::Rank;

use super::session_tags::refusal;
use super::{Context, Pinned};
use crate::attribution::saying::{Attribute, Kind, Said, Specificity};

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    let (identity, _) = context.source_identity();
    if identity.is_empty() {
        return;
    }
    let of_call = context.evidence.caller.as_deref().is_some_and(|caller| !caller.source_identity.is_empty());
    let session = context.evidence.session.as_ref().filter(|_| !of_call);
    if let Some(refusal) = session.and_then(|(session, tie)| refusal(context, session, *tie)) {
        return said.refuse(
            Kind::SourceIdentity,
            Attribute::Agent,
            "source_identity",
            identity,
            (Specificity::Session, Rank::Chosen, refusal),
        );
    }
    let rank = context.rank_of(Pinned::SourceIdentity);
    said.say(Kind::SourceIdentity, Attribute::Agent, "source_identity", identity, (Specificity::Session, rank));
    said.tag("aws:SourceIdentity", identity);
}
