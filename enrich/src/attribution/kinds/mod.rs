//! The kinds of evidence, one file each: a pure function from what is known about a call to what it says.

mod agentcore;
mod bedrock_agent;
mod gateway;
mod issued_to;
mod principal_tags;
mod profile;
mod registry;
mod rule;
mod run;
mod session_tags;
mod silence;
mod source_identity;
mod user_agent;

pub(crate) use registry::{record_of, team_of};
pub(crate) use silence::silence;

use std::borrow::Cow;

use sluice_schemas::directory::{Entry, EntryKind};
use sluice_schemas::{Micros, Rank};

use super::principal::Principal;
use super::resource;
use super::saying::{Attribute, Kind, Said, Specificity};
use crate::config::MetadataKeys;
use crate::directory::Directory;
use crate::evidence::{CallEvidence, Session, Tie};
use crate::rules::Rules;

/// What is known about one call beside its claims.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) keys: &'a MetadataKeys,
    pub(crate) directory: &'a Directory,
    pub(crate) rules: &'a Rules,
    pub(crate) principal: Option<Principal<'a>>,
    /// Directory entry of the role or user.
    pub(crate) principal_entry: Option<&'a Entry>,
    /// Directory entries of what runs as the role.
    pub(crate) runs_as: &'a [u32],
    pub(crate) account_id: &'a str,
    pub(crate) region: &'a str,
    pub(crate) operation: &'a str,
    pub(crate) model_id: &'a str,
    pub(crate) metadata: &'a str,
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

    /// Those of a kind that are agents and have a name.
    pub(crate) fn agents_of_role(&self, kind: EntryKind) -> impl Iterator<Item = &'a Entry> {
        self.runs_as().filter(move |entry| entry.kind == kind && !entry.name.is_empty() && resource::is_agent(&entry.arn))
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

/// What a trust policy may pin, or a service may vouch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pinned<'k> {
    SessionName,
    SourceIdentity,
    SessionTag(&'k str),
    Run,
    Token,
}

impl<'a> Context<'a> {
    /// Tells whether the call went through an application inference profile.
    pub(crate) fn is_through_profile(&self) -> bool {
        self.model_id.contains(":application-inference-profile/")
    }

    /// Returns the session unless it cannot be the call's.
    pub(crate) fn session(&self) -> Option<(&'a Session, Tie)> {
        let (session, tie) = self.evidence.session.as_ref()?;
        session_tags::refusal(self, session, *tie).is_none().then_some((&**session, *tie))
    }

    /// Returns how far what the role's trust policy may pin can be trusted.
    pub(crate) fn rank_of(&self, what: Pinned<'_>) -> Rank {
        let pins = self.principal_entry.map(|role| &role.pins);
        let session_tie = self.evidence.session.as_ref().map_or(Tie::Request, |(_, tie)| *tie);
        let run_tie = self.evidence.run.as_ref().map_or(Tie::RoleAndTime, |(_, tie)| *tie);
        // What is tied by request id is a span: the application's own word.
        let of_run = |rank: Rank| if run_tie == Tie::Request { Rank::Claimed } else { rank.min(trust_of(run_tie)) };
        let (is_pinned, tie) = match what {
            Pinned::SessionName => {
                let by_service = self.principal.is_some_and(|principal| principal.agentcore_session().is_some());
                (by_service || pins.is_some_and(|pins| pins.session_name), Tie::Request)
            }
            Pinned::SourceIdentity => (pins.is_some_and(|pins| pins.source_identity) && !self.inherits(what), self.source_identity().1),
            Pinned::SessionTag(key) => {
                let is_pinned = pins.is_some_and(|pins| pins.tag_keys.iter().any(|pinned| pinned.eq_ignore_ascii_case(key)));
                (is_pinned && !self.inherits(what), session_tie)
            }
            Pinned::Run => return of_run(Rank::Chosen),
            Pinned::Token => return of_run(Rank::Pinned),
        };
        if is_pinned { Rank::Pinned } else { Rank::Chosen }.min(trust_of(tie))
    }

    /// Tells whether the session has something from the one it was opened from. A trust policy sees what its own request sets; whether it
    /// holds for what comes with the caller is in doubt, and what is in doubt is not pinned.
    fn inherits(&self, what: Pinned<'_>) -> bool {
        let Some((session, _)) = &self.evidence.session else { return false };
        match what {
            Pinned::SourceIdentity => session.inherited_identity,
            Pinned::SessionTag(key) => session.inherited.iter().any(|inherited| inherited.eq_ignore_ascii_case(key)),
            Pinned::SessionName | Pinned::Run | Pinned::Token => false,
        }
    }

    /// Returns what `aws:PrincipalTag/<key>` is for the call: the session's tag, else the role's or user's.
    pub(crate) fn principal_tag(&self, key: &str) -> Option<(&'a str, Rank, Specificity)> {
        let of =
            |tags: &'a [(String, String)]| tags.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str());
        let of_session = self.session().and_then(|(session, _)| of(&session.tags));
        if let Some(value) = of_session {
            return Some((value, self.rank_of(Pinned::SessionTag(key)), Specificity::Session));
        }
        Some((of(&self.principal_entry?.tags)?, Rank::Aws, Specificity::Principal))
    }

    /// Returns the source identity, unless it is of a session that cannot be the call's.
    pub(crate) fn believable_source_identity(&self) -> &'a str {
        let of_call = self.evidence.caller.as_deref().map_or("", |caller| caller.source_identity.as_str());
        if of_call.is_empty() { self.session().map_or("", |(session, _)| &session.source_identity) } else { of_call }
    }
}

/// Asks every kind.
pub(crate) fn ask<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    if !context.rules.is_empty() {
        rule::say(context, said);
    }
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
