//! Reads budgets from TOML. Every fault of the file is collected before it is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::budget::{ActionKind, At, Budget, CountBasis, LimitRule, LimitSource, Mode, Threshold, Window, WorstCase, digest};
use crate::fault::{BudgetFault, BudgetsError, Problem};
use crate::notation::{amount, choice, threshold_at, window, worst_case};
use crate::predicate::Predicate;
use crate::target::{self, Dimension};

const MOST_THRESHOLDS: usize = 16;
const LONGEST_NAME: usize = 128;

/// A validated set of budgets.
#[derive(Clone, Debug, Default)]
pub struct Budgets {
    budgets: Vec<Arc<Budget>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBudget {
    name: Option<String>,
    #[serde(rename = "where")]
    filter: Option<String>,
    each: Option<Vec<String>>,
    limit: Option<String>,
    limit_from: Option<String>,
    #[serde(default)]
    limits: BTreeMap<String, String>,
    window: Option<String>,
    timezone: Option<String>,
    count: Option<String>,
    unpriced: Option<String>,
    unpriced_worst_case: Option<String>,
    #[serde(default)]
    lower_bound: bool,
    mode: Option<String>,
    #[serde(default)]
    approval: bool,
    #[serde(default)]
    threshold: Vec<RawThreshold>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawThreshold {
    at: String,
    #[serde(rename = "do")]
    actions: Vec<String>,
}

impl Budgets {
    /// Reads a file with `[[budget]]` tables and no other key.
    ///
    /// # Errors
    /// Returns every fault found.
    pub fn parse(toml: &str) -> Result<Self, BudgetsError> {
        let whole = |problem| BudgetFault { budget: "file".to_owned(), field: "toml", problem };
        let table: toml::Table = toml::from_str(toml)
            .map_err(|error| BudgetsError { faults: vec![whole(Problem::Toml { detail: error.to_string().trim_end().to_owned() })] })?;
        let mut faults = Vec::new();
        let mut entries = Vec::new();
        for (key, value) in table {
            match (key.as_str(), value) {
                ("budget", toml::Value::Array(budgets)) => entries = budgets,
                ("budget", _) => faults.push(whole(Problem::Rule { rule: "budgets are written as [[budget]] tables" })),
                _ => faults.push(whole(Problem::Unknown { text: key, known: "[[budget]]" })),
            }
        }
        match Self::from_entries(entries) {
            Ok(budgets) if faults.is_empty() => Ok(budgets),
            read => {
                faults.extend(read.err().into_iter().flat_map(|error| error.faults));
                Err(BudgetsError { faults })
            }
        }
    }

    /// Reads the `[[budget]]` tables of a larger file.
    ///
    /// # Errors
    /// Returns every fault found.
    pub fn from_entries(entries: Vec<toml::Value>) -> Result<Self, BudgetsError> {
        let mut faults = Vec::new();
        let mut budgets: Vec<Arc<Budget>> = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let label =
                entry.get("name").and_then(toml::Value::as_str).map_or_else(|| format!("#{}", index + 1), |name| format!("'{name}'"));
            let mut checker = Checker { label, faults: &mut faults };
            if let Some(budget) = checker.budget(entry) {
                if budgets.iter().any(|other| other.name == budget.name) {
                    checker.fault("name", Problem::Duplicate { text: budget.name });
                } else {
                    budgets.push(Arc::new(budget));
                }
            }
        }
        if faults.is_empty() { Ok(Self { budgets }) } else { Err(BudgetsError { faults }) }
    }

    /// Returns some of the budgets.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&Budget) -> bool) -> Self {
        Self { budgets: self.budgets.iter().filter(|budget| keep(budget)).cloned().collect() }
    }

    /// Returns a digest of all budgets, independent of comments and layout.
    #[must_use]
    pub fn version(&self) -> String {
        let digests: Vec<String> = self.budgets.iter().map(|budget| budget.digest()).collect();
        let parts: Vec<&str> = digests.iter().map(String::as_str).collect();
        digest(&parts).chars().take(12).collect()
    }

    /// Iterates over the budgets in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Budget>> {
        self.budgets.iter()
    }

    /// Returns a budget by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Budget>> {
        self.budgets.iter().find(|budget| budget.name == name)
    }

    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.budgets.len()
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.budgets.is_empty()
    }
}

/// Validates one entry and notes its faults.
struct Checker<'a> {
    label: String,
    faults: &'a mut Vec<BudgetFault>,
}

impl Checker<'_> {
    fn fault(&mut self, field: &'static str, problem: Problem) {
        self.faults.push(BudgetFault { budget: self.label.clone(), field, problem });
    }

    /// Takes a value, or notes why there is none.
    fn take<T>(&mut self, field: &'static str, value: Result<T, Problem>) -> Option<T> {
        value.map_err(|problem| self.fault(field, problem)).ok()
    }

    fn choice<T: Copy>(&mut self, field: &'static str, text: Option<&str>, known: &'static str, values: &[(&str, T)]) -> Option<T> {
        text.and_then(|text| self.take(field, choice(text, known, values)))
    }

    fn budget(&mut self, entry: toml::Value) -> Option<Budget> {
        let raw: Result<RawBudget, _> = entry.try_into();
        let raw = self.take("keys", raw.map_err(|error| Problem::Toml { detail: error.message().to_owned() }))?;
        let before = self.faults.len();
        let name = self.take("name", raw.name.clone().filter(|name| !name.trim().is_empty()).ok_or(Problem::Missing));
        if name.as_ref().is_some_and(|name| name.len() > LONGEST_NAME || name.chars().any(char::is_control)) {
            self.fault("name", Problem::Rule { rule: "at most 128 bytes and no control characters" });
        }
        let window = raw.window.as_deref().ok_or(Problem::Missing).and_then(window);
        let window = self.take("window", window).unwrap_or(Window::Lifetime);
        let filter = raw.filter.as_deref().map(|text| Predicate::parse(text).map_err(Problem::from));
        let filter = filter.and_then(|parsed| self.take("where", parsed));
        let each = self.each(raw.each.as_deref(), window);
        let limit = self.limit(&raw, &each);
        let zone_name = raw.timezone.clone().unwrap_or_else(|| "UTC".to_owned());
        let zone = TimeZone::get(&zone_name)
            .map_err(|_| Problem::Unknown { text: zone_name.clone(), known: "an IANA time zone such as Europe/Berlin" });
        let zone = self.take("timezone", zone).unwrap_or(TimeZone::UTC);
        let counts = [("cost", CountBasis::Cost), ("cost_max", CountBasis::CostMax)];
        let count = self.choice("count", raw.count.as_deref(), "cost or cost_max", &counts).unwrap_or_default();
        let worst_case = self.worst_case(&raw);
        let modes = [("observe", Mode::Observe), ("approve", Mode::Approve), ("enforce", Mode::Enforce)];
        let mode = self.choice("mode", raw.mode.as_deref(), "observe, approve or enforce", &modes).unwrap_or_default();
        let thresholds = self.thresholds(&raw.threshold);
        let approval = raw.approval;
        if approval && !thresholds.iter().any(|threshold| threshold.actions.contains(&ActionKind::Hold)) {
            self.fault("approval", Problem::Rule { rule: "approval needs a threshold with do = [\"hold\"]" });
        }
        if self.faults.len() > before {
            return None;
        }
        Some(Budget {
            name: name?,
            filter,
            each,
            limit,
            window,
            zone,
            zone_name,
            count,
            worst_case,
            lower_bound: raw.lower_bound,
            mode,
            approval,
            thresholds,
        })
    }

    fn each(&mut self, raw: Option<&[String]>, window: Window) -> Vec<Dimension> {
        const KNOWN: &str = "account_id, region, agent_id, session_id, team, principal_arn, role, role_session_name, model, tag:KEY";
        let by_default = if window == Window::Session { vec!["agent_id".to_owned(), "session_id".to_owned()] } else { Vec::new() };
        let mut each: Vec<Dimension> = Vec::new();
        for text in raw.unwrap_or(&by_default) {
            match Dimension::parse(text) {
                None => self.fault("each", Problem::Unknown { text: text.clone(), known: KNOWN }),
                Some(dimension) if each.contains(&dimension) => self.fault("each", Problem::Duplicate { text: text.clone() }),
                Some(dimension) => each.push(dimension),
            }
        }
        if window == Window::Session && !each.iter().any(|dimension| dimension.is("session_id")) {
            self.fault("each", Problem::Rule { rule: "a session window needs session_id in each" });
        }
        each
    }

    fn limit(&mut self, raw: &RawBudget, each: &[Dimension]) -> LimitRule {
        let base = raw.limit.as_deref().and_then(|text| self.take("limit", amount(text)));
        let source = raw.limit_from.as_deref().and_then(|text| {
            let source = match text.split_once(':') {
                Some(("tag", key)) if !key.is_empty() => Ok(LimitSource::Tag(key.to_owned())),
                _ if text == "agent" => Ok(LimitSource::Agent),
                _ => Err(Problem::Unknown { text: text.to_owned(), known: "\"tag:KEY\" or \"agent\"" }),
            };
            self.take("limit_from", source)
        });
        if raw.limit.is_none() && raw.limit_from.is_none() && raw.limits.is_empty() {
            self.fault("limit", Problem::Missing);
        }
        if source == Some(LimitSource::Agent) && !each.iter().any(|dimension| dimension.is("agent_id")) {
            self.fault("limit_from", Problem::Rule { rule: "\"agent\" needs agent_id in each" });
        }
        if each.is_empty() && (!raw.limits.is_empty() || matches!(source, Some(LimitSource::Tag(_)))) {
            self.fault("each", Problem::Rule { rule: "limits by target or tag need a key in each" });
        }
        let mut exceptions = BTreeMap::new();
        for (key, text) in &raw.limits {
            let target = exception_target(key, each);
            if let (Some(target), Some(amount)) = (self.take("limits", target), self.take("limits", amount(text))) {
                exceptions.insert(target, amount);
            }
        }
        LimitRule { base, source, exceptions }
    }

    fn worst_case(&mut self, raw: &RawBudget) -> Option<WorstCase> {
        let words = [("ignore", false), ("worst_case", true)];
        let wanted = self.choice("unpriced", raw.unpriced.as_deref(), "ignore or worst_case", &words);
        let rate = raw.unpriced_worst_case.as_deref().and_then(|text| self.take("unpriced_worst_case", worst_case(text)));
        match (wanted, raw.unpriced_worst_case.is_some()) {
            (Some(true), false) => {
                self.fault(
                    "unpriced",
                    Problem::Rule { rule: "\"worst_case\" needs unpriced_worst_case, for example \"75.00 USD per 1M tokens\"" },
                );
            }
            (Some(false), true) => self.fault("unpriced", Problem::Rule { rule: "\"ignore\" contradicts unpriced_worst_case" }),
            _ => {}
        }
        rate
    }

    fn thresholds(&mut self, raw: &[RawThreshold]) -> Vec<Threshold> {
        const WORDS: [(&str, ActionKind); 2] = [("notify", ActionKind::Notify), ("hold", ActionKind::Hold)];
        if raw.is_empty() {
            // A budget without thresholds says when it is spent.
            return vec![Threshold { text: "100%".to_owned(), at: At::PercentMillis(100_000), actions: vec![ActionKind::Notify] }];
        }
        if raw.len() > MOST_THRESHOLDS {
            self.fault("threshold", Problem::Rule { rule: "more than 16 thresholds" });
        }
        let mut thresholds: Vec<Threshold> = Vec::new();
        for entry in raw {
            let mut actions = Vec::new();
            for word in &entry.actions {
                actions.extend(self.choice("threshold.do", Some(word), "notify or hold", &WORDS));
            }
            actions.sort_unstable();
            actions.dedup();
            if entry.actions.is_empty() {
                self.fault("threshold.do", Problem::Missing);
            }
            let Some((text, at)) = self.take("threshold.at", threshold_at(&entry.at)) else { continue };
            if thresholds.iter().any(|other| other.text == text) {
                self.fault("threshold.at", Problem::Duplicate { text });
            } else {
                thresholds.push(Threshold { text, at, actions });
            }
        }
        thresholds
    }
}

/// Returns the target that a key of `[budget.limits]` means: the whole target, or the value where `each` has one key.
fn exception_target(key: &str, each: &[Dimension]) -> Result<String, Problem> {
    let names: Vec<String> = each.iter().map(|dimension| format!("{dimension}=")).collect();
    let pairs: Vec<&str> = key.split(',').collect();
    if pairs.len() == names.len() && pairs.iter().zip(&names).all(|(pair, name)| pair.starts_with(name.as_str())) {
        return Ok(key.to_owned());
    }
    match each {
        [only] => Ok(target::from_values(std::iter::once((only, key)))),
        _ => Err(Problem::Rule { rule: "with several keys in each, write the whole target: \"agent_id=a,region=us-east-1\"" }),
    }
}

#[cfg(test)]
mod tests;
