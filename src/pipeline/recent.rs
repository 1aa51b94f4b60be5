//! The rows of `calls` that came lately, in memory: evidence that comes minutes after its calls finds them here.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use hashbrown::HashMap;
use sluice_aggregate::known::{KnownError, for_each_row};
use sluice_schemas::Micros;

use super::evidence_queue::Queue;

/// Rows of one batch.
#[derive(Debug)]
struct Part {
    number: u64,
    rows: RecordBatch,
    /// Key of each row; of one without a request id there is none.
    keys: Vec<(u32, u128)>,
    time: (Micros, Micros),
    bytes: usize,
}

/// The calls that came last, as far as a number of bytes goes.
#[derive(Debug, Default)]
pub(super) struct Recent {
    parts: VecDeque<Part>,
    /// Number of the part and row of each call.
    places: HashMap<u128, (u64, u32)>,
    next: u64,
    bytes: usize,
}

impl Recent {
    /// Takes rows of `calls` in and lets the oldest go; of a call that is there already these are the ones that count.
    pub(super) fn push(&mut self, rows: &RecordBatch, bytes_max: usize) -> Result<(), KnownError> {
        let number = self.next;
        let (mut keys, mut time) = (Vec::with_capacity(rows.num_rows()), (Micros(i64::MAX), Micros(i64::MIN)));
        for_each_row(rows, |row, at, key| {
            keys.push((row, key));
            time = (time.0.min(at), time.1.max(at));
        })?;
        self.places.extend(keys.iter().map(|(row, key)| (*key, (number, *row))));
        let bytes = rows.get_array_memory_size();
        self.parts.push_back(Part { number, rows: rows.clone(), keys, time, bytes });
        (self.next, self.bytes) = (number + 1, self.bytes + bytes);
        while self.bytes > bytes_max
            && let Some(part) = self.parts.pop_front()
        {
            self.bytes -= part.bytes;
            for (_, key) in part.keys {
                if self.places.get(&key).is_some_and(|(number, _)| *number == part.number) {
                    self.places.remove(&key);
                }
            }
        }
        Ok(())
    }

    /// Returns the rows that a queue may speak of, by batch.
    pub(super) fn spoken_of(&self, queue: &Queue) -> Vec<(RecordBatch, Vec<u32>)> {
        let mut rows: HashMap<u64, Vec<u32>> = HashMap::new();
        for (number, row) in queue.requests().filter_map(|request| self.places.get(&request)) {
            rows.entry(*number).or_default().push(*row);
        }
        let mut found = Vec::new();
        for part in &self.parts {
            let rows = if queue.may_meet(part.time.0, part.time.1) {
                let counts = |(row, key): &(u32, u128)| (self.places.get(key) == Some(&(part.number, *row))).then_some(*row);
                part.keys.iter().filter_map(counts).collect()
            } else {
                rows.remove(&part.number).unwrap_or_default()
            };
            if !rows.is_empty() {
                found.push((part.rows.clone(), rows));
            }
        }
        found
    }

    /// Lets calls go that are not what they were.
    pub(super) fn forget(&mut self, keys: &[u128]) {
        for key in keys {
            self.places.remove(key);
        }
    }

    /// Lets all calls go.
    pub(super) fn clear(&mut self) {
        *self = Self { next: self.next, ..Self::default() };
    }
}
