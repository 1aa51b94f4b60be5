//! Width of the windows of a declaration: a fixed span, or calendar months in UTC.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use sluice_schemas::Micros;
use sluice_schemas::time::{DAY, HOUR, MINUTE, SECOND, civil_from_days, days_from_civil};

use super::error::Refusal;

/// How long a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// Microseconds.
    Fixed(i64),
    /// Calendar months in UTC.
    Months(i64),
}

impl Span {
    /// Reads `date_bin(interval, event_time[, origin])` or `date_trunc(unit, event_time)`.
    pub(super) fn of(expr: &Expr, time_column: &str) -> Result<Self, Refusal> {
        let Expr::ScalarFunction(call) = without_alias(expr) else {
            return Err(Refusal::NoWindowStart);
        };
        let [width, Expr::Column(time), ..] = call.args.as_slice() else {
            return Err(Refusal::NoWindowStart);
        };
        let read = match call.func.name() {
            "date_bin" if time.name == time_column => Self::of_interval,
            "date_trunc" if time.name == time_column => Self::of_unit,
            _ => return Err(Refusal::NoWindowStart),
        };
        match width {
            Expr::Literal(width, _) => read(width).ok_or(Refusal::Width),
            _ => Err(Refusal::Width),
        }
    }

    fn of_interval(width: &ScalarValue) -> Option<Self> {
        use datafusion::arrow::datatypes::{DataType, IntervalUnit};
        let ScalarValue::IntervalMonthDayNano(Some(width)) = width.cast_to(&DataType::Interval(IntervalUnit::MonthDayNano)).ok()? else {
            return None;
        };
        match (width.months, width.days, width.nanoseconds) {
            (0, days, nanos) if nanos % 1_000 == 0 => {
                let micros = i64::from(days).checked_mul(DAY)?.checked_add(nanos / 1_000)?;
                (micros > 0).then_some(Self::Fixed(micros))
            }
            (months, 0, 0) if months > 0 => Some(Self::Months(i64::from(months))),
            _ => None,
        }
    }

    fn of_unit(unit: &ScalarValue) -> Option<Self> {
        Some(match unit.try_as_str()??.to_ascii_lowercase().as_str() {
            "second" => Self::Fixed(SECOND),
            "minute" => Self::Fixed(MINUTE),
            "hour" => Self::Fixed(HOUR),
            "day" => Self::Fixed(DAY),
            "week" => Self::Fixed(7 * DAY),
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Months(12),
            _ => return None,
        })
    }

    /// Returns the first moment after the window that starts at `start`.
    pub(super) fn end(self, start: Micros) -> Micros {
        match self {
            Self::Fixed(width) => start.plus(width),
            Self::Months(months) => {
                let (year, month, day) = civil_from_days(i64::from(start.day()));
                let month = month - 1 + months;
                let days = days_from_civil(year + month.div_euclid(12), month.rem_euclid(12) + 1, day);
                Micros(days * DAY + start.0.rem_euclid(DAY))
            }
        }
    }
}

/// Strips aliases.
pub(super) fn without_alias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => without_alias(&alias.expr),
        _ => expr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Micros {
        text.parse().unwrap()
    }

    #[test]
    fn ends_of_calendar_windows() {
        assert_eq!(Span::Months(1).end(at("2026-12-01T00:00:00Z")), at("2027-01-01T00:00:00Z"));
        assert_eq!(Span::Months(3).end(at("1969-10-01T00:00:00Z")), at("1970-01-01T00:00:00Z"));
        assert_eq!(Span::Fixed(HOUR).end(Micros(-HOUR)), Micros(0));
    }

    #[test]
    fn intervals_that_are_no_width() {
        let interval = |months, days, nanos| Span::of_interval(&ScalarValue::new_interval_mdn(months, days, nanos));
        assert_eq!(interval(0, 0, 60_000_000_000), Some(Span::Fixed(MINUTE)));
        assert_eq!(interval(0, 1, 0), Some(Span::Fixed(DAY)));
        assert_eq!(interval(1, 0, 0), Some(Span::Months(1)));
        for (months, days, nanos) in [(0, 0, 0), (0, -1, 0), (1, 1, 0), (0, 0, 1), (-1, 0, 0)] {
            assert_eq!(interval(months, days, nanos), None);
        }
    }
}
