//! Condition operators.
//!
//! Source: AWS, "IAM JSON policy elements: Condition operators" and "Set operators for multivalued context keys".

use std::cmp::Ordering;
use std::net::IpAddr;

use sluice_schemas::Micros;
use sluice_schemas::time::SECOND;

use super::Match;
use super::pattern::{Held, Pattern, Variables};

/// How one value of the policy is compared with one of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Text { ignores_case: bool, is_wild: bool },
    Arn,
    Number(&'static [Ordering]),
    Date(&'static [Ordering]),
    Truth,
    Address,
}

const EQUAL: &[Ordering] = &[Ordering::Equal];
const LESS: &[Ordering] = &[Ordering::Less];
const AT_MOST: &[Ordering] = &[Ordering::Less, Ordering::Equal];
const GREATER: &[Ordering] = &[Ordering::Greater];
const AT_LEAST: &[Ordering] = &[Ordering::Greater, Ordering::Equal];

/// Returns the test of an operator, and whether it is negated.
fn test(operator: &str) -> Option<(Test, bool)> {
    let text = |ignores_case, is_wild| Test::Text { ignores_case, is_wild };
    Some(match operator {
        "stringequals" => (text(false, false), false),
        "stringnotequals" => (text(false, false), true),
        "stringequalsignorecase" => (text(true, false), false),
        "stringnotequalsignorecase" => (text(true, false), true),
        "stringlike" => (text(false, true), false),
        "stringnotlike" => (text(false, true), true),
        "arnequals" | "arnlike" => (Test::Arn, false),
        "arnnotequals" | "arnnotlike" => (Test::Arn, true),
        "numericequals" => (Test::Number(EQUAL), false),
        "numericnotequals" => (Test::Number(EQUAL), true),
        "numericlessthan" => (Test::Number(LESS), false),
        "numericlessthanequals" => (Test::Number(AT_MOST), false),
        "numericgreaterthan" => (Test::Number(GREATER), false),
        "numericgreaterthanequals" => (Test::Number(AT_LEAST), false),
        "dateequals" => (Test::Date(EQUAL), false),
        "datenotequals" => (Test::Date(EQUAL), true),
        "datelessthan" => (Test::Date(LESS), false),
        "datelessthanequals" => (Test::Date(AT_MOST), false),
        "dategreaterthan" => (Test::Date(GREATER), false),
        "dategreaterthanequals" => (Test::Date(AT_LEAST), false),
        "bool" => (Test::Truth, false),
        "ipaddress" => (Test::Address, false),
        "notipaddress" => (Test::Address, true),
        _ => return None,
    })
}

/// Tells whether a condition holds: `operator` of `key` with the values of the policy.
pub(super) fn matches(operator: &str, key: &str, values: &[String], variables: Variables<'_>) -> Match {
    let lower = operator.to_ascii_lowercase();
    let held = variables.held(key);
    if lower == "null" {
        return is_null(values, &held, key);
    }
    let (set, lower) = match lower.split_once(':') {
        None => (None, lower.as_str()),
        Some((set, rest)) => (Some(set), rest),
    };
    let (is_optional, base) = lower.strip_suffix("ifexists").map_or((false, lower), |base| (true, base));
    let (Some((test, is_negated)), None | Some("forallvalues" | "foranyvalue")) = (test(base), set) else {
        return Match::Unknown(format!("unknown operator {operator}"));
    };
    let found = match held {
        Held::Untold => return Match::Unknown(format!("the value of {key} is not known")),
        Held::Absent if is_optional => return Match::Yes,
        Held::Absent => return Match::from(set == Some("forallvalues") || (set.is_none() && is_negated)),
        Held::Values(found) => found,
    };
    let one = |found: &String| {
        let is = Match::any(values.iter().map(|value| compare(test, value, found, variables, is_negated)));
        if is_negated { is.not() } else { is }
    };
    match (set, found) {
        (Some("forallvalues"), found) => Match::all(found.iter().map(one)),
        (Some(_), found) => Match::any(found.iter().map(one)),
        (None, [found]) => one(found),
        (None, _) => Match::Unknown(format!("{key} has many values, and {operator} is for one")),
    }
}

fn is_null(values: &[String], held: &Held<'_>, key: &str) -> Match {
    let is_absent = match held {
        Held::Untold => return Match::Unknown(format!("whether {key} has a value is not known")),
        Held::Absent => true,
        Held::Values(_) => false,
    };
    Match::any(values.iter().map(|value| match truth(value) {
        Some(wanted) => Match::from(wanted == is_absent),
        None => Match::Unknown(format!("Null of {key} is neither true nor false")),
    }))
}

fn compare(test: Test, value: &str, found: &str, variables: Variables<'_>, is_negated: bool) -> Match {
    let unreadable = |what: &str| Match::Unknown(format!("no {what}: {value} or {found}"));
    match test {
        Test::Text { .. } | Test::Arn => match Pattern::with_variables(value, variables, is_negated) {
            Err(reason) => Match::Unknown(reason),
            Ok(None) => Match::No,
            Ok(Some(pattern)) => Match::from(match test {
                Test::Arn => is_arn(&pattern, found),
                Test::Text { ignores_case, is_wild } => {
                    let pattern = if is_wild { pattern } else { pattern.exact() };
                    if ignores_case { pattern.lower().matches(&found.to_lowercase()) } else { pattern.matches(found) }
                }
                _ => false,
            }),
        },
        Test::Number(orders) => match (value.parse::<f64>(), found.parse::<f64>()) {
            (Ok(value), Ok(found)) => Match::from(found.partial_cmp(&value).is_some_and(|order| orders.contains(&order))),
            _ => unreadable("number"),
        },
        Test::Date(orders) => match (date(value), date(found)) {
            (Some(value), Some(found)) => Match::from(orders.contains(&found.cmp(&value))),
            _ => unreadable("date"),
        },
        Test::Truth => match (truth(value), truth(found)) {
            (Some(value), Some(found)) => Match::from(value == found),
            _ => unreadable("truth value"),
        },
        Test::Address => match (network(value), found.parse::<IpAddr>()) {
            (Some(network), Ok(address)) => Match::from(is_within(network, address)),
            _ => unreadable("address"),
        },
    }
}

/// Compares ARNs part by part; a text that is no ARN matches none.
fn is_arn(pattern: &Pattern, found: &str) -> bool {
    let (wanted, found) = (pattern.arn_parts(), found.splitn(6, ':').collect::<Vec<_>>());
    let is_any = *pattern == Pattern::plain("*");
    is_any || (found.len() == 6 && wanted.len() == 6 && wanted.iter().zip(found).all(|(pattern, part)| pattern.matches(part)))
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Reads a date as AWS takes it: W3C forms of ISO 8601 in UTC, or seconds since 1970.
fn date(text: &str) -> Option<Micros> {
    if text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<i64>().ok()?.checked_mul(SECOND).map(Micros);
    }
    let whole = match text.len() {
        4 => format!("{text}-01-01T00:00:00Z"),
        7 => format!("{text}-01T00:00:00Z"),
        10 => format!("{text}T00:00:00Z"),
        17 => format!("{}:00Z", text.strip_suffix('Z')?),
        _ => text.to_owned(),
    };
    Micros::parse_utc(whole.as_bytes())
}

/// Reads `203.0.113.0/24`, or an address as the network of itself.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
    (bits <= most).then_some((address, bits))
}

fn is_within((network, bits): (IpAddr, u32), address: IpAddr) -> bool {
    let same = |one: u128, other: u128, width: u32| bits == 0 || (one >> (width - bits)) == (other >> (width - bits));
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => same(network.to_bits().into(), address.to_bits().into(), 32),
        (IpAddr::V6(network), IpAddr::V6(address)) => same(network.to_bits(), address.to_bits(), 128),
        _ => false,
    }
}
