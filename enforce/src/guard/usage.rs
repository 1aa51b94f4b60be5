//! Who called through which principal, by day: what tells whether a stop would hit anyone else.
//!
//! One cell for each (account, principal, inference profile, agent, team) that had calls in the last 30 days, and for the last two days
//! one for each role session besides. Cells of roles and agents are few; sessions are many, so there is a most of them: those with the
//! fewest calls go first, and what is not known of sessions is said to be not known.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sluice_schemas::time::DAY;
use sluice_schemas::{Micros, PicoUsd, SpendView};

use crate::target;

/// Days that are kept of principals.
pub const DAYS: i64 = 30;
/// Days that are kept of sessions.
const SESSION_DAYS: i64 = 2;
/// Most session cells.
const MOST_SESSIONS: usize = 50_000;

/// Calls and cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Calls.
    pub calls: i64,
    /// Cost.
    pub cost: PicoUsd,
}

impl Volume {
    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.cost += other.cost;
    }
}

/// What calls were made as.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller {
    /// Account.
    pub account: Arc<str>,
    /// ARN of the role or user: `arn:aws:iam::111122223333:role/Triage` (a role's path is not in the log).
    pub principal: Arc<str>,
    /// ARN of the application inference profile that was called; empty for any other model.
    pub profile: Arc<str>,
    /// The agent.
    pub agent: Arc<str>,
    /// Its team; empty if not known.
    pub team: Arc<str>,
}

/// One session of a caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionCaller {
    /// The caller.
    pub caller: Caller,
    /// Role session name.
    pub name: Arc<str>,
    /// The session the call was booked to; empty if none.
    pub session: Arc<str>,
}

/// Volumes by day.
type Days = Vec<(i32, Volume)>;

/// The index.
#[derive(Debug, Default)]
pub struct Usage {
    callers: HashMap<Caller, Days, FixedState>,
    sessions: HashMap<SessionCaller, Days, FixedState>,
    texts: HashMap<Arc<str>, (), FixedState>,
    /// Sessions were forgotten: what is known of them is not all.
    pub sessions_are_partial: bool,
    /// Newest day when sessions were forgotten.
    forgot_on: i32,
    newest: i32,
}

impl Usage {
    /// Adds spend, or with `sign` -1 takes back what was added.
    pub fn add(&mut self, view: SpendView<'_>, sign: i64) {
        let mut of_profile: HashMap<u32, Option<SessionCaller>, FixedState> = HashMap::default();
        for delta in view.deltas {
            let Some(day) = i32::try_from(delta.minute.0.div_euclid(DAY)).ok() else { continue };
            let known = of_profile.entry(delta.profile).or_insert_with(|| self.caller(view, delta.profile as usize));
            let Some(session) = known else { continue };
            if i64::from(self.newest - day) > DAYS {
                // It is forgotten, or a correction of what is.
                continue;
            }
            let calls = i64::try_from(delta.sums.calls).unwrap_or(i64::MAX).saturating_mul(sign);
            let volume = Volume { calls, cost: PicoUsd(delta.sums.cost.0.saturating_mul(i128::from(sign))) };
            self.newest = self.newest.max(day);
            note(self.callers.entry(session.caller.clone()).or_default(), day, volume);
            if !session.name.is_empty() && i64::from(self.newest - day) < SESSION_DAYS {
                note(self.sessions.entry(session.clone()).or_default(), day, volume);
            }
        }
        if self.sessions.len() > MOST_SESSIONS {
            self.forget_sessions();
        }
    }

    /// Forgets what is older than what is kept.
    pub fn forget(&mut self, now: Micros) {
        let today = i32::try_from(now.0.div_euclid(DAY)).unwrap_or(i32::MAX);
        drop_old(&mut self.callers, today.saturating_sub(DAYS as i32));
        drop_old(&mut self.sessions, today.saturating_sub(SESSION_DAYS as i32));
        // By then every session that is counted began after some were forgotten.
        self.sessions_are_partial &= i64::from(today.saturating_sub(self.forgot_on)) <= SESSION_DAYS;
        let (callers, sessions) = (&self.callers, &self.sessions);
        if self.texts.len() > 4 * (callers.len() + sessions.len()) + 1_024 {
            self.texts.retain(|text, ()| Arc::strong_count(text) > 1);
        }
    }

    /// Iterates over the callers with their volume from `from` on.
    pub fn callers(&self, from: Micros) -> impl Iterator<Item = (&Caller, Volume)> {
        let first = i32::try_from(from.0.div_euclid(DAY)).unwrap_or(i32::MIN);
        self.callers.iter().map(move |(caller, days)| (caller, since(days, first))).filter(|(_, volume)| volume.calls > 0)
    }

    /// Iterates over the sessions with their volume of the last days.
    pub fn sessions(&self) -> impl Iterator<Item = (&SessionCaller, Volume)> {
        self.sessions.iter().map(|(session, days)| (session, since(days, i32::MIN))).filter(|(_, volume)| volume.calls > 0)
    }

    /// Returns how many cells there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.callers.len() + self.sessions.len()
    }

    /// Tells whether nobody called.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }

    fn caller(&mut self, view: SpendView<'_>, profile: usize) -> Option<SessionCaller> {
        let (profile, owner) = (view.batch.batch.profiles.get(profile)?, view.batch.owners.get(profile)?);
        let text = |sym| view.batch.batch.strings.get(sym);
        let account = text(profile.account_id);
        let principal = principal(text(profile.principal_arn))?;
        let model = text(profile.model_id);
        let inference = if model.contains(":application-inference-profile/") { model } else { "" };
        let caller = Caller {
            account: self.shared(account),
            principal: self.shared(&principal),
            profile: self.shared(inference),
            agent: self.shared(text(owner.agent_id)),
            team: self.shared(text(owner.team)),
        };
        Some(SessionCaller { caller, name: self.shared(text(owner.role_session_name)), session: self.shared(text(owner.session_id)) })
    }

    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some((known, ())) = self.texts.get_key_value(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        self.texts.insert(Arc::clone(&new), ());
        new
    }

    /// Forgets the half of the sessions that had the fewest calls.
    fn forget_sessions(&mut self) {
        (self.sessions_are_partial, self.forgot_on) = (true, self.newest);
        let mut calls: Vec<i64> = self.sessions.values().map(|days| since(days, i32::MIN).calls).collect();
        let middle = calls.len() / 2;
        let (_, median, _) = calls.select_nth_unstable(middle);
        let (median, mut kept) = (*median, 0);
        self.sessions.retain(|_, days| {
            let keep = since(days, i32::MIN).calls >= median && kept < MOST_SESSIONS / 2;
            kept += usize::from(keep);
            keep
        });
    }
}

fn note(days: &mut Days, day: i32, volume: Volume) {
    match days.iter_mut().find(|(known, _)| *known == day) {
        Some((_, sum)) => sum.add(volume),
        None => days.push((day, volume)),
    }
}

fn since(days: &Days, first: i32) -> Volume {
    days.iter().filter(|(day, _)| *day >= first).fold(Volume::default(), |mut sum, (_, volume)| {
        sum.add(*volume);
        sum
    })
}

fn drop_old<K: Eq + std::hash::Hash>(cells: &mut HashMap<K, Days, FixedState>, first: i32) {
    cells.retain(|_, days| {
        days.retain(|(day, _)| *day >= first);
        !days.is_empty()
    });
}

/// Returns the ARN that IAM knows of the one in a log record: of a session its role. `None` for what IAM cannot stop, as an account's
/// root or a service. Source: AWS, "IAM identifiers".
#[must_use]
pub fn principal(arn: &str) -> Option<String> {
    let mut parts = arn.splitn(6, ':');
    let (prefix, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (_, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    match (prefix, service, resource.split_once('/')) {
        ("arn", "sts", Some(("assumed-role", rest))) => {
            let (role, _) = rest.split_once('/')?;
            Some(format!("arn:{partition}:iam::{account}:role/{role}"))
        }
        ("arn", "iam", Some(("user" | "role", name))) if !name.is_empty() => Some(arn.to_owned()),
        _ => None,
    }
}

/// Says which part of a target a caller cannot tell, if any.
#[must_use]
pub fn untold(target: &str) -> Option<String> {
    const TOLD: [&str; 7] = ["account_id", "agent_id", "session_id", "team", "principal_arn", "role", "role_session_name"];
    if target == target::ALL {
        return None;
    }
    let names = target.split(',').filter_map(|pair| pair.split_once('=').map(|(name, _)| name));
    names.into_iter().find(|name| !TOLD.contains(name)).map(str::to_owned)
}

/// Tells whether a target is one of sessions.
#[must_use]
pub fn is_of_sessions(target: &str) -> bool {
    let named = ["session_id", "role_session_name"].iter().any(|name| target::value_in(target, name).is_some());
    named || target::value_in(target, "principal_arn").is_some_and(|arn| arn.contains(":assumed-role/"))
}

/// Tells whether calls of a caller count for a target, as far as callers tell.
#[must_use]
pub fn matches(target: &str, caller: &Caller, session: Option<&SessionCaller>) -> bool {
    if target == target::ALL {
        return true;
    }
    let is = |name: &str, value: &str| target::value_in(target, name).is_none_or(|wanted| wanted == value);
    // A user has no role, whatever its name.
    let role = caller.principal.split_once(":role/").and_then(|(_, name)| name.rsplit('/').next()).unwrap_or_default();
    let by_principal = target::value_in(target, "principal_arn").is_none_or(|wanted| match session {
        Some(session) => wanted.ends_with(&format!("/{}", session.name)) && principal(&wanted).as_deref() == Some(&*caller.principal),
        None => wanted == *caller.principal,
    });
    let by_session = match session {
        None => true,
        Some(session) => is("session_id", &session.session) && is("role_session_name", &session.name),
    };
    is("account_id", &caller.account)
        && is("agent_id", &caller.agent)
        && is("team", &caller.team)
        && is("role", role)
        && by_principal
        && by_session
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_of_a_log() {
        assert_eq!(
            principal("arn:aws:sts::111122223333:assumed-role/Triage/i-1").as_deref(),
            Some("arn:aws:iam::111122223333:role/Triage")
        );
        assert_eq!(principal("arn:aws-us-gov:iam::1:user/a/b").as_deref(), Some("arn:aws-us-gov:iam::1:user/a/b"));
        for none in ["", "arn:aws:iam::1:root", "arn:aws:sts::1:federated-user/x", "arn:aws:sts::1:assumed-role/x", "bedrock.amazonaws.com"]
        {
            assert_eq!(principal(none), None, "{none}");
        }
    }

    #[test]
    fn what_callers_cannot_tell() {
        assert_eq!(untold("agent_id=a,region=eu-west-1"), Some("region".to_owned()));
        assert_eq!(untold("agent_id=a,session_id=s"), None);
        assert_eq!(untold("tag:cost=a"), Some("tag:cost".to_owned()));
        assert_eq!(untold("*"), None);
    }
}
