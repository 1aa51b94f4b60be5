//! Taking turns as the ledger: a standby waits for the one that runs to end or fall silent, and takes over.
//!
//! Owns: the beat of the one that runs, the watch of the one that waits, and getting at what a silent process still has open. Does not
//! own: what keeps that process from committing and acting once it wakes up, which are the fences of the lake and the shared store.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use sluice_aggregate::lake::Lake;
use sluice_aggregate::store::{LocalStore, StoreError};
use sluice_enforce::{Beat, Lease, Watched, Watcher};
use sluice_schemas::{Clock, Micros};

use crate::config::Config;
use crate::operate::{Board, Stage};

/// Beats in the time a lease lasts: so many may be missed but one.
const BEATS: u32 = 4;
/// Longest pause between two looks at whether to stop.
const TICK: Duration = Duration::from_millis(50);

/// Returns the name of this process among those that may be the ledger.
pub(crate) fn name(clock: &dyn Clock) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}-{}", host.trim(), std::process::id(), clock.now().0)
}

/// Waits until it is this process's turn, and takes it; returns the beat to go on from. A lease that cannot be reached is asked again.
pub(crate) fn wait(lease: &dyn Lease, me: &str, lasts: Duration, board: &Board) -> Beat {
    tracing::info!(event = "standby", lease_ms = lasts.as_millis() as u64, "waiting while another process is the ledger");
    // Silence is measured by a clock that nobody sets.
    let begun = Instant::now();
    let mut watcher = Watcher::new(lasts, Micros(0));
    loop {
        let now = Micros(i64::try_from(begun.elapsed().as_micros()).unwrap_or(i64::MAX));
        match turn(lease, me, &mut watcher, now) {
            Ok(Some(taken)) => {
                board.enter(Stage::Recovering);
                return taken;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the lease cannot be read; it is looked at again"),
        }
        std::thread::sleep(lasts / BEATS);
    }
}

/// Looks once; takes the turn if it is free.
fn turn(lease: &dyn Lease, me: &str, watcher: &mut Watcher, now: Micros) -> Result<Option<Beat>, sluice_enforce::StoreError> {
    if watcher.see(lease.look()?, now) == Watched::Held {
        return Ok(None);
    }
    let next = Beat::after(watcher.seen(), me);
    // Of two standbys, one finds that the beat is another by now.
    let taken = lease.beat(watcher.seen(), &next)?;
    if taken {
        let before = watcher.seen().map_or("nobody", |beat| beat.owner.as_str());
        tracing::warn!(event = "taking_over", from = before, "this process is the ledger now");
    }
    Ok(taken.then_some(next))
}

/// Gets at what a silent process of this machine still has open: the lock of a lake, the shared store, local state.
///
/// # Errors
/// It was stopped in the middle of a write.
pub(crate) fn take_from_other(config: &Config) -> anyhow::Result<()> {
    let lake = Lake::take_lock_from_other(&config.lake).with_context(|| format!("take over lake {}", config.lake.display()))?;
    let shared = config.shared.take_from_other()?;
    let local = set_aside(&config.state)?;
    if lake || shared || local {
        tracing::warn!(event = "taken_from_other", lake, shared, local, "a silent process still has files open; it is fenced");
    }
    Ok(())
}

/// Moves local state away that another process has open: the lake makes it again.
fn set_aside(state: &Path) -> anyhow::Result<bool> {
    if !state.exists() || !matches!(LocalStore::open(state), Err(StoreError::InUse { .. })) {
        return Ok(false);
    }
    let aside = state.with_extension("overtaken");
    std::fs::rename(state, &aside).with_context(|| format!("move {} to {}", state.display(), aside.display()))?;
    Ok(true)
}

/// Renews the beat of the ledger until dropped; then others need not wait.
pub(crate) struct Keeper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts with a turn that was taken.
    ///
    /// # Errors
    /// The system refused a thread.
    pub(crate) fn start(lease: Box<dyn Lease>, beat: Beat, lasts: Duration, board: Arc<Board>) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("lease".to_owned()).spawn(move || keep(&*lease, beat, lasts, &board, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Takes the turn from whoever has it: this process holds the fences by now.
    ///
    /// # Errors
    /// The lease cannot be reached, or the system refused a thread.
    pub(crate) fn seize(lease: Box<dyn Lease>, me: &str, lasts: Duration, board: Arc<Board>) -> anyhow::Result<Self> {
        loop {
            let seen = lease.look()?;
            let next = Beat::after(seen.as_ref(), me);
            if lease.beat(seen.as_ref(), &next)? {
                return Self::start(lease, next, lasts, board);
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!(event = "lease_panicked", "the thread of the lease panicked");
        }
    }
}

fn keep(lease: &dyn Lease, mut beat: Beat, lasts: Duration, board: &Board, stop: &AtomicBool) {
    loop {
        let until = Instant::now() + lasts / BEATS;
        while Instant::now() < until {
            if stop.load(Ordering::Relaxed) {
                return release(lease, &beat);
            }
            std::thread::sleep(TICK);
        }
        if !board.sight().live() {
            tracing::warn!(event = "lease_not_renewed", "the coordinator does not turn: a standby may take over");
            continue;
        }
        let next = Beat::after(Some(&beat), &beat.owner);
        match lease.beat(Some(&beat), &next) {
            Ok(true) => beat = next,
            Ok(false) => {
                tracing::error!(event = "lease_lost", "another process is the ledger now; this one has committed and done its last");
                // Nothing is lost: what is not committed is read again, and the fences refuse what is under way.
                std::process::exit(i32::from(crate::cli::EXIT_FENCED));
            }
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the lease was not renewed; it is tried again"),
        }
    }
}

fn release(lease: &dyn Lease, beat: &Beat) {
    let last = Beat { released: true, ..Beat::after(Some(beat), &beat.owner) };
    match lease.beat(Some(beat), &last) {
        Ok(true) => tracing::debug!("the lease is released"),
        Ok(false) => tracing::warn!("the lease was another's already"),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the lease was not released; it runs out"),
    }
}
