//! Reading a rules file: shape, then meaning, then how rules stand to each other; all faults collected, each with its line.

use std::collections::HashSet;

use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::Rule;
use super::fault::{RuleFault, RulesError, RulesFault};
use super::field::{Field, misspelt_operation};
use super::pattern::{Pattern, Template};
use crate::attribution::{is_evidence_key, is_reserved};

/// Faults of one file, told with the line of where they are.
struct Reader<'t> {
    text: &'t str,
    faults: Vec<RulesFault>,
}

pub(super) fn read(text: &str) -> Result<Vec<Rule>, RulesError> {
    let table = DeTable::parse(text).map_err(RulesError::Syntax)?.into_inner();
    let mut reader = Reader { text, faults: Vec::new() };
    let mut rules = Vec::new();
    for (key, value) in &table {
        match (&**key.get_ref(), value.get_ref()) {
            ("rule", DeValue::Array(entries)) => rules = reader.rules(entries),
            ("rule", _) => reader.fault(key.span().start, "", RuleFault::NotAList),
            (other, _) => reader.fault(key.span().start, "", RuleFault::UnknownKey { key: other.to_owned() }),
        }
    }
    reader.reach(&rules);
    reader.names(&rules);
    reader.faults.sort_by_key(|fault| fault.line);
    if reader.faults.is_empty() { Ok(rules) } else { Err(RulesError::Faults { faults: reader.faults }) }
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count()
    }

    fn fault(&mut self, at: usize, rule: &str, what: RuleFault) {
        let line = self.line(at);
        self.faults.push(RulesFault { line, rule: rule.to_owned(), what });
    }

    fn rules(&mut self, entries: &DeArray<'_>) -> Vec<Rule> {
        let mut rules = Vec::with_capacity(entries.len());
        for (number, entry) in (1..).zip(entries.iter()) {
            match entry.get_ref() {
                DeValue::Table(table) => rules.push(self.rule(number, entry.span().start, table)),
                _ => self.fault(entry.span().start, "", RuleFault::NotAList),
            }
        }
        rules
    }

    fn rule(&mut self, number: usize, at: usize, table: &DeTable<'_>) -> Rule {
        let named = table.iter().find(|(key, _)| &**key.get_ref() == "name").and_then(|(_, value)| value.get_ref().as_str());
        let name = named.filter(|name| !name.trim().is_empty()).map_or_else(|| number.to_string(), |name| name.escape_debug().to_string());
        // The span of a [[rule]] ends up at its header; its first key is a line that a person looks for all the same.
        let (mut agent, mut session, mut team, mut tags) = (None, None, None, Vec::new());
        let mut matches = Vec::new();
        for (key, value) in table {
            let place = key.span().start;
            match (&**key.get_ref(), value.get_ref()) {
                ("name", DeValue::String(_)) => {}
                ("match", DeValue::Table(fields)) => matches = self.matches(&name, fields),
                ("agent", DeValue::String(text)) => agent = self.template(&name, "agent", place, text),
                ("session", DeValue::String(text)) => session = self.template(&name, "session", place, text),
                ("team", DeValue::String(text)) => team = self.template(&name, "team", place, text),
                ("tags", DeValue::Table(pairs)) => tags = self.tags(&name, pairs),
                (key @ ("match" | "tags"), _) => {
                    self.fault(place, &name, RuleFault::Type { key: key.to_owned(), wanted: "a table, like { role = \"Name*\" }" });
                }
                (key @ ("name" | "agent" | "session" | "team"), _) => {
                    self.fault(place, &name, RuleFault::Type { key: key.to_owned(), wanted: "a text" });
                }
                (other, _) => self.fault(place, &name, RuleFault::UnknownKey { key: other.to_owned() }),
            }
        }
        let has = |wanted: &str| table.iter().any(|(key, _)| &**key.get_ref() == wanted);
        if !has("match") || matches.is_empty() && !self.faults.iter().any(|fault| fault.rule == name) {
            self.fault(at, &name, RuleFault::NoMatch);
        }
        if !["agent", "session", "team", "tags"].into_iter().any(has) {
            self.fault(at, &name, RuleFault::NothingSaid);
        }
        let rule = Rule { name, line: self.line(at), matches, agent, session, team, tags };
        self.check(at, &rule);
        rule
    }

    fn matches(&mut self, rule: &str, fields: &DeTable<'_>) -> Vec<(String, Field, Pattern)> {
        let mut read: Vec<(String, Field, Pattern)> = Vec::new();
        let mut captured = HashSet::new();
        for (key, value) in fields {
            let (place, name) = (key.span().start, key.get_ref().to_string());
            let Some(field) = Field::parse(&name) else {
                if Field::lacks_key(&name) {
                    self.fault(place, rule, RuleFault::NoKey { field: name });
                    continue;
                }
                let what = RuleFault::UnknownField { nearest: Field::nearest(&name), field: name, known: Field::names() };
                self.fault(place, rule, what);
                continue;
            };
            let Some(text) = value.get_ref().as_str() else {
                self.fault(place, rule, RuleFault::Type { key: name, wanted: "a text" });
                continue;
            };
            match Pattern::parse(text, field.ignores_case()) {
                Err(error) => self.fault(place, rule, RuleFault::Pattern { key: name, error }),
                Ok(pattern) => {
                    if read.iter().any(|(_, known, _)| *known == field) {
                        self.fault(place, rule, RuleFault::FieldTwice { field: name.clone() });
                    }
                    for again in pattern.names().filter(|capture| !captured.insert((*capture).to_owned())) {
                        self.fault(place, rule, RuleFault::CaptureTwice { name: again.to_owned() });
                    }
                    if let Some(why) = impossible(&field, &pattern) {
                        self.fault(place, rule, RuleFault::Impossible { field: name.clone(), why });
                    }
                    let operation = Some(pattern.plain()).filter(|_| field == Field::Operation && pattern.is_plain());
                    if let Some((value, nearest)) = operation.and_then(|value| misspelt_operation(&value).map(|nearest| (value, nearest))) {
                        self.fault(place, rule, RuleFault::Misspelt { field: name.clone(), value, nearest });
                    }
                    read.push((name, field, pattern));
                }
            }
        }
        read
    }

    fn template(&mut self, rule: &str, key: &str, at: usize, text: &DeString<'_>) -> Option<Template> {
        let template = Template::parse(text);
        if let Err(error) = &template {
            self.fault(at, rule, RuleFault::Pattern { key: key.to_owned(), error: error.clone() });
        }
        let template = template.ok()?;
        if let Some(agent) = template.plain().filter(|agent| key == "agent" && is_reserved(agent)) {
            self.fault(at, rule, RuleFault::ReservedAgent { agent: agent.to_owned() });
        }
        Some(template)
    }

    fn tags(&mut self, rule: &str, pairs: &DeTable<'_>) -> Vec<(String, Template)> {
        let mut tags = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let (place, name) = (key.span().start, key.get_ref().to_string());
            if is_evidence_key(&name) || name.starts_with("claimed_") {
                self.fault(place, rule, RuleFault::ReservedTag { key: name.clone() });
            }
            match value.get_ref() {
                DeValue::String(text) => tags.extend(self.template(rule, &format!("tags.{name}"), place, text).map(|value| (name, value))),
                _ => self.fault(place, rule, RuleFault::Type { key: format!("tags.{name}"), wanted: "a text" }),
            }
        }
        tags
    }

    /// Checks what the parts of a rule say of each other.
    fn check(&mut self, at: usize, rule: &Rule) {
        let captured: Vec<&str> = rule.matches.iter().flat_map(|(_, _, pattern)| pattern.names()).collect();
        let said = [("agent", &rule.agent), ("session", &rule.session), ("team", &rule.team)];
        let said = said.into_iter().filter_map(|(key, template)| Some((key.to_owned(), template.as_ref()?)));
        let tags = rule.tags.iter().map(|(key, template)| (format!("tags.{key}"), template));
        for (key, template) in said.chain(tags) {
            for name in template.names().filter(|name| !captured.contains(name)) {
                let shown = captured.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ");
                self.fault(at, &rule.name, RuleFault::UnknownCapture { key: key.clone(), name: name.to_owned(), captured: shown });
            }
        }
        let has = |wanted: &Field| rule.matches.iter().any(|(_, field, _)| field == wanted);
        let of_role = [Field::Role, Field::SessionName, Field::SourceIdentity].into_iter().any(|field| has(&field));
        if has(&Field::User) && of_role {
            let why = "a user has no role, session name or source identity: make two rules of it";
            self.fault(at, &rule.name, RuleFault::Impossible { field: "user".to_owned(), why });
        }
        let profile_tag = rule.matches.iter().any(|(_, field, _)| matches!(field, Field::ResourceTag(_)));
        let plain_model = |(_, field, pattern): &(String, Field, Pattern)| {
            *field == Field::Model && pattern.is_plain() && !pattern.plain().contains(":application-inference-profile/")
        };
        if profile_tag && rule.matches.iter().any(plain_model) {
            let why = "only calls through an application inference profile have aws:ResourceTag: leave model out or name the profile's ARN";
            self.fault(at, &rule.name, RuleFault::Impossible { field: "model".to_owned(), why });
        }
    }

    /// Finds rules that have the name of an earlier one.
    fn names(&mut self, rules: &[Rule]) {
        for (at, rule) in rules.iter().enumerate() {
            if let Some(earlier) = rules.iter().take(at).find(|earlier| earlier.name == rule.name) {
                let what = RuleFault::NameTwice { line: earlier.line };
                self.faults.push(RulesFault { line: rule.line, rule: rule.name.clone(), what });
            }
        }
    }

    /// Finds rules that an earlier one leaves nothing to.
    fn reach(&mut self, rules: &[Rule]) {
        for (at, rule) in rules.iter().enumerate().filter(|(_, rule)| !rule.matches.is_empty()) {
            let earlier = rules.iter().take(at).find(|earlier| !earlier.matches.is_empty() && earlier.covers(rule));
            if let Some(earlier) = earlier {
                let what = RuleFault::Unreachable { earlier: earlier.name.clone(), line: earlier.line };
                self.faults.push(RulesFault { line: rule.line, rule: rule.name.clone(), what });
            }
        }
    }
}

/// Tells why no call can have such a value; the forms are those of the IAM and STS API references.
fn impossible(field: &Field, pattern: &Pattern) -> Option<&'static str> {
    let plain = pattern.plain();
    let length = plain.chars().count();
    let is_word = |c: char| c.is_alphanumeric() || "+=,.@-_".contains(c);
    let name = |most: usize| length <= most && plain.chars().all(is_word);
    match field {
        Field::Account if !plain.chars().all(|c| c.is_ascii_digit()) || length > 12 || (pattern.is_plain() && length != 12) => {
            Some("an account id has 12 digits")
        }
        Field::Role | Field::User if !name(64) => {
            Some("write the name alone, without ARN and path, of at most 64 letters, digits and +=,.@-_")
        }
        Field::SessionName | Field::SourceIdentity if !name(64) || (pattern.is_plain() && length < 2) => {
            Some("it has 2 to 64 letters, digits and +=,.@-_")
        }
        Field::Region if !plain.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => Some("a region is written like us-east-1"),
        Field::Region if pattern.is_plain() && !is_region(&plain) => Some("a region is written like us-east-1"),
        Field::Model if pattern.is_plain() && !plain.contains('.') && !plain.starts_with("arn:") => {
            Some("it is the whole model id, like anthropic.claude-…, or an ARN: write '*' around a part of it")
        }
        Field::CredentialsIssuedTo | Field::RunResource if pattern.is_plain() && !plain.starts_with("arn:") => {
            Some("it is an ARN: write all of it, or begin with '*'")
        }
        _ => None,
    }
}

/// Tells whether a text has the form of a region's name: words in lower case, and a number.
fn is_region(text: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase());
    text.rsplit_once('-').is_some_and(|(area, number)| {
        area.contains('-') && area.split('-').all(is_word) && !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests;
