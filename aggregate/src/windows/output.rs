//! What the rows of a declared window look like: its keys, its types, and the columns its table adds.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::expressions::CastExpr;
use sluice_schemas::tables;

use super::aggregation::Aggregation;
use super::error::Refusal;

/// Returns the output column of each group column, the window start first.
pub(super) fn keys(aggregation: &Aggregation, start_output: usize) -> Result<Vec<usize>, Refusal> {
    let outputs = 0..aggregation.output_schema().fields().len();
    let shown: Vec<Option<usize>> = outputs.map(|output| aggregation.group_of_output(output)).collect();
    let start = aggregation.group_of_output(start_output);
    let mut keys = vec![start_output];
    for group in (0..aggregation.group_count()).filter(|&group| Some(group) != start) {
        let output = shown.iter().position(|&found| found == Some(group));
        keys.push(output.ok_or_else(|| Refusal::KeyNotInOutput { column: aggregation.group_name(group).to_owned() })?);
    }
    Ok(keys)
}

/// Refuses aggregates over floats, save the average of integers, whose sum is watched to stay exact.
pub(super) fn refuse_floats(aggregation: &Aggregation) -> Result<(), Refusal> {
    let schema = aggregation.argument_schema();
    for function in aggregation.functions() {
        for argument in function.expressions() {
            let is_float = |data_type: datafusion::common::Result<DataType>| data_type.is_ok_and(|data_type| data_type.is_floating());
            if !is_float(argument.data_type(&schema)) {
                continue;
            }
            let cast = argument.downcast_ref::<CastExpr>();
            let of_integer = cast.is_some_and(|cast| cast.expr().data_type(&schema).is_ok_and(|data_type| data_type.is_integer()));
            if function.fun().name() != "avg" || !of_integer {
                return Err(Refusal::Float { column: function.name().to_owned() });
            }
        }
    }
    Ok(())
}

/// Returns the types that a table can hold for the types of a result.
pub(super) fn table_types(result: &Schema) -> Result<SchemaRef, Refusal> {
    let fields = result.fields().iter().map(|field| {
        let data_type = match field.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => DataType::Int64,
            DataType::Decimal128(_, 12) => tables::MONEY,
            DataType::Timestamp(..) => tables::timestamp(),
            plain @ (DataType::Boolean | DataType::Date32 | DataType::Float64 | DataType::Decimal128(..)) => plain.clone(),
            other => return Err(Refusal::Type { column: field.name().clone(), data_type: other.to_string() }),
        };
        Ok(Field::new(field.name(), data_type, true))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>, _>>()?)))
}

pub(super) fn with_version(result: &Schema) -> SchemaRef {
    let mut fields: Vec<Field> = result.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("version", DataType::Int64, true));
    fields.push(Field::new("final", DataType::Boolean, true));
    Arc::new(Schema::new(fields))
}
