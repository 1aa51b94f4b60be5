//! `sluice agents`: every agent of the lake, what names it, and what would make that more certain.

use std::collections::{BTreeMap, HashSet};
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;
use sluice_enrich::attribution::{Beside, Change};
use sluice_enrich::{CallToAttribute, OwnerTexts};
use sluice_schemas::time::DAY;
use sluice_schemas::visible::escape;
use sluice_schemas::{AgentStatus, Clock, Micros, PicoUsd, Rank, SystemClock};

use super::args::Format;
use super::args_who::AgentsArgs;
use super::who::{self, CALLER, Known};
use crate::output;

/// Most changes told of one agent.
const CHANGES_MAX: usize = 3;

/// What one kind of evidence told of an agent.
#[derive(Debug, Serialize)]
struct Mix {
    evidence: String,
    rank: u8,
    status: String,
    calls: u64,
    cost_usd: PicoUsd,
}

/// One agent.
#[derive(Debug, Serialize)]
struct Seen {
    agent_id: String,
    team: String,
    calls: u64,
    sessions: u64,
    cost_usd: PicoUsd,
    unpriced_calls: u64,
    last_seen: String,
    evidence: Vec<Mix>,
    /// Spend by rank, 0 to 4.
    cost_by_rank: [PicoUsd; 5],
    /// What would make the weakest of its evidence more certain, for the principals with the most of its spend.
    changes: Vec<Change>,
}

pub(super) fn run(args: &AgentsArgs) -> anyhow::Result<ExitCode> {
    let known = who::open(&args.place)?;
    let since = i64::try_from(args.since.as_micros()).context("--since")?;
    let now = SystemClock.now();
    let agents = agents(&known, Micros(now.0.saturating_sub(since)))?;
    if agents.is_empty() {
        output::note(&nothing_since(&known, now)?);
    }
    if args.format == Format::Json {
        output::json(&serde_json::to_string_pretty(&agents)?);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = agents.iter().map(|seen| cells(seen, args.format)).collect();
    output::rows(&HEADER, rows.iter().map(Vec::as_slice), args.format.word())?;
    if args.format == Format::Table {
        for agent in &agents {
            for change in &agent.changes {
                output::line(&format!("{}: {}", escape(&agent.agent_id), escape(&change.action)));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what the lake has instead, and how to see it.
fn nothing_since(known: &Known, now: Micros) -> anyhow::Result<String> {
    let columns = ["arrow_cast(min(event_time), 'Int64')", "arrow_cast(max(event_time), 'Int64')"];
    let row = who::texts(&known.engine, &columns, "FROM calls")?.into_iter().next().unwrap_or_default();
    let [first, last] = row.as_slice() else { return Ok("the lake has no calls".to_owned()) };
    if first.is_empty() {
        return Ok("the lake has no calls".to_owned());
    }
    let (first, last) = (Micros(first.parse().context("event_time")?), Micros(last.parse().context("event_time")?));
    let days = now.0.saturating_sub(first.0).max(0) / DAY + 1;
    Ok(format!("no calls in that time; the lake has calls from {first} to {last}: --since {days}d"))
}

/// Returns the agents with calls since then, the dearest first.
fn agents(known: &Known, since: Micros) -> anyhow::Result<Vec<Seen>> {
    let span = format!("FROM calls WHERE event_time >= arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", since.0);
    let columns = [
        "agent_id",
        "max(team)",
        "count(*)",
        "count(DISTINCT session_id)",
        "sum(cost_usd)",
        "sum(CASE WHEN priced THEN 0 ELSE 1 END)",
        "arrow_cast(max(event_time), 'Int64')",
    ];
    let mut agents = BTreeMap::new();
    for row in who::texts(&known.engine, &columns, &format!("{span} GROUP BY agent_id"))? {
        let text = |at: usize| row.get(at).cloned().unwrap_or_default();
        let seen = Seen {
            agent_id: text(0),
            team: text(1),
            calls: number(&text(2))?,
            sessions: number(&text(3))?,
            cost_usd: money(&text(4))?,
            unpriced_calls: number(&text(5))?,
            last_seen: Micros(text(6).parse().context("event_time")?).to_string(),
            evidence: Vec::new(),
            cost_by_rank: [PicoUsd::ZERO; 5],
            changes: Vec::new(),
        };
        agents.insert(text(0), seen);
    }
    add_evidence(known, &span, &mut agents)?;
    let mut agents: Vec<_> = agents.into_values().collect();
    agents.sort_by(|a, b| b.cost_usd.cmp(&a.cost_usd).then_with(|| a.agent_id.cmp(&b.agent_id)));
    Ok(agents)
}

/// Adds what named each agent, and the changes that its weakest evidence asks for.
fn add_evidence(known: &Known, span: &str, agents: &mut BTreeMap<String, Seen>) -> anyhow::Result<()> {
    let (shared, with_events) = (who::shared_callers(known, span)?, who::accounts_with_events(known)?);
    // One call stands for all of a caller: advice depends on principal and kind of model.
    let columns = [
        "agent_id",
        "agent_evidence",
        "agent_rank",
        "agent_status",
        "count(*)",
        "sum(cost_usd)",
        "max(principal_arn)",
        "max(model_id)",
        "max(account_id)",
        "max(region)",
        "max(tags['claimed_agent'])",
        CALLER,
    ];
    let groups = "agent_id, agent_evidence, agent_rank, agent_status";
    let rest =
        format!("{span} GROUP BY {groups}, {CALLER} ORDER BY agent_id, agent_rank DESC, sum(cost_usd), agent_evidence, max(principal_arn)");
    for row in who::texts(&known.engine, &columns, &rest)? {
        let text = |at: usize| row.get(at).map_or("", String::as_str);
        let Some(seen) = agents.get_mut(text(0)) else { continue };
        let (calls, cost) = (number(text(4))?, money(text(5))?);
        let rank: u8 = text(2).parse().context("agent_rank")?;
        if let Some(of_rank) = seen.cost_by_rank.get_mut(usize::from(rank)) {
            *of_rank = PicoUsd(of_rank.0 + cost.0);
        }
        match seen.evidence.iter_mut().find(|mix| (mix.evidence.as_str(), mix.rank, mix.status.as_str()) == (text(1), rank, text(3))) {
            Some(mix) => (mix.calls, mix.cost_usd) = (mix.calls + calls, PicoUsd(mix.cost_usd.0 + cost.0)),
            None => {
                seen.evidence.push(Mix { evidence: text(1).to_owned(), rank, status: text(3).to_owned(), calls, cost_usd: cost });
            }
        }
        // The last are the weakest, and of those the dearest: they come first.
        if let Some(change) = advice(known, &row, rank, (&shared, &with_events)).filter(|change| !seen.changes.contains(change)) {
            seen.changes.insert(0, change);
            seen.changes.truncate(CHANGES_MAX);
        }
    }
    Ok(())
}

/// Returns the change that calls of a row ask for.
fn advice(known: &Known, row: &[String], rank: u8, (shared, with_events): (&HashSet<String>, &HashSet<String>)) -> Option<Change> {
    let text = |at: usize| row.get(at).map_or("", String::as_str);
    let call =
        CallToAttribute { principal_arn: text(6), model_id: text(7), account_id: text(8), region: text(9), ..CallToAttribute::default() };
    let claimed = Some(("claimed_agent".to_owned(), text(10).to_owned())).filter(|(_, claimed)| !claimed.is_empty());
    let owner = OwnerTexts {
        agent_id: text(0).to_owned(),
        agent_evidence: text(1).to_owned(),
        agent_rank: rank_of(rank),
        agent_status: status_of(text(3)),
        tags: claimed.into_iter().collect(),
        ..OwnerTexts::default()
    };
    // A role of several agents is no agent's alone: what nothing names there has to be told apart like the rest.
    let beside = Beside { passed_over: &[], is_shared: shared.contains(text(11)), has_events: with_events.contains(text(8)) };
    known.enricher.cheapest_change(&call, &owner, beside)
}

fn number(text: &str) -> anyhow::Result<u64> {
    text.parse().with_context(|| format!("'{text}' is no count"))
}

fn money(text: &str) -> anyhow::Result<PicoUsd> {
    if text.is_empty() { Ok(PicoUsd::ZERO) } else { text.parse().with_context(|| format!("'{text}' is no amount")) }
}

fn rank_of(rank: u8) -> Rank {
    [Rank::Inferred, Rank::Claimed, Rank::Chosen, Rank::Pinned].get(usize::from(rank)).copied().unwrap_or(Rank::Aws)
}

fn status_of(word: &str) -> AgentStatus {
    let all = [AgentStatus::Unverified, AgentStatus::Verified, AgentStatus::Spoofed];
    all.into_iter().find(|status| status.as_str() == word).unwrap_or_default()
}

const HEADER: [&str; 9] = ["AGENT", "TEAM", "COST", "CALLS", "UNPRICED", "SESSIONS", "LAST SEEN", "SPEND BY RANK", "EVIDENCE"];

fn cells(seen: &Seen, format: Format) -> Vec<String> {
    let evidence = seen.evidence.iter().map(|mix| format!("{} {}×{}", mix.evidence, mix.status, mix.calls)).collect::<Vec<_>>();
    vec![
        seen.agent_id.clone(),
        seen.team.clone(),
        // A program that reads CSV adds up what it reads.
        if format == Format::Csv { seen.cost_usd.to_string() } else { seen.cost_usd.display(4) },
        seen.calls.to_string(),
        seen.unpriced_calls.to_string(),
        seen.sessions.to_string(),
        seen.last_seen.clone(),
        shares(seen),
        evidence.join(", "),
    ]
}

/// Shares of spend by rank in whole percent, the most trusted first; of calls where nothing was spent, nothing.
fn shares(seen: &Seen) -> String {
    let total = seen.cost_usd.0;
    let share = |(rank, cost): (usize, &PicoUsd)| (cost.0 > 0).then(|| format!("{rank}: {}%", (cost.0 * 100 + total / 2) / total.max(1)));
    seen.cost_by_rank.iter().enumerate().rev().filter_map(share).collect::<Vec<_>>().join(" ")
}
