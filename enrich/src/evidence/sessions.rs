//! Role sessions, by the access key of their credentials and by role and session name.

mod passed_over;

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sluice_schemas::Micros;
use sluice_schemas::time::HOUR;
use sluice_schemas::trail::{AssumedSession, TrailEvent};

use super::{SESSION_HOURS, SKEW, Session, Tie, Touched, text_bytes};
pub use passed_over::{Passed, PassedOver};

/// Sessions opened in one hour.
#[derive(Debug, Default)]
struct Hour {
    /// Role session ARN and session.
    opened: Vec<(String, Arc<Session>)>,
    bytes: usize,
    loaded: bool,
    dirty: u64,
    used: u64,
}

/// Sessions of one name that say the same, by when they were opened and by access key.
type Alike = BTreeMap<(Micros, String), Arc<Session>>;

/// What a session says of its owner: source identity and tags.
type Word = (String, Vec<(String, String)>);

/// Every session in memory.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Role session ARN and session by access key: one, as AWS gives a key once, but events may say otherwise.
    by_key: HashMap<String, Vec<(String, Arc<Session>)>, FixedState>,
    /// Whether a key ever had several.
    reused: bool,
    /// By `arn:aws:sts::…:assumed-role/<role>/<session name>`, then by what they say.
    by_name: HashMap<String, BTreeMap<Word, Alike>, FixedState>,
    hours: HashMap<i64, Hour, FixedState>,
}

impl Sessions {
    pub(super) fn add(&mut self, event: &TrailEvent, assumed: &AssumedSession, dirty: u64) -> Option<Touched> {
        if assumed.assumed_role_arn.is_empty() {
            return None;
        }
        let session = session(event, assumed);
        let touched = Touched::Session(assumed.assumed_role_arn.clone(), session.opened.plus(-SKEW), session.expires.plus(SKEW));
        let name = &assumed.assumed_role_arn;
        let hour = self.hours.entry(event.event_time.hour()).or_default();
        hour.dirty = hour.dirty.max(dirty);
        let alike = self.by_name.entry_ref(name).or_default().entry(word(&session)).or_default();
        let place = (session.opened, session.access_key_id.clone());
        if alike.get(&place).is_some_and(|known| **known >= session) {
            return None;
        }
        let session = Arc::new(session);
        hour.bytes += bytes(&session) + text_bytes(name);
        hour.opened.push((name.clone(), Arc::clone(&session)));
        alike.insert(place, Arc::clone(&session));
        if !session.access_key_id.is_empty() {
            let known = self.by_key.entry_ref(&session.access_key_id).or_insert_with(|| Vec::with_capacity(1));
            let same = |other: &Session| other.opened == session.opened && word(other) == word(&session);
            known.retain(|(other, of)| other != name || !same(of));
            known.push((name.clone(), session));
            self.reused |= known.len() > 1;
        }
        Some(touched)
    }

    /// Returns the session of a call, by its access key where that is known.
    pub(super) fn of(&self, principal_arn: &str, access_key: Option<&str>, at: Micros) -> Option<(Arc<Session>, Tie)> {
        let access_key = access_key.filter(|key| !key.is_empty());
        let keyed = access_key.and_then(|key| self.by_key.get(key)).into_iter().flatten();
        let keyed = keyed.filter(|(name, session)| name == principal_arn && lived(session, at)).map(|(_, session)| session);
        // Should several have lived then, the same one wins in whatever order they came.
        if let Some(session) = keyed.max_by_key(|session| (session.opened, *session)) {
            return Some((Arc::clone(session), Tie::AccessKey));
        }
        // With the key known, a session of another key is not the call's.
        let fits = |session: &Session| access_key.is_none() || session.access_key_id.is_empty();
        let mut living = self.by_name.get(principal_arn)?.values().filter_map(|alike| newest_living(alike, at, &fits));
        let found = living.next()?;
        living.next().is_none().then(|| (Arc::clone(found), Tie::SessionName))
    }

    /// Tells whether a session that an access key led to is the one of every call with that key at a time.
    pub(super) fn is_only(&self, session: &Session, at: Micros) -> bool {
        !self.reused && lived(session, at)
    }

    /// Notes that something else of an hour takes bytes and is not stored yet.
    pub(super) fn mark(&mut self, hour: i64, dirty: u64, bytes: usize) {
        let hour = self.hours.entry(hour).or_default();
        hour.dirty = hour.dirty.max(dirty);
        hour.bytes += bytes;
    }

    pub(super) fn touch(&mut self, hour: i64, clock: u64) -> bool {
        self.hours.get_mut(&hour).is_some_and(|hour| {
            hour.used = clock;
            hour.loaded
        })
    }

    pub(super) fn loaded(&mut self, hour: i64, clock: u64) {
        let hour = self.hours.entry(hour).or_default();
        (hour.loaded, hour.used) = (true, clock);
    }

    pub(super) fn committed(&mut self, batches: u64) {
        for hour in self.hours.values_mut().filter(|hour| hour.dirty <= batches) {
            hour.dirty = 0;
        }
    }

    /// Returns the hour farthest from another that may be forgotten, and how far it is; of two the later one.
    pub(super) fn farthest(&self, near: i64, uses: u64) -> Option<(i64, i64)> {
        let idle = self.hours.iter().filter(|(_, hour)| hour.dirty == 0 && hour.used < uses && hour.bytes > 0);
        idle.map(|(at, _)| ((at - near).abs(), *at)).max()
    }

    pub(super) fn forget(&mut self, hour: i64) {
        let Some(forgotten) = self.hours.remove(&hour) else { return };
        for (name, session) in forgotten.opened {
            if let Some(known) = self.by_key.get_mut(&session.access_key_id) {
                known.retain(|(_, other)| !Arc::ptr_eq(other, &session));
                if known.is_empty() {
                    self.by_key.remove(&session.access_key_id);
                }
            }
            let Some(named) = self.by_name.get_mut(&name) else { continue };
            let word = word(&session);
            if let Some(alike) = named.get_mut(&word) {
                alike.remove(&(session.opened, session.access_key_id.clone()));
                if alike.is_empty() {
                    named.remove(&word);
                }
            }
            if named.is_empty() {
                self.by_name.remove(&name);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.hours.values().map(|hour| hour.bytes).sum()
    }
}

/// Tells whether credentials of a session were good at a time, as far as clocks agree.
fn lived(session: &Session, at: Micros) -> bool {
    session.opened.plus(-SKEW) <= at && at < session.expires.plus(SKEW)
}

fn word(session: &Session) -> Word {
    (session.source_identity.clone(), session.tags.clone())
}

/// Returns the session opened last of those that lived at a time.
fn newest_living<'a>(alike: &'a Alike, at: Micros, fits: &impl Fn(&Session) -> bool) -> Option<&'a Arc<Session>> {
    let (from, to) = ((at.plus(-SESSION_HOURS * HOUR), String::new()), (at.plus(SKEW), "\u{10ffff}".to_owned()));
    alike.range(from..=to).rev().map(|(_, session)| session).find(|session| at < session.expires && fits(session))
}

fn session(event: &TrailEvent, assumed: &AssumedSession) -> Session {
    // The first of two values of a key counts: what the request sets comes before what an earlier role of the chain passed on.
    let mut tags: Vec<(String, String)> = Vec::with_capacity(assumed.tags.len());
    for (key, value) in &assumed.tags {
        if !tags.iter().any(|(known, _)| known.eq_ignore_ascii_case(key)) {
            tags.push((key.clone(), value.clone()));
        }
    }
    tags.sort_unstable();
    let latest = event.event_time.plus(SESSION_HOURS * HOUR);
    Session {
        opened_through: event.event_name.clone(),
        opened_by: event.principal_arn.clone(),
        role_arn: assumed.role_arn.clone(),
        access_key_id: assumed.access_key_id.clone(),
        source_identity: assumed.source_identity.clone(),
        tags,
        inherited: assumed.inherited.clone(),
        inherited_identity: !event.source_identity.is_empty(),
        opened: event.event_time,
        expires: assumed.expires.map_or(latest, |expires| expires.min(latest)),
    }
}

/// Bytes of a session on the heap with its entries in the maps.
fn bytes(session: &Session) -> usize {
    let texts = [&session.opened_through, &session.opened_by, &session.role_arn, &session.access_key_id, &session.source_identity];
    let tags = session.tags.iter().flat_map(|(key, value)| [key, value]).chain(&session.inherited);
    let own: usize = texts.into_iter().chain(tags).map(|text| text_bytes(text)).sum();
    own + size_of::<Session>() + 2 * text_bytes(&session.access_key_id) + 96
}
