//! A crash, an error, a lost answer at every step there is: the end is always the same.

use super::*;
use crate::iam::fake::Fault;
use crate::store::dying::Dying;

/// What befalls the process that is on its way.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    /// The process dies after so many half steps of the store: before or after each of its effects.
    Dies(usize),
    /// The call of that number, from the first, meets a fault; the process goes on.
    Fault(usize, Fault),
    /// Both: the answer is lost and the process dies before it could note that.
    DiesAtCall(usize, Fault),
}

/// Runs both ways with one mishap on the way there (`lifting` false) or back; tells whether it happened.
fn runs(pull: &Pull, mishap: Mishap, lifting: bool, lag: usize) -> bool {
    let mut bench = Bench::new();
    let (before, bystander) = (bench.shape(), bench.aws.snapshot(OTHER_ROLE));
    let hold = bench.hold("agent_id=a", vec![pull.clone()]);
    if lifting {
        bench.turn();
        assert_eq!(bench.stage(pull), Some(Stage::Stands));
        bench.release(&hold);
    }
    bench.aws.set_lag(lag);
    let happened = befalls(&mut bench, mishap);
    bench.aws.calm();
    bench.aws.set_lag(lag);
    bench.restart();
    bench.run(130, 13);
    bench.aws.calm();
    bench.run(130, 13);
    if !lifting {
        assert_eq!(bench.stage(pull), Some(Stage::Stands), "{pull:?} {mishap:?}");
        assert!(bench.is_there(pull), "{pull:?} {mishap:?}");
        assert_eq!(bench.told(Happened::TakenOff) + bench.told(Happened::Foreign), 0, "{pull:?} {mishap:?}");
        bench.release(&hold);
        bench.run(130, 13);
    }
    assert_eq!(bench.intents(), [], "{pull:?} {mishap:?} {lifting}");
    assert_eq!(bench.shape(), before, "{pull:?} {mishap:?} {lifting}");
    assert_eq!(bench.aws.snapshot(OTHER_ROLE), bystander);
    bench.check_trail();
    happened
}

fn befalls(bench: &mut Bench, mishap: Mishap) -> bool {
    let (left, at_call) = match mishap {
        Mishap::Dies(left) => (left, None),
        Mishap::Fault(at, fault) | Mishap::DiesAtCall(at, fault) => (usize::MAX, Some((at, fault))),
    };
    if let Some((at, fault)) = at_call {
        let mut seen = 0;
        bench.aws.plan(move |_| {
            seen += 1;
            (seen == at + 1).then_some(fault)
        });
    }
    bench.aws.forget_calls();
    bench.reconciler = bench.other(|own| Arc::new(Dying::after(Arc::new(own), left)));
    let dies_at_call = matches!(mishap, Mishap::DiesAtCall(..));
    for _ in 0..if dies_at_call { 1 } else { 8 } {
        if bench.try_turn().is_err() {
            return true;
        }
        bench.pass(5);
    }
    at_call.is_some_and(|(at, _)| bench.aws.calls().len() > at)
}

#[test]
fn killed_anywhere_the_wanted_stands_and_the_rest_is_as_before() {
    for pull in &pulls() {
        for lifting in [false, true] {
            let steps = (0..).take_while(|left| runs(pull, Mishap::Dies(*left), lifting, 0)).count();
            assert!(steps > 20, "{steps}");
        }
    }
}

#[test]
fn a_fault_at_any_call_changes_nothing_of_the_end() {
    let faults = [Fault::Throttle, Fault::LostRequest, Fault::LostAnswer, Fault::CutAnswer, Fault::Refuse(503, "ServiceUnavailable")];
    for pull in &pulls() {
        for lifting in [false, true] {
            for fault in faults {
                let calls = (0..).take_while(|at| runs(pull, Mishap::Fault(*at, fault), lifting, 0)).count();
                assert!(calls >= 2, "{calls}");
            }
            for fault in [Fault::LostAnswer, Fault::LostRequest] {
                (0..).take_while(|at| runs(pull, Mishap::DiesAtCall(*at, fault), lifting, 0)).for_each(drop);
            }
        }
    }
}

#[test]
fn reads_that_lag_are_no_manual_detach() {
    for pull in &pulls() {
        for lag in [1, 3, 9] {
            for lifting in [false, true] {
                runs(pull, Mishap::Fault(usize::MAX, Fault::Throttle), lifting, lag);
                for left in (0..60).step_by(7) {
                    runs(pull, Mishap::Dies(left), lifting, lag);
                }
            }
        }
    }
}

#[test]
fn whoever_was_overtaken_changes_nothing_more() {
    for pull in &pulls() {
        let mut bench = Bench::new();
        let before = bench.shape();
        let hold = bench.hold("agent_id=a", vec![pull.clone()]);
        let mut stale = bench.other(|own| Arc::new(own));
        bench.restart();
        assert!(matches!(stale.turn(&|| true), Err(StoreError::Fenced { .. })));
        assert_eq!((bench.writes(), bench.intents()), (0, Vec::new()));
        bench.turn();
        bench.settle();
        bench.release(&hold);
        let calls = bench.writes();
        assert!(stale.turn(&|| true).is_err());
        assert_eq!(bench.writes(), calls);
        bench.settle();
        assert_eq!(bench.shape(), before);
    }
}
