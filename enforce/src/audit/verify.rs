//! Walks a trail from its first line and finds what does not hold.

use std::collections::BTreeSet;

use serde::Serialize;

use super::chain::{Head, hash};
use super::{AuditEntry, AuditFault, FaultKind};

/// Lines whose hash does not hold and that are tried under other numbers; of more, the rest counts as changed.
const SUSPECTS: usize = 512;
/// How far from its place a line is looked for beside the places of other suspects.
const NEAR: u64 = 8;

/// What a walk over a trail found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// Lines read.
    pub lines: u64,
    /// First line of the chain; absent if no line has a hash. What lies before it is vouched for by the lake's copy alone.
    pub begins_at: Option<u64>,
    /// Last line and its hash, as read.
    pub ends: Option<Head>,
    /// What does not hold, by line.
    pub faults: Vec<AuditFault>,
}

/// Takes the lines of a trail in the order of their numbers.
#[derive(Debug, Default)]
pub struct Verifier {
    report: ChainReport,
    last: u64,
    /// Hash that the next line has to name.
    link: String,
    suspects: Vec<(u64, AuditEntry)>,
}

impl Verifier {
    /// Takes the next line.
    pub fn take(&mut self, number: u64, entry: &AuditEntry) {
        let expected = self.last + 1;
        let is_gap = number > expected;
        if is_gap {
            self.fault(expected, FaultKind::Missing { through: number - 1 });
        }
        self.report.lines += 1;
        self.last = number;
        if !entry.is_sealed() {
            if self.report.begins_at.is_some() {
                self.fault(number, FaultKind::Unsealed);
            }
            return;
        }
        let begins = self.report.begins_at.is_none();
        if begins {
            self.report.begins_at = Some(number);
        }
        if hash(number, entry) != entry.hash {
            self.suspects.push((number, entry.clone()));
        } else if entry.prev != self.link && !is_gap {
            self.fault(number, FaultKind::Detached);
        }
        self.link.clone_from(&entry.hash);
        self.report.ends = Some(Head { number, hash: entry.hash.clone() });
    }

    /// Ends the walk. `head` is where the store says the chain stands; `None` if it says nothing.
    #[must_use]
    pub fn finish(mut self, head: Option<&Head>) -> ChainReport {
        let places: BTreeSet<u64> = self.suspects.iter().take(SUSPECTS).map(|(number, _)| *number).collect();
        for (at, (number, entry)) in std::mem::take(&mut self.suspects).into_iter().enumerate() {
            let near = number.saturating_sub(NEAR)..=number.saturating_add(NEAR);
            let holds = |place: &u64| hash(*place, &entry) == entry.hash;
            let from = (at < SUSPECTS).then(|| near.chain(places.iter().copied()).find(holds)).flatten();
            self.fault(number, from.map_or(FaultKind::Changed, |from| FaultKind::Moved { from }));
        }
        self.check_head(head);
        self.report.faults.sort();
        self.report
    }

    fn check_head(&mut self, head: Option<&Head>) {
        let Some(head) = head else {
            if let Some(begins) = self.report.begins_at {
                self.fault(begins, FaultKind::BehindHead);
            }
            return;
        };
        if head.number > self.last {
            self.fault(self.last + 1, FaultKind::Missing { through: head.number });
            return;
        }
        match self.report.ends.clone() {
            Some(ends) if ends.number > head.number => self.fault(head.number + 1, FaultKind::BehindHead),
            Some(ends) if ends != *head => self.fault(ends.number, FaultKind::NotHead),
            None => self.fault(head.number, FaultKind::NotHead),
            Some(_) => {}
        }
    }

    fn fault(&mut self, line: u64, kind: FaultKind) {
        self.report.faults.push(AuditFault { line, kind });
    }
}
