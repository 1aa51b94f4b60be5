//! The thread that looks at what the coordinator should not wait for: the shared store, the process, the receivers of exports.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use sluice_schemas::Micros;

use super::board::{Board, Stage};
use super::config::OperateConfig;
use super::emf::EmfExport;
use super::otlp::OtlpExport;
use super::process::Process;
use super::ready::Reason;

/// Time between two looks at the process.
const EVERY: Duration = Duration::from_secs(1);
/// Time between two looks at the shared store, which may cost a request each.
const STORE_EVERY: Duration = Duration::from_secs(5);

/// Holds of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HoldCount {
    /// `observe` or `enforce`.
    pub(crate) mode: &'static str,
    /// `active` or `pending_approval`.
    pub(crate) state: &'static str,
    /// How many.
    pub(crate) count: u64,
}

/// How levers stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeverCount {
    /// That stand and hold.
    pub(crate) standing: u64,
    /// That could not be pulled or lifted, or do not stop what they should.
    pub(crate) failing: u64,
    /// Whether a person stopped all acting.
    pub(crate) is_stopped: bool,
    /// Whether the breaker has tripped.
    pub(crate) is_broken: bool,
}

/// What the shared store said.
#[derive(Clone, Debug)]
pub(crate) struct Probed {
    /// Levers, where any are configured.
    pub(crate) levers: Option<LeverCount>,
    /// The fence in force.
    pub(crate) fence: u64,
    /// Holds that are not released.
    pub(crate) holds: Vec<HoldCount>,
}

/// Asks the shared store; the error is for people.
pub(crate) type Probe = Box<dyn FnMut() -> Result<Probed, String> + Send>;

/// What is known of the world around the coordinator.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outside {
    /// When it was looked at.
    pub(super) at: Option<Micros>,
    /// The fence in force in the shared store; none before the first look.
    pub(super) fence: Option<u64>,
    /// Why the shared store could not be read.
    pub(super) store_problem: Option<String>,
    /// Holds that are not released.
    pub(super) holds: Vec<HoldCount>,
    /// Levers, where any are configured.
    pub(super) levers: Option<LeverCount>,
    /// The process.
    pub(super) process: Process,
}

/// The thread; ends on drop, after a last export.
pub(crate) struct Watch {
    probe: Arc<Mutex<Option<Probe>>>,
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refused a thread.
    pub(crate) fn start(board: Arc<Board>, config: &OperateConfig) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let probe: Arc<Mutex<Option<Probe>>> = Arc::default();
        let watcher = Watcher {
            board,
            probe: Arc::clone(&probe),
            last_probe: None,
            emf: config.emf.as_ref().map(|target| EmfExport::new(target.clone(), &config.instance)),
            otlp: config.otlp.as_ref().map(|url| OtlpExport::new(url, &config.otlp_headers, &config.instance)),
            reasons: None,
        };
        let every = config.export_interval;
        let thread = thread::Builder::new().name("operate".to_owned()).spawn(move || watcher.run(&stopped, every))?;
        Ok(Self { probe, stop: Some(stop), thread: Some(thread) })
    }

    /// Looks at the shared store from now on.
    pub(crate) fn look_with(&self, probe: Probe) {
        *self.probe.lock().unwrap_or_else(PoisonError::into_inner) = Some(probe);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!(event = "watch_panicked", "the thread of measures and exports panicked");
        }
    }
}

struct Watcher {
    board: Arc<Board>,
    probe: Arc<Mutex<Option<Probe>>>,
    last_probe: Option<Instant>,
    emf: Option<EmfExport>,
    otlp: Option<OtlpExport>,
    /// Why the process was not ready at the last look.
    reasons: Option<Vec<Reason>>,
}

impl Watcher {
    fn run(mut self, stopped: &Receiver<()>, export_every: Duration) {
        let mut outside = Outside::default();
        let mut last_export = Instant::now();
        loop {
            self.look(&mut outside);
            if last_export.elapsed() >= export_every {
                last_export = Instant::now();
                self.export();
            }
            match stopped.recv_timeout(EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                    self.export();
                    return;
                }
            }
        }
    }

    fn look(&mut self, outside: &mut Outside) {
        outside.process = Process::now();
        let due = self.last_probe.is_none_or(|last| last.elapsed() >= STORE_EVERY);
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(probe) = probe.as_mut().filter(|_| due) {
            self.last_probe = Some(Instant::now());
            match probe() {
                Ok(probed) => {
                    outside.fence = Some(probed.fence);
                    outside.holds = probed.holds;
                    outside.levers = probed.levers;
                    outside.store_problem = None;
                }
                Err(problem) => outside.store_problem = Some(problem),
            }
        }
        drop(probe);
        let sight = self.board.sight();
        outside.at = Some(sight.now);
        self.board.observe(outside.clone());
        self.tell_of_change();
    }

    /// Logs when the process becomes ready and when it ceases to be.
    fn tell_of_change(&mut self) {
        let sight = self.board.sight();
        let reasons = sight.reasons();
        let resources = |reasons: &[Reason]| reasons.iter().map(|reason| reason.resource.clone()).collect::<Vec<_>>();
        let changed = self.reasons.as_ref().is_none_or(|before| resources(before) != resources(&reasons));
        if changed && sight.stage == Stage::Running {
            if reasons.is_empty() {
                tracing::info!(event = "ready", "ready");
            }
            for reason in &reasons {
                tracing::warn!(event = "not_ready", resource = reason.resource, problem = reason.problem, fix = reason.fix, "not ready");
            }
        }
        self.reasons = Some(reasons);
    }

    fn export(&mut self) {
        let sight = self.board.sight();
        if let Some(emf) = &mut self.emf {
            emf.export(&sight);
        }
        if let Some(otlp) = &mut self.otlp {
            otlp.export(&sight);
        }
    }
}

/// Tells of the first failure of a row and of its end, not of each.
#[derive(Debug, Default)]
pub(super) struct Told {
    failing: bool,
}

impl Told {
    /// Takes an outcome of the export named `to`.
    pub(super) fn note(&mut self, to: &'static str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!(event = "export_recovered", to, "metrics are exported again");
            }
            Err(problem) if !self.failing => {
                self.failing = true;
                tracing::warn!(event = "export_failed", to, problem, "metrics could not be exported; tried again at each interval");
            }
            Ok(()) | Err(_) => {}
        }
    }
}
