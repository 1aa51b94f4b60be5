//! Faults of rules files, each with its line and a fix.

use super::super::{Rules, RulesError};

fn faults(text: &str) -> Vec<String> {
    match Rules::parse(text) {
        Err(RulesError::Faults { faults }) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn every_mistake_is_told_with_its_line_and_a_fix() {
    let head = "[[rule]]\n";
    for (rule, fault) in [
        ("match = { rol = 'A' }\nagent = 'a'", "line 2: rule '1': unknown field 'rol': did you mean 'role'?"),
        ("agent = 'a'", "line 1: rule '1': matches on nothing: give it a match = { role = \"…\" }"),
        ("match = { role = 'A' }", "line 1: rule '1': says nothing: give it an agent, a session, a team or tags"),
        (
            "match = { role = 'A-{x}' }\nagent = '{y}'",
            "line 1: rule '1': 'agent' uses '{y}', which its match does not capture: it captures {x}",
        ),
        (
            "match = { role = 'A' }\nagent = '{y}'",
            "line 1: rule '1': 'agent' uses '{y}', which its match does not capture: write {…} into a pattern of match",
        ),
        ("match = { role = '{x}', session_name = '{x}' }\nagent = '{x}'", "line 2: rule '1': captures '{x}' twice: give one another name"),
        ("match = { role = 'A{' }\nagent = 'a'", "line 2: rule '1': 'role' has a '{' or '}' without its other half"),
        (
            "match = { role = 'arn:aws:iam::1:role/A' }\nagent = 'a'",
            "line 2: rule '1': 'role' can match nothing: write the name alone, without ARN and path, of at most 64 letters, digits and +=,.@-_",
        ),
        ("match = { account = '123' }\nagent = 'a'", "line 2: rule '1': 'account' can match nothing: an account id has 12 digits"),
        (
            "match = { user = 'u', session_name = 'sss' }\nagent = 'a'",
            "line 1: rule '1': 'user' can match nothing: a user has no role, session name or source identity: make two rules of it",
        ),
        (
            "match = { model = 'amazon.nova-lite-v1:0', 'aws:ResourceTag/x' = 'y' }\nagent = 'a'",
            "line 1: rule '1': 'model' can match nothing: only calls through an application inference profile have aws:ResourceTag: leave model out or name the profile's ARN",
        ),
        ("match = { role = 'A' }\nagent = 'unattributed'", "line 3: rule '1': agent 'unattributed' is reserved"),
        (
            "match = { role = 'A' }\ntags = { 'aws:x' = 'a' }",
            "line 3: rule '1': tag 'aws:x' is written by attribution itself: choose another key",
        ),
        ("match = { role = 7 }\nagent = 'a'", "line 2: rule '1': 'role' must be a text"),
        ("name = 'n'\nmatch = 'x'\nagent = 'a'", "line 3: rule 'n': 'match' must be a table, like { role = \"Name*\" }"),
        (
            "match = { role = 'A' }\nagents = 'a'\nagent = 'a'",
            "line 3: rule '1': unknown key 'agents': a rule has name, match, agent, session, team and tags",
        ),
        (
            "match = { source_identity = 'ab', 'aws:SourceIdentity' = 'ab' }\nagent = 'a'",
            "line 2: rule '1': 'source_identity' is matched twice: keep one",
        ),
        ("match = { 'metadata/' = 'x' }\nagent = 'a'", "line 2: rule '1': 'metadata/' lacks its key: write metadata/<key>"),
        (
            "match = { operation = 'Convers' }\nagent = 'a'",
            "line 2: rule '1': 'operation' can match nothing: no call has 'Convers': did you mean 'Converse'?",
        ),
        (
            "match = { region = 'us-east-99x' }\nagent = 'a'",
            "line 2: rule '1': 'region' can match nothing: a region is written like us-east-1",
        ),
        (
            "match = { model = 'claude' }\nagent = 'a'",
            "line 2: rule '1': 'model' can match nothing: it is the whole model id, like anthropic.claude-…, or an ARN: write '*' around a part of it",
        ),
    ] {
        assert_eq!(faults(&format!("{head}{rule}\n")), [fault], "{rule}");
    }
    assert_eq!(faults("rules = 1"), ["line 1: unknown key 'rules': a rule has name, match, agent, session, team and tags"]);
    assert!(matches!(Rules::parse("[[rule"), Err(RulesError::Syntax(_))));
}

#[test]
fn a_rule_behind_a_wider_one_is_told() {
    let rules = |earlier: &str, later: &str| {
        format!("[[rule]]\nname = 'wide'\nmatch = {{ {earlier} }}\nagent = 'a'\n\n[[rule]]\nmatch = {{ {later} }}\nagent = 'b'\n")
    };
    let unreachable = ["line 6: rule '2': is never reached: rule 'wide' in line 1 matches all that it would; put this one before it"];
    assert_eq!(faults(&rules("role = 'A*'", "role = 'AB', session_name = 'sss'")), unreachable);
    assert_eq!(faults(&rules("role = 'a*'", "role = 'AB'")), unreachable);
    assert!(Rules::parse(&rules("role = 'A*', session_name = 'x*'", "role = 'AB'")).is_ok());
    assert!(Rules::parse(&rules("role = 'AB'", "role = 'A*'")).is_ok());
}

#[test]
fn what_may_match_is_let_be() {
    for fields in [
        "operation = 'Rerank'",
        "operation = 'Convers*'",
        "region = 'us-isob-east-1'",
        "region = 'us-gov-*'",
        "model = '*claude*'",
        "model = 'us.anthropic.claude-sonnet-4-5-20250929-v1:0'",
        "model = 'arn:aws:bedrock:us-east-1:111122223333:imported-model/a'",
    ] {
        let rule = format!("[[rule]]\nmatch = {{ {fields} }}\nagent = 'a'\n");
        assert!(Rules::parse(&rule).is_ok(), "{fields}");
    }
}

#[test]
fn a_name_is_of_one_rule() {
    let rule = |name: &str, role: &str| format!("[[rule]]\n{name}match = {{ role = '{role}' }}\nagent = 'a'\n");
    let twice = faults(&(rule("name = 'd'\n", "A") + &rule("name = 'd'\n", "B")));
    assert_eq!(
        twice,
        ["line 5: rule 'd': the rule in line 1 has the same name: give one another name, or nothing tells which of them named an agent"]
    );
    // A rule without a name is called by its number.
    assert_eq!(faults(&(rule("name = '2'\n", "A") + &rule("", "B"))).len(), 1);
    assert!(Rules::parse(&(rule("", "A") + &rule("", "B"))).is_ok());
}

#[test]
fn all_faults_at_once() {
    let text = "[[rule]]\nmatch = { rol = 'A' }\nagent = 'a'\n[[rule]]\nmatch = { role = '**' }\nteam = '{x}'\n";
    assert_eq!(faults(text).len(), 3);
}
