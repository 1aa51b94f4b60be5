//! Every rule of attribution as one line of a table: who called how, and who it is booked to.

mod attribution_support;

use attribution_support::{Caller, attribute, batch, enricher, enricher_with, owners};
use sluice_enrich::{EnrichCache, MetadataKeys};

const AGENTS: &str = r#"
[[agent]]
id = "checkout-bot"
principals = ["arn:aws:iam::123456789012:role/service/Checkout", "arn:aws:iam::123456789012:user/bots/checkout"]
team = "payments"
tags = { cost_center = "4711", env = "prod" }

[[agent]]
id = "planner"
principals = ["arn:aws:sts::123456789012:assumed-role/Shared/*"]
session_names = ["plan-*"]

[[agent]]
id = "writer"
principals = ["arn:aws:iam::123456789012:role/Sha*"]
session_names = ["write-*", "edit"]
team = "docs"

[[agent]]
id = "reader"
principals = ["arn:aws:iam::123456789012:role/Library"]
session_names = ["read-*"]
pinned = true

[[agent]]
id = "indexer"
principals = ["arn:aws:iam::123456789012:role/Library"]

[[agent]]
id = "profiled"
inference_profiles = ["arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/p1"]

[[agent]]
id = "both"
principals = ["arn:aws:iam::123456789012:role/Both"]
inference_profiles = ["arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/p2"]

[[agent]]
id = "left"
principals = ["arn:aws:iam::123456789012:role/Pair"]
inference_profiles = ["arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/pair", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/left"]

[[agent]]
id = "right"
principals = ["arn:aws:iam::123456789012:role/Pair"]
inference_profiles = ["arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/pair"]

[[agent]]
id = "guest"
principals = ["arn:aws:iam::999999999999:role/Guest", "arn:aws-us-gov:iam::123456789012:user/guest"]

[[agent]]
id = "floating"
team = "research"
"#;

const OPEN: &str = "arn:aws:sts::123456789012:assumed-role/Anyone/run-7";
const CHECKOUT: &str = "arn:aws:sts::123456789012:assumed-role/Checkout/run-7";
const NOVA: &str = "amazon.nova-lite-v1:0";

fn call(arn: &str, model: &str, metadata: &str) -> Caller {
    Caller { arn: arn.to_owned(), model: model.to_owned(), metadata: metadata.to_owned() }
}

fn role(name: &str, session: &str) -> String {
    format!("arn:aws:sts::123456789012:assumed-role/{name}/{session}")
}

fn profile(id: &str) -> String {
    format!("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/{id}")
}

/// Caller, and the expected agent, session, team and tags.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a str, &'a str);

fn check(rows: &[Row<'_>]) {
    let callers: Vec<_> = rows.iter().map(|(arn, model, metadata, ..)| call(arn, model, metadata)).collect();
    for (shown, (row, caller)) in attribute(&enricher(AGENTS), &callers).iter().zip(rows.iter().zip(&callers)) {
        let (_, _, _, agent, session, team, tags) = *row;
        assert_eq!((&*shown.agent, &*shown.session, &*shown.team, &*shown.tags), (agent, session, team, tags), "{caller:?}");
    }
}

#[test]
fn open_principals() {
    let none = "run-7 session_name 2";
    check(&[
        (OPEN, NOVA, "", "unattributed none 0 unattributed", none, "", ""),
        (OPEN, NOVA, "{}", "unattributed none 0 unattributed", none, "", ""),
        (OPEN, NOVA, r#"{"agent_id":"demo"}"#, "demo metadata:agent_id 1 unverified", none, "", ""),
        (OPEN, NOVA, r#"{"agentId":"demo","agent":"first"}"#, "first metadata:agent 1 unverified", none, "", "agentId=demo"),
        // Bound to no principal, so anyone may be it; what the file knows about it holds.
        (OPEN, NOVA, r#"{"agent_id":"floating"}"#, "floating metadata:agent_id 1 unverified", none, "research", ""),
        // Registered on a principal that this is not: refused, though nobody is registered here.
        (
            OPEN,
            NOVA,
            r#"{"agent_id":"checkout-bot","session_id":"s9","team":"payments","x":"y"}"#,
            "spoofed:Anyone metadata:agent_id 1 spoofed",
            none,
            "",
            "claimed_agent=checkout-bot,claimed_session=s9,claimed_team=payments,x=y",
        ),
        (OPEN, NOVA, r#"{"agent_id":"profiled"}"#, "spoofed:Anyone metadata:agent_id 1 spoofed", none, "", "claimed_agent=profiled"),
        // A role session named like an agent says nothing where nobody is registered.
        (&role("Anyone", "checkout-bot"), NOVA, "", "unattributed none 0 unattributed", "checkout-bot session_name 2", "", ""),
    ]);
}

#[test]
fn refused_names() {
    let none = "run-7 session_name 2";
    let long = "x".repeat(257);
    let (long_claim, long_tag) = (format!(r#"{{"agent":"{long}"}}"#), format!("claimed_agent={long}"));
    check(&[
        (OPEN, NOVA, r#"{"agent":"unattributed"}"#, "spoofed:Anyone metadata:agent 1 spoofed", none, "", "claimed_agent=unattributed"),
        (OPEN, NOVA, r#"{"agent":"Unattributed"}"#, "spoofed:Anyone metadata:agent 1 spoofed", none, "", "claimed_agent=Unattributed"),
        (OPEN, NOVA, r#"{"agent":"spoofed:Anyone"}"#, "spoofed:Anyone metadata:agent 1 spoofed", none, "", "claimed_agent=spoofed:Anyone"),
        (OPEN, NOVA, r#"{"agent":"spoofed:Bob"}"#, "spoofed:Anyone metadata:agent 1 spoofed", none, "", "claimed_agent=spoofed:Bob"),
        (OPEN, NOVA, r#"{"agent":"a\u202eb"}"#, "unattributed metadata:invalid 0 unattributed", none, "", "claimed_agent=a\\u{202e}b"),
        (OPEN, NOVA, r#"{"agent":"a\nb"}"#, "unattributed metadata:invalid 0 unattributed", none, "", "claimed_agent=a\\u{a}b"),
        (OPEN, NOVA, r#"{"agent":"a "}"#, "unattributed metadata:invalid 0 unattributed", none, "", "claimed_agent=a "),
        (OPEN, NOVA, &long_claim, "unattributed metadata:invalid 0 unattributed", none, "", &long_tag),
        (OPEN, NOVA, r#"{"agent":"a","agent":"b"}"#, "unattributed metadata:invalid 0 unattributed", none, "", ""),
        (OPEN, NOVA, "not json", "unattributed metadata:invalid 0 unattributed", none, "", ""),
        // On a closed principal an unreadable claim is none.
        (
            CHECKOUT,
            NOVA,
            r#"{"agent":"a\u0000"}"#,
            "checkout-bot principal 4 verified",
            none,
            "payments",
            "claimed_agent=a\\u{0},cost_center=4711,env=prod",
        ),
    ]);
}

#[test]
fn closed_principals_of_one_agent() {
    let (none, tags) = ("run-7 session_name 2", "cost_center=4711,env=prod");
    check(&[
        (CHECKOUT, NOVA, "", "checkout-bot principal 4 verified", none, "payments", tags),
        (CHECKOUT, NOVA, r#"{"agent":"checkout-bot"}"#, "checkout-bot principal 4 verified", none, "payments", tags),
        (CHECKOUT, NOVA, r#"{"agent":"demo"}"#, "spoofed:Checkout metadata:agent 1 spoofed", none, "", "claimed_agent=demo"),
        (CHECKOUT, NOVA, r#"{"agent":"floating"}"#, "spoofed:Checkout metadata:agent 1 spoofed", none, "", "claimed_agent=floating"),
        (
            CHECKOUT,
            NOVA,
            r#"{"agent":"Checkout-Bot"}"#,
            "spoofed:Checkout metadata:agent 1 spoofed",
            none,
            "",
            "claimed_agent=Checkout-Bot",
        ),
        // Role names are one without regard to case.
        (&role("CHECKOUT", "run-7"), NOVA, "", "checkout-bot principal 4 verified", none, "payments", tags),
        ("arn:aws:iam::123456789012:user/x/checkout", NOVA, "", "checkout-bot principal 4 verified", "", "payments", tags),
        (
            "arn:aws:iam::123456789012:user/checkout",
            NOVA,
            r#"{"agent":"planner"}"#,
            "spoofed:checkout metadata:agent 1 spoofed",
            "",
            "",
            "claimed_agent=planner",
        ),
        // Another account, another partition and another kind of principal are other principals.
        ("arn:aws:sts::210987654321:assumed-role/Checkout/run-7", NOVA, "", "unattributed none 0 unattributed", none, "", ""),
        ("arn:aws-cn:sts::123456789012:assumed-role/Checkout/run-7", NOVA, "", "unattributed none 0 unattributed", none, "", ""),
        ("arn:aws:iam::123456789012:user/Library", NOVA, "", "unattributed none 0 unattributed", "", "", ""),
    ]);
}

#[test]
fn principals_of_other_accounts_and_partitions() {
    let row = |arn| (arn, NOVA, "", "guest principal 4 verified", "", "", "");
    let (_, _, _, agent, _, team, tags) = row("");
    check(&[
        // The calls are of account 123456789012; the principal's own account is what it is registered with.
        ("arn:aws:sts::999999999999:assumed-role/Guest/run-7", NOVA, "", agent, "run-7 session_name 2", team, tags),
        row("arn:aws-us-gov:iam::123456789012:user/guest"),
        ("arn:aws:iam::123456789012:user/guest", NOVA, "", "unattributed none 0 unattributed", "", "", ""),
    ]);
}

#[test]
fn closed_principals_of_several_agents() {
    check(&[
        (&role("Shared", "x"), NOVA, "", "unattributed none 0 unattributed", "x session_name 2", "", ""),
        (&role("Shared", "plan-1"), NOVA, "", "planner session_name 2 verified", "plan-1 session_name 2", "", ""),
        (&role("Shared", "edit"), NOVA, "", "writer session_name 2 verified", "edit session_name 2", "docs", ""),
        // The call's own word is more specific than a session name that anyone on the role may choose, but nothing bears it out:
        // among the agents of a principal it is the caller who chooses.
        (&role("Shared", "x"), NOVA, r#"{"agent":"planner"}"#, "planner metadata:agent 1 unverified", "x session_name 2", "", ""),
        (&role("Shared", "plan-1"), NOVA, r#"{"agent":"planner"}"#, "planner session_name 2 verified", "plan-1 session_name 2", "", ""),
        (
            &role("Shared", "plan-1"),
            NOVA,
            r#"{"agent":"writer"}"#,
            "writer metadata:agent 1 unverified",
            "plan-1 session_name 2",
            "docs",
            "",
        ),
        (
            &role("Shared", "plan-1"),
            NOVA,
            r#"{"agent":"reader"}"#,
            "spoofed:Shared metadata:agent 1 spoofed",
            "plan-1 session_name 2",
            "",
            "claimed_agent=reader",
        ),
        // A pinned session name decides, and a claim against it is refused.
        (&role("Library", "read-1"), NOVA, "", "reader session_name 3 verified", "read-1 session_name 2", "", ""),
        (&role("Library", "read-1"), NOVA, r#"{"agent":"reader"}"#, "reader session_name 3 verified", "read-1 session_name 2", "", ""),
        (
            &role("Library", "read-1"),
            NOVA,
            r#"{"agent":"indexer"}"#,
            "spoofed:Library metadata:agent 1 spoofed",
            "read-1 session_name 2",
            "",
            "claimed_agent=indexer",
        ),
        (
            &role("Library", "x"),
            NOVA,
            r#"{"agent":"reader"}"#,
            "spoofed:Library metadata:agent 1 spoofed",
            "x session_name 2",
            "",
            "claimed_agent=reader",
        ),
        // Without session names of its own an agent is known by a session named like it.
        (&role("Library", "indexer"), NOVA, "", "indexer session_name 2 verified", "indexer session_name 2", "", ""),
        (&role("Library", "x"), NOVA, "", "unattributed none 0 unattributed", "x session_name 2", "", ""),
    ]);
}

#[test]
fn inference_profiles() {
    let none = "run-7 session_name 2";
    check(&[
        (OPEN, &profile("p1"), "", "profiled inference_profile 4 verified", none, "", ""),
        (OPEN, &profile("p1"), r#"{"agent":"profiled"}"#, "profiled inference_profile 4 verified", none, "", ""),
        (OPEN, &profile("p1"), r#"{"agent":"demo"}"#, "spoofed:Anyone metadata:agent 1 spoofed", none, "", "claimed_agent=demo"),
        (OPEN, &profile("unknown"), r#"{"agent":"demo"}"#, "demo metadata:agent 1 unverified", none, "", ""),
        // Another's profile, and a profile whose agent has principals, on a principal that is not one of them.
        (CHECKOUT, &profile("p1"), "", "spoofed:Checkout inference_profile 4 spoofed", none, "", "claimed_agent=profiled"),
        (OPEN, &profile("p2"), "", "spoofed:Anyone inference_profile 4 spoofed", none, "", "claimed_agent=both"),
        (OPEN, &profile("p2"), r#"{"agent":"both"}"#, "spoofed:Anyone metadata:agent 1 spoofed", none, "", "claimed_agent=both"),
        (&role("Both", "run-7"), &profile("p2"), "", "both inference_profile 4 verified", none, "", ""),
        // A shared profile names nobody; one of their own tells the agents of a principal apart.
        (&role("Pair", "run-7"), &profile("pair"), "", "unattributed none 0 unattributed", none, "", ""),
        (&role("Pair", "right"), &profile("pair"), "", "right session_name 2 verified", "right session_name 2", "", ""),
        (&role("Pair", "right"), &profile("left"), "", "left inference_profile 4 verified", "right session_name 2", "", ""),
        (
            &role("Pair", "run-7"),
            &profile("left"),
            r#"{"agent":"right"}"#,
            "spoofed:Pair metadata:agent 1 spoofed",
            none,
            "",
            "claimed_agent=right",
        ),
    ]);
}

#[test]
fn sessions() {
    let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let core = role("Anyone", &format!("BedrockAgentCore-{uuid}"));
    let by_core = format!("{uuid} agentcore_session 3");
    let nobody = "unattributed none 0 unattributed";
    check(&[
        (OPEN, NOVA, r#"{"session_id":"s1"}"#, nobody, "s1 metadata:session_id 1", "", ""),
        (OPEN, NOVA, r#"{"sessionId":"s2","session":"s1"}"#, nobody, "s1 metadata:session 1", "", "sessionId=s2"),
        (OPEN, NOVA, r#"{"session":"s\t1"}"#, nobody, "run-7 session_name 2", "", "claimed_session=s\\u{9}1"),
        (&core, NOVA, "", nobody, &by_core, "", ""),
        (&core, NOVA, r#"{"session_id":"s1"}"#, nobody, &by_core, "", "claimed_session=s1"),
        (&role("Anyone", "BedrockAgentCore-x"), NOVA, r#"{"session_id":"s1"}"#, nobody, "s1 metadata:session_id 1", "", ""),
        ("arn:aws:iam::123456789012:user/alice", NOVA, "", nobody, "", "", ""),
        ("arn:aws:iam::123456789012:user/alice", NOVA, r#"{"session":"s1"}"#, nobody, "s1 metadata:session 1", "", ""),
        ("arn:aws:iam::123456789012:root", NOVA, "", nobody, "", "", ""),
        ("arn:aws:sts::123456789012:federated-user/bob", NOVA, "", nobody, "", "", ""),
    ]);
}

#[test]
fn teams_and_tags() {
    let none = "run-7 session_name 2";
    check(&[
        (OPEN, NOVA, r#"{"team":"red"}"#, "unattributed none 0 unattributed", none, "red", ""),
        (OPEN, NOVA, r#"{"team_id":"red","agent":"demo"}"#, "demo metadata:agent 1 unverified", none, "red", ""),
        (OPEN, NOVA, r#"{"team":"r\u0007"}"#, "unattributed none 0 unattributed", none, "", "claimed_team=r\\u{7}"),
        // The agents file knows better than the caller.
        (
            CHECKOUT,
            NOVA,
            r#"{"team":"red","env":"dev","zone":"b","a\u200b":"c"}"#,
            "checkout-bot principal 4 verified",
            none,
            "payments",
            "a\\u{200b}=c,claimed_team=red,cost_center=4711,env=prod,zone=b",
        ),
        (CHECKOUT, NOVA, r#"{"team":"payments"}"#, "checkout-bot principal 4 verified", none, "payments", "cost_center=4711,env=prod"),
        // The caller cannot write the tags that keep refused claims.
        (OPEN, NOVA, r#"{"claimed_agent":"writer","x":"y"}"#, "unattributed none 0 unattributed", none, "", "x=y"),
        (
            OPEN,
            NOVA,
            r#"{"agent":"planner","claimed_agent":"writer"}"#,
            "spoofed:Anyone metadata:agent 1 spoofed",
            none,
            "",
            "claimed_agent=planner",
        ),
    ]);
}

#[test]
fn malformed_identities() {
    let nobody = "unattributed none 0 unattributed";
    check(&[
        ("", NOVA, "", nobody, "", "", ""),
        ("nonsense", NOVA, r#"{"agent":"demo"}"#, "demo metadata:agent 1 unverified", "", "", ""),
        ("nonsense", NOVA, r#"{"agent":"planner"}"#, "spoofed:unknown metadata:agent 1 spoofed", "", "", "claimed_agent=planner"),
        ("arn:aws:sts::123456789012:assumed-role/a/b/c", NOVA, "", nobody, "", "", ""),
    ]);
}

#[test]
fn roles_and_sessions_of_the_log() {
    let callers =
        [CHECKOUT, "arn:aws:iam::123456789012:user/checkout", "arn:aws:iam::123456789012:root", "x"].map(|arn| call(arn, NOVA, ""));
    let roles: Vec<_> = attribute(&enricher(AGENTS), &callers).into_iter().map(|shown| shown.role).collect();
    assert_eq!(roles, ["Checkout/run-7", "", "", ""]);
}

#[test]
fn own_metadata_keys() {
    let keys = MetadataKeys { agent: vec!["bot".to_owned()], session: Vec::new(), team: vec!["squad".to_owned()] };
    let callers = [call(OPEN, NOVA, r#"{"bot":"b","agent_id":"a","session_id":"s","squad":"blue"}"#)];
    let shown = &attribute(&enricher_with("", keys), &callers)[0];
    assert_eq!((&*shown.agent, &*shown.session), ("b metadata:bot 1 unverified", "run-7 session_name 2"));
    assert_eq!((&*shown.team, &*shown.tags), ("blue", "agent_id=a,session_id=s"));
}

#[test]
fn a_cache_of_other_agents_is_not_believed() {
    let callers = [call(CHECKOUT, NOVA, "")];
    let mut cache = EnrichCache::default();
    let first = owners(&enricher(AGENTS).enrich(batch(&callers), &mut cache));
    let second = owners(&enricher("").enrich(batch(&callers), &mut cache));
    assert_eq!((&*first[0].agent, &*second[0].agent), ("checkout-bot principal 4 verified", "unattributed none 0 unattributed"));
}
