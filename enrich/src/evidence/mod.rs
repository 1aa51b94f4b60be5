//! What CloudTrail events and spans say about who makes calls: one answer for a call, whatever order the events came in.
//!
//! Owns: which event speaks of which call. Does not own: what follows from it (`crate::attribution`), and where events are kept for good:
//! hours that are not in memory are loaded when a call of theirs is asked about, and forgotten under a byte budget.

mod by_request;
mod requests;
mod runs;
mod sessions;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use sluice_schemas::Micros;
use sluice_schemas::time::{MINUTE, SECOND};
use sluice_schemas::trail::{Invoked, SPAN_SOURCE, TrailEvent};

pub use by_request::{ByRequest, Gathered};
use requests::Requests;
use runs::Runs;
use sessions::Sessions;
pub use sessions::{Passed, PassedOver};

/// A role session, from the `AssumeRole…` event that opened it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// `AssumeRole`, `AssumeRoleWithSAML` or `AssumeRoleWithWebIdentity`.
    pub opened_through: String,
    /// Who opened it: `userIdentity.arn` of the event.
    pub opened_by: String,
    /// ARN of the role, path included.
    pub role_arn: String,
    /// Access key id of its credentials.
    pub access_key_id: String,
    /// Source identity; empty when none was set.
    pub source_identity: String,
    /// Session tags, those of earlier roles of the chain that were passed on included; sorted by key.
    pub tags: Vec<(String, String)>,
    /// Keys of the tags that an earlier role of the chain passed on: the trust policy of this one is about what its own request sets.
    pub inherited: Vec<String>,
    /// Whether the source identity was that of the session it was opened from.
    pub inherited_identity: bool,
    /// When it was opened.
    pub opened: Micros,
    /// When its credentials expire.
    pub expires: Micros,
}

/// The caller as CloudTrail's own event of a call tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Caller {
    /// `userIdentity.principalId`, for a role session the value of `aws:userid`.
    pub principal_id: String,
    /// `userIdentity.accessKeyId`.
    pub access_key_id: String,
    /// `userIdentity.sessionContext.sourceIdentity`.
    pub source_identity: String,
    /// `userIdentity.inScopeOf.credentialsIssuedTo`: ARN of the resource (function, runtime) that holds the credentials.
    pub credentials_issued_to: String,
    /// `userIdentity.invokedBy`.
    pub invoked_by: String,
    /// `userAgent`.
    pub user_agent: String,
    /// Whether a Bedrock API key was used.
    pub bearer_token: bool,
}

/// How a session or a run was tied to a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tie {
    /// By the request id of the call.
    #[default]
    Request,
    /// By the access key of the call.
    AccessKey,
    /// By role and session name, where all sessions of that name at that time say the same.
    SessionName,
    /// By the role and the time alone, where only one run was under way.
    RoleAndTime,
}

/// What is known about the caller of one call beside the call's own record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallEvidence {
    /// From the call's own CloudTrail event.
    pub caller: Option<Arc<Caller>>,
    /// The role session that made it.
    pub session: Option<(Arc<Session>, Tie)>,
    /// The span or data event of the run that it belongs to.
    pub run: Option<(Arc<Invoked>, Tie)>,
}

impl CallEvidence {
    /// Tells whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.caller.is_none() && self.session.is_none() && self.run.is_none()
    }

    /// Returns where its parts are: while it is held, other evidence is elsewhere.
    #[must_use]
    pub fn addresses(&self) -> [usize; 3] {
        let tie = |tie: &Tie| *tie as usize;
        [
            self.caller.as_ref().map_or(0, |caller| Arc::as_ptr(caller).addr()),
            self.session.as_ref().map_or(0, |(session, by)| Arc::as_ptr(session).addr() | tie(by)),
            self.run.as_ref().map_or(0, |(run, by)| Arc::as_ptr(run).addr() | tie(by)),
        ]
    }
}

/// How far the clocks of two services may be apart.
const SKEW: i64 = 5 * SECOND;
/// How far the time of a call's own event, or of its span, may be from that of its log record: a stream that runs long, a queue.
pub const REACH: i64 = 15 * MINUTE;
/// Hours before a call in which its role session may have been opened: AWS lets none last longer.
const SESSION_HOURS: i64 = 12;

/// A call whose evidence is asked for.
#[derive(Clone, Copy, Debug)]
pub struct CallKey<'a> {
    /// Key of account, region and request id.
    pub request: u128,
    /// `identity.arn`.
    pub principal_arn: &'a str,
    /// `timestamp`.
    pub at: Micros,
    /// ARNs of the runtimes and agents that run as the principal's role.
    pub resources: &'a [String],
}

/// Stored events that are asked for: all of an hour of event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Hours since 1970.
    pub hour: i64,
    /// Only those that open a session or tell of a run.
    pub openings: bool,
}

/// Gives stored events, each with the key of its request.
pub type Load<'a, E> = dyn FnMut(Wanted) -> Result<Vec<(u128, TrailEvent)>, E> + 'a;

/// The calls that an event speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// One call, at about that time.
    Request(u128, Micros),
    /// Those of a role session, between two times.
    Session(String, Micros, Micros),
    /// Those of the role a resource runs as, between two times.
    Resource(String, Micros, Micros),
}

/// Where the caller of events is kept that are alike in all that tells who called; good until anything is forgotten.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alike {
    /// Hour, and place in it.
    caller: Option<(i64, u32)>,
}

/// What is known, bounded in bytes.
#[derive(Debug)]
pub struct Evidence {
    requests: Requests,
    sessions: Sessions,
    runs: Runs,
    bytes_max: usize,
    /// Batches seen.
    clock: u64,
    /// Batches and steps of settling: what was used in an earlier one may be forgotten.
    uses: u64,
    /// Hour of the call that was asked about last.
    near: i64,
    /// Hours that were looked after for the last call.
    ready: Option<(i64, i64)>,
}

impl Evidence {
    /// Returns an empty state that keeps about `bytes_max` bytes of what is stored elsewhere, too.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            requests: Requests::default(),
            sessions: Sessions::default(),
            runs: Runs::default(),
            bytes_max,
            clock: 0,
            uses: 0,
            near: 0,
            ready: None,
        }
    }

    /// Tells whether an event may say something about calls to models.
    #[must_use]
    pub fn is_evidence(event: &TrailEvent) -> bool {
        event.assumed.is_some() || event.event_source == SPAN_SOURCE || event.event_source.starts_with("bedrock")
    }

    /// Tells whether an event says who made one call, and nothing else. Only such an event may be put by: see [`Gathered`].
    #[must_use]
    pub fn is_of_request(event: &TrailEvent) -> bool {
        event.assumed.is_none() && event.invoked.is_none() && !event.request_id.is_empty() && event.event_source != SPAN_SOURCE
    }

    /// Begins a batch of events and calls.
    pub fn turn(&mut self) {
        self.clock += 1;
        self.use_more();
    }

    /// Begins a step that asks for stored evidence.
    pub fn use_more(&mut self) {
        self.uses += 1;
        self.ready = None;
    }

    /// Tells whether an hour of event time is in memory, wholly or in part.
    #[must_use]
    pub fn has_hour(&self, hour: i64) -> bool {
        self.requests.has(hour)
    }

    /// Tells that nothing of an hour is stored: what comes in is all there is.
    pub fn begin_hour(&mut self, hour: i64) {
        self.requests.loaded(hour, self.uses);
        self.sessions.loaded(hour, self.uses);
    }

    /// Takes in an event that is not stored yet; returns the calls it speaks of.
    pub fn add(&mut self, event: &TrailEvent, request: u128) -> Option<Touched> {
        self.add_alike(event, request, &mut Alike::default())
    }

    /// As [`Evidence::add`], where `alike` is that of earlier events with the same caller, if there were any in this batch: who called is
    /// then not read again.
    pub fn add_alike(&mut self, event: &TrailEvent, request: u128, alike: &mut Alike) -> Option<Touched> {
        self.keep(event, request, self.clock.max(1), alike)
    }

    /// Takes in an event that is stored; returns the calls it speaks of.
    pub fn remind(&mut self, event: &TrailEvent, request: u128) -> Option<Touched> {
        self.keep(event, request, 0, &mut Alike::default())
    }

    fn keep(&mut self, event: &TrailEvent, request: u128, dirty: u64, alike: &mut Alike) -> Option<Touched> {
        if let Some(assumed) = &event.assumed {
            return self.sessions.add(event, assumed, dirty);
        }
        let is_span = event.event_source == SPAN_SOURCE;
        if let Some(invoked) = event.invoked.as_ref().filter(|_| !is_span) {
            let (touched, bytes) = self.runs.add(event, invoked)?;
            self.sessions.mark(event.event_time.hour(), dirty, bytes);
            return Some(touched);
        }
        if event.request_id.is_empty() {
            return None;
        }
        self.requests.add(event, request, dirty, alike);
        Some(Touched::Request(request, event.event_time))
    }

    /// Returns what is known of a call.
    ///
    /// # Errors
    /// What `load` says; what was in memory before still is.
    pub fn of_call<E>(&mut self, call: &CallKey<'_>, load: &mut Load<'_, E>) -> Result<CallEvidence, E> {
        let by_request = self.by_requests(&[(call.at, call.request)], load)?;
        Ok(by_request.first().and_then(|by_request| self.of_call_unless(call, by_request, None)).unwrap_or_default())
    }

    /// As [`Evidence::of_call`]; `None` where nothing else is known than `like`, of an earlier call of the same principal: this is found out
    /// in less time than it takes to find it again.
    #[must_use]
    pub fn of_call_unless(&self, call: &CallKey<'_>, by_request: &ByRequest, like: Option<&CallEvidence>) -> Option<CallEvidence> {
        let (mut caller, mut run) = (None, None);
        for (hour, place) in (by_request.from..).zip(by_request.places) {
            let (of_hour, run_of_hour) = place.map_or((None, None), |place| self.requests.get(hour, place));
            caller = caller.max(of_hour);
            run = run.max(run_of_hour);
        }
        let run = match run {
            Some(run) => Some((Arc::clone(run), Tie::Request)),
            None => self.runs.nearby(call.resources, call.principal_arn, call.at).map(|run| (run, Tie::RoleAndTime)),
        };
        if like.is_some_and(|like| run.is_none() && self.is_still(like, caller, call.at)) {
            return None;
        }
        let session = self.sessions.of(call.principal_arn, caller.map(|caller| caller.access_key_id.as_str()), call.at);
        Some(CallEvidence { caller: caller.cloned(), session, run })
    }

    /// Tells whether an earlier finding holds for another call of the same principal and `caller` that belongs to no run.
    fn is_still(&self, like: &CallEvidence, caller: Option<&Arc<Caller>>, at: Micros) -> bool {
        let same_caller = like.caller.as_ref().zip(caller).is_some_and(|(like, caller)| Arc::ptr_eq(like, caller));
        let by_key = like.session.as_ref().filter(|(_, tie)| *tie == Tie::AccessKey);
        same_caller && like.run.is_none() && by_key.is_some_and(|(session, _)| self.sessions.is_only(session, at))
    }

    fn ensure_requests<E>(&mut self, hour: i64, load: &mut Load<'_, E>) -> Result<(), E> {
        if self.requests.touch(hour, self.uses) {
            return Ok(());
        }
        for (request, event) in load(Wanted { hour, openings: false })? {
            self.remind(&event, request);
        }
        self.requests.loaded(hour, self.uses);
        self.sessions.loaded(hour, self.uses);
        Ok(())
    }

    fn ensure_openings<E>(&mut self, hour: i64, load: &mut Load<'_, E>) -> Result<(), E> {
        if self.sessions.touch(hour, self.uses) {
            return Ok(());
        }
        for (request, event) in load(Wanted { hour, openings: true })? {
            if event.assumed.is_some() || event.invoked.is_some() && event.event_source != SPAN_SOURCE {
                self.remind(&event, request);
            }
        }
        self.sessions.loaded(hour, self.uses);
        Ok(())
    }

    /// Tells that the events of the first `batches` batches are stored: they may be forgotten.
    pub fn committed(&mut self, batches: u64) {
        self.requests.committed(batches);
        self.sessions.committed(batches);
        self.evict();
    }

    /// Forgets what is stored, the hours that are farthest from the call that was asked about last first: calls are read on from there.
    pub fn evict(&mut self) {
        if self.bytes() <= self.bytes_max {
            return;
        }
        self.ready = None;
        // To three quarters, or the next event would ask for it again.
        while self.bytes() > self.bytes_max / 4 * 3 {
            let hours = [self.requests.farthest(self.near, self.uses), self.sessions.farthest(self.near, self.uses)];
            match hours {
                // Of requests an hour is asked about once, of sessions the half day before.
                [Some((far, hour)), other] if other.is_none_or(|(farther, _)| far + SESSION_HOURS >= farther) => self.requests.forget(hour),
                [_, Some((_, hour))] => {
                    self.sessions.forget(hour);
                    self.runs.forget(hour);
                }
                _ => return,
            }
        }
    }

    /// Returns about how many bytes are in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.requests.bytes() + self.sessions.bytes()
    }

    /// Tells whether nothing is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }
}

/// Bytes of a text on the heap, its handle included.
fn text_bytes(text: &str) -> usize {
    text.len() + size_of::<String>()
}
