//! What can be wrong with a rules file.

use sluice_schemas::ErrorClass;

use super::pattern::PatternError;

/// Why a rules file was refused. All faults are listed, not only the first.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// Not TOML.
    #[error("rules file is not TOML")]
    Syntax(#[source] toml::de::Error),
    /// TOML, but not valid rules.
    #[error("rules file has {} fault(s): {}", faults.len(), faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faults {
        /// What is wrong, in file order.
        faults: Vec<RulesFault>,
    },
}

impl RulesError {
    /// Tells the caller what to do: a person has to change the file.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Misconfigured
    }
}

/// One fault and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {}{what}", if rule.is_empty() { String::new() } else { format!("rule '{rule}': ") })]
pub struct RulesFault {
    /// Line of the file, from 1.
    pub line: usize,
    /// Name of the rule, or its number; empty for a fault outside rules.
    pub rule: String,
    /// What is wrong.
    pub what: RuleFault,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    /// A top-level key other than `rule`, or a key that rules do not have.
    #[error("unknown key '{key}': a rule has name, match, agent, session, team and tags")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// `rule` is not a list of tables.
    #[error("write rules as [[rule]]")]
    NotAList,
    /// A value of the wrong type.
    #[error("'{key}' must be {wanted}")]
    Type {
        /// The key.
        key: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// A field that is not known.
    #[error("unknown field '{field}': {}", nearest.as_ref().map_or_else(|| format!("fields are {known}"), |nearest| format!("did you mean '{nearest}'?")))]
    UnknownField {
        /// As written.
        field: String,
        /// What it looks like.
        nearest: Option<&'static str>,
        /// All names.
        known: String,
    },
    /// A field that needs a key and has none.
    #[error("'{field}' lacks its key: write {field}<key>")]
    NoKey {
        /// As written.
        field: String,
    },
    /// A value that is one letter or two off one that calls have.
    #[error("'{field}' can match nothing: no call has '{value}': did you mean '{nearest}'?")]
    Misspelt {
        /// The field.
        field: String,
        /// As written.
        value: String,
        /// What it looks like.
        nearest: &'static str,
    },
    /// One name for two rules.
    #[error("the rule in line {line} has the same name: give one another name, or nothing tells which of them named an agent")]
    NameTwice {
        /// Line of the earlier rule.
        line: usize,
    },
    /// One field under two names.
    #[error("'{field}' is matched twice: keep one")]
    FieldTwice {
        /// As written the second time.
        field: String,
    },
    /// A pattern or template that cannot be read.
    #[error("'{key}' {error}")]
    Pattern {
        /// The field or the key.
        key: String,
        /// Why.
        error: PatternError,
    },
    /// Nothing to match on.
    #[error("matches on nothing: give it a match = {{ role = \"…\" }}")]
    NoMatch,
    /// Nothing to say.
    #[error("says nothing: give it an agent, a session, a team or tags")]
    NothingSaid,
    /// A capture of that name twice.
    #[error("captures '{{{name}}}' twice: give one another name")]
    CaptureTwice {
        /// The name.
        name: String,
    },
    /// A capture that the match does not have.
    #[error("'{key}' uses '{{{name}}}', which its match does not capture{}", if captured.is_empty() { ": write {…} into a pattern of match".to_owned() } else { format!(": it captures {captured}") })]
    UnknownCapture {
        /// The key.
        key: String,
        /// The name.
        name: String,
        /// What is captured.
        captured: String,
    },
    /// An agent name that stands for something else.
    #[error("agent '{agent}' is reserved")]
    ReservedAgent {
        /// The name.
        agent: String,
    },
    /// A tag key that only attribution itself writes.
    #[error("tag '{key}' is written by attribution itself: choose another key")]
    ReservedTag {
        /// The key.
        key: String,
    },
    /// A value that no call can have.
    #[error("'{field}' can match nothing: {why}")]
    Impossible {
        /// The field.
        field: String,
        /// Why, and what to write.
        why: &'static str,
    },
    /// An earlier rule takes all that this one could match.
    #[error("is never reached: rule '{earlier}' in line {line} matches all that it would; put this one before it")]
    Unreachable {
        /// The earlier rule.
        earlier: String,
        /// Its line.
        line: usize,
    },
}
