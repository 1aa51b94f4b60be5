//! Answers as text: a table for people, JSON and CSV for programs. Amounts keep every digit; text from the logs cannot
//! break out of its cell, drive a terminal or start a formula in a spreadsheet.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use sluice_schemas::Micros;
use sluice_schemas::visible::{escape, escape_lines};

/// Formats rows as aligned columns: numbers to the right, control and direction characters escaped.
#[must_use]
pub fn format_table(batches: &[RecordBatch]) -> String {
    let Some(first) = batches.first() else {
        return String::new();
    };
    let fields = first.schema().fields().clone();
    let mut lines: Vec<Vec<String>> = vec![fields.iter().map(|field| escape(field.name()).into_owned()).collect()];
    for batch in batches {
        for row in 0..batch.num_rows() {
            lines.push(batch.columns().iter().map(|column| escape(&cell(column, row).unwrap_or_default()).into_owned()).collect());
        }
    }
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..fields.len()).map(width).collect();
    let rule = widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>();
    lines.insert(1, rule);
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).zip(fields.iter()).map(|((cell, &width), field)| {
            if field.data_type().is_numeric() { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Formats rows as a JSON array of objects: amounts as strings with every digit, times as RFC 3339 in UTC, absent values as
/// null. A column name that repeats gets a number.
#[must_use]
pub fn format_json(batches: &[RecordBatch]) -> String {
    let mut text = String::from("[");
    let mut separator = "\n";
    for batch in batches {
        let names = unique_names(batch);
        for row in 0..batch.num_rows() {
            text.push_str(separator);
            separator = ",\n";
            text.push('{');
            for (index, (name, column)) in names.iter().zip(batch.columns()).enumerate() {
                text.push_str(if index == 0 { "" } else { "," });
                text.push_str(&json_text(name));
                text.push(':');
                write_json(&mut text, column, row);
            }
            text.push('}');
        }
    }
    text.push_str(if separator == "\n" { "]" } else { "\n]" });
    text
}

/// Formats rows as CSV with a header. A text that a spreadsheet would take for a formula gets a leading `'`.
#[must_use]
pub fn format_csv(batches: &[RecordBatch]) -> String {
    let mut text = String::new();
    let Some(first) = batches.first() else {
        return text;
    };
    let header = first.schema().fields().iter().map(|field| quote(&inert(field.name()))).collect::<Vec<_>>();
    text.push_str(&header.join(","));
    text.push('\n');
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| {
                let cell = cell(column, row).unwrap_or_default();
                quote(&if is_plain(column.data_type()) { cell } else { inert(&escape_lines(&cell)) })
            });
            text.push_str(&cells.collect::<Vec<_>>().join(","));
            text.push('\n');
        }
    }
    text
}

/// Returns the text of a value; `None` for null.
fn cell(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Timestamp(unit, _) => timestamp(column, *unit, row),
        DataType::Decimal128(_, scale) => decimal(column.as_primitive::<Decimal128Type>().value(row), *scale),
        DataType::Binary => binary(column.as_binary::<i32>().value(row)),
        _ => shown(column, row),
    })
}

/// Formats by the engine's own rules.
fn shown(column: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::new().with_display_error(true);
    match ArrayFormatter::try_new(column.as_ref(), &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(error) => format!("ERROR: {error}"),
    }
}

fn timestamp(column: &ArrayRef, unit: TimeUnit, row: usize) -> String {
    let micros = match unit {
        TimeUnit::Second => column.as_primitive::<TimestampSecondType>().value(row).checked_mul(1_000_000),
        TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().value(row).checked_mul(1_000),
        TimeUnit::Microsecond => Some(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        TimeUnit::Nanosecond => {
            let nanos = column.as_primitive::<TimestampNanosecondType>().value(row);
            (nanos % 1_000 == 0).then_some(nanos / 1_000)
        }
    };
    micros.map_or_else(|| shown(column, row), |micros| Micros(micros).to_string())
}

/// Writes an unscaled integer with its decimal places.
fn decimal(value: i128, scale: i8) -> String {
    let Ok(places @ 1..) = usize::try_from(scale) else {
        return format!("{value}{}", "0".repeat(usize::from(scale.unsigned_abs())));
    };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    format!("{}{whole}.{fraction}", if value < 0 { "-" } else { "" })
}

/// Bytes that are text are shown as text, others in hexadecimal.
fn binary(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold(String::from("0x"), |mut text, byte| {
            text.push_str(&format!("{byte:02x}"));
            text
        }),
    }
}

fn write_json(text: &mut String, column: &ArrayRef, row: usize) {
    if column.is_null(row) {
        text.push_str("null");
        return;
    }
    match column.data_type() {
        DataType::Null => text.push_str("null"),
        DataType::Boolean => text.push_str(if column.as_boolean().value(row) { "true" } else { "false" }),
        data_type if data_type.is_integer() => text.push_str(&shown(column, row)),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let number = shown(column, row);
            // JSON has no word for NaN and infinity.
            text.push_str(&if number.parse::<serde_json::Number>().is_ok() { number } else { json_text(&number) });
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            text.push('{');
            for at in 0..entries.len() {
                text.push_str(if at == 0 { "" } else { "," });
                text.push_str(&json_text(&cell(keys, at).unwrap_or_default()));
                text.push(':');
                write_json(text, values, at);
            }
            text.push('}');
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            text.push('[');
            for at in 0..items.len() {
                text.push_str(if at == 0 { "" } else { "," });
                write_json(text, &items, at);
            }
            text.push(']');
        }
        _ => text.push_str(&json_text(&cell(column, row).unwrap_or_default())),
    }
}

fn json_text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

fn unique_names(batch: &RecordBatch) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(batch.num_columns());
    for field in batch.schema().fields() {
        let mut name = field.name().clone();
        let mut number = 2;
        while names.contains(&name) {
            name = format!("{}_{number}", field.name());
            number += 1;
        }
        names.push(name);
    }
    names
}

/// Tells whether values of a type are written by this program alone, so that no text of a log can be in them.
fn is_plain(data_type: &DataType) -> bool {
    data_type.is_numeric() || data_type.is_temporal() || matches!(data_type, DataType::Boolean)
}

/// Makes a text that a spreadsheet would evaluate inert.
fn inert(value: &str) -> String {
    if value.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{value}") } else { value.to_owned() }
}

fn quote(value: &str) -> String {
    if value.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
    use datafusion::arrow::datatypes::{Field, Schema};
    use sluice_schemas::tables;
    use std::sync::Arc;

    fn batch() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(0), None]).with_timezone("UTC"))),
            ("agent", Arc::new(StringArray::from(vec![Some("=cmd|' /C calc'!A0"), Some("a\u{1b}[2J\u{202e}\"b\",c")]))),
            ("cost", Arc::new(Decimal128Array::from(vec![Some(-1), Some(12_000_000_000_000)]).with_data_type(tables::MONEY))),
            ("n", Arc::new(Int64Array::from(vec![Some(-5), None]))),
            ("mean", Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN)]))),
        ];
        let fields: Vec<Field> = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect()).unwrap()
    }

    #[test]
    fn table_for_people() {
        let expected = concat!(
            "at                    agent                               cost  n  mean\n",
            "--------------------  ------------------------  ---------------  --  ----\n",
        );
        let text = format_table(&[batch()]);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("a\\u{1b}[2J\\u{202e}"), "{text}");
        assert!(text.starts_with(&expected[..20]), "{text}");
        assert_eq!(format_table(&[]), "");
    }

    #[test]
    fn json_for_programs() {
        let text = format_json(&[batch()]);
        let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(rows[0]["at"], "1970-01-01T00:00:00Z");
        assert_eq!(rows[0]["cost"], "-0.000000000001");
        assert_eq!(rows[0]["n"], -5);
        assert_eq!(rows[1]["at"], serde_json::Value::Null);
        assert_eq!(rows[1]["mean"], "NaN");
        assert_eq!(format_json(&[batch().slice(0, 0)]), "[]");
    }

    #[test]
    fn csv_for_spreadsheets() {
        let text = format_csv(&[batch()]);
        let lines: Vec<&str> = text.split("\n").collect();
        assert_eq!(lines[0], "at,agent,cost,n,mean");
        assert_eq!(lines[1], "1970-01-01T00:00:00Z,'=cmd|' /C calc'!A0,-0.000000000001,-5,0.5");
        assert_eq!(lines[2], ",\"a\\u{1b}[2J\\u{202e}\"\"b\"\",c\",12.000000000000,,NaN");
    }

    #[test]
    fn decimals_of_any_scale() {
        assert_eq!(decimal(-1, 12), "-0.000000000001");
        assert_eq!(decimal(i128::MIN, 0), i128::MIN.to_string());
        assert_eq!(decimal(15, -2), "1500");
        assert_eq!(decimal(100, 2), "1.00");
    }
}
