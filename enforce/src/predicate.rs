//! The `where` of a budget: a SQL predicate over the text columns of a call, with SQL's three-valued logic.
//!
//! Owns: which SQL is accepted and what it means. Does not own: the parser (sqlparser, the one DataFusion uses).
//! Invariant: for every accepted text the result equals what a query engine gives over the same row of `calls`; an empty
//! column of a call is `NULL` there and here.

use std::fmt;
use std::str::Chars;

use sluice_schemas::batch::EnrichedBatch;
use sluice_schemas::tables::CALL_TEXTS;
use sluice_schemas::{Owner, Profile, Sym};
use sqlparser::ast::{AccessExpr, BinaryOperator, Expr, Subscript, UnaryOperator, Value};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

pub(crate) mod needs;

/// Longest accepted predicate; also bounds the depth of its tree.
const MAX_TEXT: usize = 4096;

/// Deepest accepted nesting. The parser's frames are large: its own limit of fifty can overflow the stack of a thread.
const MAX_DEPTH: usize = 16;

/// Columns of `calls` that tell of one call: sums over calls no longer know them.
const NOT_TEXT: [&str; 19] = [
    "event_time",
    "request_id",
    "agent_rank",
    "session_rank",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "latency_ms",
    "cost_usd",
    "cost_max_usd",
    "cost_basis",
    "price_version",
    "priced",
    "extras",
    "source",
    "ingest_time",
    "dt",
];

/// Why a predicate was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PredicateError {
    /// Longer than is sensible.
    #[error("longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Not SQL.
    #[error("not a SQL expression: {detail}")]
    Syntax {
        /// What the parser says.
        detail: String,
    },
    /// No such column.
    #[error("unknown column '{column}' (text is written in single quotes); known are {}, tags['key']", CALL_TEXTS.join(", "))]
    UnknownColumn {
        /// The name.
        column: String,
    },
    /// A column that is summed away before budgets see it.
    #[error("column '{column}' belongs to one call, budgets see sums of calls: use a text column such as agent_id, model or tags['key']")]
    NotText {
        /// The name.
        column: String,
    },
    /// SQL that is not supported here.
    #[error("'{expression}' is not supported: use =, <>, IN, LIKE, IS NULL, AND, OR, NOT over columns and 'text'")]
    Unsupported {
        /// The part at fault.
        expression: String,
    },
}

/// A text column of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextColumn(usize);

impl TextColumn {
    /// Finds a column by name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        CALL_TEXTS.iter().position(|known| *known == name).map(Self)
    }

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        CALL_TEXTS.get(self.0).copied().unwrap_or_default()
    }
}

/// The texts of the calls of one delta.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Holds the strings.
    pub batch: &'a EnrichedBatch,
    /// Shared by the calls.
    pub profile: &'a Profile,
    /// Who they are booked to.
    pub owner: &'a Owner,
    /// Canonical model.
    pub model: Sym,
    /// Price scope.
    pub scope: Sym,
}

impl<'a> Row<'a> {
    /// Returns the text of a column; `None` (SQL's `NULL`) where the call has none.
    #[must_use]
    pub fn text(&self, column: TextColumn) -> Option<&'a str> {
        let (profile, owner) = (self.profile, self.owner);
        // By place in `CALL_TEXTS`: names are compared when a budget is read, not for each call.
        let sym = match column.0 {
            0 => profile.account_id,
            1 => profile.region,
            2 => profile.inference_region,
            3 => profile.operation,
            4 => profile.model_id,
            5 => self.model,
            6 => self.scope,
            7 => return Some(profile.service_tier.as_str()),
            8 => profile.error_code,
            9 => profile.principal_arn,
            10 => owner.role,
            11 => owner.role_session_name,
            12 => owner.agent_id,
            13 => owner.agent_evidence,
            14 => return Some(owner.agent_status.as_str()),
            15 => owner.session_id,
            16 => owner.session_evidence,
            17 => owner.team,
            18 => profile.metadata,
            _ => Sym::EMPTY,
        };
        Some(self.batch.batch.strings.get(sym)).filter(|text| !text.is_empty())
    }

    /// Returns the value of a tag; `None` where the call does not carry it.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&'a str> {
        let strings = &self.batch.batch.strings;
        self.owner.tags.iter().find(|(name, _)| strings.get(*name) == key).map(|(_, value)| strings.get(*value))
    }
}

/// An accepted predicate.
#[derive(Clone)]
pub struct Predicate {
    text: String,
    root: Node,
}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Predicate").field(&self.text).finish()
    }
}

#[derive(Clone)]
enum Node {
    Equal { left: Operand, right: Operand, negated: bool },
    In { operand: Operand, list: Vec<Operand>, negated: bool },
    Like { operand: Operand, pattern: Option<Vec<Piece>>, negated: bool },
    IsNull { operand: Operand, negated: bool },
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
}

#[derive(Clone)]
enum Operand {
    Column(TextColumn),
    Tag(String),
    Literal(Option<String>),
}

impl Operand {
    fn value<'a>(&'a self, row: &Row<'a>) -> Option<&'a str> {
        match self {
            Self::Column(column) => row.text(*column),
            Self::Tag(key) => row.tag(key),
            Self::Literal(text) => text.as_deref(),
        }
    }
}

/// One element of a `LIKE` pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Char(char),
}

impl Predicate {
    /// Reads a predicate.
    ///
    /// # Errors
    /// Returns why it is refused.
    pub fn parse(text: &str) -> Result<Self, PredicateError> {
        if text.len() > MAX_TEXT {
            return Err(PredicateError::TooLong { limit: MAX_TEXT });
        }
        let syntax = |error: sqlparser::parser::ParserError| PredicateError::Syntax { detail: error.to_string() };
        let mut parser = Parser::new(&GenericDialect {}).with_recursion_limit(MAX_DEPTH).try_with_sql(text).map_err(syntax)?;
        let expression = parser.parse_expr().map_err(syntax)?;
        let rest = parser.next_token();
        if rest.token != Token::EOF {
            return Err(PredicateError::Syntax { detail: format!("unexpected '{rest}' after the expression") });
        }
        Ok(Self { text: text.to_owned(), root: condition(&expression)? })
    }

    /// Returns the text as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Tells whether a call counts: SQL's `WHERE` keeps a row only if the predicate is true, not if it is unknown.
    #[must_use]
    pub fn keeps(&self, row: &Row<'_>) -> bool {
        eval(&self.root, row) == Some(true)
    }
}

fn eval(node: &Node, row: &Row<'_>) -> Option<bool> {
    match node {
        Node::Equal { left, right, negated } => Some((left.value(row)? == right.value(row)?) != *negated),
        Node::In { operand, list, negated } => {
            let value = operand.value(row)?;
            let mut unknown = false;
            for item in list {
                match item.value(row) {
                    Some(text) if text == value => return Some(!negated),
                    Some(_) => {}
                    None => unknown = true,
                }
            }
            if unknown { None } else { Some(*negated) }
        }
        Node::Like { operand, pattern, negated } => Some(like(operand.value(row)?, pattern.as_ref()?) != *negated),
        Node::IsNull { operand, negated } => Some(operand.value(row).is_none() != *negated),
        Node::And(left, right) => match (eval(left, row), eval(right, row)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        Node::Or(left, right) => match (eval(left, row), eval(right, row)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
        Node::Not(inner) => eval(inner, row).map(|truth| !truth),
    }
}

/// Matches with one remembered place to fall back to, so the time is bounded by text × pattern.
fn like(text: &str, pattern: &[Piece]) -> bool {
    let (mut rest, mut pieces) = (text.chars(), pattern);
    let mut fallback: Option<(Chars<'_>, &[Piece])> = None;
    loop {
        match (pieces.split_first(), rest.clone().next()) {
            (Some((Piece::Any, after)), _) => {
                fallback = Some((rest.clone(), after));
                pieces = after;
            }
            (Some((Piece::One, after)), Some(_)) => {
                rest.next();
                pieces = after;
            }
            (Some((Piece::Char(wanted), after)), Some(char)) if *wanted == char => {
                rest.next();
                pieces = after;
            }
            (None, None) => return true,
            _ => {
                // The last `%` takes one character more.
                let Some((mut from, after)) = fallback.take() else { return false };
                if from.next().is_none() {
                    return false;
                }
                (rest, pieces) = (from.clone(), after);
                fallback = Some((from, after));
            }
        }
    }
}

/// A backslash takes the next character literally.
fn pieces(pattern: &str) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        pieces.push(match char {
            '%' => Piece::Any,
            '_' => Piece::One,
            '\\' => Piece::Char(chars.next().unwrap_or('\\')),
            other => Piece::Char(other),
        });
    }
    pieces
}

fn unsupported(expression: &Expr) -> PredicateError {
    PredicateError::Unsupported { expression: expression.to_string() }
}

fn condition(expression: &Expr) -> Result<Node, PredicateError> {
    match expression {
        Expr::Nested(inner) => condition(inner),
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => Ok(Node::Not(Box::new(condition(expr)?))),
        Expr::BinaryOp { left, op, right } => match op {
            BinaryOperator::And => Ok(Node::And(Box::new(condition(left)?), Box::new(condition(right)?))),
            BinaryOperator::Or => Ok(Node::Or(Box::new(condition(left)?), Box::new(condition(right)?))),
            BinaryOperator::Eq => Ok(Node::Equal { left: operand(left)?, right: operand(right)?, negated: false }),
            BinaryOperator::NotEq => Ok(Node::Equal { left: operand(left)?, right: operand(right)?, negated: true }),
            _ => Err(unsupported(expression)),
        },
        Expr::InList { expr, list, negated } => {
            let list = list.iter().map(operand).collect::<Result<_, _>>()?;
            Ok(Node::In { operand: operand(expr)?, list, negated: *negated })
        }
        Expr::Like { negated, any: false, expr, pattern, escape_char: None } => {
            let Operand::Literal(pattern) = operand(pattern)? else { return Err(unsupported(expression)) };
            Ok(Node::Like { operand: operand(expr)?, pattern: pattern.as_deref().map(pieces), negated: *negated })
        }
        Expr::IsNull(inner) => Ok(Node::IsNull { operand: operand(inner)?, negated: false }),
        Expr::IsNotNull(inner) => Ok(Node::IsNull { operand: operand(inner)?, negated: true }),
        _ => Err(unsupported(expression)),
    }
}

fn operand(expression: &Expr) -> Result<Operand, PredicateError> {
    match expression {
        Expr::Nested(inner) => operand(inner),
        Expr::Identifier(name) => {
            // As in a query: a name without quotes is folded to lower case.
            let name = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() };
            if let Some(column) = TextColumn::parse(&name) {
                return Ok(Operand::Column(column));
            }
            if NOT_TEXT.contains(&name.as_str()) {
                return Err(PredicateError::NotText { column: name });
            }
            Err(PredicateError::UnknownColumn { column: name })
        }
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Ok(Operand::Literal(Some(text.clone()))),
            Value::Null => Ok(Operand::Literal(None)),
            _ => Err(unsupported(expression)),
        },
        Expr::CompoundFieldAccess { root, access_chain } => {
            let is_tags = matches!(root.as_ref(), Expr::Identifier(name) if name.value.eq_ignore_ascii_case("tags"));
            let [AccessExpr::Subscript(Subscript::Index { index: Expr::Value(key) })] = access_chain.as_slice() else {
                return Err(unsupported(expression));
            };
            match &key.value {
                Value::SingleQuotedString(key) if is_tags => Ok(Operand::Tag(key.clone())),
                _ => Err(unsupported(expression)),
            }
        }
        _ => Err(unsupported(expression)),
    }
}

#[cfg(test)]
mod tests;
