//! New versions of the configuration of a running daemon: looked for on a thread of their own, or asked for by a person.
//!
//! Owns: when a version is read, which one is in force, what is said of one that is refused. Does not own: what can change while a daemon
//! runs; the coordinator decides that, and is handed a configuration that was read and checked.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::Value;
use sluice_schemas::{Clock, Micros, SystemClock};

use super::{Config, ConfigError, Edition, Location, Origin, Reader};
use crate::control::Answer;
use crate::operate::Board;
use crate::pipeline::Command;

/// Between two readings of files that changed: one that is being written is not taken for a version.
const SETTLE: Duration = Duration::from_millis(500);
/// Readings of files that change again and again before the next look is waited for.
const SETTLES: usize = 5;

/// What is known of the configuration of a running daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigMeasure {
    /// What is in force.
    pub(crate) edition: Edition,
    /// Since when.
    pub(crate) since: Micros,
    /// When it was last read and found to be the newest; none where nobody looks.
    pub(crate) confirmed: Option<Micros>,
    /// Versions that were refused since the start.
    pub(crate) refused: u64,
    /// The version that is refused now, and why.
    pub(crate) refusal: Option<(Edition, String)>,
    /// Why it cannot be read now.
    pub(crate) trouble: Option<String>,
}

/// Reads the configuration again and has it put into force.
pub(crate) struct Reloader {
    origin: Origin,
    commands: Sender<Command>,
    board: Arc<Board>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    reader: Reader,
    measure: ConfigMeasure,
    refresh: Duration,
}

impl Reloader {
    /// Takes note of the configuration in force.
    pub(crate) fn new(config: &Config, commands: Sender<Command>, board: Arc<Board>) -> Self {
        let now = SystemClock.now();
        let confirmed = (!config.refresh.is_zero() && config.origin.file.is_some()).then_some(now);
        let measure = ConfigMeasure { edition: config.edition.clone(), since: now, confirmed, ..ConfigMeasure::default() };
        board.note_config(measure.clone());
        let state = State { reader: Reader::default(), measure, refresh: config.refresh };
        Self { origin: config.origin.clone(), commands, board, state: Mutex::new(state) }
    }

    /// Reads it and puts it into force, because a person asks for it.
    ///
    /// # Errors
    /// It cannot be read, has faults, or differs in what cannot change while a daemon runs.
    pub(crate) fn reload(&self) -> anyhow::Result<Value> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = match self.read(&mut state) {
            Ok(config) => self.hand_over(&mut state, config),
            Err(error) => {
                state.failed(&error);
                Err(error.into())
            }
        };
        self.board.note_config(state.measure.clone());
        outcome
    }

    /// Looks for a version other than the one in force, and for one other than that which is refused; returns how long to wait for the
    /// next look.
    fn look(&self) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match self.read_settled(&mut state) {
            Ok(config) if config.edition == state.measure.edition => state.is_newest(),
            Ok(config) if state.measure.is_refused(&config.edition) => {}
            Ok(config) => {
                // What came of it is in the state, and in the log.
                if let Err(error) = self.hand_over(&mut state, config) {
                    tracing::debug!(error = format!("{error:#}"), "a version was not put into force");
                }
            }
            Err(error) => state.failed(&error),
        }
        self.board.note_config(state.measure.clone());
        state.refresh
    }

    fn read(&self, state: &mut State) -> Result<Config, ConfigError> {
        Config::load_with(&self.origin, &mut state.reader)
    }

    /// Reads it; where files changed, until two readings agree.
    fn read_settled(&self, state: &mut State) -> Result<Config, ConfigError> {
        let mut read = self.read(state);
        let is_known = |state: &State, edition: &Edition| *edition == state.measure.edition || state.measure.is_refused(edition);
        for _ in 0..SETTLES {
            let edition = edition(&read).clone();
            if is_known(state, &edition) || !edition.documents.iter().any(|document| !document.is_remote()) {
                break;
            }
            thread::sleep(SETTLE);
            read = self.read(state);
            if *self::edition(&read) == edition {
                break;
            }
        }
        read
    }

    /// Has a configuration put into force by the coordinator.
    fn hand_over(&self, state: &mut State, config: Config) -> anyhow::Result<Value> {
        let (edition, refresh) = (config.edition.clone(), config.refresh);
        let (reply, answer) = bounded(1);
        self.commands.send(Command::Reload(Box::new(config), reply)).context("the daemon is stopping")?;
        match answer.recv().context("the daemon is stopping")? {
            Answer::Refused(reason) => {
                state.refused(&edition, &reason);
                anyhow::bail!("{reason}")
            }
            Answer::Tables(..) => anyhow::bail!("tables without a query"),
            Answer::Json(mut told) => {
                tracing::info!(event = "config_in_force", edition = edition.id(), documents = %edition, "a version of the configuration is in force");
                if let Value::Object(told) = &mut told {
                    told.insert("configuration".to_owned(), serde_json::to_value(&edition)?);
                }
                let refused = state.measure.refused;
                let now = SystemClock.now();
                let confirmed = (!refresh.is_zero()).then_some(now);
                state.measure = ConfigMeasure { edition, since: now, confirmed, refused, refusal: None, trouble: None };
                state.refresh = refresh;
                Ok(told)
            }
        }
    }
}

/// Returns what was read, whatever came of it.
fn edition(read: &Result<Config, ConfigError>) -> &Edition {
    match read {
        Ok(config) => &config.edition,
        Err(error) => &error.edition,
    }
}

impl ConfigMeasure {
    fn is_refused(&self, edition: &Edition) -> bool {
        self.refusal.as_ref().is_some_and(|(refused, _)| refused == edition)
    }
}

impl State {
    fn is_newest(&mut self) {
        self.recovered();
        self.measure.refusal = None;
        self.measure.confirmed = (!self.refresh.is_zero()).then(|| SystemClock.now());
    }

    fn recovered(&mut self) {
        if self.measure.trouble.take().is_some() {
            tracing::info!(event = "config_readable", "the configuration can be read again");
        }
    }

    /// Notes that nothing came of a reading; each trouble is told once, and each refused version.
    fn failed(&mut self, error: &ConfigError) {
        let problem = error.faults.join("; ");
        if !error.is_unread {
            self.recovered();
            if !self.measure.is_refused(&error.edition) {
                self.refused(&error.edition, &problem);
            }
        } else if self.measure.trouble.as_ref() != Some(&problem) {
            tracing::warn!(
                event = "config_unreadable",
                problem,
                edition = self.measure.edition.id(),
                "the configuration cannot be read; what is in force stays, and it is tried again"
            );
            self.measure.trouble = Some(problem);
        }
    }

    fn refused(&mut self, edition: &Edition, reason: &str) {
        if !self.measure.is_refused(edition) {
            self.measure.refused += 1;
            tracing::warn!(
                event = "config_refused",
                refused = %edition,
                reason,
                edition = self.measure.edition.id(),
                "a version of the configuration is refused; what is in force stays"
            );
        }
        self.measure.refusal = Some((edition.clone(), reason.to_owned()));
    }
}

/// The thread that looks; told to end on drop. It is not waited for: it holds nothing that anybody needs.
#[derive(Debug)]
pub(crate) struct ConfigWatch {
    _stop: Option<Sender<()>>,
}

impl ConfigWatch {
    /// Starts the thread, unless looks are switched off or there is nothing to look at.
    ///
    /// # Errors
    /// The system refused a thread.
    pub(crate) fn start(reloader: &Arc<Reloader>, refresh: Duration) -> std::io::Result<Self> {
        let is_there = reloader.origin.file.as_ref().is_some_and(can_be_read_again);
        if refresh.is_zero() || !is_there {
            return Ok(Self { _stop: None });
        }
        let (stop, stopped) = bounded(0);
        let reloader = Arc::clone(reloader);
        thread::Builder::new().name("config".to_owned()).spawn(move || run(&reloader, refresh, &stopped))?;
        Ok(Self { _stop: Some(stop) })
    }
}

fn run(reloader: &Reloader, refresh: Duration, stopped: &Receiver<()>) {
    let mut wait = refresh;
    while !wait.is_zero() {
        match stopped.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => wait = reloader.look(),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
    tracing::info!(event = "config_not_watched", "config_refresh is 0s: new versions are no longer looked for");
}

/// Tells whether a second reading finds what the first one found: a pipe gives its content once.
fn can_be_read_again(location: &Location) -> bool {
    location.file().is_none_or(|file| std::fs::metadata(file).is_ok_and(|found| found.is_file()))
}
