//! What AWS says in its user guide, row by row: `enforce/tests/data/iam_evaluation.json`.

use serde::Deserialize;

use super::*;

/// One case; `page` is the title of the AWS document that it follows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    page: String,
    case: String,
    verdict: String,
    /// Part of the context is not told.
    #[serde(default)]
    is_part: bool,
    identity: Vec<Value>,
    boundary: Option<Value>,
    #[serde(default)]
    organization: Vec<Vec<Value>>,
    session: Option<Vec<Value>>,
    /// What allows or denies.
    by: Option<String>,
    action: String,
    resource: String,
    context: BTreeMap<String, Value>,
}

fn policies(layer: &str, documents: &[Value]) -> Vec<Policy> {
    (1..).zip(documents).map(|(number, document): (u32, _)| Policy::read(&format!("{layer} {number}"), &document.to_string())).collect()
}

fn judge(row: &Row) -> Verdict {
    let layers = Layers {
        identity: policies("identity", &row.identity),
        boundary: row.boundary.as_ref().map(|document| Policy::read("boundary", &document.to_string())),
        organization: row.organization.iter().map(|level| policies("organization", level)).collect(),
        session: row.session.as_ref().map(|documents| policies("session", documents)),
    };
    let mut context = if row.is_part { Context::part() } else { Context::whole() };
    for (key, value) in &row.context {
        let values = texts(value).unwrap();
        context = context.with_all(key, values.iter().map(String::as_str));
    }
    evaluate(&layers, &Request { action: &row.action, resource: &row.resource, context: &context })
}

#[test]
fn every_row() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("../../../tests/data/iam_evaluation.json")).unwrap();
    assert!(rows.len() >= 100);
    let mut wrong = Vec::new();
    for row in &rows {
        let found = judge(row);
        let (word, by) = match &found {
            Verdict::Allowed { by } => ("allow", Some(by)),
            Verdict::ExplicitDeny { by } => ("deny", Some(by)),
            Verdict::ImplicitDeny { .. } => ("implicit", None),
            Verdict::Unknown { .. } => ("unknown", None),
        };
        if word != row.verdict || (row.by.is_some() && row.by.as_ref() != by) {
            wrong.push(format!("{}: {}: {found:?} instead of {} {:?}", row.page, row.case, row.verdict, row.by));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn documents_that_are_none() {
    for (text, words) in [
        ("", "EOF"),
        ("[]", "no object"),
        (r#"{"Statement": []}, "#, "trailing"),
        (r#"{"Version": "2012-10-17"}"#, "no statement"),
        (r#"{"Statement": [1]}"#, "statement 1 is no object"),
        (r#"{"Statement": {"Effect": "Maybe", "Action": "*", "Resource": "*"}}"#, "no effect"),
        (r#"{"Statement": {"Effect": "Deny", "Action": "*", "NotAction": "*", "Resource": "*"}}"#, "one of Action and NotAction"),
        (r#"{"Statement": {"Effect": "Deny", "Action": "*"}}"#, "one of Resource and NotResource"),
        (r#"{"Statement": {"Effect": "Deny", "Action": {}, "Resource": "*"}}"#, "Action is no text"),
        (r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Bool": 1}}}"#, "Bool is no object"),
        (r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*", "Then": 1}}"#, "element Then"),
    ] {
        let policy = Policy::read("p", text);
        assert!(policy.fault().unwrap().contains(words), "{text}: {:?}", policy.fault());
        assert!(policy.allows_anything(), "who knows");
    }
}

#[test]
fn what_samples_are_taken() {
    let text = r#"{"Statement": [
        {"Effect": "Allow", "Action": "bedrock:Invoke*", "Resource": ["arn:aws:bedrock:*::foundation-model/a?", "*"]},
        {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b"},
        {"Effect": "Allow", "NotAction": "iam:*", "Resource": "arn:aws:bedrock:eu-west-1:1:x/y"},
        {"Effect": "Deny", "Action": "bedrock:*", "Resource": "arn:d"}]}"#;
    let found = Policy::read("p", text).sample_resources("bedrock:InvokeModel");
    assert_eq!(found, ["arn:aws:bedrock:any::foundation-model/aa", "any", "arn:aws:bedrock:eu-west-1:1:x/y"]);
}

proptest::proptest! {
    #[test]
    fn no_document_panics_and_a_deny_of_all_denies(text in ".{0,60}", key in "[a-z:]{0,6}", operator in "[A-Za-z:]{0,14}", value in "[$\\{\\}a,'*?0-9:/.-]{0,12}") {
        let context = Context::whole().with("a", "1");
        let request = Request { action: "s3:GetObject", resource: "arn:a", context: &context };
        let any = Policy::read("any", &text);
        let odd = serde_json::json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": &value,
            "Condition": {operator: {key: value}}}});
        let odd = Policy::read("odd", &odd.to_string());
        let deny = Policy::read("deny", r#"{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}"#);
        let mut layers = Layers { identity: vec![any, odd], ..Layers::default() };
        let without = evaluate(&layers, &request);
        layers.identity.push(deny);
        let is_denied = matches!(evaluate(&layers, &request), Verdict::ExplicitDeny { .. });
        proptest::prop_assert!(is_denied, "{without:?} before");
    }
}
