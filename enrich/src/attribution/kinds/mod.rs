//! The kinds of evidence, one file each: a pure function from what is known about a call to what it says.

mod agentcore;
mod bedrock_agent;
mod gateway;
mod issued_to;
mod principal_tags;
mod profile;
mod registry;
mod run;
mod session_tags;
mod source_identity;
mod user_agent;

pub(crate) use registry::{record_of, team_of};

use std::borrow::Cow;

use sluice_schemas::directory::Entry;
use sluice_schemas::{Micros, Rank};

use super::principal::Principal;
use super::saying::{Attribute, Kind, Said, Specificity};
use crate::config::MetadataKeys;
use crate::directory::Directory;
use crate::evidence::{CallEvidence, Tie};

/// What is known about one call beside its claims.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) keys: &'a MetadataKeys,
    pub(crate) directory: &'a Directory,
    pub(crate) principal: Option<Principal<'a>>,
    /// Directory entry of the role or user.
    pub(crate) principal_entry: Option<&'a Entry>,
    /// Directory entries of what runs as the role.
    pub(crate) runs_as: &'a [u32],
    pub(crate) model_id: &'a str,
    pub(crate) evidence: &'a CallEvidence,
    /// Time of the call, where it is known.
    pub(crate) at: Option<Micros>,
}

impl<'a> Context<'a> {
    /// Directory entries of what runs as the role.
    pub(crate) fn runs_as(&self) -> impl Iterator<Item = &'a Entry> {
        let directory = self.directory;
        self.runs_as.iter().filter_map(|&at| directory.numbered(at))
    }

    /// Returns the source identity of the session, from the call's own event or the one that opened the session.
    pub(crate) fn source_identity(&self) -> (&'a str, Tie) {
        let of_call = self.evidence.caller.as_deref().map_or("", |caller| caller.source_identity.as_str());
        match (&self.evidence.session, of_call) {
            (Some((session, tie)), "") => (&session.source_identity, *tie),
            (_, of_call) => (of_call, Tie::Request),
        }
    }
}

/// Asks every kind.
pub(crate) fn ask<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    if !context.evidence.is_empty() {
        run::say(context, said);
        gateway::say(context, said);
        session_tags::say(context, said);
        source_identity::say(context, said);
        issued_to::say(context, said);
        user_agent::say(context, said);
    }
    profile::say(context, said);
    agentcore::say(context, said);
    bedrock_agent::say(context, said);
    principal_tags::say(context, said);
    registry::say(context, said);
}

/// The most that evidence tied to a call this way can be trusted.
const fn trust_of(tie: Tie) -> Rank {
    match tie {
        Tie::Request | Tie::AccessKey => Rank::Aws,
        // Another session of the name may be on its way still.
        Tie::SessionName => Rank::Chosen,
        Tie::RoleAndTime => Rank::Inferred,
    }
}

/// Returns the first of the configured keys that has a value, in any case of its letters, as IAM compares tag keys.
fn named<'t>(tags: &'t [(String, String)], keys: &[String]) -> Option<(&'t str, &'t str)> {
    keys.iter().find_map(|wanted| {
        let of_key = tags.iter().find(|(key, value)| key.eq_ignore_ascii_case(wanted) && !value.is_empty());
        of_key.map(|(key, value)| (key.as_str(), value.as_str()))
    })
}

/// Adds what tags say: agent, session and team under the configured keys, everything under `prefix`.
fn say_tags<'a>(
    context: &Context<'a>,
    (kind, label, prefix): (Kind, &str, &str),
    tags: &'a [(String, String)],
    specificity: Specificity,
    rank: impl Fn(&str) -> Rank,
    said: &mut Said<'a>,
) {
    let keys = context.keys;
    for (about, keys) in [(Attribute::Agent, &keys.agent), (Attribute::Session, &keys.session), (Attribute::Team, &keys.team)] {
        if let Some((key, value)) = named(tags, keys) {
            said.say(kind, about, format!("{label}:{key}"), value, (specificity, rank(key)));
        }
    }
    for (key, value) in tags {
        said.tag(Cow::Owned(format!("{prefix}{key}")), value);
    }
}
