//! What a call must have for a predicate to be true: by that, most budgets need not be asked.

use super::{Node, Operand, Predicate, Row, TextColumn};

/// A text of a call that predicates ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// A column.
    Column(TextColumn),
    /// A tag.
    Tag(String),
}

impl Field {
    /// Returns its value for a call.
    pub(crate) fn value<'a>(&self, row: &Row<'a>) -> Option<&'a str> {
        match self {
            Self::Column(column) => row.text(*column),
            Self::Tag(key) => row.tag(key),
        }
    }
}

/// One of these values in this field, or the predicate is not true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) field: Field,
    pub(crate) values: Vec<String>,
    /// Having one is enough, too.
    pub(crate) is_all: bool,
}

impl Predicate {
    /// Returns what a call must have; `None` if nothing can be said.
    pub(crate) fn needs(&self) -> Option<Needs> {
        needs(&self.root)
    }
}

fn needs(node: &Node) -> Option<Needs> {
    match node {
        Node::Equal { left, right, negated: false } => one_of(left, [right]).or_else(|| one_of(right, [left])),
        Node::In { operand, list, negated: false } => one_of(operand, list),
        Node::And(left, right) => match (needs(left), needs(right)) {
            (Some(left), Some(right)) => Some(if right.values.len() < left.values.len() { right } else { left }),
            (left, right) => left.or(right),
        }
        .map(|needs| Needs { is_all: false, ..needs }),
        Node::Or(left, right) => {
            let (mut left, right) = (needs(left)?, needs(right)?);
            left.values.extend(right.values);
            left.is_all &= right.is_all;
            (left.field == right.field).then_some(left)
        }
        _ => None,
    }
}

/// A comparison with `NULL` is never true, so it needs no value.
fn one_of<'a>(operand: &Operand, list: impl IntoIterator<Item = &'a Operand>) -> Option<Needs> {
    let field = match operand {
        Operand::Column(column) => Field::Column(*column),
        Operand::Tag(key) => Field::Tag(key.clone()),
        Operand::Literal(_) => return None,
    };
    let mut values = Vec::new();
    for item in list {
        match item {
            Operand::Literal(text) => values.extend(text.clone()),
            _ => return None,
        }
    }
    Some(Needs { field, values, is_all: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(String, Vec<String>)> {
        let needs = Predicate::parse(text).expect("a predicate").needs()?;
        let name = match needs.field {
            Field::Column(column) => column.name().to_owned(),
            Field::Tag(key) => format!("tag {key}"),
        };
        Some((name, needs.values))
    }

    #[test]
    fn what_is_enough_is_told_from_what_is_needed() {
        let is_all = |text: &str| Predicate::parse(text).expect("a predicate").needs().is_some_and(|needs| needs.is_all);
        assert!(is_all("agent_id = 'a'") && is_all("agent_id IN ('a', NULL)") && is_all("agent_id = 'a' OR agent_id IN ('b')"));
        assert!(!is_all("agent_id = 'a' AND team = 'b'") && !is_all("agent_id = 'a' OR (agent_id = 'b' AND team = 'c')"));
    }

    #[test]
    fn equalities_that_must_hold_are_found() {
        let some =
            |field: &str, values: &[&str]| Some((field.to_owned(), values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>()));
        assert_eq!(of("agent_id = 'a'"), some("agent_id", &["a"]));
        assert_eq!(of("'a' = agent_id"), some("agent_id", &["a"]));
        assert_eq!(of("tags['x'] IN ('a', NULL, 'b')"), some("tag x", &["a", "b"]));
        assert_eq!(of("team IN ('a', 'b') AND (region LIKE 'eu%' AND agent_id = 'c')"), some("agent_id", &["c"]));
        assert_eq!(of("agent_id = 'a' OR agent_id IN ('b')"), some("agent_id", &["a", "b"]));
        assert_eq!(of("agent_id = NULL"), some("agent_id", &[]));
        for open in
            ["agent_id <> 'a'", "agent_id = 'a' OR team = 'a'", "NOT agent_id = 'a'", "agent_id = team", "agent_id IS NULL", "'a' = 'a'"]
        {
            assert_eq!(of(open), None, "{open}");
        }
    }
}
