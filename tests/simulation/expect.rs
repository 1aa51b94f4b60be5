//! What budgets and spend tables must say of a truth, worked out again by the simplest means.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sluice_schemas::Micros;
use sluice_schemas::time::{DAY, HOUR, MINUTE, format_day};

use super::world::{Call, Truth};

/// The budgets of every simulation; the tables below say the same in numbers.
pub(crate) const BUDGETS: &str = r#"
[[budget]]
name = "day"
each = ["agent_id"]
limit = "0.50 USD"
window = "day"
timezone = "Europe/Berlin"
mode = "enforce"
[[budget.threshold]]
at = "50%"
do = ["notify"]
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]

[[budget]]
name = "hour"
each = ["agent_id"]
limit = "0.08 USD"
window = "rolling 1h"
mode = "enforce"
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]

[[budget]]
name = "session"
limit = "0.30 USD"
window = "session"
[[budget.threshold]]
at = "100%"
do = ["notify"]

[[budget]]
name = "month"
where = "region = 'us-east-1'"
limit = "2.00 USD"
window = "month"
unpriced_worst_case = "0.02 USD per call"
[[budget.threshold]]
at = "25%"
do = ["notify"]
[[budget.threshold]]
at = "100%"
do = ["notify"]

[[budget]]
name = "all"
limit = "4.00 USD"
window = "lifetime"
[[budget.threshold]]
at = "10%"
do = ["notify"]
[[budget.threshold]]
at = "100%"
do = ["notify"]
"#;

const USD: i128 = 1_000_000_000_000;
/// Budget, threshold, amount. `hour` is not here: what a rolling window crossed depends on the order in which it was filled.
const THRESHOLDS: [(&str, &str, i128); 7] = [
    ("day", "50%", USD / 4),
    ("day", "100%", USD / 2),
    ("session", "100%", USD * 3 / 10),
    ("month", "25%", USD / 2),
    ("month", "100%", 2 * USD),
    ("all", "10%", USD * 4 / 10),
    ("all", "100%", 4 * USD),
];
/// Smallest spend of `hour` at which a hold follows.
pub(crate) const HOUR_LIMIT: i128 = USD * 8 / 100;
pub(crate) const DAY_LIMIT: i128 = USD / 2;

/// Budget, target, period.
pub(crate) type Counter = (String, String, String);
/// Budget, target, period, threshold.
pub(crate) type Crossing = (String, String, String, String);

/// Amount, calls, calls without a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) amount: i128,
    pub(crate) calls: u64,
    pub(crate) unpriced: u64,
}

fn berlin(at: Micros) -> String {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    Timestamp::from_microsecond(at.0).unwrap().to_zoned(zone).date().to_string()
}

fn counters_of(call: &Call, berlin: &str) -> Vec<Counter> {
    let agent = format!("agent_id={}", call.agent);
    let mut counters = vec![
        ("day".to_owned(), agent.clone(), berlin.to_owned()),
        ("session".to_owned(), format!("{agent},session_id={}", call.session), "session".to_owned()),
        ("all".to_owned(), "*".to_owned(), "lifetime".to_owned()),
    ];
    if call.region == "us-east-1" {
        counters.push(("month".to_owned(), "*".to_owned(), format_day(call.at.day())[..7].to_owned()));
    }
    counters
}

/// Returns every counter whose sum only grows.
pub(crate) fn counters(truth: &Truth) -> BTreeMap<Counter, Spent> {
    let mut counters: BTreeMap<Counter, Spent> = BTreeMap::new();
    let mut dates: BTreeMap<i64, String> = BTreeMap::new();
    for call in truth.calls.values() {
        let date = dates.entry(call.at.hour()).or_insert_with(|| berlin(call.at));
        for counter in counters_of(call, date) {
            let worst = if counter.0 == "month" { USD * 2 / 100 } else { 0 };
            let spent = counters.entry(counter).or_default();
            spent.calls += 1;
            match call.cost() {
                Some(cost) => spent.amount += cost,
                None => {
                    spent.unpriced += 1;
                    spent.amount += worst;
                }
            }
        }
    }
    counters
}

/// Returns the thresholds that must be known as crossed.
pub(crate) fn crossings(counters: &BTreeMap<Counter, Spent>) -> BTreeSet<Crossing> {
    let mut crossings = BTreeSet::new();
    for ((budget, target, period), spent) in counters {
        for (_, threshold, at) in THRESHOLDS.iter().filter(|(of, _, at)| of == budget && spent.amount >= *at) {
            debug_assert!(*at > 0);
            crossings.insert((budget.clone(), target.clone(), period.clone(), (*threshold).to_owned()));
        }
    }
    crossings
}

/// Returns what an agent spent in the hour before `as_of`; whole minutes, the oldest one counted in full.
pub(crate) fn last_hour(truth: &Truth, agent: &str, as_of: Micros) -> i128 {
    let minute = |at: Micros| at.0.div_euclid(MINUTE);
    let within = |call: &&Call| (minute(as_of) - 60..=minute(as_of)).contains(&minute(call.at));
    truth.calls.values().filter(|call| call.agent == agent).filter(within).filter_map(Call::cost).sum()
}

/// Latest event of all.
pub(crate) fn newest(truth: &Truth) -> Option<Micros> {
    truth.calls.values().map(|call| call.at).max()
}

/// Table, date, time of the row (0 where it has none), agent, model, region, session (empty where it has none).
pub(crate) type SpendKey = (&'static str, i32, i64, String, String, String, String);
/// Calls, errors, unpriced, input, output, cost.
pub(crate) type Measures = [i128; 6];

/// Returns the additive tables, summed by key.
pub(crate) fn spend(truth: &Truth) -> BTreeMap<SpendKey, Measures> {
    let mut spend: BTreeMap<SpendKey, Measures> = BTreeMap::new();
    for call in truth.calls.values() {
        let model = super::world::MODELS[call.model].0;
        for (table, time, session) in [
            ("spend_minute", call.at.floor(MINUTE).0, ""),
            ("spend_hour", call.at.floor(HOUR).0, ""),
            ("spend_day", 0, call.session.as_str()),
            ("spend_session", 0, call.session.as_str()),
        ] {
            let key = (
                table,
                call.at.0.div_euclid(DAY) as i32,
                time,
                call.agent.clone(),
                model.to_owned(),
                call.region.to_owned(),
                session.to_owned(),
            );
            let cost = call.cost();
            let of_call =
                [1, i128::from(call.failed), i128::from(cost.is_none()), call.input.into(), call.output.into(), cost.unwrap_or_default()];
            let sums = spend.entry(key).or_default();
            sums.iter_mut().zip(of_call).for_each(|(sum, value)| *sum += value);
        }
    }
    spend
}
