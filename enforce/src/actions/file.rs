//! Appends crossings to a file, one JSON object a line, each exactly once.
//!
//! Before a line is added the file is searched for its fire id, so a line that was written but not noted is found again. A
//! last line that a crash left half written is cut off; the crossing it began is written again because it has no receipt.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Action, ActionError, check_permit, done};
use crate::budget::ActionKind;
use crate::fire::Crossing;
use crate::permit::CommitPermit;
use crate::store::{Receipt, ReceiptState};

/// Every line begins with this; what follows a last line break and does not is not ours.
const LINE_START: &[u8] = b"{\"schema\":\"sluice.breach/";

/// A file of breaches.
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

    fn append(&self, fire: &Crossing) -> Result<ReceiptState, ActionError> {
        let mut line = serde_json::to_vec(&fire.breach)?;
        line.push(b'\n');
        let is_new = !self.path.exists();
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&self.path).map_err(self.failed("open"))?;
        self.repair(&mut file)?;
        if self.holds(&mut file, &fire.breach.fire_id)? {
            // The line may be there and not be durable.
            file.sync_all().map_err(self.failed("sync"))?;
            return Ok(ReceiptState::AlreadyDone);
        }
        file.write_all(&line).map_err(self.failed("append to"))?;
        file.sync_all().map_err(self.failed("sync"))?;
        if is_new {
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(self.failed("sync the folder of"))?;
        }
        Ok(ReceiptState::Done)
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

    fn holds(&self, file: &mut File, fire_id: &str) -> Result<bool, ActionError> {
        let wanted = format!("\"fire_id\":\"{fire_id}\"");
        file.seek(SeekFrom::Start(0)).map_err(self.failed("read"))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).map_err(self.failed("read"))? > 0 {
            if line.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
                return Ok(true);
            }
            line.clear();
        }
        Ok(false)
    }
}

impl Action for FileAction {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> ActionKind {
        ActionKind::Notify
    }

    fn apply(&self, permit: &CommitPermit, fire: &Crossing) -> Result<Receipt, ActionError> {
        check_permit(permit, fire)?;
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.append(fire)?;
        Ok(Receipt { state, ..done(self.path.display().to_string()) })
    }
}
