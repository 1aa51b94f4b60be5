//! Nothing that waits for a person comes into force without one; exceptions spare; the order of crossings changes nothing but whose
//! turn it was.

use super::*;
use crate::guard::Obstacle;
use crate::store::conformance::sample_line;

fn shared() -> Scope {
    let obstacle = Obstacle { reason: "others share it".to_owned(), advice: String::new(), approvable: true };
    Scope { obstacle: Some(obstacle), ..Scope::default() }
}

fn crossing(id: &str, mode: Mode, approval: bool) -> Crossing {
    let mut crossing = sample_crossing(id, &format!("agent_id={id}"));
    mode.as_str().clone_into(&mut crossing.breach.mode);
    crossing.hold = Some(HoldTerms { approval, until: None, live_targets: 100, hold_at: None, why: None });
    crossing
}

/// A way that a hold may go by itself.
fn by_itself() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Release { reason: "spend was taken back" }),
        Just(Change::Reopen),
        Just(Change::Mode(Mode::Observe)),
        Just(Change::Mode(Mode::Approve)),
        Just(Change::Mode(Mode::Enforce)),
    ]
}

/// Permutations of `0..many`, with repetitions.
fn orders(many: usize) -> impl Strategy<Value = Vec<usize>> {
    let all: Vec<usize> = (0..many).chain(0..many / 2).collect();
    Just(all).prop_shuffle()
}

fn fired(policy: &HoldPolicy, crossings: &[Crossing], order: &[usize]) -> Vec<Hold> {
    let mut holds: Vec<Hold> = Vec::new();
    for &at in order {
        // A fire id that was claimed is not decided again.
        if !holds.iter().any(|hold| hold.id == crossings[at].breach.fire_id) {
            holds.extend(put(policy, &crossings[at], &holds));
        }
    }
    holds.sort_by(|a, b| a.id.cmp(&b.id));
    holds
}

#[test]
fn what_was_only_observed_asks_before_it_stops_others() {
    let (_folder, store) = store();
    let decide = |crossing: &Crossing, scope| {
        decide_hold((&HoldPolicy::default(), &Protected::default()), crossing, &[], &Switches::default(), scope)
    };
    let cases = [
        ("shared", shared(), Mode::Enforce, HoldState::PendingApproval),
        ("approve", Scope::default(), Mode::Approve, HoldState::PendingApproval),
        ("alone", Scope::default(), Mode::Enforce, HoldState::Active),
    ];
    for (id, scope, mode, expected) in cases {
        let hold = decide(&crossing(id, Mode::Observe, false), scope).hold.expect("put");
        assert_eq!((hold.state, hold.is_in_force()), (HoldState::Active, false));
        store.put_hold(&hold, &sample_line("hold")).expect("put");
        let change = HoldChange { id: id.to_owned(), change: Change::Mode(mode) };
        let changed = apply_change(&store, &change, Micros(9)).expect("changed");
        assert_eq!((changed.state, changed.mode), (expected, mode), "{id}");
        assert_eq!(changed.approve_by.is_some() && changed.note.is_some(), expected == HoldState::PendingApproval);
    }
    // What stands stays when a budget begins to ask.
    let change = HoldChange { id: "alone".to_owned(), change: Change::Mode(Mode::Approve) };
    assert!(apply_change(&store, &change, Micros(9)).expect("changed").is_in_force());
}

#[test]
fn what_observes_takes_no_place_from_what_stops() {
    let policy = HoldPolicy { most_per_minute: 2, ..HoldPolicy::default() };
    let observed: Vec<Hold> = (0..5).filter_map(|at| put(&policy, &crossing(&at.to_string(), Mode::Observe, false), &[]).ok()).collect();
    assert_eq!(put(&policy, &crossing("x", Mode::Enforce, false), &observed).map(|hold| hold.state), Ok(HoldState::Active));
}

proptest! {
    #[test]
    fn nothing_that_waits_comes_into_force_without_a_word(
        changes in proptest::collection::vec(by_itself(), 1..12), kind in 0_usize..4, spared in any::<bool>()
    ) {
        let (_folder, store) = store();
        let (mode, approval, scope) = [
            (Mode::Enforce, true, Scope::default()),
            (Mode::Approve, true, Scope::default()),
            (Mode::Enforce, false, shared()),
            (Mode::Observe, false, shared()),
        ][kind].clone();
        let grant = Override {
            id: String::new(), budget: "daily".to_owned(), target: None, grant: Grant::Exempt, since: Micros(0), until: Micros(i64::MAX),
            actor: "ann".to_owned(), reason: String::new(),
        };
        let overrides = if spared { Overrides::of(vec![grant]) } else { Overrides::default() };
        let switches = Switches { overrides, ..Switches::default() };
        let hold = decide_hold((&HoldPolicy::default(), &Protected::default()), &crossing("f", mode, approval), &[], &switches, scope).hold.expect("put");
        prop_assert!(!hold.is_in_force());
        store.put_hold(&hold, &sample_line("hold")).expect("put");
        for (at, change) in changes.into_iter().enumerate() {
            match apply_change(&store, &HoldChange { id: "f".to_owned(), change }, Micros(at as i64)) {
                Ok(hold) => prop_assert!(!hold.is_in_force(), "{:?}", hold),
                Err(error) => prop_assert!(matches!(error, HoldError::State { .. }), "{}", error),
            }
        }
    }

    #[test]
    fn the_order_of_crossings_changes_nothing(order in orders(8), other in orders(8), most in 1_u32..12) {
        let crossings: Vec<Crossing> = (0..8).map(|at| crossing(&format!("f{at}"), Mode::Enforce, at % 4 == 3)).collect();
        let free = HoldPolicy { most_per_minute: 99, most_per_hour: 99, most_percent: 100, ..HoldPolicy::default() };
        prop_assert_eq!(fired(&free, &crossings, &order), fired(&free, &crossings, &other));
        // With caps the number in force is the same, and within them.
        let capped = HoldPolicy { most_per_minute: most, ..free };
        let in_force = |order: &[usize]| fired(&capped, &crossings, order).iter().filter(|hold| hold.is_in_force()).count();
        prop_assert_eq!(in_force(&order), in_force(&other));
        prop_assert_eq!(in_force(&order), 6.min(most as usize));
    }

    /// After a reconciliation nobody is held whom a person exempted.
    #[test]
    fn nobody_is_in_force_and_exempt(since in 0_i64..100, lasts in 1_i64..100, at in 0_i64..200, was_released in any::<bool>()) {
        let (ledger, hold) = held(DAILY);
        let minute = |minute: i64| Micros((OCTOBER + minute) * MINUTE);
        let grant = Override {
            id: String::new(), budget: "daily".to_owned(), target: Some("agent_id=a".to_owned()), grant: Grant::Exempt,
            since: minute(since), until: minute(since + lasts), actor: "ann".to_owned(), reason: String::new(),
        };
        let overrides = Overrides::of(vec![grant]);
        let (_folder, store) = store();
        store.put_hold(&hold, &sample_line("hold")).expect("put");
        if was_released {
            let change = HoldChange { id: hold.id.clone(), change: Change::Release { reason: "a person exempted it" } };
            apply_change(&store, &change, minute(0)).expect("released");
        }
        for _ in 0..2 {
            for change in changes(&ledger, &store.holds().expect("holds"), &overrides, minute(at)) {
                apply_change(&store, &change, minute(at)).expect("changed");
            }
        }
        let exempt = (since..since + lasts).contains(&at);
        prop_assert_eq!(store.holds().expect("holds")[0].is_in_force(), !exempt);
    }
}
