//! Tests of the ledger as its callers see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use sluice_schemas::time::{DAY, MINUTE};
use sluice_schemas::{Micros, PicoUsd};

use super::Ledger;
use super::index::Index;
use crate::budget::ActionKind;
use crate::counter::FiredState;
use crate::fire::{Crossing, Withheld};
use crate::limits::{LimitTable, NoLimits};
use crate::test_support::{Feed, Spend, apply, budgets, ledger};

/// 2026-10-01T00:00Z in minutes.
const OCTOBER: i64 = 1_790_812_800 / 60;

const HOURLY: &str = r#"
[[budget]]
name = "hourly"
each = ["agent_id"]
limit = "1.00 USD"
window = "rolling 1h"
mode = "enforce"
[[budget.threshold]]
at = "80%"
do = ["notify"]
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]
"#;

fn daily(limit: &str) -> String {
    HOURLY.replace("rolling 1h", "day").replace("hourly", "daily").replace("1.00 USD", limit)
}

fn thresholds(crossings: &[Crossing]) -> Vec<&str> {
    crossings.iter().map(|crossing| crossing.breach.threshold.as_str()).collect()
}

fn rows(ledger: &mut Ledger, store: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    for (key, value) in ledger.take_dirty() {
        match value {
            Some(value) => store.insert(key, value),
            None => store.remove(&key),
        };
    }
}

fn load(toml: &str, store: &BTreeMap<Vec<u8>, Vec<u8>>) -> Ledger {
    let rows = store.iter().map(|(key, value)| (key.clone(), value.clone()));
    Ledger::load(budgets(toml), Arc::new(NoLimits), rows).expect("rows as written")
}

#[test]
fn a_threshold_is_reached_exactly_at_its_amount() {
    let mut ledger = ledger(&daily("1.00 USD"));
    assert_eq!(thresholds(&apply(&mut ledger, &[Spend::new("a", OCTOBER, 799_999)])), Vec::<&str>::new());
    assert_eq!(thresholds(&apply(&mut ledger, &[Spend::new("a", OCTOBER, 1)])), ["80%"]);
    assert_eq!(thresholds(&apply(&mut ledger, &[Spend::new("a", OCTOBER, 199_999)])), Vec::<&str>::new());
    let last = apply(&mut ledger, &[Spend::new("a", OCTOBER + 1, 1)]);
    assert_eq!(thresholds(&last), ["100%"]);
    assert_eq!(last[0].actions, [ActionKind::Notify, ActionKind::Hold]);
    assert_eq!(last[0].breach.spent_usd, PicoUsd::from_dollars(1));
    assert_eq!(last[0].breach.period, "2026-10-01");
    assert_eq!(last[0].breach.target, "agent_id=a");
    assert_eq!(thresholds(&apply(&mut ledger, &[Spend::new("a", OCTOBER + 1, 500_000)])), Vec::<&str>::new());
}

#[test]
fn one_delta_can_cross_all_thresholds_and_each_target_has_its_own_counter() {
    let mut ledger = ledger(&daily("1.00 USD"));
    let crossings = apply(&mut ledger, &[Spend::new("a", OCTOBER, 5_000_000), Spend::new("b", OCTOBER, 900_000)]);
    let seen: Vec<_> = crossings.iter().map(|c| (c.breach.target.as_str(), c.breach.threshold.as_str())).collect();
    assert_eq!(seen, [("agent_id=a", "80%"), ("agent_id=a", "100%"), ("agent_id=b", "80%")]);
}

#[test]
fn late_spend_changes_the_old_day_and_does_not_hold() {
    let mut ledger = ledger(&daily("1.00 USD"));
    apply(&mut ledger, &[Spend::new("a", OCTOBER + 1440, 10)]);
    let late = apply(&mut ledger, &[Spend::new("a", OCTOBER + 100, 2_000_000)]);
    assert!(late.iter().all(|crossing| crossing.breach.period == "2026-10-01"));
    // The clock never goes back, so the day is over.
    assert_eq!(late[1].actions, [ActionKind::Notify]);
    assert_eq!(late[1].withheld, Some(Withheld::PeriodOver));
    let spent: Vec<_> = ledger.status(Micros((OCTOBER + 1441) * MINUTE)).into_iter().map(|s| (s.period, s.spent)).collect();
    assert_eq!(spent, [("2026-10-01".to_owned(), PicoUsd::from_dollars(2)), ("2026-10-02".to_owned(), PicoUsd(10_000_000))]);
}

#[test]
fn a_rolling_sum_fires_holds_and_is_armed_again_once_it_fell() {
    let mut ledger = ledger(HOURLY);
    assert_eq!(thresholds(&apply(&mut ledger, &[Spend::new("a", OCTOBER, 1_000_000)])), ["80%", "100%"]);
    assert_eq!(thresholds(&apply(&mut ledger, &[Spend::new("a", OCTOBER + 30, 1_000_000)])), Vec::<&str>::new());
    // 61 minutes after the first the sum is back at 1.00: it never fell below nine tenths.
    assert_eq!(thresholds(&apply(&mut ledger, &[Spend::new("a", OCTOBER + 70, 500_000)])), Vec::<&str>::new());
    // Two hours later everything has slid out.
    let again = apply(&mut ledger, &[Spend::new("a", OCTOBER + 190, 1_000_000)]);
    assert_eq!(thresholds(&again), ["80%", "100%"]);
    assert_eq!(again[1].breach.period, "2026-10-01T03:00:00Z/1h");
}

#[test]
fn a_second_runaway_in_the_same_slice_fires_under_its_own_name() {
    let mut ledger = ledger(HOURLY);
    let spends = [(OCTOBER - 30, 900_000), (OCTOBER + 5, 200_000), (OCTOBER + 50, 1_000_000)];
    let mut periods = Vec::new();
    for (minute, micro_usd) in spends {
        let crossings = apply(&mut ledger, &[Spend::new("a", minute, micro_usd)]);
        periods.extend(crossings.into_iter().filter(|c| c.breach.threshold == "100%").map(|c| c.breach.period));
    }
    assert_eq!(periods, ["2026-10-01T00:00:00Z/1h", "2026-10-01T00:00:00Z/1h#2"]);
}

#[test]
fn limits_come_from_the_file_the_agents_and_the_tags() {
    let toml = r#"
[[budget]]
name = "by agent"
each = ["agent_id"]
limit = "3 USD"
limit_from = "agent"
window = "lifetime"
[budget.limits]
"vip" = "50 USD"
[[budget]]
name = "by tag"
each = ["agent_id"]
limit = "10 USD"
limit_from = "tag:budget"
window = "lifetime"
"#;
    let mut table = LimitTable::default();
    table.limits.insert("b".to_owned(), PicoUsd::from_dollars(2));
    let mut ledger = Ledger::new(budgets(toml), Arc::new(table));
    let spends = [
        Spend::new("a", OCTOBER, 2_500_000).tagged("budget", "$100"),
        Spend::new("b", OCTOBER, 2_500_000).tagged("budget", "2.00 USD"),
        Spend::new("vip", OCTOBER, 2_500_000).tagged("budget", "a lot"),
    ];
    let crossings = apply(&mut ledger, &spends);
    let seen: Vec<_> = crossings.iter().map(|c| (c.breach.budget.as_str(), c.breach.target.as_str(), c.breach.limit_usd)).collect();
    let two = PicoUsd::from_dollars(2);
    assert_eq!(seen, [("by agent", "agent_id=b", two), ("by tag", "agent_id=b", two)]);
    let limits: Vec<_> = ledger.status(Micros(OCTOBER * MINUTE)).into_iter().filter_map(|s| s.limit).collect();
    assert_eq!(limits, [3, 2, 50, 10, 2, 10].map(PicoUsd::from_dollars));
}

#[test]
fn unpriced_calls_count_at_their_worst_case_and_are_never_silent() {
    let toml = daily("1 USD")
        + &daily("1 USD").replace("daily", "cautious").replace(
            "[[budget.threshold]]\nat = \"80%\"",
            "unpriced_worst_case = \"75.00 USD per 1M tokens\"\n[[budget.threshold]]\nat = \"80%\"",
        );
    let mut ledger = ledger(&toml);
    let crossings = apply(&mut ledger, &[Spend::new("a", OCTOBER, 0).unpriced(20_000)]);
    assert_eq!(crossings.iter().map(|c| c.breach.budget.as_str()).collect::<Vec<_>>(), ["cautious", "cautious"]);
    assert_eq!((crossings[1].breach.spent_usd, crossings[1].breach.unpriced_calls), ("1.5".parse().expect("money"), 1));
    assert!(ledger.status(Micros(0)).iter().all(|status| status.unpriced_calls == 1));
}

#[test]
fn sessions_end_never_and_calls_without_one_are_shown_apart() {
    let mut ledger = ledger(&daily("1 USD").replace("each = [\"agent_id\"]", "").replace("\"day\"", "\"session\""));
    let spends = [Spend::new("a", OCTOBER, 600_000).in_session("s"), Spend::new("a", OCTOBER, 7)];
    apply(&mut ledger, &spends);
    ledger.advance(Micros((OCTOBER + 100 * 1440) * MINUTE));
    let crossings = apply(&mut ledger, &[Spend::new("a", OCTOBER + 100 * 1440, 600_000).in_session("s")]);
    assert_eq!(crossings[1].breach.target, "agent_id=a,session_id=s");
    assert_eq!((crossings[1].breach.period.as_str(), crossings[1].breach.period_end), ("session", None));
    let overview = ledger.overview();
    assert_eq!((overview[0].unplaced, overview[0].unplaced_calls), (PicoUsd(7_000_000), 1));
}

#[test]
fn old_days_are_forgotten_and_their_spend_is_reported() {
    let mut ledger = ledger(&daily("1 USD"));
    let mut store = BTreeMap::new();
    for day in 0..6 {
        apply(&mut ledger, &[Spend::new("a", OCTOBER + day * 1440, 100)]);
        ledger.advance(Micros((OCTOBER + day * 1440 + 1) * MINUTE));
        rows(&mut ledger, &mut store);
    }
    let periods: Vec<_> = ledger.status(Micros(0)).into_iter().map(|status| status.period).collect();
    assert_eq!(periods, ["2026-10-04", "2026-10-05", "2026-10-06"]);
    assert_eq!(store.len(), 4, "three counters and the budget");
    apply(&mut ledger, &[Spend::new("a", OCTOBER, 100)]);
    assert_eq!(ledger.overview()[0].too_late_calls, 1);
    rows(&mut ledger, &mut store);
    assert_eq!(load(&daily("1 USD"), &store).overview(), ledger.overview());
}

#[test]
fn a_move_that_is_undone_leaves_the_sums_as_they_were_and_crosses_nothing() {
    for toml in [daily("1.00 USD"), HOURLY.to_owned()] {
        let mut ledger = ledger(&toml);
        let now = Micros((OCTOBER + 2) * MINUTE);
        let (of_a, of_b) = (Spend::new("a", OCTOBER, 1_200_000), Spend::new("b", OCTOBER, 1_200_000));
        assert_eq!(thresholds(&apply(&mut ledger, std::slice::from_ref(&of_a))), ["80%", "100%"]);
        let stored = ledger.status(now);
        ledger.retract(Feed::of([&of_a]).view(), now);
        assert_eq!(thresholds(&ledger.apply(Feed::of([&of_b]).view(), now)), ["80%", "100%"]);
        let pending = ledger.pending().count();
        ledger.undo(Feed::of([&of_b]).view(), Feed::of([&of_a]).view());
        let spent = |ledger: &Ledger, agent: &str| {
            let of_agent = ledger.status(now).into_iter().filter(|status| status.target == format!("agent_id={agent}"));
            of_agent.map(|status| status.spent).sum::<PicoUsd>()
        };
        assert_eq!((spent(&ledger, "a"), spent(&ledger, "b")), (stored[0].spent, PicoUsd::ZERO));
        assert_eq!(ledger.pending().count(), pending, "nothing is due that was not");
        // The same move once more: what crossed has its name already.
        ledger.retract(Feed::of([&of_a]).view(), now);
        assert_eq!(thresholds(&ledger.apply(Feed::of([&of_b]).view(), now)), Vec::<&str>::new());
    }
}

#[test]
fn retracted_spend_is_gone_from_its_period() {
    let mut ledger = ledger(&daily("1 USD"));
    let spend = [Spend::new("a", OCTOBER, 700_000)];
    apply(&mut ledger, &spend);
    ledger.retract(Feed::of(&spend).view(), Micros(OCTOBER * MINUTE));
    assert!(apply(&mut ledger, &[Spend::new("a", OCTOBER, 700_000)]).is_empty());
    assert_eq!(ledger.status(Micros(0))[0].calls, 1);
}

#[test]
fn a_raised_limit_arms_again_and_only_tells_until_confirmed() {
    let mut ledger = ledger(&daily("1 USD"));
    let first = apply(&mut ledger, &[Spend::new("a", OCTOBER, 1_000_000)]);
    assert_eq!(ledger.reconfigure(budgets(&daily("2 USD"))), []);
    assert_eq!(ledger.unconfirmed().collect::<Vec<_>>(), ["daily"]);
    let told = apply(&mut ledger, &[Spend::new("a", OCTOBER, 1_000_000)]);
    assert_eq!(thresholds(&told), ["80%", "100%"]);
    assert_eq!((told[1].withheld, told[1].hold.is_some()), (Some(Withheld::Unconfirmed), false));
    assert_ne!(first[1].breach.fire_id, told[1].breach.fire_id);
    let acted = ledger.confirm("daily", Micros(OCTOBER * MINUTE));
    assert_eq!(thresholds(&acted), ["80%", "100%"]);
    assert!(acted[1].hold.is_some() && acted[1].breach.fire_id != told[1].breach.fire_id);
    assert!(ledger.confirm("daily", Micros(OCTOBER * MINUTE)).is_empty());
    // A lowered limit does not repeat what was told.
    ledger.reconfigure(budgets(&daily("1.50 USD")));
    assert!(apply(&mut ledger, &[Spend::new("a", OCTOBER, 1)]).is_empty());
}

#[test]
fn an_edited_rule_keeps_its_usage_and_another_count_needs_history() {
    let mut ledger = ledger(&daily("1 USD"));
    apply(&mut ledger, &[Spend::new("a", OCTOBER + 5, 500_000)]);
    let changed = daily("1 USD").replace("each = [\"agent_id\"]", "each = [\"agent_id\", \"region\"]");
    let needed = ledger.reconfigure(budgets(&changed));
    assert_eq!((needed[0].budget.as_str(), needed[0].from), ("daily", Micros(OCTOBER * MINUTE)));
    ledger.seed(Feed::of(&[Spend::new("a", OCTOBER + 5, 1_500_000)]).view());
    let status = ledger.status(Micros(0));
    assert_eq!(status[0].fired[0].state, FiredState::Seeded);
    assert!(apply(&mut ledger, &[Spend::new("a", OCTOBER + 6, 1)]).is_empty());
    assert!(ledger.needs_seed().is_empty());
    assert_eq!(thresholds(&ledger.confirm("daily", Micros((OCTOBER + 7) * MINUTE))), ["80%", "100%"]);
}

#[test]
fn a_confirmation_comes_too_late_for_a_period_that_is_over() {
    let mut ledger = ledger("");
    ledger.reconfigure(budgets(&daily("1 USD")));
    ledger.seed(Feed::of(&[Spend::new("a", OCTOBER, 2_000_000)]).view());
    assert!(ledger.confirm("daily", Micros(OCTOBER * MINUTE + DAY)).is_empty());
}

#[test]
fn a_change_while_down_is_noticed() {
    let mut ledger = ledger(&daily("1 USD"));
    let mut store = BTreeMap::new();
    for crossing in apply(&mut ledger, &[Spend::new("a", OCTOBER, 1_000_000)]) {
        ledger.settle(&crossing.breach.fire_id);
    }
    rows(&mut ledger, &mut store);
    assert_eq!(load(&daily("1 USD"), &store).unconfirmed().count(), 0);

    // Another limit: the counters stay, the budget only tells.
    let mut raised = load(&daily("2 USD"), &store);
    assert_eq!((raised.unconfirmed().collect::<Vec<_>>(), raised.needs_seed().len()), (vec!["daily"], 0));
    assert_eq!(thresholds(&apply(&mut raised, &[Spend::new("a", OCTOBER, 1_000_000)])), ["80%", "100%"]);
    let mut after = store.clone();
    rows(&mut raised, &mut after);
    assert_eq!(load(&daily("2 USD"), &after).unconfirmed().collect::<Vec<_>>(), ["daily"]);

    // Another count: the counters go, their rows too.
    let other = daily("1 USD").replace("[\"agent_id\"]", "[\"region\"]");
    let mut other_count = load(&other, &store);
    assert_eq!((other_count.live_counters(), other_count.needs_seed().len()), (0, 1));
    let mut after = store.clone();
    rows(&mut other_count, &mut after);
    assert_eq!(after.len(), 1, "the row of the budget alone");
    assert_eq!(load(&other, &after).needs_seed().len(), 1, "still waits for its history");

    // Removed, and there again.
    let mut removed = load("", &store);
    rows(&mut removed, &mut store);
    assert!(store.is_empty());
}

#[test]
fn rows_without_their_owner_are_damage() {
    let mut ledger = ledger(HOURLY);
    let mut store = BTreeMap::new();
    apply(&mut ledger, &[Spend::new("a", OCTOBER, 1_000)]);
    rows(&mut ledger, &mut store);
    assert_eq!(store.len(), 3, "budget, counter and bucket");
    for kind in [b'b', b'c'] {
        let rows = store.iter().filter(|(key, _)| key[0] != kind).map(|(key, value)| (key.clone(), value.clone()));
        let error = Ledger::load(budgets(HOURLY), Arc::new(NoLimits), rows).err().expect("refused");
        assert!(error.to_string().contains("is missing, but there are"), "{error}");
    }
}

#[test]
fn a_raised_limit_of_an_agent_arms_again() {
    let toml = daily("1 USD").replace("limit =", "limit_from = \"agent\"\nlimit =");
    let mut ledger = ledger(&toml);
    assert_eq!(apply(&mut ledger, &[Spend::new("a", OCTOBER, 1_500_000)]).len(), 2);
    let mut table = LimitTable::default();
    table.limits.insert("a".to_owned(), PicoUsd::from_dollars(3));
    ledger.set_limits(Arc::new(table));
    assert_eq!(ledger.status(Micros(0))[0].fired.len(), 0);
    assert_eq!(thresholds(&apply(&mut ledger, &[Spend::new("a", OCTOBER, 1_000_000)])), ["80%"]);
}

#[test]
fn absurd_times_are_set_aside() {
    let mut ledger = ledger(&(daily("1 USD") + HOURLY));
    for minute in [i64::MIN / 60_000_000, -1, 253_402_300_800 / 60, i64::MAX / 60_000_000 - 1] {
        assert!(ledger.apply(Feed::of(&[Spend::new("a", minute, 9_000_000)]).view(), Micros(OCTOBER * MINUTE)).is_empty());
    }
    assert_eq!(ledger.overview().iter().map(|overview| overview.too_late_calls).collect::<Vec<_>>(), [4, 4]);
}

#[test]
fn a_limit_of_nothing_stops_the_first_call() {
    let mut ledger = ledger(&daily("0 USD"));
    assert_eq!(thresholds(&apply(&mut ledger, &[Spend::new("a", OCTOBER, 0)])), ["80%", "100%"]);
}

#[test]
fn late_spend_of_a_rolling_window_can_cross_in_the_past() {
    let mut ledger = ledger(HOURLY);
    apply(&mut ledger, &[Spend::new("a", OCTOBER, 700_000), Spend::new("a", OCTOBER + 120, 1)]);
    let late = apply(&mut ledger, &[Spend::new("a", OCTOBER + 10, 400_000)]);
    assert_eq!(thresholds(&late), ["80%", "100%"]);
    assert_eq!((late[1].breach.event_time, late[1].withheld), (Micros((OCTOBER + 11) * MINUTE - 1), Some(Withheld::PeriodOver)));
    assert_eq!(late[1].breach.note.as_deref(), Some("hold not put: the period was over when the spend arrived"));
    // What is older than the window and its lateness is not counted any more, and said to be so.
    apply(&mut ledger, &[Spend::new("a", OCTOBER + 600, 1), Spend::new("a", OCTOBER + 100, 5_000_000)]);
    assert!(apply(&mut ledger, &[Spend::new("a", OCTOBER, 5_000_000)]).is_empty());
    assert_eq!(ledger.overview()[0].too_late_calls, 1);
}

#[test]
fn the_pressing_counters_come_first() {
    let mut ledger = ledger(&(daily("1 USD") + &daily("10 USD").replace("daily", "wide")));
    apply(&mut ledger, &[Spend::new("old", OCTOBER - 1440, 99_000_000)]);
    apply(&mut ledger, &[Spend::new("a", OCTOBER, 900_000), Spend::new("b", OCTOBER, 2_000_000), Spend::new("c", OCTOBER, 1)]);
    let now = Micros((OCTOBER + 1) * MINUTE);
    let top: Vec<_> = ledger.pressing(now, 3).into_iter().map(|status| (status.budget, status.target, status.percent_millis)).collect();
    let expected = [("daily", "agent_id=b", 200_000), ("daily", "agent_id=a", 90_000), ("wide", "agent_id=b", 20_000)];
    assert_eq!(top, expected.map(|(budget, target, percent)| (budget.to_owned(), target.to_owned(), Some(percent))));
    assert_eq!(ledger.pressing(now, 99).len(), 6);
    assert_eq!(ledger.pressing(now, 0).len(), 0);
}

#[test]
fn a_counter_is_small() {
    // A hundred thousand sessions have to fit into a hundred megabytes, with their names and the table's spare room.
    assert!(size_of::<crate::counter::Counter>() + size_of::<crate::book::Key>() <= 400);
}

#[test]
fn pending_crossings_survive_until_they_are_settled() {
    let mut ledger = ledger(&daily("1 USD"));
    let mut store = BTreeMap::new();
    let crossings = apply(&mut ledger, &[Spend::new("a", OCTOBER, 2_000_000)]);
    rows(&mut ledger, &mut store);
    let mut ledger = load(&daily("1 USD"), &store);
    let mut pending: Vec<Crossing> = ledger.pending().cloned().collect();
    pending.sort_by(|a, b| b.breach.threshold.cmp(&a.breach.threshold));
    assert_eq!(pending, crossings);
    crossings.iter().for_each(|crossing| ledger.settle(&crossing.breach.fire_id));
    rows(&mut ledger, &mut store);
    assert_eq!(load(&daily("1 USD"), &store).pending().count(), 0);
}

#[test]
fn a_spilled_session_goes_on_where_it_stopped() {
    let toml = daily("1 USD").replace("each = [\"agent_id\"]", "").replace("\"day\"", "\"session\"");
    let mut ledger = ledger(&toml);
    let mut store = BTreeMap::new();
    for session in ["s", "t", "u"] {
        apply(&mut ledger, &[Spend::new("a", OCTOBER, 600_000).in_session(session)]);
    }
    assert_eq!(ledger.spill(1), 0, "nothing is committed yet");
    rows(&mut ledger, &mut store);
    assert_eq!((ledger.spill(1), ledger.live_counters(), ledger.spilled_counters()), (2, 1, 2));
    assert!(apply(&mut ledger, &[Spend::new("a", OCTOBER, 600_000).in_session("s")]).is_empty());
    rows(&mut ledger, &mut store);
    assert_eq!(ledger.unrestored().len(), 1);
    let crossings = ledger.restore(|key| store.get(key).cloned()).expect("rows as written");
    assert_eq!(thresholds(&crossings), ["80%", "100%"]);
    assert_eq!(crossings[0].breach.spent_usd, "1.2".parse().expect("money"));
    rows(&mut ledger, &mut store);
    let loaded = load(&toml, &store);
    assert_eq!(loaded.status(Micros(0)).iter().map(|status| status.spent.0).sum::<i128>(), 2_400_000_000_000);
}

#[test]
fn rearmed_thresholds_fire_anew() {
    let mut ledger = ledger(&daily("1 USD"));
    let first = apply(&mut ledger, &[Spend::new("a", OCTOBER, 2_000_000)]);
    assert!(ledger.rearm("daily", "agent_id=a"));
    assert!(!ledger.rearm("daily", "agent_id=b"));
    let second = apply(&mut ledger, &[Spend::new("a", OCTOBER, 1)]);
    assert_eq!(thresholds(&second), thresholds(&first));
    assert_ne!(second[0].breach.fire_id, first[0].breach.fire_id);
}

/// Spend of two days: none of it is so late that its period may be forgotten.
fn spends() -> impl Strategy<Value = Vec<Spend>> {
    let spend = (0_usize..3, 0_usize..3, 0_i64..2 * 1440, 0_i64..400_000, 0_usize..6);
    let spend = spend.prop_map(|(agent, session, minute, micro_usd, kind)| {
        let spend = Spend::new(["a", "b", "c"][agent], OCTOBER + minute, micro_usd).in_session(["s", "t", "u"][session]);
        match kind {
            0 => spend.unpriced(3_000),
            1 => spend.tagged("budget", "0.50 USD"),
            2 => spend.tagged("budget", "70 USD"),
            _ => spend,
        }
    });
    proptest::collection::vec(spend, 1..60)
}

fn every_growing_window() -> String {
    let base = daily("1 USD").replace("limit =", "unpriced_worst_case = \"50 USD per 1M tokens\"\nlimit =");
    let zones = base.replace("window = \"day\"", "window = \"day\"\ntimezone = \"Europe/Berlin\"");
    let with = |name: &str, window: &str| base.replace("daily", name).replace("\"day\"", &format!("\"{window}\""));
    let session = with("session", "session").replace("[\"agent_id\"]", "[\"session_id\"]");
    let tagged = with("tagged", "lifetime").replace("limit =", "limit_from = \"tag:budget\"\nlimit =");
    let half_hour = with("lord howe", "day").replace("window = \"day\"", "window = \"day\"\ntimezone = \"Australia/Lord_Howe\"");
    let upper = with("upper bound", "day").replace("limit =", "count = \"cost_max\"\nlimit =");
    [half_hour, upper, zones, tagged, with("weekly", "week"), with("monthly", "month"), with("ever", "lifetime"), session].concat()
}

type Outcome = (BTreeSet<String>, Vec<(String, String, String, PicoUsd, u64)>);

fn outcome(ledger: &Ledger, fire_ids: BTreeSet<String>) -> Outcome {
    let status = ledger.status(Micros(0)).into_iter().map(|s| (s.budget, s.target, s.period, s.spent, s.calls)).collect();
    (fire_ids, status)
}

/// Predicates of every kind over agents `a` to `c` and the tag `budget`.
const WHERES: [&str; 12] = [
    "agent_id = 'a'",
    "'b' = agent_id",
    "agent_id IN ('a', 'c', 'a')",
    "agent_id = 'a' AND session_id = 's'",
    "agent_id = 'a' OR agent_id = 'b'",
    "agent_id = 'a' OR session_id = 't'",
    "NOT agent_id = 'a'",
    "agent_id LIKE 'a%'",
    "tags['budget'] = '70 USD'",
    "tags['budget'] IN ('70 USD', '0.50 USD') AND agent_id <> 'b'",
    "agent_id = NULL",
    "team IS NULL",
];

/// One budget of each predicate and window, and one without a predicate.
fn filtered() -> String {
    let mut text = daily("1 USD") + HOURLY;
    for (number, filter) in WHERES.iter().enumerate() {
        for (base, name) in [(daily("1 USD"), "daily"), (HOURLY.to_owned(), "hourly")] {
            let named = base.replace(&format!("\"{name}\""), &format!("\"{name} {number}\""));
            text += &named.replace("each =", &format!("where = \"{filter}\"\neach ="));
        }
    }
    text
}

/// Rolling windows with buckets of a minute and of several.
const ROLLING: [&str; 5] = ["15m", "1h", "6h", "1d", "2d"];

fn every_rolling_window() -> String {
    ROLLING.map(|width| HOURLY.replace("rolling 1h", &format!("rolling {width}")).replace("hourly", width)).concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn budgets_found_by_index_are_those_that_asking_all_finds(spends in spends(), cuts in proptest::collection::vec(1_usize..20, 1..10)) {
        let toml = filtered();
        let (mut indexed, mut asking) = (ledger(&toml), ledger(&toml));
        asking.index = Some((Arc::clone(asking.budgets()), Index::none(asking.budgets().len())));
        let (mut rest, mut cut) = (spends.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (head, tail) = rest.split_at((*cut.next().expect("cycle")).min(rest.len()));
            prop_assert_eq!(apply(&mut indexed, head), apply(&mut asking, head));
            rest = tail;
        }
        prop_assert_eq!(indexed.status(Micros(0)), asking.status(Micros(0)));
        prop_assert_eq!(indexed.overview(), asking.overview());
        let (mut one, mut other) = (BTreeMap::new(), BTreeMap::new());
        rows(&mut indexed, &mut one);
        rows(&mut asking, &mut other);
        prop_assert_eq!(one, other);
        // Other budgets, another index.
        let fewer = budgets(&(daily("1 USD") + &daily("1 USD").replace("daily", "b").replace("each =", "where = \"agent_id = 'b'\"\neach =")));
        indexed.reconfigure(Arc::clone(&fewer));
        indexed.seed(Feed::of(&spends).view());
        let counted = indexed.status_of("b", Micros(0)).iter().map(|status| status.calls).sum::<u64>();
        prop_assert_eq!(counted, spends.iter().filter(|spend| spend.agent == "b").count() as u64);
    }

    /// Whatever comes in one batch is taken in event-time order, so its order does not matter, rolling windows included.
    #[test]
    fn the_order_within_a_batch_changes_nothing(spends in spends(), shuffle in any::<prop::sample::Index>()) {
        let toml = every_growing_window() + &every_rolling_window();
        let now = Micros((OCTOBER + 3 * 1440) * MINUTE);
        let mut shuffled = spends.clone();
        shuffled.rotate_left(shuffle.index(spends.len()));
        let (front, back) = shuffled.split_at(shuffled.len() / 2);
        let shuffled: Vec<&Spend> = back.iter().rev().chain(front).collect();
        let (mut one, mut other) = (ledger(&toml), ledger(&toml));
        let ids = |crossings: Vec<Crossing>| -> BTreeSet<String> { crossings.into_iter().map(|c| c.breach.fire_id).collect() };
        let expected = ids(one.apply(Feed::of(&spends).view(), now));
        prop_assert_eq!(ids(other.apply(Feed::of(shuffled).view(), now)), expected);
    }

    #[test]
    fn order_and_split_change_neither_totals_nor_fire_ids(
        spends in spends(), shuffle in any::<prop::sample::Index>(), cuts in proptest::collection::vec(1_usize..8, 1..40), restart in any::<bool>()
    ) {
        let toml = every_growing_window();
        let now = Micros((OCTOBER + 3 * 1440) * MINUTE);
        let mut whole = ledger(&toml);
        let ids = whole.apply(Feed::of(&spends).view(), now).into_iter().map(|c| c.breach.fire_id).collect();
        let expected = outcome(&whole, ids);

        let mut shuffled = spends.clone();
        // A permutation from one index: rotate, then interleave from both ends.
        shuffled.rotate_left(shuffle.index(spends.len()));
        let (front, back) = shuffled.split_at(shuffled.len() / 2);
        let shuffled: Vec<&Spend> = back.iter().rev().chain(front).collect();
        let mut pieces = ledger(&toml);
        let (mut ids, mut store, mut rest, mut cut) = (BTreeSet::new(), BTreeMap::new(), shuffled.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (head, tail) = rest.split_at((*cut.next().expect("cycle")).min(rest.len()));
            for crossing in pieces.apply(Feed::of(head.iter().copied()).view(), now) {
                prop_assert!(ids.insert(crossing.breach.fire_id), "fired twice");
            }
            rest = tail;
            pieces.advance(now);
            rows(&mut pieces, &mut store);
            if restart {
                pieces = load(&toml, &store);
            }
        }
        prop_assert_eq!(outcome(&pieces, ids), expected);
    }

    #[test]
    fn rolling_replays_in_event_time_order_fire_the_same_however_they_are_split(
        spends in spends(), cuts in proptest::collection::vec(1_usize..8, 1..40), restart in any::<bool>()
    ) {
        let mut spends = spends;
        spends.sort_by_key(|spend| spend.minute);
        let toml = every_rolling_window();
        let mut whole = ledger(&toml);
        let expected: BTreeSet<_> = apply(&mut whole, &spends).into_iter().map(|c| c.breach.fire_id).collect();
        let mut pieces = ledger(&toml);
        let (mut ids, mut store, mut rest, mut cut) = (BTreeSet::new(), BTreeMap::new(), spends.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (head, tail) = rest.split_at((*cut.next().expect("cycle")).min(rest.len()));
            for crossing in apply(&mut pieces, head) {
                prop_assert!(ids.insert(crossing.breach.fire_id), "fired twice");
            }
            rest = tail;
            rows(&mut pieces, &mut store);
            if restart {
                pieces = load(&toml, &store);
            }
        }
        prop_assert_eq!(ids, expected);
    }
}
