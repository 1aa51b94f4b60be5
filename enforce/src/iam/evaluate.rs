//! What IAM would answer: may this request be made under these policies?
//!
//! Pure. Owns: the grammar of policies, their layers, conditions and variables. Does not own: policies of resources, trust policies and
//! limits of VPC endpoints. What it does not know for certain is [`Verdict::Unknown`]: an operator it has never heard of, a key whose
//! value nobody told. Source: AWS, "Policy evaluation logic" and "IAM JSON policy element reference" of the IAM User Guide.

mod condition;
mod pattern;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use pattern::{Pattern, Variables};

/// Keys of a request and their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    values: BTreeMap<String, Vec<String>>,
    is_open: bool,
}

impl Context {
    /// Returns a context that tells all: a key that is not in it is not in the request.
    #[must_use]
    pub fn whole() -> Self {
        Self::default()
    }

    /// Returns a context that tells a part: a key that is not in it may be in the request.
    #[must_use]
    pub fn part() -> Self {
        Self { is_open: true, ..Self::default() }
    }

    /// Adds a key with one value.
    #[must_use]
    pub fn with(self, key: &str, value: &str) -> Self {
        self.with_all(key, [value])
    }

    /// Adds a key with its values.
    #[must_use]
    pub fn with_all<'a>(mut self, key: &str, values: impl IntoIterator<Item = &'a str>) -> Self {
        self.values.insert(key.to_ascii_lowercase(), values.into_iter().map(str::to_owned).collect());
        self
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// For example `bedrock:InvokeModel`.
    pub action: &'a str,
    /// ARN, or `*`.
    pub resource: &'a str,
    /// Keys and values.
    pub context: &'a Context,
}

/// The policies that apply, layer by layer.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Of the principal: attached, inline and of its groups.
    pub identity: Vec<Policy>,
    /// Its permissions boundary.
    pub boundary: Option<Policy>,
    /// Service control policies by level: root, organizational units, account. Each level has to allow.
    pub organization: Vec<Vec<Policy>>,
    /// Session policies, if the session was made with any.
    pub session: Option<Vec<Policy>>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is allowed.
    Allowed {
        /// By this policy and statement of the principal's own.
        by: String,
    },
    /// A statement denies it.
    ExplicitDeny {
        /// This one.
        by: String,
    },
    /// Nothing allows it.
    ImplicitDeny {
        /// In this layer.
        layer: &'static str,
    },
    /// It cannot be told.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// Whether something matches.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    Unknown(String),
}

impl From<bool> for Match {
    fn from(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }
}

impl Match {
    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            unknown => unknown,
        }
    }

    /// One match is enough.
    fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::No;
        for part in parts {
            match part {
                Self::Yes => return Self::Yes,
                Self::No => {}
                unknown => all = unknown,
            }
        }
        all
    }

    /// All have to match.
    fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::any(parts.into_iter().map(Self::not)).not()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// A list of patterns, or all but these.
#[derive(Clone, Debug)]
struct Scope {
    texts: Vec<String>,
    is_not: bool,
}

/// One statement.
#[derive(Clone, Debug)]
struct Statement {
    label: String,
    effect: Effect,
    actions: Scope,
    resources: Scope,
    conditions: Vec<(String, String, Vec<String>)>,
}

/// A policy document with the name people know it by.
#[derive(Clone, Debug)]
pub struct Policy {
    name: String,
    has_variables: bool,
    statements: Vec<Statement>,
    /// Why it cannot be read.
    fault: Option<String>,
}

impl Policy {
    /// Reads a document. One that cannot be read makes verdicts unknown.
    #[must_use]
    pub fn read(name: &str, document: &str) -> Self {
        let parsed = serde_json::from_str(document).map_err(|error| error.to_string()).and_then(|value: Value| statements(name, &value));
        let empty = Self { name: name.to_owned(), has_variables: false, statements: Vec::new(), fault: None };
        match parsed {
            Ok((has_variables, statements)) => Self { has_variables, statements, ..empty },
            Err(fault) => Self { fault: Some(fault), ..empty },
        }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says why it cannot be read.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Tells whether any statement allows something, or may, because the document cannot be read.
    #[must_use]
    pub fn allows_anything(&self) -> bool {
        self.fault.is_some() || self.statements.iter().any(|statement| statement.effect == Effect::Allow)
    }

    /// Returns a resource for each that statements allow an action on, with something in the place of wildcards.
    #[must_use]
    pub fn sample_resources(&self, action: &str) -> Vec<String> {
        let allowing = self.statements.iter().filter(|statement| statement.effect == Effect::Allow && statement.is_about(action));
        let scopes = allowing.map(|statement| &statement.resources).filter(|scope| !scope.is_not);
        scopes.flat_map(|scope| scope.texts.iter().map(|text| text.replace('*', "any").replace('?', "a"))).collect()
    }

    /// Looks for a statement with an effect that matches.
    fn find(&self, effect: Effect, request: &Request<'_>) -> (Match, String) {
        if let Some(fault) = &self.fault {
            return (Match::Unknown(format!("{} cannot be read: {fault}", self.name)), String::new());
        }
        let mut found = (Match::No, String::new());
        for statement in self.statements.iter().filter(|statement| statement.effect == effect) {
            match statement.matches(self.has_variables, request) {
                Match::Yes => return (Match::Yes, format!("{}, {}", self.name, statement.label)),
                Match::No => {}
                Match::Unknown(reason) => found.0 = Match::Unknown(format!("{}, {}: {reason}", self.name, statement.label)),
            }
        }
        found
    }
}

impl Statement {
    fn is_about(&self, action: &str) -> bool {
        let action = action.to_ascii_lowercase();
        let is = |text: &String| Match::from(Pattern::plain(&text.to_ascii_lowercase()).matches(&action));
        self.actions.matches(is) == Match::Yes
    }

    fn matches(&self, has_variables: bool, request: &Request<'_>) -> Match {
        if !self.is_about(request.action) {
            return Match::No;
        }
        let variables = Variables { context: request.context, are_on: has_variables };
        let is_resource = |text: &String| match Pattern::with_variables(text, variables, self.resources.is_not) {
            Ok(Some(pattern)) => Match::from(pattern.matches(request.resource)),
            Ok(None) => Match::No,
            Err(reason) => Match::Unknown(reason),
        };
        let condition = |(operator, key, values): &(String, String, Vec<String>)| condition::matches(operator, key, values, variables);
        // A part that does not match settles it, whatever is unknown of the others.
        Match::all([self.resources.matches(is_resource)].into_iter().chain(self.conditions.iter().map(condition)))
    }
}

impl Scope {
    fn matches(&self, one: impl Fn(&String) -> Match) -> Match {
        let found = Match::any(self.texts.iter().map(one));
        if self.is_not { found.not() } else { found }
    }
}

/// Says what IAM would answer.
#[must_use]
pub fn evaluate(layers: &Layers, request: &Request<'_>) -> Verdict {
    let mut denied = Match::No;
    let every = layers.identity.iter().chain(&layers.boundary).chain(layers.organization.iter().flatten());
    for policy in every.chain(layers.session.iter().flatten()) {
        match policy.find(Effect::Deny, request) {
            (Match::Yes, by) => return Verdict::ExplicitDeny { by },
            (Match::No, _) => {}
            (unknown, _) => denied = unknown,
        }
    }
    let mut needed: Vec<(&'static str, Vec<&Policy>)> = vec![("identity policies", layers.identity.iter().collect())];
    needed.extend(layers.boundary.iter().map(|policy| ("permissions boundary", vec![policy])));
    needed.extend(layers.organization.iter().map(|level| ("service control policies", level.iter().collect())));
    needed.extend(layers.session.iter().map(|policies| ("session policies", policies.iter().collect())));
    let (mut allowed, mut by) = (Match::Yes, None);
    for (layer, policies) in needed {
        match allows(&policies, request) {
            (Match::Yes, found) => by = by.or(Some(found)),
            (Match::No, _) => return Verdict::ImplicitDeny { layer },
            (unknown, _) => allowed = unknown,
        }
    }
    match (denied, allowed) {
        (Match::Unknown(reason), _) | (_, Match::Unknown(reason)) => Verdict::Unknown { reason },
        _ => Verdict::Allowed { by: by.unwrap_or_default() },
    }
}

fn allows(policies: &[&Policy], request: &Request<'_>) -> (Match, String) {
    let mut found = (Match::No, String::new());
    for policy in policies {
        match policy.find(Effect::Allow, request) {
            yes @ (Match::Yes, _) => return yes,
            (Match::No, _) => {}
            unknown => found = unknown,
        }
    }
    found
}

/// Reads a document: whether it knows variables, and its statements.
fn statements(name: &str, document: &Value) -> Result<(bool, Vec<Statement>), String> {
    let object = document.as_object().ok_or("it is no object")?;
    if let Some(other) = object.keys().find(|key| !["Version", "Id", "Statement"].contains(&key.as_str())) {
        return Err(format!("unknown element {other}"));
    }
    let has_variables = match object.get("Version").map(|version| version.as_str().unwrap_or_default()) {
        Some("2012-10-17") => true,
        Some("2008-10-17") | None => false,
        Some(other) => return Err(format!("unknown version {other}")),
    };
    let listed = match object.get("Statement") {
        Some(Value::Array(listed)) => listed.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        _ => return Err("no statement".to_owned()),
    };
    let read = |(number, value): (usize, &Value)| {
        let object = value.as_object().ok_or_else(|| format!("statement {number} is no object"))?;
        statement(number, object).map_err(|problem| format!("statement {number}: {problem}"))
    };
    let statements = (1..).zip(listed).map(read).collect::<Result<_, String>>();
    statements.map(|statements| (has_variables, statements)).map_err(|problem| format!("{name}: {problem}"))
}

fn statement(number: usize, object: &Map<String, Value>) -> Result<Statement, String> {
    const KNOWN: [&str; 7] = ["Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"];
    if let Some(other) = object.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(format!("element {other} does not belong into a policy of a principal"));
    }
    let label = match object.get("Sid").and_then(Value::as_str).filter(|sid| !sid.is_empty()) {
        Some(sid) => format!("statement {sid}"),
        None => format!("statement {number}"),
    };
    let effect = match object.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err("no effect".to_owned()),
    };
    let (actions, resources) = (scope(object, "Action", "NotAction")?, scope(object, "Resource", "NotResource")?);
    Ok(Statement { label, effect, actions, resources, conditions: conditions(object.get("Condition"))? })
}

fn scope(object: &Map<String, Value>, is: &str, is_not: &str) -> Result<Scope, String> {
    let (value, is_not) = match (object.get(is), object.get(is_not)) {
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        _ => return Err(format!("one of {is} and {is_not} has to be there")),
    };
    let texts = texts(value).ok_or_else(|| format!("{is} is no text"))?;
    Ok(Scope { texts, is_not })
}

fn conditions(block: Option<&Value>) -> Result<Vec<(String, String, Vec<String>)>, String> {
    let Some(block) = block else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (operator, keys) in block.as_object().ok_or("its condition is no object")? {
        for (key, value) in keys.as_object().ok_or_else(|| format!("{operator} is no object"))? {
            let values = texts(value).ok_or_else(|| format!("{operator} of {key} has a value that is no text"))?;
            found.push((operator.clone(), key.clone(), values));
        }
    }
    Ok(found)
}

/// One text or a list of them; numbers and truth values are texts too.
fn texts(value: &Value) -> Option<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    match value {
        Value::Array(values) => values.iter().map(one).collect(),
        value => one(value).map(|text| vec![text]),
    }
}

#[cfg(test)]
mod tests;
