//! Durations with their unit: `100ms`, `30s`, `5m`, `1h`, `2d`.

use std::time::Duration;

/// Reads a duration.
///
/// # Errors
/// A text that says how to write one.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    let at = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(at);
    let wrong = || format!("'{text}' is not a duration: write it like \"30s\" (units ms, s, m, h, d)");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_required() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("100 ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("2d"), Ok(Duration::from_secs(172_800)));
        for bad in ["", "30", "s", "-1s", "1.5h", "99999999999999999999d", "1w"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
