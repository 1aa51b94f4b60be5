//! Storms: thousands of stops at once against a service that refuses what comes too fast. Times are simulated, only counts are asserted.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::json;
use sluice_schemas::PicoUsd;

use super::*;
use crate::aws::{Aws, Body, Call, CallError, Method, Reply};
use crate::hold::Hold;
use crate::lever::{About, Done, LeverError, Order, Sight, Undo};
use crate::store::conformance::sample_line;

/// A service that takes so many writes a second.
struct Gate {
    clock: Arc<HandClock>,
    most: usize,
    state: Mutex<GateState>,
}

#[derive(Default)]
struct GateState {
    second: i64,
    in_second: usize,
    busiest: usize,
    refused: usize,
    taken: Vec<String>,
    reads: usize,
    there: BTreeSet<String>,
}

impl Aws for Gate {
    fn call(&self, call: &Call) -> Result<Reply, CallError> {
        let mut state = self.state.lock().unwrap();
        let second = self.clock.now().0 / SECOND;
        if !call.writes {
            state.reads += 1;
            return Ok(Reply { body: state.there.contains(&call.path).to_string().into_bytes(), request_id: String::new() });
        }
        if second != state.second {
            (state.second, state.in_second) = (second, 0);
        }
        state.in_second += 1;
        state.busiest = state.busiest.max(state.in_second);
        if state.in_second > self.most {
            state.refused += 1;
            let text = |text: &str| text.to_owned();
            return Err(CallError::Refused {
                action: call.action,
                status: 400,
                code: text("Throttling"),
                message: text("slow down"),
                request_id: text("r"),
            });
        }
        if call.method == Method::Put {
            state.there.insert(call.path.clone())
        } else {
            state.there.remove(&call.path)
        };
        state.taken.push(format!("{:?} {}", call.method, call.path));
        Ok(Reply::default())
    }
}

/// A lever of one call.
struct Plain(Undo);

fn call(order: &Order<'_>, method: Method) -> Call {
    let writes = method != Method::Get;
    let (service, action) = ("test", "test:Do");
    Call {
        account: String::new(),
        host: service,
        service,
        region: String::new(),
        global: true,
        method,
        path: order.subject.to_string(),
        headers: Vec::new(),
        body: Body::None,
        action,
        writes,
    }
}

impl Lever for Plain {
    fn kind(&self) -> LeverKind {
        LeverKind::Flag
    }

    fn about(&self) -> About {
        About { summary: "", grants: &[], policy: "", cannot: "", undo: self.0 }
    }

    fn fits(&self, _: &Subject) -> Result<(), LeverError> {
        Ok(())
    }

    fn look(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Sight, LeverError> {
        let there = aws.call(&call(order, Method::Get))?.body == b"true";
        Ok(Sight { stands: there && self.0 == Undo::Exact, ineffective: None, image: json!(null) })
    }

    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError> {
        aws.call(&call(order, Method::Put))?;
        Ok(Done::default())
    }

    fn lift(&self, aws: &dyn Aws, order: &Order<'_>, _: &serde_json::Value) -> Result<Done, LeverError> {
        if self.0 == Undo::Exact {
            aws.call(&call(order, Method::Delete))?;
        }
        Ok(Done::default())
    }
}

fn flag(name: &str) -> Pull {
    Pull { lever: LeverKind::Flag, subject: Subject::Target { target: name.to_owned() } }
}

/// A bench whose reconciler talks to a gate.
fn gated(settings: &Settings, undo: Undo, most: usize) -> (Bench, Arc<Gate>) {
    let mut bench = Bench::with(settings.clone(), Vec::new());
    let gate = Arc::new(Gate { clock: bench.clock.clone(), most, state: Mutex::default() });
    let own = bench.store.share();
    let fence = own.take_fence("gated", bench.now()).expect("a fence");
    bench.reconciler =
        Reconciler::new(Arc::new(own), gate.clone(), vec![Box::new(Plain(undo))], bench.clock.clone(), fence, settings.clone());
    (bench, gate)
}

/// A hold of many subjects that burns so many dollars an hour.
fn crowd(bench: &Bench, name: &str, size: usize, burn: i64) -> Hold {
    let hold = Hold { burn: PicoUsd::from_dollars(burn), ..bench.hold(name, Vec::new()) };
    let grips = (0..size).map(|number| Grip { chain: vec![flag(&format!("{name}-{number}"))] }).collect();
    let hold = Hold { scope: Scope { grips, ..Scope::default() }, ..hold };
    bench.store.update_hold(&hold, &sample_line("test")).expect("a hold")
}

#[test]
fn a_storm_is_paced_in_order_of_burn_and_starves_no_lift() {
    // Eight hundred stops at ten a second; the service takes eight.
    let paced = Settings::default();
    let (mut bench, gate) = gated(&paced, Undo::Exact, 8);
    let early = crowd(&bench, "early", 40, 1);
    for _ in 0..60 {
        bench.pass(1);
        bench.turn();
    }
    assert_eq!(gate.state.lock().unwrap().there.len(), 40);
    let mut holds: Vec<Hold> = (1..=20).map(|burn| crowd(&bench, &format!("burn{burn:02}"), 40, burn)).collect();
    bench.release(&early);
    let mut lifted_after = None;
    let mut seconds = 0;
    while gate.state.lock().unwrap().there.len() < 800 || lifted_after.is_none() {
        bench.pass(1);
        bench.turn();
        seconds += 1;
        if lifted_after.is_none() && !gate.state.lock().unwrap().there.iter().any(|name| name.starts_with("early")) {
            lifted_after = Some(seconds);
        }
        assert!(seconds < 600, "{} after {seconds}", gate.state.lock().unwrap().there.len());
    }
    let state = gate.state.lock().unwrap();
    assert!(lifted_after < Some(60), "{lifted_after:?}");
    assert!(state.busiest <= 11, "{}", state.busiest);
    assert!(state.refused * 10 <= state.taken.len(), "{} refused, {} taken", state.refused, state.taken.len());
    let order: Vec<&str> = state.taken.iter().filter_map(|line| line.strip_prefix("Put burn")).map(|name| &name[..2]).collect();
    assert!(
        order[..40].iter().filter(|burn| **burn == "20").count() >= 36 && order[order.len() - 40..].iter().all(|burn| *burn <= "02"),
        "{order:?}"
    );
    drop(state);
    // All back, and nothing is asked any longer.
    holds.drain(..).for_each(|hold| bench.release(&hold));
    for _ in 0..260 {
        bench.pass(1);
        bench.turn();
    }
    assert_eq!((gate.state.lock().unwrap().there.len(), bench.intents().len()), (0, 0));
}

#[test]
fn what_stands_is_looked_at_in_turn_and_does_not_delay_a_new_stop() {
    // Six hundred that stand are more than twenty looks a second can see in thirty seconds.
    let (mut bench, gate) = gated(&settings(), Undo::Exact, 10_000);
    crowd(&bench, "old", 900, 50);
    bench.run(10, 1);
    assert_eq!(gate.state.lock().unwrap().there.len(), 900);
    let paced = Settings { writes_per_second: 10, reads_per_second: 20, ..settings() };
    let own = bench.store.share();
    let fence = own.take_fence("paced", bench.now()).expect("a fence");
    bench.reconciler = Reconciler::new(Arc::new(own), gate.clone(), vec![Box::new(Plain(Undo::Exact))], bench.clock.clone(), fence, paced);
    bench.run(40, 1);
    crowd(&bench, "new", 1, 1);
    bench.run(2, 1);
    assert!(gate.state.lock().unwrap().there.contains("new-0"));
    // Each is looked at in its turn.
    gate.state.lock().unwrap().there.remove("old-777");
    bench.run(200, 1);
    assert_eq!(bench.told(Happened::TakenOff), 1);
}

#[test]
fn a_turn_with_nothing_to_do_reads_nothing_again() {
    let (mut bench, gate) = gated(&settings(), Undo::Exact, 10_000);
    crowd(&bench, "all", 400, 1);
    bench.run(10, 1);
    assert_eq!(bench.turn().standing, 400);
    let lines = |bench: &Bench| bench.store.audit_head().expect("a head").map(|head| head.number);
    let (before, reads) = (lines(&bench), gate.state.lock().unwrap().reads);
    for _ in 0..20 {
        bench.turn();
    }
    assert_eq!((lines(&bench), gate.state.lock().unwrap().reads), (before, reads));
    // A look that finds what is known writes nothing.
    bench.run(60, 10);
    assert_eq!(lines(&bench), before);
    let looks = gate.state.lock().unwrap().reads - reads;
    assert!((400..=1_200).contains(&looks), "{looks}");
}

#[test]
fn what_only_interrupts_does_so_once_for_each_hold() {
    let (mut bench, gate) = gated(&settings(), Undo::Nothing, 10_000);
    let kicks = || gate.state.lock().unwrap().taken.len();
    let first = bench.hold("agent_id=a", vec![flag("s")]);
    bench.settle();
    assert_eq!(kicks(), 1);
    bench.store.set_stopped(true, &sample_line("stop")).expect("stopped");
    let second = bench.hold("agent_id=b", vec![flag("s")]);
    bench.settle();
    assert_eq!(kicks(), 1);
    bench.store.set_stopped(false, &sample_line("go")).expect("goes on");
    bench.settle();
    assert_eq!(kicks(), 2, "the second hold is not forgotten while nothing may be pulled");
    bench.release(&first);
    bench.settle();
    bench.release(&second);
    bench.settle();
    assert_eq!((kicks(), bench.intents().len()), (2, 0));
}

#[test]
fn what_only_interrupts_is_not_repeated_because_its_process_died() {
    for left in 0..80 {
        let (mut bench, gate) = gated(&settings(), Undo::Nothing, 10_000);
        let make = |store: Arc<dyn SharedStore>, fence| {
            Reconciler::new(
                store,
                gate.clone(),
                vec![Box::new(Plain(Undo::Nothing)) as Box<dyn Lever>],
                bench.clock.clone(),
                fence,
                settings(),
            )
        };
        bench.hold("agent_id=a", vec![flag("s")]);
        let own = bench.store.share();
        let fence = own.take_fence("dying", bench.now()).expect("a fence");
        let died = make(Arc::new(crate::store::dying::Dying::after(Arc::new(own), left)), fence).turn(&|| true).is_err();
        let noted = bench.intents().iter().any(|intent| matches!(intent.stage, Stage::Pulled | Stage::Stands));
        let own = bench.store.share();
        let fence = own.take_fence("next", bench.now()).expect("a fence");
        let next = make(Arc::new(own), fence);
        bench.reconciler = next;
        bench.settle();
        let kicks = gate.state.lock().unwrap().taken.len();
        assert!(kicks == 1 || kicks == 2 && died && !noted, "{left}: {kicks}");
    }
}
