//! What the ledger made durable, told to the sources: only then may a message be deleted, an offset be shown, a child be read.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluice_schemas::position::Positions;
use sluice_schemas::{Position, ShardId};

/// Positions that survive a crash of the process, and those that survive the loss of its disk.
#[derive(Debug, Default)]
pub struct Committed {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    local: Positions,
    lake: Positions,
}

/// Which commit is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// The local commit: survives a crash.
    Local,
    /// The lake commit: survives the loss of the disk.
    Lake,
}

impl Committed {
    /// Notes positions that were made durable.
    pub fn note(&self, durable: Durable, positions: impl IntoIterator<Item = (ShardId, Position)>) {
        let mut state = self.lock();
        let known = match durable {
            Durable::Local => &mut state.local,
            Durable::Lake => &mut state.lake,
        };
        known.extend(positions);
        drop(state);
        self.changed.notify_all();
    }

    /// Forgets shards that nobody asks for any more.
    pub fn forget(&self, shards: &[ShardId]) {
        let mut state = self.lock();
        for shard in shards {
            state.local.remove(shard);
            state.lake.remove(shard);
        }
    }

    /// Returns the durable position of a shard.
    #[must_use]
    pub fn of(&self, durable: Durable, shard: &str) -> Option<Position> {
        Self::known(&self.lock(), durable).get(shard).cloned()
    }

    /// Waits until each of `wanted` is durable, for at most `limit`; returns whether all are.
    #[must_use]
    pub fn wait(&self, durable: Durable, wanted: &Positions, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            let known = Self::known(&state, durable);
            if wanted.iter().all(|(shard, position)| known.get(shard).is_some_and(|at| at.place() >= position.place())) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    const fn known(state: &State, durable: Durable) -> &Positions {
        match durable {
            Durable::Local => &state.local,
            Durable::Lake => &state.lake,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use sluice_schemas::Position;
    use sluice_schemas::position::Positions;

    use super::{Committed, Durable};

    fn at(offset: u64) -> Positions {
        Positions::from([("kafka:a/0".to_owned(), Position { offset, ..Position::default() })])
    }

    #[test]
    fn a_local_commit_is_not_a_lake_commit() {
        let committed = Committed::default();
        committed.note(Durable::Local, at(7));
        assert!(committed.wait(Durable::Local, &at(7), Duration::ZERO));
        assert!(!committed.wait(Durable::Local, &at(8), Duration::ZERO));
        assert!(!committed.wait(Durable::Lake, &at(1), Duration::ZERO));
        assert_eq!(committed.of(Durable::Lake, "kafka:a/0"), None);
    }

    #[test]
    fn waiting_ends_with_the_commit() {
        let committed = Arc::new(Committed::default());
        let teller = Arc::clone(&committed);
        let told = thread::spawn(move || teller.note(Durable::Lake, at(9)));
        assert!(committed.wait(Durable::Lake, &at(9), Duration::from_secs(60)));
        told.join().expect("the teller");
    }
}
