//! Rows of one key into one row: what compaction does to the additive tables. Adding is all it does, so no sum over the table changes.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use sluice_schemas::tables::{SPEND_DAY, SPEND_HOUR, SPEND_MINUTE, SPEND_SESSION};

/// Bytes held at once; with more of them some keys keep several rows, which is as right.
const BYTES: usize = 96 << 20;

/// What becomes of a column when rows of one key meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Key,
    Sum,
    Least,
    Greatest,
}

/// Adds up rows of one key.
pub(crate) struct Merger {
    table: String,
    schema: SchemaRef,
    roles: Vec<Role>,
    converter: RowConverter,
    index: HashTable<u32>,
    hasher: FixedState,
    keys: Keys,
    /// For each column that is no key, the value of each key.
    values: Vec<Values>,
}

/// Keys in the form of [`RowConverter`], one after the other.
#[derive(Debug, Default)]
struct Keys {
    text: Vec<u8>,
    /// Where each key ends.
    ends: Vec<usize>,
}

impl Keys {
    fn push(&mut self, key: &[u8]) {
        self.text.extend_from_slice(key);
        self.ends.push(self.text.len());
    }

    fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[at]]
    }
}

/// The value of each key; absent where no row had one.
#[derive(Debug)]
struct Values {
    known: Vec<bool>,
    numbers: Numbers,
}

/// Hardly any sum needs more than eight bytes, so all of a column have them until one does.
#[derive(Debug)]
enum Numbers {
    Narrow(Vec<i64>),
    Wide(Vec<i128>),
}

impl Values {
    const fn new() -> Self {
        Self { known: Vec::new(), numbers: Numbers::Narrow(Vec::new()) }
    }

    fn grow(&mut self, keys: usize) {
        self.known.resize(keys, false);
        match &mut self.numbers {
            Numbers::Narrow(numbers) => numbers.resize(keys, 0),
            Numbers::Wide(numbers) => numbers.resize(keys, 0),
        }
    }

    fn get(&self, at: usize) -> Option<i128> {
        let number = match &self.numbers {
            Numbers::Narrow(numbers) => i128::from(numbers[at]),
            Numbers::Wide(numbers) => numbers[at],
        };
        self.known[at].then_some(number)
    }

    fn set(&mut self, at: usize, number: i128) {
        self.known[at] = true;
        if let (Numbers::Narrow(numbers), Err(_)) = (&self.numbers, i64::try_from(number)) {
            self.numbers = Numbers::Wide(numbers.iter().copied().map(i128::from).collect());
        }
        match &mut self.numbers {
            Numbers::Narrow(numbers) => numbers[at] = number as i64,
            Numbers::Wide(numbers) => numbers[at] = number,
        }
    }

    fn bytes(&self) -> usize {
        match &self.numbers {
            Numbers::Narrow(numbers) => numbers.len() * (1 + size_of::<i64>()),
            Numbers::Wide(numbers) => numbers.len() * (1 + size_of::<i128>()),
        }
    }
}

impl Merger {
    /// Returns a merger for a table whose rows add up; `None` for one whose rows stand for themselves.
    pub(crate) fn new(table: &str, schema: &SchemaRef) -> Result<Option<Self>, ArrowError> {
        if ![SPEND_MINUTE, SPEND_HOUR, SPEND_DAY, SPEND_SESSION].contains(&table) {
            return Ok(None);
        }
        let role = |field: &arrow::datatypes::FieldRef| match (field.name().as_str(), field.data_type()) {
            ("first_event", _) => Role::Least,
            ("last_event", _) => Role::Greatest,
            (_, DataType::Int64 | DataType::Decimal128(..)) => Role::Sum,
            _ => Role::Key,
        };
        let roles: Vec<Role> = schema.fields().iter().map(role).collect();
        let keys = schema.fields().iter().zip(&roles).filter(|(_, role)| **role == Role::Key);
        let converter = RowConverter::new(keys.map(|(field, _)| SortField::new(field.data_type().clone())).collect())?;
        let values = roles.iter().filter(|role| **role != Role::Key).map(|_| Values::new()).collect();
        let (table, schema, hasher) = (table.to_owned(), Arc::clone(schema), FixedState::default());
        Ok(Some(Self { table, schema, roles, converter, index: HashTable::new(), hasher, keys: Keys::default(), values }))
    }

    /// Tells whether it is time to take what has been added up.
    pub(crate) fn is_full(&self) -> bool {
        let each_key = size_of::<usize>() + 2 * size_of::<u32>();
        let keys = self.keys.text.len() + self.keys.ends.len() * each_key;
        keys + self.values.iter().map(Values::bytes).sum::<usize>() >= BYTES
    }

    /// Adds rows.
    pub(crate) fn add(&mut self, columns: &[ArrayRef]) -> Result<(), ArrowError> {
        let keys = columns.iter().zip(&self.roles).filter(|(_, role)| **role == Role::Key);
        let keys: Vec<ArrayRef> = keys.map(|(column, _)| Arc::clone(column)).collect();
        let rows = self.converter.convert_columns(&keys)?;
        let mut places = Vec::with_capacity(rows.num_rows());
        for row in &rows {
            let row = row.as_ref();
            let hash = self.hasher.hash_one(row);
            let (known, hasher) = (&mut self.keys, &self.hasher);
            let found = self.index.find(hash, |at| known.get(*at as usize) == row).copied();
            places.push(found.unwrap_or_else(|| {
                let at = known.ends.len() as u32;
                known.push(row);
                self.index.insert_unique(hash, at, |at| hasher.hash_one(known.get(*at as usize)));
                at
            }));
        }
        let others: Vec<(&ArrayRef, Role)> =
            columns.iter().zip(self.roles.iter().copied()).filter(|(_, role)| *role != Role::Key).collect();
        for (values, (column, role)) in self.values.iter_mut().zip(others) {
            values.grow(self.keys.ends.len());
            for (place, value) in places.iter().zip(numbers(column)?) {
                let at = *place as usize;
                if let Some(joined) = join(role, values.get(at), value)? {
                    values.set(at, joined);
                }
            }
        }
        Ok(())
    }

    /// Returns what has been added up, in the order of the keys, and begins anew.
    pub(crate) fn take(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let keys = std::mem::take(&mut self.keys);
        self.index.clear();
        let mut order: Vec<usize> = (0..keys.ends.len()).collect();
        order.sort_unstable_by(|a, b| keys.get(*a).cmp(keys.get(*b)));
        let parser = self.converter.parser();
        let mut key_columns = self.converter.convert_rows(order.iter().map(|at| parser.parse(keys.get(*at))))?.into_iter();
        drop(keys);
        let mut values = self.values.iter_mut().map(|values| std::mem::replace(values, Values::new()));
        let mut columns = Vec::with_capacity(self.roles.len());
        for (field, role) in self.schema.fields().iter().zip(&self.roles) {
            let column = match role {
                Role::Key => key_columns.next(),
                _ => values.next().map(|values| column(field.data_type(), order.iter().map(|at| values.get(*at)))).transpose()?,
            };
            columns.push(column.ok_or_else(|| ArrowError::ComputeError(format!("column {} of {} is lost", field.name(), self.table)))?);
        }
        Ok(columns)
    }
}

fn join(role: Role, known: Option<i128>, value: Option<i128>) -> Result<Option<i128>, ArrowError> {
    let (Some(a), Some(b)) = (known, value) else {
        return Ok(known.or(value));
    };
    Ok(Some(match role {
        Role::Least => a.min(b),
        Role::Greatest => a.max(b),
        Role::Sum | Role::Key => a.checked_add(b).ok_or_else(|| ArrowError::ArithmeticOverflow(format!("{a} + {b}")))?,
    }))
}

/// Returns the values of a column as whole numbers.
fn numbers(column: &ArrayRef) -> Result<Vec<Option<i128>>, ArrowError> {
    if let Some(amounts) = column.as_primitive_opt::<Decimal128Type>() {
        return Ok(amounts.iter().collect());
    }
    if let Some(counts) = column.as_primitive_opt::<Int64Type>() {
        return Ok(counts.iter().map(|count| count.map(i128::from)).collect());
    }
    let times = column.as_primitive_opt::<TimestampMicrosecondType>();
    let times = times.ok_or_else(|| ArrowError::SchemaError(format!("a column of type {} cannot be added up", column.data_type())))?;
    Ok(times.iter().map(|time| time.map(i128::from)).collect())
}

fn column(kind: &DataType, values: impl Iterator<Item = Option<i128>>) -> Result<ArrayRef, ArrowError> {
    if matches!(kind, DataType::Decimal128(..)) {
        let amounts: Decimal128Array = values.collect();
        // Checks the precision too: a sum beyond it must not be stored.
        let amounts = amounts.with_data_type(kind.clone());
        amounts.validate_decimal_precision(38)?;
        return Ok(Arc::new(amounts));
    }
    let narrow = |value: Option<i128>| value.map(i64::try_from).transpose();
    let counts: Vec<Option<i64>> =
        values.map(narrow).collect::<Result<_, _>>().map_err(|error| ArrowError::ArithmeticOverflow(error.to_string()))?;
    Ok(match kind {
        DataType::Timestamp(..) => Arc::new(TimestampMicrosecondArray::from(counts).with_data_type(kind.clone())),
        _ => Arc::new(Int64Array::from(counts)),
    })
}

/// Sums of the whole-number columns of a table, to compare what went into a rewrite with what came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals(Vec<i128>);

impl Totals {
    /// Adds rows; a sum that overflows wraps on both sides alike.
    pub(crate) fn add(&mut self, columns: &[ArrayRef]) -> Result<(), ArrowError> {
        let additive = columns.iter().filter(|column| matches!(column.data_type(), DataType::Int64 | DataType::Decimal128(..)));
        for (at, column) in additive.enumerate() {
            if self.0.len() == at {
                self.0.push(0);
            }
            self.0[at] = numbers(column)?.into_iter().flatten().fold(self.0[at], i128::wrapping_add);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringArray;
    use proptest::prelude::*;
    use sluice_schemas::tables;
    use std::collections::BTreeMap;

    fn rows(schema: &SchemaRef, rows: &[(u8, i64, i128)]) -> Vec<ArrayRef> {
        let column = |field: &arrow::datatypes::FieldRef| -> ArrayRef {
            match (field.name().as_str(), field.data_type()) {
                ("agent_id", _) => {
                    Arc::new(rows.iter().map(|row| (row.0 > 0).then(|| format!("agent-{}", row.0))).collect::<StringArray>())
                }
                (_, DataType::Utf8) => Arc::new(rows.iter().map(|_| Some("x")).collect::<StringArray>()),
                (_, DataType::Int64) => Arc::new(rows.iter().map(|row| Some(row.1)).collect::<Int64Array>()),
                (_, DataType::Decimal128(..)) => {
                    Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Decimal128Array>().with_data_type(tables::MONEY))
                }
                _ => Arc::new(rows.iter().map(|row| Some(row.1)).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
            }
        };
        schema.fields().iter().map(column).collect()
    }

    proptest! {
        #[test]
        fn one_row_a_key_and_the_same_sums(parts in prop::collection::vec(prop::collection::vec((0_u8..4, -9_i64..9, -99_i128..99), 0..20), 1..5)) {
            let schema = tables::schema(tables::SPEND_SESSION).unwrap();
            let mut merger = Merger::new(tables::SPEND_SESSION, &schema).unwrap().unwrap();
            let mut expected: BTreeMap<u8, (i64, i64, i64, i128)> = BTreeMap::new();
            let (mut before, mut after) = (Totals::default(), Totals::default());
            for part in &parts {
                let columns = rows(&schema, part);
                before.add(&columns).unwrap();
                merger.add(&columns).unwrap();
                for (key, number, cost) in part {
                    let known = expected.entry(*key).or_insert((*number, *number, 0, 0));
                    *known = (known.0.min(*number), known.1.max(*number), known.2 + number, known.3 + cost);
                }
            }
            let columns = merger.take().unwrap();
            after.add(&columns).unwrap();
            prop_assert_eq!(before, after);
            for (column, field) in columns.iter().zip(schema.fields()) {
                prop_assert_eq!(column.data_type(), field.data_type());
            }
            let at = |name: &str| columns[schema.index_of(name).unwrap()].clone();
            let agents = at("agent_id").as_string::<i32>().clone();
            let number = |name: &str, row: usize| numbers(&at(name)).unwrap()[row].unwrap();
            let got: BTreeMap<u8, (i64, i64, i64, i128)> = (0..agents.len()).map(|row| {
                let key = if agents.is_null(row) { 0 } else { agents.value(row)[6..].parse().unwrap() };
                let long = |name| i64::try_from(number(name, row)).unwrap();
                (key, (long("first_event"), long("last_event"), long("calls"), number("cost_usd", row)))
            }).collect();
            prop_assert_eq!(agents.len(), got.len());
            prop_assert_eq!(got, expected);
            prop_assert_eq!(merger.take().unwrap()[0].len(), 0);
        }
    }

    #[test]
    fn calls_stand_for_themselves() {
        assert!(Merger::new(tables::CALLS, &tables::schema(tables::CALLS).unwrap()).unwrap().is_none());
    }

    #[test]
    fn a_sum_beyond_the_column_is_refused() {
        let schema = tables::schema(tables::SPEND_DAY).unwrap();
        let mut merger = Merger::new(tables::SPEND_DAY, &schema).unwrap().unwrap();
        merger.add(&rows(&schema, &[(1, i64::MAX, 0), (1, 1, 0)])).unwrap();
        assert!(merger.take().is_err());
    }
}
