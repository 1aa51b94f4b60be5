//! Why a call is booked to whom: what was looked at, what it says, what was refused and why, in the order of the ladder, and the
//! cheapest change that would make it more certain.

use serde::Serialize;
use sluice_schemas::Rank;

use super::advice::{self, Case, Change};
use super::findings::{Base, Judged, Sources};
use super::kinds;
use super::saying::{Attribute, Kind, Refusal, Said, Saying, Specificity};
use super::texts::{OwnerTexts, number};
use super::weigh::Verdict;
use crate::config::MetadataKeys;
use crate::evidence::{Passed, PassedOver};

/// What became of a piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It names what the call is booked to.
    Named,
    /// It says the same.
    Agrees,
    /// It says something else, and what names it is more specific or harder to forge.
    Outweighed,
    /// It is not used.
    Refused,
    /// It is why the call's claim is refused.
    Accuses,
}

/// One piece of evidence that said something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its kind.
    pub kind: Kind,
    /// Its name, as `agent_evidence` shows it.
    pub evidence: String,
    /// What it speaks of.
    pub about: Attribute,
    /// What it says.
    pub says: String,
    /// How much it speaks of.
    pub specificity: Specificity,
    /// How far it can be trusted.
    #[serde(serialize_with = "number")]
    pub rank: Rank,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, where it is not used.
    pub why: String,
}

/// One kind of evidence that names no agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Silent {
    /// The kind.
    pub kind: Kind,
    /// What was looked for and not found.
    pub why: String,
}

/// Why a call is booked to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Who it is booked to.
    pub owner: OwnerTexts,
    /// What said something, the most specific first.
    pub steps: Vec<Step>,
    /// What named no agent, the most specific first.
    pub silent: Vec<Silent>,
    /// The cheapest change that would raise the rank or tell agents apart; absent if AWS or a trust policy vouches already.
    pub change: Option<Change>,
}

/// What is known beside a call and its evidence, for those who explain and advise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// Sessions of the call's name that are not the call's.
    pub passed_over: &'a [PassedOver],
    /// Whether several agents are known to share the caller.
    pub is_shared: bool,
    /// Whether any event of CloudTrail is known of the call's account.
    pub has_events: bool,
}

/// Explains a decision whose owner it is given.
pub(super) fn explain(sources: &Sources<'_>, judged: &Judged<'_>, base: &Base<'_>, owner: OwnerTexts, beside: Beside<'_>) -> Explanation {
    let said = &judged.said.sayings;
    let over = say_passed_over(sources.keys, beside.passed_over).sayings;
    let mut steps: Vec<Step> = said.iter().chain(&over).enumerate().map(|(at, saying)| step(judged, at, saying, &owner)).collect();
    steps.sort_by(|a, b| {
        let place = |step: &Step| (step.about, std::cmp::Reverse((step.specificity, step.rank)), step.kind);
        place(a).cmp(&place(b)).then_with(|| (&a.evidence, &a.says).cmp(&(&b.evidence, &b.says)))
    });
    let names_agent = |kind: Kind| said.iter().chain(&over).any(|saying| saying.kind == kind && saying.about == Attribute::Agent);
    let silent = Kind::ALL.into_iter().filter(|&kind| !names_agent(kind));
    let why = |kind| match kind {
        Kind::SessionTag if judged.context.evidence.session.is_none() && !beside.passed_over.is_empty() => untagged(beside.passed_over),
        kind => kinds::silence(kind, &judged.context, sources.agents, &base.facts),
    };
    let silent = silent.map(|kind| Silent { kind, why: why(kind) }).collect();
    let case = Case { agents: sources.agents, call: &judged.context, facts: &base.facts, said: &judged.said, beside };
    let change = advice::cheapest(&case, &owner);
    Explanation { owner, steps, silent, change }
}

/// Returns what sessions say that are not the call's.
fn say_passed_over<'a>(keys: &MetadataKeys, passed_over: &'a [PassedOver]) -> Said<'a> {
    let mut said = Said::default();
    for PassedOver { session, why } in passed_over {
        let level = (Specificity::Session, Rank::Chosen, refusal(*why));
        for (key, value) in session.tags.iter().filter(|(key, _)| keys.is_of_agent(key)) {
            said.refuse(Kind::SessionTag, Attribute::Agent, format!("session_tag:{key}"), value, level);
        }
        if !session.source_identity.is_empty() {
            said.refuse(Kind::SourceIdentity, Attribute::Agent, "source_identity", &session.source_identity, level);
        }
    }
    said
}

const fn refusal(why: Passed) -> Refusal {
    match why {
        Passed::OtherKey => Refusal::OtherKey,
        Passed::Disagrees => Refusal::Disagrees,
        Passed::Expired => Refusal::Expired,
        Passed::NotYetOpen => Refusal::NotYetOpen,
    }
}

/// Says why sessions without a tag that names an agent are not the call's.
fn untagged(passed_over: &[PassedOver]) -> String {
    let mut whys: Vec<String> = passed_over.iter().map(|over| refusal(over.why).to_string()).collect();
    whys.dedup();
    format!("AssumeRole events of this session name are known, and none is of the call's session: {}", whys.join("; "))
}

fn step(judged: &Judged<'_>, at: usize, saying: &Saying<'_>, owner: &OwnerTexts) -> Step {
    let booked = match saying.about {
        Attribute::Agent => &owner.agent_id,
        Attribute::Session => &owner.session_id,
        Attribute::Team => &owner.team,
    };
    let names = match saying.about {
        Attribute::Agent => owner.agent_evidence == saying.label,
        Attribute::Session => judged.session == Some(at),
        Attribute::Team => judged.team == Some(at),
    };
    // What was passed over comes after what was said of the call, and accuses nobody.
    let of_call = at < judged.said.sayings.len();
    let forged = judged.verdict == Verdict::Spoofed { by: at };
    let (outcome, why) = match (saying.refused, *saying.text == **booked) {
        _ if forged && saying.refused.is_none() => {
            (Outcome::Accuses, "it contradicts evidence that no caller can choose: booked to the principal".to_owned())
        }
        (Some(refusal), _) if forged || saying.accuses() || (judged.spoofed && of_call && saying.about == Attribute::Agent && names) => {
            (Outcome::Accuses, refusal.to_string())
        }
        (Some(refusal), _) => (Outcome::Refused, refusal.to_string()),
        (None, true) if names => (Outcome::Named, String::new()),
        (None, true) => (Outcome::Agrees, String::new()),
        (None, false) if judged.spoofed && saying.about == Attribute::Agent => {
            (Outcome::Outweighed, "the call makes a claim that is refused, so it is booked to the principal".to_owned())
        }
        (None, false) => (Outcome::Outweighed, "what names it is more specific or harder to forge".to_owned()),
    };
    Step {
        kind: saying.kind,
        evidence: saying.label.clone().into_owned(),
        about: saying.about,
        says: saying.text.clone().into_owned(),
        specificity: saying.specificity,
        rank: saying.rank,
        outcome,
        why,
    }
}
