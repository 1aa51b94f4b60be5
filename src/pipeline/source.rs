//! The thread that polls the source: a piece enters when there is a credit for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use sluice_ingest::source::{Order, Payload, Piece, Poll, Progress, Source, SourceError};
use sluice_schemas::Clock;
use std::sync::{Mutex, PoisonError};

use super::worker::DecodeJob;

/// Bytes of a document, which cannot be cut, that is carried to the end before more is read: several at once would take more memory than
/// everything else.
const LARGE: usize = 16 << 20;

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
    let (mut sequence, mut held, mut wanted) = (0, 0, 1);
    loop {
        while held < wanted {
            if !wait_for_credit(control, credits) {
                return Ok(sequence);
            }
            held += 1;
        }
        let Some(piece) = next_piece(source, clock, control)? else { return Ok(sequence) };
        // With every credit back, nothing is under way.
        let is_large = matches!(&piece.payload, Payload::Document(bytes) if bytes.len() > LARGE);
        wanted = if is_large { credits.capacity().unwrap_or(1) } else { 1 };
        if pieces.send(DecodeJob { sequence, piece }).is_err() {
            return Ok(sequence);
        }
        held -= 1;
        sequence += 1;
        control.given.store(sequence, Ordering::Relaxed);
    }
}

/// Waits for a piece; `None` when the source has ended or is to stop.
fn next_piece(source: &mut dyn Source, clock: &dyn Clock, control: &SourceControl) -> Result<Option<Piece>, SourceError> {
    loop {
        if control.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        carry_out(source, control);
        let poll = source.poll(Duration::from_millis(50), clock.now())?;
        *control.progress.lock().unwrap_or_else(PoisonError::into_inner) = source.progress();
        match poll {
            Poll::Piece(piece) => return Ok(Some(piece)),
            Poll::Idle => {}
            Poll::Ended => return Ok(None),
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

#[cfg(test)]
mod tests {
    use sluice_schemas::position::Sequence;
    use sluice_schemas::{Micros, SystemClock};

    use super::*;

    /// Gives pieces of these sizes, and notes at each how many of those before were under way.
    struct Sized {
        sizes: VecDeque<usize>,
        under_way: Arc<AtomicU64>,
        seen: Vec<u64>,
    }

    impl Source for Sized {
        fn poll(&mut self, _wait: Duration, now: Micros) -> Result<Poll, SourceError> {
            let Some(size) = self.sizes.pop_front() else { return Ok(Poll::Ended) };
            self.seen.push(self.under_way.fetch_add(1, Ordering::SeqCst));
            Ok(Poll::Piece(Piece {
                shard: "s".to_owned(),
                from: None,
                payload: Payload::Document(vec![b' '; size]),
                arrival: now,
                base_offset: 0,
                identity: String::new(),
                to: None,
                sequence: Sequence::default(),
                ended: false,
                source_bytes: size as u64,
                accepts: None,
            }))
        }

        fn progress(&self) -> Progress {
            Progress::default()
        }
    }

    #[test]
    fn a_large_document_is_carried_to_the_end_before_the_next_is_read() {
        let under_way = Arc::new(AtomicU64::new(0));
        let mut source = Sized { sizes: [1, LARGE + 1, LARGE + 1, 1, 1].into(), under_way: Arc::clone(&under_way), seen: Vec::new() };
        let (credit, credits) = crossbeam_channel::bounded(2);
        let (pieces, given) = crossbeam_channel::bounded(2);
        (0..2).for_each(|_| credit.send(()).unwrap());
        let pipeline = thread::spawn(move || {
            for _ in given {
                // Whoever would read on now does.
                thread::sleep(Duration::from_millis(50));
                under_way.fetch_sub(1, Ordering::SeqCst);
                credit.send(()).unwrap();
            }
        });
        assert_eq!(run(&mut source, &SystemClock, &SourceControl::default(), &credits, &pieces).unwrap(), 5);
        drop(pieces);
        pipeline.join().unwrap();
        assert_eq!(source.seen.get(2..4), Some(&[0, 0][..]), "{:?}", source.seen);
    }
}
