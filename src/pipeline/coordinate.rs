//! The coordinator's loop: puts batches back in order, dedups, applies, commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};
use sluice_ingest::source::Source;
use sluice_schemas::tables;

use super::answer;
use super::counters::Progressed;
use super::effects::{self, Delivered};
use super::measure::Measured;
use super::source::{self, SourceControl};
use super::worker::{self, Channels, Decoded, Done, FoldJob, Folded};
use super::{ALLOWED_LATENESS, BULK_ROWS, LIVE_BYTES, LOCAL_INTERVAL, Mode, Pipeline, ROLLUP_BYTES, ROLLUP_PART_BYTES, RateOrder};
use crate::control::Request;
use crate::enforcement::Actuator;
use crate::operate::Phase;

/// Pieces under way for each worker.
const PIECES_PER_WORKER: usize = 2;
/// Time between two looks whether holds still have their reasons.
const RECONCILE: Duration = Duration::from_secs(1);

/// Something asked of a running pipeline.
pub(crate) enum Command {
    /// A verb of the command line; the answer goes back on the channel.
    Ask(Request, Sender<crate::control::Answer>),
    /// What AWS said about callers.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "a build without the AWS clients asks nobody"))]
    Learn(Vec<sluice_schemas::directory::Entry>),
    /// Put a configuration into force that was read and checked.
    Reload(Box<crate::config::Config>, Sender<crate::control::Answer>),
    /// Stop reading, carry everything read to the end, commit, end.
    Stop,
}

/// The other end of a running pipeline.
#[derive(Clone)]
pub(crate) struct Handle {
    /// Commands to the coordinator.
    pub(crate) commands: Sender<Command>,
    /// How far the source is.
    pub(crate) source: SourceControl,
}

/// How a pipeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The source ended and everything is committed.
    Done,
    /// Stopped on demand; everything read is committed.
    Stopped,
}

/// What is under way.
pub(super) struct Flow {
    decoded: BTreeMap<u64, Box<Decoded>>,
    folded: BTreeMap<u64, Box<Folded>>,
    next_dedup: u64,
    pub(super) next_apply: u64,
    /// Pieces the source gave in all, once it ended.
    total: Option<u64>,
    stopped: bool,
    folds: Sender<Box<FoldJob>>,
    credits: Sender<()>,
    effects: Sender<effects::Job>,
    last_local: Instant,
    last_lake: Instant,
    last_reconcile: Instant,
    pub(super) measured: Measured,
    /// Pulls levers.
    actuator: Option<Actuator>,
}

impl Flow {
    /// Returns the batch that is next to pass dedup, if it is here.
    pub(super) fn next_decoded(&self) -> Option<&Decoded> {
        self.decoded.get(&self.next_dedup).map(Box::as_ref)
    }

    fn drained(&self) -> bool {
        self.total == Some(self.next_apply)
    }
}

impl Pipeline {
    /// Creates a handle and the receiving end of its commands.
    pub(crate) fn handle() -> (Handle, Receiver<Command>) {
        let (commands, received) = bounded(64);
        (Handle { commands, source: SourceControl::default() }, received)
    }

    /// Runs until the source ends or a stop is asked for. `observe` is called after every step that changed something.
    pub(crate) fn run(
        &mut self,
        source: Box<dyn Source>,
        handle: &Handle,
        commands: &Receiver<Command>,
        observe: &mut dyn FnMut(&mut Self, Progressed),
    ) -> anyhow::Result<Exit> {
        let workers = self.settings.config.workers;
        let places = workers * PIECES_PER_WORKER;
        let (credit_sender, credits) = bounded(places);
        for _ in 0..places {
            credit_sender.send(()).context("credits")?;
        }
        let (piece_sender, pieces) = bounded(places);
        let (fold_sender, folds) = bounded(places);
        // Every piece under way has at most one result under way, and errors end the run.
        let (done_sender, done) = bounded(places + workers);
        let (ended_sender, ended) = bounded(1);
        let (effect_sender, effect_jobs) = bounded(1_024);
        let (delivered_sender, delivered) = bounded(1_024);
        let intake = Arc::clone(&self.settings.config.intake);
        let threads = worker::start(
            workers,
            &self.enricher,
            &Channels { pieces, folds, done: done_sender, board: Arc::clone(&self.meter.board), intake, bodies: self.bodies.clone() },
        )?;
        let clock = Arc::clone(&self.settings.clock);
        let reader = source::start(source, clock, handle.source.clone(), credits, piece_sender, ended_sender)?;
        self.desk.source = Some(handle.source.clone());
        let asking = self.start_asking(handle)?;
        let actuator = self.start_actuator()?;
        let ending = Arc::new(AtomicBool::new(false));
        let actor = effects::start(self.outbox()?, Arc::clone(&self.settings.clock), effect_jobs, delivered_sender, Arc::clone(&ending))?;
        let now = Instant::now();
        let mut flow = Flow {
            decoded: BTreeMap::new(),
            folded: BTreeMap::new(),
            next_dedup: 0,
            next_apply: 0,
            total: None,
            stopped: false,
            folds: fold_sender,
            credits: credit_sender,
            effects: effect_sender,
            last_local: now,
            last_lake: now,
            last_reconcile: now,
            measured: Measured::default(),
            actuator,
        };
        // What an earlier process claimed was committed: it may go on at once.
        let first = effects::Job { permit: self.permit(), crossings: Vec::new(), last: false };
        let begun = flow.effects.send(first).context("the effects thread died").and_then(|()| self.send_effects(&mut flow));
        let begun = begun.and_then(|()| self.settle_before_holds());
        let result = begun.and_then(|()| self.turn(&mut flow, handle, commands, &done, &ended, &delivered, observe));
        let result = result.map_err(|error| effects::cause(error, &delivered));
        handle.source.stop.store(true, Ordering::Relaxed);
        ending.store(true, Ordering::Relaxed);
        let stopped = flow.stopped;
        drop((flow, done, delivered, asking));
        self.meter.board.set_phase(Phase::Joining);
        join(threads.into_iter().chain([reader, actor]))?;
        result.map(|()| if stopped { Exit::Stopped } else { Exit::Done })
    }

    #[expect(clippy::too_many_arguments, reason = "the ends of the channels, used here alone")]
    fn turn(
        &mut self,
        flow: &mut Flow,
        handle: &Handle,
        commands: &Receiver<Command>,
        done: &Receiver<Done>,
        ended: &Receiver<source::Ended>,
        delivered: &Receiver<Delivered>,
        observe: &mut dyn FnMut(&mut Self, Progressed),
    ) -> anyhow::Result<()> {
        let ticks = tick(Duration::from_millis(50));
        let mut ended = ended.clone();
        let (at_once, not_now) = (at_once(), never());
        loop {
            let mut progressed = Progressed::Tick;
            select! {
                recv(done) -> message => {
                    self.take(flow, message.context("a worker thread died")?)?;
                    while let Ok(message) = done.try_recv() {
                        self.take(flow, message)?;
                    }
                    progressed = self.advance(flow)?;
                }
                recv(ended) -> message => {
                    flow.total = Some(message.context("the source thread died")??);
                    ended = never();
                }
                recv(delivered) -> message => {
                    self.note_delivered(message.context("the effects thread died")?)?;
                }
                recv(commands) -> command => match command {
                    Ok(Command::Stop) | Err(_) => {
                        flow.stopped = true;
                        handle.source.stop.store(true, Ordering::Relaxed);
                    }
                    Ok(Command::Reload(config, reply)) => self.answer_reload(*config, &reply),
                    Ok(Command::Learn(entries)) => drop(self.learn(entries)?),
                    Ok(Command::Ask(Request::Sources, reply)) => answer::send(&reply, answer::sources(&handle.progress())),
                    Ok(Command::Ask(Request::ResumeShard { shard, actor, reason }, reply)) => {
                        self.resume_shard(handle, shard, &actor, &reason, reply);
                    }
                    Ok(Command::Ask(Request::Rerate { all, dry_run }, reply)) => self.ask_rating(RateOrder { all, dry_run }, reply),
                    Ok(Command::Ask(request, reply)) => self.answer(request, &reply),
                },
                recv(if self.rating.is_some() { &at_once } else { &not_now }) -> _ => {
                    progressed = self.go_on_rating()?;
                    self.send_effects(flow)?;
                }
                recv(ticks) -> _ => {
                    self.on_tick(flow)?;
                    progressed = self.advance(flow)?;
                }
            }
            self.settle_if_due(flow)?;
            self.measure_if_due(flow, handle);
            if flow.drained() {
                self.measure(flow, handle);
                self.finish(flow, delivered)?;
                self.measure(flow, handle);
                observe(self, Progressed::Committed);
                return Ok(());
            }
            if self.commit_if_due(flow)? {
                progressed = Progressed::Committed;
            }
            observe(self, progressed);
        }
    }

    fn take(&mut self, flow: &mut Flow, done: Done) -> anyhow::Result<()> {
        match done {
            Done::Decoded(decoded) => {
                flow.decoded.insert(decoded.sequence, decoded);
            }
            Done::Folded(folded) => {
                flow.folded.insert(folded.sequence, folded);
            }
            Done::Failed(error) => return Err(error).context("encode rows"),
        }
        Ok(())
    }

    /// Carries on with whatever is next in order.
    fn advance(&mut self, flow: &mut Flow) -> anyhow::Result<Progressed> {
        let mut progressed = Progressed::Tick;
        loop {
            while !self.meter_before(flow)?
                && let Some(decoded) = flow.decoded.remove(&flow.next_dedup)
            {
                let job = self.dedup(*decoded)?;
                flow.next_dedup += 1;
                flow.folds.send(Box::new(job)).context("the worker threads died")?;
            }
            let Some(folded) = flow.folded.remove(&flow.next_apply) else { return Ok(progressed) };
            self.apply(*folded)?;
            flow.next_apply += 1;
            progressed = Progressed::Applied;
            if flow.credits.try_send(()).is_err() {
                tracing::trace!("the source has ended");
            }
        }
    }

    fn on_tick(&mut self, flow: &mut Flow) -> anyhow::Result<()> {
        let now = self.settings.clock.now();
        // A pass over history meets days in any order: counters of early ones are needed until its end.
        if self.settings.mode == Mode::Live {
            self.ledger.advance(now);
        }
        self.rate_for_directory()?;
        self.live.arrived(now, 0, 0);
        self.forget_usage(now);
        self.trust_prices(now);
        for acted in flow.actuator.iter().flat_map(Actuator::acted) {
            self.note_acted(acted)?;
        }
        if self.settings.act && flow.last_reconcile.elapsed() >= RECONCILE {
            flow.last_reconcile = Instant::now();
            self.reconcile(now)?;
            self.follow_commands(now)?;
        }
        Ok(())
    }

    fn commit_if_due(&mut self, flow: &mut Flow) -> anyhow::Result<bool> {
        let full = match self.settings.mode {
            Mode::Live => self.waiting_bytes > LIVE_BYTES || self.rollups.memory_bytes() > ROLLUP_BYTES || self.join.is_full(),
            Mode::Bulk => self.join.is_full(),
        };
        let lake_due = full || flow.last_lake.elapsed() >= self.settings.config.commit_interval;
        match self.settings.mode {
            Mode::Live => {
                let local_due = flow.last_local.elapsed() >= LOCAL_INTERVAL && self.has_segment();
                if local_due || (lake_due && self.has_segment()) {
                    flow.last_local = Instant::now();
                    self.commit_local()?;
                    self.send_effects(flow)?;
                }
                if lake_due {
                    flow.last_lake = Instant::now();
                    self.commit_lake()?;
                    self.upkeep()?;
                }
                Ok(local_due || lake_due)
            }
            Mode::Bulk => {
                if self.rollups.memory_bytes() > ROLLUP_PART_BYTES {
                    self.stage_rollups()?;
                }
                let rows = self.epoch.as_ref().map_or(0, |epoch| epoch.rows(tables::CALLS));
                if rows < BULK_ROWS && !lake_due {
                    return Ok(false);
                }
                flow.last_lake = Instant::now();
                self.commit_lake()?;
                self.send_effects(flow)?;
                Ok(true)
            }
        }
    }

    /// Commits what is left, waits for effects, commits what they said.
    fn finish(&mut self, flow: &mut Flow, delivered: &Receiver<Delivered>) -> anyhow::Result<()> {
        if self.settings.mode == Mode::Live {
            self.commit_local()?;
        } else {
            self.commit_lake()?;
        }
        self.settle_rest(flow.stopped)?;
        self.send_effects(flow)?;
        self.meter.board.set_phase(Phase::Effects);
        let last = effects::Job { permit: self.permit(), crossings: Vec::new(), last: true };
        flow.effects.send(last).context("the effects thread died")?;
        let deadline = Instant::now() + effects::DRAIN;
        let mut told = false;
        while !told {
            match delivered.recv_deadline(deadline) {
                Ok(message) => told = self.note_delivered(message)?,
                Err(_) => break,
            }
        }
        if !self.in_hand.is_empty() {
            tracing::warn!(open = self.in_hand.len(), "actions that did not succeed yet go on at the next start");
        }
        if self.settings.mode == Mode::Live {
            self.commit_local()?;
        }
        self.commit_lake()
    }

    pub(super) fn send_effects(&mut self, flow: &mut Flow) -> anyhow::Result<()> {
        match self.due_effects() {
            Some(job) => flow.effects.send(job).context("the effects thread died"),
            None => Ok(()),
        }
    }

    /// Event time up to which everything is expected to have come.
    pub(crate) fn watermark(&self) -> Option<sluice_schemas::Micros> {
        self.newest_event.map(|newest| newest.plus(-ALLOWED_LATENESS))
    }
}

/// A channel that always has something to say.
fn at_once() -> Receiver<()> {
    let (sender, receiver) = bounded(1);
    drop(sender);
    receiver
}

fn join(threads: impl Iterator<Item = JoinHandle<()>>) -> anyhow::Result<()> {
    for thread in threads {
        let name = thread.thread().name().unwrap_or("a thread").to_owned();
        if thread.join().is_err() {
            bail!("{name} panicked; what was committed is safe, start again");
        }
    }
    Ok(())
}
