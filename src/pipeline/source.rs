//! The thread that polls the source: a piece enters when there is a credit for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use sluice_ingest::source::{Order, Poll, Progress, Source, SourceError};
use sluice_schemas::Clock;
use std::sync::{Mutex, PoisonError};

use super::worker::DecodeJob;

/// What the coordinator shares with the source's thread.
#[derive(Clone, Default)]
pub(crate) struct SourceControl {
    /// Set to stop reading; what was read is still carried to the end.
    pub(crate) stop: Arc<AtomicBool>,
    /// How far the source is.
    pub(crate) progress: Arc<Mutex<Progress>>,
    /// Orders of an operator, with what is done with the answer.
    pub(crate) orders: Arc<Mutex<VecDeque<Asked>>>,
    /// Set while the thread runs.
    pub(crate) reading: Arc<AtomicBool>,
    /// Pieces given so far.
    pub(crate) given: Arc<AtomicU64>,
}

/// An order, and what is done once the source has said whether it concerns it.
pub(crate) type Asked = (Order, Box<dyn FnOnce(bool) + Send>);

/// How the source's thread ended.
pub(crate) type Ended = Result<u64, SourceError>;

/// Starts the thread; it ends when the source does or when told to stop, and returns the number of pieces it gave.
///
/// # Errors
/// The system refused a thread.
pub(crate) fn start(
    mut source: Box<dyn Source>,
    clock: Arc<dyn Clock>,
    control: SourceControl,
    credits: Receiver<()>,
    pieces: Sender<DecodeJob>,
    ended: Sender<Ended>,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("source".to_owned()).spawn(move || {
        control.reading.store(true, Ordering::Relaxed);
        let result = run(&mut *source, &*clock, &control, &credits, &pieces);
        control.reading.store(false, Ordering::Relaxed);
        if ended.send(result).is_err() {
            tracing::debug!("the coordinator is gone");
        }
    })
}

fn run(source: &mut dyn Source, clock: &dyn Clock, control: &SourceControl, credits: &Receiver<()>, pieces: &Sender<DecodeJob>) -> Ended {
    let mut sequence = 0;
    loop {
        if !wait_for_credit(control, credits) {
            return Ok(sequence);
        }
        loop {
            if control.stop.load(Ordering::Relaxed) {
                return Ok(sequence);
            }
            carry_out(source, control);
            let poll = source.poll(Duration::from_millis(50), clock.now())?;
            *control.progress.lock().unwrap_or_else(PoisonError::into_inner) = source.progress();
            match poll {
                Poll::Piece(piece) => {
                    if pieces.send(DecodeJob { sequence, piece }).is_err() {
                        return Ok(sequence);
                    }
                    sequence += 1;
                    control.given.store(sequence, Ordering::Relaxed);
                    break;
                }
                Poll::Idle => {}
                Poll::Ended => return Ok(sequence),
            }
        }
    }
}

fn carry_out(source: &mut dyn Source, control: &SourceControl) {
    loop {
        let next = control.orders.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((order, answer)) = next else { return };
        answer(source.order(&order));
    }
}

fn wait_for_credit(control: &SourceControl, credits: &Receiver<()>) -> bool {
    loop {
        match credits.recv_timeout(Duration::from_millis(50)) {
            Ok(()) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) if control.stop.load(Ordering::Relaxed) => return false,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
