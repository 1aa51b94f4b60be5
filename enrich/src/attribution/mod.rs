//! Who a call is booked to: the agent, the session and the team, each with the evidence that named it and its rank.
//!
//! Owns: reading identity ARNs and request metadata, and the decision. Does not own: the agents file (`crate::agents`), prices.
//!
//! **The ladder.** The most specific evidence that names an agent wins; among equals the one that is harder to forge.
//! From specific to general:
//!
//! | evidence | says | rank |
//! |---|---|---|
//! | `rule:<name>` | what the rules file makes of names; as specific as the most specific field it matched on | lowest of its fields |
//! | `span:…` | this call, in the application's own words | 1 |
//! | `metadata:<key>` | this call, in the caller's own words | 1 |
//! | `run:…` | the run, from a data event | 2, or 0 if tied by role and time alone |
//! | `gateway:<claim>` | the run, from the token that a gateway accepted | 3, or 1 from a span |
//! | `session_tag:<key>` | the session, tagged when its role was assumed | 3 if the trust policy pins the key, else 2 |
//! | `source_identity` | the session, set when the first role of its chain was assumed | 3 if pinned, else 2 |
//! | `session_name` | the session, chosen by whoever assumed the role; pinned if the agents file says its trust policy pins it | 2, or 3 |
//! | `inference_profile`, `inference_profile_tag:<key>` | the application inference profile the call went through | 4 |
//! | `credentials_issued_to` | the function or runtime that holds the credentials | 4 |
//! | `agentcore_runtime` | the one runtime of the role, in a session that AgentCore names | 3 |
//! | `bedrock_agent` | the one agent of the role | 4 |
//! | `registry_record` | the one record of the role | 3 |
//! | `api_key_tag:<key>`, `principal_tag:<key>` | the user or role, tagged by an administrator | 4 |
//! | `principal` | the role or user, if exactly one agent is registered on it | 4 |
//!
//! Claims (rank 1) decide only where nothing of rank 2 or more names an agent. One that evidence of rank 3 or more
//! contradicts is `spoofed`, if that evidence was made to name an agent (names of functions, runtimes, agents of Bedrock and records were
//! not); one that merely loses stays as tag `claimed_agent`. All evidence that agrees counts: the rank is that of the strongest.
//!
//! **Open and closed.** A principal (or, for an open principal, the call's inference profile) on which the agents file registers an
//! agent is closed: what a caller claims must be one of the agents registered there, and a pinned session name narrows that choice to
//! the agents it fits. Where principal, profile or session name say the same without the claim, they are the evidence and the claim
//! only agrees; where pins leave one agent, the claim is `verified`; where several share the
//! principal and only the caller's own word tells them apart, it still names the agent, being the most specific evidence, but stays
//! `unverified`. Any other claim is `spoofed` and booked to `spoofed:<principal>`, with the claim kept as tag `claimed_agent`.
//! On an open principal a claim is believed, marked `unverified`, unless it is a reserved name or names an agent that the file binds
//! to some other principal or profile: nobody may spend in the name of an agent whose principals are known, for that could
//! drain its budget and get it blocked. An agent listed without principals and profiles is bound to nothing and may be claimed.
//! Going through another agent's profile is refused the same way, and an agent with principals is never named by its
//! profile on a principal that is not one of them.
//!
//! **Sessions.** A session id that AgentCore set and one in the metadata are equally specific, so the higher rank, AgentCore's,
//! wins; a plain role session name is less specific than either, and
//! stays chosen (2) even where a pattern is pinned, for the pin says whose session it is and not which. A refused call keeps no session and no team of its own claim: they
//! come from the same mouth. A claim that did not become the call's agent, session or team stays visible in the tags
//! `claimed_agent`, `claimed_session`, `claimed_team`.

mod advice;
mod claims;
mod explain;
mod findings;
mod glob;
mod kinds;
mod ladder;
mod owners;
mod principal;
pub(crate) mod resource;
mod saying;
mod text;
mod texts;
mod weigh;

pub use advice::Change;
pub(crate) use claims::KeyNames;
pub use explain::{Beside, Explanation, Outcome, Silent, Step};
pub(crate) use findings::Sources;
pub(crate) use glob::Glob;
pub(crate) use kinds::{Context, Pinned};
pub(crate) use ladder::Registry;
pub(crate) use owners::{OwnerCache, Owners, ReadClaims, Template, is_evidence_key};
pub(crate) use principal::PrincipalPattern;
pub use principal::{PatternFault, Principal, PrincipalKind};
pub use saying::{Attribute, Kind, Refusal, Specificity};
pub(crate) use text::is_plain;
pub(crate) use texts::number;
pub use texts::{CallToAttribute, OwnerTexts};

/// Agent of calls that nothing attributes.
pub const UNATTRIBUTED: &str = "unattributed";
/// Start of the agent of calls whose claim was refused; the name of the principal follows.
pub const SPOOFED_PREFIX: &str = "spoofed:";
/// Tag that keeps an agent claim which was not believed.
pub const CLAIMED_AGENT: &str = "claimed_agent";
/// Tag that keeps a session claim which was not believed.
pub const CLAIMED_SESSION: &str = "claimed_session";
/// Tag that keeps a team claim which was not believed.
pub const CLAIMED_TEAM: &str = "claimed_team";

/// Tells whether no agent may carry this name, in any case of its letters.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    let spoofed = name.get(..SPOOFED_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(SPOOFED_PREFIX));
    spoofed || name.eq_ignore_ascii_case(UNATTRIBUTED)
}
