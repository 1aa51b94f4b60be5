//! Rules: how an account's own habits of naming tell agents, sessions and teams.
//!
//! ```toml
//! [[rule]]
//! name    = "Claude Code users"                      # for messages and as evidence `rule:Claude Code users`; absent = its number
//! match   = { role = "ClaudeCode*", session_name = "ccwb-{user}" }
//! agent   = "claude-code/{user}"
//! team    = "developers"
//!
//! [[rule]]
//! match   = { account = "123456789012", "aws:PrincipalTag/app" = "{app}", user_agent = "*strands-agents*" }
//! agent   = "{app}"
//! session = "{app}-session"
//! tags    = { framework = "strands" }
//! ```
//!
//! The first rule that matches holds. `*` stands for any run of characters, `{name}` for a run of at least one that is kept under that
//! name. What a rule says has the lowest rank of the fields it matched on, and is as specific as the most specific of them. It is
//! evidence like any other: the agents file may refuse it.

mod fault;
mod field;
mod pattern;
mod read;

use std::cmp::Ordering;

use serde::Serialize;
use sluice_schemas::Rank;

use crate::attribution::{Context, Specificity, number};
use field::Field;
use pattern::{Pattern, Template};

pub use fault::{RuleFault, RulesError, RulesFault};
pub use pattern::PatternError;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// Name, or number from 1.
    name: String,
    line: usize,
    /// Field as written, what it is, and what it has to look like.
    matches: Vec<(String, Field, Pattern)>,
    agent: Option<Template>,
    session: Option<Template>,
    team: Option<Template>,
    tags: Vec<(String, Template)>,
}

/// Validated rules, in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// What the first matching rule says of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleMatch {
    /// Its place in the file, from 0.
    pub index: usize,
    /// Its name, or its number from 1.
    pub rule: String,
    /// Its line, from 1.
    pub line: usize,
    /// Agent; empty if it names none.
    pub agent: String,
    /// Session; empty if it names none.
    pub session: String,
    /// Team; empty if it names none.
    pub team: String,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// The lowest rank of the fields it matched on.
    #[serde(serialize_with = "number")]
    pub rank: Rank,
    /// The most specific of the fields it matched on.
    pub specificity: Specificity,
    /// Fields it matched on, with their values.
    pub matched: Vec<(String, String)>,
}

impl Rules {
    /// Reads and checks the text of a rules file.
    ///
    /// # Errors
    /// [`RulesError::Syntax`] for a text that is not TOML, else every fault there is.
    pub fn parse(toml: &str) -> Result<Self, RulesError> {
        read::read(toml).map(|rules| Self { rules })
    }

    /// Tells whether there is no rule.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Iterates over the names and lines of the rules, in file order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = (&str, usize)> {
        self.rules.iter().map(|rule| (rule.name.as_str(), rule.line))
    }

    /// Returns what the first matching rule says.
    pub(crate) fn first_match(&self, call: &Context<'_>) -> Option<RuleMatch> {
        let by_metadata = |rule: &Rule| rule.matches.iter().any(|(_, field, _)| matches!(field, Field::Metadata(_)));
        let metadata = if self.rules.iter().any(by_metadata) { pairs(call.metadata) } else { Vec::new() };
        self.rules.iter().enumerate().find_map(|(index, rule)| rule.matched(index, call, &metadata))
    }
}

impl Rule {
    fn matched(&self, index: usize, call: &Context<'_>, metadata: &[(String, String)]) -> Option<RuleMatch> {
        let mut captures = Vec::new();
        let mut matched = Vec::with_capacity(self.matches.len());
        let (mut rank, mut specificity) = (Rank::Aws, Specificity::Hint);
        for (name, field, pattern) in &self.matches {
            let (value, of_field, about) = field.value(call, metadata)?;
            captures.extend(pattern.captures(value)?);
            matched.push((name.clone(), value.to_owned()));
            (rank, specificity) = (rank.min(of_field), specificity.max(about));
        }
        let fill = |template: &Option<Template>| template.as_ref().map(|template| template.fill(&captures)).unwrap_or_default();
        Some(RuleMatch {
            index,
            rule: self.name.clone(),
            line: self.line,
            agent: fill(&self.agent),
            session: fill(&self.session),
            team: fill(&self.team),
            tags: self.tags.iter().map(|(key, template)| (key.clone(), template.fill(&captures))).collect(),
            rank,
            specificity,
            matched,
        })
    }

    /// Tells whether every call that `other` matches this one matches, too.
    fn covers(&self, other: &Self) -> bool {
        let of_other = |wanted: &Field| other.matches.iter().find(|(_, field, _)| field == wanted);
        self.matches.iter().all(|(_, field, pattern)| of_other(field).is_some_and(|(_, _, narrower)| pattern.covers(narrower)))
    }
}

/// Texts of a metadata object; nothing if it is not one of distinct keys.
fn pairs(json: &str) -> Vec<(String, String)> {
    if json.is_empty() {
        return Vec::new();
    }
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(json) else {
        return Vec::new();
    };
    let text = |(key, value)| if let serde_json::Value::String(value) = value { Some((key, value)) } else { None };
    let mut pairs: Vec<_> = object.into_iter().filter_map(text).collect();
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other) as Ordering);
    pairs
}
