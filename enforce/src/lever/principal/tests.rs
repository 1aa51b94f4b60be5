//! The published policies, judged by the evaluator.

use super::*;
use crate::lever::iam_bench::{BOUNDARY_TEXT, DENY_TEXT};

/// Actions that use models, of which none may be left.
const STOPPED: [&str; 22] = [
    "bedrock:InvokeModel",
    "bedrock:InvokeModelWithResponseStream",
    "bedrock:InvokeModelWithBidirectionalStream",
    "bedrock:InvokeAgent",
    "bedrock:InvokeInlineAgent",
    "bedrock:InvokeFlow",
    "bedrock:InvokeBuilder",
    "bedrock:InvokeTool",
    "bedrock:InvokeDataAutomationAsync",
    "bedrock:StartFlowExecution",
    "bedrock:RetrieveAndGenerate",
    "bedrock:RetrieveAndGenerateStream",
    "bedrock:Retrieve",
    "bedrock:Rerank",
    "bedrock:GenerateQuery",
    "bedrock:OptimizePrompt",
    "bedrock:CreateModelInvocationJob",
    "bedrock:CallWithBearerToken",
    "bedrock-mantle:CreateInference",
    "bedrock-mantle:CallWithBearerToken",
    "bedrock-agentcore:InvokeAgentRuntime",
    "bedrock-agentcore:InvokeAgentRuntimeForUser",
];
/// Actions that configure, list or look, and those of other services: none may be touched.
const UNTOUCHED: [&str; 22] = [
    "bedrock:ListFoundationModels",
    "bedrock:GetFoundationModel",
    "bedrock:GetInferenceProfile",
    "bedrock:ListInferenceProfiles",
    "bedrock:GetModelInvocationLoggingConfiguration",
    "bedrock:PutModelInvocationLoggingConfiguration",
    "bedrock:GetAgent",
    "bedrock:UpdateAgentAlias",
    "bedrock:StopModelInvocationJob",
    "bedrock:StopFlowExecution",
    "bedrock:GetModelInvocationJob",
    "bedrock:ApplyGuardrail",
    "bedrock-mantle:CancelInference",
    "bedrock-agentcore:StopRuntimeSession",
    "bedrock-agentcore:GetAgentRuntime",
    "iam:DetachRolePolicy",
    "iam:DeleteRolePolicy",
    "sts:AssumeRole",
    "sts:GetCallerIdentity",
    "s3:GetObject",
    "logs:PutLogEvents",
    "cloudtrail:LookupEvents",
];

fn check(layers: &Layers) {
    for action in STOPPED {
        let found = verdict(layers, action, MODEL, &Context::part());
        assert!(matches!(found, Verdict::ExplicitDeny { .. } | Verdict::ImplicitDeny { .. }), "{action}: {found:?}");
    }
    for action in UNTOUCHED {
        let found = verdict(layers, action, "arn:aws:x:us-east-1:111122223333:y/z", &Context::part());
        assert!(matches!(found, Verdict::Allowed { .. }), "{action}: {found:?}");
    }
}

#[test]
fn the_deny_policy_stops_the_use_of_bedrock_and_nothing_else() {
    let deny = Policy::read("deny", DENY_TEXT);
    check(&Layers { identity: vec![everything(), deny.clone()], ..Layers::default() });
    assert_eq!((not_denied_by(&deny, &Context::part()), deny.allows_anything()), (None, false));
    assert!(not_denied_by(&everything(), &Context::part()).is_some());
}

#[test]
fn the_boundary_stops_the_use_of_bedrock_and_nothing_else() {
    let boundary = Policy::read("boundary", BOUNDARY_TEXT);
    check(&Layers { identity: vec![everything()], boundary: Some(boundary.clone()), ..Layers::default() });
    assert_eq!(not_bounded_by(&boundary), None);
    assert!(not_bounded_by(&everything()).is_some());
}

#[test]
fn the_published_policies_name_these_actions() {
    let actions = |text: &str, element: &str| {
        let document: serde_json::Value = serde_json::from_str(text).unwrap();
        let listed = document["Statement"][0][element].as_array().unwrap().clone();
        listed.iter().map(|action| action.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(actions(DENY_TEXT, "Action"), RUNTIME_ACTIONS);
    assert_eq!(actions(BOUNDARY_TEXT, "NotAction"), RUNTIME_ACTIONS);
}

#[test]
fn the_guard_of_the_enforcer_holds_whatever_else_it_is_granted() {
    let filled = |text: &str| text.replace("${AccountId}", "111122223333").replace("${AgentPath}", "agents/");
    let guard = Policy::read("guard", &filled(include_str!("../../../../deploy/iam/enforcer-guard.json")));
    assert_eq!((guard.fault(), guard.allows_anything()), (None, false));
    let layers = Layers { identity: vec![everything(), guard], ..Layers::default() };
    let may = |action: &str, resource: &str| {
        let resource = format!("arn:aws:iam::111122223333:{resource}");
        matches!(verdict(&layers, action, &resource, &Context::part()), Verdict::Allowed { .. })
    };
    for action in ["iam:AttachRolePolicy", "iam:DetachRolePolicy", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary", "iam:GetRole"] {
        assert!(may(action, "role/agents/triage"), "{action}");
    }
    for action in ["iam:AttachRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:DeleteRolePermissionsBoundary"] {
        assert!(!may(action, "role/sluice-enforcer") && !may(action, "role/admin"), "{action}");
    }
    for (action, resource) in [
        ("iam:CreatePolicyVersion", "policy/sluice-deny-bedrock"),
        ("iam:UpdateAssumeRolePolicy", "role/agents/triage"),
        ("iam:CreateAccessKey", "user/agents/bot"),
        ("iam:PassRole", "role/agents/triage"),
        ("sts:AssumeRole", "role/agents/triage"),
    ] {
        assert!(!may(action, resource), "{action}");
    }
    assert!(may("iam:GetRole", "role/admin"));
}

#[test]
fn what_is_still_granted_is_found_wherever_it_is_limited_to() {
    let narrow = |action: &str, resource: &str, condition: &str| {
        let text = format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "{action}", "Resource": "{resource}"{condition}}}}}"#
        );
        Granted { identity: vec![Policy::read("narrow", &text)], boundary: None }
    };
    let one_model = "arn:aws:bedrock:*::foundation-model/anthropic.*";
    assert!(still_granted(narrow("bedrock:Invoke*", one_model, "")).unwrap().starts_with("narrow, statement 1 allows"));
    assert_eq!(still_granted(narrow("bedrock:List*", "*", "")), None);
    let from_home = r#", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}"#;
    assert!(still_granted(narrow("bedrock:*", "*", from_home)).unwrap().contains("cannot be told"));
    let bounded = Granted { boundary: Some(Policy::read("boundary", BOUNDARY_TEXT)), ..narrow("*", "*", "") };
    assert_eq!(still_granted(bounded), None);
}
