//! The check of the daemon: a thread of its own that only reads, so that nobody ever waits for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use sluice_aggregate::coverage::{Report, Row, Side, Totals, Unasked, Verdict};
use sluice_schemas::{Clock, Micros, SystemClock};

use super::{Outcome, Question, check, render};
use crate::config::Config;
use crate::operate::Board;
use crate::sources::Clients;

/// Time from the start to the first check: a daemon that is restarted often is checked as well, and one that starts is left alone.
const FIRST: Duration = Duration::from_secs(120);

/// What the last check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CoverageMeasure {
    /// When it ended.
    pub(crate) at: Micros,
    /// Models and hours compared, by side in the order of [`SIDES`].
    pub(crate) compared: [u64; 3],
    /// What is missing.
    pub(crate) totals: Totals,
}

/// Sides with their words.
pub(crate) const SIDES: [Side; 3] = [Side::Cloudwatch, Side::Cloudtrail, Side::LogCopy];

/// The thread; told to end on drop. It is not waited for: it holds nothing that anybody needs.
#[derive(Debug)]
pub(crate) struct CoverageWatch {
    _stop: Option<Sender<()>>,
}

impl CoverageWatch {
    /// Starts the thread, unless checks are switched off.
    ///
    /// # Errors
    /// The system refused a thread.
    pub(crate) fn start(config: Config, board: Arc<Board>) -> std::io::Result<Self> {
        if config.coverage.every.is_zero() {
            return Ok(Self { _stop: None });
        }
        let (stop, stopped) = bounded(0);
        let watcher = Watcher { copied: BTreeSet::new(), config, board, told: BTreeSet::new() };
        thread::Builder::new().name("coverage".to_owned()).spawn(move || watcher.run(&stopped))?;
        Ok(Self { _stop: Some(stop) })
    }
}

struct Watcher {
    config: Config,
    board: Arc<Board>,
    /// Hours whose copy was found complete.
    copied: BTreeSet<Micros>,
    /// Why sides were left out at the last check.
    told: BTreeSet<String>,
}

impl Watcher {
    fn run(mut self, stopped: &Receiver<()>) {
        let mut wait = FIRST.min(self.config.coverage.every);
        loop {
            match stopped.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let begun = Instant::now();
            self.check();
            wait = self.config.coverage.every.saturating_sub(begun.elapsed());
        }
    }

    fn check(&mut self) {
        let now = SystemClock.now();
        let window = i64::try_from(self.config.coverage.window.as_micros()).unwrap_or(super::STRETCH);
        let (since, copies) = (now.plus(-window), self.config.coverage.log_copy.clone());
        self.copied.retain(|hour| *hour >= since.plus(-window));
        let question = Question { since, until: now, now, copies, copied: self.copied.clone() };
        // Clients of a check end with it: credentials are fetched anew, and nothing idles for an hour.
        match check(&self.config, &question, &Clients::default()) {
            Ok(outcome) => self.note(&question, &outcome),
            Err(error) => {
                let problem = format!("{error:#}");
                tracing::warn!(event = "coverage_failed", problem, "it could not be checked whether the lake is complete");
            }
        }
    }

    fn note(&mut self, question: &Question, outcome: &Outcome) {
        let totals = &outcome.totals;
        self.board.note_coverage(measure(SystemClock.now(), outcome));
        if !question.copies.is_empty() {
            self.copied.extend(whole_hours(&outcome.report));
        }
        let why = |unasked: &Unasked| match unasked.place.as_str() {
            "" => format!("{}: {}", unasked.side.as_str(), unasked.why),
            place => format!("{} of {place}: {}", unasked.side.as_str(), unasked.why),
        };
        let unasked: BTreeSet<String> = outcome.report.unasked.iter().map(why).collect();
        for why in unasked.difference(&self.told) {
            tracing::info!(event = "coverage_not_asked", why, "a side is not compared");
        }
        self.told = unasked;
        if outcome.lower_bound_calls > 0 {
            let calls = outcome.lower_bound_calls;
            tracing::info!(
                event = "coverage_metered",
                calls,
                "calls that no log brought count as lower bounds: logging is off somewhere, or was"
            );
        }
        let (compared, pending) = (totals.compared, totals.pending);
        let message = render::total(outcome);
        match outcome.verdict {
            "gap" => tracing::warn!(
                event = "coverage",
                verdict = outcome.verdict,
                calls = totals.calls,
                tokens = totals.tokens.total(),
                usd = %totals.usd,
                unpriced_calls = totals.unpriced_calls,
                compared,
                pending,
                "{message}"
            ),
            verdict => tracing::info!(event = "coverage", verdict, compared, pending, "{message}"),
        }
    }
}

/// Hours of which the copy has calls, and the lake has them all. An hour in which the copy shows none may yet be copied.
fn whole_hours(report: &Report) -> BTreeSet<Micros> {
    let (whole, others): (Vec<&Row>, Vec<&Row>) =
        report.rows.iter().filter(|row| row.side == Side::LogCopy).partition(|row| row.verdict == Verdict::Complete);
    let others: BTreeSet<Micros> = others.into_iter().map(|row| row.hour).collect();
    whole.into_iter().map(|row| row.hour).filter(|hour| !others.contains(hour)).collect()
}

fn measure(at: Micros, outcome: &Outcome) -> CoverageMeasure {
    let sides = outcome.report.sides();
    CoverageMeasure { at, compared: SIDES.map(|side| sides.get(&side).map_or(0, |report| report.compared)), totals: outcome.totals }
}
