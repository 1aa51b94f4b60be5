//! What a hold pulls, and whom else that would hit. Pure.
//!
//! A target of a budget is a word of people; a lever acts on what AWS records. The principals behind at least 99 % of the target's spend
//! are looked up, and for each the levers of the configuration are tried in their order: one that would stop only the target may be pulled.
//! Where none is, the hold waits for a person, with the list of who else would be stopped and the smallest change that would spare them. So
//! no agent can get another one blocked.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sluice_schemas::{Micros, PicoUsd};

use super::protected::Protected;
use super::usage::{Caller, SessionCaller, Usage, Volume, is_of_sessions, matches, untold};
use crate::lever::{LeverKind, Subject};
use crate::reconcile::want::{Grip, Pull};

/// Share of the target's spend that the levers of a hold have to cover, in thousandths of a percent.
const COVERED: i128 = 99_000;
const WHOLE: i128 = 100_000;
/// Others that a preview names.
const MOST_NAMED: usize = 10;

/// How subjects are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopePolicy {
    /// Levers in order of preference.
    pub levers: Vec<LeverKind>,
    /// Most calls of others among those of a subject in the last 30 days, in thousandths of a percent.
    pub most_innocent: u32,
    /// Most principals that one hold stops without a person's word.
    pub most_principals: usize,
}

impl Default for ScopePolicy {
    fn default() -> Self {
        Self { levers: Vec::new(), most_innocent: 1_000, most_principals: 5 }
    }
}

/// One subject of a hold, and who shares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Role or user.
    pub principal: String,
    /// First lever that would be pulled, and on whom.
    pub pull: Option<Pull>,
    /// Share of the target's spend, in thousandths of a percent.
    pub of_spend: u32,
    /// Share of others among the calls that the lever would stop, of the last 30 days, in thousandths of a percent.
    pub innocent: u32,
    /// Agents that would be stopped besides, with their calls, the busiest first.
    pub others: Vec<(String, i64)>,
}

/// Why a hold does not stop its target by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// What is in the way.
    pub reason: String,
    /// The smallest change that would help; empty if there is none.
    pub advice: String,
    /// Whether a person's word is enough.
    pub approvable: bool,
}

/// What a hold would pull.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// How each of the things the target acts through is stopped.
    pub grips: Vec<Grip>,
    /// Who shares them.
    pub preview: Vec<Share>,
    /// What is in the way of pulling them without a person's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
}

/// A subject of one lever with the volume of the target and of others behind it.
struct Candidate {
    pull: Pull,
    innocent: u32,
    others: Vec<(String, i64)>,
}

/// Chooses the levers and subjects of a target; `from` is where the spend began that counts.
#[must_use]
pub fn resolve(target: &str, from: Micros, usage: &Usage, policy: &ScopePolicy, protected: &Protected) -> Scope {
    let flag = policy.levers.contains(&LeverKind::Flag).then(|| flag_of(target));
    let only_flag = |obstacle: Option<Obstacle>| Scope {
        grips: flag.clone().into_iter().map(|pull| Grip { chain: vec![pull] }).collect(),
        preview: Vec::new(),
        obstacle,
    };
    let needs_principals = policy.levers.iter().any(|lever| *lever != LeverKind::Flag);
    if !needs_principals {
        return only_flag(None);
    }
    if let Some(part) = untold(target) {
        return only_flag(Some(Obstacle {
            reason: format!("no principal stands for '{part}' alone"),
            advice: "give the budget an 'each' of agent_id, team, role, principal_arn or session_id".to_owned(),
            approvable: false,
        }));
    }
    let mut spend = spend_by_principal(target, from, usage);
    if spend.values().any(|volume| volume.cost <= PicoUsd::ZERO) {
        // Calls without a price are not for nothing: then all are counted alike.
        spend.values_mut().for_each(|volume| volume.cost = PicoUsd::ZERO);
    }
    let total: i128 = spend.values().map(|volume| weight(*volume)).sum();
    if total == 0 {
        return only_flag(Some(Obstacle {
            reason: "no principal is known behind this target's calls".to_owned(),
            advice: String::new(),
            approvable: false,
        }));
    }
    let chosen = cover(&spend, total);
    let mut scope = Scope::default();
    let mut obstacles: Vec<Obstacle> = Vec::new();
    for (principal, volume) in &chosen {
        let of_spend = u32::try_from(weight(*volume) * WHOLE / total).unwrap_or(0);
        if let Some(reason) = protected.principal(principal) {
            obstacles.push(Obstacle {
                reason: format!("{principal} is never stopped: {reason}"),
                advice: String::new(),
                approvable: false,
            });
            scope.preview.push(Share { principal: principal.clone(), pull: None, of_spend, innocent: 0, others: Vec::new() });
            continue;
        }
        let (grips, share, obstacle) = grips_of(target, principal, usage, policy, of_spend);
        scope.preview.push(share);
        obstacles.extend(obstacle);
        for mut grip in grips {
            grip.chain.extend(flag.clone());
            scope.grips.push(grip);
        }
    }
    if chosen.len() > policy.most_principals {
        obstacles.push(Obstacle {
            reason: format!("{} roles and users would be stopped at once", chosen.len()),
            advice: "narrow the budget, or raise enforce.most_principals".to_owned(),
            approvable: true,
        });
    }
    scope.grips.extend(flag.filter(|_| scope.grips.is_empty()).map(|pull| Grip { chain: vec![pull] }));
    scope.obstacle = merge(obstacles);
    scope
}

fn flag_of(target: &str) -> Pull {
    Pull { lever: LeverKind::Flag, subject: Subject::Target { target: target.to_owned() } }
}

/// Cost, or without one, calls.
fn weight(volume: Volume) -> i128 {
    if volume.cost == PicoUsd::ZERO { i128::from(volume.calls) } else { volume.cost.0.max(0) }
}

fn spend_by_principal(target: &str, from: Micros, usage: &Usage) -> BTreeMap<String, Volume> {
    let mut spend: BTreeMap<String, Volume> = BTreeMap::new();
    let mut add = |caller: &Caller, volume: Volume| {
        let sum = spend.entry(caller.principal.to_string()).or_default();
        sum.calls += volume.calls;
        sum.cost += volume.cost;
    };
    if is_of_sessions(target) {
        usage.sessions().filter(|(session, _)| matches(target, &session.caller, Some(session))).for_each(|(session, volume)| {
            add(&session.caller, volume);
        });
    } else {
        usage.callers(from).filter(|(caller, _)| matches(target, caller, None)).for_each(|(caller, volume)| add(caller, volume));
    }
    spend
}

/// Returns the fewest principals that stand for enough of the spend, the largest first.
fn cover(spend: &BTreeMap<String, Volume>, total: i128) -> Vec<(String, Volume)> {
    let mut sorted: Vec<(String, Volume)> = spend.iter().map(|(principal, volume)| (principal.clone(), *volume)).collect();
    sorted.sort_by_key(|(principal, volume)| (std::cmp::Reverse(weight(*volume)), principal.clone()));
    let mut sum = 0;
    let mut chosen = Vec::new();
    for (principal, volume) in sorted {
        if sum * WHOLE >= total * COVERED {
            break;
        }
        sum += weight(volume);
        chosen.push((principal, volume));
    }
    chosen
}

/// Returns how one principal is stopped for this target alone, or what is in the way.
fn grips_of(target: &str, principal: &str, usage: &Usage, policy: &ScopePolicy, of_spend: u32) -> (Vec<Grip>, Share, Option<Obstacle>) {
    let candidates: Vec<Vec<Candidate>> =
        policy.levers.iter().filter_map(|lever| candidates(*lever, target, principal, usage)).filter(|found| !found.is_empty()).collect();
    let worst = |found: &Vec<Candidate>| found.iter().map(|candidate| candidate.innocent).max().unwrap_or(0);
    let share = |found: Option<&Vec<Candidate>>| {
        let first = found.and_then(|found| found.iter().max_by_key(|candidate| candidate.innocent));
        Share {
            principal: principal.to_owned(),
            pull: first.map(|candidate| candidate.pull.clone()),
            of_spend,
            innocent: found.map_or(0, worst),
            others: first.map(|candidate| candidate.others.clone()).unwrap_or_default(),
        }
    };
    let harmless: Vec<&Vec<Candidate>> = candidates.iter().filter(|found| worst(found) <= policy.most_innocent).collect();
    if let Some(first) = harmless.first() {
        return (chained(&harmless), share(Some(first)), None);
    }
    let Some(gentlest) = candidates.iter().min_by_key(|found| worst(found)) else {
        let obstacle = Obstacle {
            reason: format!("none of the configured levers acts on {principal}"),
            advice: "add deny-policy to enforce.levers".to_owned(),
            approvable: false,
        };
        return (Vec::new(), share(None), Some(obstacle));
    };
    let share = share(Some(gentlest));
    let obstacle = Obstacle { reason: shared_reason(principal, &share), advice: advice(target, principal, usage), approvable: true };
    (chained(&[gentlest]), share, Some(obstacle))
}

/// Joins the subjects of several levers to chains: where the first lever has one subject, the others stand in for it.
fn chained(found: &[&Vec<Candidate>]) -> Vec<Grip> {
    let Some((first, rest)) = found.split_first() else { return Vec::new() };
    let mut grips: Vec<Grip> = first.iter().map(|candidate| Grip { chain: vec![candidate.pull.clone()] }).collect();
    for others in rest.iter().filter(|others| others.len() == 1) {
        for grip in &mut grips {
            grip.chain.extend(others.iter().map(|candidate| candidate.pull.clone()));
        }
    }
    grips
}

/// Returns the subjects a lever would act on; `None` for a lever that knows none of such.
fn candidates(lever: LeverKind, target: &str, principal: &str, usage: &Usage) -> Option<Vec<Candidate>> {
    let is_user = principal.contains(":user/");
    let arn = principal.to_owned();
    match lever {
        LeverKind::DenyPolicy | LeverKind::Detach | LeverKind::Boundary => {
            let subject = if is_user { Subject::User { arn } } else { Subject::Role { arn } };
            Some(vec![whole(lever, subject, target, principal, usage)])
        }
        LeverKind::RevokeSessions => (!is_user).then(|| vec![whole(lever, Subject::Role { arn }, target, principal, usage)]),
        LeverKind::Profile => profiles(target, principal, usage),
        LeverKind::DenySession => (!is_user).then(|| sessions(target, principal, usage)).flatten(),
        // These act on things that calls do not name; a budget cannot choose them by itself.
        LeverKind::Scp | LeverKind::StopSession | LeverKind::RejectAlias | LeverKind::ApiKey | LeverKind::Flag => None,
    }
}

fn whole(lever: LeverKind, subject: Subject, target: &str, principal: &str, usage: &Usage) -> Candidate {
    let of_principal = |caller: &Caller| *caller.principal == *principal;
    if !is_of_sessions(target) {
        return candidate(Pull { lever, subject }, tally_callers(target, usage, of_principal));
    }
    // Sessions are known of the last days alone, and not always all of them: every other call of the principal is of others.
    let mut tally = Tally { own: 0, others: BTreeMap::new() };
    for (caller, volume) in usage.callers(Micros(i64::MIN)).filter(|(caller, _)| of_principal(caller)) {
        count(&mut tally, false, &caller.agent, volume);
    }
    let own = usage.sessions().filter(|(session, _)| of_principal(&session.caller) && matches(target, &session.caller, Some(session)));
    for (session, volume) in own {
        tally.own += volume.calls;
        let others = tally.others.entry(session.caller.agent.to_string()).or_default();
        *others = others.saturating_sub(volume.calls).max(0);
    }
    tally.others.retain(|_, calls| *calls > 0);
    candidate(Pull { lever, subject }, tally)
}

/// Inference profiles that the target calls through this principal: all its calls have to go through one.
fn profiles(target: &str, principal: &str, usage: &Usage) -> Option<Vec<Candidate>> {
    if is_of_sessions(target) {
        return None;
    }
    let own = usage.callers(Micros(i64::MIN)).filter(|(caller, _)| *caller.principal == *principal && matches(target, caller, None));
    let names: BTreeSet<String> = own.map(|(caller, _)| caller.profile.to_string()).collect();
    if names.is_empty() || names.contains("") {
        return None;
    }
    let candidate = |arn: String| {
        let cells = tally_callers(target, usage, |caller| *caller.profile == *arn);
        candidate(Pull { lever: LeverKind::Profile, subject: Subject::Profile { arn } }, cells)
    };
    Some(names.into_iter().map(candidate).collect())
}

/// Sessions of a role that the target runs as.
fn sessions(target: &str, principal: &str, usage: &Usage) -> Option<Vec<Candidate>> {
    let own = usage.sessions().filter(|(session, _)| *session.caller.principal == *principal);
    let names: BTreeSet<String> =
        own.filter(|(session, _)| matches(target, &session.caller, Some(session))).map(|(s, _)| s.name.to_string()).collect();
    if names.is_empty() || usage.sessions_are_partial {
        return None;
    }
    let candidate = |name: String| {
        let cells = tally_sessions(target, usage, |session| *session.caller.principal == *principal && *session.name == *name);
        let subject = Subject::RoleSession { role: principal.to_owned(), session: name };
        candidate(Pull { lever: LeverKind::DenySession, subject }, cells)
    };
    Some(names.into_iter().map(candidate).collect())
}

/// Calls of the target, and of others by name.
struct Tally {
    own: i64,
    others: BTreeMap<String, i64>,
}

fn tally_callers(target: &str, usage: &Usage, among: impl Fn(&Caller) -> bool) -> Tally {
    let mut tally = Tally { own: 0, others: BTreeMap::new() };
    for (caller, volume) in usage.callers(Micros(i64::MIN)).filter(|(caller, _)| among(caller)) {
        count(&mut tally, matches(target, caller, None), &caller.agent, volume);
    }
    tally
}

fn tally_sessions(target: &str, usage: &Usage, among: impl Fn(&SessionCaller) -> bool) -> Tally {
    let mut tally = Tally { own: 0, others: BTreeMap::new() };
    for (session, volume) in usage.sessions().filter(|(session, _)| among(session)) {
        let name = if session.session.is_empty() {
            session.caller.agent.to_string()
        } else {
            format!("{} session {}", session.caller.agent, session.session)
        };
        count(&mut tally, matches(target, &session.caller, Some(session)), &name, volume);
    }
    tally
}

fn count(tally: &mut Tally, is_own: bool, name: &str, volume: Volume) {
    if is_own {
        tally.own += volume.calls;
    } else {
        *tally.others.entry(name.to_owned()).or_default() += volume.calls;
    }
}

fn candidate(pull: Pull, tally: Tally) -> Candidate {
    let innocent: i64 = tally.others.values().sum();
    let all = i128::from(innocent) + i128::from(tally.own);
    // Rounded up: one call among a million is not none.
    let share = if all == 0 { 0 } else { (i128::from(innocent) * WHOLE + all - 1) / all };
    let mut others: Vec<(String, i64)> = tally.others.into_iter().collect();
    others.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    others.truncate(MOST_NAMED);
    Candidate { pull, innocent: u32::try_from(share).unwrap_or(u32::MAX), others }
}

fn shared_reason(principal: &str, share: &Share) -> String {
    let named: Vec<String> = share.others.iter().take(3).map(|(agent, calls)| format!("{agent} ({calls} calls)")).collect();
    let more = share.others.len().saturating_sub(3);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let percent = share.innocent / 1_000;
    format!("{percent} % of the calls of {principal} in the last 30 days are of others: {}{more}", named.join(", "))
}

/// The smallest change that would let a lever stop this target alone.
fn advice(target: &str, principal: &str, usage: &Usage) -> String {
    let own_profiles = profiles(target, principal, usage).is_some();
    if own_profiles {
        return "add profile to enforce.levers, or give each agent an application inference profile of its own".to_owned();
    }
    let sessions_differ =
        sessions(target, principal, usage).is_some_and(|found| !found.is_empty() && found.iter().all(|candidate| candidate.innocent == 0));
    if sessions_differ {
        return "its role sessions have names of their own: add deny-session to enforce.levers".to_owned();
    }
    "give it an application inference profile, a role session name or a role of its own".to_owned()
}

fn merge(obstacles: Vec<Obstacle>) -> Option<Obstacle> {
    // One that a person's word takes away is waited for, whatever else remains in the way.
    let approvable = obstacles.iter().any(|obstacle| obstacle.approvable);
    let mut reasons: Vec<String> = obstacles.iter().map(|obstacle| obstacle.reason.clone()).collect();
    let mut advice: Vec<String> = obstacles.into_iter().map(|obstacle| obstacle.advice).filter(|advice| !advice.is_empty()).collect();
    advice.dedup();
    reasons.dedup();
    (!reasons.is_empty()).then(|| Obstacle { reason: reasons.join("; "), advice: advice.join("; "), approvable })
}

#[cfg(test)]
mod tests;
