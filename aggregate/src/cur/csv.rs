//! Reports in CSV, compressed or not, line by line.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use csv::ByteRecord;
use flate2::read::MultiGzDecoder;
use sluice_schemas::Micros;

use super::columns::{Columns, Products, Role, complete, name, pairs};
use super::number::Number;
use super::sums::{Line, PRINCIPAL_TAG, Sums};
use super::{CurError, starts_with};

/// Bytes read at once.
const BUFFER: usize = 256 << 10;
const GZIP: &[u8] = &[0x1f, 0x8b];

/// Reads a file.
pub(super) fn read(path: &Path, sums: &mut Sums) -> Result<(), CurError> {
    let file = File::open(path).map_err(|source| CurError::Io { path: path.to_owned(), source })?;
    let plain: Box<dyn Read> =
        if starts_with(path, GZIP)? { Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file))) } else { Box::new(file) };
    let failed = |source| CurError::Csv { path: path.to_owned(), source };
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(BUFFER).from_reader(plain);
    let header = reader.headers().map_err(failed)?.clone();
    let columns = Columns::of(path, header.iter())?;
    let mut products = Products::default();
    let mut record = ByteRecord::new();
    let mut line = 0;
    while reader.read_byte_record(&mut record).map_err(failed)? {
        line += 1;
        Cells { path, columns: &columns, record: &record, line }.add(&mut products, sums)?;
    }
    Ok(())
}

/// One line.
struct Cells<'a> {
    path: &'a Path,
    columns: &'a Columns,
    record: &'a ByteRecord,
    line: u64,
}

impl<'a> Cells<'a> {
    fn add(&self, products: &mut Products, sums: &mut Sums) -> Result<(), CurError> {
        let line_type = self.text(Role::LineType)?;
        let start = self.text(Role::Start)?;
        let start = parse_time(start).ok_or_else(|| self.bad(Role::Start, start, "time in UTC"))?;
        let account = match self.text(Role::Account)? {
            "" => self.text(Role::Payer)?,
            account => account,
        };
        sums.see(start, line_type, account);
        let product = match self.text(Role::Product)? {
            "" => None,
            json => Some(products.read(json).ok_or_else(|| self.bad(Role::Product, json, "JSON object"))?),
        };
        let mut line = Line {
            start,
            line_type,
            account,
            has_net: self.columns.at(Role::Net).is_some(),
            service: self.text(Role::Service)?,
            product_code: self.text(Role::ProductCode)?,
            region: self.text(Role::Region)?,
            model: self.text(Role::Model)?,
            ..Line::default()
        };
        if !complete(&mut line, [self.text(Role::ProductName)?, self.text(Role::ServiceName)?], product) || !sums.holds(start) {
            return Ok(());
        }
        let currency = self.text(Role::Currency)?;
        if !matches!(currency, "" | "USD") {
            return Err(CurError::Currency { path: self.path.to_owned(), line: self.line, currency: currency.to_owned() });
        }
        line.principal = self.text(Role::Principal)?;
        line.usage_type = self.text(Role::UsageType)?;
        line.unit = self.text(Role::Unit)?;
        line.description = self.text(Role::Description)?;
        line.quantity = self.number(Role::Quantity)?.unwrap_or_default();
        line.cost = self.number(Role::Cost)?.ok_or_else(|| self.bad(Role::Cost, "", "amount"))?;
        line.net = self.number(Role::Net)?;
        let tags = self.text(Role::Tags)?;
        if tags.contains(PRINCIPAL_TAG) && sums.wants_tags(line.principal) {
            sums.tag(line.principal, pairs(tags).ok_or_else(|| self.bad(Role::Tags, tags, "JSON object"))?);
        }
        sums.add(&line);
        Ok(())
    }

    fn text(&self, role: Role) -> Result<&'a str, CurError> {
        let bytes = self.columns.at(role).and_then(|at| self.record.get(at)).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| self.bad(role, &String::from_utf8_lossy(bytes), "UTF-8"))
    }

    fn number(&self, role: Role) -> Result<Option<Number>, CurError> {
        match self.text(role)? {
            "" => Ok(None),
            text => Number::parse(text).map(Some).ok_or_else(|| self.bad(role, text, "amount")),
        }
    }

    fn bad(&self, role: Role, value: &str, what: &'static str) -> CurError {
        CurError::bad(self.path, self.line, role, value, what)
    }
}

impl CurError {
    /// Returns the error of a value that cannot be read.
    pub(super) fn bad(path: &Path, line: u64, role: Role, value: &str, what: &'static str) -> Self {
        const SHOWN: usize = 80;
        let cut = value.char_indices().nth(SHOWN).map(|(at, _)| format!("{}…", &value[..at]));
        Self::Value { path: path.to_owned(), line, column: name(role), value: cut.unwrap_or_else(|| value.to_owned()), what }
    }
}

/// Reads `2026-11-01T00:00:00Z`, `2026-11-01 00:00:00.000`, `2026-11-01`.
pub(super) fn parse_time(text: &str) -> Option<Micros> {
    let text = text.trim();
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ if text.ends_with(['Z', 'z']) || text.ends_with("+00:00") => text.to_owned(),
        _ => format!("{}Z", text.strip_suffix(" UTC").unwrap_or(text)),
    };
    Micros::parse_utc(whole.as_bytes())
}
