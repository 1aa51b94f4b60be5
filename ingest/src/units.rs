//! Sizes and durations with their unit: `64MiB`, `30s`.

#[cfg(feature = "kafka")]
use std::time::Duration;

#[cfg(feature = "kafka")]
/// Reads a duration; `name` is the setting's.
pub(crate) fn parse_duration(name: &str, text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    scaled(text, &units)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{name}: '{text}' is not a duration: write it like \"30s\" (units ms, s, m, h)"))
}

/// Reads a number of bytes; `name` is the setting's.
pub(crate) fn parse_bytes(name: &str, text: &str) -> Result<u64, String> {
    let units = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    scaled(text, &units).ok_or_else(|| format!("{name}: '{text}' is not a size: write it like \"64MiB\" (units B, KiB, MiB, GiB)"))
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let trimmed = text.trim();
    let at = trimmed.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = trimmed.split_at(at);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}
