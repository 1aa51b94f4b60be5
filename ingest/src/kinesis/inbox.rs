//! Brings the outcomes of calls from the tasks that made them to the thread that polls.
//!
//! It holds at most one outcome for each shard and list: no call is made while another of the same is under way.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_schemas::Micros;

use super::call::{Done, Failure, Reply};

/// Outcomes that wait, each with the number of its stream.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: Mutex<VecDeque<(usize, Done)>>,
    arrived: Condvar,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(usize, Done)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next outcome, waiting for at most `wait`.
    pub(crate) fn take(&self, wait: Duration) -> Option<(usize, Done)> {
        let mut waiting = self.lock();
        if waiting.is_empty() && !wait.is_zero() {
            waiting = self.arrived.wait_timeout(waiting, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.pop_front()
    }

    fn put(&self, stream: usize, done: Done) {
        self.lock().push_back((stream, done));
        self.arrived.notify_one();
    }
}

/// An outcome that is owed: a task that dies without one leaves a failure, so that no shard waits for ever.
#[derive(Debug)]
pub(crate) struct Owed {
    inbox: Arc<Inbox>,
    stream: usize,
    done: Option<Done>,
}

impl Owed {
    /// Owes the outcome of a call.
    pub(crate) fn new(inbox: Arc<Inbox>, stream: usize, shard: Option<String>, number: u64, called: Micros) -> Self {
        let outcome = Err(Failure::Trouble("the call was given up".to_owned()));
        Self { inbox, stream, done: Some(Done { shard, number, called, outcome }) }
    }

    /// Delivers it.
    pub(crate) fn deliver(mut self, outcome: Result<Reply, Failure>) {
        if let Some(done) = &mut self.done {
            done.outcome = outcome;
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            self.inbox.put(self.stream, done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_dies_leaves_a_failure() {
        let inbox = Arc::new(Inbox::default());
        drop(Owed::new(Arc::clone(&inbox), 3, Some("a".to_owned()), 1, Micros(0)));
        let (stream, done) = inbox.take(Duration::ZERO).expect("an outcome");
        assert_eq!((stream, done.shard.as_deref()), (3, Some("a")));
        assert!(matches!(done.outcome, Err(Failure::Trouble(_))));
        Owed::new(Arc::clone(&inbox), 0, None, 1, Micros(0)).deliver(Err(Failure::Expired));
        assert!(matches!(inbox.take(Duration::ZERO).expect("an outcome").1.outcome, Err(Failure::Expired)));
        assert!(inbox.take(Duration::from_millis(1)).is_none());
    }
}
