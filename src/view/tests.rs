//! Pictures of the view at the sizes people use, and what hostile names may not do.

use std::path::Path;

use proptest::prelude::*;
use sluice_schemas::time::{HOUR, SECOND};
use sluice_schemas::visible::escape;

use super::format::{self, fit};
use super::*;

const CENT: i128 = 10_000_000_000;
const START: Micros = Micros(1_790_812_800_000_000);

fn agent(agent_id: &str, status: AgentStatus, team: &str, cents: i128, calls: u64) -> AgentRow {
    AgentRow {
        agent_id: agent_id.to_owned(),
        status,
        team: team.to_owned(),
        calls,
        cost: PicoUsd(cents * CENT),
        burn_per_hour: PicoUsd(cents * CENT * 12),
        tokens: calls * 31_847,
        sessions: calls / 20 + 1,
        last_event: START.plus(250 * SECOND - calls as i64 * SECOND / 10),
    }
}

fn budget(name: &str, target: &str, cents: i128, limit: i64, state: BudgetState) -> BudgetRow {
    let (spent, limit) = (PicoUsd(cents * CENT), PicoUsd::from_dollars(limit));
    BudgetRow {
        budget: name.to_owned(),
        target: target.to_owned(),
        window: "rolling 1h".to_owned(),
        period: "2026-10-01T00:04".to_owned(),
        spent,
        limit,
        percent_millis: u64::try_from(spent.0 * 100_000 / limit.0).unwrap(),
        projected: (target == "*").then_some(PicoUsd(cents * CENT * 3)),
        state,
    }
}

fn event(seconds: i64, level: Level, text: &str) -> EventRow {
    EventRow { at: START.plus(seconds * SECOND), level, text: text.to_owned() }
}

/// A run after four minutes, shortly after a runaway was caught.
fn caught() -> Snapshot {
    let agents = vec![
        agent("checkout-bot", AgentStatus::Verified, "checkout", 214, 412),
        agent("support-triage", AgentStatus::Verified, "support", 38, 377),
        agent("doc-indexer", AgentStatus::Unverified, "search", 4, 902),
        agent("research-planner", AgentStatus::Verified, "research", 2617, 88),
        agent("code-reviewer", AgentStatus::Verified, "platform", 2094, 131),
        agent("unattributed", AgentStatus::Unattributed, "", 61, 57),
        agent("spoofed:arn:aws:sts::111122223333:assumed-role/data-export/x\u{202e}gpj", AgentStatus::Spoofed, "", 12, 23),
        agent("release-notes", AgentStatus::Unverified, "platform", 0, 3),
    ];
    let session = |row: &AgentRow, id: &str, part: i128| SessionRow {
        session_id: id.to_owned(),
        agent_id: row.agent_id.clone(),
        calls: row.calls / 2,
        cost: PicoUsd(row.cost.0 / part),
        last_event: row.last_event,
    };
    let mut sessions: Vec<SessionRow> = agents.iter().map(|row| session(row, "4b41bb38-93d7-4be2-b5d5-61440ffa5332", 2)).collect();
    sessions.push(session(&agents[3], "plan-7\u{1b}[2J", 3));
    sessions.push(session(&agents[0], "", 4));
    Snapshot {
        at: START.plus(250 * SECOND),
        started: START,
        day: None,
        totals: Totals {
            records: 2_041,
            facts: 1_993,
            duplicates: 44,
            rejected: 4,
            unpriced: 2,
            spoofed: 23,
            late: 0,
            cost: agents.iter().map(|row| row.cost).sum(),
            lag_ms: 138,
            events_per_s: 9,
        },
        agents,
        sessions,
        budgets: vec![
            budget("all spend today", "*", 5040, 200, BudgetState::Ok),
            budget("every agent, hourly", "agent_id=code-reviewer", 2094, 25, BudgetState::Warned),
            budget("every agent, hourly", "agent_id=research-planner", 2617, 25, BudgetState::Held),
            budget("every agent, hourly", "agent_id=checkout-bot", 214, 25, BudgetState::Ok),
        ],
        holds: vec![HoldRow {
            target: "agent_id=research-planner".to_owned(),
            budget: "every agent, hourly".to_owned(),
            lever: "deny policy on role/svc-research-planner".to_owned(),
            state: "held".to_owned(),
            since: START.plus(241 * SECOND),
        }],
        events: vec![
            event(0, Level::Info, "reading /tmp/demo, 1 source"),
            event(190, Level::Warn, "data-export claims to be checkout-bot: booked to the principal as spoofed"),
            event(220, Level::Warn, "research-planner at 80% of every agent, hourly ($20.02 of $25.00)"),
            event(239, Level::Alarm, "research-planner over every agent, hourly: $25.61 of $25.00, hold intended"),
            event(241, Level::Alarm, "hold on research-planner verified, overshoot $1.17"),
        ],
    }
}

/// Compares a picture with the stored one; `SLUICE_BLESS=1` stores it.
fn picture(name: &str, snapshot: &Snapshot, width: u16, height: u16) -> String {
    let picture = render_to_text(snapshot, width, height);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/view/pictures").join(name);
    if std::env::var_os("SLUICE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &picture).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert_eq!(picture, stored, "{name} changed:\n{picture}");
    assert_eq!(picture.lines().count(), usize::from(height));
    assert!(picture.lines().all(|line| format::width(line) <= usize::from(width)));
    picture
}

#[test]
fn a_small_terminal_shows_what_matters() {
    let picture = picture("caught-80x24.txt", &caught(), 80, 24);
    for word in ["$50.40", "research-planner", "HELD", "FAKE", "none", "104%", "overshoot $1.17", "q quit"] {
        assert!(picture.contains(word), "{word} is missing:\n{picture}");
    }
}

#[test]
fn a_large_terminal_shows_everything() {
    let picture = picture("caught-140x40.txt", &caught(), 140, 40);
    for word in ["deny policy on role/svc-research-planner", "(no session)", "release-notes", "PROJECTED", "reading /tmp/demo"] {
        assert!(picture.contains(word), "{word} is missing:\n{picture}");
    }
}

#[test]
fn an_empty_run_says_that_it_waits() {
    let snapshot = Snapshot { at: START.plus(SECOND), started: START, ..Snapshot::default() };
    assert!(picture("empty-80x24.txt", &snapshot, 80, 24).contains("waiting for the first call"));
}

#[test]
fn no_size_breaks_the_view() {
    let mut snapshot = caught();
    for number in 0..300 {
        snapshot.agents.push(agent(&format!("agent-{number}"), AgentStatus::Verified, "team", number, 1));
    }
    for width in [1, 5, 29, 30, 45, 79, 80, 119, 120, 300] {
        for height in [1, 2, 7, 8, 12, 24, 31, 32, 80] {
            let text = render_to_text(&snapshot, width, height);
            assert_eq!(text.lines().count(), usize::from(height));
        }
    }
}

#[test]
fn trends_show_who_speeds_up() {
    let mut trends = trend::Trends::default();
    for step in 0..10_i64 {
        let mut snapshot = Snapshot { at: START.plus(step * 2 * SECOND), ..Snapshot::default() };
        snapshot.agents.push(agent("steady", AgentStatus::Verified, "", i128::from(step) * 10, 1));
        snapshot.agents.push(agent("runaway", AgentStatus::Verified, "", i128::from(step * step) * 10, 1));
        trends.observe(&snapshot);
    }
    assert_eq!(trends.bars("steady", 4), "▁▁▁▁");
    assert_eq!(trends.bars("runaway", 4), "▆▇██");
    assert_eq!(trends.bars("nobody", 4), "");
}

#[test]
fn numbers_are_short_and_never_round_spend_to_nothing() {
    assert_eq!(format::money(PicoUsd(0)), "$0.00");
    assert_eq!(format::money(PicoUsd(123_456_789_000)), "$0.1235");
    assert_eq!(format::money(PicoUsd(99_999_960_000_000)), "$100.00");
    assert_eq!(format::money(PicoUsd::from_dollars(1_234_567)), "$1,234,567");
    assert_eq!(format::money_in(PicoUsd(1), 2), "<$0.01");
    assert_eq!(format::money_in(PicoUsd(1), 4), "<$0.0001");
    assert_eq!(format::money_in(PicoUsd(0), 2), "$0.00");
    assert_eq!(
        [999, 1000, 12_345, 999_999, 1_000_000, u64::MAX].map(format::short_count),
        ["999", "1.0k", "12.3k", "999k", "1.0M", "18.4E"].map(str::to_owned)
    );
    assert_eq!(format::percent(99_999), "99%");
    assert_eq!(format::bar(1, 4).0, "▏");
    assert_eq!(format::bar(100_000, 4), ("████".to_owned(), String::new()));
    assert_eq!(format::ago(START, START.plus(2 * HOUR)), "2h");
    assert_eq!(format::lag(200_000), "3:20");
}

#[test]
fn hostile_names_are_escaped() {
    assert_eq!(escape("a\u{1b}[2J\u{202e}b\u{200b}\u{9b}\n\u{e0041}"), r"a\u{1b}[2J\u{202e}b\u{200b}\u{9b}\n\u{e0041}");
    assert_eq!(escape("Größe 東京"), "Größe 東京");
    assert_eq!(fit("checkout-bot", 8), "checkou…");
    assert_eq!(fit("東京都", 4), "東…");
    assert_eq!(fit("x", 0), "");
}

proptest! {
    #[test]
    fn nothing_but_printable_text_reaches_the_screen(name in "\\PC*|[\\s\\S]{0,40}", columns in 0_usize..60) {
        let fitted = fit(&name, columns);
        prop_assert!(format::width(&fitted) <= columns);
        prop_assert!(!fitted.chars().any(char::is_control));
        let hidden = fitted.contains(['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}']);
        prop_assert!(!hidden);
        let mut snapshot = caught();
        snapshot.agents[0].agent_id.clone_from(&name);
        snapshot.events[0].text = name;
        let text = render_to_text(&snapshot, 80, 24);
        prop_assert!(text.lines().all(|line| format::width(line) <= 80));
    }
}

#[test]
fn plain_lines_print_each_event_once_and_a_block_every_two_seconds() {
    let mut lines = PlainLines::default();
    let mut out = Vec::new();
    let mut snapshot = caught();
    lines.update(&snapshot, &mut out).unwrap();
    let first = String::from_utf8(std::mem::take(&mut out)).unwrap();
    assert_eq!(first.matches("hold on research-planner verified").count(), 1);
    assert!(first.contains("spend $50.40") && first.contains("spoofed 23") && first.contains("budget held: every agent, hourly"));

    snapshot.at = snapshot.at.plus(SECOND);
    lines.update(&snapshot, &mut out).unwrap();
    assert!(out.is_empty(), "nothing new");

    snapshot.events.remove(0);
    snapshot.events.push(event(252, Level::Info, "same text"));
    snapshot.events.push(event(252, Level::Info, "same text"));
    lines.update(&snapshot, &mut out).unwrap();
    assert_eq!(String::from_utf8(std::mem::take(&mut out)).unwrap(), "00:04:12    same text\n".repeat(2));

    snapshot.at = snapshot.at.plus(SECOND);
    snapshot.agents[3].agent_id = "evil\u{1b}[31m".to_owned();
    lines.update(&snapshot, &mut out).unwrap();
    let block = String::from_utf8(out).unwrap();
    assert!(block.contains(r"evil\u{1b}[31m") && !block.contains('\u{1b}'));
}

#[test]
fn a_snapshot_survives_the_socket() {
    let snapshot = caught();
    let text = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap(), snapshot);
}
