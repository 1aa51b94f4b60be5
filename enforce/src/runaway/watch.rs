//! All rules with their targets: fed with the shapes of calls, asked for crossings. No I/O and no clock.
//!
//! Owns: which rule watches a call and the rows that make a target durable. Does not own: the local commit (the caller writes
//! [`Watch::take_dirty`] in the same transaction as the positions) and what follows a crossing ([`crate::outbox`]).
//!
//! What has been judged once is part of the state in the same commit as its crossing, so history is never judged again: it is only
//! learned from ([`Watch::learn`]), and nothing fires twice.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sluice_schemas::{Micros, Owner, Profile};
use std::hash::BuildHasher;

use super::rule::{Rule, Rules};
use super::shape::{CallShape, Seen, ShapeView};
use super::target::Target;
use super::verdict::{Finding, crossing};
use crate::codec::{self, LedgerError};
use crate::fire::Crossing;
use crate::ledger::Overview;
use crate::predicate::{Row, TextColumn};
use crate::target;

/// Targets that a rule follows at once. Of more, those without a call for longest are forgotten, a tenth at a time.
pub const MOST_TARGETS: usize = 10_000;

/// What a watch shows of a rule.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RuleStatus {
    /// Name of the rule.
    pub rule: String,
    /// Targets it follows.
    pub targets: u64,
    /// Calls since the start that came too late to be put in order: sums hold them, sequences do not.
    pub late_calls: u64,
}

/// The targets of one rule.
struct Room {
    rule: Arc<Rule>,
    digest: String,
    targets: HashMap<Box<str>, Target, FixedState>,
    dirty: Vec<Box<str>>,
    /// Keys of the rows of targets that were forgotten.
    deletes: Vec<Vec<u8>>,
    /// Its own row differs.
    dirty_self: bool,
    /// Waits for its history.
    is_new: bool,
    late: u64,
}

/// Targets of all rules.
pub struct Watch {
    rooms: Vec<Room>,
    deletes: Vec<Vec<u8>>,
}

impl Watch {
    /// Returns an empty watch; each rule waits for its history.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        Self { rooms: rules.iter().map(Room::new).collect(), deletes: Vec::new() }
    }

    /// Puts other rules in force. One that watches the same as before keeps what it knows; a new one waits for its history.
    pub fn reconfigure(&mut self, rules: &Rules) {
        let mut old = std::mem::take(&mut self.rooms);
        for rule in rules.iter() {
            let mut room = Room::new(rule);
            if let Some(at) = old.iter().position(|known| known.digest == room.digest) {
                room = Room { rule: Arc::clone(rule), ..old.swap_remove(at) };
            }
            self.rooms.push(room);
        }
        for gone in old {
            self.deletes.extend(gone.deletes);
            let name = &gone.rule.name;
            self.deletes.extend(gone.targets.keys().map(|target| codec::watched_key(name, target)));
            self.deletes.push(codec::rule_key(name));
        }
    }

    /// Tells whether there are no rules, so that no shapes are needed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rooms.is_empty()
    }

    /// Judges calls that the next commit makes true; returns the crossings they cause.
    ///
    /// The result does not depend on how calls are split into batches.
    pub fn apply(&mut self, view: ShapeView<'_>, now: Micros) -> Vec<Crossing> {
        let mut crossings = Vec::new();
        for room in &mut self.rooms {
            room.fold(view, |room, target, finding| {
                crossings.push(crossing(&room.rule, target, finding, room.targets.len() as u64, now));
            });
        }
        crossings
    }

    /// Lets the rules that wait for their history learn from it: nothing follows from these calls.
    pub fn learn(&mut self, view: ShapeView<'_>) {
        for room in self.rooms.iter_mut().filter(|room| room.is_new) {
            room.fold(view, |_, _, _| {});
        }
    }

    /// Returns the names of the rules that wait for their history.
    #[must_use]
    pub fn unlearned(&self) -> Vec<&str> {
        self.rooms.iter().filter(|room| room.is_new).map(|room| room.rule.name.as_str()).collect()
    }

    /// Notes that no rule waits for its history any more.
    pub fn learned(&mut self) {
        self.rooms.iter_mut().for_each(|room| room.is_new = false);
    }

    /// Takes over that a rule found something at `at`, so that it is not found again as another episode by a watch made again from history
    /// that came in another order.
    pub fn note_found(&mut self, rule: &str, target: &str, at: Micros) {
        if let Some(room) = self.rooms.iter_mut().find(|room| room.rule.name == rule)
            && let Some(known) = room.targets.get_mut(target)
        {
            known.note_found(at);
            room.mark(target);
        }
    }

    /// Returns what the rules show of themselves.
    #[must_use]
    pub fn status(&self) -> Vec<RuleStatus> {
        let of = |room: &Room| RuleStatus { rule: room.rule.name.clone(), targets: room.targets.len() as u64, late_calls: room.late };
        self.rooms.iter().map(of).collect()
    }

    /// Returns the rules as the reconciler of holds asks for them: what there is no counter of stays until its own end.
    #[must_use]
    pub fn overview(&self) -> Vec<Overview> {
        self.rooms.iter().map(|room| Overview::without_counters(&room.rule.name)).collect()
    }

    /// Returns the rows that changed since the last call, for the same transaction as the positions; `None` deletes.
    pub fn take_dirty(&mut self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut rows: Vec<(Vec<u8>, Option<Vec<u8>>)> = std::mem::take(&mut self.deletes).into_iter().map(|key| (key, None)).collect();
        for room in &mut self.rooms {
            let name = &room.rule.name;
            rows.extend(std::mem::take(&mut room.deletes).into_iter().map(|key| (key, None)));
            if !room.is_new && std::mem::take(&mut room.dirty_self) {
                rows.push((codec::rule_key(name), Some(codec::write_json(&room.digest))));
            }
            for target in std::mem::take(&mut room.dirty) {
                let Some(known) = room.targets.get_mut(&target) else { continue };
                known.dirty = false;
                rows.push((codec::watched_key(name, &target), Some(codec::write_json(known))));
            }
        }
        rows
    }

    /// Tells whether a row is of a watch and not of a ledger.
    #[must_use]
    pub fn is_row(key: &[u8]) -> bool {
        codec::is_watch_key(key)
    }

    /// Reads a watch back. Rules that are new, or watch something else than they did, wait for their history.
    ///
    /// # Errors
    /// Returns the first row that contradicts itself.
    pub fn load(rules: &Rules, rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, LedgerError> {
        let mut watch = Self::new(rules);
        let mut targets = Vec::new();
        for (key, value) in rows {
            match codec::read_watch_key(&key)? {
                (rule, Some(target)) => targets.push((key, rule, target, value)),
                (rule, None) => {
                    let digest: String = codec::read_json(&key, &value)?;
                    match watch.rooms.iter_mut().find(|room| room.rule.name == rule) {
                        Some(room) if room.digest == digest => (room.is_new, room.dirty_self) = (false, false),
                        Some(_) => {}
                        None => watch.deletes.push(key),
                    }
                }
            }
        }
        for (key, rule, target, value) in targets {
            match watch.rooms.iter_mut().find(|room| room.rule.name == rule && !room.is_new) {
                Some(room) => {
                    room.targets.insert(target.into_boxed_str(), codec::read_json(&key, &value)?);
                }
                None => watch.deletes.push(key),
            }
        }
        Ok(watch)
    }
}

/// What calls of one kind share, resolved for a rule.
struct Placed {
    target: String,
    lane: u64,
    failed: bool,
}

impl Room {
    fn new(rule: &Arc<Rule>) -> Self {
        Self {
            rule: Arc::clone(rule),
            digest: rule.state_digest(),
            targets: HashMap::default(),
            dirty: Vec::new(),
            deletes: Vec::new(),
            dirty_self: true,
            is_new: true,
            late: 0,
        }
    }

    fn fold(&mut self, view: ShapeView<'_>, mut found: impl FnMut(&Self, &str, Finding)) {
        let mut kinds: HashMap<(u32, u32, u32), Option<Placed>, FixedState> = HashMap::default();
        let mut findings = Vec::new();
        let rule = Arc::clone(&self.rule);
        for shape in view.shapes {
            let kind = (shape.profile, shape.model.0, shape.scope.0);
            let Some(placed) = kinds.entry(kind).or_insert_with(|| place(&rule, view, shape)) else { continue };
            let CallShape { event_time, prompt, output, cost_picousd, .. } = *shape;
            let seen = Seen { at: event_time.0, lane: placed.lane, prompt, output, cost: cost_picousd, failed: placed.failed };
            let known = match self.targets.get_mut(placed.target.as_str()) {
                Some(known) => known,
                None => {
                    self.forget();
                    self.targets.entry(placed.target.as_str().into()).or_default()
                }
            };
            self.late += u64::from(!known.observe(seen, &rule, &mut findings));
            if !known.dirty {
                known.dirty = true;
                self.dirty.push(placed.target.as_str().into());
            }
            for finding in findings.drain(..) {
                found(self, &placed.target, finding);
            }
        }
    }

    fn mark(&mut self, target: &str) {
        if let Some(known) = self.targets.get_mut(target).filter(|known| !known.dirty) {
            known.dirty = true;
            self.dirty.push(target.into());
        }
    }

    /// Makes room for one more target: where there is none, those that had no call for longest are forgotten.
    fn forget(&mut self) {
        if self.targets.len() < MOST_TARGETS {
            return;
        }
        let mut idle: Vec<(i64, Box<str>)> = self.targets.iter().map(|(name, known)| (known.newest, name.clone())).collect();
        idle.sort_unstable();
        idle.truncate(MOST_TARGETS / 10);
        for (_, name) in &idle {
            self.targets.remove(name);
            self.deletes.push(codec::watched_key(&self.rule.name, name));
        }
    }
}

/// Works out which target a kind of call belongs to; `None` if the rule does not watch it.
fn place(rule: &Rule, view: ShapeView<'_>, shape: &CallShape) -> Option<Placed> {
    let at = shape.profile as usize;
    let (nobody, unknown) = (Owner::default(), Profile::default());
    let row = Row {
        batch: view.batch,
        profile: view.batch.batch.profiles.get(at).unwrap_or(&unknown),
        owner: view.batch.owners.get(at).unwrap_or(&nobody),
        model: shape.model,
        scope: shape.scope,
    };
    // Known from CloudTrail alone, its tokens are a lower bound: that shape is not the call's.
    let watched = !row.profile.lower_bound && rule.filter.as_ref().is_none_or(|filter| filter.keeps(&row));
    let strings = &view.batch.batch.strings;
    watched.then(|| {
        let session = TextColumn::parse("session_id").and_then(|column| row.text(column)).unwrap_or_default();
        let lane = FixedState::default().hash_one((session, strings.get(shape.model)));
        Placed { target: target::of(&rule.each, &row), lane, failed: !row.profile.error_code.is_empty() }
    })
}
