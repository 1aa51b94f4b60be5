//! What one call costs the ledger with ten thousand budgets and a hundred thousand counters, in nanoseconds.
//!
//! `cargo bench -p sluice-enforce --bench check`. Each budget names one agent, each agent has ten sessions with a counter of their own, and one
//! budget counts everybody. First every call of a batch is of another agent, then they are of a hundred; the last line is of budgets whose
//! predicate says nothing beforehand, so that each is asked.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use sluice_enforce::{Budgets, Ledger, NoLimits};
use sluice_schemas::time::MINUTE;
use sluice_schemas::{EnrichedBatch, Micros, Owner, PicoUsd, Profile, SpendDelta, SpendView, Sums, Sym};

const BUDGETS: usize = 10_000;
const SESSIONS: usize = 10;
/// Deltas of a batch, each one call.
const BATCH: usize = 1_000;
const START: i64 = 1_790_812_800_000_000;

fn budgets(operator: &str, count: usize) -> Arc<Budgets> {
    let mut text = "[[budget]]\nname = 'all'\nlimit = '1000000 USD'\nwindow = 'month'\n".to_owned();
    for number in 0..count {
        text += &format!(
            "[[budget]]\nname = 'b{number}'\nwhere = \"agent_id {operator} 'agent-{number}'\"\neach = ['session_id']\nlimit = '1000 USD'\nwindow = 'day'\n"
        );
    }
    Arc::new(Budgets::parse(&text).unwrap_or_else(|error| panic!("{error}")))
}

/// Calls of agents in turn, one delta each.
fn batch(first: usize, agents: usize, in_turn: usize, at: i64) -> (EnrichedBatch, Vec<SpendDelta>) {
    let mut batch = EnrichedBatch::default();
    let mut deltas = Vec::with_capacity(BATCH);
    for number in first..first + BATCH {
        let strings = &mut batch.batch.strings;
        // Far apart, as calls of many agents come.
        let (agent, session) =
            ((number - number % BATCH + number % in_turn) * 7_919 % agents, (number / in_turn + number / agents) % SESSIONS);
        let owner = Owner {
            agent_id: strings.intern(&format!("agent-{agent}")),
            session_id: strings.intern(&format!("session-{session}")),
            ..Owner::default()
        };
        let model = strings.intern("anthropic.claude-sonnet-4-5");
        let profile = u32::try_from(batch.owners.len()).unwrap_or(u32::MAX);
        batch.batch.profiles.push(Profile { region: strings.intern("us-east-1"), ..Profile::default() });
        batch.owners.push(owner);
        let sums = Sums { calls: 1, cost: PicoUsd(12_345_678), cost_max: PicoUsd(12_345_678), ..Sums::default() };
        deltas.push(SpendDelta { minute: Micros(at), last_event: Micros(at + 30_000_000), profile, model, scope: Sym::EMPTY, sums });
    }
    (batch, deltas)
}

/// Returns nanoseconds a call, of the fastest batch and of the middle one, and the counters there are in the end. Other work of the machine
/// only makes batches slower.
fn measure(operator: &str, count: usize, in_turn: usize, batches: usize) -> (u128, u128, usize) {
    let mut ledger = Ledger::new(budgets(operator, count), Arc::new(NoLimits));
    // Every counter is there before the clock starts.
    for number in 0..count * SESSIONS / BATCH {
        let (batch, deltas) = batch(number * BATCH, count, BATCH, START);
        ledger.apply(SpendView { batch: &batch, deltas: &deltas }, Micros(START + MINUTE));
    }
    let made: Vec<_> = (0..batches).map(|number| batch(number * BATCH * 3, count, in_turn, START + 2 * MINUTE)).collect();
    let mut nanos: Vec<u128> = made
        .iter()
        .map(|(batch, deltas)| {
            let begun = Instant::now();
            ledger.apply(SpendView { batch, deltas }, Micros(START + 3 * MINUTE));
            begun.elapsed().as_nanos() / BATCH as u128
        })
        .collect();
    nanos.sort_unstable();
    (nanos[0], nanos[nanos.len() / 2], ledger.live_counters())
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    for (in_turn, what) in [(BATCH, "each call of another agent"), (100, "calls of a hundred agents")] {
        let (fastest, middle, counters) = measure("=", BUDGETS, in_turn, 300);
        writeln!(out, "{BUDGETS} budgets, {counters} counters, {what}: {fastest} to {middle} ns a call")?;
    }
    let (fastest, middle, counters) = measure("LIKE", BUDGETS / 100, BATCH, 3);
    writeln!(out, "{} budgets, {counters} counters, every budget asked: {fastest} to {middle} ns a call", BUDGETS / 100)
}
