//! Column types between Arrow and Delta.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};
use sluice_schemas::tables::{self, PARTITION};

use super::LakeError;

/// Returns the schema a table gets for rows of `schema`: plain types, every column nullable, without the partition column.
pub(crate) fn plain(table: &str, schema: &Schema) -> Result<SchemaRef, LakeError> {
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields().iter().filter(|field| field.name() != PARTITION) {
        let kind = plain_type(field.data_type()).ok_or_else(|| LakeError::Unsupported {
            table: table.to_owned(),
            needs: format!("column '{}' of type {}", field.name(), field.data_type()),
        })?;
        fields.push(Field::new(field.name(), kind, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn plain_type(kind: &DataType) -> Option<DataType> {
    Some(match kind {
        DataType::Dictionary(_, value) => plain_type(value)?,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Timestamp(..) => tables::timestamp(),
        DataType::Map(..) if *kind == tables::string_map() => kind.clone(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Boolean | DataType::Date32 | DataType::Float64 | DataType::Decimal128(..) => kind.clone(),
        _ => return None,
    })
}

/// Writes a plain schema, and the partition column after it, as the `schemaString` of a table.
pub(crate) fn to_delta(schema: &Schema) -> String {
    let field = |name: &str, kind: Value| json!({"name": name, "type": kind, "nullable": true, "metadata": {}});
    let mut fields: Vec<Value> = schema.fields().iter().map(|f| field(f.name(), delta_type(f.data_type()))).collect();
    fields.push(field(PARTITION, json!("string")));
    json!({"type": "struct", "fields": fields}).to_string()
}

fn delta_type(kind: &DataType) -> Value {
    match kind {
        DataType::Int32 => json!("integer"),
        DataType::Int64 => json!("long"),
        DataType::Boolean => json!("boolean"),
        DataType::Binary => json!("binary"),
        DataType::Date32 => json!("date"),
        DataType::Float64 => json!("double"),
        DataType::Timestamp(..) => json!("timestamp"),
        DataType::Decimal128(precision, scale) => json!(format!("decimal({precision},{scale})")),
        DataType::Map(..) => json!({"type": "map", "keyType": "string", "valueType": "string", "valueContainsNull": true}),
        _ => json!("string"),
    }
}

/// Reads a `schemaString`, leaving out the partition column.
pub(crate) fn from_delta(table: &str, text: &str) -> Result<SchemaRef, LakeError> {
    let unsupported = |needs: String| LakeError::Unsupported { table: table.to_owned(), needs };
    let schema: Value = serde_json::from_str(text).map_err(|error| LakeError::corrupt(table, error))?;
    let fields = schema["fields"].as_array().ok_or_else(|| LakeError::corrupt(table, "schemaString has no fields"))?;
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let name = field["name"].as_str().ok_or_else(|| LakeError::corrupt(table, "a column has no name"))?;
        if name == PARTITION {
            continue;
        }
        let kind = arrow_type(&field["type"]).ok_or_else(|| unsupported(format!("column '{name}' of type {}", field["type"])))?;
        columns.push(Field::new(name, kind, true));
    }
    Ok(Arc::new(Schema::new(columns)))
}

fn arrow_type(kind: &Value) -> Option<DataType> {
    let Some(word) = kind.as_str() else {
        let texts = kind["type"] == "map" && kind["keyType"] == "string" && kind["valueType"] == "string";
        return texts.then(tables::string_map);
    };
    Some(match word {
        "string" => DataType::Utf8,
        "integer" | "short" | "byte" => DataType::Int32,
        "long" => DataType::Int64,
        "boolean" => DataType::Boolean,
        "binary" => DataType::Binary,
        "date" => DataType::Date32,
        "double" => DataType::Float64,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
        _ => {
            let (precision, scale) = word.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            DataType::Decimal128(precision.trim().parse().ok()?, scale.trim().parse().ok()?)
        }
    })
}

/// How a table takes the rows of a writer.
pub(crate) enum Fit {
    /// As it is.
    Same,
    /// After columns are added at its end.
    Widen(SchemaRef),
}

/// Compares a table's schema with the one a writer has; columns may have been added since, none may have changed its type.
pub(crate) fn fit(table: &str, found: &SchemaRef, wanted: &SchemaRef) -> Result<Fit, LakeError> {
    let mut fields: Vec<Field> = found.fields().iter().map(|field| field.as_ref().clone()).collect();
    let before = fields.len();
    for field in wanted.fields() {
        match found.column_with_name(field.name()) {
            Some((_, have)) if have.data_type() == field.data_type() => {}
            Some((_, have)) => {
                return Err(LakeError::SchemaChanged {
                    table: table.to_owned(),
                    column: field.name().clone(),
                    found: have.data_type().to_string(),
                    expected: field.data_type().to_string(),
                });
            }
            None => fields.push(field.as_ref().clone()),
        }
    }
    Ok(if fields.len() == before { Fit::Same } else { Fit::Widen(Arc::new(Schema::new(fields))) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_comes_back_from_its_delta_schema() {
        for table in tables::ALL {
            let schema = tables::schema(table).unwrap();
            let plain = plain(table, &schema).unwrap();
            assert_eq!(plain, schema, "{table}");
            let text = to_delta(&plain);
            assert!(text.contains(r#""name":"dt""#));
            assert_eq!(from_delta(table, &text).unwrap(), schema, "{table}");
        }
    }

    #[test]
    fn columns_may_be_added_and_not_changed() {
        let schema = |fields: Vec<Field>| Arc::new(Schema::new(fields));
        let old = schema(vec![Field::new("a", DataType::Int64, true)]);
        let new = schema(vec![Field::new("b", DataType::Utf8, true), Field::new("a", DataType::Int64, true)]);
        assert!(matches!(fit("t", &old, &old), Ok(Fit::Same)));
        assert!(matches!(fit("t", &old, &new), Ok(Fit::Widen(wide)) if wide.fields().len() == 2));
        assert!(matches!(fit("t", &new, &old), Ok(Fit::Same)));
        let changed = schema(vec![Field::new("a", DataType::Utf8, true)]);
        assert!(matches!(fit("t", &old, &changed), Err(LakeError::SchemaChanged { .. })));
    }
}
