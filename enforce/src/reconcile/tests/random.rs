//! Anything in any order: holds, people, faults, a second process, a store that fails, a clock that jumps. After each step nothing that a
//! person put is gone; at rest every hold stops its target or says why not; when all holds are over, nothing is left of them.

use proptest::prelude::*;

use super::*;
use crate::aws::Call;
use crate::iam::fake::Fault;
use crate::reconcile::intent::takes_several;
use crate::store::conformance::sample_line;
use crate::store::dying::Dying;

#[derive(Clone, Copy, Debug)]
enum Step {
    Hold(usize),
    Release(usize),
    Turn,
    Pass(i64),
    TakeOff,
    PutDeny,
    Foreign(bool),
    Limit(bool),
    Inline(bool),
    Recreate,
    Storm(usize),
    Denied(bool),
    Fill(bool),
    Lag(usize),
    Lose(usize, bool),
    Overtake,
    Stale,
    Dies(usize),
    Switch(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..4).prop_map(Step::Hold),
        4 => (0_usize..4).prop_map(Step::Release),
        8 => Just(Step::Turn),
        8 => prop_oneof![Just(1_i64), Just(5), Just(30), Just(70), Just(1_000), Just(-50), Just(100_000), Just(-100_000)].prop_map(Step::Pass),
        2 => Just(Step::TakeOff),
        2 => Just(Step::PutDeny),
        1 => any::<bool>().prop_map(Step::Foreign),
        1 => any::<bool>().prop_map(Step::Limit),
        1 => any::<bool>().prop_map(Step::Inline),
        1 => Just(Step::Recreate),
        1 => (1_usize..6).prop_map(Step::Storm),
        1 => any::<bool>().prop_map(Step::Denied),
        1 => any::<bool>().prop_map(Step::Fill),
        1 => (0_usize..12).prop_map(Step::Lag),
        3 => (0_usize..5, any::<bool>()).prop_map(|(at, answer)| Step::Lose(at, answer)),
        2 => Just(Step::Overtake),
        2 => Just(Step::Stale),
        3 => (0_usize..40).prop_map(Step::Dies),
        1 => any::<bool>().prop_map(Step::Switch),
    ]
}

/// What each of the holds would pull.
fn chain(number: usize) -> Vec<Pull> {
    match number {
        0 => vec![role(LeverKind::DenyPolicy), role(LeverKind::Boundary)],
        1 => vec![role(LeverKind::DenyPolicy)],
        2 => vec![session("run-1")],
        _ => vec![Pull { lever: LeverKind::Detach, subject: Subject::Role { arn: OTHER_ROLE.to_owned() } }],
    }
}

struct Model {
    bench: Bench,
    held: [Option<Hold>; 4],
    stale: Option<Reconciler>,
    /// The deny policy on the role is a person's.
    theirs: bool,
    /// How far looks are behind.
    lag: usize,
    /// A person put it while looks were behind: nobody can tell whose it is once a hold wanted it.
    unsure: bool,
}

impl Model {
    fn new() -> Self {
        Self { bench: Bench::new(), held: Default::default(), stale: None, theirs: false, lag: 0, unsure: false }
    }

    fn turn(&mut self) {
        let had = self.bench.has_deny();
        match self.bench.try_turn() {
            Ok(_) => {}
            Err(StoreError::Corrupt { .. } | StoreError::Unavailable { .. } | StoreError::Fenced { .. }) => self.bench.restart(),
            Err(error) => panic!("{error}"),
        }
        self.after(had);
    }

    fn after(&mut self, had: bool) {
        let has = self.bench.has_deny();
        assert!(!(had && !has && self.theirs), "a person's deny policy was lifted: {:?}", self.bench.intents());
        if !has {
            (self.theirs, self.unsure) = (false, false);
        }
    }

    fn person(&mut self, step: Step) {
        let deny = role(LeverKind::DenyPolicy);
        let (aws, has) = (self.bench.aws.clone(), self.bench.has_deny());
        let has_foreign = aws.attached(ROLE).iter().any(|policy| policy == FOREIGN);
        match step {
            Step::TakeOff => {
                aws.detach(ROLE, DENY);
                self.theirs = false;
            }
            Step::PutDeny if !has && aws.attached(ROLE).len() < 10 => {
                aws.attach(ROLE, DENY);
                // Where ours stood, or may have stood, a look cannot tell the two apart.
                self.unsure = self.lag > 0;
                self.theirs = !self.unsure && self.bench.intent(&deny).is_none_or(|intent| !may_stand(&intent));
            }
            Step::Foreign(true) if !has_foreign && aws.attached(ROLE).len() < 10 => aws.attach(ROLE, FOREIGN),
            Step::Foreign(false) => aws.detach(ROLE, FOREIGN),
            // IAM puts a boundary over whatever is there: one that a look cannot see yet is lost, and the lever says so.
            Step::Limit(true) if self.lag == 0 => aws.set_boundary(ROLE, Some(FOREIGN_LIMIT)),
            Step::Limit(false) if aws.boundary(ROLE).as_deref() == Some(FOREIGN_LIMIT) => aws.set_boundary(ROLE, None),
            Step::Inline(true) => aws.put_inline(ROLE, "more", &allow("sqs:*")),
            Step::Inline(false) => aws.delete_inline(ROLE, "more"),
            Step::Recreate => {
                aws.delete(ROLE);
                aws.create(ROLE);
                self.theirs = false;
            }
            Step::Fill(true) => (aws.attached(ROLE).len()..10).for_each(|number| {
                let filler = format!("arn:aws:iam::111122223333:policy/filler-{number}");
                aws.put_policy(&filler, &allow("logs:*"));
                if !aws.attached(ROLE).contains(&filler) {
                    aws.attach(ROLE, &filler);
                }
            }),
            Step::Fill(false) => (0..10).for_each(|number| aws.detach(ROLE, &format!("arn:aws:iam::111122223333:policy/filler-{number}"))),
            _ => {}
        }
    }

    fn faults(&mut self, step: Step) {
        let aws = &self.bench.aws;
        match step {
            Step::Storm(calls) => (0..calls).for_each(|_| aws.fail_next("*", Fault::Throttle)),
            Step::Denied(true) => aws.plan(|call: &Call| call.writes.then_some(Fault::Refuse(403, "AccessDenied"))),
            Step::Denied(false) => aws.calm(),
            Step::Lag(calls) => {
                aws.settle();
                aws.set_lag(calls);
                self.lag = calls;
                // Looks go back to before a person's edit: a hold that comes now cannot know of it.
                self.unsure |= self.theirs && calls > 0;
                self.theirs &= calls == 0;
            }
            Step::Lose(at, answer) => {
                let fault = if answer { Fault::LostAnswer } else { Fault::LostRequest };
                let mut seen = 0;
                aws.plan(move |_| {
                    seen += 1;
                    (seen == at + 1).then_some(fault)
                });
            }
            _ => {}
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Hold(at) if self.held[at].is_none() => self.held[at] = Some(self.bench.hold(&format!("agent_id={at}"), chain(at))),
            Step::Release(at) => {
                if let Some(hold) = self.held[at].take() {
                    self.bench.clock.0.fetch_add(1, Ordering::Relaxed);
                    self.bench.release(&hold);
                }
            }
            Step::Turn => self.turn(),
            Step::Pass(seconds) => self.bench.pass(seconds),
            Step::Overtake => {
                let next = self.bench.other(|own| Arc::new(own));
                self.stale = Some(std::mem::replace(&mut self.bench.reconciler, next));
            }
            Step::Stale => {
                let before = self.bench.writes();
                if let Some(stale) = &mut self.stale {
                    assert!(stale.turn(&|| true).is_err() || self.bench.writes() == before);
                    assert_eq!(self.bench.writes(), before, "who was overtaken changed something");
                }
            }
            Step::Dies(left) => {
                self.bench.reconciler = self.bench.other(|own| Arc::new(Dying::after(Arc::new(own), left)));
                self.turn();
            }
            Step::Switch(stopped) => self.bench.store.set_stopped(stopped, &sample_line("switch")).expect("switched"),
            step => {
                self.person(step);
                self.faults(step);
            }
        }
    }

    /// Everything is well again, and time passes.
    fn rest(&mut self) {
        self.bench.aws.calm();
        self.bench.store.set_stopped(false, &sample_line("switch")).expect("switched");
        super::super::close(&self.bench.store, "ann", "", self.bench.now()).expect("closed");
        self.bench.restart();
        for _ in 0..70 {
            self.bench.pass(61);
            self.turn();
        }
        super::super::close(&self.bench.store, "ann", "", self.bench.now()).expect("closed");
        for _ in 0..30 {
            self.bench.pass(61);
            self.turn();
        }
    }

    /// Each hold stops its target, or what it wants says why not.
    fn check_holds(&self) {
        for hold in self.held.iter().flatten() {
            let pulls: Vec<&Pull> = hold.scope.grips.iter().flat_map(|grip| &grip.chain).collect();
            let stages: Vec<Option<Stage>> = pulls.iter().map(|pull| self.bench.stage(pull)).collect();
            let is_stopped = pulls.iter().zip(&stages).any(|(pull, stage)| *stage == Some(Stage::Stands) && self.stands(pull));
            let says = stages.iter().flatten().any(|stage| matches!(stage, Stage::TakenOff | Stage::Foreign | Stage::Gone));
            let all_refused = stages.iter().all(|stage| *stage == Some(Stage::Refused));
            assert!(is_stopped || says || all_refused, "{hold:?} {:?}", self.bench.intents());
        }
        for intent in self.bench.intents() {
            let pull = Pull { lever: intent.lever, subject: intent.subject.clone() };
            assert!(intent.stage != Stage::Stands || self.stands(&pull), "{intent:?}");
        }
    }

    fn stands(&self, pull: &Pull) -> bool {
        if pull.lever != LeverKind::Detach {
            return self.bench.is_there(pull);
        }
        let attached = self.bench.aws.attached(OTHER_ROLE);
        !GRANTS.iter().any(|grant| attached.iter().any(|policy| policy == grant))
    }
}

/// What stands on a role but what this program may put there.
fn rest_of(aws: &FakeAws) -> impl PartialEq + std::fmt::Debug + use<> {
    let attached: BTreeSet<String> = aws.attached(ROLE).into_iter().filter(|policy| policy != DENY).collect();
    let boundary = aws.boundary(ROLE).filter(|policy| policy != LIMIT);
    (attached, boundary, aws.inline(ROLE, "files"), aws.inline(ROLE, "more"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_left_and_nothing_is_lost(steps in proptest::collection::vec(step(), 1..45)) {
        let mut model = Model::new();
        let other: BTreeSet<String> = model.bench.aws.attached(OTHER_ROLE).into_iter().collect();
        for step in steps {
            let is_own = matches!(step, Step::Turn | Step::Dies(_) | Step::Stale | Step::Overtake);
            let before = is_own.then(|| rest_of(&model.bench.aws));
            model.apply(step);
            if let Some(before) = before {
                prop_assert_eq!(before, rest_of(&model.bench.aws), "what is not ours was changed");
            }
        }
        model.rest();
        model.check_holds();
        for at in 0..4 {
            model.apply(Step::Release(at));
        }
        let foreign = rest_of(&model.bench.aws);
        model.rest();
        prop_assert_eq!(model.bench.intents(), vec![]);
        prop_assert_eq!(foreign, rest_of(&model.bench.aws));
        prop_assert!(model.unsure || model.bench.has_deny() == model.theirs);
        prop_assert_eq!(model.bench.aws.boundary(ROLE).filter(|policy| policy == LIMIT), None);
        prop_assert_eq!(model.bench.aws.inline(ROLE, deny_session::POLICY_NAME), None);
        let now: BTreeSet<String> = model.bench.aws.attached(OTHER_ROLE).into_iter().collect();
        prop_assert_eq!(now, other, "what was detached is back");
        model.bench.check_trail();
    }
}

/// Tells whether something of an intent may be in AWS.
fn may_stand(intent: &Intent) -> bool {
    intent.touched && intent.stage != Stage::Foreign && (intent.stage != Stage::TakenOff || takes_several(intent.lever))
}
