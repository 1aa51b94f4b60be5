//! Storage that fails where it is told to: once, with the effect done or not, or for good, as in a crash.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sluice_aggregate::lake::{LakeError, LocalObjects, ObjectEntry, Objects, Put, StagedObject, WriterLock};
use sluice_enforce::audit::{Head, Versions};
use sluice_enforce::hold::Hold;
use sluice_enforce::store::{AuditEntry, Claim, Command, Confirmation, FireRecord, Receipt};
use sluice_enforce::{SharedStore, StoreError};
use sluice_schemas::Micros;

/// What happens at the chosen edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing is done, and an error reported: a full disk.
    Before,
    /// Everything is done, and an error reported: a lost answer.
    After,
}

/// A fault to come: after so many more writes, and whether nothing works from then on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Armed {
    pub(crate) after: u64,
    pub(crate) kind: Kind,
    pub(crate) crash: bool,
}

#[derive(Debug, Default)]
struct State {
    armed: Option<Armed>,
    down: bool,
    happened: u64,
}

/// The plan that all storage of one simulation shares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

impl Faults {
    pub(crate) fn arm(&self, armed: Armed) {
        self.0.lock().unwrap().armed = Some(armed);
    }

    /// Everything works again.
    pub(crate) fn heal(&self) {
        let mut state = self.0.lock().unwrap();
        state.armed = None;
        state.down = false;
    }

    /// Tells whether nothing works any more.
    pub(crate) fn is_down(&self) -> bool {
        self.0.lock().unwrap().down
    }

    /// Faults so far.
    pub(crate) fn happened(&self) -> u64 {
        self.0.lock().unwrap().happened
    }

    /// Runs an effect, or fails as planned.
    fn write<T, E>(&self, error: impl Fn() -> E, effect: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let mut state = self.0.lock().unwrap();
        if state.down {
            return Err(error());
        }
        let Some(armed) = &mut state.armed else {
            drop(state);
            return effect();
        };
        if armed.after > 0 {
            armed.after -= 1;
            drop(state);
            return effect();
        }
        let Armed { kind, crash, .. } = *armed;
        state.armed = None;
        state.happened += 1;
        state.down = crash;
        drop(state);
        if kind == Kind::After {
            effect()?;
        }
        Err(error())
    }
}

/// A lake's storage with faults.
#[derive(Clone, Debug)]
pub(crate) struct FaultyObjects {
    pub(crate) inner: Arc<LocalObjects>,
    pub(crate) faults: Faults,
}

fn full(path: &str) -> LakeError {
    LakeError::io("write", &PathBuf::from(path), std::io::Error::from(std::io::ErrorKind::StorageFull))
}

#[derive(Debug)]
struct FaultyStaged {
    inner: Box<dyn StagedObject>,
    path: String,
    faults: Faults,
}

impl StagedObject for FaultyStaged {
    fn append(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        let (path, inner) = (&self.path, &mut self.inner);
        self.faults.write(|| full(path), || inner.append(bytes))
    }
    fn finish(self: Box<Self>) -> Result<(), LakeError> {
        let Self { inner, path, faults } = *self;
        faults.write(|| full(&path), || inner.finish())
    }
}

impl Objects for FaultyObjects {
    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<Put, LakeError> {
        self.faults.write(|| full(path), || self.inner.put_if_absent(path, bytes))
    }
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LakeError> {
        self.faults.write(|| full(path), || self.inner.put(path, bytes))
    }
    fn stage(&self, path: &str) -> Result<Box<dyn StagedObject>, LakeError> {
        let inner = self.faults.write(|| full(path), || self.inner.stage(path))?;
        Ok(Box::new(FaultyStaged { inner, path: path.to_owned(), faults: self.faults.clone() }))
    }
    fn delete(&self, path: &str) -> Result<(), LakeError> {
        self.faults.write(|| full(path), || self.inner.delete(path))
    }
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LakeError> {
        self.inner.get(path)
    }
    fn get_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, LakeError> {
        self.inner.get_range(path, offset, length)
    }
    fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        self.inner.size(path)
    }
    fn list(&self, folder: &str) -> Result<Vec<ObjectEntry>, LakeError> {
        self.inner.list(folder)
    }
    fn delete_empty_folder(&self, folder: &str) -> Result<(), LakeError> {
        self.inner.delete_empty_folder(folder)
    }
    fn settle(&self, folder: &str) -> Result<(), LakeError> {
        self.inner.settle(folder)
    }
    fn lock(&self, path: &str) -> Result<WriterLock, LakeError> {
        self.inner.lock(path)
    }
    fn locate(&self, path: &str) -> PathBuf {
        self.inner.locate(path)
    }
}

/// A shared store with faults.
pub(crate) struct FaultyShared<S> {
    pub(crate) inner: S,
    pub(crate) faults: Faults,
}

fn away(operation: &'static str) -> impl Fn() -> StoreError {
    move || StoreError::Unavailable { operation, detail: "as planned".to_owned() }
}

impl<S: SharedStore> SharedStore for FaultyShared<S> {
    fn take_fence(&self, owner: &str, now: Micros) -> Result<u64, StoreError> {
        self.faults.write(away("take fence"), || self.inner.take_fence(owner, now))
    }
    fn fence(&self) -> Result<u64, StoreError> {
        self.inner.fence()
    }
    fn claim(&self, record: &FireRecord) -> Result<Claim, StoreError> {
        self.faults.write(away("claim"), || self.inner.claim(record))
    }
    fn put_receipt(&self, fire_id: &str, action: &str, receipt: &Receipt, audit: &AuditEntry) -> Result<(), StoreError> {
        self.faults.write(away("put receipt"), || self.inner.put_receipt(fire_id, action, receipt, audit))
    }
    fn mark_done(&self, fire_id: &str, at: Micros) -> Result<(), StoreError> {
        self.faults.write(away("mark done"), || self.inner.mark_done(fire_id, at))
    }
    fn fire(&self, fire_id: &str) -> Result<Option<FireRecord>, StoreError> {
        self.inner.fire(fire_id)
    }
    fn fires(&self) -> Result<Vec<FireRecord>, StoreError> {
        self.inner.fires()
    }
    fn unfinished(&self) -> Result<Vec<FireRecord>, StoreError> {
        self.inner.unfinished()
    }
    fn put_hold(&self, hold: &Hold, audit: &AuditEntry) -> Result<Hold, StoreError> {
        self.faults.write(away("put hold"), || self.inner.put_hold(hold, audit))
    }
    fn update_hold(&self, hold: &Hold, audit: &AuditEntry) -> Result<Hold, StoreError> {
        self.faults.write(away("update hold"), || self.inner.update_hold(hold, audit))
    }
    fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.inner.holds()
    }
    fn hold(&self, id: &str) -> Result<Option<Hold>, StoreError> {
        self.inner.hold(id)
    }
    fn confirm(&self, confirmation: &Confirmation, audit: &AuditEntry) -> Result<(), StoreError> {
        self.inner.confirm(confirmation, audit)
    }
    fn confirmations(&self) -> Result<Vec<Confirmation>, StoreError> {
        self.inner.confirmations()
    }
    fn submit(&self, command: &Command) -> Result<Command, StoreError> {
        self.inner.submit(command)
    }
    fn open_commands(&self) -> Result<Vec<Command>, StoreError> {
        self.inner.open_commands()
    }
    fn answer(&self, id: &str, outcome: &str, audit: &AuditEntry) -> Result<(), StoreError> {
        self.inner.answer(id, outcome, audit)
    }
    fn set_stopped(&self, stopped: bool, audit: &AuditEntry) -> Result<(), StoreError> {
        self.inner.set_stopped(stopped, audit)
    }
    fn stopped(&self) -> Result<bool, StoreError> {
        self.inner.stopped()
    }
    fn audit(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.inner.audit(entry)
    }
    fn audit_trail(&self, after: u64, most: usize) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
        self.inner.audit_trail(after, most)
    }
    fn audit_head(&self) -> Result<Option<Head>, StoreError> {
        self.inner.audit_head()
    }
    fn set_versions(&self, versions: Versions) {
        self.inner.set_versions(versions);
    }
}
