//! The thread that asks AWS: wishes in, entries out to the coordinator, one question at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use sluice_ingest::aws::{self, AwsSettings};
use sluice_ingest::directory::{Asker, AskerSettings, Kind, LookError, Place, Wanted};
use sluice_schemas::directory::Entry;
use sluice_schemas::time::{DAY, MINUTE};
use sluice_schemas::{Clock, ErrorClass, Micros};

use super::schedule::Schedule;
use super::{DirectoryConfig, Wish};
use crate::pipeline::Command;

/// Wishes that wait; the coordinator makes a wish again that finds no room.
const WISHES: usize = 4_096;
/// Longest time that a stop or a wish goes unnoticed while nothing is due.
const NAP: Duration = Duration::from_millis(200);
/// Longest wait for the thread at the end.
const LONGEST_GOODBYE: Duration = Duration::from_secs(1);
/// Entries handed over at once.
const MOST_AT_ONCE: usize = 64;
/// When a question is asked again that failed for reasons that pass.
const AGAIN: i64 = MINUTE;
/// When a thing that is gone is asked about again: a role may be made anew under its name.
const GONE: i64 = DAY;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Task {
    Look(Wanted),
    List(Kind, Place),
}

/// The thread; it ends when this is dropped.
pub(crate) struct Asking {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Asking {
    /// Starts the thread and returns where wishes go; `known` is what needs no question yet.
    pub(crate) fn start(
        config: &DirectoryConfig,
        known: Vec<Entry>,
        commands: Sender<Command>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<(Self, Sender<Wish>)> {
        let (sender, wishes) = bounded(WISHES);
        let stop = Arc::new(AtomicBool::new(false));
        let (config, ended) = (config.clone(), Arc::clone(&stop));
        let run = move || match Desk::open(&config, known, clock, Arc::clone(&ended)) {
            Ok(desk) => desk.run(&wishes, &commands, &ended),
            Err(error) => tracing::warn!(event = "directory", error = format!("{error:#}"), "AWS is not asked about callers"),
        };
        let thread = thread::Builder::new().name("directory".to_owned()).spawn(run).context("start the directory thread")?;
        Ok((Self { stop, thread: Some(thread) }, sender))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        let mut waited = Duration::ZERO;
        while !thread.is_finished() && waited < LONGEST_GOODBYE {
            thread::sleep(NAP / 10);
            waited += NAP / 10;
        }
        // A question may hang for as long as its time-out; nobody waits for its answer any more.
        if thread.is_finished() && thread.join().is_err() {
            tracing::error!("the directory thread panicked");
        }
    }
}

/// Where the thread keeps its things.
struct Desk {
    asker: Asker,
    schedule: Schedule<Task>,
    known: HashMap<String, Entry>,
    clock: Arc<dyn Clock>,
    refresh: i64,
    lists: bool,
    /// Troubles that were told and are not over.
    told: BTreeSet<String>,
}

impl Desk {
    fn open(config: &DirectoryConfig, known: Vec<Entry>, clock: Arc<dyn Clock>, stop: Arc<AtomicBool>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let [region, endpoint, profile] = config.aws.clone();
        let sdk = runtime.block_on(aws::load(&AwsSettings { region, endpoint, profile }))?;
        let settings = AskerSettings { per_second: config.per_second, roles: config.roles.clone() };
        Ok(Self {
            asker: Asker::new(sdk, settings, Arc::clone(&clock), stop),
            schedule: Schedule::new(),
            known: known.into_iter().map(|entry| (named(&entry), entry)).collect(),
            clock,
            refresh: i64::try_from(config.refresh.as_micros()).unwrap_or(DAY),
            lists: config.lists,
            told: BTreeSet::new(),
        })
    }

    fn run(mut self, wishes: &Receiver<Wish>, commands: &Sender<Command>, stop: &AtomicBool) {
        let mut found = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            while let Ok(wish) = wishes.try_recv() {
                self.take(wish);
            }
            let task = if found.len() < MOST_AT_ONCE { self.schedule.take(self.clock.now()) } else { None };
            if let Some(task) = task {
                found.extend(self.carry_out(task));
                continue;
            }
            if !found.is_empty() && !hand_over(commands, std::mem::take(&mut found), stop) {
                return;
            }
            match wishes.recv_timeout(NAP) {
                Ok(wish) => self.take(wish),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, wish: Wish) {
        let now = self.clock.now();
        match wish {
            Wish::Thing(wanted) => {
                let at = self.known.get(&wanted.arn()).map_or(now, |entry| self.next(entry).max(now));
                self.schedule.add(Task::Look(wanted), at);
            }
            Wish::Place(place) if self.lists => {
                Kind::ALL.into_iter().for_each(|kind| self.schedule.add(Task::List(kind, place.clone()), now));
            }
            Wish::Place(_) => {}
        }
    }

    /// When a thing is to be asked about again.
    fn next(&self, entry: &Entry) -> Micros {
        entry.seen_at.plus(if entry.deleted { GONE } else { self.refresh })
    }

    /// Asks, and says when to ask again.
    fn carry_out(&mut self, task: Task) -> Vec<Entry> {
        let answer = match &task {
            Task::Look(wanted) => self.asker.look_up(wanted, self.known.get(&wanted.arn())).map(|entry| vec![entry]),
            Task::List(kind, place) => self.list(*kind, place),
        };
        for (action, account) in self.asker.take_denied() {
            self.tell_denied(action, &account);
        }
        let now = self.clock.now();
        match answer {
            Ok(entries) => {
                let gone = matches!(&task, Task::Look(_)) && entries.iter().all(|entry| entry.deleted);
                self.schedule.put(task, now.plus(if gone { GONE } else { self.refresh }));
                self.known.extend(entries.iter().map(|entry| (named(entry), entry.clone())));
                entries
            }
            Err(LookError::Stopped) => Vec::new(),
            Err(error) => {
                let passes = error.class() == ErrorClass::Transient;
                self.tell(&error);
                self.schedule.put(task, now.plus(if passes { AGAIN } else { self.refresh }));
                Vec::new()
            }
        }
    }

    /// Lists a place; what was there and is not any more is marked.
    fn list(&mut self, kind: Kind, place: &Place) -> Result<Vec<Entry>, LookError> {
        let known = &self.known;
        let mut entries = self.asker.list(kind, place, &|arn| known.get(arn).cloned())?;
        let (of_kind, holds) = kind.entries();
        let prefix = format!(":{}:{}{holds}", place.region, place.account);
        let listed: BTreeSet<&str> = entries.iter().map(|entry| entry.arn.as_str()).collect();
        let gone = known.values().filter(|entry| entry.kind == of_kind && !entry.deleted && entry.arn.contains(&prefix));
        let gone: Vec<Entry> = gone.filter(|entry| !listed.contains(entry.arn.as_str())).cloned().collect();
        let now = self.clock.now();
        entries.extend(gone.into_iter().map(|entry| Entry { deleted: true, seen_at: now, ..entry }));
        Ok(entries)
    }

    fn tell(&mut self, error: &LookError) {
        if let Some((action, account)) = error.denied() {
            let account = account.to_owned();
            return self.tell_denied(action, &account);
        }
        let trouble = error.to_string();
        if self.told.insert(trouble) {
            tracing::warn!(event = "directory", %error, "AWS does not say what calls named; it is asked again");
        }
    }

    fn tell_denied(&mut self, action: &'static str, account: &str) {
        if self.told.insert(format!("{action} {account}")) {
            tracing::warn!(
                event = "directory_denied",
                action,
                account,
                "allow this action to the role sluice runs as (deploy/directory-policy.json); the rest of the directory goes on without it"
            );
        }
    }
}

/// How a thing is found again: as wishes name it.
fn named(entry: &Entry) -> String {
    Wanted::of_principal(&entry.arn).map_or_else(|| entry.arn.clone(), |wanted| wanted.arn())
}

/// Hands entries to the coordinator; `false` when it is gone, or a stop was asked for.
fn hand_over(commands: &Sender<Command>, entries: Vec<Entry>, stop: &AtomicBool) -> bool {
    let mut command = Command::Learn(entries);
    loop {
        match commands.send_timeout(command, NAP) {
            Ok(()) => return true,
            Err(SendTimeoutError::Timeout(_)) if stop.load(Ordering::Relaxed) => return false,
            Err(SendTimeoutError::Timeout(back)) => command = back,
            Err(SendTimeoutError::Disconnected(_)) => return false,
        }
    }
}
