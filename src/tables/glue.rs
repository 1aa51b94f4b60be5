//! Entries of the Glue Data Catalog: what one must say for Athena to read a Delta table.
//!
//! AWS, "Synchronize Delta Lake metadata": Athena takes rows and columns from the Delta log at the place that the SerDe parameter `path`
//! names; Lake Formation, views and filters need the same columns in the entry. Pure.

use serde_json::{Map, Value, json};

use super::{Column, Location, Table};

/// What tells Athena, Spark and crawlers that an entry is a Delta table.
const PARAMETERS: [(&str, &str); 3] = [("EXTERNAL", "TRUE"), ("spark.sql.sources.provider", "delta"), ("table_type", "DELTA")];

/// Returns the entries of tables, as `CreateTable` and `AWS::Glue::Table` take them.
pub(crate) fn table_inputs(tables: &[Table], location: &Location) -> Vec<Value> {
    tables.iter().map(|table| table_input(table, location)).collect()
}

fn table_input(table: &Table, location: &Location) -> Value {
    let column = |column: &Column| json!({"Name": column.name, "Type": column.kind});
    let place = location.of(&table.name);
    json!({
        "Name": table.name,
        "Description": table.description(),
        "TableType": "EXTERNAL_TABLE",
        "Parameters": PARAMETERS.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect::<Map<_, _>>(),
        "PartitionKeys": [column(&Table::partition())],
        "StorageDescriptor": {
            "Columns": table.columns.iter().map(column).collect::<Vec<_>>(),
            "Location": place,
            "SerdeInfo": {"Parameters": {"path": place, "serialization.format": "1"}},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::built_in;
    use super::*;

    const COMMITTED: &str = include_str!("../../deploy/athena/tables.json");

    #[test]
    fn the_committed_file_is_what_is_generated() {
        let location = Location::parse("s3://${LakeBucket}/lake").unwrap();
        let generated = serde_json::to_string_pretty(&table_inputs(&built_in().unwrap(), &location)).unwrap() + "\n";
        assert!(
            generated == COMMITTED,
            "make it again: sluice lake tables --built-in --format glue --location 's3://${{LakeBucket}}/lake' >deploy/athena/tables.json"
        );
    }

    #[test]
    fn an_entry_says_where_and_what() {
        let calls = table_inputs(&built_in().unwrap(), &Location::parse("s3://bucket/lake").unwrap()).remove(0);
        assert_eq!(calls["StorageDescriptor"]["Location"], "s3://bucket/lake/calls/");
        assert_eq!(calls["StorageDescriptor"]["SerdeInfo"]["Parameters"]["path"], "s3://bucket/lake/calls/");
        assert_eq!(calls["PartitionKeys"], json!([{"Name": "dt", "Type": "string"}]));
        assert_eq!(calls["StorageDescriptor"]["Columns"][0], json!({"Name": "event_time", "Type": "timestamp"}));
        assert_eq!(calls["Parameters"]["table_type"], "DELTA");
    }
}
