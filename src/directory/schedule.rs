//! When the next question is due: new things at once, known ones when their answer is old. No clock and no I/O.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;

use sluice_schemas::Micros;

/// What is due when, each task once.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    due: BTreeMap<(Micros, u64), T>,
    known: HashSet<T>,
    next: u64,
}

impl<T: Clone + Eq + Hash> Schedule<T> {
    /// Returns an empty one.
    pub(crate) fn new() -> Self {
        Self { due: BTreeMap::new(), known: HashSet::new(), next: 0 }
    }

    /// Adds a task, unless it is known already.
    pub(crate) fn add(&mut self, task: T, at: Micros) {
        if self.known.insert(task.clone()) {
            self.put(task, at);
        }
    }

    /// Puts a task that was taken back in.
    pub(crate) fn put(&mut self, task: T, at: Micros) {
        self.due.insert((at, self.next), task);
        self.next += 1;
    }

    /// Takes the next task that is due: that which waits longest.
    pub(crate) fn take(&mut self, now: Micros) -> Option<T> {
        let first = self.due.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_task_comes_when_it_is_due() {
        let mut schedule = Schedule::new();
        schedule.add("later", Micros(10));
        schedule.add("now", Micros(0));
        schedule.add("now", Micros(0));
        assert_eq!(schedule.take(Micros(5)), Some("now"));
        assert_eq!(schedule.take(Micros(5)), None);
        schedule.put("now", Micros(20));
        schedule.add("now", Micros(0));
        assert_eq!([schedule.take(Micros(30)), schedule.take(Micros(30)), schedule.take(Micros(30))], [Some("later"), Some("now"), None]);
    }
}
