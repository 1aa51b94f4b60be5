//! What is found before it has cost much: growth by its pace and its evenness, a fan-out by sessions that never pause. And that no burst
//! of a person is taken for either.

use super::*;

fn said(rules: &Rules, made: &[Made]) -> Vec<String> {
    feed(&mut Watch::new(rules), made).into_iter().filter_map(|crossing| crossing.breach.explanation).collect()
}

/// A snowball: each call takes in what the last one wrote, and as much again twice.
fn snowball(from: i64, calls: i64) -> impl Iterator<Item = Made> {
    let mut prompt = 12_000;
    (0..calls).map(move |number| {
        let output = 1_200 + 250 * (number as u32 % 3);
        prompt += 3 * output;
        Made { prompt, output, cost: 5 * CENT, ..Made::at(from + number * 5 * SECOND) }
    })
}

/// One side of two agents that answer each other, about nine seconds apart.
fn exchange(from: i64, calls: i64) -> impl Iterator<Item = Made> {
    let mut prompt = 20_000;
    (0..calls).map(move |number| {
        let wave = [0, 60, 25, 90, 40][number as usize % 5];
        prompt += 950 + 2 * wave;
        Made { prompt, output: 450 + wave, cost: 6 * CENT, ..Made::at(from + number * 9 * SECOND + i64::from(wave) * 20_000) }
    })
}

/// Sub-sessions that open further ones, `apart` seconds after each other, each with a call every five seconds.
fn fan_out(from: i64, apart: i64, pause: i64) -> Vec<Made> {
    let sub = |session: u32| {
        (0..12).map(move |step: u32| {
            let at = from + i64::from(session) * apart * SECOND + i64::from(step) * pause;
            let (prompt, output) = (2_000 + 777 * ((7 * step + 3 * session) % 11), 60 + 37 * ((5 * step + session) % 9));
            Made { session, prompt, output, cost: 2 * CENT, ..Made::at(at) }
        })
    };
    let mut made: Vec<Made> = (0..SESSIONS).flat_map(sub).collect();
    made.sort_by_key(|call| call.at);
    made
}

#[test]
fn a_snowball_is_told_by_its_pace_of_an_agent_nobody_knows() {
    let found = said(&rules(""), &snowball(DAY, 30).collect::<Vec<_>>());
    let [words] = found.as_slice() else { panic!("{found:?}") };
    let expected =
        "growth: 5 calls in 20 s, input grew with each from 15600 to 33000 tokens, without a pause, $0.25; 5 calls, $0.25 in 10 min";
    assert!(words.starts_with(expected), "{words}");
}

#[test]
fn two_agents_that_answer_each_other_are_told_by_even_steps() {
    let found = said(&rules(""), &exchange(DAY, 30).collect::<Vec<_>>());
    let [words] = found.as_slice() else { panic!("{found:?}") };
    assert!(words.starts_with("growth: 6 calls in 45 s, input grew with each from 20950 to 26130 tokens by 950 to 1130"), "{words}");
    assert!(words.contains("answers of 450 to 540, at a steady interval, $0.36;"), "{words}");
}

#[test]
fn sub_sessions_that_never_pause_are_told_of_at_four() {
    let found = said(&rules(""), &fan_out(DAY, 9, 5 * SECOND));
    let [words] = found.as_slice() else { panic!("{found:?}") };
    assert!(words.starts_with("fan_out: 4 sessions opened in 60 s that never paused, 17 calls of them, $0.34;"), "{words}");
    assert!(said(&rules(""), &fan_out(DAY, 9, 9 * SECOND)).is_empty(), "sessions that pause are work");
    assert!(said(&rules("fan_out = { busy = 20 }"), &fan_out(DAY, 9, 5 * SECOND)).is_empty());
}

#[test]
fn a_quarter_of_the_least_spend_is_enough_and_less_is_not() {
    let cheap =
        |made: Vec<Made>, share: i64| -> Vec<Made> { made.into_iter().map(|call| Made { cost: call.cost / share, ..call }).collect() };
    for made in [snowball(DAY, 8).collect::<Vec<_>>(), exchange(DAY, 9).collect(), fan_out(DAY, 9, 5 * SECOND)] {
        assert_eq!(said(&rules(""), &cheap(made.clone(), 2)).len(), 1);
        assert!(said(&rules(""), &cheap(made, 100)).is_empty());
    }
}

#[test]
fn what_an_agent_does_each_day_is_its_way() {
    let days = |make: &dyn Fn(i64) -> Vec<Made>| -> Vec<Made> { (1..9).flat_map(|day| make(day * DAY)).collect() };
    let works: [&dyn Fn(i64) -> Vec<Made>; 3] =
        [&|from| snowball(from, 9).collect(), &|from| exchange(from, 9).collect(), &|from| fan_out(from, 9, 5 * SECOND)];
    for work in works {
        assert_eq!(said(&rules(""), &days(work)).len(), 1, "only on the first of them");
    }
}

#[test]
fn rows_of_a_watch_of_before_are_learned_anew() {
    let rules = rules("");
    let digest = crate::budget::digest(&["runaway/1", "r", "", "agent_id", "60000000", "600000000"]);
    let old = vec![
        (crate::codec::rule_key("r"), crate::codec::write_json(&digest)),
        (crate::codec::watched_key("r", "agent_id=a"), crate::codec::write_json(&serde_json::json!({"n": 5, "h": 1, "s": [], "u": {}}))),
    ];
    let mut watch = Watch::load(&rules, old.into_iter()).expect("readable");
    assert_eq!(watch.unlearned(), ["r"], "its rows know neither pace nor evenness");
    assert!(watch.take_dirty().iter().any(|(_, value)| value.is_none()), "they are deleted");
}

/// A person at up to five windows: calls a while apart, of any length, each as far from the last as the answer takes to be written.
fn person() -> impl Strategy<Value = Vec<Made>> {
    let call = (0..5_u32, 0..20_i64, 100..20_000_u32, 1..2_500_u32);
    proptest::collection::vec(call, 1..40).prop_map(|calls| {
        let (mut next, mut prompts) = ([DAY; 5], [0_u32; 5]);
        let mut made = Vec::new();
        for (session, pause, grown, output) in calls {
            let (at, prompt) = (&mut next[session as usize], &mut prompts[session as usize]);
            *prompt += grown;
            made.push(Made { session, prompt: *prompt, output, cost: CENT * 2, ..Made::at(*at) });
            *prompt += output;
            *at += (9 + pause + i64::from(output) / 80) * SECOND;
        }
        made.sort_by_key(|call| call.at);
        made
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_person_at_many_windows_does_not_run_away_by_pace(made in person()) {
        let terms = "detect = ['growth', 'fan_out']\ngrowth = { even_percent = 1 }";
        prop_assert_eq!(said(&rules(terms), &made), Vec::<String>::new());
    }

    #[test]
    fn five_quick_calls_are_no_runaway_whatever_they_are(
        calls in proptest::collection::vec((1..200_000_u32, 1..900_u32, 1..20_i64), 5),
        even in any::<bool>(),
    ) {
        let (mut at, mut prompt) = (DAY, 1_000);
        let mut made = Vec::new();
        for (grown, output, pause) in &calls {
            let (grown, output) = if even { (calls[0].0, calls[0].1) } else { (*grown, *output) };
            prompt += grown;
            at += pause * SECOND;
            made.push(Made { prompt, output, cost: 20 * CENT, ..Made::at(at) });
        }
        prop_assert_eq!(said(&rules(""), &made), Vec::<String>::new());
    }
}
