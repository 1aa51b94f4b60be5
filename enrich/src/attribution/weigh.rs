//! Weighing: which of all that was said about a call names its agent, its session and its team.

use std::cmp::Reverse;

use sluice_schemas::{AgentStatus, Rank};

use super::is_reserved;
use super::ladder::{Facts, Registry, is_told_apart, refusal};
use super::saying::{Attribute, Kind, Refusal, Said, Saying};

/// Who a call is booked to. Numbers are places in [`Said::sayings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As the agents file, the session name and the metadata decide alone.
    Base,
    /// The agent that this saying names.
    Named { by: usize, agent: Option<u32>, rank: Rank, status: AgentStatus },
    /// The principal, for what this saying claims.
    Spoofed { by: usize },
}

/// Refuses what the agents file does not allow, then decides about the agent. `base` is the saying of the decision without further
/// evidence, `None` where that names nobody.
pub(crate) fn weigh(registry: &impl Registry, facts: &Facts<'_>, base: Option<usize>, said: &mut Said<'_>) -> Verdict {
    for (at, saying) in said.sayings.iter_mut().enumerate() {
        if saying.about == Attribute::Agent && saying.refused.is_none() && base != Some(at) {
            saying.refused =
                if is_reserved(&saying.text) { Some(Refusal::Reserved) } else { refusal(registry, facts, registry.by_id(&saying.text)) };
        }
    }
    let agents = || said.sayings.iter().enumerate().filter(|(_, saying)| saying.about == Attribute::Agent);
    if let Some((by, _)) = agents().filter(|(_, saying)| saying.accuses()).max_by_key(|(_, saying)| weight(saying)) {
        return Verdict::Spoofed { by };
    }
    let believed = || agents().filter(|(_, saying)| saying.refused.is_none());
    let class = |saying: &Saying<'_>| saying.rank.min(Rank::Chosen);
    let Some((first, named)) = believed().max_by_key(|(_, saying)| (class(saying), weight(saying))) else {
        return Verdict::Base;
    };
    let contradicted = |word: &Saying<'_>| {
        word.text != named.text
            && believed().any(|(_, other)| other.rank >= Rank::Pinned && other.kind.declares() && other.text != word.text)
    };
    let forged = believed().filter(|(_, word)| word.is_own_word() && contradicted(word));
    if let Some((by, _)) = forged.max_by_key(|(_, word)| weight(word)) {
        return Verdict::Spoofed { by };
    }
    let agreeing = || believed().filter(|(_, saying)| saying.text == named.text);
    if agreeing().all(|(at, _)| base == Some(at)) {
        return Verdict::Base;
    }
    // Of all that agree the strongest counts, and of those the most specific; it is at least as strong as the one that decided.
    let (by, strongest) = agreeing().max_by_key(|(_, saying)| (saying.rank, weight(saying))).unwrap_or((first, named));
    let agent = registry.by_id(&named.text);
    let status = status(registry, facts, agent, strongest.rank);
    Verdict::Named { by, agent, rank: strongest.rank, status }
}

fn status(registry: &impl Registry, facts: &Facts<'_>, agent: Option<u32>, rank: Rank) -> AgentStatus {
    let is_closed = !facts.principal.is_empty() || !facts.profile.is_empty();
    let verified = match (agent.filter(|_| is_closed), rank) {
        (_, Rank::Inferred) => false,
        (Some(agent), Rank::Claimed) => is_told_apart(registry, facts, agent),
        (Some(_), _) => true,
        (None, rank) => rank >= Rank::Pinned,
    };
    if verified { AgentStatus::Verified } else { AgentStatus::Unverified }
}

/// Specificity first, then trust; equals are told apart by the order of kinds and their texts, so that no order of arrival matters.
fn weight<'s>(saying: &'s Saying<'_>) -> (super::saying::Specificity, Rank, Reverse<(Kind, &'s str, &'s str)>) {
    (saying.specificity, saying.rank, Reverse((saying.kind, &*saying.label, &*saying.text)))
}

/// Returns the saying that names the session. An id of its own kind, set by the service or under a session key, goes before the name of
/// the role session, whatever its rank: every role session has a name. What is only inferred comes last.
pub(crate) fn session(spoofed: bool, said: &mut Said<'_>) -> Option<usize> {
    refuse_same_mouth(Attribute::Session, spoofed, said);
    let believed = said.sayings.iter().enumerate().filter(|(_, saying)| saying.about == Attribute::Session && saying.refused.is_none());
    let class = |saying: &Saying<'_>| match (saying.kind, saying.rank) {
        (Kind::SessionName, _) => 1,
        (_, Rank::Inferred) => 0,
        _ => 2,
    };
    believed.max_by_key(|(_, saying)| (class(saying), saying.rank, weight(saying))).map(|(at, _)| at)
}

/// Returns the saying that names the team.
pub(crate) fn team(spoofed: bool, said: &mut Said<'_>) -> Option<usize> {
    refuse_same_mouth(Attribute::Team, spoofed, said);
    let believed = said.sayings.iter().enumerate().filter(|(_, saying)| saying.about == Attribute::Team && saying.refused.is_none());
    believed.max_by_key(|(_, saying)| (saying.rank.min(Rank::Chosen), weight(saying))).map(|(at, _)| at)
}

/// A refused call keeps nothing that its caller could choose.
fn refuse_same_mouth(about: Attribute, spoofed: bool, said: &mut Said<'_>) {
    for saying in said.sayings.iter_mut().filter(|saying| spoofed && saying.about == about) {
        if saying.rank < Rank::Pinned && saying.kind != Kind::SessionName && saying.refused.is_none() {
            saying.refused = Some(Refusal::SameMouth);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::saying::Specificity;
    use super::*;
    use crate::agents::AgentsFile;
    use proptest::prelude::*;

    fn sayings() -> impl Strategy<Value = Vec<Saying<'static>>> {
        let ranks = vec![Rank::Inferred, Rank::Claimed, Rank::Chosen, Rank::Pinned, Rank::Aws];
        let scopes = vec![Specificity::Principal, Specificity::Profile, Specificity::Session, Specificity::Call];
        let of = (
            prop::sample::select(&Kind::ALL[..]),
            prop::sample::select(vec!["a", "b", "bound"]),
            prop::sample::select(scopes),
            prop::sample::select(ranks),
        );
        let saying = of.prop_map(|(kind, text, specificity, rank)| Saying {
            kind,
            about: Attribute::Agent,
            label: kind.as_str().into(),
            text: text.into(),
            specificity,
            rank,
            refused: None,
        });
        prop::collection::vec(saying, 0..6)
    }

    /// What was decided, as text.
    fn decide(sayings: &[Saying<'static>]) -> (String, Rank, String) {
        let agents = AgentsFile::parse("[[agent]]\nid = 'bound'\nprincipals = ['arn:aws:iam::1:role/X']").expect("valid");
        let facts = Facts { principal: &[], profile: &[], session_name: "s", claim: None };
        let mut said = Said { sayings: sayings.to_vec(), ..Said::default() };
        let verdict = weigh(&agents, &facts, None, &mut said);
        match verdict {
            Verdict::Base => (String::new(), Rank::Inferred, "base".to_owned()),
            Verdict::Named { by, rank, status, .. } => {
                (said.sayings[by].text.clone().into_owned(), rank, format!("{} {status:?}", said.sayings[by].label))
            }
            Verdict::Spoofed { by } => {
                (format!("spoofed {}", said.sayings[by].text), Rank::Inferred, said.sayings[by].label.clone().into_owned())
            }
        }
    }

    proptest! {
        #[test]
        fn the_order_of_evidence_does_not_matter((one, other) in sayings().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))) {
            prop_assert_eq!(decide(&one), decide(&other));
        }

        #[test]
        fn stronger_evidence_that_agrees_never_lowers_the_rank(sayings in sayings(), kind in prop::sample::select(&Kind::ALL[..])) {
            let (agent, rank, _) = decide(&sayings);
            prop_assume!(agent == "a" || agent == "b");
            let more = Saying { kind, about: Attribute::Agent, label: "more".into(), text: agent.clone().into(), specificity: Specificity::Session, rank: rank.max(Rank::Chosen), refused: None };
            let (after, raised, _) = decide(&[sayings, vec![more]].concat());
            prop_assert!(after.starts_with("spoofed ") || (after == agent && raised >= rank), "{} {:?}", after, raised);
        }

        #[test]
        fn a_bound_agent_is_never_named_elsewhere(sayings in sayings()) {
            prop_assert!(decide(&sayings).0 != "bound");
        }
    }
}
