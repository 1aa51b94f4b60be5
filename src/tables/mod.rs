//! The lake's tables as a catalogue of AWS knows them: names and types of columns, places, statements of Athena, entries of AWS Glue.
//!
//! Owns: the forms a table is told to a catalogue in, what an entry must become, and the daemon's part in it. Does not own: what the tables
//! hold, and calls of AWS other than those of `sync`. Money stays `decimal(38,12)`; `dt` is a partition column and stands after the others.

mod ddl;
#[cfg(feature = "aws")]
mod entry;
mod glue;
mod keeper;
#[cfg(feature = "aws")]
pub(crate) mod sync;

use std::fmt;

use anyhow::Context;
use arrow::datatypes::{DataType, Schema};
use sluice_aggregate::lake::Lake;
use sluice_schemas::tables::{self, PARTITION};

pub(crate) use ddl::statements;
pub(crate) use glue::table_inputs;
pub(crate) use keeper::{EntryKeeper, GlueDatabase};

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// Name.
    pub(crate) name: String,
    /// Type, as Glue and Athena write it.
    pub(crate) kind: String,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// Name.
    pub(crate) name: String,
    /// Columns of its files, without the partition column.
    pub(crate) columns: Vec<Column>,
}

impl Table {
    fn new(name: &str, schema: &Schema) -> anyhow::Result<Self> {
        let columns = schema.fields().iter().filter(|field| field.name() != PARTITION).map(|field| {
            let kind = type_name(field.data_type());
            let kind = kind.with_context(|| format!("column '{}' of table '{name}': no type for {}", field.name(), field.data_type()))?;
            Ok(Column { name: field.name().clone(), kind })
        });
        Ok(Self { name: name.to_owned(), columns: columns.collect::<anyhow::Result<_>>()? })
    }

    /// Returns the partition column.
    pub(crate) fn partition() -> Column {
        Column { name: PARTITION.to_owned(), kind: "string".to_owned() }
    }

    /// Tells whether rows of it are replaced by newer versions, as those of a declared window are.
    fn is_versioned(&self) -> bool {
        ["window_start", "version", "final"].iter().all(|wanted| self.columns.iter().any(|column| column.name == *wanted))
    }

    /// What a person reads about it in a catalogue.
    fn description(&self) -> &'static str {
        match self.name.as_str() {
            tables::CALLS => "One row a call: who, which session, model, tokens by class, exact cost, what the attribution rests on",
            tables::SPEND_MINUTE => "Spend by minute, account, region, agent, model and team; rows of one key may repeat: sum them",
            tables::SPEND_HOUR => "Spend by hour, account, region, agent, model and team; rows of one key may repeat: sum them",
            tables::SPEND_DAY => "Spend by day, with principal and session; rows of one key may repeat: sum them",
            tables::SPEND_SESSION => "Spend by session, with its first and last event; rows of one key may repeat: sum them",
            tables::REJECTED => "One row a record that could not be read: reason, place, hash and the record itself",
            tables::BREACHES => "One row a threshold crossed",
            tables::ACTIONS => "One row for each thing done about a breach or ordered by a person",
            tables::CORRECTIONS => "One row for each cost that moved to another owner or was rated again",
            tables::EVIDENCE => "One row a CloudTrail event or span that tells who called",
            tables::DIRECTORY => "One row whenever what AWS says of a role, profile, runtime or agent changed",
            _ => "Rows of a declared window; the view of the same name with _latest has the newest version of each",
        }
    }
}

/// Where a lake is, as Athena writes it: `s3://bucket/prefix`, without a `/` at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location(String);

impl Location {
    /// Reads a place. A bucket may be a name that CloudFormation puts in: `${LakeBucket}`.
    ///
    /// # Errors
    /// A sentence for people.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let place = text.strip_prefix("s3://").map(|place| place.trim_end_matches('/'));
        let fits =
            |place: &&str| !place.is_empty() && !place.contains("//") && !place.contains(|c: char| c.is_control() || "'\"`\\".contains(c));
        match place.filter(fits) {
            Some(place) => Ok(Self(format!("s3://{place}"))),
            None => Err(format!("{text} names no place in a bucket; write it like s3://bucket/prefix")),
        }
    }

    /// Returns the folder of a table, with a `/` at its end.
    fn of(&self, table: &str) -> String {
        format!("{}/{table}/", self.0)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the name of a Glue database.
///
/// # Errors
/// It cannot be one that Athena takes without quotes.
pub(crate) fn database_name(text: &str) -> Result<String, String> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let fits = text.len() <= 255 && text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(is_word);
    if fits { Ok(text.to_owned()) } else { Err("a name of lower-case letters, digits and _, a letter first".to_owned()) }
}

/// Returns the tables every lake has.
///
/// # Errors
/// A column has a type that catalogues do not know.
pub(crate) fn built_in() -> anyhow::Result<Vec<Table>> {
    tables::ALL.iter().map(|name| Table::new(name, &*tables::schema(name).with_context(|| format!("schema of {name}"))?)).collect()
}

/// Returns the tables of a lake, declared windows among them: the built-in ones first, in their order.
///
/// # Errors
/// A column has a type that catalogues do not know.
pub(crate) fn of_lake(lake: &Lake) -> anyhow::Result<Vec<Table>> {
    let names = lake.tables();
    let own = names.iter().map(String::as_str).filter(|name| !tables::ALL.contains(name));
    tables::ALL.into_iter().chain(own).map(|name| Table::new(name, &*lake.schema(name)?)).collect()
}

/// Returns the name of a type; AWS, "Data types in Amazon Athena" and "Query Linux Foundation Delta Lake tables".
fn type_name(kind: &DataType) -> Option<String> {
    Some(match kind {
        DataType::Utf8 => "string".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Map(..) if *kind == tables::string_map() => "map<string,string>".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_the_catalogue() {
        let found = built_in().unwrap();
        assert_eq!(found.len(), tables::ALL.len());
        let kind = |table: &str, column: &str| {
            let table = found.iter().find(|found| found.name == table).unwrap();
            table.columns.iter().find(|found| found.name == column).unwrap().kind.clone()
        };
        assert_eq!(kind("calls", "cost_usd"), "decimal(38,12)");
        assert_eq!(kind("calls", "event_time"), "timestamp");
        assert_eq!(kind("calls", "tags"), "map<string,string>");
        assert_eq!(kind("calls", "agent_rank"), "int");
        assert_eq!(kind("calls", "input_tokens"), "bigint");
        assert_eq!(kind("calls", "priced"), "boolean");
        assert_eq!(kind("rejected", "raw"), "binary");
        assert!(found.iter().all(|table| table.columns.iter().all(|column| column.name != PARTITION)));
        let list = DataType::new_list(DataType::Utf8, true);
        assert!(Table::new("t", &Schema::new(vec![arrow::datatypes::Field::new("x", list, true)])).is_err());
    }

    #[test]
    fn a_location_is_a_place_in_a_bucket() {
        assert_eq!(Location::parse("s3://b/lake/").unwrap().of("calls"), "s3://b/lake/calls/");
        assert_eq!(Location::parse("s3://${LakeBucket}/lake").unwrap().to_string(), "s3://${LakeBucket}/lake");
        for text in ["", "s3://", "b/lake", "/lake", "s3://b//x", "s3://b/it's"] {
            assert!(Location::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_database_needs_no_quotes() {
        assert!(database_name("sluice_2").is_ok());
        for text in ["", "Sluice", "2x", "a-b", "a b", "a'b"] {
            assert!(database_name(text).is_err(), "{text}");
        }
    }
}
