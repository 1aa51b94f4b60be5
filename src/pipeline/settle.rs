//! Evidence that comes after its calls moves their cost: the files that may hold them are looked through a few at a time, between two
//! steps of the coordinator, and calls that have another owner now are corrected like calls that have another price.
//!
//! Whether a call moves follows from what is stored alone, so a round that was cut off is simply made again.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::Context;
use hashbrown::HashMap;
use sluice_aggregate::correct::{Change, CorrectionReport, NewOwner, StoredCall, Terms, correct_files};
use sluice_aggregate::dedup::stored_key;
use sluice_aggregate::known::KnownError;
use sluice_aggregate::lake::LakeFile;
use sluice_enrich::CallToAttribute;
use sluice_enrich::attribution::Principal;
use sluice_enrich::enricher::Enricher;
use sluice_enrich::evidence::{CallKey, REACH, Touched};
use sluice_schemas::directory::{Entry, EntryKind};
use sluice_schemas::time::HOUR;
use sluice_schemas::{Micros, tables};

use super::coordinate::Flow;
use super::join::Join;
use super::{Mode, Pipeline};
use crate::view::Level;

/// Bytes of files that are looked through between two steps of the coordinator.
const STEP_BYTES: u64 = 16 << 20;
/// A round is followed by a pause of this many times its own length, so that spend never waits for evidence.
const REST: u32 = 9;
/// Entries after which a pass over old records does not wait for its end.
const FULL: usize = 1_000_000;

/// How far back calls follow what AWS says of a thing for the first time.
const LEARNT_REACH: i64 = sluice_schemas::time::DAY;

/// Stretches of time by name.
type Stretches = HashMap<String, (Micros, Micros)>;

/// Evidence of calls of before.
#[derive(Debug, Default)]
pub(super) struct Queue {
    requests: HashMap<u128, Micros>,
    principals: Stretches,
    resources: Stretches,
    /// Inference profiles, by ARN.
    models: Stretches,
    /// Roles and users, by account and name in lower case.
    callers: Stretches,
    /// When the first of it came in.
    since: Option<Micros>,
    /// Time of the earliest call it may speak of.
    from: Option<Micros>,
    /// Batches that passed dedup when the last of it came in.
    turn: u64,
    /// Set aside for the next round, which begins when every batch that came before is applied.
    ripe: Option<Box<Queue>>,
    round: Option<Round>,
    /// When the first evidence came in that a step is at work on: commits on the way must not pass it for settled.
    at_work: Option<Micros>,
    from_at_work: Option<Micros>,
    rested: Option<(Instant, Duration)>,
}

/// A round under way.
#[derive(Debug)]
struct Round {
    queue: Box<Queue>,
    left: VecDeque<LakeFile>,
    report: CorrectionReport,
    took: Duration,
}

impl Queue {
    pub(super) fn add(&mut self, touched: Touched, arrival: Micros, turn: u64) {
        let from = match touched {
            Touched::Request(request, at) => {
                self.requests.insert(request, at);
                at.plus(-REACH)
            }
            Touched::Session(name, from, to) => widen(&mut self.principals, name, from, to),
            Touched::Resource(name, from, to) => widen(&mut self.resources, name, from, to),
        };
        self.from = Some(self.from.map_or(from, |known| known.min(from)));
        self.since = Some(self.since.map_or(arrival, |since| since.min(arrival)));
        self.turn = turn;
    }

    fn len(&self) -> usize {
        self.requests.len() + [&self.principals, &self.resources, &self.models, &self.callers].map(HashMap::len).iter().sum::<usize>()
    }

    /// Returns when the first evidence came in that is not settled.
    pub(super) fn unsettled_since(&self) -> Option<Micros> {
        let of_round = self.round.as_ref().and_then(|round| round.queue.since);
        let parts = [self.since, self.ripe.as_ref().and_then(|ripe| ripe.since), of_round, self.at_work];
        parts.into_iter().flatten().min()
    }

    /// Returns the time of the earliest call that what is not settled may speak of.
    fn from(&self) -> Option<Micros> {
        let of_round = self.round.as_ref().and_then(|round| round.queue.from);
        [self.from, self.ripe.as_ref().and_then(|ripe| ripe.from), of_round, self.from_at_work].into_iter().flatten().min()
    }

    /// Tells whether a round has its files by name: nobody else may replace files then.
    pub(super) const fn is_at_work(&self) -> bool {
        self.round.is_some()
    }

    /// Tells whether a file may hold calls that are spoken of.
    fn may_touch(&self, minutes: &BTreeSet<i64>, file: &LakeFile) -> bool {
        let Some((min, max)) = file.time else { return true };
        // As far as a call looks for its events: whole hours.
        let (from, to) = (minute(min.plus(-REACH).floor(HOUR)), minute(max.plus(REACH).floor(HOUR).plus(HOUR)));
        let meets = |stretches: &Stretches| stretches.values().any(|(from, to)| *from <= max && *to >= min);
        minutes.range(from..=to).next().is_some() || [&self.principals, &self.resources, &self.models, &self.callers].into_iter().any(meets)
    }

    fn minutes(&self) -> BTreeSet<i64> {
        self.requests.values().map(|at| minute(*at)).collect()
    }

    /// Tells whether a stored call is spoken of.
    fn speaks_of(&self, call: &StoredCall<'_>, request: u128, resources: &[String]) -> bool {
        let within =
            |stretch: Option<&(Micros, Micros)>| stretch.is_some_and(|(from, to)| *from <= call.event_time && call.event_time <= *to);
        self.requests.contains_key(&request)
            || within(self.principals.get(call.principal_arn))
            || within(self.models.get(call.model_id))
            || (!self.callers.is_empty() && within(caller(call.principal_arn).and_then(|caller| self.callers.get(&caller))))
            || resources.iter().any(|resource| within(self.resources.get(resource)))
    }
}

/// Account and name of a role or user, whose path a call does not tell.
fn caller(arn: &str) -> Option<String> {
    let principal = Principal::parse(arn)?;
    Some(format!("{}:{}", principal.account, principal.name.to_ascii_lowercase()))
}

fn minute(at: Micros) -> i64 {
    at.0.div_euclid(sluice_schemas::time::MINUTE)
}

fn widen(stretches: &mut Stretches, name: String, from: Micros, to: Micros) -> Micros {
    let stretch = stretches.entry(name).or_insert((from, to));
    *stretch = (stretch.0.min(from), stretch.1.max(to));
    from
}

impl Pipeline {
    /// Tells whether the next step of settling is due.
    fn settling_is_due(&mut self) -> bool {
        if self.rating.is_some() {
            return false;
        }
        let applied = self.applied;
        let queue = &mut self.join.queue;
        if queue.round.is_some() {
            return true;
        }
        if queue.ripe.is_none() && queue.len() > 0 {
            let rested = queue.rested.is_none_or(|(since, pause)| since.elapsed() >= pause);
            if self.settings.mode == Mode::Bulk && queue.len() < FULL || !rested {
                return false;
            }
            queue.ripen();
        }
        queue.ripe.as_ref().is_some_and(|ripe| applied >= ripe.turn)
    }

    /// Has calls of before follow what AWS said of a thing that was not known: one that was known keeps the word it had when they came.
    pub(super) fn settle_thing(&mut self, entry: &Entry) {
        let now = self.settings.clock.now();
        let (from, turn, queue) = (now.plus(-LEARNT_REACH), self.join.turns, &mut self.join.queue);
        let (stretches, name) = match entry.kind {
            EntryKind::InferenceProfile => (&mut queue.models, Some(entry.arn.clone())),
            EntryKind::Role | EntryKind::User => (&mut queue.callers, caller(&entry.arn)),
            EntryKind::Runtime | EntryKind::Agent | EntryKind::RegistryRecord => (&mut queue.callers, caller(&entry.role_arn)),
        };
        let Some(name) = name else { return };
        widen(stretches, name, from, now);
        queue.since = Some(queue.since.map_or(now, |since| since.min(now)));
        queue.turn = turn;
    }

    /// Takes the next step of settling if one is due.
    pub(super) fn settle_if_due(&mut self, flow: &mut Flow) -> anyhow::Result<()> {
        if self.settling_is_due() {
            self.settle_step()?;
            self.send_effects(flow)?;
        }
        Ok(())
    }

    /// Takes a step of settling.
    pub(super) fn settle_step(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let queue = &mut self.join.queue;
        (queue.at_work, queue.from_at_work) = (queue.unsettled_since(), queue.from());
        self.join.evidence.use_more();
        let mut round = match self.join.queue.round.take() {
            Some(round) => round,
            None => match self.join.queue.ripe.take() {
                Some(queue) => self.begin_round(queue)?,
                None => return Ok(()),
            },
        };
        let files = round.next_files();
        if !files.is_empty() {
            // The commit of a correction carries no records: counters and lake must agree before it.
            self.commit_lake()?;
            let now = self.settings.clock.now();
            let mut touched = Vec::new();
            let epoch = self.lake.begin_epoch();
            let enricher = self.enricher();
            let (lake, join, windows, mut failed) = (&self.lake, &mut self.join, &self.windows, None);
            let mut decide = |call: &StoredCall<'_>| match new_owner(&round.queue, join, lake, &enricher, call) {
                Ok(owner) => owner.map(Change::from),
                Err(error) => {
                    failed = failed.take().or(Some(error));
                    None
                }
            };
            let terms = Terms { now, dry_run: false, reason: "" };
            let corrected = correct_files(lake, epoch, &files, terms, &mut decide, &mut |rows| windows.find(rows, &mut touched));
            if let Some(error) = failed {
                return Err(error).context("evidence of stored calls");
            }
            let correction = corrected?;
            round.report.add(&correction.report);
            self.counts.moved += correction.report.moved;
            self.follow(correction, &touched, now)?;
            self.join.evidence.evict();
        }
        round.took += begun.elapsed();
        if round.left.is_empty() {
            self.end_round(&round)?;
        } else {
            self.join.queue.round = Some(round);
        }
        (self.join.queue.at_work, self.join.queue.from_at_work) = (None, None);
        Ok(())
    }

    /// Meters and settles everything there is, unless the process was told to stop: the next one goes on with it then.
    pub(super) fn settle_rest(&mut self, stopped: bool) -> anyhow::Result<()> {
        if stopped {
            return Ok(());
        }
        self.meter_all()?;
        while queue_has_work(&mut self.join.queue) {
            self.settle_step()?;
        }
        Ok(())
    }

    /// Ends the round under way, if there is one: nobody else may replace files before.
    pub(super) fn finish_settling(&mut self) -> anyhow::Result<()> {
        while self.join.queue.is_at_work() {
            self.settle_step()?;
        }
        Ok(())
    }

    fn begin_round(&mut self, queue: Box<Queue>) -> anyhow::Result<Round> {
        // What is not in the lake yet was attributed without this evidence.
        self.commit_lake()?;
        let minutes = queue.minutes();
        let files = self.lake.files(tables::CALLS)?.into_iter().filter(|file| queue.may_touch(&minutes, file));
        Ok(Round { left: files.collect(), queue, report: CorrectionReport::default(), took: Duration::ZERO })
    }

    fn end_round(&mut self, round: &Round) -> anyhow::Result<()> {
        // Each round is a lake commit more, so no more of them follow one another than there are of those.
        self.join.queue.rested = Some((Instant::now(), self.settings.config.commit_interval.max(round.took * REST)));
        let (moved, looked_at) = (round.report.moved, round.report.calls);
        tracing::debug!(
            event = "settled",
            evidence = round.queue.len(),
            looked_at,
            moved,
            took_ms = round.took.as_millis() as u64,
            "late evidence"
        );
        if moved > 0 {
            let now = self.settings.clock.now();
            self.live.event(now, Level::Info, format!("{moved} calls moved to another owner by late evidence"));
            if self.settings.act {
                // A hold may have lost its reason.
                self.reconcile(now)?;
            }
        }
        Ok(())
    }

    /// Earliest time of the calls that evidence which is not settled may speak of.
    pub(super) fn evidence_from(&self) -> Micros {
        let from = [self.join.queue.from(), self.join.meter.waits_from()].into_iter().flatten().min();
        from.unwrap_or_else(|| self.settings.clock.now())
    }

    /// Moment of arrival up to which evidence has moved what it moves.
    pub(super) fn evidence_settled(&self) -> Micros {
        let before = self.lake.state().evidence_settled;
        let since = [self.join.queue.unsettled_since(), self.join.meter.waits_since()].into_iter().flatten().min();
        since.map_or_else(|| self.settings.clock.now(), |since| since.plus(-1)).max(before)
    }
}

/// Sets the next round up if none is; `false` when nothing is left.
fn queue_has_work(queue: &mut Queue) -> bool {
    if queue.round.is_none() && queue.ripe.is_none() && queue.len() > 0 {
        queue.ripen();
    }
    queue.round.is_some() || queue.ripe.is_some()
}

impl Queue {
    /// Sets what there is aside for the next round.
    fn ripen(&mut self) {
        let mut ripe = Box::new(Self { since: self.since.take(), from: self.from.take(), turn: self.turn, ..Self::default() });
        std::mem::swap(&mut ripe.requests, &mut self.requests);
        std::mem::swap(&mut ripe.principals, &mut self.principals);
        std::mem::swap(&mut ripe.resources, &mut self.resources);
        std::mem::swap(&mut ripe.models, &mut self.models);
        std::mem::swap(&mut ripe.callers, &mut self.callers);
        self.ripe = Some(ripe);
    }
}

impl Round {
    fn next_files(&mut self) -> Vec<LakeFile> {
        let (mut files, mut bytes) = (Vec::new(), 0);
        while let Some(file) = self.left.front().filter(|file| files.is_empty() || bytes + file.bytes <= STEP_BYTES) {
            bytes += file.bytes;
            files.push(file.clone());
            self.left.pop_front();
        }
        files
    }
}

/// Returns who a stored call belongs to by everything known now; `None` if nothing of the round speaks of it.
fn new_owner(
    queue: &Queue,
    join: &mut Join,
    lake: &sluice_aggregate::lake::Lake,
    enricher: &Enricher,
    call: &StoredCall<'_>,
) -> Result<Option<NewOwner>, KnownError> {
    let request = stored_key(call.account_id, call.region, call.request_id);
    let resources = enricher.runs_as(call.principal_arn);
    if !queue.speaks_of(call, request, &resources) {
        return Ok(None);
    }
    let key = CallKey { request, principal_arn: call.principal_arn, at: call.event_time, resources: &resources };
    let evidence = join.of_call(lake, &key)?;
    let owner = enricher.attribute(
        &CallToAttribute {
            event_time: None,
            account_id: call.account_id,
            region: call.region,
            model_id: call.model_id,
            principal_arn: call.principal_arn,
            operation: call.operation,
            error_code: call.error_code,
            metadata: call.metadata,
        },
        &evidence,
    );
    Ok(Some(NewOwner {
        agent_id: owner.agent_id,
        agent_evidence: owner.agent_evidence,
        agent_rank: owner.agent_rank,
        agent_status: owner.agent_status,
        session_id: owner.session_id,
        session_evidence: owner.session_evidence,
        session_rank: owner.session_rank,
        team: owner.team,
        tags: owner.tags,
    }))
}

#[cfg(test)]
mod tests;
