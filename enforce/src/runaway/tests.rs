//! What must hold for any calls: the split and the order within lateness do not matter, a restart changes nothing, memory is bounded.

use proptest::prelude::*;
use sluice_schemas::time::{DAY, HOUR, MINUTE, SECOND};
use sluice_schemas::{EnrichedBatch, Micros, Owner, Profile};

use super::*;
use crate::budget::ActionKind;
use crate::fire::{Crossing, Withheld};

const NOW: Micros = Micros(400 * DAY);
const CENT: i64 = 10_000_000_000;

/// Sessions of agent `a`.
const SESSIONS: u32 = 6;

mod early;

/// A call of agent `a` in one of its sessions.
#[derive(Clone, Copy, Debug)]
struct Made {
    at: i64,
    session: u32,
    failed: bool,
    prompt: u32,
    output: u32,
    cost: i64,
}

impl Made {
    const fn at(at: i64) -> Self {
        Self { at, session: 0, failed: false, prompt: 8_100, output: 300, cost: 8 * CENT }
    }
}

/// Profiles of six sessions, first those of calls that succeed.
fn batch() -> EnrichedBatch {
    let mut batch = EnrichedBatch::default();
    let strings = &mut batch.batch.strings;
    let agent_id = strings.intern("a");
    for number in 0..2 * SESSIONS {
        let session_id = strings.intern(&format!("s{}", number % SESSIONS));
        let error_code = strings.intern(if number < SESSIONS { "" } else { "ThrottlingException" });
        batch.batch.profiles.push(Profile { error_code, ..Profile::default() });
        batch.owners.push(Owner { agent_id, session_id, ..Owner::default() });
    }
    batch
}

fn shapes(made: &[Made]) -> Vec<CallShape> {
    let shape = |call: &Made| CallShape {
        event_time: Micros(call.at),
        cost_picousd: call.cost,
        profile: call.session + SESSIONS * u32::from(call.failed),
        model: sluice_schemas::Sym::EMPTY,
        scope: sluice_schemas::Sym::EMPTY,
        prompt: call.prompt,
        output: call.output,
    };
    made.iter().map(shape).collect()
}

fn rules(more: &str) -> Rules {
    Rules::parse(&format!("[[runaway]]\nname = 'r'\n{more}")).expect("valid")
}

fn feed(watch: &mut Watch, made: &[Made]) -> Vec<Crossing> {
    watch.apply(ShapeView { batch: &batch(), shapes: &shapes(made) }, NOW)
}

fn all(rules: &Rules, made: &[Made]) -> Vec<String> {
    ids(&feed(&mut Watch::new(rules), made))
}

fn ids(crossings: &[Crossing]) -> Vec<String> {
    crossings.iter().map(|crossing| crossing.breach.fire_id.clone()).collect()
}

fn steady(calls: i64, from: i64, every: i64) -> Vec<Made> {
    (0..calls).map(|number| Made::at(from + number * every)).collect()
}

#[test]
fn a_loop_fires_once_and_says_what_was_seen() {
    let crossings = feed(&mut Watch::new(&rules("")), &steady(100, DAY, 6 * SECOND));
    let [crossing] = crossings.as_slice() else { panic!("{crossings:?}") };
    let breach = &crossing.breach;
    assert_eq!((breach.budget.as_str(), breach.target.as_str(), breach.threshold.as_str()), ("r", "agent_id=a", "loop"));
    assert_eq!(breach.fire_id, fire_id("r", "agent_id=a", Detector::Loop, Micros(DAY)));
    // Fifty cents are spent with the seventh call.
    let said = "loop: 7 near-equal calls in 36 s, input 8100 to 8100 tokens, every 6.0 s, $0.56; 7 calls, $0.56 in 10 min, of its days none is \
                known";
    assert_eq!(breach.explanation.as_deref(), Some(said));
    assert_eq!(crossing.actions, [ActionKind::Notify]);
    assert_eq!(crossing.hold, None);
}

#[test]
fn a_pause_longer_than_the_cooldown_makes_another_episode() {
    let rules = rules("cooldown = '30m'");
    let mut made = steady(40, DAY, 6 * SECOND);
    made.extend(steady(40, DAY + 10 * MINUTE, 6 * SECOND));
    assert_eq!(all(&rules, &made).len(), 1);
    made.extend(steady(40, DAY + 2 * HOUR, 6 * SECOND));
    assert_eq!(all(&rules, &made).len(), 2);
}

#[test]
fn cents_page_nobody() {
    let made: Vec<Made> = steady(2_000, DAY, 6 * SECOND).into_iter().map(|call| Made { cost: CENT / 100, ..call }).collect();
    assert!(all(&rules(""), &made).is_empty());
    assert_eq!(all(&rules("min_spend = '0.10 USD'"), &made).len(), 1);
}

#[test]
fn a_schedule_is_no_loop_and_neither_are_embeddings() {
    let rules = rules("detect = ['loop']");
    assert!(all(&rules, &steady(500, DAY, 5 * MINUTE)).is_empty());
    let embeddings: Vec<Made> = steady(500, DAY, SECOND).into_iter().map(|call| Made { output: 0, ..call }).collect();
    assert!(all(&rules, &embeddings).is_empty());
}

#[test]
fn growing_prompts_and_failures_are_told_apart() {
    let grown: Vec<Made> = (0..60)
        .map(|number| Made { prompt: 5_000 + 900 * number as u32, cost: 30 * CENT, ..Made::at(DAY + number * 5 * SECOND) })
        .collect();
    let crossings = feed(&mut Watch::new(&rules("")), &grown);
    assert_eq!(crossings.iter().map(|crossing| crossing.breach.threshold.as_str()).collect::<Vec<_>>(), ["growth"]);
    let failing: Vec<Made> = (0..60)
        .map(|number| {
            let failed = number % 3 != 0;
            let (cost, output) = if failed { (0, 0) } else { (20 * CENT, 100 + 90 * (number as u32 % 7)) };
            Made { failed, cost, output, ..Made::at(DAY + number * 2 * SECOND) }
        })
        .collect();
    let crossings = feed(&mut Watch::new(&rules("")), &failing);
    assert_eq!(crossings.iter().map(|crossing| crossing.breach.threshold.as_str()).collect::<Vec<_>>(), ["errors"]);
}

#[test]
fn own_days_are_the_measure_of_a_surge() {
    let rules = rules("detect = ['baseline']");
    let day = |day: i64, cost: i64| -> Vec<Made> {
        let call = |number: i64| Made {
            cost,
            prompt: 1_000 + 997 * (number as u32 % 13),
            ..Made::at(day * DAY + 9 * HOUR + number * 20 * SECOND)
        };
        (0..90).map(call).collect()
    };
    let usual: Vec<Made> = (1..5).flat_map(|number| day(number, 5 * CENT)).collect();
    let with = |last: Vec<Made>| all(&rules, &[usual.clone(), last].concat());
    assert!(with(day(5, 7 * CENT)).is_empty());
    assert_eq!(with(day(5, 50 * CENT)).len(), 1);
    // An agent of which no day is known may spend ten dollars in ten minutes.
    assert!(all(&rules, &day(5, 20 * CENT)).is_empty());
    assert_eq!(all(&rules, &day(5, 50 * CENT)).len(), 1);
}

#[test]
fn the_same_again_on_one_day_is_no_news() {
    let rules = rules("detect = ['baseline']");
    // Fifteen dollars in ten minutes, every two hours, of an agent of which no day is known.
    let burst = |hour: i64, cost: i64| steady(30, DAY + hour * HOUR, 20 * SECOND).into_iter().map(move |call| Made { cost, ..call });
    let same: Vec<Made> = (0..12).step_by(2).flat_map(|hour| burst(hour, 50 * CENT)).collect();
    assert_eq!(all(&rules, &same).len(), 1);
    let twice: Vec<Made> = same.iter().copied().chain(burst(14, 200 * CENT)).collect();
    assert_eq!(all(&rules, &twice).len(), 2);
    // One that goes on and grows is one episode.
    let growing: Vec<Made> = (0..20)
        .flat_map(|part| burst(0, (50 + 30 * part) * CENT).map(move |call| Made { at: call.at + part * 10 * MINUTE, ..call }))
        .collect();
    assert_eq!(all(&rules, &growing).len(), 1);
}

#[test]
fn burn_asks_both_windows() {
    let rules = rules("detect = ['burn']\nburn = { rate = '36.00 USD' }");
    // Six dollars in ten minutes: a minute alone does not make it, ten do.
    let burst =
        |calls: i64| -> Vec<Made> { (0..calls).map(|number| Made { cost: 50 * CENT, ..Made::at(DAY + number * 5 * SECOND) }).collect() };
    assert!(all(&rules, &burst(11)).is_empty());
    assert_eq!(all(&rules, &burst(20)).len(), 1);
}

#[test]
fn a_hold_ends_by_itself_and_is_not_put_after_its_end() {
    let rules = rules("do = ['notify', 'hold']\nmode = 'enforce'\nhold_for = '2h'");
    let made = steady(30, DAY, 6 * SECOND);
    let at = |now: Micros| Watch::new(&rules).apply(ShapeView { batch: &batch(), shapes: &shapes(&made) }, now).remove(0);
    let soon = at(Micros(DAY + 5 * MINUTE));
    assert_eq!(soon.hold.and_then(|terms| terms.until), Some(Micros(DAY + 5 * MINUTE + 2 * HOUR)));
    let late = at(NOW);
    assert_eq!((late.hold, late.withheld, late.actions), (None, Some(Withheld::PeriodOver), vec![ActionKind::Notify]));
}

#[test]
fn targets_are_bounded() {
    let mut watch = Watch::new(&rules("each = ['tag:nobody', 'agent_id', 'session_id']"));
    let mut batch = EnrichedBatch::default();
    for number in 0..MOST_TARGETS + 500 {
        let session_id = batch.batch.strings.intern(&format!("s{number}"));
        batch.batch.profiles.push(Profile::default());
        batch.owners.push(Owner { session_id, ..Owner::default() });
    }
    let shape = |number: usize| CallShape { profile: number as u32, ..shapes(&[Made::at(DAY + number as i64)]).remove(0) };
    let made: Vec<CallShape> = (0..MOST_TARGETS + 500).map(shape).collect();
    made.chunks(100).for_each(|part| drop(watch.apply(ShapeView { batch: &batch, shapes: part }, NOW)));
    assert!(watch.status()[0].targets <= MOST_TARGETS as u64);
    // The last ones are there, and the rows of those that went are deleted.
    let rows = watch.take_dirty();
    let gone = rows.iter().filter(|(_, value)| value.is_none()).count() as u64;
    assert_eq!(gone + watch.status()[0].targets, MOST_TARGETS as u64 + 500);
}

/// Calls of loops, growth, sessions at once and noise, a few minutes of each.
fn traffic() -> impl Strategy<Value = Vec<Made>> {
    let piece = (0..6_u8, 5..40_i64, 1..12_i64, 0..2_u32, 1..60_i64, any::<u16>());
    proptest::collection::vec(piece, 1..8).prop_map(|pieces| {
        let mut at = 10 * DAY;
        let mut made = Vec::new();
        for (kind, calls, every, session, cents, noise) in pieces {
            for number in 0..calls {
                at += every * SECOND;
                let (step, wave) = (number as u32, (u32::from(noise) * (number as u32 + 7)) % 977);
                let call = Made { session, cost: cents * CENT, ..Made::at(at) };
                made.push(match kind {
                    0 => call,
                    1 => Made { prompt: 2_000 + 500 * step, ..call },
                    2 => {
                        Made { session: step % SESSIONS, prompt: 900 + 13 * wave, output: 10 + wave, at: at - (every - 1) * SECOND, ..call }
                    }
                    3 => Made { prompt: 3_000 + 4_000 * step, output: 1_200 + wave, ..call },
                    4 => Made { failed: wave % 3 != 0, ..call },
                    _ => Made { prompt: 500 + 13 * wave, output: 10 + wave, ..call },
                });
            }
            at += i64::from(noise % 90) * MINUTE;
        }
        made
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_and_any_order_within_lateness_finds_the_same(
        made in traffic(),
        moves in proptest::collection::vec(0..5_000_000_i64, 300),
        cuts in proptest::collection::vec(1..30_usize, 20),
    ) {
        let rules = rules("burn = { rate = '30.00 USD' }\nmin_spend = '0.50 USD'");
        let whole = all(&rules, &made);
        // Each call arrives up to less than five seconds after it happened.
        let mut shuffled: Vec<(i64, Made)> = made.iter().zip(moves.iter().cycle()).map(|(call, delay)| (call.at + delay, *call)).collect();
        shuffled.sort_by_key(|(arrival, _)| *arrival);
        let shuffled: Vec<Made> = shuffled.into_iter().map(|(_, call)| call).collect();
        let (mut watch, mut found, mut rest) = (Watch::new(&rules), Vec::new(), shuffled.as_slice());
        for cut in cuts.iter().cycle() {
            let (part, after) = rest.split_at((*cut).min(rest.len()));
            found.extend(ids(&feed(&mut watch, part)));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(found, whole);
        prop_assert_eq!(watch.status()[0].late_calls, 0);
    }

    #[test]
    fn a_restart_at_any_point_fires_the_same(made in traffic(), stop in any::<prop::sample::Index>()) {
        let rules = rules("min_spend = '0.50 USD'");
        let whole = all(&rules, &made);
        let (before, after) = made.split_at(stop.index(made.len()));
        let mut watch = Watch::new(&rules);
        watch.learned();
        let mut found = ids(&feed(&mut watch, before));
        let rows: Vec<(Vec<u8>, Vec<u8>)> = watch.take_dirty().into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        prop_assert!(rows.iter().all(|(key, _)| Watch::is_row(key)));
        let mut again = Watch::load(&rules, rows.into_iter()).expect("readable");
        prop_assert!(again.unlearned().is_empty());
        found.extend(ids(&feed(&mut again, after)));
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn history_that_is_learned_fires_nothing_again(made in traffic(), stop in any::<prop::sample::Index>()) {
        let rules = rules("min_spend = '0.50 USD'");
        let (before, after) = made.split_at(stop.index(made.len()));
        let mut first = Watch::new(&rules);
        let (known, rest) = (feed(&mut first, before), feed(&mut first, after));
        let mut again = Watch::new(&rules);
        again.learn(ShapeView { batch: &batch(), shapes: &shapes(before) });
        known.iter().for_each(|crossing| again.note_found("r", &crossing.breach.target, crossing.breach.event_time));
        prop_assert_eq!(ids(&feed(&mut again, after)), ids(&rest));
    }
}

#[test]
fn a_rule_that_watches_something_else_begins_anew() {
    let made = steady(40, DAY, 6 * SECOND);
    let mut watch = Watch::new(&rules(""));
    watch.learned();
    feed(&mut watch, &made);
    let rows: Vec<(Vec<u8>, Vec<u8>)> = watch.take_dirty().into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let same = Watch::load(&rules("loop = { calls = 20 }"), rows.clone().into_iter()).expect("readable");
    assert!(same.unlearned().is_empty());
    let mut other = Watch::load(&rules("where = \"team = 'x'\""), rows.clone().into_iter()).expect("readable");
    assert_eq!(other.unlearned(), ["r"]);
    let deleted = other.take_dirty().into_iter().filter(|(_, value)| value.is_none()).count();
    assert_eq!(deleted, 1);
    let damaged = rows.into_iter().map(|(key, mut value)| {
        value.truncate(5);
        (key, value)
    });
    assert!(Watch::load(&rules(""), damaged).is_err());
}

#[test]
fn rules_that_change_keep_what_they_know_if_they_watch_the_same() {
    let mut watch = Watch::new(&rules(""));
    watch.learned();
    feed(&mut watch, &steady(40, DAY, 6 * SECOND));
    watch.take_dirty();
    watch.reconfigure(&rules("mode = 'enforce'"));
    assert!(watch.unlearned().is_empty());
    // The episode goes on.
    assert!(feed(&mut watch, &steady(40, DAY + 5 * MINUTE, 6 * SECOND)).is_empty());
    watch.reconfigure(&rules("each = ['session_id']"));
    assert_eq!(watch.unlearned(), ["r"]);
    assert_eq!(watch.status()[0].targets, 0);
    assert!(watch.take_dirty().iter().any(|(_, value)| value.is_none()));
}

#[test]
fn a_backtest_says_what_the_watch_would_have() {
    let (rules, made) = (rules("do = ['hold']"), steady(100, DAY, 6 * SECOND));
    let mut backtest = Backtest::new(&rules);
    let found: Vec<Replayed> =
        made.chunks(7).flat_map(|part| backtest.replay(ShapeView { batch: &batch(), shapes: &shapes(part) })).collect();
    assert_eq!(found.iter().map(|found| found.fire_id.clone()).collect::<Vec<_>>(), all(&rules, &made));
    assert_eq!(found[0].row()[1..5], ["r", "agent_id=a", "loop", "yes"]);
}
