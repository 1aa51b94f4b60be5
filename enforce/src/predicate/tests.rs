//! The predicate agrees with SQL.

use proptest::prelude::*;
use sluice_schemas::ServiceTier;

use super::*;

fn row_of(agent: &str, team: &str, tags: &[(&str, &str)]) -> EnrichedBatch {
    let mut batch = EnrichedBatch::default();
    let strings = &mut batch.batch.strings;
    let profile = Profile { account_id: strings.intern("111122223333"), service_tier: ServiceTier::Flex, ..Profile::default() };
    let tags = tags.iter().map(|(key, value)| (strings.intern(key), strings.intern(value))).collect();
    let owner = Owner { agent_id: strings.intern(agent), team: strings.intern(team), tags, ..Owner::default() };
    batch.batch.profiles.push(profile);
    batch.owners.push(owner);
    batch
}

fn truth(text: &str, batch: &EnrichedBatch) -> Option<bool> {
    let predicate = Predicate::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let row = Row { batch, profile: &batch.batch.profiles[0], owner: &batch.owners[0], model: Sym::EMPTY, scope: Sym::EMPTY };
    let value = eval(&predicate.root, &row);
    assert_eq!(predicate.keeps(&row), value == Some(true));
    value
}

#[test]
fn three_valued_logic() {
    let batch = row_of("checkout-bot", "", &[("env", "prod"), ("empty", "")]);
    let cases: &[(&str, Option<bool>)] = &[
        ("agent_id = 'checkout-bot'", Some(true)),
        ("'checkout-bot' = AGENT_ID", Some(true)),
        ("agent_id <> 'x'", Some(true)),
        ("agent_id != 'checkout-bot'", Some(false)),
        // An absent team is NULL: neither equal nor unequal to anything.
        ("team = 'checkout'", None),
        ("team <> 'checkout'", None),
        ("NOT team = 'checkout'", None),
        ("team = team", None),
        ("team = NULL", None),
        ("agent_id = NULL", None),
        ("team IS NULL", Some(true)),
        ("team IS NOT NULL", Some(false)),
        ("NULL IS NULL", Some(true)),
        ("team IS NULL OR team = 'x'", Some(true)),
        ("team = 'x' OR agent_id = 'checkout-bot'", Some(true)),
        ("team = 'x' AND agent_id = 'checkout-bot'", None),
        ("team = 'x' AND agent_id = 'no'", Some(false)),
        ("team = 'x' OR agent_id = 'no'", None),
        ("agent_id IN ('a', 'checkout-bot')", Some(true)),
        ("agent_id IN ('a', NULL)", None),
        ("agent_id IN ('checkout-bot', NULL)", Some(true)),
        ("agent_id NOT IN ('a', 'b')", Some(true)),
        ("agent_id NOT IN ('a', NULL)", None),
        ("agent_id NOT IN ('checkout-bot', NULL)", Some(false)),
        ("team IN ('a')", None),
        ("team NOT IN ('a')", None),
        ("agent_id LIKE 'checkout-%'", Some(true)),
        ("agent_id LIKE '%bot'", Some(true)),
        ("agent_id LIKE 'checkout_bot'", Some(true)),
        ("agent_id LIKE 'checkout\\_bot'", Some(false)),
        ("agent_id LIKE 'Checkout%'", Some(false)),
        ("agent_id NOT LIKE '%x%'", Some(true)),
        ("agent_id LIKE NULL", None),
        ("team LIKE '%'", None),
        ("NOT (agent_id = 'a' OR agent_id = 'b')", Some(true)),
        ("service_tier = 'flex'", Some(true)),
        ("agent_status = 'unattributed'", Some(true)),
        ("tags['env'] = 'prod'", Some(true)),
        ("tags['ENV'] = 'prod'", None),
        ("tags['empty'] = ''", Some(true)),
        ("tags['nope'] IS NULL", Some(true)),
        ("agent_id = 'it''s'", Some(false)),
    ];
    for (text, expected) in cases {
        assert_eq!(truth(text, &batch), *expected, "{text}");
    }
}

#[test]
fn refusals_say_what_to_write_instead() {
    let error = |text: &str| match Predicate::parse(text) {
        Ok(_) => panic!("{text} is accepted"),
        Err(error) => error.to_string(),
    };
    assert!(
        error("team = \"checkout\"").starts_with("unknown column 'checkout' (text is written in single quotes); known are account_id,")
    );
    assert!(error("cost_usd > 5").contains("not supported") || error("cost_usd > 5").contains("belongs to one call"));
    assert!(error("cost_usd = '5'").contains("'cost_usd' belongs to one call"));
    assert!(error("input_tokens IS NULL").contains("'input_tokens' belongs to one call"));
    for text in [
        "",
        "team",
        "team =",
        "team = 'a' team",
        "team = 'a'; DROP TABLE calls",
        "team > 'a'",
        "team = 5",
        "team BETWEEN 'a' AND 'b'",
        "lower(team) = 'a'",
        "team IN (SELECT 'a')",
        "team ILIKE 'a'",
        "team LIKE agent_id",
        "team LIKE 'a!%' ESCAPE '!'",
        "calls.team = 'a'",
        "tags['a']['b'] = 'c'",
        "tags[1] = 'c'",
        "tags = 'c'",
        "team['a'] = 'c'",
        "1 = 1",
        "'a' || 'b' = team",
        "CASE WHEN team = 'a' THEN TRUE END",
        "NOT team",
    ] {
        error(text);
    }
    assert!(error(&"(".repeat(5000)).contains("longer than"));
    error(&format!("{}team = 'a'{}", "(".repeat(2000), ")".repeat(2000)));
    error(&"NOT ".repeat(1000));
}

#[test]
fn long_chains_are_fine() {
    let text = vec!["team = 'a'"; 250].join(" OR ");
    assert_eq!(truth(&text, &row_of("x", "a", &[])), Some(true));
}

/// The same by trying every way to split the text.
fn naive_like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|skip| naive_like(&text[skip..], rest)),
        Some(('_', rest)) => !text.is_empty() && naive_like(&text[1..], rest),
        Some((char, rest)) => text.first() == Some(char) && naive_like(&text[1..], rest),
    }
}

proptest! {
    #[test]
    fn like_agrees_with_its_definition(text in "[abü]{0,10}", pattern in "[abü%_]{0,8}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(like(&text, &pieces(&pattern)), naive_like(&chars(&text), &chars(&pattern)));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        // A panic would fail the test.
        drop(Predicate::parse(&text));
    }
}

/// Columns are read by their place in the list of names: each name must give its own text.
#[test]
fn every_column_is_read_under_its_own_name() {
    let mut batch = EnrichedBatch::default();
    let strings = &mut batch.batch.strings;
    let mut sym = |name: &str| strings.intern(name);
    let profile = Profile {
        account_id: sym("account_id"),
        region: sym("region"),
        inference_region: sym("inference_region"),
        operation: sym("operation"),
        model_id: sym("model_id"),
        principal_arn: sym("principal_arn"),
        error_code: sym("error_code"),
        metadata: sym("metadata"),
        ..Profile::default()
    };
    let owner = Owner {
        role: sym("role"),
        role_session_name: sym("role_session_name"),
        agent_id: sym("agent_id"),
        agent_evidence: sym("agent_evidence"),
        session_id: sym("session_id"),
        session_evidence: sym("session_evidence"),
        team: sym("team"),
        ..Owner::default()
    };
    let (model, scope) = (sym("model"), sym("price_scope"));
    let row = Row { batch: &batch, profile: &profile, owner: &owner, model, scope };
    for name in CALL_TEXTS {
        let text = row.text(TextColumn::parse(name).expect("a column"));
        match name {
            "service_tier" => assert_eq!(text, Some(profile.service_tier.as_str())),
            "agent_status" => assert_eq!(text, Some(owner.agent_status.as_str())),
            _ => assert_eq!(text, Some(name)),
        }
    }
    assert_eq!(row.text(TextColumn(CALL_TEXTS.len())), None);
}
