//! Names of crossings, projections, and the published schema.

use proptest::prelude::*;
use serde_json::Value;
use sluice_schemas::breach::BREACH_JSON_SCHEMA;
use sluice_schemas::time::{DAY, HOUR, MINUTE, SECOND};

use super::*;
use crate::test_support::{Spend, apply, ledger};

const KEY: FireKey<'_> = FireKey { budget: "b", period: "2026-10", threshold: "80%", target: "*", limit: "25 USD", generation: 0 };

#[test]
fn every_part_is_part_of_the_name() {
    let id = KEY.id();
    // Effects of earlier versions are known by it: it must never change.
    assert_eq!(id, "beb2e3b5001af14342f04399e946837b");
    let others = [
        FireKey { budget: "c", ..KEY },
        FireKey { period: "2026-11", ..KEY },
        FireKey { threshold: "81%", ..KEY },
        FireKey { target: "a=b", ..KEY },
        FireKey { limit: "26 USD", ..KEY },
        FireKey { generation: 1, ..KEY },
        FireKey { budget: "b2", period: "026-10", ..KEY },
    ];
    assert!(others.iter().all(|other| other.id() != id));
}

#[test]
fn projections_are_linear_and_end_with_the_period() {
    let (start, end) = (Micros(0), Micros(DAY));
    let spent = PicoUsd::from_dollars(6);
    assert_eq!(project(spent, start, end, Micros(6 * HOUR)), Some(PicoUsd::from_dollars(24)));
    assert_eq!(project(spent, start, end, start), None);
    assert_eq!(project(spent, start, end, Micros(-1)), None);
    assert_eq!(project(spent, start, end, Micros(2 * DAY)), Some(spent));
    assert_eq!(project(PicoUsd(i128::MAX), start, Micros(31 * DAY), Micros(1)), None);
}

proptest! {
    #[test]
    fn a_projection_is_exact_up_to_one_pico_dollar(spent in 0_i128..1_000_000_000_000_000_000, elapsed in 1_i64..DAY) {
        let exact = spent * i128::from(DAY) / i128::from(elapsed);
        prop_assert_eq!(project(PicoUsd(spent), Micros(0), Micros(DAY), Micros(elapsed)), Some(PicoUsd(exact)));
    }
}

/// Checks a value against the parts of JSON Schema that the breach schema uses, and against no other.
fn check(schema: &Value, root: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().ok_or("not a schema")? {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "properties" => true,
            "$ref" => {
                let name = rule.as_str().and_then(|path| path.strip_prefix("#/$defs/")).ok_or("a reference")?;
                check(&root["$defs"][name], root, value, at)?;
                true
            }
            "type" => match rule.as_str() {
                Some("object") => value.is_object(),
                Some("array") => value.is_array(),
                Some("string") => value.is_string(),
                Some("integer") => value.is_i64() || value.is_u64(),
                _ => false,
            },
            "const" => rule == value,
            "enum" => rule.as_array().is_some_and(|known| known.contains(value)),
            "required" => {
                rule.as_array().is_some_and(|names| names.iter().all(|name| name.as_str().is_some_and(|name| value.get(name).is_some())))
            }
            "dependentRequired" => rule.as_object().is_some_and(|rules| {
                let kept = |(name, needed): (&String, &Value)| {
                    let all = || {
                        needed
                            .as_array()
                            .is_some_and(|needed| needed.iter().all(|name| name.as_str().is_some_and(|name| value.get(name).is_some())))
                    };
                    value.get(name).is_none() || all()
                };
                rules.iter().all(kept)
            }),
            "additionalProperties" => {
                value.as_object().is_some_and(|fields| fields.keys().all(|name| schema["properties"].get(name).is_some()))
            }
            "pattern" => value
                .as_str()
                .zip(rule.as_str())
                .is_some_and(|(text, pattern)| regex_lite::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))),
            "minLength" => value.as_str().map(|text| text.chars().count() as u64) >= rule.as_u64(),
            "maxLength" => value.as_str().map(|text| text.chars().count() as u64) <= rule.as_u64(),
            "minimum" => value.as_i64() >= rule.as_i64(),
            "minItems" => value.as_array().map(|items| items.len() as u64) >= rule.as_u64(),
            "maxItems" => value.as_array().map(|items| items.len() as u64) <= rule.as_u64(),
            "uniqueItems" => value.as_array().is_some_and(|items| items.iter().enumerate().all(|(at, item)| !items[..at].contains(item))),
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(rule, root, item, at)?;
                }
                true
            }
            other => return Err(format!("keyword {other} is not known here")),
        };
        if !holds {
            return Err(format!("{at}: {value} breaks {keyword} {rule}"));
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        check(&schema["properties"][name], root, field, name)?;
    }
    Ok(())
}

fn valid(value: &Value) -> Result<(), String> {
    follows(BREACH_JSON_SCHEMA, value)
}

/// Checks a value against a published schema.
pub(crate) fn follows(schema: &str, value: &Value) -> Result<(), String> {
    let schema: Value = serde_json::from_str(schema).map_err(|error| error.to_string())?;
    check(&schema, &schema, value, "message")
}

/// 2026-10-01T00:00Z in minutes.
const OCTOBER: i64 = 1_790_812_800 / 60;

#[test]
fn every_kind_of_breach_follows_the_published_schema() {
    let mut seen = 0;
    for window in ["rolling 5m", "rolling 1h", "rolling 30d", "day", "week", "month", "session", "lifetime"] {
        for at in ["0.5%", "100%", "0.25 USD", "1000%"] {
            let toml = format!(
                "[[budget]]\nname = \"b\"\nlimit = \"1 USD\"\nwindow = \"{window}\"\neach = [\"agent_id\", \"session_id\"]\n\
                 [[budget.threshold]]\nat = \"{at}\"\ndo = [\"hold\"]"
            );
            let mut ledger = ledger(&toml);
            ledger.begin_epoch(3);
            for late in [0, 100 * 1440] {
                let odd = Spend { unpriced: 1, ..Spend::new("ag,ent=\n\u{1f980}", OCTOBER - late, 12_000_000) };
                for crossing in apply(&mut ledger, &[odd.in_session("s")]) {
                    seen += 1;
                    let json = serde_json::to_value(&crossing.breach).expect("json");
                    assert_eq!(valid(&json), Ok(()), "{json}");
                    let back: Breach = serde_json::from_value(json).expect("a breach");
                    assert_eq!(back, crossing.breach);
                }
            }
        }
    }
    assert!(seen > 32, "{seen}");
}

#[test]
fn findings_of_runaway_rules_follow_the_published_schema() {
    use crate::runaway::{CallShape, Detector, Rules, ShapeView, Watch};
    let shape = |second: i64| CallShape {
        event_time: Micros(OCTOBER * MINUTE + second * SECOND),
        cost_picousd: 1_000_000_000_000,
        profile: 0,
        model: sluice_schemas::Sym::EMPTY,
        scope: sluice_schemas::Sym::EMPTY,
        prompt: 1_000 + u32::try_from(second).expect("small"),
        output: 1_000,
    };
    let shapes: Vec<CallShape> = (0..120).map(shape).collect();
    let batch = sluice_schemas::EnrichedBatch::default();
    for detector in [Detector::Loop, Detector::Growth, Detector::Baseline, Detector::Burn] {
        let toml = format!("[[runaway]]\nname = 'r'\ndo = ['hold']\ndetect = ['{}']\nburn = {{ rate = '1 USD' }}", detector.as_str());
        let rules = Rules::parse(&toml).expect("valid");
        for now in [Micros(OCTOBER * MINUTE), Micros(OCTOBER * MINUTE * 2)] {
            let mut crossings = Watch::new(&rules).apply(ShapeView { batch: &batch, shapes: &shapes }, now);
            let breach = crossings.pop().expect("found").breach;
            let json = serde_json::to_value(&breach).expect("json");
            assert_eq!(valid(&json), Ok(()), "{json}");
            assert_eq!(serde_json::from_value::<Breach>(json).expect("a breach"), breach);
            assert!(crossings.is_empty());
        }
    }
}

#[test]
fn the_schema_refuses_what_is_no_breach() {
    let good = serde_json::to_value(crate::store::conformance::sample_crossing(&KEY.id(), "*").breach).expect("json");
    assert_eq!(valid(&good), Ok(()));
    let changed = |name: &str, value: Value| {
        let mut bad = good.clone();
        bad[name] = value;
        valid(&bad)
    };
    for (name, value) in [
        ("fire_id", "x".into()),
        ("limit_usd", 25.into()),
        ("limit_usd", "25.0".into()),
        ("event_time", "yesterday".into()),
        ("actions", Value::Array(vec![])),
        ("mode", "strict".into()),
        ("epoch", (-1).into()),
        ("extra", 1.into()),
        ("projected_usd", "1.000000000000".into()),
        ("schema", "sluice.breach/2".into()),
    ] {
        assert!(changed(name, value.clone()).is_err(), "{name} = {value}");
    }
    let mut missing = good.clone();
    missing.as_object_mut().expect("an object").remove("fire_id");
    assert!(valid(&missing).is_err());
}
