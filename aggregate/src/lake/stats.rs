//! What the log says about a file's rows: how many, and the range of each time column.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{max, min};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use serde_json::{Map, Value, json};
use sluice_schemas::Micros;

/// Range of a time column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    least: i64,
    greatest: i64,
}

/// Statistics of rows, in the making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) rows: u64,
    times: BTreeMap<String, Range>,
    nulls: BTreeMap<String, u64>,
}

impl Stats {
    /// Counts rows whose columns are those of `schema`.
    pub(crate) fn observe(&mut self, schema: &SchemaRef, columns: &[ArrayRef]) {
        self.rows += columns.first().map_or(0, |column| column.len() as u64);
        for (field, column) in schema.fields().iter().zip(columns) {
            if !matches!(field.data_type(), DataType::Timestamp(..)) {
                continue;
            }
            *self.nulls.entry(field.name().clone()).or_default() += column.null_count() as u64;
            let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() else {
                continue;
            };
            if let (Some(least), Some(greatest)) = (min(times), max(times)) {
                self.widen(field.name(), Range { least, greatest });
            }
        }
    }

    /// Adds the statistics of further rows.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        for (name, range) in &other.times {
            self.widen(name, *range);
        }
        for (name, nulls) in &other.nulls {
            *self.nulls.entry(name.clone()).or_default() += nulls;
        }
    }

    fn widen(&mut self, name: &str, range: Range) {
        let known = self.times.entry(name.to_owned()).or_insert(range);
        known.least = known.least.min(range.least);
        known.greatest = known.greatest.max(range.greatest);
    }

    /// Writes them as Delta does. Times have milliseconds there, so the range is widened to whole ones.
    pub(crate) fn to_json(&self) -> String {
        let side = |pick: fn(&Range) -> i64| -> Map<String, Value> {
            self.times.iter().map(|(name, range)| (name.clone(), Value::from(millis_text(pick(range))))).collect()
        };
        json!({
            "numRecords": self.rows,
            "minValues": side(|range| range.least.div_euclid(1_000)),
            "maxValues": side(|range| range.greatest.div_euclid(1_000) + i64::from(range.greatest.rem_euclid(1_000) != 0)),
            "nullCount": self.nulls,
        })
        .to_string()
    }
}

fn millis_text(millis: i64) -> String {
    let text = Micros(millis.saturating_mul(1_000)).to_string();
    match text.split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{}Z", fraction.get(..3).unwrap_or("000")),
        None => text.replace('Z', ".000Z"),
    }
}

/// What a file's statistics tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) rows: Option<u64>,
    pub(crate) time: Option<(Micros, Micros)>,
}

/// Reads the row count and the range of `column` from statistics text; what is absent or of another form is simply not told.
pub(crate) fn read(text: &str, column: Option<&str>) -> Told {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Told::default();
    };
    let time = |side: &str| value[side][column?].as_str()?.parse::<Micros>().ok();
    Told { rows: value["numRecords"].as_u64(), time: time("minValues").zip(time("maxValues")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::TimestampMicrosecondArray;
    use arrow::datatypes::{Field, Schema};
    use sluice_schemas::tables;
    use std::sync::Arc;

    #[test]
    fn ranges_cover_and_come_back() {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("event_time", tables::timestamp(), true)]));
        let column =
            |times: Vec<Option<i64>>| -> Vec<ArrayRef> { vec![Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))] };
        let mut stats = Stats::default();
        stats.observe(&schema, &column(vec![Some(1_000_001), None]));
        let mut more = Stats::default();
        more.observe(&schema, &column(vec![Some(-1), Some(2_000_000)]));
        stats.merge(&more);
        let text = stats.to_json();
        assert!(text.contains(r#""minValues":{"event_time":"1969-12-31T23:59:59.999Z"}"#), "{text}");
        assert!(text.contains(r#""nullCount":{"event_time":1}"#), "{text}");
        let told = read(&text, Some("event_time"));
        assert_eq!(told, Told { rows: Some(4), time: Some((Micros(-1_000), Micros(2_000_000))) });
        assert_eq!(read("", None), Told::default());
        assert_eq!(millis_text(1_234), "1970-01-01T00:00:01.234Z");
    }
}
