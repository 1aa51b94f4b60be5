//! Roles and users as an emulator of IAM tells them: `tests/live/servers/moto.sh` starts it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../tests/live/servers.rs"]
mod servers;

use std::sync::Arc;

use aws_config::SdkConfig;
use serde_json::json;
use sluice_ingest::aws::{AwsSettings, load};
use sluice_ingest::directory::{Asker, AskerSettings, Wanted};
use sluice_ingest::signed::{Body, Question, SignedClient};
use sluice_schemas::{Clock, SystemClock};

fn config(endpoint: &str) -> SdkConfig {
    let settings = AwsSettings { region: Some("us-east-1".to_owned()), endpoint: Some(endpoint.to_owned()), profile: None };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(load(&settings)).unwrap()
}

/// Escapes a value of a form.
fn escape(text: &str) -> String {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn call(client: &mut SignedClient, action: &str, parameters: &[(&str, &str)]) {
    let more: String = parameters.iter().map(|(name, value)| format!("&{name}={}", escape(value))).collect();
    let body = Body::Form(format!("Action={action}&Version=2010-05-08{more}"));
    let question = Question { host: "iam", service: "iam", region: "us-east-1".to_owned(), global: true, path: "/".to_owned(), body };
    client.ask(&question, SystemClock.now()).unwrap();
}

#[test]
fn roles_and_users_with_tags_and_pins() {
    let Some(server) = servers::start("moto.sh") else { return };
    let config = config(&server.url);
    let mut client = SignedClient::new(&config, None).unwrap();
    let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:role/broker"},
        "Action": ["sts:AssumeRole", "sts:TagSession"], "Condition": {"StringEquals": {"aws:RequestTag/agent": "${aws:username}"}}}]});
    call(&mut client, "CreateRole", &[("RoleName", "triage"), ("Path", "/agents/"), ("AssumeRolePolicyDocument", &trust.to_string())]);
    for key in ["team", "cost center", "a:b"] {
        call(&mut client, "TagRole", &[("RoleName", "triage"), ("Tags.member.1.Key", key), ("Tags.member.1.Value", "é <v>")]);
    }
    call(
        &mut client,
        "CreateUser",
        &[("UserName", "BedrockAPIKey-ab12"), ("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "search")],
    );
    let settings = AskerSettings { per_second: 100, roles: Default::default() };
    let mut asker = Asker::new(config, settings, Arc::new(SystemClock), Arc::default());
    let role = asker.look_up(&Wanted::of_principal("arn:aws:sts::123456789012:assumed-role/triage/s").unwrap(), None).unwrap();
    assert_eq!(
        (role.arn.as_str(), role.pins.tag_keys.as_slice()),
        ("arn:aws:iam::123456789012:role/agents/triage", &["agent".to_owned()][..])
    );
    assert_eq!(role.tags, ["a:b", "cost center", "team"].map(|key| (key.to_owned(), "é <v>".to_owned())));
    let user = asker.look_up(&Wanted::of_principal("arn:aws:iam::123456789012:user/BedrockAPIKey-ab12").unwrap(), None).unwrap();
    assert_eq!(user.tags, [("team".to_owned(), "search".to_owned())]);
    let gone = asker.look_up(&Wanted::of_principal("arn:aws:sts::123456789012:assumed-role/none/s").unwrap(), Some(&role)).unwrap();
    assert!(gone.deleted && gone.name == "triage", "the last that was known of it");
}
