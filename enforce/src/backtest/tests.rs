//! What budgets would have done.

use super::*;
use crate::limits::NoLimits;
use crate::test_support::{Feed, Spend, budgets};

/// 2026-10-01T00:00Z in minutes.
const OCTOBER: i64 = 1_790_812_800 / 60;

const HOLDING: &str = r#"
[[budget]]
name = "daily"
each = ["agent_id"]
limit = "1 USD"
window = "day"
[[budget.threshold]]
at = "50%"
do = ["notify"]
[[budget.threshold]]
at = "100%"
do = ["hold"]
"#;

fn run(toml: &str, spends: &[Spend]) -> BacktestReport {
    let feeds: Vec<Feed> = spends.chunks(3).map(Feed::of).collect();
    backtest(&budgets(toml), &NoLimits, feeds.iter().map(Feed::view))
}

#[test]
fn spend_after_the_hold_is_saved_until_the_day_ends() {
    let spends = [
        Spend::new("a", OCTOBER, 600_000),
        Spend::new("b", OCTOBER, 100_000),
        Spend::new("a", OCTOBER + 1, 500_000),
        Spend::new("a", OCTOBER + 2, 300_000),
        Spend { calls: 3, ..Spend::new("a", OCTOBER + 3, 200_000) },
        Spend::new("a", OCTOBER + 1440, 700_000),
    ];
    let report = run(HOLDING, &spends);
    assert_eq!((report.from, report.to), (Some(Micros(OCTOBER * 60_000_000)), Some(Micros((OCTOBER + 1440) * 60_000_000))));
    let first = &report.results[0];
    assert_eq!(
        (first.target.as_str(), first.spent_usd, first.saved_usd),
        ("agent_id=a", "1.6".parse().expect("money"), "0.5".parse().expect("money"))
    );
    assert_eq!((first.calls, first.stopped_calls, first.stopped_good_calls), (6, 4, 4));
    let fired: Vec<_> = first.fired.iter().map(|fire| (fire.threshold.as_str(), fire.hold, fire.spent_usd)).collect();
    assert_eq!(fired, [("50%", false, "0.6".parse().expect("money")), ("100%", true, "1.1".parse().expect("money"))]);
    let rows = report.rows();
    assert_eq!(rows.len(), 2, "the second day fires fifty percent, agent b nothing");
    assert_eq!(rows[0][2], "2026-10-01T00:01:30Z");
    assert_eq!(report.saved_usd(), "0.5".parse().expect("money"));
    let json = serde_json::to_value(&report).expect("json");
    assert_eq!(json["results"][0]["saved_usd"], "0.500000000000");
}

#[test]
fn a_rolling_hold_lets_go_and_can_come_back() {
    let toml = HOLDING.replace("\"day\"", "\"rolling 1h\"");
    let spends: Vec<Spend> = (0..180).map(|minute| Spend::new("a", OCTOBER + minute, 50_000)).collect();
    let report = run(&toml, &spends);
    let result = &report.results[0];
    // Twenty minutes of a dollar an hour, then held until a tenth of it has slid out.
    assert!(result.fired.iter().filter(|fire| fire.hold).count() >= 2, "{:?}", result.fired);
    assert_eq!(result.spent_usd, PicoUsd::from_dollars(9));
    let let_through = result.spent_usd - result.saved_usd;
    assert!(let_through >= PicoUsd::from_dollars(3) && let_through < PicoUsd::from_dollars(4), "{let_through}");
}

#[test]
fn without_history_or_holds_there_is_nothing_to_tell() {
    assert_eq!(run(HOLDING, &[]), BacktestReport::default());
    let report =
        run(&HOLDING.replace("[\"hold\"]", "[\"notify\"]"), &[Spend::new("a", OCTOBER, 5_000_000), Spend::new("a", OCTOBER + 1, 1)]);
    assert_eq!((report.rows().len(), report.saved_usd()), (1, PicoUsd::ZERO));
}
