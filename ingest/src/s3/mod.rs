//! Log objects of S3: listed once, or told of by notifications as they are written, or both.
//!
//! Owns: which objects, that each version is read once, and when a notification is done with. Does not own: what a record
//! means. Upholds C3: an object is a shard that ends, and each of its pieces starts where the one before it ended.
//!
//! A message is deleted when the lake holds all of its objects. After a crash it is given again; an object whose position says
//! that it was read is not read again. An object that was refused with permission lacking stays in its queue.

mod backoff;
mod fetch;
mod identity;
mod layout;
mod listing;
mod offload;
mod opening;
mod queue;
mod ranged;
mod reading;
mod settings;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use sluice_schemas::position::Positions;
use sluice_schemas::{Clock, ErrorClass, Micros, Position, RejectReason, ShardId, SystemClock};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

pub(crate) use backoff::persist;
use fetch::{Address, Fetched, Objects};
pub(crate) use identity::Claim;
use identity::PREFIX;
use layout::{Bounds, KeyDecision, decide_key};
use listing::{Found, Lister};
pub use offload::{OffloadCounts, OffloadFetcher, OffloadResult, OffloadedCall};
use opening::Superseded;
use queue::{Slot, Slots, State};
use reading::{Lane, Reading};
pub(crate) use settings::time;
pub use settings::{RawS3Settings, S3Mode, S3SettingFault, S3Settings, S3SettingsError};

use crate::committed::Committed;
use crate::framing::head;
use crate::retention::stamp;
use crate::source::{Payload, Piece, Poll, Progress, Source, SourceError};
use crate::sqs::{Created, Delivered, MessageId, ObjectId, Queue, Queues, Told, told};

/// Pages of a listing, of a thousand objects, that wait to be taken.
const PAGES: usize = 4;

/// Objects of S3 as a source.
pub struct S3Source {
    handle: Handle,
    settings: S3Settings,
    objects: Objects,
    positions: HashMap<ShardId, Position>,
    /// What a position cannot remember: objects are hardly ever overwritten.
    superseded: Superseded,
    listing: Option<mpsc::Receiver<Result<Vec<Found>, SourceError>>>,
    queues: Option<Queues>,
    slots: Slots,
    fetches: JoinSet<(ObjectId, Result<Fetched, SourceError>)>,
    reading: Option<(Slot, Reading)>,
    /// Pieces to be given before anything else is read.
    ready: VecDeque<Piece>,
    /// Refusals that were given, so that a message that comes again does not give them again.
    refused: HashSet<(ShardId, String)>,
    /// Ended when the source is dropped.
    _lister: JoinSet<()>,
    progress: Progress,
    /// The time of the last poll.
    now: Micros,
    /// When positions were last looked through for what is past.
    swept: Micros,
    /// Tells this process from others that read the same queues.
    process: String,
    /// Why nothing more is read.
    failed: Option<(String, ErrorClass)>,
}

impl S3Source {
    /// Opens what `settings` name, to be read on from where `start` left it. Messages are deleted once `committed` shows their
    /// objects in the lake; what the lake held before must be noted there too, or messages that come again stay for ever.
    /// `handle` is of a runtime of several threads; polls must not come from one of them.
    ///
    /// # Errors
    /// When there is nothing to read.
    pub fn open(
        settings: S3Settings,
        start: &Positions,
        committed: &Arc<Committed>,
        handle: Handle,
        config: &SdkConfig,
    ) -> Result<Self, SourceError> {
        if settings.places().is_empty() {
            return Err(SourceError::NoPath);
        }
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        // Emulators and private endpoints know no host name for each bucket.
        let s3 = aws_sdk_s3::config::Builder::from(config).force_path_style(config.endpoint_url().is_some()).build();
        let objects = Objects { client: aws_sdk_s3::Client::from_conf(s3), region: region.clone() };
        let ours = start.iter().filter(|(shard, _)| shard.starts_with(PREFIX) || shard.starts_with(QUEUE_PREFIX));
        let mut source = Self {
            positions: ours.map(|(shard, position)| (shard.clone(), position.clone())).collect(),
            superseded: Superseded::new(),
            listing: None,
            queues: None,
            slots: Slots::default(),
            fetches: JoinSet::new(),
            reading: None,
            ready: VecDeque::new(),
            refused: opening::refused_before(start),
            _lister: JoinSet::new(),
            progress: Progress::default(),
            now: SystemClock.now(),
            swept: Micros::default(),
            process: process_name(),
            failed: None,
            handle,
            settings,
            objects,
        };
        if source.settings.mode != S3Mode::Notifications {
            source.start_listing();
        }
        if source.settings.mode != S3Mode::Listing {
            let S3Settings { queues, wait, visibility, .. } = &source.settings;
            let queues: Vec<_> = queues.iter().map(|url| Queue { url: url.clone(), wait: *wait, visibility: *visibility }).collect();
            let client = aws_sdk_sqs::Client::new(config);
            source.queues = Some(Queues::open(&client, &region, &queues, committed, &source.handle));
        }
        Ok(source)
    }

    fn start_listing(&mut self) {
        let (pages, listing) = mpsc::channel(PAGES);
        let S3Settings { bounds, allowed, paths, .. } = &self.settings;
        let lister = Lister { objects: self.objects.clone(), bounds: *bounds, allowed: allowed.clone(), pages, foreign: HashSet::new() };
        self._lister.spawn_on(lister.run(paths.clone()), &self.handle);
        self.listing = Some(listing);
    }

    /// Returns the next piece there is, without waiting for a small object.
    fn advance(&mut self) -> Result<Option<Piece>, SourceError> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            if let Some((slot, mut reading)) = self.reading.take() {
                match reading.next() {
                    Ok(Some(piece)) => {
                        self.note(&slot, &piece);
                        self.reading = Some((slot, reading));
                        return Ok(Some(piece));
                    }
                    Ok(None) => self.leave(slot),
                    Err(error) => self.stopped(slot, error)?,
                }
                continue;
            }
            self.take_arrivals()?;
            self.start_fetches();
            let Some(slot) = self.slots.pop_settled() else { return Ok(None) };
            self.open_slot(slot)?;
        }
    }

    /// Takes what listings, queues and fetches have brought.
    fn take_arrivals(&mut self) -> Result<(), SourceError> {
        if let Some(error) = self.queues.as_mut().and_then(Queues::panicked) {
            return Err(lost("the reader of a queue", Some(error)));
        }
        while let Some(mail) = self.queues.as_mut().and_then(|queues| queues.mail.try_recv().ok()) {
            self.take_mail(mail?);
        }
        while self.slots.wants_more() {
            match self.listing.as_mut().map(mpsc::Receiver::try_recv) {
                Some(Ok(page)) => self.take_page(page?),
                Some(Err(mpsc::error::TryRecvError::Disconnected)) => return Err(lost("the listing", None)),
                Some(Err(mpsc::error::TryRecvError::Empty)) | None => break,
            }
        }
        while let Some(fetched) = self.fetches.try_join_next() {
            self.take_fetched(fetched)?;
        }
        Ok(())
    }

    /// Waits until something arrives.
    async fn wait(&mut self) -> Result<(), SourceError> {
        let wants_more = self.slots.wants_more();
        tokio::select! {
            Some(fetched) = self.fetches.join_next() => self.take_fetched(fetched),
            Some(mail) = receive(self.queues.as_mut().map(|queues| &mut queues.mail)) => { self.take_mail(mail?); Ok(()) }
            page = receive(self.listing.as_mut()), if wants_more && self.listing.is_some() => match page {
                Some(page) => { self.take_page(page?); Ok(()) }
                None => Err(lost("the listing", None)),
            },
            else => { tokio::time::sleep(Duration::from_secs(1)).await; Ok(()) }
        }
    }

    fn take_fetched(&mut self, fetched: Result<(ObjectId, Result<Fetched, SourceError>), JoinError>) -> Result<(), SourceError> {
        let (object, fetched) = fetched.map_err(|error| lost("a fetch", Some(error)))?;
        self.slots.settle(object, State::Here(fetched?));
        Ok(())
    }

    fn take_page(&mut self, page: Vec<Found>) {
        for found in page {
            match found {
                Found::Object(address, claim) => {
                    self.offer(address, claim);
                }
                Found::End => self.listing = None,
                Found::Foreign(owner) => {
                    let what = format!("{owner}/");
                    self.refuse(&owner, String::new(), Payload::Refused { reason: RejectReason::Foreign { what }, raw: Vec::new() });
                }
            }
        }
    }

    fn take_mail(&mut self, mail: Vec<Delivered>) {
        for Delivered { id, body } in mail {
            let mut objects = Vec::new();
            match told(&body) {
                Ok(Told::Objects(created)) => created.into_iter().for_each(|created| objects.extend(self.take_created(created))),
                Ok(Told::Event(event)) => {
                    self.take_event(&id, event);
                    continue;
                }
                Err(reason) => {
                    self.refuse_message(&id, reason, &body);
                    continue;
                }
            }
            self.with_desk(|desk| desk.opened(&id, &objects));
        }
    }

    /// Queues an object that a message tells of; `None` for one that is not for us.
    fn take_created(&mut self, created: Created) -> Option<ObjectId> {
        let Created { bucket, key, claim } = created;
        let address = Address { bucket, key };
        let decision = decide_key(&address.key, None, Bounds::default(), &self.settings.allowed);
        if !self.settings.knows(&address.bucket) || decision == KeyDecision::Foreign {
            return Some(self.offer_foreign(address, claim));
        }
        let wanted = decision == KeyDecision::Read && self.settings.takes(&address.bucket, &address.key);
        wanted.then(|| self.offer(address, claim))
    }

    fn offer(&mut self, address: Address, claim: Claim) -> ObjectId {
        self.progress.files_total += 1;
        self.progress.bytes_total += claim.size.unwrap_or(0);
        self.slots.push(address, claim, State::Waiting)
    }

    fn offer_foreign(&mut self, address: Address, claim: Claim) -> ObjectId {
        self.progress.files_total += 1;
        self.slots.push(address, claim, State::Foreign)
    }

    /// Makes a record of a message that cannot be read; it is done with when that is durable. A message is a shard of its own, so that one
    /// which comes again, as after a crash, is known.
    fn refuse_message(&mut self, id: &MessageId, reason: RejectReason, body: &str) {
        let shard = format!("{}#{}", self.queue_shard(id), id.id);
        let object = self.slots.name();
        let position = self.positions.get(&shard).cloned().unwrap_or_else(|| {
            let raw = head(body.as_bytes());
            let identity = stamp("", self.now);
            let piece = Lane::new(shard.clone(), identity, None).piece(Payload::Refused { reason, raw }, 1, true, body.len() as u64);
            let position = self.remember(&piece);
            self.ready.push_back(piece);
            position
        });
        self.with_desk(|desk| {
            desk.opened(id, &[object]);
            desk.given(object, &shard, position, false);
        });
    }

    /// Takes a message that is an event itself. The events of a queue are a shard of this process alone: several may read one queue, and
    /// an event that comes again is told by its own id.
    fn take_event(&mut self, id: &MessageId, event: String) {
        let shard = format!("{}@{}", self.queue_shard(id), self.process);
        let (object, size) = (self.slots.name(), event.len() as u64);
        let piece = Lane::new(shard.clone(), String::new(), self.positions.get(&shard)).piece(
            Payload::Document(event.into_bytes()),
            1,
            false,
            size,
        );
        let position = self.remember(&piece);
        self.ready.push_back(piece);
        self.with_desk(|desk| {
            desk.opened(id, &[object]);
            desk.given(object, &shard, position, false);
        });
    }

    fn queue_shard(&self, id: &MessageId) -> String {
        let url = self.settings.queues.get(id.queue).map_or("", String::as_str);
        format!("{QUEUE_PREFIX}{}", url.split_once("://").map_or(url, |(_, rest)| rest))
    }

    fn with_desk(&self, act: impl FnOnce(&mut crate::sqs::Desk)) {
        if let Some(queues) = &self.queues {
            act(&mut queues.desk());
        }
    }
}

impl S3Source {
    fn try_poll(&mut self, wait: Duration, now: Micros) -> Result<Poll, SourceError> {
        self.now = now;
        self.forget_past();
        let mut waited = false;
        loop {
            if let Some(mut piece) = self.advance()? {
                piece.arrival = now;
                return Ok(Poll::Piece(piece));
            }
            if self.queues.is_none() && self.listing.is_none() && self.slots.is_empty() {
                return Ok(Poll::Ended);
            }
            if std::mem::replace(&mut waited, true) {
                return Ok(Poll::Idle);
            }
            let handle = self.handle.clone();
            match handle.block_on(async { timeout(wait, self.wait()).await }) {
                Ok(arrived) => arrived?,
                Err(_) => return Ok(Poll::Idle),
            }
        }
    }
}

impl Source for S3Source {
    fn poll(&mut self, wait: Duration, now: Micros) -> Result<Poll, SourceError> {
        if let Some((resource, class)) = &self.failed {
            return Err(SourceError::Service {
                resource: resource.clone(),
                problem: "it was given up after a failure".to_owned(),
                fix: "start again once its cause is gone".to_owned(),
                class: *class,
                source: None,
            });
        }
        self.try_poll(wait, now).inspect_err(|error| {
            // Pieces that follow what was lost must not be given.
            let resource = if let SourceError::Service { resource, .. } = error { resource.clone() } else { "s3".to_owned() };
            self.failed = Some((resource, error.class()));
        })
    }

    fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl std::fmt::Debug for S3Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Source").field("settings", &self.settings).field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// Prefix of the shards of messages.
const QUEUE_PREFIX: &str = "sqs:";

/// Returns a name that no other process has had.
fn process_name() -> String {
    format!("{:x}-{}", SystemClock.now().0, std::process::id())
}

async fn receive<T>(from: Option<&mut mpsc::Receiver<T>>) -> Option<T> {
    match from {
        Some(from) => from.recv().await,
        None => None,
    }
}

fn lost(what: &str, error: Option<JoinError>) -> SourceError {
    SourceError::Service {
        resource: "s3".to_owned(),
        problem: format!("{what} ended without a word"),
        fix: "see the log for the cause and start again".to_owned(),
        class: ErrorClass::Bug,
        source: error.map(|error| Box::new(error).into()),
    }
}
