//! Every edge of the protocol fails once: with an error before or after the effect, or half-way through a write. Whatever came of it, the
//! lake opened again holds each committed epoch once and whole, and goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sluice_aggregate::lake::{Lake, LakeError, ObjectEntry, Objects, Put, StagedObject, WriterLock};
use sluice_schemas::time::DAY;
use sluice_schemas::{ErrorClass, tables};

use super::storage::{EDGE_STEP, place};
use super::support::{CLOCK, Place, START, audit, publish};

/// What happens at the chosen edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing is done, and an error reported.
    Before,
    /// Everything is done, and an error reported.
    After,
    /// Half of it is done where that can be, and an error reported.
    Half,
}

/// When to fail: at the edge of this number, and from then on nothing works (the process is gone) or everything does again.
#[derive(Debug)]
struct Plan {
    at: u64,
    kind: Kind,
    crash: bool,
    edges: AtomicU64,
    down: AtomicBool,
}

#[derive(Clone, Debug)]
struct Faulty {
    inner: Arc<dyn Objects>,
    plan: Arc<Plan>,
}

impl Plan {
    fn fault(&self, path: &str) -> LakeError {
        LakeError::io("write", &PathBuf::from(path), std::io::Error::from(std::io::ErrorKind::StorageFull))
    }

    /// Runs an effect, or fails as planned.
    fn effect<T>(
        &self,
        path: &str,
        half: impl FnOnce() -> Result<(), LakeError>,
        whole: impl FnOnce() -> Result<T, LakeError>,
    ) -> Result<T, LakeError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(self.fault(path));
        }
        if self.edges.fetch_add(1, Ordering::SeqCst) != self.at {
            return whole();
        }
        self.down.store(self.crash, Ordering::SeqCst);
        match self.kind {
            Kind::Before => {}
            Kind::After => drop(whole()?),
            Kind::Half => half()?,
        }
        Err(self.fault(path))
    }
}

#[derive(Debug)]
struct FaultyStaged {
    inner: Box<dyn StagedObject>,
    path: String,
    plan: Arc<Plan>,
}

impl StagedObject for FaultyStaged {
    fn append(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        let plan = Arc::clone(&self.plan);
        let inner = std::cell::RefCell::new(&mut self.inner);
        plan.effect(&self.path, || inner.borrow_mut().append(&bytes[..bytes.len() / 2]), || inner.borrow_mut().append(bytes))
    }
    fn finish(self: Box<Self>) -> Result<(), LakeError> {
        let inner = self.inner;
        self.plan.effect(&self.path, || Ok(()), || inner.finish())
    }
}

impl Objects for Faulty {
    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<Put, LakeError> {
        self.plan.effect(path, || Ok(()), || self.inner.put_if_absent(path, bytes))
    }
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LakeError> {
        self.plan.effect(path, || Ok(()), || self.inner.put(path, bytes))
    }
    fn stage(&self, path: &str) -> Result<Box<dyn StagedObject>, LakeError> {
        let inner = self.plan.effect(path, || Ok(()), || self.inner.stage(path))?;
        Ok(Box::new(FaultyStaged { inner, path: path.to_owned(), plan: Arc::clone(&self.plan) }))
    }
    fn delete(&self, path: &str) -> Result<(), LakeError> {
        self.plan.effect(path, || Ok(()), || self.inner.delete(path))
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
    fn remote(&self) -> Option<String> {
        self.inner.remote()
    }
}

/// Opens, publishes three epochs, compacts and vacuums; returns how many calls were reported as committed.
fn scenario(objects: &Faulty, committed: &mut u64) -> Result<(), LakeError> {
    let mut lake = Lake::open_writer_on(Arc::new(objects.clone()), &CLOCK)?;
    for _ in 0..5 {
        publish(&mut lake, *committed, 4)?;
        *committed += 4;
    }
    lake.compact(tables::CALLS, START.day() + 1, START)?;
    lake.compact(tables::SPEND_DAY, START.day() + 1, START)?;
    lake.vacuum(START.plus(9 * DAY))?;
    publish(&mut lake, *committed, 4)?;
    *committed += 4;
    Ok(())
}

/// Fails at edge `at`; tells whether there was one.
fn run(place: &Place, at: u64, kind: Kind, crash: bool) -> bool {
    let plan = Arc::new(Plan { at, kind, crash, edges: AtomicU64::new(0), down: AtomicBool::new(false) });
    let objects = Faulty { inner: Arc::clone(&place.objects), plan };
    let context = format!("edge {at}, {kind:?}, crash {crash}");
    let mut committed = 0;
    let outcome = scenario(&objects, &mut committed);
    if let Err(error) = &outcome {
        assert!(matches!(error.class(), ErrorClass::Transient), "{context}: {error:?}");
    }
    // A reader may come at any time.
    match place.reader() {
        Ok(reader) => {
            let seen = reader.state().positions.values().map(|position| position.offset).sum();
            assert!(seen == committed || seen == committed + 4, "{context}: {seen} of {committed}");
            audit(&reader, seen, &format!("{context}, reader"));
        }
        Err(error) => assert!(committed == 0 && matches!(error, LakeError::NotALake { .. }), "{context}: {error:?}"),
    }
    let mut lake = place.writer().unwrap_or_else(|error| panic!("{context}: {error:?}"));
    // An epoch whose commit reported an error is there or not; the positions say which, and the source goes on from them.
    let mut count = lake.state().positions.values().map(|position| position.offset).sum();
    assert!(count == committed || count == committed + 4, "{context}: {count} of {committed}");
    audit(&lake, count, &context);
    publish(&mut lake, count, 4).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    count += 4;
    lake.vacuum(START.plus(30 * DAY)).unwrap();
    audit(&lake, count, &format!("{context}, gone on"));
    no_leftovers(&lake, place, &context);
    objects.plan.edges.load(Ordering::SeqCst) > at
}

/// After a vacuum past the retention every data file on disk is one of a table.
fn no_leftovers(lake: &Lake, place: &Place, context: &str) {
    for table in lake.tables() {
        let known: Vec<String> = lake.files(&table).unwrap().into_iter().map(|file| file.name).collect();
        for folder in place.names(&table).into_iter().filter(|name| name.starts_with("dt=")) {
            for file in place.names(&format!("{table}/{folder}")) {
                assert!(known.contains(&format!("{folder}/{file}")), "{context}: {table}/{folder}/{file} is left over");
            }
        }
    }
}

#[test]
fn every_edge_may_fail() {
    let plans = [(Kind::Before, true), (Kind::Before, false), (Kind::After, true), (Kind::After, false), (Kind::Half, true)];
    let run_anew = |at, kind, crash| place().is_some_and(|place| run(&place, at, kind, crash));
    let every = |(kind, crash): (Kind, bool)| (0..).step_by(EDGE_STEP).find(|at| !run_anew(*at, kind, crash)).unwrap_or(0);
    let edges: u64 = std::thread::scope(|scope| {
        let threads = plans.map(|plan| scope.spawn(move || every(plan)));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(edges > 300 || place().is_none(), "only {edges} edges were seen");
}
