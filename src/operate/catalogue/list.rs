//! The list itself.

use std::time::Duration;

use super::{Kind, Metric, Sample, Value, count, count_if, dollars, labelled, one, seconds, seconds_if, spread};
use crate::coverage::{CoverageMeasure, SIDES};
use crate::operate::LeverCount;
use crate::operate::board::{Sight, age};
use crate::operate::measures::{Measures, ShardMeasure};

const ONE: &str = "1";
const SHARDS: &str = "100: stopped shards first, then those most behind";
const BUDGETS: &str = "20: the counters nearest to their limits";

const fn metric(
    base: &'static str,
    unit: &'static str,
    kind: Kind,
    help: &'static str,
    read: fn(&Sight, &Measures) -> Vec<Sample>,
) -> Metric {
    Metric { base, unit, kind, labels: &[], bound: ONE, help, read }
}

impl Metric {
    const fn by(mut self, labels: &'static [&'static str], bound: &'static str) -> Self {
        self.labels = labels;
        self.bound = bound;
        self
    }
}

/// Every metric.
pub(in crate::operate) static METRICS: &[Metric] = &[
    metric("sluice_records", "", Kind::Counter, "Records read, by what became of them", records)
        .by(&["outcome"], "5: call, duplicate, rejected, trail, control"),
    metric("sluice_rejected_records", "", Kind::Counter, "Records that could not be read; each is kept whole in table rejected", rejected)
        .by(&["reason"], "the reasons of table rejected, at most 17"),
    metric("sluice_gaps", "", Kind::Counter, "Stretches of a stream that were gone before they could be read", gaps),
    metric("sluice_read", "bytes", Kind::Counter, "Decompressed bytes read", |_, m| count(m.counts.bytes_in)),
    metric("sluice_spend", "usd", Kind::Counter, "Cost of the calls counted, rounded for display; exact sums are in the lake", |_, m| {
        one(Value::Real(dollars(m.counts.cost)))
    }),
    metric("sluice_unpriced_calls", "", Kind::Counter, "Calls without a known price; their cost is unknown and not zero", |_, m| {
        count(m.counts.unpriced)
    }),
    metric("sluice_spoofed_calls", "", Kind::Counter, "Calls that claimed an agent their principal may not be", |_, m| {
        count(m.counts.spoofed)
    }),
    metric("sluice_late_calls", "", Kind::Counter, "Calls that came after the watermark; they are counted all the same", |_, m| {
        count(m.counts.late)
    }),
    metric("sluice_apply_latency", "seconds", Kind::Histogram, "From the arrival of a record until its spend is counted", |_, m| {
        spread(&m.applied)
    }),
    metric(
        "sluice_commit_latency",
        "seconds",
        Kind::Histogram,
        "From the arrival of a record until the local commit that holds it",
        |_, m| spread(&m.committed),
    ),
    metric("sluice_local_commit_duration", "seconds", Kind::Histogram, "How long local commits took", |_, m| spread(&m.local.durations)),
    metric("sluice_lake_commit_duration", "seconds", Kind::Histogram, "How long lake commits took", |_, m| spread(&m.lake.durations)),
    metric("sluice_local_commit_age", "seconds", Kind::Gauge, "Since the last local commit; absent before the first", |s, m| {
        seconds_if(m.local.last.map(|at| age(s.now, at)))
    }),
    metric(
        "sluice_lake_commit_age",
        "seconds",
        Kind::Gauge,
        "Since the last lake commit; absent before the first of this process",
        |s, m| seconds_if(m.lake.last.map(|at| age(s.now, at))),
    ),
    metric(
        "sluice_lake_waiting",
        "seconds",
        Kind::Gauge,
        "How long the oldest row has waited for a lake commit; 0 when none waits",
        |s, m| seconds(m.waiting_since.map_or(Duration::ZERO, |since| age(s.now, since))),
    ),
    metric("sluice_lake_epoch", "", Kind::Gauge, "Last committed epoch of the lake", |_, m| count(m.lake_epoch)),
    metric("sluice_lag", "seconds", Kind::Gauge, "How long the oldest unread record of any stream has waited; absent for files", |_, m| {
        seconds_if(m.source.behind_ms().map(Duration::from_millis))
    }),
    metric(
        "sluice_retention_headroom",
        "seconds",
        Kind::Gauge,
        "Shortest time until a stream drops an unread record; absent for files",
        |_, m| seconds_if(m.source.headroom_ms().map(Duration::from_millis)),
    ),
    metric("sluice_shards", "", Kind::Gauge, "Shards of streams by state", shard_states)
        .by(&["state"], "4: reading, waiting, stopped, ended"),
    metric("sluice_shard_lag", "seconds", Kind::Gauge, "How long the next record of a shard has waited", |_, m| {
        of_shards(m, |shard| shard.behind_ms.map(milliseconds))
    })
    .by(&["shard"], SHARDS),
    metric("sluice_shard_lag_records", "", Kind::Gauge, "Records a shard is behind its end", |_, m| {
        of_shards(m, |shard| shard.behind_records.map(Value::Count))
    })
    .by(&["shard"], SHARDS),
    metric("sluice_shard_headroom", "seconds", Kind::Gauge, "Time until the stream drops the next record of a shard", |_, m| {
        of_shards(m, |shard| shard.headroom_ms.map(milliseconds))
    })
    .by(&["shard"], SHARDS),
    metric("sluice_shard_offset", "", Kind::Gauge, "Offset a shard was applied to; absent where records have sequence numbers", |_, m| {
        of_shards(m, |shard| shard.sequence.is_empty().then_some(Value::Count(shard.offset)))
    })
    .by(&["shard"], SHARDS),
    metric("sluice_source_files", "", Kind::Gauge, "Files followed", |_, m| {
        vec![labelled(["known"], Value::Count(m.source.files_total)), labelled(["read"], Value::Count(m.source.files_done))]
    })
    .by(&["state"], "2: known, read"),
    metric("sluice_source_stored", "bytes", Kind::Gauge, "Bytes of the files followed, as stored", |_, m| {
        vec![labelled(["known"], Value::Count(m.source.bytes_total)), labelled(["read"], Value::Count(m.source.bytes_done))]
    })
    .by(&["state"], "2: known, read"),
    metric("sluice_positions", "", Kind::Gauge, "Shards with a position, files included", |_, m| count(m.positions)),
    metric("sluice_pieces_in_flight", "", Kind::Gauge, "Pieces read and not yet counted", |_, m| count(m.in_flight)),
    metric(
        "sluice_watermark_age",
        "seconds",
        Kind::Gauge,
        "How far the watermark is behind the clock, growing while no calls come; absent before the first",
        |s, m| seconds_if(m.watermark.map(|at| age(s.now, at))),
    ),
    metric("sluice_dedup_keys", "", Kind::Gauge, "Request ids in memory", |_, m| count(m.dedup_keys)),
    metric("sluice_dedup", "bytes", Kind::Gauge, "Memory of the request ids, about", |_, m| count(m.dedup_bytes)),
    metric("sluice_agents", "", Kind::Gauge, "Agents seen since the start", |_, m| count(m.agents)),
    metric("sluice_sessions", "", Kind::Gauge, "Sessions of the live view, at most 100 000", |_, m| count(m.sessions)),
    metric("sluice_breaches", "", Kind::Counter, "Budget thresholds crossed", |_, m| count(m.breaches)),
    metric("sluice_overshoot_violations", "", Kind::Counter, "Holds that let more through than the stated bound", |_, m| count(m.overshot)),
    metric("sluice_actions", "", Kind::Counter, "Actions by kind and how they ended", actions)
        .by(&["action", "state"], "105: 15 kinds and 7 ends, of which about 20 occur"),
    metric("sluice_outbox_open", "", Kind::Gauge, "Crossings whose actions are under way", |_, m| count(m.outbox_open)),
    metric(
        "sluice_outbox_age",
        "seconds",
        Kind::Gauge,
        "How long ago the oldest crossing was seen whose actions are under way; 0 when there is none",
        |s, m| seconds(m.outbox_since.map_or(Duration::ZERO, |since| age(s.now, since))),
    ),
    metric("sluice_levers", "", Kind::Gauge, "Levers by how they stand; absent where none is configured", levers)
        .by(&["state"], "2: standing, failing (could not be pulled or lifted, or does not stop what it should)"),
    metric("sluice_levers_stopped", "", Kind::Gauge, "1 while the kill switch is thrown; absent without levers", |s, _| {
        count_if(s.outside.levers.map(|levers| u64::from(levers.is_stopped)))
    }),
    metric("sluice_breaker_open", "", Kind::Gauge, "1 while the breaker has tripped; absent without levers", |s, _| {
        count_if(s.outside.levers.map(|levers| u64::from(levers.is_broken)))
    }),
    metric("sluice_holds", "", Kind::Gauge, "Holds that are not released", holds)
        .by(&["mode", "state"], "6: observe, approve or enforce; active or pending_approval"),
    metric("sluice_budget_counters", "", Kind::Gauge, "Budget counters by where they are kept", |_, m| {
        let (memory, store) = m.budget_counters;
        vec![labelled(["memory"], Value::Count(memory)), labelled(["store"], Value::Count(store))]
    })
    .by(&["place"], "2: memory, store"),
    metric(
        "sluice_unconfirmed_budgets",
        "",
        Kind::Gauge,
        "New or changed budgets that only notify until a person confirms them",
        |_, m| count(m.unconfirmed_budgets),
    ),
    metric("sluice_budget_used", "ratio", Kind::Gauge, "Spend over limit of a budget counter", |_, m| {
        of_budgets(m, |budget| Value::Real(ratio(budget.percent_millis)))
    })
    .by(&["budget", "target"], BUDGETS),
    metric("sluice_budget_spent", "usd", Kind::Gauge, "What counts against the limit, rounded for display", |_, m| {
        of_budgets(m, |budget| Value::Real(dollars(budget.spent)))
    })
    .by(&["budget", "target"], BUDGETS),
    metric("sluice_budget_limit", "usd", Kind::Gauge, "The limit", |_, m| of_budgets(m, |budget| Value::Real(dollars(budget.limit))))
        .by(&["budget", "target"], BUDGETS),
    metric(
        "sluice_coverage_gap_calls",
        "",
        Kind::Gauge,
        "Calls of the checked hours that others counted and the lake lacks; absent where nothing could be compared",
        |s, _| of_coverage(s, |found| Value::Count(found.totals.calls)),
    ),
    metric("sluice_coverage_gap_tokens", "", Kind::Gauge, "Tokens that the lake lacks", |s, _| {
        of_coverage(s, |found| Value::Count(found.totals.tokens.total()))
    }),
    metric(
        "sluice_coverage_gap",
        "usd",
        Kind::Gauge,
        "What the missing calls cost, estimated by the model's average or list price",
        |s, _| of_coverage(s, |found| Value::Real(dollars(found.totals.usd))),
    ),
    metric("sluice_coverage_gap_unpriced_calls", "", Kind::Gauge, "Missing calls of models without a known price", |s, _| {
        of_coverage(s, |found| Value::Count(found.totals.unpriced_calls))
    }),
    metric("sluice_coverage_compared", "", Kind::Gauge, "Models and hours that the last check compared", |s, _| {
        let compared = |found: &CoverageMeasure| {
            SIDES.iter().zip(found.compared).map(|(side, count)| labelled([side.as_str()], Value::Count(count))).collect()
        };
        s.coverage.as_ref().map(compared).unwrap_or_default()
    })
    .by(&["side"], "3: cloudwatch, cloudtrail, log_copy"),
    metric(
        "sluice_coverage_checked_age",
        "seconds",
        Kind::Gauge,
        "Since the last check of completeness; absent before the first",
        |s, _| seconds_if(s.coverage.map(|found| age(s.now, found.at))),
    ),
    metric(
        "sluice_config_refused",
        "",
        Kind::Counter,
        "Versions of the configuration that were refused; what was in force stayed",
        |s, _| count(s.config.refused),
    ),
    metric(
        "sluice_config_age",
        "seconds",
        Kind::Gauge,
        "Since the configuration in force was last found to be the newest; grows while a newer one is refused or none can be read",
        |s, _| seconds_if(s.config.confirmed.map(|at| age(s.now, at))),
    ),
    metric("sluice_config", "", Kind::Info, "Version of the configuration in force, all its texts together", |s, _| {
        vec![labelled([s.config.edition.id().as_str()], Value::Count(1))]
    })
    .by(&["version"], ONE),
    metric("sluice_ready", "", Kind::Gauge, "1 when /ready answers 200", |s, _| count(u64::from(s.reasons().is_empty()))),
    metric("sluice_live", "", Kind::Gauge, "1 when /live answers 200", |s, _| count(u64::from(s.live()))),
    metric(
        "sluice_measures_age",
        "seconds",
        Kind::Gauge,
        "Age of the snapshot all this is read from; grows when the coordinator is stuck",
        |s, m| seconds_if((m.at.0 != 0).then(|| age(s.now, m.at))),
    ),
    metric("sluice_build", "", Kind::Info, "Version of the program", |_, _| vec![labelled([env!("CARGO_PKG_VERSION")], Value::Count(1))])
        .by(&["version"], ONE),
    metric("process_resident_memory", "bytes", Kind::Gauge, "Resident memory", |s, _| count_if(s.outside.process.resident_bytes)),
    metric("process_threads", "", Kind::Gauge, "Threads", |s, _| count_if(s.outside.process.threads)),
    metric("process_open_fds", "", Kind::Gauge, "Open file descriptors", |s, _| count_if(s.outside.process.open_files)),
    metric("process_cpu", "seconds", Kind::Counter, "CPU time, user and system", |s, _| seconds_if(s.outside.process.cpu)),
    metric("process_start_time", "seconds", Kind::Gauge, "When the process started, seconds since 1970", |s, _| {
        seconds(Duration::from_micros(u64::try_from(s.started.0).unwrap_or(0)))
    }),
];

fn records(_: &Sight, m: &Measures) -> Vec<Sample> {
    let counts = &m.counts;
    let outcomes = [
        ("call", counts.facts),
        ("duplicate", counts.duplicates),
        ("rejected", counts.rejected),
        ("trail", counts.trail),
        ("control", counts.control),
    ];
    outcomes.into_iter().map(|(outcome, records)| labelled([outcome], Value::Count(records))).collect()
}

fn rejected(_: &Sight, m: &Measures) -> Vec<Sample> {
    m.rejected.iter().map(|(reason, records)| labelled([reason], Value::Count(*records))).collect()
}

fn gaps(_: &Sight, m: &Measures) -> Vec<Sample> {
    count(m.gaps())
}

fn levers(s: &Sight, _: &Measures) -> Vec<Sample> {
    let states = |levers: LeverCount| [("standing", levers.standing), ("failing", levers.failing)];
    s.outside.levers.into_iter().flat_map(states).map(|(state, count)| labelled([state], Value::Count(count))).collect()
}

fn shard_states(_: &Sight, m: &Measures) -> Vec<Sample> {
    let count = |state: &str| m.source.shards.iter().filter(|shard| shard.state == state).count() as u64;
    ["reading", "waiting", "stopped", "ended"].into_iter().map(|state| labelled([state], Value::Count(count(state)))).collect()
}

fn of_shards(m: &Measures, read: impl Fn(&ShardMeasure) -> Option<Value>) -> Vec<Sample> {
    m.source.named().into_iter().filter_map(|shard| Some(labelled([&shard.shard], read(shard)?))).collect()
}

fn of_budgets(m: &Measures, read: impl Fn(&crate::operate::measures::BudgetMeasure) -> Value) -> Vec<Sample> {
    m.budgets.iter().map(|budget| labelled([&budget.budget, &budget.target], read(budget))).collect()
}

fn actions(_: &Sight, m: &Measures) -> Vec<Sample> {
    m.actions.iter().map(|((action, state), count)| labelled([action, state], Value::Count(*count))).collect()
}

fn of_coverage(s: &Sight, read: impl Fn(&CoverageMeasure) -> Value) -> Vec<Sample> {
    s.coverage.as_ref().filter(|found| found.totals.compared > 0).map(|found| one(read(found))).unwrap_or_default()
}

fn holds(s: &Sight, _: &Measures) -> Vec<Sample> {
    s.outside.holds.iter().map(|hold| labelled([hold.mode, hold.state], Value::Count(hold.count))).collect()
}

fn milliseconds(value: u64) -> Value {
    Value::Real(Duration::from_millis(value).as_secs_f64())
}

/// Thousandths of a percent as a share of one: shifting the decimal point is left to the parser.
fn ratio(percent_millis: u64) -> f64 {
    format!("{percent_millis}e-5").parse().unwrap_or(f64::NAN)
}
