//! The agents file: what it accepts, and that it names every fault at once.

use sluice_enrich::{AgentsError, AgentsFile};
use sluice_schemas::{ErrorClass, PicoUsd};

const ROLE: &str = "arn:aws:iam::123456789012:role";

#[test]
fn reads_every_field() {
    let file = AgentsFile::parse(&format!(
        r#"
        [[agent]]
        id = "checkout-bot"
        principals = ["{ROLE}/Checkout*"]
        inference_profiles = ["arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6"]
        session_names = ["checkout-*"]
        pinned = true
        team = "checkout"
        limit = "25.00 USD"
        tags = {{ cost_center = "4711" }}
        [[agent]]
        id = "planner"
        principals = ["{ROLE}/Checkout-EU"]
        "#
    ))
    .expect("valid");
    assert_eq!(file.agents().map(|agent| agent.id.as_str()).collect::<Vec<_>>(), ["checkout-bot", "planner"]);
    assert_eq!((file.limit("checkout-bot"), file.limit("planner"), file.limit("?")), (Some(PicoUsd::from_dollars(25)), None, None));
    let on = |arn: &str| file.registered_on(arn).iter().map(|agent| agent.id.as_str()).collect::<Vec<_>>();
    assert_eq!(on("arn:aws:sts::123456789012:assumed-role/Checkout-EU/x"), ["checkout-bot", "planner"]);
    assert_eq!(on("arn:aws:sts::123456789012:assumed-role/checkout/x"), ["checkout-bot"]);
    assert_eq!(on("arn:aws:sts::123456789012:assumed-role/Other/x"), [""; 0]);
    assert_eq!(on("nonsense"), [""; 0]);
}

#[test]
fn versions_follow_the_text() {
    let version = |text: &str| AgentsFile::parse(text).expect("valid").version();
    assert_eq!(version("[[agent]]\nid = 'a'"), version("[[agent]]\nid = 'a'"));
    assert_ne!(version("[[agent]]\nid = 'a'"), version("[[agent]]\nid = 'b'"));
    assert_eq!(version("").len(), 12);
    assert_eq!(AgentsFile::empty().version(), "none");
    assert_eq!(AgentsFile::empty().agents().len(), 0);
}

#[test]
fn all_faults_at_once() {
    let text = format!(
        r#"
        owner = "me"
        [[agent]]
        id = ""
        [[agent]]
        id = "spoofed:a"
        principals = ["{ROLE}/path/A*", "{ROLE}/B", "{ROLE}/p/b", "B", "arn:aws:sts::123456789012:assumed-role/B/s"]
        [[agent]]
        principal = "{ROLE}/C"
        [[agent]]
        id = "d"
        inference_profiles = ["arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0"]
        session_names = ["x y", "z", "z"]
        limit = "25"
        team = ""
        [[agent]]
        id = "d"
        pinned = true
        limit = "much"
        tags = {{ claimed_agent = "x", "a\u0007" = "b" }}
        "#
    );
    let error = AgentsFile::parse(&text).expect_err("faults");
    assert_eq!(error.class(), ErrorClass::Misconfigured);
    let AgentsError::Faults { faults } = error else { panic!("{error}") };
    let shown: Vec<_> = faults.iter().map(ToString::to_string).collect();
    let expected = [
        "agent : an id has 1 to 128 visible characters",
        "agent spoofed:a: 'unattributed' and 'spoofed:' are reserved",
        "agent spoofed:a: principal 'arn:aws:iam::123456789012:role/path/A*': logs do not hold the path of a role, so a name with '*' cannot be limited by one",
        "agent spoofed:a: 'arn:aws:iam::123456789012:role/p/b' occurs twice in principals",
        "agent spoofed:a: principal 'B': write it like arn:aws:iam::123456789012:role/Name",
        "agent spoofed:a: principal 'arn:aws:sts::123456789012:assumed-role/B/s': name the role here, and its sessions in session_names",
        "agent #3: unknown field `principal`",
        "agent d: 'z' occurs twice in session_names",
        "agent d: inference profile 'arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0': write it like",
        "agent d: session name 'x y' cannot occur",
        "agent d: session_names need principals",
        "agent d: a team has 1 to 256 visible characters",
        "agent d: limit '25' must be above zero and name its currency, like \"25.00 USD\"",
        "agent d: occurs twice",
        "agent d: pinned needs session_names",
        "agent d: tag 'a\u{7}' has invisible characters",
        "agent d: tag 'claimed_agent' has invisible characters",
        "agent d: limit: 'much' is not an amount",
        "unknown key 'owner'",
    ];
    assert_eq!(shown.len(), expected.len(), "{shown:#?}");
    for (shown, expected) in shown.iter().zip(expected) {
        assert!(shown.starts_with(expected), "{shown}\nis not\n{expected}");
    }
}

#[test]
fn a_text_that_is_not_toml_is_refused() {
    for text in ["[[agent]", "agent = 1\nagent = 2", "id"] {
        assert!(matches!(AgentsFile::parse(text), Err(AgentsError::Syntax(_))), "{text}");
    }
    assert!(matches!(AgentsFile::parse("agent = 7"), Err(AgentsError::Faults { .. })));
}
