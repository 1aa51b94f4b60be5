//! How amounts, windows, thresholds and prices are written in a file of budgets.

use sluice_schemas::PicoUsd;
use sluice_schemas::time::{DAY, HOUR, MINUTE};

use crate::budget::{At, Window, WorstCase, short_usd};
use crate::fault::Problem;

const LONGEST_ROLLING: i64 = 31 * DAY;
const HIGHEST_PERCENT: u32 = 1000;
/// Largest amount: a trillion dollars. Ten times of it, and a token's worth of it times any number of tokens, still fit.
pub(crate) const MOST: PicoUsd = PicoUsd::from_dollars(1_000_000_000_000);
/// Largest price of a token or a call that has none.
const MOST_WORST_CASE: PicoUsd = PicoUsd::from_dollars(1_000_000);

/// Finds a word among the known ones.
pub(crate) fn choice<T: Copy>(text: &str, known: &'static str, values: &[(&str, T)]) -> Result<T, Problem> {
    let found = values.iter().find(|(word, _)| text == *word).map(|(_, value)| *value);
    found.ok_or_else(|| Problem::Unknown { text: text.to_owned(), known })
}

/// Reads an amount that is not negative and names its unit.
pub(crate) fn amount(text: &str) -> Result<PicoUsd, Problem> {
    let refused = || Problem::Amount { text: text.to_owned() };
    let trimmed = text.trim();
    if !trimmed.ends_with("USD") && !trimmed.starts_with('$') {
        return Err(refused());
    }
    trimmed.parse().ok().filter(|amount| (PicoUsd::ZERO..=MOST).contains(amount)).ok_or_else(refused)
}

/// Reads an amount as an agents file or a tag gives it; `None` for anything else.
#[must_use]
pub fn tagged_amount(text: &str) -> Option<PicoUsd> {
    amount(text).ok()
}

/// Reads `rolling 1h`, `day`, `week`, `month`, `session` or `lifetime`.
pub(crate) fn window(text: &str) -> Result<Window, Problem> {
    const KNOWN: &str = "\"rolling 1h\" (1m to 31d), day, week, month, session or lifetime";
    let unknown = || Problem::Unknown { text: text.to_owned(), known: KNOWN };
    Ok(match text.trim() {
        "day" => Window::Day,
        "week" => Window::Week,
        "month" => Window::Month,
        "session" => Window::Session,
        "lifetime" => Window::Lifetime,
        other => {
            let width = other.strip_prefix("rolling ").map(str::trim).ok_or_else(unknown)?;
            let unit = match width.chars().last() {
                Some('m') => MINUTE,
                Some('h') => HOUR,
                Some('d') => DAY,
                _ => return Err(unknown()),
            };
            let count = width.get(..width.len() - 1).and_then(|digits| digits.trim().parse::<u32>().ok()).ok_or_else(unknown)?;
            let width = i64::from(count).checked_mul(unit).filter(|width| (MINUTE..=LONGEST_ROLLING).contains(width));
            Window::Rolling { width: width.ok_or_else(unknown)? }
        }
    })
}

/// Reads `80%`, `99.5%` or an amount; returns its canonical text too.
pub(crate) fn threshold_at(text: &str) -> Result<(String, At), Problem> {
    let Some(percent) = text.trim().strip_suffix('%') else {
        let amount = amount(text)?;
        return Ok((short_usd(amount), At::Amount(amount)));
    };
    let unknown =
        || Problem::Unknown { text: text.to_owned(), known: "a percentage from 0.001% to 1000%, or an amount such as \"20 USD\"" };
    let percent = percent.trim_end();
    let (whole, fraction) = percent.split_once('.').unwrap_or((percent, "0"));
    let digits = |part: &str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 3 {
        return Err(unknown());
    }
    let millis = format!("{whole}{fraction:0<3}").parse::<u32>().map_err(|_| unknown())?;
    if !(1..=HIGHEST_PERCENT * 1000).contains(&millis) {
        return Err(unknown());
    }
    let decimals = format!("{}.{:03}", millis / 1000, millis % 1000);
    let canonical = decimals.trim_end_matches('0').trim_end_matches('.');
    Ok((format!("{canonical}%"), At::PercentMillis(millis)))
}

/// Reads `75.00 USD per 1M tokens`, `… per 1K tokens` or `… per call` as whole pico-dollars a unit.
pub(crate) fn worst_case(text: &str) -> Result<WorstCase, Problem> {
    const KNOWN: &str = "\"75.00 USD per 1M tokens\", \"… per 1K tokens\" or \"0.50 USD per call\"";
    let unknown = || Problem::Unknown { text: text.to_owned(), known: KNOWN };
    let (price, unit) = text.split_once(" per ").ok_or_else(unknown)?;
    let price = amount(price)?;
    if price > MOST_WORST_CASE {
        return Err(unknown());
    }
    let tokens = match unit.trim() {
        "call" => return Ok(WorstCase::PerCall(price)),
        "1M tokens" => 1_000_000,
        "1K tokens" => 1_000,
        _ => return Err(unknown()),
    };
    if price.0 % tokens != 0 {
        return Err(Problem::Rule { rule: "the price of one token must be whole pico-dollars (at most 6 decimals per 1M tokens)" });
    }
    Ok(WorstCase::PerToken(PicoUsd(price.0 / tokens)))
}
