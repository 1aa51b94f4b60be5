//! Trust policies as people write them, and those that only look as if they pinned something.

use serde_json::json;

use super::*;

const CI: &str = "arn:aws:iam::1:role/ci";

fn allow(actions: &[&str], principal: Value, condition: Value) -> Value {
    json!({"Effect": "Allow", "Action": actions, "Principal": principal, "Condition": condition})
}

fn of(statements: Value) -> Pins {
    pins(&json!({"Version": "2012-10-17", "Statement": statements}))
}

fn tags(statements: Value) -> Vec<String> {
    of(statements).tag_keys
}

const BOTH: [&str; 2] = ["sts:AssumeRole", "sts:TagSession"];

#[test]
fn a_value_that_leaves_no_choice_is_pinned() {
    for (operator, value, pinned) in [
        ("StringEquals", json!("search"), true),
        ("StringEquals", json!(["search"]), true),
        ("StringEquals", json!("${aws:PrincipalTag/team}"), true),
        ("StringEqualsIfExists", json!("search"), true),
        ("StringLike", json!("search"), true),
        ("StringLike", json!("${aws:username}"), true),
        ("StringLike", json!("a${*}b"), true),
        ("StringLike", json!("*"), false),
        ("StringLike", json!("search-*"), false),
        ("StringLike", json!("search-?"), false),
        ("StringEquals", json!(["search", "shop"]), false),
        ("StringEquals", json!([]), false),
        ("StringEquals", json!(""), false),
        ("StringEqualsIgnoreCase", json!("search"), false),
        ("StringNotEquals", json!("search"), false),
        ("Null", json!("false"), false),
        ("ForAnyValue:StringEquals", json!("search"), false),
    ] {
        let statement = allow(&BOTH, json!({"AWS": CI}), json!({operator: {"aws:RequestTag/Team": value}}));
        assert_eq!(tags(statement.clone()), if pinned { vec!["Team"] } else { vec![] }, "{statement}");
        for (key, is_pinned) in [
            ("sts:RoleSessionName", (|pins: &Pins| pins.session_name) as fn(&Pins) -> bool),
            ("STS:SourceIdentity", |pins: &Pins| pins.source_identity),
        ] {
            let statement = allow(&["sts:AssumeRole", "sts:SetSourceIdentity"], json!({"AWS": CI}), json!({operator: {key: value}}));
            assert_eq!(is_pinned(&of(statement.clone())), pinned, "{statement}");
        }
    }
}

#[test]
fn every_way_in_must_pin() {
    let pinning = json!({"StringEquals": {"aws:RequestTag/team": "search", "sts:RoleSessionName": "${aws:username}"}});
    let one = allow(&BOTH, json!({"AWS": CI}), pinning.clone());
    let open = allow(&BOTH, json!({"AWS": "arn:aws:iam::1:role/other"}), json!({}));
    assert_eq!(of(json!([one])), Pins { tag_keys: vec!["team".to_owned()], source_identity: false, session_name: true });
    assert_eq!(of(json!([one, open])), Pins::default());
    for action in ["sts:*", "*", "sts:Assume*", "STS:AssumeRoleWith?AML", "sts:AssumeRoleWithWebIdentity"] {
        let other = allow(&[action, "sts:TagSession"], json!({"AWS": "*"}), json!({}));
        assert!(!of(json!([one, other])).session_name || action.contains("AML"), "{action}");
    }
    let not_action = json!({"Effect": "Allow", "NotAction": "sts:TagSession", "Principal": "*"});
    assert!(!of(json!([one, not_action])).session_name);
    let elsewhere = allow(&["sts:GetCallerIdentity"], json!("*"), json!({}));
    assert!(of(json!([one, elsewhere])).session_name, "it opens nothing");
}

#[test]
fn the_right_to_pass_tags_may_be_pinned_alone() {
    let assume = allow(&["sts:AssumeRole"], json!({"AWS": CI}), json!({}));
    let tag = allow(&["sts:TagSession"], json!({"AWS": CI}), json!({"StringEquals": {"aws:RequestTag/team": "search"}}));
    assert_eq!(tags(json!([assume, tag])), ["team"]);
    let free = allow(&["sts:TagSession"], json!({"AWS": CI}), json!({}));
    assert_eq!(tags(json!([assume, tag, free])), Vec::<String>::new());
    let transitive = allow(&BOTH, json!({"AWS": CI}), json!({"ForAllValues:StringEquals": {"sts:TransitiveTagKeys": ["team"]}}));
    assert_eq!(of(json!([transitive])), Pins::default(), "which keys are handed on says nothing of their values");
    let source = allow(&["sts:SetSourceIdentity"], json!({"AWS": CI}), json!({"StringEquals": {"sts:SourceIdentity": "${aws:username}"}}));
    assert!(of(json!([assume, source])).source_identity);
}

#[test]
fn two_values_for_the_same_caller_are_a_choice() {
    let way = |principal: Value, team: &str| allow(&BOTH, principal, json!({"StringEquals": {"aws:RequestTag/team": team}}));
    let (a, b) = (json!({"AWS": "arn:aws:iam::1:role/a"}), json!({"AWS": "arn:aws:iam::1:role/b"}));
    assert_eq!(tags(json!([way(a.clone(), "a"), way(b.clone(), "b")])), ["team"]);
    assert_eq!(tags(json!([way(a.clone(), "a"), way(a.clone(), "a")])), ["team"]);
    for wide in [json!("*"), json!({"AWS": "*"}), json!({"AWS": "arn:aws:iam::1:root"}), json!({"AWS": "1"}), a.clone()] {
        assert_eq!(tags(json!([way(a.clone(), "a"), way(wide.clone(), "b")])), Vec::<String>::new(), "{wide}");
    }
}

#[test]
fn what_is_denied_to_all_is_no_choice() {
    let open = allow(&BOTH, json!({"AWS": CI}), json!({}));
    let deny = |principal: Value, action: &str, condition: Value| json!({"Effect": "Deny", "Action": action, "Principal": principal, "Condition": condition});
    let key = "aws:RequestTag/team";
    for (condition, pinned) in [
        (json!({"StringNotEquals": {key: "search"}}), true),
        (json!({"StringNotEqualsIfExists": {key: "${aws:PrincipalTag/team}"}}), true),
        (json!({"StringNotEquals": {key: "search"}, "Null": {key: "false"}}), true),
        (json!({"Null": {key: "false"}}), true),
        (json!({"Null": {key: false}}), true),
        (json!({"Null": {key: "true"}}), false),
        (json!({"StringNotEquals": {key: ["search", "shop"]}}), false),
        (json!({"StringNotLike": {key: "search-*"}}), false),
        (json!({"StringNotEquals": {key: "search", "aws:PrincipalArn": "x"}}), false),
        (json!({"StringNotEquals": {key: "search"}, "StringNotLike": {key: "shop"}}), false),
        (json!({}), false),
    ] {
        let both = json!([open, deny(json!("*"), "sts:AssumeRole", condition.clone())]);
        assert_eq!(!tags(both).is_empty(), pinned, "{condition}");
        let some = json!([open, deny(json!({"AWS": CI}), "sts:AssumeRole", condition.clone())]);
        assert!(tags(some).is_empty(), "not denied to all: {condition}");
    }
    let elsewhere = deny(json!({"AWS": "*"}), "sts:AssumeRoleWithSAML", json!({"StringNotEquals": {key: "search"}}));
    assert!(tags(json!([open, elsewhere])).is_empty());
}

#[test]
fn services_and_signed_assertions_speak_for_themselves() {
    let service = allow(&["sts:AssumeRole"], json!({"Service": ["bedrock-agentcore.amazonaws.com", "lambda.amazonaws.com"]}), json!({}));
    assert_eq!(of(json!([service])), Pins { tag_keys: vec![], source_identity: true, session_name: true });
    let mixed = allow(&["sts:AssumeRole"], json!({"Service": "lambda.amazonaws.com", "AWS": CI}), json!({}));
    assert_eq!(of(json!([mixed])), Pins::default());
    let pinned = allow(&BOTH, json!({"AWS": CI}), json!({"StringEquals": {"aws:RequestTag/team": "search"}}));
    assert_eq!(tags(json!([service, pinned])), ["team"]);
    let federated = json!({"Federated": "arn:aws:iam::1:saml-provider/x"});
    let saml = of(json!([allow(&["sts:AssumeRoleWithSAML"], federated.clone(), json!({}))]));
    assert_eq!((saml.source_identity, saml.session_name), (true, true));
    let web = of(json!([allow(&["sts:AssumeRoleWithWebIdentity"], federated, json!({}))]));
    assert_eq!((web.source_identity, web.session_name), (true, false), "the caller names its session itself");
}

#[test]
fn documents_that_are_none() {
    for policy in [
        json!(null),
        json!([]),
        json!({}),
        json!({"Statement": "x"}),
        json!({"Statement": [{"Effect": "Deny", "Action": "*"}]}),
        json!({"Statement": 7}),
    ] {
        assert_eq!(pins(&policy), Pins::default(), "{policy}");
    }
    let long = format!("sts:{}x", "*".repeat(40));
    assert_eq!(of(json!([allow(&[&long], json!("*"), json!({}))])), Pins::default());
}
