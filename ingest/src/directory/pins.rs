//! What a role's trust policy leaves to whoever assumes it: session tags, source identity and session name are pinned where every way
//! in fixes them.
//!
//! Source: AWS, "Creating a role using custom trust policies", "Passing session tags in AWS STS", "IAM and AWS STS condition keys". In
//! doubt a thing is not pinned: evidence is then trusted less, never more.

use std::collections::BTreeSet;

use serde_json::Value;
use sluice_schemas::directory::Pins;

/// Condition key of a session tag, without the tag's own key.
const REQUEST_TAG: &str = "aws:requesttag/";
const SOURCE_IDENTITY: &str = "sts:sourceidentity";
const SESSION_NAME: &str = "sts:rolesessionname";
/// What opens a session.
const ASSUME: [&str; 3] = ["sts:assumerole", "sts:assumerolewithsaml", "sts:assumerolewithwebidentity"];
const TAG_SESSION: &str = "sts:tagsession";
const SET_SOURCE_IDENTITY: &str = "sts:setsourceidentity";

/// Reads what a trust policy pins; nothing for a document that is none.
#[must_use]
pub fn pins(policy: &Value) -> Pins {
    let statements: Vec<Statement> = list(&policy["Statement"]).into_iter().map(Statement::read).collect();
    if !statements.iter().any(|statement| statement.allows && statement.assumes()) {
        return Pins::default();
    }
    let keys: BTreeSet<&str> = statements.iter().flat_map(|statement| statement.tag_keys()).collect();
    let tag_keys =
        keys.into_iter().filter(|key| is_pinned(&statements, &format!("{REQUEST_TAG}{}", key.to_ascii_lowercase()), Some(TAG_SESSION)));
    Pins {
        tag_keys: tag_keys.map(str::to_owned).collect(),
        source_identity: is_pinned(&statements, SOURCE_IDENTITY, Some(SET_SOURCE_IDENTITY)),
        session_name: is_pinned(&statements, SESSION_NAME, None),
    }
}

/// One statement, keys of conditions and names of actions in lower case.
#[derive(Debug)]
struct Statement {
    allows: bool,
    /// Patterns of actions, and whether they are those left out.
    actions: Vec<String>,
    is_not_action: bool,
    principals: Vec<String>,
    /// Everybody is a service.
    is_service: bool,
    conditions: Vec<Condition>,
}

#[derive(Debug)]
struct Condition {
    operator: String,
    /// As it is spelt, and in lower case.
    spelt: String,
    key: String,
    values: Vec<String>,
}

impl Statement {
    fn read(value: &Value) -> Self {
        let texts = |value: &Value| list(value).into_iter().filter_map(Value::as_str).map(str::to_ascii_lowercase).collect::<Vec<_>>();
        let is_not_action = value["Action"].is_null();
        let actions = texts(if is_not_action { &value["NotAction"] } else { &value["Action"] });
        let principals = match &value["Principal"] {
            Value::Object(kinds) => kinds.values().flat_map(texts).collect(),
            other => texts(other),
        };
        let is_service =
            value["Principal"].as_object().is_some_and(|kinds| !kinds.is_empty() && kinds.keys().all(|kind| kind == "Service"));
        let blocks = value["Condition"].as_object().into_iter().flatten();
        let conditions = blocks.flat_map(|(operator, keys)| {
            let keys = keys.as_object().into_iter().flatten();
            keys.map(|(key, values)| Condition {
                operator: operator.to_ascii_lowercase(),
                spelt: key.clone(),
                key: key.to_ascii_lowercase(),
                values: list(values).into_iter().map(word).collect(),
            })
        });
        let conditions = conditions.collect();
        Self { allows: value["Effect"] == "Allow", actions, is_not_action, principals, is_service, conditions }
    }

    fn covers(&self, action: &str) -> bool {
        self.actions.iter().any(|pattern| matches(pattern, action)) != self.is_not_action
    }

    fn assumes(&self) -> bool {
        ASSUME.iter().any(|action| self.covers(action))
    }

    fn tag_keys(&self) -> impl Iterator<Item = &str> {
        let tags = self.conditions.iter().filter(|condition| condition.key.starts_with(REQUEST_TAG));
        tags.filter_map(|condition| condition.spelt.get(REQUEST_TAG.len()..)).filter(|key| !key.is_empty())
    }

    /// Tells whether somebody else than the caller says what the key holds: a service, or a provider of identities in what it signs.
    fn is_said_by_others(&self, key: &str) -> bool {
        let only = |action: &str| ASSUME.iter().all(|other| self.covers(other) == (*other == action));
        self.is_service || only("sts:assumerolewithsaml") || (only("sts:assumerolewithwebidentity") && key != SESSION_NAME)
    }

    /// The one value that an allowing statement leaves for a key.
    fn fixed(&self, key: &str) -> Option<&str> {
        self.conditions.iter().filter(|condition| condition.key == key).find_map(|condition| match condition.operator.as_str() {
            "stringequals" | "stringequalsifexists" | "stringlike" | "stringlikeifexists" => condition.one_value(),
            _ => None,
        })
    }

    /// Tells whether a denying statement leaves nobody a choice: every other value, or any value, is denied to all.
    fn denies_choice(&self, key: &str, actions: &[&str]) -> bool {
        let everybody = self.principals.iter().any(|principal| principal == "*");
        let covers = actions.iter().all(|action| self.covers(action));
        let present = |condition: &Condition| condition.operator == "null" && condition.values == ["false"];
        let differs = |condition: &Condition| {
            let negated = ["stringnotequals", "stringnotequalsifexists", "stringnotlike", "stringnotlikeifexists"];
            negated.contains(&condition.operator.as_str()) && condition.one_value().is_some()
        };
        let about_key = !self.conditions.is_empty() && self.conditions.iter().all(|condition| condition.key == key);
        let shape = self.conditions.iter().all(|condition| present(condition) || differs(condition));
        !self.allows && everybody && covers && about_key && shape && self.conditions.iter().filter(|one| differs(one)).count() <= 1
    }

    fn overlaps(&self, other: &Self) -> bool {
        let wide = |statement: &Self| {
            let is_wide = |principal: &String| {
                principal.contains('*') || principal.ends_with(":root") || principal.bytes().all(|b| b.is_ascii_digit())
            };
            statement.principals.is_empty() || statement.principals.iter().any(is_wide)
        };
        wide(self) || wide(other) || self.principals.iter().any(|principal| other.principals.contains(principal))
    }
}

impl Condition {
    /// The value, when it is one and leaves nothing open.
    fn one_value(&self) -> Option<&str> {
        let [value] = self.values.as_slice() else { return None };
        // `${*}` is the character itself; a variable is what AWS knows of the caller.
        let open = value.replace("${*}", "").replace("${?}", "");
        let is_open = self.operator.contains("like") && open.contains(['*', '?']);
        (!value.is_empty() && !is_open).then_some(value)
    }
}

/// Tells whether every way into the role pins a key: a denial to all, or each statement that opens a session, or each that lets the
/// caller pass the thing at all.
fn is_pinned(statements: &[Statement], key: &str, passing: Option<&str>) -> bool {
    let opening: Vec<&str> = ASSUME.into_iter().filter(|action| statements.iter().any(|one| one.allows && one.covers(action))).collect();
    let denied = |actions: &[&str]| statements.iter().any(|statement| statement.denies_choice(key, actions));
    if denied(&opening) || passing.is_some_and(|action| denied(&[action])) {
        return true;
    }
    let opens = |statement: &&Statement| statement.allows && statement.assumes();
    let passes = |statement: &&Statement| passing.is_some_and(|action| statement.allows && statement.covers(action));
    all_pin(statements.iter().filter(opens).collect(), key) || all_pin(statements.iter().filter(passes).collect(), key)
}

fn all_pin(ways: Vec<&Statement>, key: &str) -> bool {
    let said = |statement: &Statement| statement.is_said_by_others(key);
    let each = !ways.is_empty() && ways.iter().all(|statement| said(statement) || statement.fixed(key).is_some());
    // Two values for the same callers are a choice.
    let choice = ways.iter().enumerate().any(|(at, one)| {
        let others = ways.iter().skip(at + 1).filter(|other| !said(one) && !said(other));
        others.into_iter().any(|other| one.overlaps(other) && one.fixed(key) != other.fixed(key))
    });
    each && !choice
}

/// A list, or one thing as a list of it.
fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Matches a name against a pattern with `*` and `?`, in time that no pattern can drive up.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut of, mut star) = (0, 0, None);
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[of] => (at, of) = (at + 1, of + 1),
            // The last star takes one more.
            _ => match &mut star {
                Some((place, taken)) => {
                    *taken += 1;
                    (at, of) = (*place + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests;
