//! What a file of budgets may say.

use proptest::prelude::*;
use sluice_schemas::PicoUsd;
use sluice_schemas::time::{DAY, HOUR, MINUTE};

use super::*;

const WHOLE: &str = r#"
# comments are no part of the version
[[budget]]
name   = "every agent, hourly"
where  = "team = 'checkout'"
each   = ["agent_id", "tag:project"]
limit  = "25.00 USD"
limit_from = "tag:budget"
window = "rolling 90m"
timezone = "Europe/Berlin"
count = "cost_max"
unpriced = "worst_case"
unpriced_worst_case = "75.00 USD per 1M tokens"
mode = "enforce"
approval = true
[budget.limits]
"agent_id=vip,tag:project=x" = "$50"
[[budget.threshold]]
at = "80%"
do = ["notify"]
[[budget.threshold]]
at = "20.50 USD"
do = ["hold", "notify", "hold"]

[[budget]]
name = "small"
limit = "1 USD"
window = "month"
"#;

fn faults(toml: &str) -> Vec<String> {
    match Budgets::parse(toml) {
        Ok(_) => panic!("accepted: {toml}"),
        Err(error) => error.faults.iter().map(ToString::to_string).collect(),
    }
}

/// One budget with a line more.
fn with(line: &str) -> String {
    format!("[[budget]]\nname = \"b\"\nlimit = \"1 USD\"\nwindow = \"day\"\neach = [\"agent_id\"]\n{line}\n")
}

#[test]
fn a_whole_budget() {
    let budgets = Budgets::parse(WHOLE).expect("valid");
    let budget = budgets.get("every agent, hourly").expect("there");
    assert_eq!(budget.window, Window::Rolling { width: 90 * MINUTE });
    assert_eq!((budget.mode, budget.approval, budget.count), (Mode::Enforce, true, CountBasis::CostMax));
    assert_eq!(budget.worst_case, Some(WorstCase::PerToken(PicoUsd(75_000_000))));
    assert_eq!(budget.limit.exceptions["agent_id=vip,tag:project=x"], PicoUsd::from_dollars(50));
    assert_eq!(budget.limit.source, Some(LimitSource::Tag("budget".to_owned())));
    let thresholds: Vec<_> = budget.thresholds.iter().map(|threshold| (threshold.text.as_str(), threshold.actions.as_slice())).collect();
    assert_eq!(thresholds, [("80%", [ActionKind::Notify].as_slice()), ("20.5 USD", &[ActionKind::Notify, ActionKind::Hold])]);
    let small = budgets.get("small").expect("there");
    assert_eq!((small.mode, small.zone_name.as_str(), small.thresholds[0].text.as_str()), (Mode::Observe, "UTC", "100%"));
    assert_eq!(budgets.iter().map(|budget| budget.name.as_str()).collect::<Vec<_>>(), ["every agent, hourly", "small"]);
}

#[test]
fn the_version_follows_the_meaning() {
    let version = |toml: &str| Budgets::parse(toml).expect("valid").version();
    let base = version(WHOLE);
    assert_eq!(base.len(), 12);
    assert_eq!(version(&WHOLE.replace("# comments", "# other comments").replace("name   =", "name =")), base);
    for (from, to) in [
        ("25.00", "26.00"),
        ("\"$50\"", "\"$51\""),
        ("80%", "81%"),
        ("enforce", "observe"),
        ("90m", "2h"),
        ("checkout", "x"),
        ("= true", "= false"),
    ] {
        assert_ne!(version(&WHOLE.replace(from, to)), base, "{from} -> {to}");
    }
    assert_eq!(version(""), Budgets::default().version());
}

#[test]
fn digests_tell_a_change_of_limits_from_a_change_of_counting() {
    let digest = |toml: &str| Budgets::parse(toml).expect("valid").iter().next().map(|budget| (budget.counting_digest(), budget.digest()));
    let base = digest(WHOLE).expect("there");
    let limit = digest(&WHOLE.replace("25.00", "26.00")).expect("there");
    assert_eq!((limit.0 == base.0, limit.1 == base.1), (true, false));
    let count = digest(&WHOLE.replace("cost_max", "cost")).expect("there");
    assert_eq!((count.0 == base.0, count.1 == base.1), (false, false));
    // The zone is no part of a rolling window.
    assert_eq!(digest(&WHOLE.replace("Europe/Berlin", "Asia/Tokyo")).expect("there"), base);
}

#[test]
fn all_faults_are_told_at_once() {
    let found = faults(
        r#"
[[budget]]
name = "one"
where = "teem = 'x'"
limit = "25"
window = "fortnight"
timezone = "Europe/Atlantis"
each = ["agent", "agent_id", "agent_id"]
mode = "strict"
[[budget.threshold]]
at = "0%"
do = ["explode"]
[[budget]]
window = "day"
[[budget]]
nam = "three"
[[budget]]
name = "four"
limit = "1 USD"
window = "day"
[[budget]]
name = "four"
limit = "2 USD"
window = "week"
[limits]
"#,
    );
    let starts = [
        "budget file: toml: 'limits' is not known: use [[budget]]",
        "budget 'one': window: 'fortnight' is not known",
        "budget 'one': where: unknown column 'teem'",
        "budget 'one': each: 'agent' is not known: use account_id,",
        "budget 'one': each: 'agent_id' occurs twice",
        "budget 'one': limit: '25' is not an amount of",
        "budget 'one': timezone: 'Europe/Atlantis' is not known",
        "budget 'one': mode: 'strict' is not known: use observe, approve or enforce",
        "budget 'one': threshold.do: 'explode' is not known: use notify or hold",
        "budget 'one': threshold.at: '0%' is not known",
        "budget #2: name: is missing",
        "budget #2: limit: is missing",
        "budget #3: keys: unknown field `nam`",
        "budget 'four': name: 'four' occurs twice",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found} does not start with {start}");
    }
    assert_eq!(Budgets::parse("budget = 1").expect_err("refused").class(), sluice_schemas::ErrorClass::Misconfigured);
    assert_eq!(faults("[[budget").len(), 1);
}

#[test]
fn keys_that_contradict_each_other() {
    let cases = [
        ("unpriced = \"ignore\"\nunpriced_worst_case = \"1 USD per call\"", "contradicts"),
        ("unpriced = \"worst_case\"", "needs unpriced_worst_case"),
        ("unpriced_worst_case = \"1.0000001 USD per 1M tokens\"", "whole pico-dollars"),
        ("unpriced_worst_case = \"1 USD per token\"", "is not known"),
        ("approval = true", "approval needs a threshold"),
        ("limit_from = \"cloud\"", "is not known"),
        ("limit_from = \"tag:\"", "is not known"),
        ("[[budget.threshold]]\nat = \"80%\"\ndo = []", "threshold.do: is missing"),
        ("[[budget.threshold]]\nat = \"80%\"\ndo = [\"\"]", "'' is not known"),
        ("[[budget.threshold]]\nat = \"80%\"\ndo = [\"notify\"]\n[[budget.threshold]]\nat = \"80.000%\"\ndo = [\"hold\"]", "occurs twice"),
        ("[[budget.threshold]]\nat = 80\ndo = [\"notify\"]", "invalid type"),
        ("[budget.limits]\nx = \"-1 USD\"", "not an amount"),
    ];
    for (line, part) in cases {
        let found = faults(&with(line));
        assert!(found.len() == 1 && found[0].contains(part), "{line}: {found:?}");
    }
    let whole = |line: &str| faults(&with("").replace("each = [\"agent_id\"]", line));
    assert!(whole("limit_from = \"agent\"")[0].contains("needs agent_id in each"));
    assert!(whole("limit_from = \"tag:x\"")[0].contains("need a key in each"));
    assert!(whole("each = [\"agent_id\", \"region\"]\n[budget.limits]\nx = \"1 USD\"")[0].contains("write the whole target"));
    let session = with("").replace("\"day\"", "\"session\"");
    assert!(faults(&session)[0].contains("needs session_id in each"));
    let by_default = Budgets::parse(&session.replace("each = [\"agent_id\"]", "")).expect("valid");
    assert_eq!(by_default.iter().next().map(|budget| budget.each.len()), Some(2));
}

#[test]
fn windows_and_thresholds_are_read_exactly() {
    use crate::notation::{threshold_at, window};
    assert_eq!(window("rolling 1m").ok(), Some(Window::Rolling { width: MINUTE }));
    assert_eq!(window("rolling  24h").ok(), Some(Window::Rolling { width: DAY }));
    assert_eq!(window("rolling 31d").ok(), Some(Window::Rolling { width: 31 * DAY }));
    for bad in [
        "rolling",
        "rolling 0h",
        "rolling 32d",
        "rolling 1s",
        "rolling 1.5h",
        "rolling -1h",
        "rolling 99999999999h",
        "1h",
        "rolling h",
        "rolling é",
    ] {
        assert!(window(bad).is_err(), "{bad}");
    }
    for (text, canonical, at) in [
        ("80%", "80%", At::PercentMillis(80_000)),
        (" 99.90 % ", "99.9%", At::PercentMillis(99_900)),
        ("0.001%", "0.001%", At::PercentMillis(1)),
        ("1000%", "1000%", At::PercentMillis(1_000_000)),
        ("$20", "20 USD", At::Amount(PicoUsd::from_dollars(20))),
        ("0 USD", "0 USD", At::Amount(PicoUsd::ZERO)),
    ] {
        assert_eq!(threshold_at(text).ok(), Some((canonical.to_owned(), at)), "{text}");
    }
    for bad in ["%", "80", "1001%", "-5%", "1e1%", "0.0001%", "80%%", "８０%"] {
        assert!(threshold_at(bad).is_err(), "{bad}");
    }
    assert_eq!(window("rolling 2h").map(|window| window.to_string()).ok(), Some(format!("rolling {}h", 2 * HOUR / HOUR)));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,80}", field in 0_usize..6) {
        let name = ["where", "limit", "window", "limit_from", "unpriced_worst_case", "timezone"][field];
        let toml = toml::Value::String(text).to_string();
        drop(Budgets::parse(&format!("[[budget]]\nname = \"b\"\n{name} = {toml}\n")));
    }
}
