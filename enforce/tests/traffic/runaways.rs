//! Agents that run away, each in a shape of its own.

use sluice_schemas::time::{MINUTE, SECOND};

use super::{CACHED, LARGE, Random, Traffic};

/// How an agent runs away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One prompt again and again, as fast as answers come.
    TightLoop,
    /// A loop of two steps that take turns.
    TwoStepLoop,
    /// Calls that fail are made again at once; those that succeed are thrown away and made again too.
    RetryStorm,
    /// Two agents that answer each other.
    PingPong,
    /// Each call takes the whole output of the last one into its prompt.
    Snowball,
    /// Sub-sessions that open further sub-sessions.
    FanOut,
    /// Calls of all sizes, many at once, far more than ever.
    Flood,
    /// One prompt again and again, minutes apart.
    SlowDrip,
}

/// Every shape.
pub(crate) const SHAPES: [Shape; 8] = [
    Shape::TightLoop,
    Shape::TwoStepLoop,
    Shape::RetryStorm,
    Shape::PingPong,
    Shape::Snowball,
    Shape::FanOut,
    Shape::Flood,
    Shape::SlowDrip,
];

/// Adds a runaway of `agent` that begins at `onset` and goes on for `length`.
pub(crate) fn runaway(traffic: &mut Traffic, random: &mut Random, shape: Shape, agent: &str, onset: i64, length: i64) {
    let end = onset + length;
    let context = random.within(20_000, 60_000);
    match shape {
        Shape::TightLoop => {
            let (who, answer, every) = (traffic.session(agent, "runaway"), random.within(150, 600), random.within(2_000, 7_000));
            let mut at = onset;
            while at < end {
                traffic.call(who, at, random.around(context, 8), random.around(answer, 80), LARGE);
                at += random.around(every, 200) * 1_000;
            }
        }
        Shape::TwoStepLoop => {
            let who = traffic.session(agent, "runaway");
            let (first, second, every) = (random.within(150, 400), random.within(500, 900), random.within(2_000, 5_000));
            let (mut at, mut step) = (onset, 0);
            while at < end {
                let (prompt, answer) = if step % 2 == 0 { (context, first) } else { (context + context / 4, second) };
                traffic.call(who, at, random.around(prompt, 8), random.around(answer, 80), LARGE);
                at += random.around(every, 200) * 1_000;
                step += 1;
            }
        }
        Shape::RetryStorm => {
            let (who, failing) = (traffic.session(agent, "runaway"), random.within(600, 850));
            let mut at = onset;
            while at < end {
                if random.chance(failing) {
                    traffic.failure(who, at, context);
                    at += random.within(300, 900) * 1_000;
                } else {
                    traffic.call(who, at, context, random.wide(300), LARGE);
                    at += random.within(2_000, 5_000) * 1_000;
                }
            }
        }
        Shape::PingPong => ping_pong(traffic, random, agent, onset, end),
        Shape::Snowball => {
            let who = traffic.session(agent, "runaway");
            let (mut at, mut prompt) = (onset, random.within(10_000, 30_000));
            while at < end {
                let answer = random.around(1_500, 500);
                traffic.call(who, at, prompt, answer, LARGE);
                prompt = (prompt + answer + random.wide(3_000)).min(random.within(195_000, 199_000));
                at += random.within(3_000, 8_000) * 1_000;
            }
        }
        Shape::FanOut => fan_out(traffic, random, agent, onset, end),
        Shape::Flood => {
            for worker in 0..random.within(20, 40) {
                let who = traffic.session(agent, &format!("flood-{worker}"));
                let mut at = onset + random.within(0, 5_000) * 1_000;
                while at < end {
                    let (prompt, answer) = (random.wide(15_000), random.wide(500));
                    traffic.call(who, at, prompt, answer, LARGE);
                    at += random.within(2_000, 8_000) * 1_000;
                }
            }
        }
        Shape::SlowDrip => {
            let (who, answer, every) = (traffic.session(agent, "runaway"), random.within(150, 600), random.within(60, 180));
            let mut at = onset;
            while at < end {
                traffic.call(who, at, random.around(context, 8), random.around(answer, 80), LARGE);
                at += random.around(every * SECOND, 150);
            }
        }
    }
}

fn ping_pong(traffic: &mut Traffic, random: &mut Random, agent: &str, onset: i64, end: i64) {
    let both = [traffic.session(agent, "runaway"), traffic.session(&format!("{agent}-peer"), "runaway")];
    let (mut at, mut turn, mut prompt) = (onset, 0, random.within(15_000, 40_000));
    while at < end {
        let answer = random.around(500, 400);
        traffic.call(both[turn % 2], at, prompt, answer, LARGE);
        prompt = (prompt + answer).min(190_000);
        at += random.within(2_500, 6_000) * 1_000;
        turn += 1;
    }
}

fn fan_out(traffic: &mut Traffic, random: &mut Random, agent: &str, onset: i64, end: i64) {
    let (doubling, mut open) = (random.within(10, 20) * SECOND, Vec::new());
    for number in 0..64_i64 {
        // The n-th sub-session opens once the ones before have doubled to it.
        let generation = i64::from(64 - (number as u64).leading_zeros());
        open.push((onset + generation * doubling + random.within(0, 4) * SECOND, number));
    }
    for (from, number) in open {
        let who = traffic.session(agent, &format!("sub-{number}"));
        let (mut at, mut prompt) = (from, random.wide(9_000));
        while at < end.min(from + 20 * MINUTE) {
            let answer = random.wide(500);
            traffic.call(who, at, prompt, answer, CACHED);
            prompt = if random.chance(150) { random.wide(9_000) } else { (prompt + answer + random.wide(1_500)).min(150_000) };
            at += random.within(3_000, 7_000) * 1_000;
        }
    }
}
