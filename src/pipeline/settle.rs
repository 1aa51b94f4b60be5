//! Evidence that comes after its calls moves their cost. Counters follow first (`ahead`); then the files that may hold such calls are looked
//! through a few at a time, between two steps of the coordinator, and calls that have another owner now are corrected like calls that have
//! another price.
//!
//! Whether a call moves follows from what is stored alone, so a round that was cut off is simply made again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use sluice_aggregate::correct::{Change, CorrectionReport, NewOwner, StoredCall, Terms, correct_files};
use sluice_aggregate::dedup::stored_key;
use sluice_aggregate::known::KnownError;
use sluice_aggregate::lake::{Lake, LakeFile};
use sluice_enrich::CallToAttribute;
use sluice_enrich::enricher::Enricher;
use sluice_enrich::evidence::{CallKey, Touched};
use sluice_schemas::directory::Entry;
use sluice_schemas::{Micros, tables};

use super::coordinate::Flow;
use super::evidence_queue::Queue;
use super::join::Join;
use super::{Mode, Pipeline};
use crate::view::Level;

/// Bytes of files that are looked through between two steps of the coordinator.
const STEP_BYTES: u64 = 16 << 20;
/// A round is followed by a pause of this many times its own length, so that spend never waits for evidence.
pub(super) const REST: u32 = 9;
/// Entries after which a pass over old records does not wait for its end.
const FULL: usize = 1_000_000;

/// How far back calls follow what AWS says of a thing for the first time.
const LEARNT_REACH: i64 = sluice_schemas::time::DAY;

/// Evidence on its way: it comes in, waits for the batches before it, moves counters, then files.
#[derive(Debug, Default)]
pub(super) struct Settling {
    incoming: Queue,
    /// Set aside: counters follow it when every batch that came before is applied.
    ripe: Option<Box<Queue>>,
    /// What counters followed, and files do not yet.
    owed: Queue,
    round: Option<Round>,
    /// When the first evidence came in that a step is at work on: commits on the way must not pass it for settled.
    at_work: Option<Micros>,
    from_at_work: Option<Micros>,
    /// When the last round ended, and how long files have rest.
    rested: Option<(Instant, Duration)>,
}

/// A round under way.
#[derive(Debug)]
struct Round {
    queue: Queue,
    left: VecDeque<LakeFile>,
    report: CorrectionReport,
    /// Calls whose move counters had followed, and told, already.
    ahead: u64,
    took: Duration,
}

impl Settling {
    /// Takes evidence in that came at `arrival`, when `turn` batches had passed dedup.
    pub(super) fn add(&mut self, touched: Touched, arrival: Micros, turn: u64) {
        self.incoming.add(touched, arrival, turn);
    }

    fn parts(&self) -> impl Iterator<Item = &Queue> {
        let of_round = self.round.as_ref().map(|round| &round.queue);
        [&self.incoming, &self.owed].into_iter().chain(self.ripe.as_deref()).chain(of_round)
    }

    /// Returns when the first evidence came in that is not settled.
    pub(super) fn unsettled_since(&self) -> Option<Micros> {
        self.parts().filter_map(|queue| queue.since).chain(self.at_work).min()
    }

    /// Returns the time of the earliest call that what is not settled may speak of.
    fn from(&self) -> Option<Micros> {
        self.parts().filter_map(|queue| queue.from).chain(self.from_at_work).min()
    }

    /// Tells whether a round has its files by name: nobody else may replace files then.
    pub(super) const fn is_at_work(&self) -> bool {
        self.round.is_some()
    }

    /// Sets what came in aside, unless something is.
    fn ripen(&mut self) {
        if self.ripe.is_none() && !self.incoming.is_empty() {
            self.ripe = Some(Box::new(std::mem::take(&mut self.incoming)));
        }
    }

    /// Returns what was set aside, if everything before it is among the `applied` batches.
    fn take_ripe(&mut self, applied: u64) -> Option<Queue> {
        self.ripe.take_if(|ripe| applied >= ripe.turn).map(|ripe| *ripe)
    }

    /// Tells whether files are to follow now.
    fn round_is_due(&self) -> bool {
        let rested = || self.rested.is_none_or(|(since, pause)| since.elapsed() >= pause);
        self.round.is_some() || (!self.owed.is_empty() && rested())
    }

    /// Tells whether counters are ahead of files, or files of one another.
    fn is_behind(&self) -> bool {
        self.round.is_some() || !self.owed.is_empty()
    }
}

impl Pipeline {
    /// Has calls of before follow what AWS said of a thing that was not known: one that was known keeps the word it had when they came.
    pub(super) fn settle_thing(&mut self, entry: &Entry) {
        let now = self.settings.clock.now();
        self.join.settling.incoming.add_thing(entry, now.plus(-LEARNT_REACH), now, self.join.turns);
    }

    /// Lets counters, and then files, follow the evidence that came in, as far as it is time.
    pub(super) fn settle_if_due(&mut self, flow: &mut Flow) -> anyhow::Result<()> {
        if self.rating.is_some() {
            return Ok(());
        }
        let (settling, bulk) = (&mut self.join.settling, self.settings.mode == Mode::Bulk);
        if (!bulk || settling.incoming.len() >= FULL) && self.ahead.rested() {
            settling.ripen();
        }
        if let Some(ripe) = settling.take_ripe(self.applied) {
            self.follow_evidence(ripe)?;
        }
        if self.join.settling.round_is_due() {
            self.settle_step()?;
            self.send_effects(flow)?;
        }
        Ok(())
    }

    /// Lets counters follow evidence about applied calls; files will.
    fn follow_evidence(&mut self, queue: Queue) -> anyhow::Result<()> {
        // A commit on the way must not pass it for settled.
        let settling = &mut self.join.settling;
        (settling.at_work, settling.from_at_work) = (queue.since, queue.from);
        self.move_ahead(&queue)?;
        let settling = &mut self.join.settling;
        settling.owed.absorb(queue);
        (settling.at_work, settling.from_at_work) = (None, None);
        Ok(())
    }

    /// Takes a step of settling.
    fn settle_step(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let settling = &mut self.join.settling;
        (settling.at_work, settling.from_at_work) = (settling.unsettled_since(), settling.from());
        self.join.evidence.use_more();
        let mut round = match self.join.settling.round.take() {
            Some(round) => round,
            None => self.begin_round()?,
        };
        let files = round.next_files();
        if !files.is_empty() {
            // The commit of a correction carries no records: counters and lake must agree before it.
            self.commit_lake()?;
            let now = self.settings.clock.now();
            let mut touched = Vec::new();
            let epoch = self.lake.begin_epoch();
            let enricher = self.enricher();
            let (lake, join, windows, ahead) = (&self.lake, &mut self.join, &self.windows, &self.ahead);
            let (mut failed, mut caught_up, mut overtaken) = (None, Vec::new(), Vec::new());
            let mut told = 0;
            let mut decide = |call: &StoredCall<'_>| match new_owner(&round.queue, join, lake, &enricher, call) {
                Ok(found) => found.map(|(key, owner)| {
                    let counted = ahead.owner_of(key).cloned();
                    caught_up.extend(counted.is_some().then_some(key));
                    told += u64::from(counted.as_ref().is_some_and(|counted| call.moves_to(counted)));
                    let as_counted = counted.as_ref().map_or_else(|| !call.is_of_another(&owner), |counted| *counted == owner);
                    overtaken.extend((!as_counted).then_some(key));
                    Change { counted, ..Change::from(owner) }
                }),
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
            round.ahead += told;
            self.ahead.caught_up(&caught_up);
            self.recent.forget(&overtaken);
            self.follow(correction, &touched, now)?;
            self.join.evidence.evict();
        }
        round.took += begun.elapsed();
        if round.left.is_empty() {
            self.end_round(&round)?;
        } else {
            self.join.settling.round = Some(round);
        }
        (self.join.settling.at_work, self.join.settling.from_at_work) = (None, None);
        Ok(())
    }

    /// Meters and settles everything there is, unless the process was told to stop: the next one goes on with it then.
    pub(super) fn settle_rest(&mut self, stopped: bool) -> anyhow::Result<()> {
        if stopped {
            return Ok(());
        }
        self.meter_all()?;
        self.settle_all()
    }

    /// Settles everything that came in. What an earlier process was not done with, holds may rest on: it goes before they are looked at.
    pub(super) fn settle_all(&mut self) -> anyhow::Result<()> {
        self.join.settling.ripen();
        while let Some(ripe) = self.join.settling.take_ripe(u64::MAX) {
            self.follow_evidence(ripe)?;
            self.join.settling.ripen();
        }
        self.catch_up()
    }

    /// Lets files follow what counters did: nobody else may replace files, or count from them, before.
    pub(super) fn catch_up(&mut self) -> anyhow::Result<()> {
        while self.join.settling.is_behind() {
            self.settle_step()?;
        }
        Ok(())
    }

    fn begin_round(&mut self) -> anyhow::Result<Round> {
        // What is not in the lake yet was attributed without this evidence.
        self.commit_lake()?;
        let queue = std::mem::take(&mut self.join.settling.owed);
        let minutes = queue.minutes();
        let may_touch = |file: &LakeFile| file.time.is_none_or(|time| queue.may_touch(&minutes, time));
        let left = self.lake.files(tables::CALLS)?.into_iter().filter(may_touch).collect();
        Ok(Round { left, queue, report: CorrectionReport::default(), ahead: 0, took: Duration::ZERO })
    }

    fn end_round(&mut self, round: &Round) -> anyhow::Result<()> {
        // Each round is a lake commit more, so no more of them follow one another than there are of those.
        self.join.settling.rested = Some((Instant::now(), self.settings.config.commit_interval.max(round.took * REST)));
        let (moved, changed, looked_at) = (round.report.moved, round.report.changed, round.report.calls);
        tracing::debug!(
            event = "settled",
            evidence = round.queue.len(),
            looked_at,
            changed,
            moved,
            ahead = round.ahead,
            took_ms = round.took.as_millis() as u64,
            "late evidence"
        );
        self.note_moved(moved.saturating_sub(round.ahead));
        if changed > 0 && self.settings.act {
            // A hold may have lost its reason.
            self.reconcile(self.settings.clock.now())?;
        }
        Ok(())
    }

    /// Tells of calls that counters have under another owner now.
    pub(super) fn note_moved(&mut self, calls: u64) {
        if calls > 0 {
            self.counts.moved += calls;
            let now = self.settings.clock.now();
            self.live.event(now, Level::Info, format!("{calls} calls moved to another owner by late evidence"));
        }
    }

    /// Earliest time of the calls that evidence which is not settled may speak of.
    pub(super) fn evidence_from(&self) -> Micros {
        let from = [self.join.settling.from(), self.join.meter.waits_from()].into_iter().flatten().min();
        from.unwrap_or_else(|| self.settings.clock.now())
    }

    /// Moment of arrival up to which evidence has moved what it moves.
    pub(super) fn evidence_settled(&self) -> Micros {
        let before = self.lake.state().evidence_settled;
        let since = [self.join.settling.unsettled_since(), self.join.meter.waits_since()].into_iter().flatten().min();
        since.map_or_else(|| self.settings.clock.now(), |since| since.plus(-1)).max(before)
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

/// Returns the key of a stored call and whose it is by everything known now; `None` if the queue does not speak of it.
pub(super) fn new_owner(
    queue: &Queue,
    join: &mut Join,
    lake: &Lake,
    enricher: &Enricher,
    call: &StoredCall<'_>,
) -> Result<Option<(u128, NewOwner)>, KnownError> {
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
    let owner = NewOwner {
        agent_id: owner.agent_id,
        agent_evidence: owner.agent_evidence,
        agent_rank: owner.agent_rank,
        agent_status: owner.agent_status,
        session_id: owner.session_id,
        session_evidence: owner.session_evidence,
        session_rank: owner.session_rank,
        team: owner.team,
        tags: owner.tags,
    };
    Ok(Some((request, owner)))
}

#[cfg(test)]
mod tests;
