//! The state changes and nothing else does.

use super::*;
use crate::lever::json::tests::{Fake, order, refused};

const ARN: &str = "arn:aws:bedrock:us-east-1:111122223333:agent-alias/AGENT12345/ALIAS12345";

fn agents(alias: Value) -> Fake<Option<Value>> {
    Fake::new(Some(alias), |alias: &mut Option<Value>, call, body| {
        assert_eq!(
            (call.host, call.service, call.path.as_str()),
            ("bedrock-agent", "bedrock", "/agents/AGENT12345/agentaliases/ALIAS12345/")
        );
        let Some(alias) = alias else { return Err(refused(call, 404, "ResourceNotFoundException")) };
        if call.method == Method::Put {
            assert!(body["agentAliasName"].is_string());
            // An update replaces what it names, and clears what it does not.
            alias.as_object_mut().unwrap().retain(|key, _| ["agentId", "agentAliasId"].contains(&key.as_str()));
            for (key, value) in body.as_object().unwrap() {
                alias[key] = value.clone();
            }
        }
        Ok(json!({ "agentAlias": alias }))
    })
}

fn alias(state: Option<&str>) -> Value {
    let mut alias = json!({
        "agentId": "AGENT12345", "agentAliasId": "ALIAS12345", "agentAliasName": "prod", "description": "of the shop",
        "routingConfiguration": [{ "agentVersion": "7", "provisionedThroughput": "pt-1" }],
    });
    if let Some(state) = state {
        alias["aliasInvocationState"] = state.into();
    }
    alias
}

#[test]
fn it_rejects_and_accepts_again_with_name_description_and_routing_as_they_were() {
    for (before, after) in [(Some(ACCEPT), Some(ACCEPT)), (None, Some(ACCEPT)), (Some(REJECT), Some(REJECT))] {
        let aws = agents(alias(before));
        let (subject, holds) = (Subject::AgentAlias { arn: ARN.to_owned() }, ["h".to_owned()]);
        let order = order(&subject, &holds);
        let image = RejectAlias.look(&aws, &order).unwrap().image;
        (0..2).for_each(|_| drop(RejectAlias.pull(&aws, &order).unwrap()));
        assert!(RejectAlias.look(&aws, &order).unwrap().stands);
        assert_eq!(aws.state(|alias| alias.clone()), Some(alias(Some(REJECT))));
        (0..2).for_each(|_| drop(RejectAlias.lift(&aws, &order, &image).unwrap()));
        assert_eq!(aws.state(|alias| alias.clone()), Some(alias(after)));
        assert_eq!(aws.writes().len(), if before == Some(REJECT) { 0 } else { 2 });
        if before == Some(ACCEPT) {
            aws.check_grants(&RejectAlias);
        }
    }
}

#[test]
fn an_alias_without_a_description_gets_none() {
    let mut bare = alias(Some(ACCEPT));
    bare.as_object_mut().unwrap().remove("description");
    let aws = agents(bare);
    let (subject, holds) = (Subject::AgentAlias { arn: ARN.to_owned() }, ["h".to_owned()]);
    RejectAlias.pull(&aws, &order(&subject, &holds)).unwrap();
    assert!(aws.state(|alias| alias.as_ref().unwrap().get("description").is_none()));
}

#[test]
fn what_cannot_be_is_told() {
    let aws = agents(alias(None));
    aws.state(|alias| *alias = None);
    let (subject, holds) = (Subject::AgentAlias { arn: ARN.to_owned() }, ["h".to_owned()]);
    assert!(matches!(RejectAlias.look(&aws, &order(&subject, &holds)), Err(LeverError::Gone { .. })));
    let head = "arn:aws:bedrock:us-east-1:111122223333:";
    for rest in [
        "agent-alias/AGENT12345/TSTALIASID",
        "agent/AGENT12345",
        "agent-alias/AGENT12345",
        "agent-alias/../ALIAS12345",
        "agent-alias/AGENT12345/ALIAS/2345",
    ] {
        assert!(matches!(RejectAlias.fits(&Subject::AgentAlias { arn: format!("{head}{rest}") }), Err(LeverError::Unfit { .. })), "{rest}");
    }
}
