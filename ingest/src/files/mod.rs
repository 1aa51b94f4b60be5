//! Log files of a folder or a tree: read once, or followed as they grow, appear, are rotated and cut.
//!
//! Owns: which files, how far each was read, when to look again. Does not own: what a record means.
//! Upholds C3: each piece of a file starts where the one before it ended, also across restarts.
//!
//! Following is done by looking, not by notifications of the system: it works alike on every file system, mounts included.
//! A file that has changed lately is looked at in every interval; folders are listed again after an interval that grows with
//! the number of files (100 ms up to 2,000 files, 5 s for 100,000), so that looking stays at about a tenth of one core.

mod identity;
mod opening;
mod past;
mod reading;
mod tracked;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use sluice_schemas::position::{Positions, Sequence};
use sluice_schemas::{Micros, Position};

use crate::source::{Payload, Piece, Poll, Progress, Source, SourceError};
use opening::Opened;
#[cfg(feature = "aws")]
pub(crate) use opening::{MAX_DEFLATE_RATIO, MAX_WHOLE_GZIP, UNSUPPORTED};
use past::{Past, shard_of};
use reading::{Next, Reading};
use tracked::{Counted, Left, Tracked};
use walk::{Listing, Root};

/// Least time between two listings, for each file.
const LISTING_MICROS_PER_FILE: i64 = 50;
/// Files looked at in every interval; the growth of further ones is seen by the next listing.
const MAX_HOT: usize = 1024;

/// Whether files are read once or followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each file as it is, then the end.
    Once,
    /// Without end.
    Follow {
        /// Time between two looks at files that change: 100 ms costs next to nothing, less only shortens latency.
        poll_interval: Duration,
    },
}

/// A source of log files.
#[derive(Debug)]
pub struct FolderSource {
    roots: Vec<Root>,
    mode: Mode,
    files: BTreeMap<PathBuf, Tracked>,
    past: Past,
    /// Files to be opened.
    queue: VecDeque<PathBuf>,
    reading: Option<(PathBuf, Box<Reading>)>,
    /// Pieces to be given before anything else is read.
    ready: VecDeque<Piece>,
    /// Files that change.
    hot: BTreeSet<PathBuf>,
    /// Folders that were reported as unreadable, and whether they still are.
    closed_folders: HashMap<PathBuf, bool>,
    listings: u64,
    listed_at: Option<Micros>,
    looked_at: Option<Micros>,
    progress: Progress,
}

impl FolderSource {
    /// Opens files and folders, to be read on from where `start` left them.
    ///
    /// # Errors
    /// When there are no paths, or one of them does not exist or is neither a file nor a folder.
    pub fn open(paths: &[PathBuf], start: &Positions, mode: Mode) -> Result<Self, SourceError> {
        let mut source = Self {
            roots: walk::roots(paths)?,
            mode,
            files: BTreeMap::new(),
            past: Past::new(start),
            queue: VecDeque::new(),
            reading: None,
            ready: VecDeque::new(),
            hot: BTreeSet::new(),
            closed_folders: HashMap::new(),
            listings: 0,
            listed_at: None,
            looked_at: None,
            progress: Progress::default(),
        };
        let listing = walk::list(&source.roots);
        source.take_listing(listing, None);
        source.past.offer_absent();
        Ok(source)
    }

    /// Takes over what a listing has found; `now` is absent for the first one.
    fn take_listing(&mut self, listing: Listing, now: Option<Micros>) {
        self.listings += 1;
        let mut appeared = HashSet::new();
        for found in listing.files {
            let tracked = self.files.entry(found.path).or_insert_with_key(|path| {
                appeared.insert(found.inode);
                self.progress.files_total += 1;
                let position = self.past.take(&shard_of(path));
                Tracked::new(position, found.size, now.map_or(found.modified, |now| found.modified.min(now)), found.inode)
            });
            if let Some(now) = now {
                tracked.see(found.size, now);
            }
            if tracked.inode != found.inode {
                tracked.forget_look();
            }
            tracked.inode = found.inode;
            tracked.listing = self.listings;
            self.progress.recount(tracked, None);
        }
        self.report_folders(&listing.unreadable, now);
        if let Some(now) = now {
            self.drop_vanished(&listing.unreadable, &appeared, now);
        }
        self.queue_due(now.unwrap_or_default());
    }

    /// Queues the files to be opened. Those that were read before come first: if one of them turns out to be another file by
    /// now, the renamed one is recognised. What CloudTrail says about callers comes before their calls, or it would move the cost of
    /// each of them afterwards.
    fn queue_due(&mut self, now: Micros) {
        for (was_read, of_trail) in [(true, true), (true, false), (false, true), (false, false)] {
            for (path, tracked) in &mut self.files {
                let is_turn = tracked.position.is_some() == was_read && walk::is_trail(path) == of_trail;
                if is_turn && !tracked.queued && tracked.is_due(now) {
                    tracked.queued = true;
                    self.queue.push_back(path.clone());
                }
            }
        }
    }

    /// Makes a record of each folder that has become unreadable.
    fn report_folders(&mut self, unreadable: &[(PathBuf, String)], now: Option<Micros>) {
        for (path, closed) in &mut self.closed_folders {
            *closed &= unreadable.iter().any(|(other, _)| other == path);
        }
        for (path, message) in unreadable {
            let from = match self.closed_folders.insert(path.clone(), true) {
                Some(true) => continue,
                Some(false) => Some(Position::default()),
                None => self.past.take(&shard_of(path)),
            };
            self.ready.push_back(unreadable_piece(path, from, message.clone(), now.unwrap_or_default()));
        }
    }

    /// Forgets files that are gone, and reports what was lost with them. A renamed one is lost to its name only.
    fn drop_vanished(&mut self, unreadable: &[(PathBuf, String)], appeared: &HashSet<u64>, now: Micros) {
        let being_read = self.reading.as_ref().map(|(path, _)| path.clone());
        let listing = self.listings;
        let hidden = |path: &Path| unreadable.iter().any(|(folder, _)| path.starts_with(folder));
        let gone =
            self.files.extract_if(.., |path, tracked| tracked.listing != listing && being_read.as_ref() != Some(path) && !hidden(path));
        for (path, mut tracked) in gone {
            self.progress.remove(&mut tracked);
            self.hot.remove(&path);
            let renamed = appeared.contains(&tracked.inode);
            if !renamed && tracked.size > 0 && !tracked.is_settled() {
                let message = "vanished before it was read to its end".to_owned();
                let piece = unreadable_piece(&path, tracked.position.clone(), message, now);
                tracked.gave(&piece);
                self.ready.push_back(piece);
            }
            if let Some(position) = tracked.position {
                self.past.lose(shard_of(&path), position);
            }
        }
    }

    /// Looks for changes, as often as is due.
    fn watch(&mut self, interval: Duration, now: Micros) {
        let interval = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
        let due = |last: Option<Micros>, interval: i64| last.is_none_or(|last| !(0..interval).contains(&now.0.saturating_sub(last.0)));
        let files = i64::try_from(self.files.len()).unwrap_or(i64::MAX);
        if due(self.listed_at, interval.max(files.saturating_mul(LISTING_MICROS_PER_FILE))) {
            let listing = walk::list(&self.roots);
            self.take_listing(listing, Some(now));
            self.listed_at = Some(now);
            self.looked_at = Some(now);
        } else if due(self.looked_at, interval) {
            self.look_at_hot(now);
            self.looked_at = Some(now);
        }
    }

    fn look_at_hot(&mut self, now: Micros) {
        let (files, queue, progress) = (&mut self.files, &mut self.queue, &mut self.progress);
        self.hot.retain(|path| {
            let Some(tracked) = files.get_mut(path) else { return false };
            // One that is gone is the next listing's business.
            let Ok(metadata) = fs::metadata(path) else { return true };
            tracked.see(metadata.len(), now);
            progress.recount(tracked, None);
            if !tracked.queued && tracked.is_due(now) {
                tracked.queued = true;
                queue.push_back(path.clone());
            }
            tracked.is_hot(now)
        });
    }

    /// Returns the next piece there is.
    fn advance(&mut self, now: Micros) -> Option<Piece> {
        if let Mode::Follow { poll_interval } = self.mode {
            self.watch(poll_interval, now);
        }
        loop {
            if let Some(mut piece) = self.ready.pop_front() {
                piece.arrival = now;
                return Some(piece);
            }
            let Some((path, mut reading)) = self.reading.take() else {
                let path = self.queue.pop_front()?;
                self.start(path, now);
                continue;
            };
            match reading.next(now) {
                Ok(Next::Piece(piece)) => {
                    self.note(&path, &piece, reading.read());
                    self.reading = Some((path, reading));
                    return Some(piece);
                }
                Ok(Next::Left(left)) => self.leave(&path, left, reading.size(), now),
                Err(error) => self.fail(&path, &error, now),
            }
        }
    }

    /// Opens a file of the queue.
    fn start(&mut self, path: PathBuf, now: Micros) {
        let Some(tracked) = self.files.get_mut(&path) else { return };
        let grows = self.mode != Mode::Once;
        match opening::open(&path, tracked, &mut self.past, grows, now) {
            Ok(Opened::Reading(reading)) => {
                self.progress.resumed(tracked, reading.read());
                self.progress.current = Some(path.clone());
                self.reading = Some((path, reading));
            }
            Ok(Opened::Whole(piece)) => {
                let size = tracked.size;
                self.note(&path, &piece, size);
                self.ready.push_back(*piece);
                self.leave(&path, Left::Settled, size, now);
            }
            Ok(Opened::Adopted(piece)) => {
                tracked.gave(&piece);
                self.ready.push_back(*piece);
                self.queue.push_front(path);
            }
            Ok(Opened::Left(left)) => {
                let size = tracked.size;
                if left == Left::Settled {
                    self.progress.resumed(tracked, size);
                }
                self.leave(&path, left, size, now);
            }
            Err(error) => self.fail(&path, &error, now),
        }
    }

    fn note(&mut self, path: &Path, piece: &Piece, read: u64) {
        if let Some(tracked) = self.files.get_mut(path) {
            tracked.gave(piece);
            self.progress.recount(tracked, Some(Counted { size: tracked.size, read, done: false }));
        }
    }

    /// Notes that nothing more is taken of a file as it was at `size`.
    fn leave(&mut self, path: &Path, left: Left, size: u64, now: Micros) {
        let Some(tracked) = self.files.get_mut(path) else { return };
        tracked.queued = false;
        tracked.looked(left, size, now);
        let read = if left == Left::Settled { size } else { tracked.counted.read };
        self.progress.recount(tracked, Some(Counted { size: tracked.size, read, done: left == Left::Settled }));
        if self.mode == Mode::Once {
            self.files.remove(path);
        } else if tracked.is_hot(now) && self.hot.len() < MAX_HOT {
            self.hot.insert(path.to_path_buf());
        }
    }

    /// Deals with a file that the system cannot read: the others go on.
    fn fail(&mut self, path: &Path, error: &io::Error, now: Micros) {
        let Some(tracked) = self.files.get_mut(path) else { return };
        tracked.queued = false;
        let once = self.mode == Mode::Once;
        // A file that is followed and gone is the next listing's business: perhaps it was renamed.
        if !once && error.kind() == io::ErrorKind::NotFound {
            return;
        }
        let size = tracked.size;
        if tracked.looked(Left::Unreadable, size, now) && !tracked.offset_unknown {
            let piece = unreadable_piece(path, tracked.position.clone(), error.to_string(), now);
            tracked.gave(&piece);
            self.ready.push_back(piece);
        }
        if once {
            self.progress.recount(tracked, Some(Counted { size, read: size, done: true }));
            self.files.remove(path);
        }
    }
}

/// The piece that says that a file or folder cannot be read. It moves nothing, so a later run tries again.
fn unreadable_piece(path: &Path, from: Option<Position>, message: String, now: Micros) -> Piece {
    let Position { offset, identity, .. } = from.clone().unwrap_or_default();
    let (shard, payload, to) = (shard_of(path), Payload::Unreadable(message), Some(offset));
    Piece {
        accepts: None,
        shard,
        from,
        payload,
        arrival: now,
        base_offset: offset,
        identity,
        to,
        sequence: Sequence::default(),
        ended: false,
        source_bytes: 0,
    }
}

impl Progress {
    /// Counts a file as it is; `None` leaves how far it was read.
    fn recount(&mut self, tracked: &mut Tracked, counted: Option<Counted>) {
        let old = tracked.counted;
        let new = counted.unwrap_or(Counted { size: tracked.size, ..old });
        self.bytes_total = (self.bytes_total + new.size).saturating_sub(old.size);
        self.bytes_done = (self.bytes_done + new.read).saturating_sub(old.read);
        self.files_done = (self.files_done + u64::from(new.done)).saturating_sub(u64::from(old.done));
        tracked.counted = new;
    }

    /// Counts bytes that an earlier run had read.
    fn resumed(&mut self, tracked: &mut Tracked, read: u64) {
        if tracked.counted.read == 0 {
            self.bytes_resumed += read;
            self.recount(tracked, Some(Counted { size: tracked.size, read, done: false }));
        }
    }

    fn remove(&mut self, tracked: &mut Tracked) {
        self.recount(tracked, Some(Counted::default()));
        self.files_total = self.files_total.saturating_sub(1);
    }
}

impl Source for FolderSource {
    fn poll(&mut self, wait: Duration, now: Micros) -> Result<Poll, SourceError> {
        if let Some(piece) = self.advance(now) {
            return Ok(Poll::Piece(piece));
        }
        self.progress.current = None;
        match self.mode {
            Mode::Once => Ok(Poll::Ended),
            Mode::Follow { poll_interval } => {
                thread::sleep(wait.min(poll_interval));
                Ok(Poll::Idle)
            }
        }
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}
