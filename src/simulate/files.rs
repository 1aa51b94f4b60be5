//! The files of a run: flat or in the folders of S3, plain or compressed, records alone or in subscription messages.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sluice_schemas::Micros;

use super::call::hour_folder;
use super::put::{Put, escape_into};
use super::{Envelope, Layout, Plan, SimulateError};

/// Bytes of records in one subscription message; Kinesis takes 1 MiB after compression.
const MESSAGE_BYTES: usize = 192 * 1024;
/// Records in one subscription message.
const MESSAGE_RECORDS: usize = 60;
/// What AWS writes once when logging is switched on.
pub(crate) const PERMISSION_CHECK: &str = "Permissions are correctly set for Amazon Bedrock logs.";
const CONTROL_MESSAGE: &str = r#"{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"","logStream":"","subscriptionFilters":[],"logEvents":[{"id":"","timestamp":1790812800000,"message":"CWL CONTROL MESSAGE: Checking health of destination Kinesis stream."}]}"#;

/// Which file a record goes to: its account, its region and its hour in S3, all the same otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane {
    account_id: String,
    region: String,
    hour: i64,
}

/// Writes the files of a run.
pub(crate) struct Files<'a> {
    plan: &'a Plan,
    out: &'a Path,
    open: BTreeMap<Lane, Output>,
    slot: u64,
    messages: u64,
    /// Files written so far.
    pub(crate) files: u64,
    /// Bytes before compression.
    pub(crate) bytes: u64,
    /// Lines that carry no call by design.
    pub(crate) control: u64,
}

/// One open file.
struct Output {
    path: PathBuf,
    sink: Sink,
    owner: String,
    message: Vec<u8>,
    records: usize,
}

enum Sink {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
    /// One gzip member for each message, one after the other, as Firehose puts them.
    Members(BufWriter<File>),
}

impl<'a> Files<'a> {
    /// Prepares the folder.
    pub(crate) fn create(plan: &'a Plan, out: &'a Path) -> Result<Self, SimulateError> {
        create_folder(out)?;
        let mut files = Self { plan, out, open: BTreeMap::new(), slot: 0, messages: 0, files: 0, bytes: 0, control: 0 };
        if plan.layout == Layout::S3 && plan.envelope == Envelope::Plain {
            for account_id in &plan.account_ids {
                let path = out.join(format!("AWSLogs/{account_id}/BedrockModelInvocationLogs/amazon-bedrock-logs-permission-check"));
                write_whole(&path, PERMISSION_CHECK.as_bytes(), false)?;
                files.control += 1;
            }
        }
        Ok(files)
    }

    /// Returns the lane of a record.
    pub(crate) fn lane(&self, account_id: &str, region: &str, at: Micros) -> Lane {
        match self.plan.layout {
            Layout::Flat => Lane { account_id: String::new(), region: String::new(), hour: 0 },
            Layout::S3 => Lane { account_id: account_id.to_owned(), region: region.to_owned(), hour: at.hour() },
        }
    }

    /// Returns a record as it is put into a file: redelivering the same bytes redelivers the same event.
    pub(crate) fn entry(&mut self, record: &[u8], at: Micros) -> Vec<u8> {
        let mut entry = Vec::with_capacity(record.len() + 128);
        match self.plan.envelope {
            Envelope::Plain => {
                entry.extend_from_slice(record);
                entry.push(b'\n');
            }
            Envelope::CloudWatch => {
                self.messages += 1;
                let millis = at.0.div_euclid(1000).unsigned_abs();
                let (high, low) = (millis + 31_953_106_606_966, self.messages);
                entry
                    .text("{\"id\":\"")
                    .text(&format!("3{high:025}{low:030}"))
                    .text("\",\"timestamp\":")
                    .number(millis)
                    .text(",\"message\":\"");
                escape_into(record, &mut entry);
                entry.text("\"}");
            }
        }
        entry
    }

    /// Appends an entry to the file of a lane.
    pub(crate) fn append(&mut self, lane: &Lane, entry: &[u8]) -> Result<(), SimulateError> {
        if !self.open.contains_key(lane) {
            let output = self.start(lane)?;
            self.open.insert(lane.clone(), output);
        }
        let Some(output) = self.open.get_mut(lane) else { return Ok(()) };
        if self.plan.envelope == Envelope::Plain {
            self.bytes += entry.len() as u64;
            return output.write(entry);
        }
        if output.records > 0 {
            output.message.push(b',');
        }
        output.message.extend_from_slice(entry);
        output.records += 1;
        if output.records >= MESSAGE_RECORDS || output.message.len() >= MESSAGE_BYTES {
            self.bytes += output.send()?;
        }
        Ok(())
    }

    /// Ends all files; the next records go to new ones.
    pub(crate) fn next_slot(&mut self) -> Result<(), SimulateError> {
        self.slot += 1;
        for (_, mut output) in std::mem::take(&mut self.open) {
            if output.records > 0 {
                self.bytes += output.send()?;
            }
            output.finish()?;
        }
        Ok(())
    }

    fn start(&mut self, lane: &Lane) -> Result<Output, SimulateError> {
        let suffix = if self.plan.gzip { ".gz" } else { "" };
        let path = match self.plan.layout {
            Layout::Flat => self.out.join(format!("part-{:05}.jsonl{suffix}", self.slot)),
            Layout::S3 => {
                let hour = Micros(lane.hour * sluice_schemas::time::HOUR);
                let stamp: String = hour.to_string().chars().filter(|char| char.is_ascii_alphanumeric()).collect();
                let name = format!("{}{:03}Z_{:016x}.json{suffix}", stamp.trim_end_matches('Z'), self.slot % 1000, self.files);
                self.out.join(hour_folder(&lane.account_id, &lane.region, hour)).join(name)
            }
        };
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        let file = File::create(&path).map_err(|source| SimulateError::Write { path: path.clone(), source })?;
        let writer = BufWriter::with_capacity(256 * 1024, file);
        let sink = match (self.plan.gzip, self.plan.envelope) {
            (false, _) => Sink::Plain(writer),
            (true, Envelope::Plain) => Sink::Gzip(Box::new(GzEncoder::new(writer, Compression::fast()))),
            (true, Envelope::CloudWatch) => Sink::Members(writer),
        };
        let owner = if lane.account_id.is_empty() { self.plan.account_ids.first() } else { Some(&lane.account_id) };
        let owner = owner.cloned().unwrap_or_default();
        let mut output = Output { path, sink, owner, message: Vec::new(), records: 0 };
        let first = match (self.plan.layout, self.plan.envelope) {
            (_, Envelope::CloudWatch) => Some(CONTROL_MESSAGE),
            (Layout::Flat, Envelope::Plain) if self.files == 0 => Some(PERMISSION_CHECK),
            _ => None,
        };
        if let Some(line) = first {
            output.write(format!("{line}\n").as_bytes())?;
            self.control += 1;
        }
        self.files += 1;
        Ok(output)
    }
}

impl Output {
    /// Writes the message gathered so far as one line. Returns its bytes.
    fn send(&mut self) -> Result<u64, SimulateError> {
        let mut line = Vec::with_capacity(self.message.len() + 256);
        line.text("{\"messageType\":\"DATA_MESSAGE\",\"owner\":").string(&self.owner);
        line.text(",\"logGroup\":\"/aws/bedrock/modelinvocations\",\"logStream\":\"aws/bedrock/modelinvocations\"");
        line.text(",\"subscriptionFilters\":[\"sluice\"],\"logEvents\":[");
        line.append(&mut self.message);
        line.text("]}\n");
        self.records = 0;
        self.write(&line)?;
        Ok(line.len() as u64)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SimulateError> {
        let written = match &mut self.sink {
            Sink::Plain(writer) => writer.write_all(bytes),
            Sink::Gzip(encoder) => encoder.write_all(bytes),
            Sink::Members(writer) => member(writer, bytes),
        };
        written.map_err(|source| SimulateError::Write { path: self.path.clone(), source })
    }

    fn finish(self) -> Result<(), SimulateError> {
        let ended = match self.sink {
            Sink::Plain(mut writer) | Sink::Members(mut writer) => writer.flush(),
            Sink::Gzip(encoder) => encoder.finish().and_then(|mut writer| writer.flush()),
        };
        ended.map_err(|source| SimulateError::Write { path: self.path, source })
    }
}

fn member(writer: &mut BufWriter<File>, bytes: &[u8]) -> io::Result<()> {
    let mut encoder = GzEncoder::new(writer, Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish().map(|_| ())
}

/// Creates a folder and those above it.
pub(crate) fn create_folder(path: &Path) -> Result<(), SimulateError> {
    fs::create_dir_all(path).map_err(|source| SimulateError::Write { path: path.to_owned(), source })
}

/// Writes a small file in one go, with the folders above it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], gzip: bool) -> Result<(), SimulateError> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let written = if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).and_then(|packed| fs::write(path, packed))
    } else {
        fs::write(path, bytes)
    };
    written.map_err(|source| SimulateError::Write { path: path.to_owned(), source })
}
