//! Appends messages to a file, one JSON object a line, each exactly once.
//!
//! Before lines are added the file is searched for their ids, so a line that was written but not noted is found again. A
//! last line that a crash left half written is cut off; the message it began is written again because it has no receipt.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{ActionError, done};
use crate::notice::{Notice, Receiver};
use crate::store::{Receipt, ReceiptState};

/// Every line begins with this; what follows a last line break and does not is not ours.
const LINE_START: &[u8] = b"{\"schema\":\"sluice.";
/// What an id follows in a line.
const ID_MARKS: [&[u8]; 2] = [b"\"fire_id\":\"", b"\"notice_id\":\""];
/// Lines written with one search and one sync.
const MOST_AT_ONCE: usize = 2000;

/// A file of messages.
pub struct FileAction {
    path: PathBuf,
    name: String,
    /// One line at a time.
    writing: Mutex<()>,
}

impl FileAction {
    /// Returns an action that appends to `path`. The file is made with the first line.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), name: format!("file:{}", path.display()), writing: Mutex::new(()) }
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(std::io::Error) -> ActionError + '_ {
        move |source| ActionError::File { operation, path: self.path.display().to_string(), source }
    }

    /// Appends the messages that are not there; tells of each whether it was.
    fn append(&self, notices: &[Notice<'_>]) -> Result<Vec<ReceiptState>, ActionError> {
        let is_new = !self.path.exists();
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path).map_err(self.failed("open"))?;
        self.repair(&mut file)?;
        let mut there = self.among(&mut file, &notices.iter().map(|notice| notice.id()).collect())?;
        let (mut lines, mut states) = (String::new(), Vec::with_capacity(notices.len()));
        for notice in notices {
            if there.insert(notice.id().to_owned()) {
                lines.push_str(&notice.json()?);
                lines.push('\n');
                states.push(ReceiptState::Done);
            } else {
                states.push(ReceiptState::AlreadyDone);
            }
        }
        file.write_all(lines.as_bytes()).map_err(self.failed("append to"))?;
        // Also where nothing was added: a line may be there and not be durable.
        file.sync_all().map_err(self.failed("sync"))?;
        if is_new {
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(self.failed("sync the folder of"))?;
        }
        Ok(states)
    }

    /// Ends the file with a line break.
    fn repair(&self, file: &mut File) -> Result<(), ActionError> {
        let length = file.seek(SeekFrom::End(0)).map_err(self.failed("read"))?;
        let mut tail = Vec::new();
        let mut start = length;
        // Lines are short: a few steps back find the last line break.
        while start > 0 && !tail.contains(&b'\n') {
            let step = start.min(4096);
            start -= step;
            file.seek(SeekFrom::Start(start)).map_err(self.failed("read"))?;
            let mut piece = Vec::new();
            file.take(step).read_to_end(&mut piece).map_err(self.failed("read"))?;
            piece.append(&mut tail);
            tail = piece;
        }
        let last = tail.iter().rposition(|byte| *byte == b'\n').map_or(tail.as_slice(), |at| &tail[at + 1..]);
        if last.is_empty() {
            return Ok(());
        }
        let compared = last.len().min(LINE_START.len());
        if last[..compared] != LINE_START[..compared] {
            return Err(ActionError::ForeignFile { path: self.path.display().to_string() });
        }
        tracing::warn!(path = %self.path.display(), bytes = last.len(), "cut off a half-written last line");
        file.set_len(length - last.len() as u64).map_err(self.failed("repair"))
    }

    /// Returns which of `ids` the file holds.
    fn among(&self, file: &mut File, ids: &HashSet<&str>) -> Result<HashSet<String>, ActionError> {
        file.seek(SeekFrom::Start(0)).map_err(self.failed("read"))?;
        let mut reader = BufReader::new(file);
        let (mut found, mut line) = (HashSet::new(), Vec::new());
        while reader.read_until(b'\n', &mut line).map_err(self.failed("read"))? > 0 {
            // Names hold no bare quotes, so a mark is never part of one.
            if let Some(id) = ID_MARKS.iter().find_map(|mark| id_after(&line, mark)).filter(|id| ids.contains(id)) {
                found.insert(id.to_owned());
            }
            line.clear();
        }
        Ok(found)
    }
}

/// Returns the text between a mark and the next quote.
fn id_after<'a>(line: &'a [u8], mark: &[u8]) -> Option<&'a str> {
    let at = line.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let length = line[at..].iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&line[at..at + length]).ok()
}

impl Receiver for FileAction {
    fn name(&self) -> &str {
        &self.name
    }

    fn tell(&self, notice: &Notice<'_>) -> Result<Receipt, ActionError> {
        let result = self.tell_all(std::slice::from_ref(notice)).pop();
        result.unwrap_or_else(|| Err(ActionError::NoResult { receiver: self.name.clone() }))
    }

    fn tell_all(&self, notices: &[Notice<'_>]) -> Vec<Result<Receipt, ActionError>> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let receipt = |state| Receipt { state, ..done(self.path.display().to_string()) };
        match self.append(notices) {
            Ok(states) => states.into_iter().map(|state| Ok(receipt(state))).collect(),
            Err(error) => notices.iter().map(|_| Err(error.repeated())).collect(),
        }
    }

    fn most_at_once(&self) -> usize {
        MOST_AT_ONCE
    }
}
