//! A shared store in memory, as plain as can be, and random sequences of steps by two writers that every real one is compared
//! with: each answer, and all that is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use proptest::prelude::*;
use sluice_enforce::guard::Scope;
use sluice_enforce::hold::{Cause, Hold, HoldState};
use sluice_enforce::store::conformance::{self, sample_crossing, sample_line};
use sluice_enforce::store::{AuditEntry, Claim, Command, Confirmation, FireRecord, Receipt, ReceiptState};
use sluice_enforce::{Mode, SharedStore, StoreError};
use sluice_schemas::{Micros, PicoUsd};

/// One step of one of the two writers; small numbers name rows, so that steps meet.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    TakeFence,
    /// A process that starts anew, without a fence.
    Restart,
    /// Claims with the fence of the writer, less `behind`.
    Claim {
        fire: u8,
        behind: u64,
    },
    Receipt {
        fire: u8,
        action: u8,
        state: ReceiptState,
    },
    MarkDone {
        fire: u8,
    },
    PutHold {
        hold: u8,
    },
    UpdateHold {
        hold: u8,
        revision: u64,
    },
    Confirm {
        budget: u8,
    },
    Submit {
        command: u8,
    },
    Answer {
        command: u8,
    },
    SetStopped(bool),
    Audit,
}

/// Returns sequences of steps, each with its writer.
pub(crate) fn steps(most: usize) -> impl Strategy<Value = Vec<(usize, Step)>> {
    let state = prop_oneof![Just(ReceiptState::Done), Just(ReceiptState::Degraded), Just(ReceiptState::Failed)];
    let step = prop_oneof![
        1 => Just(Step::TakeFence),
        1 => Just(Step::Restart),
        4 => (0..3_u8, prop_oneof![4 => Just(0_u64), 1 => Just(1)]).prop_map(|(fire, behind)| Step::Claim { fire, behind }),
        4 => (0..3_u8, 0..2_u8, state).prop_map(|(fire, action, state)| Step::Receipt { fire, action, state }),
        2 => (0..3_u8).prop_map(|fire| Step::MarkDone { fire }),
        3 => (0..2_u8).prop_map(|hold| Step::PutHold { hold }),
        4 => (0..2_u8, 0..3_u64).prop_map(|(hold, revision)| Step::UpdateHold { hold, revision }),
        2 => (0..2_u8).prop_map(|budget| Step::Confirm { budget }),
        2 => (0..2_u8).prop_map(|command| Step::Submit { command }),
        2 => (0..2_u8).prop_map(|command| Step::Answer { command }),
        1 => any::<bool>().prop_map(Step::SetStopped),
        1 => Just(Step::Audit),
    ];
    proptest::collection::vec((0..2_usize, step), 1..most)
}

/// What a step is expected to say: the answer as text, or the kind of refusal.
type Answer = Result<String, String>;

fn said<T: Debug>(result: Result<T, StoreError>) -> Answer {
    match result {
        Ok(value) => Ok(format!("{value:?}")),
        Err(StoreError::Fenced { own, current }) => Err(format!("fenced {own} {current}")),
        Err(StoreError::Conflict { id, .. }) => Err(format!("conflict {id}")),
        Err(StoreError::NotFound { id, .. }) => Err(format!("not found {id}")),
        Err(other) => panic!("{other}"),
    }
}

fn done<T: Debug>(value: T) -> Answer {
    Ok(format!("{value:?}"))
}

/// Everything there is, in memory.
#[derive(Default)]
struct Model {
    fence: u64,
    /// Fences of the writers; 0 where it took none.
    own: [u64; 2],
    fires: BTreeMap<String, FireRecord>,
    holds: BTreeMap<String, Hold>,
    confirmations: BTreeMap<String, Confirmation>,
    commands: BTreeMap<String, Command>,
    stopped: bool,
    lines: Vec<AuditEntry>,
}

fn fire_id(number: u8) -> String {
    format!("fire-{number}")
}

fn record(fire: u8, fence: u64, at: i64) -> FireRecord {
    let crossing = sample_crossing(&fire_id(fire), "agent_id=a");
    FireRecord { crossing, fence, claimed_at: Micros(at), receipts: BTreeMap::new(), done_at: None }
}

fn hold(number: u8, revision: u64, at: i64) -> Hold {
    Hold {
        id: format!("hold-{number}"),
        target: "agent_id=a".to_owned(),
        cause: Cause::Manual { actor: "someone".to_owned(), note: at.to_string() },
        until: None,
        mode: Mode::Enforce,
        state: HoldState::Active,
        created_at: Micros(at),
        approved_by: None,
        released: None,
        revision,
        scope: Scope::default(),
        burn: PicoUsd::ZERO,
        note: None,
        approve_by: None,
    }
}

fn command(number: u8, at: i64) -> Command {
    Command {
        id: format!("command-{number}"),
        actor: "someone".to_owned(),
        at: Micros(at),
        verb: "pause".to_owned(),
        arguments: BTreeMap::new(),
        outcome: None,
    }
}

fn confirmation(budget: u8, at: i64) -> Confirmation {
    Confirmation { budget: format!("budget-{budget}"), digest: at.to_string(), actor: "someone".to_owned(), at: Micros(at) }
}

fn line(at: i64) -> AuditEntry {
    AuditEntry { at: Micros(at), ..sample_line("step") }
}

fn receipt(state: ReceiptState, at: i64) -> Receipt {
    Receipt { state, detail: at.to_string() }
}

impl Model {
    fn fenced(&self, own: u64) -> Option<Answer> {
        (own != 0 && own < self.fence).then(|| Err(format!("fenced {own} {}", self.fence)))
    }

    fn apply(&mut self, writer: usize, step: &Step, at: i64) -> Answer {
        match step {
            Step::TakeFence => {
                self.fence += 1;
                self.own[writer] = self.fence;
                return done(self.fence);
            }
            Step::Restart => {
                self.own[writer] = 0;
                return done(());
            }
            Step::Claim { fire, behind } => {
                let own = self.own[writer].saturating_sub(*behind);
                if own < self.fence {
                    return Err(format!("fenced {own} {}", self.fence));
                }
                if let Some(known) = self.fires.get(&fire_id(*fire)) {
                    return done(Claim::Already(Box::new(known.clone())));
                }
                self.fires.insert(fire_id(*fire), record(*fire, own, at));
                return done(Claim::New);
            }
            _ => {}
        }
        match self.fenced(self.own[writer]) {
            Some(refused) => refused,
            None => self.write(step, at),
        }
    }

    fn write(&mut self, step: &Step, at: i64) -> Answer {
        let not_found = |id: String| Err(format!("not found {id}"));
        match step {
            Step::TakeFence | Step::Restart | Step::Claim { .. } => unreachable!("handled before"),
            Step::Receipt { fire, action, state } => {
                let Some(known) = self.fires.get_mut(&fire_id(*fire)) else { return not_found(fire_id(*fire)) };
                if let std::collections::btree_map::Entry::Vacant(free) = known.receipts.entry(format!("action-{action}")) {
                    free.insert(receipt(*state, at));
                    self.lines.push(line(at));
                }
                done(())
            }
            Step::MarkDone { fire } => {
                let Some(known) = self.fires.get_mut(&fire_id(*fire)) else { return not_found(fire_id(*fire)) };
                known.done_at = known.done_at.or(Some(Micros(at)));
                done(())
            }
            Step::PutHold { hold: number } => {
                let put = hold(*number, 0, at);
                if let Some(known) = self.holds.get(&put.id) {
                    return done(known);
                }
                self.lines.push(line(at));
                self.holds.insert(put.id.clone(), put.clone());
                done(put)
            }
            Step::UpdateHold { hold: number, revision } => {
                let next = hold(*number, revision + 1, at);
                let Some(known) = self.holds.get_mut(&next.id) else { return not_found(next.id) };
                if known.revision != *revision {
                    return Err(format!("conflict {}", next.id));
                }
                *known = next.clone();
                self.lines.push(line(at));
                done(next)
            }
            Step::Confirm { budget } => {
                let put = confirmation(*budget, at);
                self.confirmations.insert(put.budget.clone(), put);
                self.lines.push(line(at));
                done(())
            }
            Step::Submit { command: number } => {
                let put = command(*number, at);
                done(self.commands.entry(put.id.clone()).or_insert(put))
            }
            Step::Answer { command: number } => {
                let id = command(*number, at).id;
                let Some(known) = self.commands.get_mut(&id) else { return not_found(id) };
                if known.outcome.is_none() {
                    known.outcome = Some(at.to_string());
                    self.lines.push(line(at));
                }
                done(())
            }
            Step::SetStopped(stopped) => {
                self.stopped = *stopped;
                self.lines.push(line(at));
                done(())
            }
            Step::Audit => {
                self.lines.push(line(at));
                done(())
            }
        }
    }

    fn check(&self, store: &dyn SharedStore) {
        let all = |text: StoreError| panic!("{text}");
        assert_eq!(store.fence().unwrap_or_else(all), self.fence);
        assert_eq!(store.fires().unwrap(), self.fires.values().cloned().collect::<Vec<_>>());
        let open = |record: &&FireRecord| record.done_at.is_none();
        assert_eq!(store.unfinished().unwrap(), self.fires.values().filter(open).cloned().collect::<Vec<_>>());
        assert_eq!(store.holds().unwrap(), self.holds.values().cloned().collect::<Vec<_>>());
        assert_eq!(store.confirmations().unwrap(), self.confirmations.values().cloned().collect::<Vec<_>>());
        let open = |command: &&Command| command.outcome.is_none();
        assert_eq!(store.open_commands().unwrap(), self.commands.values().filter(open).cloned().collect::<Vec<_>>());
        for (id, command) in &self.commands {
            assert_eq!(&store.submit(command).unwrap(), command, "{id}");
        }
        assert_eq!(store.stopped().unwrap(), self.stopped);
        let numbered: Vec<(u64, AuditEntry)> = (1..).zip(self.lines.iter().cloned()).collect();
        assert_eq!(conformance::lines(store), numbered);
    }
}

fn do_step(store: &dyn SharedStore, own: u64, step: &Step, at: i64) -> Answer {
    match step {
        Step::TakeFence => said(store.take_fence("writer", Micros(at))),
        Step::Restart => unreachable!("handled by the caller"),
        Step::Claim { fire, behind } => said(store.claim(&record(*fire, own.saturating_sub(*behind), at))),
        Step::Receipt { fire, action, state } => {
            said(store.put_receipt(&fire_id(*fire), &format!("action-{action}"), &receipt(*state, at), &line(at)))
        }
        Step::MarkDone { fire } => said(store.mark_done(&fire_id(*fire), Micros(at))),
        Step::PutHold { hold: number } => said(store.put_hold(&hold(*number, 0, at), &line(at))),
        Step::UpdateHold { hold: number, revision } => said(store.update_hold(&hold(*number, *revision, at), &line(at))),
        Step::Confirm { budget } => said(store.confirm(&confirmation(*budget, at), &line(at))),
        Step::Submit { command: number } => said(store.submit(&command(*number, at))),
        Step::Answer { command: number } => said(store.answer(&command(*number, at).id, &at.to_string(), &line(at))),
        Step::SetStopped(stopped) => said(store.set_stopped(*stopped, &line(at))),
        Step::Audit => said(store.audit(&line(at))),
    }
}

/// Runs steps on a store and on the model. `open` returns a new handle of the same store.
pub(crate) fn compare(steps: &[(usize, Step)], mut open: impl FnMut() -> Box<dyn SharedStore>) {
    let mut model = Model::default();
    let mut writers = [open(), open()];
    for (at, (writer, step)) in (1_i64..).zip(steps) {
        let own = model.own[*writer];
        let expected = model.apply(*writer, step, at);
        let found = if matches!(step, Step::Restart) {
            writers[*writer] = open();
            done(())
        } else {
            do_step(writers[*writer].as_ref(), own, step, at)
        };
        assert_eq!(found, expected, "step {at}: {step:?} of writer {writer}");
    }
    model.check(open().as_ref());
}

/// Many writers claim one fire id at once: one of them gets it, all others see who did.
pub(crate) fn race(writers: usize, mut open: impl FnMut() -> Box<dyn SharedStore>) {
    let stores: Vec<_> = (0..writers).map(|_| open()).collect();
    let mut winners = BTreeSet::new();
    let mut seen = BTreeSet::new();
    std::thread::scope(|scope| {
        let claim = |(number, store): (usize, &dyn SharedStore)| {
            let own = record(0, 0, i64::try_from(number).unwrap());
            (number, store.claim(&own).unwrap_or_else(|error| panic!("writer {number}: {error}")))
        };
        let threads: Vec<_> =
            stores.iter().enumerate().map(|(number, store)| scope.spawn(move || claim((number, store.as_ref())))).collect();
        for thread in threads {
            match thread.join().expect("no panic") {
                (number, Claim::New) => winners.insert(i64::try_from(number).unwrap()),
                (_, Claim::Already(known)) => seen.insert(known.claimed_at.0),
            };
        }
    });
    assert_eq!(winners.len(), 1, "winners: {winners:?}");
    assert!(seen.is_empty() || seen == winners, "winner {winners:?}, seen {seen:?}");
}
