//! Reads when credentials expire, in the forms that CloudTrail writes: `Oct 2, 2019, 11:12:29 PM`, or ISO 8601.

use sluice_schemas::Micros;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Returns the moment; `None` for a text in another form.
pub(super) fn expiry(text: &str) -> Option<Micros> {
    Micros::parse_utc(text.as_bytes()).or_else(|| spelt(text))
}

/// Reads an American date with a twelve-hour clock. The space before the half of the day is a narrow one in newer forms.
fn spelt(text: &str) -> Option<Micros> {
    let mut words = text.split(|byte: char| byte == ',' || byte.is_whitespace()).filter(|word| !word.is_empty());
    let (month, day, year, clock, half) = (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    if words.next().is_some_and(|zone| zone != "UTC") {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let mut fields = clock.split(':').map(|field| field.parse::<u8>().ok());
    let (hour, minute, second) = (fields.next()??, fields.next()??, fields.next()??);
    if fields.next().is_some() || !(1..=12).contains(&hour) {
        return None;
    }
    let hour = match half {
        "AM" => hour % 12,
        "PM" => hour % 12 + 12,
        _ => return None,
    };
    let (day, year) = (day.parse::<u8>().ok()?, year.parse::<u16>().ok()?);
    Micros::parse_utc(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        for (text, same) in [
            ("Oct 2, 2019, 11:12:29 PM", "2019-10-02T23:12:29Z"),
            ("Jul 18, 2014 4:07:39 PM", "2014-07-18T16:07:39Z"),
            ("Jan 1, 2026, 12:00:00\u{202f}AM", "2026-01-01T00:00:00Z"),
            ("Feb 29, 2024, 12:59:59 PM", "2024-02-29T12:59:59Z"),
            ("2026-10-01T00:00:00Z", "2026-10-01T00:00:00Z"),
        ] {
            assert_eq!(expiry(text), Micros::parse_utc(same.as_bytes()), "{text}");
            assert!(expiry(text).is_some());
        }
    }

    #[test]
    fn others_are_not_guessed() {
        for text in [
            "",
            "Oct 2, 2019",
            "Okt 2, 2019, 11:12:29 PM",
            "Oct 32, 2019, 11:12:29 PM",
            "Feb 29, 2023, 1:00:00 AM",
            "Oct 2, 2019, 13:12:29 PM",
            "Oct 2, 2019, 0:12:29 AM",
            "Oct 2, 2019, 11:12 PM",
            "Oct 2, 2019, 11:12:29 PM PST",
            "Oct 2, 2019, 11:12:29",
            "2 Oct 2019 11:12:29 PM",
            "Oct 2, 99999, 11:12:29 PM",
        ] {
            assert_eq!(expiry(text), None, "{text}");
        }
    }
}
