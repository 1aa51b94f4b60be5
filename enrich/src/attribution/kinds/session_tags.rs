//! Session tags: set when the role was assumed, fixed for the life of the session, pinned where the role's trust policy says so.

use sluice_schemas::Rank;
use sluice_schemas::time::SECOND;

use super::{Context, Pinned, say_tags};
use crate::attribution::principal::Principal;
use crate::attribution::saying::{Attribute, Kind, Refusal, Said, Specificity};
use crate::evidence::{Session, Tie};

/// How far the clocks of services may differ.
const SKEW: i64 = 5 * SECOND;

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    let Some((session, tie)) = &context.evidence.session else {
        return;
    };
    if let Some(refusal) = refusal(context, session, *tie) {
        for (key, value) in &session.tags {
            for (about, keys) in [(Attribute::Agent, &context.keys.agent), (Attribute::Session, &context.keys.session)] {
                if keys.iter().any(|wanted| wanted.eq_ignore_ascii_case(key)) {
                    said.refuse(
                        Kind::SessionTag,
                        about,
                        format!("session_tag:{key}"),
                        value,
                        (Specificity::Session, Rank::Chosen, refusal),
                    );
                }
            }
        }
        return;
    }
    let rank = |key: &str| context.rank_of(Pinned::SessionTag(key));
    say_tags(context, (Kind::SessionTag, "session_tag", "aws:PrincipalTag/"), &session.tags, Specificity::Session, rank, said);
}

/// Tells why what the session says cannot be meant for the call.
pub(super) fn refusal(context: &Context<'_>, session: &Session, tie: Tie) -> Option<Refusal> {
    // An access key is of one session and no other, whatever its event says of roles and its clock of the last moment.
    let by_key = matches!(tie, Tie::Request | Tie::AccessKey);
    let end = session.expires.plus(if by_key { SKEW } else { 0 });
    if session.expires.0 > 0 && context.at.is_some_and(|at| at >= end) {
        return Some(Refusal::Expired);
    }
    let role = Principal::parse(&session.role_arn);
    let same = |role: Principal<'_>, of_call: Principal<'_>| {
        role.account == of_call.account && role.partition == of_call.partition && role.name.eq_ignore_ascii_case(of_call.name)
    };
    let other = !by_key && role.zip(context.principal).is_some_and(|(role, of_call)| !same(role, of_call));
    other.then_some(Refusal::OtherRole)
}
