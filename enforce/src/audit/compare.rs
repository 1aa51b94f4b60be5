//! Compares the trail of the shared store with its copy in the lake.

use std::collections::{BTreeMap, HashMap};

use super::{AuditEntry, AuditFault, FaultKind};

/// What rows from before lines had numbers are told apart by.
type Says = (i64, [String; 6]);

/// The lake's copy, against which the lines of the shared store are held.
#[derive(Debug, Default)]
pub struct Comparison {
    numbered: BTreeMap<u64, AuditEntry>,
    unnumbered: HashMap<Says, u64>,
    /// The copy reaches up to this line: rows without a number are the first ones.
    reaches: u64,
    rows: u64,
    waiting: u64,
    faults: Vec<AuditFault>,
}

impl Comparison {
    /// Takes a row of the lake, with its number if it has one.
    pub fn of_lake(&mut self, number: Option<u64>, entry: AuditEntry) {
        self.rows += 1;
        self.reaches = self.reaches.max(number.unwrap_or(self.rows));
        match number {
            None => *self.unnumbered.entry(says(&entry)).or_default() += 1,
            Some(number) => {
                if self.numbered.insert(number, entry).is_some() {
                    self.faults.push(AuditFault { line: number, kind: FaultKind::TwiceInLake });
                }
            }
        }
    }

    /// Takes a line of the shared store.
    pub fn of_store(&mut self, number: u64, entry: &AuditEntry) {
        let kind = match self.numbered.remove(&number) {
            Some(copy) => {
                let fields = differences(entry, &copy);
                if fields.is_empty() {
                    return;
                }
                FaultKind::Differs { fields }
            }
            None if self.take_unnumbered(entry) => return,
            None if number <= self.reaches => FaultKind::NotInLake,
            None => {
                self.waiting += 1;
                return;
            }
        };
        self.faults.push(AuditFault { line: number, kind });
    }

    fn take_unnumbered(&mut self, entry: &AuditEntry) -> bool {
        let Some(count) = self.unnumbered.get_mut(&says(entry)).filter(|count| **count > 0) else { return false };
        *count -= 1;
        true
    }

    /// Returns how many rows the lake has, and how many lines of the shared store are not in it yet.
    #[must_use]
    pub const fn counts(&self) -> (u64, u64) {
        (self.rows, self.waiting)
    }

    /// Ends the comparison and returns what differs, by line.
    #[must_use]
    pub fn finish(mut self) -> Vec<AuditFault> {
        self.faults.extend(self.numbered.into_keys().map(|line| AuditFault { line, kind: FaultKind::NotInStore }));
        for ((at, texts), count) in self.unnumbered {
            let says = format!("{} {}", sluice_schemas::Micros(at), texts.join(" "));
            let stray = AuditFault { line: 0, kind: FaultKind::StrayInLake { says } };
            self.faults.extend((0..count).map(|_| stray.clone()));
        }
        self.faults.sort();
        self.faults
    }
}

fn says(entry: &AuditEntry) -> Says {
    let texts = [&entry.fire_id, &entry.action, &entry.target, &entry.state, &entry.actor, &entry.detail];
    (entry.at.0, texts.map(Clone::clone))
}

fn differences(a: &AuditEntry, b: &AuditEntry) -> Vec<&'static str> {
    let texts = |entry: &AuditEntry| {
        [
            ("at", entry.at.0.to_string()),
            ("fire_id", entry.fire_id.clone()),
            ("action", entry.action.clone()),
            ("target", entry.target.clone()),
            ("state", entry.state.clone()),
            ("actor", entry.actor.clone()),
            ("detail", entry.detail.clone()),
            ("inputs", entry.inputs.clone()),
            ("policy_version", entry.policy_version.clone()),
            ("price_version", entry.price_version.clone()),
            ("requests", format!("{:?}", entry.requests)),
            ("prev", entry.prev.clone()),
            ("hash", entry.hash.clone()),
        ]
    };
    texts(a).into_iter().zip(texts(b)).filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0).collect()
}
