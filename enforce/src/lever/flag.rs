//! `flag`: a row that applications and gateways look at before they call a model. The one lever that touches no permission.
//!
//! The table has one key, `pk`, the target's text; docs/flags.md has the attributes. A row of someone else, told by `put_by`, is neither
//! replaced nor removed, and a row is removed only on behalf of the hold that put it.
//! Source: DynamoDB API reference, `PutItem`, `DeleteItem`, `GetItem`; developer guide, "Time to Live".

use serde::Deserialize;
use serde_json::{Value, json};
use sluice_schemas::Micros;
use sluice_schemas::time::{DAY, SECOND};

use super::json::{ask, code, send, target, unfit};
use super::{About, Done, Lever, LeverError, LeverKind, Order, Sight, Subject, Undo};
use crate::aws::{Aws, Call};
use crate::store::SELF;
use crate::target::ALL;

const KIND: LeverKind = LeverKind::Flag;
/// Value of the attribute `state` of every row.
pub const HELD: &str = "held";
/// How long after its end a row stays for people to see; readers go by `until`.
const KEPT: i64 = DAY;
/// Holds that a row names; a target with more budgets than that is held all the same.
const MOST_HOLDS: usize = 20;
/// Longest reason, so that a row stays small to read.
const LONGEST_REASON: usize = 500;

const ABOUT: About = About {
    summary: "writes a row that applications and gateways look at before they call a model",
    grants: &["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"],
    policy: r#"[{"Effect":"Allow","Action":["dynamodb:GetItem","dynamodb:PutItem","dynamodb:DeleteItem"],"Resource":"arn:${Partition}:dynamodb:${Region}:${Account}:table/${FlagTable}"}]"#,
    cannot: "stops only who looks: an agent that does not check goes on; whoever checks sees a change when their cache ends (5 s in the ready-made checks)",
    undo: Undo::Exact,
};

/// The lever.
#[derive(Clone, Debug)]
pub struct Flag {
    table: String,
    region: String,
    account: String,
}

/// A row as DynamoDB writes it.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Item")]
    item: Option<Value>,
}

impl Flag {
    /// Returns a lever that writes to `table` in `region`, in `account` (empty for that of the program's credentials).
    #[must_use]
    pub fn new(table: &str, region: &str, account: &str) -> Self {
        Self { table: table.to_owned(), region: region.to_owned(), account: account.to_owned() }
    }

    fn key(subject: &Subject) -> Result<&str, LeverError> {
        match subject {
            // The longest key of a DynamoDB table has 2048 bytes.
            Subject::Target { target } if !target.is_empty() && target.len() <= 2048 => Ok(target),
            Subject::Target { .. } => Err(unfit(KIND, subject, "a target of a flag has 1 to 2048 bytes")),
            _ => Err(unfit(KIND, subject, "a flag names the target of a budget")),
        }
    }

    fn call(&self, operation: &str, body: &Value) -> Call {
        target("dynamodb", (&self.region, &self.account), "1.0", format!("DynamoDB_20120810.{operation}"), body)
    }

    fn row(&self, aws: &dyn Aws, pk: &str) -> Result<Option<Value>, LeverError> {
        let body = json!({ "TableName": self.table, "Key": { "pk": { "S": pk } }, "ConsistentRead": true });
        let answer: Answer = ask(aws, &self.call("GetItem", &body).reading("dynamodb:GetItem"))?;
        Ok(answer.item)
    }
}

/// Returns the text of an attribute.
fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row.get(name).and_then(|value| value.get("S")).and_then(Value::as_str).unwrap_or("")
}

/// Tells whether a row is ours, for a hold that still asks for it.
fn is_ours(row: &Value, holds: &[String]) -> bool {
    text(row, "put_by") == SELF && holds.iter().any(|hold| hold == text(row, "hold_id"))
}

/// Tells whether a row stops its target now.
fn holds_now(row: &Value, now: Micros) -> bool {
    let until: Option<Micros> = text(row, "until").parse().ok();
    text(row, "state") == HELD && until.is_none_or(|until| now < until)
}

/// Returns the row of an order.
fn item(pk: &str, order: &Order<'_>) -> Value {
    let word = |text: &str| json!({ "S": text });
    let mut reason = order.reason.to_owned();
    reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
    let hold_id = order.holds.first().map_or("", String::as_str);
    let mut item = json!({
        "pk": word(pk),
        "state": word(HELD),
        "reason": word(&reason),
        "hold_id": word(hold_id),
        "holds": { "L": order.holds.iter().take(MOST_HOLDS).map(|hold| word(hold)).collect::<Vec<_>>() },
        "since": word(&order.since.to_string()),
        "put_by": word(SELF),
    });
    if let Some(until) = order.until {
        item["until"] = word(&until.to_string());
        item["expires"] = json!({ "N": until.plus(KEPT).0.div_euclid(SECOND).to_string() });
    }
    item
}

impl Lever for Flag {
    fn kind(&self) -> LeverKind {
        KIND
    }

    fn about(&self) -> About {
        ABOUT
    }

    fn fits(&self, subject: &Subject) -> Result<(), LeverError> {
        Self::key(subject).map(|_| ())
    }

    fn look(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Sight, LeverError> {
        let row = self.row(aws, Self::key(order.subject)?)?;
        let stands = row.is_some_and(|row| is_ours(&row, order.holds) && holds_now(&row, order.now));
        Ok(Sight { stands, ineffective: None, image: Value::Null })
    }

    fn pull(&self, aws: &dyn Aws, order: &Order<'_>) -> Result<Done, LeverError> {
        let pk = Self::key(order.subject)?;
        if order.holds.is_empty() {
            return Err(unfit(KIND, order.subject, "no hold asks for it"));
        }
        let body = json!({
            "TableName": self.table,
            "Item": item(pk, order),
            "ConditionExpression": "attribute_not_exists(pk) OR put_by = :us",
            "ExpressionAttributeValues": { ":us": { "S": SELF } },
        });
        match send(aws, &self.call("PutItem", &body).writing("dynamodb:PutItem")) {
            Ok(reply) => Ok(Done { requests: vec![reply.request_id], detail: format!("wrote the row {pk} of {}", self.table) }),
            Err(error) if code(&error) == "ConditionalCheckFailed" => {
                Err(unfit(KIND, order.subject, "someone else put a row there: remove it, or let it stand"))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn lift(&self, aws: &dyn Aws, order: &Order<'_>, _image: &Value) -> Result<Done, LeverError> {
        let pk = Self::key(order.subject)?;
        let holds: Vec<(String, &String)> = order.holds.iter().enumerate().map(|(number, hold)| (format!(":h{number}"), hold)).collect();
        if holds.is_empty() {
            return Err(unfit(KIND, order.subject, "no hold is lifted"));
        }
        let names: Vec<&str> = holds.iter().map(|(name, _)| name.as_str()).collect();
        let mut values = json!({ ":us": { "S": SELF } });
        for (name, hold) in &holds {
            values[name] = json!({ "S": hold });
        }
        let body = json!({
            "TableName": self.table,
            "Key": { "pk": { "S": pk } },
            "ConditionExpression": format!("attribute_not_exists(pk) OR (put_by = :us AND hold_id IN ({}))", names.join(", ")),
            "ExpressionAttributeValues": values,
        });
        match send(aws, &self.call("DeleteItem", &body).writing("dynamodb:DeleteItem")) {
            Ok(reply) => Ok(Done { requests: vec![reply.request_id], detail: format!("took the row {pk} away") }),
            Err(error) if code(&error) == "ConditionalCheckFailed" => {
                Ok(Done { requests: Vec::new(), detail: "the row is that of another hold, and stays".to_owned() })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the targets under which a flag may stand for an agent and one of its sessions, in the form of `pk`.
///
/// These are the whole budget, the agent, the session, and both in either order; a budget by other dimensions is not among them.
#[must_use]
pub fn targets_of(agent: &str, session: Option<&str>) -> Vec<String> {
    let pair = |name: &str, value: &str| {
        let mut text = format!("{name}=");
        crate::target::escape_into(value, &mut text);
        text
    };
    let agent = pair("agent_id", agent);
    let mut targets = vec![ALL.to_owned(), agent.clone()];
    if let Some(session) = session.map(|session| pair("session_id", session)) {
        targets.extend([format!("{agent},{session}"), format!("{session},{agent}"), session]);
    }
    targets
}

#[cfg(test)]
mod tests;
