//! Rows as DynamoDB keeps them: ours are put and removed, others' stay.

use super::*;
use crate::lever::json::tests::{Fake, order, refused};

const HOLDS: [&str; 2] = ["h1", "h2"];

fn flag() -> Flag {
    Flag::new("flags", "eu-central-1", "")
}

/// A table that knows the conditions that are used.
fn table(rows: std::collections::BTreeMap<String, Value>) -> Fake<std::collections::BTreeMap<String, Value>> {
    Fake::new(rows, |rows, call, body| {
        let operation = call.headers.iter().find(|(name, _)| *name == "x-amz-target").unwrap().1.rsplit('.').next().unwrap().to_owned();
        let pk = |key: &Value| key["pk"]["S"].as_str().unwrap().to_owned();
        let values = &body["ExpressionAttributeValues"];
        let condition = body["ConditionExpression"].as_str().unwrap_or_default();
        let holds = |row: Option<&Value>| {
            let Some(row) = row else { return condition.starts_with("attribute_not_exists(pk)") };
            let ours = row["put_by"] == values[":us"];
            let named = values.as_object().unwrap().iter().any(|(name, value)| name.starts_with(":h") && *value == row["hold_id"]);
            ours && (!condition.contains("hold_id IN (") || named)
        };
        match operation.as_str() {
            "GetItem" => Ok(rows.get(&pk(&body["Key"])).map_or(json!({}), |row| json!({ "Item": row }))),
            "PutItem" if holds(rows.get(&pk(&body["Item"]))) => {
                rows.insert(pk(&body["Item"]), body["Item"].clone());
                Ok(json!({}))
            }
            "DeleteItem" if holds(rows.get(&pk(&body["Key"]))) => {
                rows.remove(&pk(&body["Key"]));
                Ok(json!({}))
            }
            _ => Err(refused(call, 400, "ConditionalCheckFailedException")),
        }
    })
}

fn subject() -> Subject {
    Subject::Target { target: "agent_id=a".to_owned() }
}

fn names(holds: &[&str]) -> Vec<String> {
    holds.iter().map(|hold| (*hold).to_owned()).collect()
}

#[test]
fn put_look_and_take_away() {
    let aws = table(Default::default());
    let (subject, holds) = (subject(), names(&HOLDS));
    let order = Order { until: Some(Micros(1_000 * SECOND)), ..order(&subject, &holds) };
    assert!(!flag().look(&aws, &order).unwrap().stands);
    flag().pull(&aws, &order).unwrap();
    flag().pull(&aws, &order).unwrap();
    assert!(flag().look(&aws, &order).unwrap().stands);
    let row = aws.state(|rows| rows["agent_id=a"].clone());
    assert_eq!((text(&row, "state"), text(&row, "hold_id"), text(&row, "put_by")), ("held", "h1", "sluice"));
    assert_eq!((text(&row, "until"), row["expires"]["N"].as_str()), ("1970-01-01T00:16:40Z", Some("87400")));
    assert!(!flag().look(&aws, &Order { now: Micros(1_000 * SECOND), ..order }).unwrap().stands, "over");
    flag().lift(&aws, &order, &Value::Null).unwrap();
    flag().lift(&aws, &order, &Value::Null).unwrap();
    assert!(aws.state(|rows| rows.is_empty()));
    aws.check_grants(&flag());
}

#[test]
fn rows_of_others_stay() {
    let foreign = json!({ "pk": { "S": "agent_id=a" }, "state": { "S": "held" }, "put_by": { "S": "ops" }, "hold_id": { "S": "h1" } });
    let aws = table([("agent_id=a".to_owned(), foreign.clone())].into());
    let (subject, holds) = (subject(), names(&HOLDS));
    let order = order(&subject, &holds);
    assert!(!flag().look(&aws, &order).unwrap().stands);
    assert!(matches!(flag().pull(&aws, &order), Err(LeverError::Unfit { .. })));
    assert_eq!(flag().lift(&aws, &order, &Value::Null).unwrap().requests.len(), 0);
    assert_eq!(aws.state(|rows| rows["agent_id=a"].clone()), foreign);
}

#[test]
fn one_hold_does_not_take_away_the_row_of_another() {
    let aws = table(Default::default());
    let (subject, first, second) = (subject(), names(&["h1"]), names(&["h2"]));
    flag().pull(&aws, &order(&subject, &first)).unwrap();
    assert!(!flag().look(&aws, &order(&subject, &second)).unwrap().stands, "it is to be written anew");
    flag().pull(&aws, &order(&subject, &second)).unwrap();
    flag().lift(&aws, &order(&subject, &first), &Value::Null).unwrap();
    assert!(flag().look(&aws, &order(&subject, &second)).unwrap().stands);
    flag().lift(&aws, &order(&subject, &second), &Value::Null).unwrap();
    assert!(aws.state(|rows| rows.is_empty()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let role = Subject::Role { arn: "arn:aws:iam::111122223333:role/a".to_owned() };
    assert!(matches!(flag().fits(&role), Err(LeverError::Unfit { .. })));
    assert!(flag().fits(&Subject::Target { target: "x".repeat(2049) }).is_err());
    let (subject, none) = (subject(), names(&[]));
    let aws = table(Default::default());
    assert!(flag().pull(&aws, &order(&subject, &none)).is_err() && flag().lift(&aws, &order(&subject, &none), &Value::Null).is_err());
}

#[test]
fn targets_are_written_as_budgets_write_them() {
    assert_eq!(targets_of("a", None), ["*", "agent_id=a"]);
    let both = ["*", "agent_id=a%2Cb", "agent_id=a%2Cb,session_id=s%3D1", "session_id=s%3D1,agent_id=a%2Cb", "session_id=s%3D1"];
    assert_eq!(targets_of("a,b", Some("s=1")), both);
}

#[test]
fn a_row_is_the_published_one() {
    let published: Value = serde_json::from_str(include_str!("../../../../deploy/flags/row.json")).unwrap();
    let subject = Subject::Target { target: "agent_id=a%2Cb".to_owned() };
    let holds = names(&["00112233445566778899aabbccddeeff"]);
    let order = Order {
        reason: "budget 'daily' 2026-10-01: $26.00 of $25.00",
        since: "2026-10-01T10:00:00Z".parse().unwrap(),
        until: Some("2026-10-02T00:00:00Z".parse().unwrap()),
        ..order(&subject, &holds)
    };
    assert_eq!(item("agent_id=a%2Cb", &order), published);
}
