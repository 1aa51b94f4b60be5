//! A check for people, for programs, for spreadsheets.

use std::collections::HashSet;

use sluice_aggregate::coverage::unlogged::Unlogged;
use sluice_aggregate::coverage::{Gap, MissingCall, Row, Side, Tokens, Totals, Verdict, Worth};
use sluice_schemas::visible::escape;

use super::Outcome;
use crate::output;

/// Hours, ids and reasons that are listed for people.
const LISTED: usize = 20;
/// The sides in the order in which they are told.
const SIDES: [(Side, &str); 3] = [(Side::Cloudwatch, "CloudWatch"), (Side::Cloudtrail, "CloudTrail"), (Side::LogCopy, "log copy")];

/// Returns everything as JSON.
///
/// # Errors
/// None that is known of.
pub(crate) fn json(outcome: &Outcome) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(outcome)?)
}

/// Returns a line for each side, key and hour.
pub(crate) fn csv(outcome: &Outcome) -> String {
    let mut text = "hour,side,account_id,region,model,verdict,lake_calls,other_calls,missing_calls,missing_input_tokens,\
                    missing_output_tokens,missing_cache_read_tokens,missing_cache_write_tokens,missing_usd,usd_from\n"
        .to_owned();
    for Row { side, hour, key, lake, other, verdict } in &outcome.report.rows {
        let nothing = Gap { calls: 0, tokens: Tokens::default(), worth: Worth::Unknown };
        let gap = if let Verdict::Gap(gap) = verdict { gap } else { &nothing };
        let (usd, from) = match (verdict, gap.worth) {
            (Verdict::Gap(_), Worth::Average(amount)) => (amount.to_string(), "average"),
            (Verdict::Gap(_), Worth::List(amount)) => (amount.to_string(), "list"),
            (Verdict::Gap(_), Worth::Unknown) => (String::new(), "unknown"),
            _ => (String::new(), ""),
        };
        let [account, region, model] = [&key.account_id, &key.region, &key.model].map(|cell| output::csv_cell(cell));
        let [input, output, cache_read, cache_write] = gap.tokens.classes();
        text += &format!(
            "{hour},{},{account},{region},{model},{},{},{},{},{input},{output},{cache_read},{cache_write},{usd},{from}\n",
            side.as_str(),
            verdict.as_str(),
            lake.calls,
            other.calls,
            gap.calls,
        );
    }
    text
}

/// Returns what a person needs to know.
pub(crate) fn table(outcome: &Outcome) -> String {
    let mut text = format!("{} to {}, settled up to {}\n\n", outcome.since, outcome.until, outcome.settled);
    text += &sides(outcome);
    text += &gaps(outcome);
    text += "\nnot in the log, whatever is delivered:\n";
    for kind in &outcome.unlogged {
        text += &format!("  {:<46} {}\n", kind.what, seen(kind));
    }
    text += &format!("\n{}\n", total(outcome));
    text
}

fn sides(outcome: &Outcome) -> String {
    let reports = outcome.report.sides();
    let mut text = String::new();
    for (side, name) in SIDES {
        if let Some(report) = reports.get(&side) {
            let pending = if report.pending > 0 { format!(", {} too young", report.pending) } else { String::new() };
            let hours = plural(report.compared, "model and hour", "models and hours");
            text += &format!("{name:<11} {hours} compared{pending}: {} there, {} missing here\n", calls(report.calls), report.missing);
        }
        let unasked: Vec<_> = outcome.report.unasked.iter().filter(|unasked| unasked.side == side).collect();
        for unasked in unasked.iter().take(LISTED) {
            let place = if unasked.place.is_empty() { String::new() } else { format!("{}: ", escape(&unasked.place)) };
            text += &format!("{name:<11} not compared: {place}{}\n", escape(&unasked.why));
        }
        if unasked.len() > LISTED {
            text += &format!("{name:<11} and {} places more\n", unasked.len() - LISTED);
        }
    }
    if outcome.lower_bound_calls > 0 {
        let metered = calls(outcome.lower_bound_calls);
        text += &format!("{metered} of the lake: known from CloudTrail alone, without a log; what they cost is a lower bound\n");
    }
    if outcome.unreadable > 0 {
        text += &format!(
            "{} of the copy cannot be read; table rejected keeps them once they are replayed\n",
            plural(outcome.unreadable, "record", "records")
        );
    }
    text
}

fn gaps(outcome: &Outcome) -> String {
    let mut table = output::table(&["HOUR", "ACCOUNT", "REGION", "MODEL", "AGAINST", "HERE", "THERE", "MISSING", "TOKENS", "USD"]);
    let mut found = 0;
    for Row { side, hour, key, lake, other, verdict } in &outcome.report.rows {
        let Verdict::Gap(gap) = verdict else { continue };
        found += 1;
        if found > LISTED {
            continue;
        }
        let cell = |text: &str| escape(text).into_owned();
        table.add_row([
            hour.to_string(),
            cell(&key.account_id),
            cell(&key.region),
            cell(&key.model),
            side.as_str().to_owned(),
            lake.calls.to_string(),
            other.calls.to_string(),
            gap.calls.to_string(),
            gap.tokens.total().to_string(),
            worth(gap.worth),
        ]);
    }
    if found == 0 {
        return String::new();
    }
    let mut text = format!("\n{table}\n");
    if found > LISTED {
        text += &format!("… and {} more: --format csv\n", found - LISTED);
    }
    text + &ids(&outcome.report.missing)
}

/// Returns the first ids that are missing; several sides name the same call.
fn ids(missing: &[MissingCall]) -> String {
    let mut known = HashSet::new();
    let calls = missing.iter().filter(|call| known.insert((&call.key.account_id, &call.key.region, &call.request_id)));
    let ids: Vec<_> = calls.map(|call| escape(&call.request_id)).collect();
    if ids.is_empty() {
        return String::new();
    }
    let (shown, rest) = ids.split_at(ids.len().min(LISTED / 2));
    let more = if rest.is_empty() { String::new() } else { format!("\n  … and {} more: --format json", rest.len()) };
    format!("\nmissing request ids:\n  {}{more}\n", shown.join("\n  "))
}

fn worth(worth: Worth) -> String {
    worth.amount().map_or_else(|| "unknown".to_owned(), |amount| amount.display(4))
}

fn seen(kind: &Unlogged) -> String {
    let mut told = Vec::new();
    match kind.events {
        Some(0) => told.push("not seen in CloudTrail".to_owned()),
        Some(events) => told.push(format!("{} in CloudTrail", plural(events, "event", "events"))),
        None => {}
    }
    if let Some(counts) = kind.metrics {
        told.push(format!("{} and {} tokens in CloudWatch", calls(counts.calls), counts.tokens.total()));
    }
    if let Some(in_lake) = kind.calls {
        told.push(format!("{} in the lake", calls(in_lake)));
    }
    let told = if told.is_empty() { "nobody could be asked".to_owned() } else { told.join(", ") };
    if kind.is_seen() { format!("SEEN: {told} ({})", kind.why) } else { format!("{told} ({})", kind.why) }
}

/// Returns the one line that counts.
pub(super) fn total(outcome: &Outcome) -> String {
    let Totals { gaps, calls: missing, tokens, usd, unpriced_calls, unpriced_tokens, .. } = outcome.totals;
    match outcome.verdict {
        "complete" => "complete: the lake holds every call that the others counted".to_owned(),
        "gap" => {
            let unpriced = if unpriced_calls + unpriced_tokens > 0 {
                format!(", and {} with {unpriced_tokens} tokens of models without a known price", calls(unpriced_calls))
            } else {
                String::new()
            };
            let at = plural(gaps, "model and hour", "models and hours");
            format!("gap: {} with {} tokens, about {}{unpriced}, in {at}", calls(missing), tokens.total(), usd.display(4))
        }
        _ => {
            let elsewhere = outcome.dates.as_ref().filter(|_| !outcome.has_calls);
            let dates = elsewhere.map(|(first, last)| format!("; the lake has calls from {first} to {last}: --since {first}"));
            match outcome.totals.pending {
                0 => format!("unknown: there was nothing to compare the lake with{}", dates.unwrap_or_default()),
                young => {
                    let young = plural(young, "model and hour is", "models and hours are");
                    format!("unknown: {young} too young to compare, and there was nothing else{}", dates.unwrap_or_default())
                }
            }
        }
    }
}

fn calls(count: u64) -> String {
    plural(count, "call", "calls")
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use sluice_aggregate::coverage::Key;
    use sluice_schemas::Micros;

    use super::*;

    #[test]
    fn a_call_that_two_sides_miss_is_listed_once() {
        let call = |side, number: u32| {
            let key = Key { account_id: "1".to_owned(), region: "eu-central-1".to_owned(), model: "m".to_owned() };
            MissingCall { side, event_time: Micros(0), key, request_id: format!("id-{number}") }
        };
        let both: Vec<MissingCall> =
            [Side::Cloudtrail, Side::LogCopy].into_iter().flat_map(|side| (0..25).map(move |number| call(side, number))).collect();
        let text = ids(&both);
        assert_eq!(text.matches("id-").count(), 10, "{text}");
        assert!(text.ends_with("  … and 15 more: --format json\n"), "{text}");
        assert_eq!(ids(&both[..3]), "\nmissing request ids:\n  id-0\n  id-1\n  id-2\n");
        assert_eq!(ids(&[]), "");
    }
}
