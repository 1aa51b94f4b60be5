//! The deadline of a stopping process.
//!
//! Drain order is data order: the source stops, pieces under way are counted, the last commits are made, their actions run. A
//! crash at any point is safe, so a drain that takes too long is cut off: whoever is late is named, and the exit code tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::board::{Board, Phase, Stage};

/// Somebody the process waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Late {
    /// Who.
    pub(super) who: String,
    /// With what.
    pub(super) what: String,
}

/// Starts the clock: at `deadline` from now the process ends with `exit_code`, unless everything is committed by then.
///
/// # Errors
/// The system refused a thread.
pub(crate) fn watch_deadline(board: Arc<Board>, reading: Arc<AtomicBool>, deadline: Duration, exit_code: u8) -> std::io::Result<()> {
    tracing::info!(event = "drain_begun", deadline_ms = deadline.as_millis() as u64, "no longer reading; what was read is committed first");
    thread::Builder::new().name("drain".to_owned()).spawn(move || {
        thread::sleep(deadline);
        if board.stage() == Stage::Stopped {
            return;
        }
        for late in late(&board, reading.load(Ordering::Relaxed)) {
            tracing::error!(event = "drain_late", who = late.who, what = late.what, "still under way at the drain's deadline");
        }
        tracing::error!(
            event = "drain_cut_off",
            exit_code,
            deadline_ms = deadline.as_millis() as u64,
            "ended at the drain's deadline; what was committed is safe, the rest is read again at the next start"
        );
        std::process::exit(i32::from(exit_code));
    })?;
    Ok(())
}

/// Returns who is late.
pub(super) fn late(board: &Board, reading: bool) -> Vec<Late> {
    let late = |who: &str, what: String| Late { who: who.to_owned(), what };
    let sight = board.sight();
    let mut all = Vec::new();
    if reading {
        all.push(late("source thread", "has not returned from its last read".to_owned()));
    }
    for (worker, shard) in board.held() {
        all.push(late(&format!("worker {worker}"), format!("decodes a piece of {shard}")));
    }
    let (in_flight, open) = sight.measures.as_ref().map_or((0, 0), |measures| (measures.in_flight, measures.outbox_open));
    if in_flight > 0 {
        all.push(late("pieces", format!("{in_flight} read and not counted")));
    }
    match board.phase() {
        Phase::Turning => {}
        Phase::LocalCommit => all.push(late("local commit", "is being written".to_owned())),
        Phase::LakeCommit => all.push(late("lake commit", "is being written".to_owned())),
        Phase::Effects => all.push(late("effects", format!("{open} crossings whose actions are under way; they go on at the next start"))),
        Phase::Joining => all.push(late("threads", "have not ended, most likely an action that waits for its receiver".to_owned())),
    }
    if all.is_empty() {
        all.push(late("coordinator", "has not turned to its end".to_owned()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::Measures;

    fn who(board: &Board, reading: bool) -> Vec<String> {
        late(board, reading).into_iter().map(|late| late.who).collect()
    }

    #[test]
    fn whoever_is_late_is_named() {
        let board = Board::default();
        assert_eq!(who(&board, false), ["coordinator"]);
        board.hold(0, Some("file:a"));
        board.hold(1, Some("file:b"));
        board.hold(0, None);
        board.publish(Measures { in_flight: 3, ..Measures::default() });
        board.set_phase(Phase::LakeCommit);
        assert_eq!(who(&board, true), ["source thread", "worker 1", "pieces", "lake commit"]);
        assert!(late(&board, true)[1].what.contains("file:b"));
        for (phase, name) in [(Phase::LocalCommit, "local commit"), (Phase::Effects, "effects"), (Phase::Joining, "threads")] {
            board.set_phase(phase);
            assert_eq!(who(&board, false).last().map(String::as_str), Some(name));
        }
    }
}
