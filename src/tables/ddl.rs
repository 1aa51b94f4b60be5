//! Statements of Athena that make the tables: place and `table_type` alone, for Athena reads columns from the Delta log.

use sluice_aggregate::query::latest_rows;

use super::{Location, Table};

/// Returns one statement a table, and a view for each table whose rows have versions.
pub(crate) fn statements(tables: &[Table], database: &str, location: &Location) -> String {
    let mut text = String::new();
    for table in tables {
        let name = &table.name;
        let place = location.of(name);
        text.push_str(&format!(
            "CREATE EXTERNAL TABLE IF NOT EXISTS {database}.{name}\nLOCATION '{place}'\nTBLPROPERTIES ('table_type' = 'DELTA');\n\n"
        ));
        if table.is_versioned() {
            text.push_str(&format!("CREATE OR REPLACE VIEW {database}.{name}_latest AS\n{};\n\n", latest_rows(name)));
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::super::{Column, built_in};
    use super::*;

    #[test]
    fn a_table_has_a_place_and_a_type_alone() {
        let text = statements(&built_in().unwrap(), "sluice", &Location::parse("s3://bucket/lake").unwrap());
        let first = "CREATE EXTERNAL TABLE IF NOT EXISTS sluice.calls\nLOCATION 's3://bucket/lake/calls/'\nTBLPROPERTIES ('table_type' = 'DELTA');\n";
        assert!(text.starts_with(first), "{text}");
        assert_eq!(text.matches("CREATE EXTERNAL TABLE").count(), 11);
        assert!(!text.contains("VIEW"));
        assert!(text.ends_with(";\n") && !text.ends_with("\n\n"));
    }

    #[test]
    fn a_window_has_a_view_of_its_newest_rows() {
        let columns = ["window_start", "model", "version", "final"].map(|name| Column { name: name.to_owned(), kind: "string".to_owned() });
        let window = Table { name: "errors_5m".to_owned(), columns: columns.to_vec() };
        let text = statements(&[window], "db", &Location::parse("s3://b").unwrap());
        assert!(text.contains("CREATE OR REPLACE VIEW db.errors_5m_latest AS\nSELECT t.* FROM \"errors_5m\" t"), "{text}");
    }
}
