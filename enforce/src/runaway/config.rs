//! Reads `[[runaway]]` tables from TOML. Every fault is collected before they are refused.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use sluice_schemas::time::{DAY, HOUR, MINUTE, SECOND};
use sluice_schemas::{ErrorClass, PicoUsd};

use super::rule::{BaselineTerms, BurnTerms, ErrorTerms, FanOutTerms, GrowthTerms, LoopTerms, Rule, Rules};
use super::slices::FAST_SLICES;
use super::verdict::Detector;
use crate::budget::{ActionKind, Mode};
use crate::fault::Problem;
use crate::notation::{amount, choice};
use crate::predicate::Predicate;
use crate::target::Dimension;

const LONGEST_NAME: usize = 128;
/// Most slices that the slow window may have.
const MOST_SLICES: i64 = 360;

/// Everything that is wrong with the rules of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct RulesError {
    /// In the order of the file.
    pub faults: Vec<RuleFault>,
}

impl RulesError {
    /// Tells what is to be done: change the file.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Misconfigured
    }
}

impl std::error::Error for RulesError {}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

/// One fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("runaway {rule}: {field}: {problem}")]
pub struct RuleFault {
    /// Name of the rule, else its place in the file.
    pub rule: String,
    /// Key at fault.
    pub field: &'static str,
    /// What is wrong.
    pub problem: Problem,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: Option<String>,
    #[serde(rename = "where")]
    filter: Option<String>,
    each: Option<Vec<String>>,
    detect: Option<Vec<String>>,
    #[serde(rename = "do")]
    actions: Option<Vec<String>>,
    mode: Option<String>,
    hold_for: Option<String>,
    min_spend: Option<String>,
    cooldown: Option<String>,
    settle: Option<String>,
    fast: Option<String>,
    slow: Option<String>,
    burn: Option<RawBurn>,
    #[serde(default)]
    baseline: RawBaseline,
    #[serde(default, rename = "loop")]
    repeat: RawLoop,
    #[serde(default)]
    growth: RawGrowth,
    #[serde(default)]
    errors: RawErrors,
    #[serde(default)]
    fan_out: RawFanOut,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBurn {
    rate: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBaseline {
    fast_times: u32,
    slow_times: u32,
    unknown: String,
}

impl Default for RawBaseline {
    fn default() -> Self {
        Self { fast_times: 3, slow_times: 1, unknown: "10.00 USD".to_owned() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLoop {
    calls: u32,
    input_percent: u32,
    output_percent: u32,
    interval_percent: u32,
    times: u32,
}

impl Default for RawLoop {
    fn default() -> Self {
        Self { calls: 6, input_percent: 2, output_percent: 10, interval_percent: 25, times: 3 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawGrowth {
    calls: u32,
    grown_percent: u32,
    pause: String,
    times: u32,
    unknown_times: u32,
    read: u32,
    written: u32,
    even_percent: u32,
}

impl Default for RawGrowth {
    fn default() -> Self {
        Self {
            calls: 5,
            grown_percent: 110,
            pause: "30s".to_owned(),
            times: 3,
            unknown_times: 10,
            read: 12_000,
            written: 4_500,
            even_percent: 13,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawErrors {
    calls: u32,
    percent: u32,
    times: u32,
}

impl Default for RawErrors {
    fn default() -> Self {
        Self { calls: 10, percent: 50, times: 3 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFanOut {
    sessions: u32,
    times: u32,
    busy: u32,
    pause: String,
}

impl Default for RawFanOut {
    fn default() -> Self {
        Self { sessions: 6, times: 3, busy: 4, pause: "8s".to_owned() }
    }
}

impl Rules {
    /// Reads the `[[runaway]]` tables of a larger file.
    ///
    /// # Errors
    /// Returns every fault found.
    pub fn from_entries(entries: Vec<toml::Value>) -> Result<Self, RulesError> {
        let mut faults = Vec::new();
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let label =
                entry.get("name").and_then(toml::Value::as_str).map_or_else(|| format!("#{}", index + 1), |name| format!("'{name}'"));
            let mut checker = Checker { label, faults: &mut faults };
            if let Some(rule) = checker.rule(entry) {
                if rules.iter().any(|other| other.name == rule.name) {
                    checker.fault("name", Problem::Duplicate { text: rule.name });
                } else {
                    rules.push(Arc::new(rule));
                }
            }
        }
        if faults.is_empty() { Ok(Self { rules }) } else { Err(RulesError { faults }) }
    }

    /// Reads a file with `[[runaway]]` tables; other tables are not looked at.
    ///
    /// # Errors
    /// Returns every fault found.
    pub fn parse(toml: &str) -> Result<Self, RulesError> {
        let whole = |problem| RulesError { faults: vec![RuleFault { rule: "file".to_owned(), field: "toml", problem }] };
        let mut table: toml::Table =
            toml::from_str(toml).map_err(|error| whole(Problem::Toml { detail: error.to_string().trim_end().to_owned() }))?;
        match table.remove("runaway") {
            Some(toml::Value::Array(entries)) => Self::from_entries(entries),
            Some(_) => Err(whole(Problem::Rule { rule: "rules are written as [[runaway]] tables" })),
            None => Ok(Self::default()),
        }
    }
}

/// Validates one entry and notes its faults.
struct Checker<'a> {
    label: String,
    faults: &'a mut Vec<RuleFault>,
}

impl Checker<'_> {
    fn fault(&mut self, field: &'static str, problem: Problem) {
        self.faults.push(RuleFault { rule: self.label.clone(), field, problem });
    }

    /// Takes a value, or notes why there is none.
    fn take<T>(&mut self, field: &'static str, value: Result<T, Problem>) -> Option<T> {
        value.map_err(|problem| self.fault(field, problem)).ok()
    }

    fn rule(&mut self, entry: toml::Value) -> Option<Rule> {
        let raw: Result<RawRule, _> = entry.try_into();
        let raw = self.take("keys", raw.map_err(|error| Problem::Toml { detail: error.message().to_owned() }))?;
        let before = self.faults.len();
        self.counts(&raw);
        let name = self.take("name", raw.name.filter(|name| !name.trim().is_empty()).ok_or(Problem::Missing));
        if name.as_ref().is_some_and(|name| name.len() > LONGEST_NAME || name.chars().any(char::is_control)) {
            self.fault("name", Problem::Rule { rule: "at most 128 bytes and no control characters" });
        }
        let filter = raw.filter.as_deref().map(|text| Predicate::parse(text).map_err(Problem::from));
        let filter = filter.and_then(|parsed| self.take("where", parsed));
        let each = self.each(raw.each);
        let on = self.words(
            "detect",
            raw.detect,
            "burn, baseline, loop, growth, errors or fan_out",
            &Detector::ALL.map(|each| (each.as_str(), each)),
        );
        let on = |detector| on.is_empty() || on.contains(&detector);
        let actions = [("notify", ActionKind::Notify), ("hold", ActionKind::Hold)];
        let mut actions = self.words("do", raw.actions, "notify or hold", &actions);
        if actions.is_empty() {
            actions.push(ActionKind::Notify);
        }
        let modes = [("observe", Mode::Observe), ("enforce", Mode::Enforce)];
        let mode = raw.mode.and_then(|text| self.take("mode", choice(&text, "observe or enforce", &modes))).unwrap_or_default();
        let hold_for = self.span("hold_for", raw.hold_for.as_deref(), HOUR, (MINUTE, 31 * DAY));
        let cooldown = self.span("cooldown", raw.cooldown.as_deref(), 30 * MINUTE, (MINUTE, 7 * DAY));
        let settle = self.span("settle", raw.settle.as_deref(), 5 * SECOND, (0, 10 * MINUTE));
        let (fast, slow) = self.windows(raw.fast.as_deref(), raw.slow.as_deref());
        let pause = self.span("growth.pause", Some(&raw.growth.pause), 0, (SECOND, HOUR));
        let busy_pause = self.span("fan_out.pause", Some(&raw.fan_out.pause), 0, (SECOND, MINUTE));
        let min_spend = raw.min_spend.map_or(Some(PicoUsd(500_000_000_000)), |text| self.take("min_spend", amount(&text)));
        let rate = raw.burn.and_then(|burn| self.take("burn.rate", amount(&burn.rate)));
        if rate == Some(PicoUsd::ZERO) {
            self.fault("burn.rate", Problem::Rule { rule: "more than nothing" });
        }
        let unknown = self.take("baseline.unknown", amount(&raw.baseline.unknown));
        if self.faults.len() > before {
            return None;
        }
        let RawLoop { calls, input_percent, output_percent, interval_percent, times } = raw.repeat;
        let repeat = LoopTerms { calls, input_percent, output_percent, interval_percent, times };
        let RawGrowth { calls, grown_percent, times, unknown_times, read, written, even_percent, .. } = raw.growth;
        let growth = GrowthTerms { calls, grown_percent, pause, times, unknown_times, read, written, even_percent };
        let RawErrors { calls, percent, times } = raw.errors;
        let errors = ErrorTerms { calls, percent, times };
        let RawBaseline { fast_times, slow_times, .. } = raw.baseline;
        let RawFanOut { sessions, times, busy, .. } = raw.fan_out;
        let fan_out = FanOutTerms { sessions, times, busy, pause: busy_pause };
        Some(Rule {
            name: name?,
            filter,
            each,
            actions,
            mode,
            hold_for,
            min_spend: min_spend?,
            cooldown,
            settle,
            fast,
            slow,
            burn: rate.map(|rate| BurnTerms { rate }).filter(|_| on(Detector::Burn)),
            baseline: on(Detector::Baseline).then_some(BaselineTerms { fast_times, slow_times, unknown: unknown? }),
            repeat: on(Detector::Loop).then_some(repeat),
            growth: on(Detector::Growth).then_some(growth),
            errors: on(Detector::Errors).then_some(errors),
            fan_out: on(Detector::FanOut).then_some(fan_out),
        })
    }

    fn each(&mut self, raw: Option<Vec<String>>) -> Vec<Dimension> {
        const KNOWN: &str = "account_id, region, agent_id, session_id, team, principal_arn, role, role_session_name, model, tag:KEY";
        let mut each: Vec<Dimension> = Vec::new();
        for text in raw.unwrap_or_else(|| vec!["agent_id".to_owned()]) {
            match Dimension::parse(&text) {
                None => self.fault("each", Problem::Unknown { text, known: KNOWN }),
                Some(dimension) if each.contains(&dimension) => self.fault("each", Problem::Duplicate { text }),
                Some(dimension) => each.push(dimension),
            }
        }
        each
    }

    /// Reads a list of words; nothing where there is none.
    fn words<T: Copy + Ord>(&mut self, field: &'static str, raw: Option<Vec<String>>, known: &'static str, values: &[(&str, T)]) -> Vec<T> {
        if raw.as_ref().is_some_and(Vec::is_empty) {
            self.fault(field, Problem::Missing);
        }
        let mut words: Vec<T> = raw.into_iter().flatten().filter_map(|text| self.take(field, choice(&text, known, values))).collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    fn windows(&mut self, fast: Option<&str>, slow: Option<&str>) -> (i64, i64) {
        let fast = self.span("fast", fast, MINUTE, (10 * SECOND, HOUR));
        let slow = self.span("slow", slow, 10 * MINUTE, (MINUTE, DAY));
        let slice = fast / FAST_SLICES;
        if slow < 2 * fast || slow / slice > MOST_SLICES {
            self.fault("slow", Problem::Rule { rule: "from twice to sixty times as long as fast" });
        }
        (fast, slow)
    }

    /// Reads `45s`, `10m`, `1h`, `2d`.
    fn span(&mut self, field: &'static str, text: Option<&str>, default: i64, (least, most): (i64, i64)) -> i64 {
        let Some(text) = text else { return default };
        let unit = match text.chars().last() {
            Some('s') => SECOND,
            Some('m') => MINUTE,
            Some('h') => HOUR,
            _ => DAY,
        };
        let known = "a length of time such as 45s, 10m, 1h or 2d";
        let digits = text.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or_default();
        let count = digits.parse::<u32>().map_err(|_| Problem::Unknown { text: text.to_owned(), known });
        let length = count.map(|count| i64::from(count) * unit);
        let length = length.and_then(|length| {
            let fits = (least..=most).contains(&length);
            if fits { Ok(length) } else { Err(Problem::Rule { rule: "too short or too long" }) }
        });
        self.take(field, length).unwrap_or(default)
    }

    fn counts(&mut self, raw: &RawRule) {
        let RawRule { baseline, repeat, growth, errors, fan_out, .. } = raw;
        let times = [
            ("baseline.fast_times", baseline.fast_times),
            ("baseline.slow_times", baseline.slow_times),
            ("loop.times", repeat.times),
            ("growth.times", growth.times),
            ("growth.unknown_times", growth.unknown_times),
            ("errors.times", errors.times),
            ("errors.calls", errors.calls),
            ("fan_out.times", fan_out.times),
            ("fan_out.sessions", fan_out.sessions),
            ("fan_out.busy", fan_out.busy),
            ("growth.read", growth.read),
            ("growth.written", growth.written),
        ];
        for (field, _) in times.into_iter().filter(|(_, times)| !(1..=1_000_000).contains(times)) {
            self.fault(field, Problem::Rule { rule: "at least 1 and at most a million" });
        }
        let percents = [("loop.input_percent", repeat.input_percent), ("loop.output_percent", repeat.output_percent)];
        let percents = percents.into_iter().chain([("loop.interval_percent", repeat.interval_percent), ("errors.percent", errors.percent)]);
        let percents = percents.chain([("growth.even_percent", growth.even_percent)]);
        for (field, _) in percents.filter(|(_, percent)| *percent > 100) {
            self.fault(field, Problem::Rule { rule: "at most 100" });
        }
        for (field, _) in [("loop.calls", repeat.calls), ("growth.calls", growth.calls)].into_iter().filter(|(_, calls)| *calls < 3) {
            self.fault(field, Problem::Rule { rule: "at least 3, or there is nothing to compare" });
        }
        if !(100..=100_000).contains(&growth.grown_percent) {
            self.fault("growth.grown_percent", Problem::Rule { rule: "from 100 to 100000" });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_enough() {
        let rules = Rules::parse("[[runaway]]\nname = 'all agents'").expect("valid");
        let rule = rules.iter().next().expect("one");
        assert_eq!((rule.fast, rule.slow, rule.cooldown), (MINUTE, 10 * MINUTE, 30 * MINUTE));
        assert_eq!(rule.actions, [ActionKind::Notify]);
        assert_eq!((rule.mode, rule.burn), (Mode::Observe, None));
        assert!(rule.repeat.is_some() && rule.growth.is_some() && rule.baseline.is_some() && rule.errors.is_some());
    }

    #[test]
    fn detectors_are_chosen_and_set() {
        let text = "[[runaway]]\nname = 'x'\ndetect = ['loop', 'burn']\ndo = ['hold', 'notify']\nmode = 'enforce'\nhold_for = '2h'\n\
                    burn = { rate = '30.00 USD' }\nloop = { calls = 20 }\nwhere = \"team = 'a'\"\neach = ['agent_id', 'session_id']";
        let rules = Rules::parse(text).expect("valid");
        let rule = rules.iter().next().expect("one");
        assert_eq!(rule.repeat.map(|terms| terms.calls), Some(20));
        assert_eq!(rule.burn.map(|terms| terms.rate), Some(PicoUsd::from_dollars(30)));
        assert!(rule.growth.is_none() && rule.baseline.is_none() && rule.errors.is_none());
        assert_eq!((rule.actions.len(), rule.hold_for, rule.mode), (2, 2 * HOUR, Mode::Enforce));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let text = "[[runaway]]\nname = 'x'\nwhere = 'nonsense'\ndetect = ['magic']\nmin_spend = '1'\nslow = '1h'\ncooldown = '5'\n\
                    loop = { calls = 1 }\n[[runaway]]\ntypo = 1";
        let error = Rules::parse(text).expect_err("faults");
        let fields: Vec<&str> = error.faults.iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["loop.calls", "where", "detect", "cooldown", "min_spend", "keys"], "{error}");
        assert!(Rules::parse("[[runaway]]\nname='a'\n[[runaway]]\nname='a'").is_err());
        assert_eq!(Rules::parse("[[runaway]]\nname='a'\nslow='2h'").expect_err("too long").faults[0].field, "slow");
    }
}
