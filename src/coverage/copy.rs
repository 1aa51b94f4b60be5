//! The copy of the invocation log, read again: which of its calls the lake does not hold, by their ids.
//!
//! Memory: two keys of sixteen bytes for each call of the stretch.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hashbrown::HashSet;
use sluice_aggregate::coverage::read::{Held, held};
use sluice_aggregate::coverage::{Key, Missing, MissingCall, Report, Side, Stretch, Tokens};
use sluice_aggregate::dedup::{key, salt};
use sluice_aggregate::facts::request_id;
use sluice_aggregate::query::QueryEngine;
use sluice_ingest::committed::Committed;
use sluice_ingest::decode::Decoder;
use sluice_ingest::files::{FolderSource, Mode};
use sluice_ingest::merge::Named;
use sluice_ingest::piece::decode_piece;
use sluice_ingest::source::{Poll, Source};
use sluice_schemas::position::Positions;
use sluice_schemas::time::{DAY, HOUR, days_from_civil};
use sluice_schemas::{Batch, Clock, Micros, SystemClock};

use super::{Asking, Names, Question};
use crate::sources::{self, Clients, Keeping, Opening, Parted};

/// Folders within folders that are looked through.
const DEPTH_MAX: usize = 24;
/// Longest wait for the next piece.
const WAIT: Duration = Duration::from_millis(200);

/// Tells whether a path is a place in S3.
pub(crate) fn is_remote(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with("s3://"))
}

/// Compares the copies with the lake and returns how many records could not be read. A copy that shows no call is not a copy that agrees:
/// the report says so.
pub(super) fn compare(asking: &Asking<'_>, engine: &QueryEngine, question: &Question, report: &mut Report) -> anyhow::Result<u64> {
    let (missing, unreadable) = read(asking, engine, question)?;
    let mut empty = 0;
    for copy in question.copies.iter().filter(|copy| !is_remote(copy)) {
        if folders_of(std::slice::from_ref(copy), &|_| true)?.is_empty() {
            report.leave_out(Side::LogCopy, copy.to_string_lossy(), "no file is there: is it the folder that the log is copied to?");
            empty += 1;
        }
    }
    // Hours that were compared before count as compared.
    if missing.seen.is_empty() && question.copied.is_empty() && empty < question.copies.len() {
        let why = match unreadable {
            0 => "no call of that time is in it: is it whole, and the folder or prefix above the log?".to_owned(),
            _ => format!("no call of that time is in it, and {unreadable} records could not be read: is it the invocation log?"),
        };
        report.leave_out(Side::LogCopy, "", why);
    }
    report.add_ids(Side::LogCopy, missing, asking.stretch, asking.prices);
    Ok(unreadable)
}

/// Reads the copies; returns what the lake lacks of them and how many records could not be read.
fn read(asking: &Asking<'_>, engine: &QueryEngine, question: &Question) -> anyhow::Result<(Missing, u64)> {
    let stretch = asking.stretch;
    let wanted = |hour: Micros| hour >= stretch.since && hour < stretch.until && !question.copied.contains(&hour);
    let mut comparing = Comparing { engine, names: asking.names, missing: Missing::default(), hours: BTreeMap::new(), unreadable: 0 };
    let Some(mut source) = open(&question.copies, stretch, &wanted, asking.clients)? else {
        return Ok((comparing.missing, 0));
    };
    let mut decoder = Decoder::taking(Arc::clone(&asking.config.intake));
    let clock = SystemClock;
    loop {
        match source.poll(WAIT, clock.now()).context("read the copy of the log")? {
            Poll::Ended => return Ok((comparing.missing, comparing.unreadable)),
            Poll::Idle => {}
            Poll::Piece(piece) => {
                let mut batch = Batch::default();
                decode_piece(piece, &mut decoder, &mut batch);
                comparing.take(&batch, &wanted)?;
            }
        }
    }
}

/// Opens the parts of the copies that can hold calls of the stretch; nothing where there are none.
fn open(
    copies: &[PathBuf],
    stretch: &Stretch,
    wanted: &dyn Fn(Micros) -> bool,
    clients: &Clients,
) -> anyhow::Result<Option<Box<dyn Source>>> {
    let hours: Vec<Micros> = stretch.hours().filter(|hour| wanted(*hour)).collect();
    let (Some(first), Some(last)) = (hours.first(), hours.last()) else { return Ok(None) };
    let (remote, local): (Vec<PathBuf>, Vec<PathBuf>) = copies.iter().cloned().partition(|path| is_remote(path));
    let times = sources::Stretch { since: Some(first.to_string()), until: Some(last.plus(HOUR).to_string()) };
    let Parted { remote, .. } =
        if remote.is_empty() { Parted { local: Vec::new(), remote: Vec::new() } } else { sources::part(&remote, &times, stretch.now)? };
    let paths = folders_of(&local, wanted)?;
    let positions = Positions::new();
    let mut open = Vec::new();
    if !paths.is_empty() {
        let source = FolderSource::open(&paths, &positions, Mode::Once)?;
        open.push(Named { name: "the copy of the log".to_owned(), source: Box::new(source) });
    }
    if open.is_empty() && remote.is_empty() {
        return Ok(None);
    }
    let (committed, clock) = (Arc::new(Committed::default()), Arc::new(SystemClock) as Arc<dyn Clock>);
    let opening = Opening { positions: &positions, committed: &committed, clock: &clock, clients, keeping: Keeping::Ledger };
    Ok(Some(sources::open(open, &remote, &opening)?))
}

/// Returns the parts of folders that can hold calls of the wanted hours: hour folders as Bedrock lays them out, and everything that lies
/// elsewhere. A call lies in the folder of its hour or, delivered late, in the next.
///
/// # Errors
/// A path that is not there.
pub(crate) fn folders_of(copies: &[PathBuf], wanted: &dyn Fn(Micros) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for copy in copies {
        let path = fs::canonicalize(copy).with_context(|| format!("copy of the log {}", copy.display()))?;
        visit(&path, 0, wanted, &mut found).with_context(|| format!("look through {}", copy.display()))?;
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn visit(path: &Path, depth: usize, wanted: &dyn Fn(Micros) -> bool, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    if let Some(hour) = hour_of(path) {
        if wanted(hour) || wanted(hour.plus(-HOUR)) {
            found.push(path.to_owned());
        }
        return Ok(());
    }
    if depth < DEPTH_MAX {
        for entry in fs::read_dir(path)? {
            visit(&entry?.path(), depth + 1, wanted, found)?;
        }
    }
    Ok(())
}

/// Returns the hour of a folder `…/YYYY/MM/DD/HH`.
fn hour_of(path: &Path) -> Option<Micros> {
    let mut parts = path.iter().rev().map(|part| part.to_str().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit())));
    let mut number = |digits: usize| parts.next().flatten().filter(|part| part.len() == digits)?.parse::<i64>().ok();
    let (hour, day, month, year) = (number(2)?, number(2)?, number(2)?, number(4)?);
    let valid = hour < 24 && (1..=31).contains(&day) && (1..=12).contains(&month);
    valid.then(|| Micros(days_from_civil(year, month, day) * DAY + hour * HOUR))
}

/// Keys of an hour.
#[derive(Default)]
struct Hour {
    /// What the lake holds.
    held: Held,
    /// What the copy has shown already.
    seen: HashSet<u128>,
}

struct Comparing<'a> {
    engine: &'a QueryEngine,
    names: &'a Names<'a>,
    missing: Missing,
    hours: BTreeMap<i64, Hour>,
    unreadable: u64,
}

impl Comparing<'_> {
    fn take(&mut self, batch: &Batch, wanted: &dyn Fn(Micros) -> bool) -> anyhow::Result<()> {
        self.unreadable += batch.rejected.len() as u64;
        for call in &batch.invocations {
            let hour = call.event_time.floor(HOUR);
            let Some(profile) = batch.profiles.get(call.profile as usize).filter(|_| wanted(hour)) else { continue };
            let [account_id, region, model_id] = [profile.account_id, profile.region, profile.model_id].map(|text| batch.strings.get(text));
            let keys = match self.hours.entry(hour.hour()) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let held = held(self.engine, hour)?;
                    entry.insert(Hour { held, seen: HashSet::new() })
                }
            };
            let id = key(call.request_id, salt(account_id, region), &batch.strings);
            if !keys.seen.insert(id) {
                continue;
            }
            let usage = call.usage;
            let tokens = Tokens {
                input: usage.input,
                output: usage.output,
                cache_read: usage.cache_read,
                cache_write: usage.cache_write_5m.saturating_add(usage.cache_write_1h),
            };
            let named = MissingCall {
                side: Side::LogCopy,
                event_time: call.event_time,
                key: Key { model: self.names.of(model_id, region), account_id: account_id.to_owned(), region: region.to_owned() },
                request_id: request_id(call.request_id, &batch.strings),
            };
            self.missing.take(named, tokens, keys.held.lacks(id, tokens));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_folders_of_wanted_hours_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("AWSLogs/1/BedrockModelInvocationLogs/eu-central-1/2026/11/21");
        for hour in ["05", "06", "07", "08"] {
            fs::create_dir_all(root.join(hour)).unwrap();
        }
        fs::write(folder.path().join("flat.jsonl"), "").unwrap();
        let wanted = |hour: Micros| hour == "2026-11-21T06:00:00Z".parse().unwrap();
        let found = folders_of(&[folder.path().to_owned()], &wanted).unwrap();
        let names: Vec<_> = found.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(names, ["06", "07", "flat.jsonl"]);
        assert!(folders_of(&[folder.path().join("gone")], &wanted).is_err());
        assert_eq!(hour_of(Path::new("/a/2026/13/01/00")), None);
    }
}
