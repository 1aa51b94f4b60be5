//! The sections of the screen as lines: header, agents, sessions, budgets, holds, events, footer.

use std::cmp::Reverse;

use ratatui::text::{Line, Span};
use sluice_schemas::AgentStatus;

use super::format::{ago, bar, clock, count, fit, lag, money, money_in, pairs, percent, places, short_count, span, width};
use super::paint::{Role, Scene, Sort};
use super::table::{Cell, Table, cell, number, text};
use super::{AgentRow, BudgetRow, BudgetState, HoldRow, Level, SessionRow, targets_agent};

/// Rows of the header.
pub(crate) const HEADER_ROWS: u16 = 3;

/// Returns the header: what it is, what it cost, whether the pipeline is well.
pub(crate) fn header(scene: &Scene<'_>, columns: usize) -> Vec<Line<'static>> {
    let snapshot = scene.snapshot;
    let totals = &snapshot.totals;
    let right = format!("up {}  {} UTC", span(snapshot.started, snapshot.at), clock(snapshot.at));
    let title = fit(scene.title, columns.saturating_sub(width(&right) + 12));
    let mut left = vec![Span::styled(title, scene.style(Role::Title))];
    if scene.paused {
        left.push(Span::styled("  PAUSED", scene.style(Role::Warn)));
    }
    let used: usize = left.iter().map(|span| width(&span.content)).sum();
    left.push(Span::raw(" ".repeat(columns.saturating_sub(used + width(&right)))));
    left.push(Span::styled(right, scene.style(Role::Dim)));

    let slow = if totals.lag_ms >= 10_000 { Role::Warn } else { Role::Strong };
    let spend = snapshot.spend_label();
    let figures = [
        (spend.as_str(), money(totals.cost), Role::Strong),
        ("burn", format!("{}/h", money(snapshot.burn_per_hour())), Role::Strong),
        ("rate", format!("{}/s", count(totals.events_per_s)), Role::Strong),
        ("lag", lag(totals.lag_ms), slow),
    ];
    let mut spend = Vec::new();
    for (name, value, role) in figures {
        spend.push(Span::styled(format!("{name} "), scene.style(Role::Dim)));
        spend.push(Span::styled(format!("{value}   "), scene.style(role)));
    }
    vec![Line::from(left), Line::from(spend), counters(scene, columns)]
}

/// Returns the counters; the ones that want a look are coloured once they are not zero.
fn counters(scene: &Scene<'_>, columns: usize) -> Line<'static> {
    let totals = &scene.snapshot.totals;
    let counters = [
        ("records", totals.records, Role::Plain),
        ("calls", totals.facts, Role::Plain),
        ("dup", totals.duplicates, Role::Plain),
        ("rejected", totals.rejected, Role::Warn),
        ("unpriced", totals.unpriced, Role::Warn),
        ("spoofed", totals.spoofed, Role::Bad),
        ("late", totals.late, Role::Plain),
    ];
    let mut spans = Vec::new();
    let mut used = 0;
    for (name, value, role) in counters {
        let value = if columns < 100 { short_count(value) } else { count(value) };
        used += name.len() + value.len() + 3;
        if used > columns + 2 {
            break;
        }
        let role = if value == "0" { Role::Dim } else { role };
        spans.push(Span::styled(format!("{name} "), scene.style(Role::Dim)));
        spans.push(Span::styled(format!("{value}  "), scene.style(role)));
    }
    Line::from(spans)
}

/// Returns the line of keys.
pub(crate) fn footer(scene: &Scene<'_>, columns: usize) -> Line<'static> {
    let pause = if scene.paused { "go on" } else { "pause" };
    let keys =
        [("q", "quit".to_owned()), ("s", format!("sort ({})", scene.sort.as_str())), ("p", pause.to_owned()), ("↑↓", "scroll".to_owned())];
    Line::styled(pairs(keys, columns), scene.style(Role::Dim))
}

/// Returns what is left of the view on a screen of a few cells.
pub(crate) fn too_small(scene: &Scene<'_>) -> Vec<Line<'static>> {
    vec![Line::raw(money(scene.snapshot.totals.cost)), Line::raw("window too small")]
}

/// Returns the agents, heading first, `rows` in all.
pub(crate) fn agents(scene: &Scene<'_>, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let snapshot = scene.snapshot;
    let table = Table::new(
        &[
            text("AGENT", 16, 34, 0),
            text("TRUST", 5, 5, 0),
            text("TEAM", 8, 12, 7),
            number("SPEND", 10, 0),
            number("BURN/H", 10, 2),
            text("BUDGET", 10, 16, 3),
            number("CALLS", 5, 4),
            number("TOKENS", 6, 8),
            number("SESS", 4, 9),
            number("LAST", 4, 5),
            text("TREND", 8, 24, 6),
        ],
        columns,
    );
    let mut order: Vec<&AgentRow> = snapshot.agents.iter().collect();
    order.sort_by(|a, b| by_sort(scene.sort, a, b));
    let shown = rows.saturating_sub(1);
    let mut lines = vec![table.heading(scene.style(Role::Heading), shown, order.len())];
    if order.is_empty() {
        lines.push(Line::styled("waiting for the first call", scene.style(Role::Dim)));
    }
    let cost_places = places(snapshot.agents.iter().map(|agent| agent.cost).max().unwrap_or_default());
    let burn_places = places(snapshot.agents.iter().map(|agent| agent.burn_per_hour).max().unwrap_or_default());
    let first = scene.scroll.min(order.len().saturating_sub(shown));
    for agent in order.iter().skip(first).take(shown) {
        let (mark, role) = mark(scene, agent);
        let budget =
            snapshot.budgets.iter().filter(|budget| targets_agent(&budget.target, &agent.agent_id)).max_by_key(|row| row.percent_millis);
        let cost = if agent.cost.0 == 0 { Role::Dim } else { Role::Strong };
        let row = vec![
            cell(agent.agent_id.clone(), scene.style(role)),
            cell(mark, scene.style(role)),
            cell(agent.team.clone(), scene.style(Role::Dim)),
            cell(money_in(agent.cost, cost_places), scene.style(cost)),
            cell(money_in(agent.burn_per_hour, burn_places), scene.style(Role::Plain)),
            budget.map_or_else(Cell::default, |budget| gauge(scene, budget, table.width(5))),
            cell(short_count(agent.calls), scene.style(Role::Plain)),
            cell(short_count(agent.tokens), scene.style(Role::Plain)),
            cell(short_count(agent.sessions), scene.style(Role::Plain)),
            cell(ago(agent.last_event, snapshot.at), scene.style(Role::Dim)),
            cell(scene.trends.bars(&agent.agent_id, table.width(10)), scene.style(role)),
        ];
        lines.push(table.row(row, scene.style(Role::Plain)));
    }
    lines
}

fn by_sort(sort: Sort, a: &AgentRow, b: &AgentRow) -> std::cmp::Ordering {
    let order = match sort {
        Sort::Spend => b.cost.cmp(&a.cost),
        Sort::Burn => b.burn_per_hour.cmp(&a.burn_per_hour),
        Sort::Calls => b.calls.cmp(&a.calls),
        Sort::Recent => b.last_event.cmp(&a.last_event),
        Sort::Name => std::cmp::Ordering::Equal,
    };
    order.then_with(|| a.agent_id.cmp(&b.agent_id))
}

/// Returns the mark of an agent: what the reader should know before trusting the row.
fn mark(scene: &Scene<'_>, agent: &AgentRow) -> (&'static str, Role) {
    let mut holds = scene.snapshot.holds.iter().filter(|hold| targets_agent(&hold.target, &agent.agent_id)).peekable();
    if holds.peek().is_some() {
        // One that only observes or waits for a person stops nobody.
        return (if holds.any(HoldRow::stops) { "HELD" } else { "OVER" }, Role::Bad);
    }
    match agent.status {
        AgentStatus::Spoofed => ("FAKE", Role::Bad),
        AgentStatus::Unattributed => ("none", Role::Warn),
        AgentStatus::Unverified => ("weak", Role::Plain),
        AgentStatus::Verified => ("ok", Role::Plain),
    }
}

/// Returns a bar and its percentage in `columns`.
fn gauge(scene: &Scene<'_>, budget: &BudgetRow, columns: usize) -> Cell {
    let role = Role::of_budget(budget.percent_millis, budget.state);
    let label = percent(budget.percent_millis);
    let (full, rest) = bar(budget.percent_millis, columns.saturating_sub(5));
    Cell::pieces(vec![
        Span::styled(full, scene.style(role)),
        Span::styled(rest, scene.style(Role::Dim)),
        Span::styled(format!("{label:>5}"), scene.style(role)),
    ])
}

/// Returns the sessions with the highest spend.
pub(crate) fn sessions(scene: &Scene<'_>, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let snapshot = scene.snapshot;
    let table = Table::new(
        &[text("SESSION", 12, 40, 0), text("AGENT", 10, 24, 2), number("SPEND", 10, 0), number("CALLS", 5, 3), number("LAST", 4, 4)],
        columns,
    );
    let mut order: Vec<&SessionRow> = snapshot.sessions.iter().collect();
    order.sort_by_key(|row| (Reverse(row.cost), Reverse(row.last_event), row.session_id.as_str()));
    let cost_places = places(order.first().map(|row| row.cost).unwrap_or_default());
    let mut lines = vec![table.heading(scene.style(Role::Heading), rows.saturating_sub(1), order.len())];
    for session in order.iter().take(rows.saturating_sub(1)) {
        let name = if session.session_id.is_empty() { "(no session)" } else { &session.session_id };
        let row = vec![
            cell(name, scene.style(Role::Plain)),
            cell(session.agent_id.clone(), scene.style(Role::Dim)),
            cell(money_in(session.cost, cost_places), scene.style(Role::Strong)),
            cell(short_count(session.calls), scene.style(Role::Plain)),
            cell(ago(session.last_event, snapshot.at), scene.style(Role::Dim)),
        ];
        lines.push(table.row(row, scene.style(Role::Plain)));
    }
    lines
}

/// Returns the budget counters, the fullest first.
pub(crate) fn budgets(scene: &Scene<'_>, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let table = Table::new(
        &[
            text("BUDGET", 14, 30, 0),
            text("TARGET", 12, 34, 2),
            text("", 16, 24, 1),
            number("SPENT", 10, 0),
            number("LIMIT", 10, 3),
            text("WINDOW", 10, 14, 5),
            text("PERIOD", 8, 20, 7),
            number("PROJECTED", 11, 6),
            text("STATE", 8, 8, 4),
        ],
        columns,
    );
    let mut order: Vec<&BudgetRow> = scene.snapshot.budgets.iter().collect();
    order.sort_by_key(|row| (Reverse(row.state), Reverse(row.percent_millis), row.budget.as_str(), row.target.as_str()));
    let mut lines = vec![table.heading(scene.style(Role::Heading), rows.saturating_sub(1), order.len())];
    for budget in order.iter().take(rows.saturating_sub(1)) {
        let role = Role::of_budget(budget.percent_millis, budget.state);
        let state = match budget.state {
            BudgetState::Ok => "ok",
            BudgetState::Warned => "WARN",
            BudgetState::Breached => "BREACHED",
            BudgetState::Held => "HELD",
        };
        let target = budget.target.strip_prefix("agent_id=").unwrap_or(&budget.target);
        let row = vec![
            cell(budget.budget.clone(), scene.style(Role::Plain)),
            cell(target, scene.style(Role::Plain)),
            gauge(scene, budget, table.width(2)),
            cell(money_in(budget.spent, 2), scene.style(Role::Strong)),
            cell(budget.limit.shown(2), scene.style(Role::Plain)),
            cell(budget.window.clone(), scene.style(Role::Dim)),
            cell(budget.period.clone(), scene.style(Role::Dim)),
            cell(budget.projected.map_or_else(String::new, money), scene.style(Role::Dim)),
            cell(state, scene.style(role)),
        ];
        lines.push(table.row(row, scene.style(Role::Plain)));
    }
    lines
}

/// Returns the holds, the oldest first.
pub(crate) fn holds(scene: &Scene<'_>, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let table = Table::new(
        &[text("HOLD", 14, 34, 0), text("STATE", 9, 18, 0), text("LEVER", 16, 40, 2), text("BUDGET", 14, 30, 3), number("SINCE", 8, 4)],
        columns,
    );
    let mut lines = vec![table.heading(scene.style(Role::Heading), rows.saturating_sub(1), scene.snapshot.holds.len())];
    for hold in scene.snapshot.holds.iter().take(rows.saturating_sub(1)) {
        let row = vec![
            cell(hold.target.strip_prefix("agent_id=").unwrap_or(&hold.target), scene.style(Role::Bad)),
            cell(hold.state.clone(), scene.style(Role::Plain)),
            cell(hold.lever.clone(), scene.style(Role::Dim)),
            cell(hold.budget.clone(), scene.style(Role::Dim)),
            cell(clock(hold.since), scene.style(Role::Dim)),
        ];
        lines.push(table.row(row, scene.style(Role::Plain)));
    }
    lines
}

/// Returns the latest events, the newest last.
pub(crate) fn events(scene: &Scene<'_>, columns: usize, rows: usize) -> Vec<Line<'static>> {
    let events = &scene.snapshot.events;
    let mut lines = vec![Line::styled(format!("{:<columns$}", "EVENTS"), scene.style(Role::Heading))];
    let shown = rows.saturating_sub(1).min(events.len());
    for event in &events[events.len() - shown..] {
        let role = match event.level {
            Level::Info => Role::Plain,
            Level::Warn => Role::Warn,
            Level::Alarm => Role::Bad,
        };
        lines.push(Line::from(vec![
            Span::styled(format!("{}  ", clock(event.at)), scene.style(Role::Dim)),
            Span::styled(fit(&event.text, columns.saturating_sub(10)), scene.style(role)),
        ]));
    }
    lines
}
