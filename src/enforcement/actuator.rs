//! The thread that acts: brings IAM to what the holds in force say, at once when one was put and from time to time besides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use sluice_enforce::reconcile::Reconciler;
use sluice_schemas::ErrorClass;

use super::Acted;

/// Longest pause between two turns while something is on its way.
const GLANCE: Duration = Duration::from_millis(500);
/// Longest pause while nothing is.
const IDLE: Duration = Duration::from_secs(5);

/// Turns that wait for the coordinator.
const TURNS: usize = 1_024;

/// The thread; it ends when this is dropped.
pub(crate) struct Actuator {
    stop: Arc<AtomicBool>,
    nudge: Sender<()>,
    acted: Receiver<Acted>,
    thread: Option<JoinHandle<()>>,
}

impl Actuator {
    /// Starts the thread.
    pub(crate) fn start(mut reconciler: Reconciler) -> anyhow::Result<Self> {
        let (nudge, nudges) = bounded(1);
        let (tell, acted) = bounded(TURNS);
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let run = move || {
            let mut pause = Duration::ZERO;
            while !ended.load(Ordering::Relaxed) {
                match nudges.recv_timeout(pause) {
                    Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                let turn = reconciler.turn(&|| !ended.load(Ordering::Relaxed));
                pause = if turn.as_ref().is_ok_and(|turn| turn.under_way == 0) { IDLE } else { GLANCE };
                let is_over = turn.as_ref().is_err_and(|error| error.class() != ErrorClass::Transient);
                if let Err(error) = &turn {
                    tracing::warn!(%error, "levers wait for the shared store");
                }
                if tell.send(turn).is_err() || is_over {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("actuator".to_owned()).spawn(run).context("start the thread that acts")?;
        Ok(Self { stop, nudge, acted, thread: Some(thread) })
    }

    /// Returns what makes it look at the holds at once.
    pub(crate) fn nudger(&self) -> Arc<dyn Fn() + Send + Sync> {
        let nudge = self.nudge.clone();
        Arc::new(move || match nudge.try_send(()) {
            // One nudge that waits is enough.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        })
    }

    /// Returns what it did since the last call.
    pub(crate) fn acted(&self) -> impl Iterator<Item = Acted> + '_ {
        self.acted.try_iter()
    }

    /// Waits for what is being done, at most for `patience`.
    pub(crate) fn end(&mut self, patience: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        (self.nudger())();
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + patience;
        while !thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        // A call may hang for as long as its time-out; its intent is in the shared store, and the next process looks.
        if thread.is_finished() && thread.join().is_err() {
            tracing::error!("the thread that acts panicked");
        }
    }
}

impl Drop for Actuator {
    fn drop(&mut self) {
        self.end(Duration::from_secs(1));
    }
}
