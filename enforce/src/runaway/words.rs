//! What was seen of a runaway, in words with numbers.

use sluice_schemas::PicoUsd;

use super::growth::Growth;
use super::rule::Rule;
use super::target::{Sign, Target, Windows};
use super::verdict::{span, times};

/// Says what was seen, and beside it what the slow window came to.
pub(super) fn explain(target: &Target, sign: Sign, spent: PicoUsd, rule: &Rule, windows: &Windows) -> String {
    let Windows { fast, slow, busy } = *windows;
    let (in_fast, in_slow) = (span(rule.fast), span(rule.slow));
    let lane = target.lanes.latest();
    let seen = match (sign, lane.map(|lane| &lane.growth), lane.and_then(|lane| lane.repeats.latest(target.head))) {
        (Sign::Run, _, Some(run)) => {
            let (low, high) = run.range();
            let (length, interval) = (span(run.last - run.first), span(run.interval()));
            format!("{} near-equal calls in {length}, input {low} to {high} tokens, every {interval}, {}", run.calls, spent.shown(2))
        }
        (Sign::Row | Sign::Pace | Sign::Even, Some(growth), _) => grown(growth, sign, spent),
        (Sign::Failures, ..) => format!("{} of {} calls failed in {in_fast}", fast.errors, fast.calls),
        (Sign::Busy, ..) => {
            format!(
                "{} sessions opened in {in_fast} that never paused, {} calls of them, {}",
                busy.sessions,
                busy.calls,
                fast.spend().shown(2)
            )
        }
        (Sign::Opened, ..) => format!("{} sessions opened in {in_fast}", fast.opened),
        (Sign::Rate, ..) => {
            let rate = rule.burn.map_or(PicoUsd::ZERO, |terms| terms.rate).shown(2);
            format!("{} in {in_fast} and {} in {in_slow}, both above {rate} an hour", fast.spend().shown(2), slow.spend().shown(2))
        }
        _ => {
            let usual = target.habits.fast.known_or_seen().map(|usual| times(fast.spend, usual.median));
            let usual = usual.map_or_else(String::new, |usual| format!(", {usual} the most of a usual day"));
            format!("{} in {in_fast}{usual}", fast.spend().shown(2))
        }
    };
    let usual = target.habits.slow.known_or_seen().map_or_else(
        || "of its days none is known".to_owned(),
        |usual| format!("{} the most of a usual day", times(slow.spend, usual.median)),
    );
    let detector = sign.detector().as_str();
    format!("{detector}: {seen}; {} calls, {} in {in_slow}, {usual}", slow.calls, slow.spend().shown(2))
}

/// Says how prompts grew.
fn grown(growth: &Growth, sign: Sign, spent: PicoUsd) -> String {
    let (calls, length, spent) = (growth.calls, span(growth.last - growth.first), spent.shown(2));
    let (from, to) = (growth.from_prompt, growth.to_prompt);
    let row = format!("{calls} calls in {length}, input grew with each from {from} to {to} tokens");
    match sign {
        Sign::Pace => format!("{row}, without a pause, {spent}"),
        Sign::Even => {
            let [(least, most), (shortest, longest)] = growth.steps();
            format!("{row} by {least} to {most}, answers of {shortest} to {longest}, at a steady interval, {spent}")
        }
        _ => format!("{row}, {spent}"),
    }
}
