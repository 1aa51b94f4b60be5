//! The reconciler: makes IAM and the other places look as the holds in force say, and puts back what they were.
//!
//! Owns: the order look → intent → pull → look, retries, what is left after a crash. Does not own: who is held ([`crate::hold`]), how a
//! lever works ([`crate::lever`]).
//! Invariants: nothing is changed before its intent is in the shared store, with what stood before; nothing is lifted that was not
//! pulled; an intent goes only when a look says that nothing of it is left. So a crash between any two steps, a lost answer and a second
//! pull leave nothing unknown: the next look decides.
//!
//! There is no thread and no timer in here: whoever runs it calls [`Reconciler::turn`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use sluice_schemas::time::SECOND;
use sluice_schemas::{Clock, ErrorClass, Micros};

use crate::aws::{Aws, Call, CallError, Reply};
use crate::lever::{DryRun, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::store::records::RecordKind;
use crate::store::{AuditEntry, SELF, SharedStore, StoreError};

pub mod breaker;
pub mod intent;
pub mod pace;
pub mod step;
pub mod want;

use breaker::{Breaker, BreakerLimits, Tripped};
use intent::{Intent, Stage};
use pace::Pace;
use step::{Due, OnManualDetach, Pacing, Then, due, is_renewed, look_again, seen};
use want::{Want, wants};

/// Id of the breaker's row.
const BREAKER: &str = "breaker";
const FIRST_WAIT: i64 = SECOND;
const LONGEST_WAIT: i64 = 300 * SECOND;
/// Failed tries after which people are told.
const TOLD_AFTER: u32 = 5;
/// Request ids an intent keeps.
const MOST_REQUESTS: usize = 16;

/// How the reconciler behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is done about a stop that a person took off.
    pub on_manual_detach: OnManualDetach,
    /// Its times.
    pub pacing: Pacing,
    /// Most calls a second that change something.
    pub writes_per_second: u32,
    /// Most calls a second that only read.
    pub reads_per_second: u32,
    /// When the breaker trips.
    pub breaker: BreakerLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            on_manual_detach: OnManualDetach::Respect,
            pacing: Pacing::default(),
            writes_per_second: 10,
            reads_per_second: 20,
            breaker: BreakerLimits::default(),
        }
    }
}

/// What happened to one lever on one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Pulled: the calls that stop the subject were taken.
    Pulled,
    /// Seen to stand.
    Verified,
    /// It stands and something else allows the calls nevertheless.
    Ineffective,
    /// What it would put was there before.
    Foreign,
    /// A person took it off; it stays off.
    TakenOff,
    /// A person took it off; it was put back.
    Repaired,
    /// It cannot act here.
    Refused,
    /// The subject is not there.
    Gone,
    /// Everything is as it was before.
    Lifted,
    /// It fails again and again, and goes on trying.
    Failing,
    /// Nothing is pulled any more.
    Tripped,
}

impl Happened {
    /// Returns the word that people and machines read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pulled => "pulled",
            Self::Verified => "verified",
            Self::Ineffective => "ineffective",
            Self::Foreign => "foreign",
            Self::TakenOff => "taken_off",
            Self::Repaired => "repaired",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::Lifted => "lifted",
            Self::Failing => "failing",
            Self::Tripped => "tripped",
        }
    }
}

/// News of one lever on one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Micros,
    /// What.
    pub what: Happened,
    /// The lever; `None` for the breaker.
    pub lever: Option<LeverKind>,
    /// On whom.
    pub subject: String,
    /// Holds that want it, or wanted it.
    pub holds: Vec<String>,
    /// For people.
    pub detail: String,
    /// Request ids of the calls.
    pub requests: Vec<String>,
}

/// What a turn did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// News, in order.
    pub events: Vec<Event>,
    /// Intents of which something is on its way.
    pub under_way: usize,
    /// Intents that stand as wanted.
    pub standing: usize,
}

/// An intent and the revision it was read with; 0 for one that is not stored.
struct Kept {
    intent: Intent,
    revision: u64,
}

/// Brings what stands to what is wanted.
pub struct Reconciler {
    store: Arc<dyn SharedStore>,
    aws: Arc<dyn Aws>,
    levers: BTreeMap<LeverKind, Box<dyn Lever>>,
    clock: Arc<dyn Clock>,
    fence: u64,
    settings: Settings,
    writes: Pace,
    reads: Pace,
    breaker: Breaker,
    events: Vec<Event>,
    /// When to look again at what is as noted: not worth a write, and a new process looks at once.
    looks: BTreeMap<String, Micros>,
}

/// Lets a call through as long as this process is the one that acts.
struct Guarded<'a> {
    aws: &'a dyn Aws,
    store: &'a dyn SharedStore,
    fence: u64,
}

impl Aws for Guarded<'_> {
    fn call(&self, call: &Call) -> Result<Reply, CallError> {
        if call.writes {
            let withheld = |reason: String| CallError::Withheld { action: call.action, reason };
            let current = self.store.fence().map_err(|error| withheld(error.to_string()))?;
            if current != self.fence {
                return Err(withheld(format!("fence {} is behind {current}", self.fence)));
            }
        }
        self.aws.call(call)
    }
}

/// What became of one step.
enum Went {
    /// Go on with the same intent.
    On,
    /// Nothing more now.
    Enough,
}

impl Reconciler {
    /// Returns a reconciler that acts with `fence`.
    #[must_use]
    pub fn new(
        store: Arc<dyn SharedStore>,
        aws: Arc<dyn Aws>,
        levers: Vec<Box<dyn Lever>>,
        clock: Arc<dyn Clock>,
        fence: u64,
        settings: Settings,
    ) -> Self {
        let levers = levers.into_iter().map(|lever| (lever.kind(), lever)).collect();
        let (writes, reads) = (Pace::new(settings.writes_per_second), Pace::new(settings.reads_per_second));
        Self {
            store,
            aws,
            levers,
            clock,
            fence,
            settings,
            writes,
            reads,
            breaker: Breaker::default(),
            events: Vec::new(),
            looks: BTreeMap::new(),
        }
    }

    /// Does what is due, as far as the pace allows; `goes_on` is asked between two intents.
    ///
    /// # Errors
    /// The store failed: nothing more may be done if it is fenced or corrupt, else the next turn goes on where this one ended.
    pub fn turn(&mut self, goes_on: &dyn Fn() -> bool) -> Result<Turn, StoreError> {
        let mut kept = self.read()?;
        let holds = self.store.holds()?;
        let intents: BTreeMap<String, Intent> = kept.iter().map(|(id, kept)| (id.clone(), kept.intent.clone())).collect();
        let wanted = wants(&holds, &intents);
        let may_pull = !self.store.stopped()? && tripped(&*self.store)?.is_none();
        let mut ids: Vec<&String> = kept.keys().chain(wanted.keys()).collect::<BTreeSet<_>>().into_iter().collect();
        // Whoever burns most is stopped first; what is to be given back follows.
        ids.sort_by_key(|id| std::cmp::Reverse(wanted.get(*id).map(|want| want.burn)));
        let ids: Vec<String> = ids.into_iter().cloned().collect();
        let mut turn = Turn::default();
        for id in &ids {
            if !goes_on() {
                break;
            }
            let mut current = kept.remove(id);
            let result = self.work(wanted.get(id), &mut current, may_pull);
            match current.map(|kept| kept.intent.stage) {
                Some(Stage::Planned | Stage::Pulled | Stage::Lifting) => turn.under_way += 1,
                Some(Stage::Stands) => turn.standing += 1,
                _ => {}
            }
            match result {
                Ok(()) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        turn.events = std::mem::take(&mut self.events);
        Ok(turn)
    }

    /// Returns the calls that would be made for a hold's levers now, without making those that change something.
    ///
    /// # Errors
    /// A lever failed to look, or cannot act.
    pub fn rehearse(&self, want: &Want) -> Result<Vec<Call>, LeverError> {
        let dry = DryRun::new(&*self.aws);
        if let Some(lever) = self.levers.get(&want.lever) {
            let order = order(want, &want.subject, &want.holds, self.clock.now());
            if !lever.look(&dry, &order)?.stands {
                lever.pull(&dry, &order)?;
            }
        }
        Ok(dry.listed())
    }

    /// Closes the breaker on a person's word.
    pub fn close_breaker(&mut self) {
        self.breaker.reset();
    }

    fn read(&mut self) -> Result<BTreeMap<String, Kept>, StoreError> {
        let mut kept = BTreeMap::new();
        for record in self.store.records(RecordKind::Intent)? {
            let mut intent: Intent = serde_json::from_value(record.body).map_err(|error| StoreError::Corrupt {
                place: "the shared store".to_owned(),
                detail: format!("intent {}: {error}", record.id),
            })?;
            intent.again_at = intent.again_at.max(self.looks.get(&record.id).copied());
            kept.insert(record.id, Kept { intent, revision: record.revision });
        }
        self.looks.retain(|id, _| kept.contains_key(id));
        Ok(kept)
    }

    /// Takes one intent as far as it goes now.
    fn work(&mut self, want: Option<&Want>, kept: &mut Option<Kept>, may_pull: bool) -> Result<(), StoreError> {
        // Look, plan, pull, look: a few steps, never a loop without end.
        for _ in 0..6 {
            let now = self.clock.now();
            let went = match due(want, kept.as_ref().map(|kept| &kept.intent), now) {
                Due::Nothing => Went::Enough,
                Due::Forget => self.forget(kept, now, None)?,
                Due::Lift => self.lift(kept, now)?,
                Due::Look => match want {
                    Some(want) => self.look(want, kept, may_pull, now)?,
                    None => Went::Enough,
                },
            };
            if matches!(went, Went::Enough) {
                break;
            }
        }
        Ok(())
    }

    fn look(&mut self, want: &Want, kept: &mut Option<Kept>, may_pull: bool, now: Micros) -> Result<Went, StoreError> {
        if kept.is_none() && !may_pull {
            return Ok(Went::Enough);
        }
        let kicked = kept.as_ref().is_some_and(|kept| kept.intent.stage == Stage::Stands) && self.only_interrupts(want.lever);
        if kicked {
            // Nothing of it can be seen: only a hold that came after it is a reason for another.
            let renewed = kept.as_ref().is_some_and(|kept| is_renewed(want, &kept.intent));
            return if renewed && may_pull { self.pull(want, kept, false, now) } else { self.keep(want, kept, now) };
        }
        if self.reads.take(now).is_err() {
            return Ok(Went::Enough);
        }
        let sight = self.see(want, now);
        let sight = match sight {
            Ok(sight) => sight,
            Err(error) => return self.failed(want, kept, error, now),
        };
        let then = seen(want, kept.as_ref().map(|kept| &kept.intent), &sight, now, self.settings.on_manual_detach, &self.settings.pacing);
        match then {
            Then::Plan | Then::Foreign => self.plan(want, kept, sight, then == Then::Foreign, now),
            Then::Pull | Then::Repair if !may_pull => Ok(Went::Enough),
            Then::Pull | Then::Repair => self.pull(want, kept, then == Then::Repair, now),
            Then::Stands => self.stands(want, kept, sight, now),
            Then::Absent => self.note(want, kept, true, now, |intent| intent.absent_since = Some(now)),
            Then::TakenOff => self.taken_off(want, kept, now),
            Then::Keep => {
                let changed = kept.as_ref().is_some_and(|kept| kept.intent.ineffective != sight.ineffective);
                if changed && sight.stands { self.stands(want, kept, sight, now) } else { self.keep(want, kept, now) }
            }
        }
    }

    fn see(&self, want: &Want, now: Micros) -> Result<Sight, LeverError> {
        let lever = self.lever(want.lever, &want.subject)?;
        lever.fits(&want.subject)?;
        lever.look(&self.guarded(), &order(want, &want.subject, &want.holds, now))
    }

    fn lever(&self, kind: LeverKind, subject: &Subject) -> Result<&dyn Lever, LeverError> {
        let missing = || LeverError::Unfit { lever: kind, subject: subject.to_string(), reason: "this lever is not configured".to_owned() };
        self.levers.get(&kind).map(|lever| &**lever).ok_or_else(missing)
    }

    fn only_interrupts(&self, kind: LeverKind) -> bool {
        self.levers.get(&kind).is_some_and(|lever| lever.about().undo == Undo::Nothing)
    }

    fn guarded(&self) -> Guarded<'_> {
        Guarded { aws: &*self.aws, store: &*self.store, fence: self.fence }
    }

    /// Notes the intent with what stands, before anything is changed.
    fn plan(&mut self, want: &Want, kept: &mut Option<Kept>, sight: Sight, foreign: bool, now: Micros) -> Result<Went, StoreError> {
        let stage = if foreign { Stage::Foreign } else { Stage::Planned };
        let intent = Intent {
            lever: want.lever,
            subject: want.subject.clone(),
            holds: want.holds.clone(),
            reason: want.reason.clone(),
            stage,
            touched: false,
            image: sight.image,
            fence: self.fence,
            since: now,
            until: want.until,
            pulled_at: None,
            confirmed_at: None,
            absent_since: None,
            ineffective: None,
            tries: 0,
            trouble: None,
            again_at: foreign.then(|| look_again(stage, false, now, &self.settings.pacing)),
            requests: Vec::new(),
        };
        let revision = kept.as_ref().map_or(0, |kept| kept.revision);
        *kept = Some(Kept { intent, revision });
        self.save(kept, Some(("plan", if foreign { "foreign" } else { "planned" }, "")), now)?;
        if foreign {
            self.tell(kept, Happened::Foreign, "it stood before: it is not ours, and stays when the hold ends", now);
            return Ok(Went::Enough);
        }
        Ok(Went::On)
    }

    fn pull(&mut self, want: &Want, kept: &mut Option<Kept>, repair: bool, now: Micros) -> Result<Went, StoreError> {
        if self.writes.take(now).is_err() {
            return Ok(Went::Enough);
        }
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        adopt(&mut known.intent, want);
        known.intent.stage = Stage::Planned;
        known.intent.touched = true;
        known.intent.fence = self.fence;
        // The word that it was begun has to be durable before it begins.
        self.save(kept, None, now)?;
        let pulled = self
            .lever(want.lever, &want.subject)
            .and_then(|lever| lever.pull(&self.guarded(), &order(want, &want.subject, &want.holds, now)));
        let done = match pulled {
            Ok(done) => done,
            Err(error) => return self.failed(want, kept, error, now),
        };
        self.writes.accepted();
        self.breaker.pulled();
        let at = self.clock.now();
        if let Some(known) = kept.as_mut() {
            let intent = &mut known.intent;
            intent.stage = Stage::Pulled;
            (intent.pulled_at, intent.confirmed_at, intent.absent_since) = (Some(at), None, None);
            (intent.tries, intent.trouble, intent.again_at) = (0, None, None);
            remember(intent, &done.requests);
        }
        self.save(kept, Some((if repair { "repair" } else { "pull" }, "done", &done.detail)), at)?;
        self.tell(kept, if repair { Happened::Repaired } else { Happened::Pulled }, &done.detail, at);
        if self.only_interrupts(want.lever) {
            // It interrupts: there is nothing that could be seen to stand.
            return self.stands(want, kept, Sight { stands: true, ..Sight::default() }, at);
        }
        Ok(Went::On)
    }

    fn stands(&mut self, want: &Want, kept: &mut Option<Kept>, sight: Sight, now: Micros) -> Result<Went, StoreError> {
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        let intent = &mut known.intent;
        let was = (intent.stage, intent.ineffective.clone());
        adopt(intent, want);
        intent.stage = Stage::Stands;
        intent.confirmed_at = intent.confirmed_at.or(Some(now));
        (intent.absent_since, intent.tries, intent.trouble) = (None, 0, None);
        intent.ineffective = sight.ineffective;
        intent.again_at = Some(look_again(Stage::Stands, false, now, &self.settings.pacing));
        let ineffective = intent.ineffective.clone();
        let state = if ineffective.is_some() { "ineffective" } else { "done" };
        self.save(kept, Some(("verify", state, ineffective.as_deref().unwrap_or_default())), now)?;
        match ineffective {
            Some(why) if was.1.as_deref() != Some(&why) => self.tell(kept, Happened::Ineffective, &why, now),
            None if was.0 != Stage::Stands || was.1.is_some() => self.tell(kept, Happened::Verified, "", now),
            _ => {}
        }
        Ok(Went::Enough)
    }

    fn taken_off(&mut self, want: &Want, kept: &mut Option<Kept>, now: Micros) -> Result<Went, StoreError> {
        let detail = "a person took it off; it stays off until the hold ends";
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        adopt(&mut known.intent, want);
        known.intent.stage = Stage::TakenOff;
        known.intent.again_at = Some(look_again(Stage::TakenOff, false, now, &self.settings.pacing));
        self.save(kept, Some(("taken_off", "done", detail)), now)?;
        self.tell(kept, Happened::TakenOff, detail, now);
        if let Some(tripped) = self.breaker.taken_off(now, &self.settings.breaker) {
            self.trip(tripped, now)?;
        }
        Ok(Went::Enough)
    }

    /// Notes nothing new but who wants it and when to look again; the store hears of it only if that matters after a crash.
    fn keep(&mut self, want: &Want, kept: &mut Option<Kept>, now: Micros) -> Result<Went, StoreError> {
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        let unsure = known.intent.absent_since.is_some();
        let stage = known.intent.stage;
        let news = known.intent.holds != want.holds && stage != Stage::TakenOff || known.intent.until != want.until;
        if stage != Stage::TakenOff {
            adopt(&mut known.intent, want);
        }
        let again = look_again(stage, unsure, now, &self.settings.pacing);
        known.intent.again_at = Some(again);
        self.looks.insert(known.intent.id(), again);
        if news {
            self.save(kept, Some(("want", "noted", "")), now)?;
        }
        Ok(Went::Enough)
    }

    fn note(
        &mut self,
        want: &Want,
        kept: &mut Option<Kept>,
        unsure: bool,
        now: Micros,
        change: impl FnOnce(&mut Intent),
    ) -> Result<Went, StoreError> {
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        adopt(&mut known.intent, want);
        change(&mut known.intent);
        known.intent.again_at = Some(look_again(known.intent.stage, unsure, now, &self.settings.pacing));
        self.save(kept, None, now)?;
        Ok(Went::Enough)
    }

    /// Notes why a look or a pull failed, and when to try again.
    fn failed(&mut self, want: &Want, kept: &mut Option<Kept>, error: LeverError, now: Micros) -> Result<Went, StoreError> {
        if let LeverError::Call(CallError::Withheld { reason, .. }) = &error {
            return Err(self.withheld(reason)?);
        }
        let throttled = matches!(&error, LeverError::Call(call) if call.is_throttling());
        if throttled {
            self.writes.refused(now);
        }
        let transient = error.class() == ErrorClass::Transient;
        if transient && kept.is_none() {
            // Nothing was begun: the next turn looks again.
            tracing::warn!(lever = %want.lever, subject = %want.subject, %error, "a lever could not look");
            return Ok(Went::Enough);
        }
        let unplanned = kept.is_none();
        let known = kept.get_or_insert_with(|| Kept { intent: blank(want, self.fence, now), revision: 0 });
        let intent = &mut known.intent;
        adopt(intent, want);
        let before = (intent.stage, intent.trouble.clone());
        intent.tries = intent.tries.saturating_add(1);
        intent.trouble = Some(error.to_string());
        let happened = if transient {
            intent.again_at = Some(now.plus(wait(intent.tries)));
            (intent.tries == TOLD_AFTER).then_some(Happened::Failing)
        } else {
            let gone = matches!(error, LeverError::Gone { .. }) || matches!(&error, LeverError::Call(call) if call.is_gone());
            intent.stage = if gone { Stage::Gone } else { Stage::Refused };
            intent.again_at = Some(look_again(intent.stage, false, now, &self.settings.pacing));
            let new = unplanned || before != (intent.stage, intent.trouble.clone());
            new.then_some(if gone { Happened::Gone } else { Happened::Refused })
        };
        let detail = error.to_string();
        let audit = happened.map(|what| ("pull", what.as_str(), detail.as_str()));
        self.save(kept, audit, now)?;
        if let Some(what) = happened {
            self.tell(kept, what, &detail, now);
        }
        if happened == Some(Happened::Refused)
            && !error.falls_back()
            && let Some(tripped) = self.breaker.failed(now, &self.settings.breaker)
        {
            self.trip(tripped, now)?;
        }
        Ok(Went::Enough)
    }

    /// Puts back what stood before, and looks whether it is away.
    fn lift(&mut self, kept: &mut Option<Kept>, now: Micros) -> Result<Went, StoreError> {
        if self.writes.take(now).is_err() {
            return Ok(Went::Enough);
        }
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        if known.intent.stage != Stage::Lifting {
            known.intent.stage = Stage::Lifting;
            (known.intent.tries, known.intent.again_at) = (0, None);
            known.intent.fence = self.fence;
            self.save(kept, Some(("lift", "begun", "")), now)?;
        }
        let Some(intent) = kept.as_ref().map(|kept| kept.intent.clone()) else { return Ok(Went::Enough) };
        let lifted = self.lift_and_look(&intent, now);
        match lifted {
            Ok((requests, detail, true)) => {
                self.writes.accepted();
                if let Some(known) = kept.as_mut() {
                    remember(&mut known.intent, &requests);
                }
                self.forget(kept, self.clock.now(), Some(&detail))
            }
            Ok((requests, _, false)) => {
                self.writes.accepted();
                let again = look_again(Stage::Lifting, false, now, &self.settings.pacing);
                if let Some(known) = kept.as_mut() {
                    remember(&mut known.intent, &requests);
                    known.intent.tries = known.intent.tries.saturating_add(1);
                    known.intent.again_at = Some(again);
                }
                self.save(kept, None, now)?;
                Ok(Went::Enough)
            }
            Err(LeverError::Gone { .. }) => self.forget(kept, now, Some("the subject is gone")),
            Err(error) => self.lift_failed(kept, &error, now),
        }
    }

    fn lift_and_look(&self, intent: &Intent, now: Micros) -> Result<(Vec<String>, String, bool), LeverError> {
        let lever = self.lever(intent.lever, &intent.subject)?;
        let order =
            Order { subject: &intent.subject, holds: &intent.holds, reason: &intent.reason, since: intent.since, until: intent.until, now };
        let done = lever.lift(&self.guarded(), &order, &intent.image)?;
        let away = lever.about().undo == Undo::Nothing || !lever.look(&self.guarded(), &order)?.stands;
        Ok((done.requests, done.detail, away))
    }

    fn lift_failed(&mut self, kept: &mut Option<Kept>, error: &LeverError, now: Micros) -> Result<Went, StoreError> {
        if let LeverError::Call(CallError::Withheld { reason, .. }) = error {
            return Err(self.withheld(reason)?);
        }
        if matches!(error, LeverError::Call(call) if call.is_throttling()) {
            self.writes.refused(now);
        }
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        let intent = &mut known.intent;
        intent.tries = intent.tries.saturating_add(1);
        intent.trouble = Some(error.to_string());
        intent.again_at = Some(now.plus(wait(intent.tries)));
        // Someone stays locked out who should not be: told at once if no other try will help, and again and again.
        let told = if error.class() == ErrorClass::Transient { intent.tries == TOLD_AFTER } else { intent.tries.is_power_of_two() };
        let detail = format!("cannot be lifted: {error}");
        self.save(kept, told.then_some(("lift", "failing", detail.as_str())), now)?;
        if told {
            self.tell(kept, Happened::Failing, &detail, now);
        }
        Ok(Went::Enough)
    }

    fn forget(&mut self, kept: &mut Option<Kept>, now: Micros, lifted: Option<&str>) -> Result<Went, StoreError> {
        let Some(known) = kept.take() else { return Ok(Went::Enough) };
        let audit = self.line(&known.intent, lifted.map_or(("forget", "done", ""), |detail| ("lift", "done", detail)), now);
        self.store.remove_record(RecordKind::Intent, &known.intent.id(), known.revision, Some(&audit))?;
        if let Some(detail) = lifted {
            let gone = Some(known);
            self.tell(&gone, Happened::Lifted, detail, now);
        }
        Ok(Went::Enough)
    }

    /// Writes the intent as it is now.
    fn save(&self, kept: &mut Option<Kept>, audit: Option<(&str, &str, &str)>, now: Micros) -> Result<(), StoreError> {
        let Some(known) = kept.as_mut() else { return Ok(()) };
        let body = serde_json::to_value(&known.intent).unwrap_or(Value::Null);
        let audit = audit.map(|words| self.line(&known.intent, words, now));
        known.revision = self.store.put_record(RecordKind::Intent, &known.intent.id(), known.revision, &body, audit.as_ref())?;
        Ok(())
    }

    fn line(&self, intent: &Intent, (action, state, detail): (&str, &str, &str), now: Micros) -> AuditEntry {
        AuditEntry {
            at: now,
            fire_id: intent.holds.first().cloned().unwrap_or_default(),
            action: format!("{}:{action}", intent.lever),
            target: intent.subject.to_string(),
            state: state.to_owned(),
            actor: SELF.to_owned(),
            detail: detail.to_owned(),
        }
    }

    fn tell(&mut self, kept: &Option<Kept>, what: Happened, detail: &str, at: Micros) {
        let Some(known) = kept else { return };
        let intent = &known.intent;
        self.events.push(Event {
            at,
            what,
            lever: Some(intent.lever),
            subject: intent.subject.to_string(),
            holds: intent.holds.clone(),
            detail: detail.to_owned(),
            requests: intent.requests.clone(),
        });
    }

    fn trip(&mut self, tripped: Tripped, now: Micros) -> Result<(), StoreError> {
        let before = self.store.record(RecordKind::Guard, BREAKER)?;
        let body = serde_json::to_value(Some(&tripped)).unwrap_or(Value::Null);
        let audit = breaker_line("trip", SELF, &tripped.reason, now);
        self.store.put_record(RecordKind::Guard, BREAKER, before.map_or(0, |record| record.revision), &body, Some(&audit))?;
        self.breaker.reset();
        self.events.push(Event {
            at: now,
            what: Happened::Tripped,
            lever: None,
            subject: String::new(),
            holds: Vec::new(),
            detail: format!("{}: nothing is pulled until a person closes the breaker", tripped.reason),
            requests: Vec::new(),
        });
        Ok(())
    }

    /// A call was not made because this process may not act: tells whether for good.
    fn withheld(&self, reason: &str) -> Result<StoreError, StoreError> {
        let current = self.store.fence()?;
        if current == self.fence {
            return Ok(StoreError::Unavailable { operation: "check the fence", detail: reason.to_owned() });
        }
        Ok(StoreError::Fenced { own: self.fence, current })
    }
}

/// Returns why nothing is pulled, if the breaker has tripped.
///
/// # Errors
/// Fails if the store does.
pub fn tripped(store: &dyn SharedStore) -> Result<Option<Tripped>, StoreError> {
    let Some(record) = store.record(RecordKind::Guard, BREAKER)? else { return Ok(None) };
    serde_json::from_value(record.body)
        .map_err(|error| StoreError::Corrupt { place: "the shared store".to_owned(), detail: format!("guard {BREAKER}: {error}") })
}

/// Closes the breaker on a person's word; `false` if it was closed.
///
/// # Errors
/// Fails if the store does.
pub fn close(store: &dyn SharedStore, actor: &str, reason: &str, now: Micros) -> Result<bool, StoreError> {
    let Some(record) = store.record(RecordKind::Guard, BREAKER)?.filter(|record| !record.body.is_null()) else { return Ok(false) };
    let audit = breaker_line("close", actor, reason, now);
    store.put_record(RecordKind::Guard, BREAKER, record.revision, &Value::Null, Some(&audit))?;
    Ok(true)
}

fn breaker_line(action: &str, actor: &str, detail: &str, now: Micros) -> AuditEntry {
    AuditEntry {
        at: now,
        fire_id: BREAKER.to_owned(),
        action: format!("breaker:{action}"),
        target: "*".to_owned(),
        state: "done".to_owned(),
        actor: actor.to_owned(),
        detail: detail.to_owned(),
    }
}

fn order<'a>(want: &'a Want, subject: &'a Subject, holds: &'a [String], now: Micros) -> Order<'a> {
    Order { subject, holds, reason: &want.reason, since: want.since, until: want.until, now }
}

/// An intent of something that failed before it could be planned.
fn blank(want: &Want, fence: u64, now: Micros) -> Intent {
    Intent {
        lever: want.lever,
        subject: want.subject.clone(),
        holds: want.holds.clone(),
        reason: want.reason.clone(),
        stage: Stage::Refused,
        touched: false,
        image: Value::Null,
        fence,
        since: now,
        until: want.until,
        pulled_at: None,
        confirmed_at: None,
        absent_since: None,
        ineffective: None,
        tries: 0,
        trouble: None,
        again_at: None,
        requests: Vec::new(),
    }
}

/// Notes who wants it now.
fn adopt(intent: &mut Intent, want: &Want) {
    intent.holds.clone_from(&want.holds);
    intent.reason.clone_from(&want.reason);
    intent.until = want.until;
}

fn remember(intent: &mut Intent, requests: &[String]) {
    intent.requests.extend(requests.iter().filter(|id| !id.is_empty()).cloned());
    let surplus = intent.requests.len().saturating_sub(MOST_REQUESTS);
    intent.requests.drain(..surplus);
}

fn wait(tries: u32) -> i64 {
    FIRST_WAIT.saturating_mul(1 << tries.min(20)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests;
