//! How numbers, times and foreign names are written on the screen. Widths are terminal columns.

use ratatui::text::Span;
use sluice_schemas::time::{DAY, HOUR, MINUTE, SECOND};
use sluice_schemas::visible::escape;
use sluice_schemas::{Micros, PicoUsd};

/// Returns the columns a text takes.
pub(crate) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Returns an escaped text of at most `columns`; a longer one ends in `…`.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    let text = escape(text);
    if width(&text) <= columns {
        return text.into_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for char in text.chars() {
        let mut bytes = [0; 4];
        let wide = width(char.encode_utf8(&mut bytes));
        if used + wide + 1 > columns {
            break;
        }
        used += wide;
        out.push(char);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// Decimals that suit an amount: more the less it is.
pub(crate) const fn places(largest: PicoUsd) -> u32 {
    match largest.0.unsigned_abs() {
        0..=9_999_949_999_999 => 4,
        9_999_950_000_000..=99_999_994_999_999_999 => 2,
        _ => 0,
    }
}

/// Writes money for people.
pub(crate) fn money(amount: PicoUsd) -> String {
    if amount.0 == 0 { amount.display(2) } else { amount.shown(places(amount)) }
}

/// Writes money in a column with these decimals; what they round away is still shown to be there.
pub(crate) fn money_in(amount: PicoUsd, places: u32) -> String {
    let text = amount.display(places);
    let lost = amount.0 > 0 && !text.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    match (lost, places) {
        (false, _) => text,
        (true, 0) => "<$1".to_owned(),
        (true, _) => format!("<$0.{:0>width$}", 1, width = places as usize),
    }
}

/// Writes a count with a comma every three digits.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes a count in at most five columns: `999`, `1.2k`, `34.5M`, `678G`.
pub(crate) fn short_count(number: u64) -> String {
    const UNITS: [char; 6] = ['k', 'M', 'G', 'T', 'P', 'E'];
    if number < 1000 {
        return number.to_string();
    }
    let (mut whole, mut tenths, mut unit) = (number / 1000, number % 1000 / 100, 0);
    while whole >= 1000 {
        tenths = whole % 1000 / 100;
        whole /= 1000;
        unit += 1;
    }
    let suffix = UNITS[unit.min(UNITS.len() - 1)];
    if whole >= 100 { format!("{whole}{suffix}") } else { format!("{whole}.{tenths}{suffix}") }
}

/// Writes how long ago a moment was: `now`, `12s`, `3m`, `5h`, `9d`; `-` for a moment that never was.
pub(crate) fn ago(moment: Micros, at: Micros) -> String {
    if moment.0 == 0 {
        return "-".to_owned();
    }
    match at.0.saturating_sub(moment.0) {
        past if past < SECOND => "now".to_owned(),
        past if past < MINUTE => format!("{}s", past / SECOND),
        past if past < HOUR => format!("{}m", past / MINUTE),
        past if past < DAY => format!("{}h", past / HOUR),
        past => format!("{}d", past / DAY),
    }
}

/// Writes a duration as `m:ss` or `h:mm:ss`.
pub(crate) fn span(from: Micros, to: Micros) -> String {
    let seconds = to.0.saturating_sub(from.0).max(0) / SECOND;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Writes the time of day, UTC.
pub(crate) fn clock(moment: Micros) -> String {
    let of_day = moment.0.rem_euclid(DAY);
    format!("{:02}:{:02}:{:02}", of_day / HOUR, of_day / MINUTE % 60, of_day / SECOND % 60)
}

/// Writes milliseconds as `870 ms`, `1.2 s`, `3:20`.
pub(crate) fn lag(millis: u64) -> String {
    match millis {
        0..=999 => format!("{millis} ms"),
        1000..=99_999 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        _ => span(Micros(0), Micros(i64::try_from(millis).unwrap_or(i64::MAX / 1000).saturating_mul(1000))),
    }
}

/// Writes thousandths of a percent as whole percents, rounded down so that 100 % means reached.
pub(crate) fn percent(millis: u64) -> String {
    let whole = millis / 1000;
    if whole > 999 { ">999%".to_owned() } else { format!("{whole}%") }
}

/// Draws a bar of `columns` filled to `percent_millis` in eighths of a column; over 100 % it is full.
pub(crate) fn bar(percent_millis: u64, columns: usize) -> (String, String) {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let steps = columns * 8;
    let filled = usize::try_from(u128::from(percent_millis.min(100_000)) * steps as u128 / 100_000).unwrap_or(steps);
    // A trace of spend is never drawn as none.
    let filled = if percent_millis > 0 { filled.max(1) } else { filled };
    let mut full = "█".repeat(filled / 8);
    full.push_str(EIGHTHS[filled % 8]);
    let rest = "·".repeat(columns.saturating_sub(filled.div_ceil(8)));
    (full, rest)
}

/// Writes `name value` pairs apart by two spaces, as many as fit.
pub(crate) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>, columns: usize) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        let gap = if out.is_empty() { "" } else { "  " };
        let next = format!("{gap}{name} {value}");
        if width(&out) + width(&next) > columns {
            break;
        }
        out.push_str(&next);
    }
    out
}
