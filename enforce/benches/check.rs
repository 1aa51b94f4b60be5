//! What one call costs the ledger with ten thousand budgets and a hundred thousand counters, in nanoseconds.
//!
//! `cargo bench -p sluice-enforce --bench check`. Each budget names one agent, each agent has ten sessions with a counter of their own, and one
//! budget counts everybody. The second line is of budgets whose predicate says nothing beforehand, so that each is asked.

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
fn batch(first: usize, agents: usize, at: i64) -> (EnrichedBatch, Vec<SpendDelta>) {
    let mut batch = EnrichedBatch::default();
    let mut deltas = Vec::with_capacity(BATCH);
    for number in first..first + BATCH {
        let strings = &mut batch.batch.strings;
        // Far apart, as calls of many agents come.
        let (agent, session) = (number * 7_919 % agents, number / agents % SESSIONS);
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

/// Returns nanoseconds a call, and the counters there are in the end.
fn measure(operator: &str, count: usize, batches: usize) -> (u128, usize) {
    let mut ledger = Ledger::new(budgets(operator, count), Arc::new(NoLimits));
    // Every counter is there before the clock starts.
    for number in 0..count * SESSIONS / BATCH {
        let (batch, deltas) = batch(number * BATCH, count, START);
        ledger.apply(SpendView { batch: &batch, deltas: &deltas }, Micros(START + MINUTE));
    }
    let made: Vec<_> = (0..batches).map(|number| batch(number * BATCH * 3, count, START + 2 * MINUTE)).collect();
    let begun = Instant::now();
    for (batch, deltas) in &made {
        ledger.apply(SpendView { batch, deltas }, Micros(START + 3 * MINUTE));
    }
    let nanos = begun.elapsed().as_nanos();
    (nanos / (batches * BATCH) as u128, ledger.live_counters())
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let (nanos, counters) = measure("=", BUDGETS, 200);
    writeln!(out, "{BUDGETS} budgets, {counters} counters: {nanos} ns a call")?;
    let (nanos, counters) = measure("LIKE", BUDGETS, 2);
    writeln!(out, "the same, every budget asked, {counters} counters: {nanos} ns a call")
}
