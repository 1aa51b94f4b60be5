//! The reference has every key that a section takes and no other, and the page made from it is the one that is committed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::{Origin, Reader, raw};

/// A key that no section has.
const PROBE: &str = "zz_none";

fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let origin = Origin { file: Some(PathBuf::from("/etc/sluice/sluice.toml").into()), lake: Some("/lake".into()) };
    raw::validate(text.parse().unwrap(), &origin, &mut Reader::default(), &mut faults);
    faults
}

/// Returns the keys that a section takes, as the refusal of another one lists them.
fn accepted(text: &str) -> BTreeSet<String> {
    let told = faults(text).join("\n");
    let (_, list) = told.split_once(&format!("unknown field `{PROBE}`, expected")).unwrap_or_else(|| panic!("{text}: {told}"));
    let list = list.split('\n').next().unwrap().split(" in `").next().unwrap();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns the keys of all tables of a name and, if any, a kind, and the tables below it.
fn documented(name: &str, kind: Option<&str>) -> BTreeSet<String> {
    let quoted = kind.map(|kind| format!("\"{kind}\""));
    let is_kind =
        |section: &&Section| quoted.as_ref().is_none_or(|kind| section.keys.iter().any(|key| key.name == "kind" && key.value == *kind));
    let sections = sections();
    let own = sections.iter().filter(|section| section.name == name).filter(is_kind);
    let below = sections.iter().filter_map(|section| section.name.strip_prefix(name)?.strip_prefix('.'));
    own.flat_map(|section| section.keys.iter().map(|key| key.name.clone())).chain(below.map(str::to_owned)).collect()
}

#[test]
fn every_key_that_is_taken_is_in_the_reference_and_no_other() {
    for (name, text) in [
        ("lake", "[lake]"),
        ("lake.retention", "[lake.retention]"),
        ("files", "[files]"),
        ("personal", "[personal]"),
        ("cloudtrail", "[cloudtrail]"),
        ("enrich", "[enrich]"),
        ("enrich.metadata", "[enrich.metadata]"),
        ("enrich.discount", "[[enrich.discount]]\npercent = '1'"),
        ("enforce", "[enforce]"),
        ("control", "[control]"),
        ("operate", "[operate]"),
        ("coverage", "[coverage]"),
        ("directory", "[directory]"),
        ("worker", "[worker]"),
        ("allow", "[[allow]]"),
        ("window", "[[window]]\nname = 'a'\nsql = ''"),
        ("budget", "[[budget]]\nname = 'a'"),
        ("budget.threshold", "[[budget]]\nname = 'a'\n[[budget.threshold]]\nat = '1%'\ndo = []"),
        ("runaway", "[[runaway]]\nname = 'a'"),
        ("notify", "[[notify]]\nkind = 'file'"),
        #[cfg(feature = "aws")]
        ("shared", "[shared]\ntable = 't'"),
        #[cfg(feature = "aws")]
        ("flags", "[flags]\ntable = 't'"),
        #[cfg(feature = "aws")]
        ("offload", "[offload]\nbuckets = ['b']"),
    ] {
        assert_eq!(documented(name, None), accepted(&format!("{text}\n{PROBE} = 1")), "[{name}]");
    }
}

#[test]
fn every_section_is_in_the_reference() {
    let mut tops: BTreeSet<String> =
        sections().iter().filter_map(|section| section.name.split('.').next().map(str::to_owned)).filter(|name| !name.is_empty()).collect();
    assert_eq!(tops, accepted(&format!("{PROBE} = 1")));
    tops.insert(String::new());
    assert_eq!(sections()[0].keys[0].name, "include");
}

#[test]
fn the_terms_of_runaway_rules_are_in_the_reference() {
    let sections = sections();
    let rule = sections.iter().find(|section| section.name == "runaway").unwrap();
    for key in rule.keys.iter().filter(|key| key.value.starts_with('{')) {
        let table: toml::Table = format!("v = {}", key.value).parse().unwrap();
        let shown: BTreeSet<String> = table["v"].as_table().unwrap().keys().cloned().collect();
        assert_eq!(shown, accepted(&format!("[[runaway]]\nname = 'a'\n[runaway.{}]\n{PROBE} = 1", key.name)), "{}", key.name);
    }
}

#[cfg(all(feature = "aws", feature = "kafka"))]
#[test]
fn every_kind_of_source_is_in_the_reference() {
    for (kind, needed) in [
        ("kinesis", "streams = ['a']"),
        ("s3", "paths = ['s3://bucket']"),
        ("logs", "group = 'logs://g'"),
        ("kafka", "brokers = ['b:1']\ntopics = ['t']\ngroup = 'g'"),
    ] {
        let mut taken = accepted(&format!("[[source]]\nkind = '{kind}'\n{needed}\n{PROBE} = 1"));
        taken.extend(["kind", "accounts", "regions"].map(str::to_owned));
        assert_eq!(documented("source", Some(kind)), taken, "{kind}");
    }
    let stream = accepted(&format!("[relay]\nstream = 's'\n{PROBE} = 1"));
    let topic = accepted(&format!("[relay]\nbrokers = ['b:1']\ntopic = 't'\n{PROBE} = 1"));
    assert_eq!(documented("relay", None), stream.union(&topic).cloned().collect());
}

#[test]
fn every_kind_of_receiver_is_in_the_reference() {
    let all = accepted(&format!("[[notify]]\nkind = 'file'\n{PROBE} = 1"));
    for kind in ["sns", "eventbridge", "slack", "pagerduty", "webhook", "file"] {
        let documented = documented("notify", Some(kind));
        for key in all.iter().filter(|key| *key != "kind") {
            let value = match key.as_str() {
                "per_second" => "1",
                "agents" | "teams" => "['a']",
                _ => "'info'",
            };
            let told = faults(&format!("[[notify]]\nkind = '{kind}'\n{key} = {value}"));
            let is_foreign = told.iter().any(|fault| fault.contains(&format!("{key}: means nothing")));
            assert_eq!(documented.contains(key), !is_foreign, "{kind}: {key}: {told:?}");
        }
    }
}

#[test]
fn the_page_is_made_from_the_reference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == markdown(), "make it anew: sluice config reference --format markdown > docs/configuration.md");
}

#[test]
fn every_key_says_what_it_takes_and_what_it_means() {
    let repeated = [
        "region", "endpoint", "profile", "severity", "teams", "agents", "accounts", "regions", "url_file", "url", "at", "do", "start",
        "kind",
    ];
    for section in sections() {
        for key in &section.keys {
            let value = format!("v = {}", key.value);
            assert!(value.parse::<toml::Table>().is_ok(), "[{}] {}: {} is no TOML", section.name, key.name, key.value);
            let is_known = !key.meaning.is_empty() || repeated.contains(&key.name.as_str()) || key.value.len() > 20;
            assert!(is_known || is_plain(&key.name), "[{}] {} has no meaning", section.name, key.name);
        }
    }
}

/// Keys whose name says it all.
fn is_plain(name: &str) -> bool {
    ["path", "brokers", "topics", "topic", "stream", "name", "paths", "percent", "buckets", "fast_times", "agent", "session", "team"]
        .contains(&name)
}

#[test]
fn lines_are_taken_apart() {
    let text = "# Head.\n\n# Stands above.\nkey = \"a # b\"  # what it is\n         # and more\n# [[list]]  # of things\n# other = \"5s\"  # default; x | y\n# plain = 1\n";
    let sections = parse(text);
    assert_eq!(sections.len(), 2);
    let key = &sections[0].keys[0];
    assert_eq!((key.name.as_str(), key.value.as_str(), key.is_default), ("key", "\"a # b\"", true));
    assert_eq!(key.meaning, "what it is. Stands above. and more");
    assert_eq!((sections[1].name.as_str(), sections[1].is_list, sections[1].meaning.as_str()), ("list", true, "of things"));
    let other = &sections[1].keys[0];
    assert_eq!((other.is_default, other.meaning.as_str(), other.kind()), (true, "x | y", "time"));
    assert_eq!((sections[1].keys[1].is_default, sections[1].keys[1].kind()), (false, "number"));
}
