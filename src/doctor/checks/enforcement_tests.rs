//! Judgements about policies, targets and topics.

#![cfg(test)]

use super::*;
use crate::doctor::finding::Level;
use crate::enforcement::RawEnforce;

const DENY: &str = include_str!("../../../deploy/iam/deny-bedrock.json");
const BOUNDARY: &str = include_str!("../../../deploy/iam/bedrock-boundary.json");
const ROLE: &str = "arn:aws:iam::111122223333:role/agents/triage";

fn config(text: &str) -> EnforceConfig {
    toml::from_str::<RawEnforce>(text).unwrap().check(false, &mut Vec::new())
}

#[test]
fn published_policies_are_what_is_expected() {
    assert_eq!(judge_deny("p", &Policy::read("p", DENY)).level, Level::Ok);
    assert_eq!(judge_boundary("p", &Policy::read("p", BOUNDARY)).level, Level::Ok);
    let weak = DENY.replace("\"bedrock:Invoke*\",", "");
    assert!(judge_deny("p", &Policy::read("p", &weak)).seen.contains("bedrock:InvokeModel"));
    let allows = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    assert_eq!(judge_deny("p", &Policy::read("p", allows)).level, Level::Fail);
    assert_eq!(judge_boundary("p", &Policy::read("p", allows)).level, Level::Fail);
}

#[test]
fn a_target_can_be_stopped_and_has_a_place() {
    let config = config("levers = ['deny-policy']\ndeny_policy_arn = 'arn:aws:iam::{account}:policy/deny'");
    let judged = |attached: usize, lacking: Vec<Need>| {
        let attached: Vec<String> = (0..attached).map(|number| format!("arn:aws:iam::111122223333:policy/{number}")).collect();
        judge_target(&config, ROLE, "111122223333", &attached, &[(LeverKind::DenyPolicy, lacking)])
    };
    assert_eq!(judged(3, Vec::new()).level, Level::Ok);
    assert_eq!((judged(10, Vec::new()).check, judged(10, Vec::new()).level), ("enforcement.headroom", Level::Warn));
    assert_eq!(judged(3, vec![Need::new("iam:AttachRolePolicy", ROLE)]).level, Level::Fail);
    let held = ["arn:aws:iam::111122223333:policy/deny".to_owned()].into_iter().chain((0..9).map(|n| n.to_string())).collect::<Vec<_>>();
    assert_eq!(judge_target(&config, ROLE, "111122223333", &held, &[(LeverKind::DenyPolicy, Vec::new())]).level, Level::Ok);
}

#[test]
fn the_published_grant_of_a_lever_is_enough_within_its_path_alone() {
    let config = config("levers = ['deny-policy']\ndeny_policy_arn = 'arn:aws:iam::{account}:policy/sluice-deny-bedrock'");
    let grant = include_str!("../../../deploy/iam/lever-deny-policy.json")
        .replace("${AccountId}", "111122223333")
        .replace("${AgentPath}", "agents/")
        .replace("${DenyPolicyName}", "sluice-deny-bedrock");
    let layers = Layers { identity: vec![Policy::read("grant", &grant)], ..Layers::default() };
    let lacks = |role: &str| rights::lacks(&layers, &grants(LeverKind::DenyPolicy, &config, role, "111122223333").unwrap());
    assert_eq!(lacks(ROLE), rights::Lacks::default());
    assert_eq!(lacks("arn:aws:iam::111122223333:role/ops/admin").denied.len(), 2);
    assert_eq!(reach(&config, "arn:aws:iam::111122223333:role/sluice", &layers).level, Level::Ok);
    let admin = Layers { identity: vec![everything()], ..Layers::default() };
    assert_eq!(reach(&config, "arn:aws:iam::111122223333:role/sluice", &admin).level, Level::Fail);
}

#[test]
fn a_topic_has_somebody_who_listens() {
    assert_eq!(judge_topic("t", &["arn:aws:sns:us-east-1:1:t:x"]).level, Level::Ok);
    assert_eq!(judge_topic("t", &["PendingConfirmation"]).level, Level::Fail);
    assert_eq!(judge_topic("t", &[]).level, Level::Fail);
}
