//! Reports in Parquet, batch by batch: only the columns that are read, whatever types their writer chose.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use datafusion::arrow::array::{
    Array, AsArray, Decimal128Array, Float64Array, MapArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type, TimeUnit, TimestampMicrosecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sluice_schemas::Micros;

use super::CurError;
use super::columns::{COUNT, Columns, Product, Products, ROLES, Role, complete, name, pairs};
use super::csv::parse_time;
use super::number::Number;
use super::sums::{Line, PRINCIPAL_TAG, Sums};

/// Lines read at once.
const BATCH: usize = 8 * 1024;

/// Reads a file.
pub(super) fn read(path: &Path, sums: &mut Sums) -> Result<(), CurError> {
    let file = File::open(path).map_err(|source| CurError::Io { path: path.to_owned(), source })?;
    let failed = |source| CurError::Parquet { path: path.to_owned(), source };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
    let schema = builder.schema().clone();
    let columns = Columns::of(path, schema.fields().iter().map(|field| field.name().as_str()))?;
    let wanted: Vec<usize> = ROLES.iter().filter_map(|(role, _)| columns.at(*role)).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).with_batch_size(BATCH).build().map_err(failed)?;
    let mut products = Products::default();
    let mut line = 0;
    for batch in reader {
        let batch = batch.map_err(|source| CurError::Arrow { path: path.to_owned(), source })?;
        let rows = Rows::of(path, &columns, &schema, &batch)?;
        for row in 0..batch.num_rows() {
            line += 1;
            rows.add(row, line, &mut products, sums)?;
        }
    }
    Ok(())
}

/// A column, in one of the forms that are read.
enum Cells {
    Text(StringArray),
    Decimal(Decimal128Array, i8),
    Float(Float64Array),
    Time(TimestampMicrosecondArray),
    Map(Box<Pairs>),
}

/// A map of texts.
struct Pairs {
    map: MapArray,
    keys: StringArray,
    values: StringArray,
}

/// A batch, by role.
struct Rows<'a> {
    path: &'a Path,
    cells: [Option<Cells>; COUNT],
}

impl<'a> Rows<'a> {
    fn of(path: &'a Path, columns: &Columns, schema: &datafusion::arrow::datatypes::Schema, batch: &RecordBatch) -> Result<Self, CurError> {
        let mut cells = [const { None }; COUNT];
        for (role, _) in ROLES {
            let field = columns.at(role).map(|at| schema.field(at).name());
            let column = field.and_then(|name| batch.column_by_name(name));
            if let (Some(column), true) = (column, cells[role as usize].is_none()) {
                cells[role as usize] = Some(read_cells(path, role, column.as_ref())?);
            }
        }
        Ok(Self { path, cells })
    }

    fn add(&self, row: usize, number: u64, products: &mut Products, sums: &mut Sums) -> Result<(), CurError> {
        let bad = |role: Role, value: &str, what| CurError::bad(self.path, number, role, value, what);
        let start = self.time(row).ok_or_else(|| bad(Role::Start, self.text(Role::Start, row), "time in UTC"))?;
        let line_type = self.text(Role::LineType, row);
        let account = match self.text(Role::Account, row) {
            "" => self.text(Role::Payer, row),
            account => account,
        };
        sums.see(start, line_type, account);
        let of_map;
        let product = match &self.cells[Role::Product as usize] {
            Some(Cells::Map(..)) => {
                of_map = Product::of(self.map(Role::Product, row));
                Some(&of_map)
            }
            _ => match self.text(Role::Product, row) {
                "" => None,
                json => Some(products.read(json).ok_or_else(|| bad(Role::Product, json, "JSON object"))?),
            },
        };
        let mut line = Line {
            start,
            line_type,
            account,
            has_net: self.cells[Role::Net as usize].is_some(),
            service: self.text(Role::Service, row),
            product_code: self.text(Role::ProductCode, row),
            region: self.text(Role::Region, row),
            model: self.text(Role::Model, row),
            ..Line::default()
        };
        if !complete(&mut line, [self.text(Role::ProductName, row), self.text(Role::ServiceName, row)], product) || !sums.holds(start) {
            return Ok(());
        }
        let currency = self.text(Role::Currency, row);
        if !matches!(currency, "" | "USD") {
            return Err(CurError::Currency { path: self.path.to_owned(), line: number, currency: currency.to_owned() });
        }
        line.principal = self.text(Role::Principal, row);
        line.usage_type = self.text(Role::UsageType, row);
        line.unit = self.text(Role::Unit, row);
        line.description = self.text(Role::Description, row);
        let amount = |role: Role| self.number(role, row).map_err(|value| bad(role, &value, "amount"));
        line.quantity = amount(Role::Quantity)?.unwrap_or_default();
        line.cost = amount(Role::Cost)?.ok_or_else(|| bad(Role::Cost, "", "amount"))?;
        line.net = amount(Role::Net)?;
        if sums.wants_tags(line.principal) {
            let tags = match self.text(Role::Tags, row) {
                "" => self.map(Role::Tags, row),
                json if !json.contains(PRINCIPAL_TAG) => BTreeMap::new(),
                json => pairs(json).ok_or_else(|| bad(Role::Tags, json, "JSON object"))?,
            };
            sums.tag(line.principal, tags);
        }
        sums.add(&line);
        Ok(())
    }

    /// Returns the text of a cell; the empty text where there is none.
    fn text(&self, role: Role, row: usize) -> &str {
        match &self.cells[role as usize] {
            Some(Cells::Text(column)) if column.is_valid(row) => column.value(row),
            _ => "",
        }
    }

    fn time(&self, row: usize) -> Option<Micros> {
        match &self.cells[Role::Start as usize] {
            Some(Cells::Time(column)) if column.is_valid(row) => Some(Micros(column.value(row))),
            _ => parse_time(self.text(Role::Start, row)),
        }
    }

    /// Returns the amount in a cell; `Err` holds what cannot be read.
    fn number(&self, role: Role, row: usize) -> Result<Option<Number>, String> {
        let (found, text) = match &self.cells[role as usize] {
            Some(Cells::Decimal(column, scale)) if column.is_valid(row) => {
                (Number::of_decimal(column.value(row), *scale), column.value_as_string(row))
            }
            Some(Cells::Float(column)) if column.is_valid(row) => {
                let text = column.value(row).to_string();
                (Number::parse(&text), text)
            }
            _ => match self.text(role, row) {
                "" => return Ok(None),
                text => (Number::parse(text), text.to_owned()),
            },
        };
        found.map(Some).ok_or(text)
    }

    fn map(&self, role: Role, row: usize) -> BTreeMap<String, String> {
        let Some(Cells::Map(pairs)) = &self.cells[role as usize] else { return BTreeMap::new() };
        let Pairs { map, keys, values } = pairs.as_ref();
        let (from, to) = if map.is_null(row) { (0, 0) } else { (map.value_offsets()[row], map.value_offsets()[row + 1]) };
        let places = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
        let value = |at: usize| if values.is_null(at) { String::new() } else { values.value(at).to_owned() };
        places.map(|at| (keys.value(at).to_owned(), value(at))).collect()
    }
}

/// Brings a column into a form that is read.
fn read_cells(path: &Path, role: Role, column: &dyn Array) -> Result<Cells, CurError> {
    let wrong = |what| CurError::Type { path: path.to_owned(), column: name(role), data_type: column.data_type().to_string(), what };
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |to: &DataType, what| cast_with_options(column, to, &strict).map_err(|_| wrong(what));
    let text = |column: &dyn Array, what| -> Result<StringArray, CurError> {
        let text = cast_with_options(column, &DataType::Utf8, &strict).map_err(|_| wrong(what))?;
        Ok(text.as_string::<i32>().clone())
    };
    let amount = matches!(role, Role::Quantity | Role::Cost | Role::Net);
    match column.data_type() {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 if role == Role::Start => {
            let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
            Ok(Cells::Time(cast(&micros, "a time")?.as_primitive::<TimestampMicrosecondType>().clone()))
        }
        DataType::Decimal128(_, scale) if amount => Ok(Cells::Decimal(column.as_primitive::<Decimal128Type>().clone(), *scale)),
        DataType::Float32 | DataType::Float64 if amount => {
            Ok(Cells::Float(cast(&DataType::Float64, "an amount")?.as_primitive::<Float64Type>().clone()))
        }
        DataType::Map(..) if matches!(role, Role::Product | Role::Tags) => {
            let map = column.as_map().clone();
            let (keys, values) = (text(map.keys().as_ref(), "a map of texts")?, text(map.values().as_ref(), "a map of texts")?);
            Ok(Cells::Map(Box::new(Pairs { map, keys, values })))
        }
        data_type if data_type.is_nested() => Err(wrong("a text, or a map of texts")),
        _ => Ok(Cells::Text(text(column, "a text")?)),
    }
}
