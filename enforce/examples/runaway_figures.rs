//! How soon runaways are caught, and how often normal work is called one. Usage: `runaway_figures [tuning|held-out] [TRIALS] [AGENTS] [-v]`

#![expect(clippy::print_stdout, reason = "prints figures")]

#[path = "../tests/traffic/mod.rs"]
mod traffic;

use std::time::Instant;

use sluice_enforce::runaway::Rules;
use sluice_schemas::time::SECOND;
use traffic::{HELD_OUT, KINDS, Kind, SHAPES, TUNING, false_alarms, trial};

/// The rule as it is without any setting.
const RULE: &str = "[[runaway]]\nname = 'default'";
/// Who runs away: agents of these kinds, and one of which nothing is known.
const HOSTS: [Option<Kind>; 5] = [Some(Kind::Coding), Some(Kind::Chat), Some(Kind::Rag), Some(Kind::NightJob), None];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let first = if words.first().is_some_and(|word| word == "tuning") { TUNING } else { HELD_OUT };
    let number = |at: usize, default: u64| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(default);
    let (trials, agents, told) = (number(1, 100).max(1), number(2, 8).max(1), words.iter().any(|word| word == "-v"));
    let rules = Rules::parse(RULE).unwrap_or_default();
    println!("Runaways: {trials} of each shape, after 12 days of an agent's normal work (one in five after none)");
    println!(
        "{:<12} {:>7} {:>9} {:>6} {:>6} {:>6} {:>8} {:>9} {:>9} {:>9}  found by",
        "shape", "caught", "in 60 s", "p50 s", "p90 s", "max s", "floor s", "p50 calls", "p50 spent", "p90 spent"
    );
    for shape in SHAPES {
        shape_line(&rules, shape, first, trials, told);
    }
    println!("\nNormal work: {agents} agents of each kind, 30 days each");
    println!("{:<12} {:>9} {:>13}  alarms by", "kind", "calls", "per month");
    let (begun, mut calls, mut all) = (Instant::now(), 0, 0);
    for kind in KINDS {
        let (seen, alarms) = kind_line(&rules, kind, first, agents, told);
        (calls, all) = (calls + seen, all + alarms);
    }
    let months = agents * KINDS.len() as u64;
    println!("{all} false alarms in {months} agent-months: {}.{:02} each", all / months, all % months * 100 / months);
    let nanos = begun.elapsed().as_nanos() / calls.max(1) as u128;
    println!("{calls} calls, {nanos} ns each (making them up included)");
}

fn shape_line(rules: &Rules, shape: traffic::Shape, first: u64, trials: u64, told: bool) {
    let host = |number: u64| HOSTS[number as usize % HOSTS.len()];
    let outcomes: Vec<_> = (0..trials).map(|number| trial(rules, shape, host(number), first + 1_000 * shape as u64 + number)).collect();
    let mut caught: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.caught.clone()).collect();
    let mut worth: Vec<i64> = outcomes.iter().filter_map(|outcome| outcome.worth_telling).collect();
    caught.sort_by_key(|caught| caught.after);
    worth.sort_unstable();
    let at = |percent: usize| caught.get((caught.len() * percent / 100).min(caught.len().saturating_sub(1)));
    let seconds = |percent: usize| at(percent).map_or_else(|| "-".to_owned(), |caught| (caught.after / SECOND).to_string());
    let soon = caught.iter().filter(|caught| caught.after <= 60 * SECOND).count();
    let mut by = std::collections::BTreeMap::new();
    caught.iter().for_each(|caught| *by.entry(caught.detector.clone()).or_insert(0) += 1);
    let mut spent: Vec<_> = caught.iter().map(|caught| caught.spent).collect();
    spent.sort_unstable();
    let dollars = |percent: usize| spent.get(spent.len() * percent / 100).map_or_else(|| "-".to_owned(), |spent| spent.shown(2));
    let mut made: Vec<usize> = caught.iter().map(|caught| caught.calls).collect();
    made.sort_unstable();
    println!(
        "{:<12} {:>6}% {:>8}% {:>6} {:>6} {:>6} {:>8} {:>9} {:>9} {:>9}  {by:?}",
        format!("{shape:?}"),
        caught.len() as u64 * 100 / trials,
        soon as u64 * 100 / trials,
        seconds(50),
        seconds(90),
        seconds(100),
        worth.get(worth.len() / 2).map_or_else(|| "-".to_owned(), |after| (after / SECOND).to_string()),
        made.get(made.len() / 2).copied().unwrap_or_default(),
        dollars(50),
        dollars(90)
    );
    let mut hosts: Vec<String> = Vec::new();
    for (place, name) in HOSTS.iter().enumerate() {
        let of_host: Vec<_> = outcomes.iter().skip(place).step_by(HOSTS.len()).collect();
        let soon = of_host.iter().filter(|outcome| outcome.caught.as_ref().is_some_and(|caught| caught.after <= 60 * SECOND)).count();
        let name = name.map_or_else(|| "unknown".to_owned(), |kind| format!("{kind:?}"));
        hosts.push(format!("{name} {}%", soon * 100 / of_host.len().max(1)));
    }
    println!("{:<12} in 60 s by who runs away: {}", "", hosts.join(", "));
    if told {
        for (number, outcome) in outcomes.iter().enumerate() {
            let host = host(number as u64);
            match &outcome.caught {
                Some(caught) => println!("    {host:?} {} s: {}", caught.after / SECOND, caught.explanation),
                None => println!("    {host:?} missed"),
            }
        }
    }
}

fn kind_line(rules: &Rules, kind: Kind, first: u64, agents: u64, told: bool) -> (usize, u64) {
    let (mut calls, mut alarms) = (0, std::collections::BTreeMap::new());
    let mut words = Vec::new();
    for number in 0..agents {
        let (found, seen) = false_alarms(rules, kind, first + 500_000 + 1_000 * kind as u64 + number);
        calls += seen;
        for (detector, said) in found {
            *alarms.entry(detector).or_insert(0) += said.len() as u64;
            words.extend(said);
        }
    }
    let all: u64 = alarms.values().sum();
    let by = if all == 0 { String::new() } else { format!("{alarms:?}") };
    println!("{:<12} {:>9} {:>10}.{:02}  {by}", format!("{kind:?}"), calls, all / agents, all % agents * 100 / agents);
    if told {
        words.iter().for_each(|(day, said)| println!("    day {day}: {said}"));
    }
    (calls, all)
}
