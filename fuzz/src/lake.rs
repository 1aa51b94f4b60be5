//! Targets that read what the project itself has stored: a pending segment, the objects of a lake; and the SQL of a window.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use flate2::Compression;
use flate2::write::GzEncoder;
use sluice_aggregate::facts::call_rows;
use sluice_aggregate::lake::{Lake, LakeError, ObjectEntry, Objects, Put, StagedObject, WriterLock};
use sluice_aggregate::store::segment as pending;
use sluice_aggregate::windows::WindowPlan;
use sluice_schemas::position::Positions;
use sluice_schemas::{
    Batch, Clock, CostBasis, EnrichedBatch, ErrorClass, Invocation, Micros, Owner, Pricing, Profile, RequestId, Usage, tables,
};

/// Every target of this file.
pub const ALL: [super::targets::Target; 3] = [("segment", segment), ("lake", lake), ("window", window)];

/// A segment of rows that are not in the lake yet.
pub fn segment(data: &[u8]) {
    if let Ok(rows) = pending::decode(data) {
        let again = pending::encode(&rows).expect("decoded rows are rows");
        assert_eq!(pending::decode(&again).expect("what was encoded"), rows);
    }
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Micros {
        Micros(1_790_812_800_000_000)
    }
}

/// Objects in memory.
#[derive(Debug, Default)]
struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

#[derive(Debug)]
struct InMemory {
    memory: Arc<Memory>,
    path: String,
    bytes: Vec<u8>,
}

impl StagedObject for InMemory {
    fn append(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        self.bytes.extend(bytes);
        Ok(())
    }
    fn finish(self: Box<Self>) -> Result<(), LakeError> {
        self.memory.0.lock().expect("objects").insert(self.path, self.bytes);
        Ok(())
    }
}

/// The trait is implemented for a handle, so that staged objects can hold one.
#[derive(Clone, Debug)]
struct Handle(Arc<Memory>);

impl Objects for Handle {
    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<Put, LakeError> {
        let mut objects = self.0.0.lock().expect("objects");
        if objects.contains_key(path) {
            return Ok(Put::Exists);
        }
        objects.insert(path.to_owned(), bytes.to_vec());
        Ok(Put::Created)
    }
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LakeError> {
        self.0.0.lock().expect("objects").insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }
    fn stage(&self, path: &str) -> Result<Box<dyn StagedObject>, LakeError> {
        Ok(Box::new(InMemory { memory: Arc::clone(&self.0), path: path.to_owned(), bytes: Vec::new() }))
    }
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LakeError> {
        Ok(self.0.0.lock().expect("objects").get(path).cloned())
    }
    fn get_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, LakeError> {
        let end = || LakeError::io("read", Path::new(path), std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        let bytes = self.get(path)?.ok_or_else(end)?;
        let from = usize::try_from(offset).map_err(|_| end())?;
        bytes.get(from..).and_then(|rest| rest.get(..length)).map(<[u8]>::to_vec).ok_or_else(end)
    }
    fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        Ok(self.0.0.lock().expect("objects").get(path).map(|bytes| bytes.len() as u64))
    }
    fn list(&self, folder: &str) -> Result<Vec<ObjectEntry>, LakeError> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut entries: BTreeMap<String, ObjectEntry> = BTreeMap::new();
        for (path, bytes) in self.0.0.lock().expect("objects").iter() {
            let Some(inside) = path.strip_prefix(&prefix) else { continue };
            let (name, folder) = inside.split_once('/').map_or((inside, false), |(name, _)| (name, true));
            let bytes = if folder { 0 } else { bytes.len() as u64 };
            entries.insert(name.to_owned(), ObjectEntry { name: name.to_owned(), bytes, folder });
        }
        Ok(entries.into_values().collect())
    }
    fn delete(&self, path: &str) -> Result<(), LakeError> {
        self.0.0.lock().expect("objects").remove(path);
        Ok(())
    }
    fn delete_empty_folder(&self, _folder: &str) -> Result<(), LakeError> {
        Ok(())
    }
    fn settle(&self, _folder: &str) -> Result<(), LakeError> {
        Ok(())
    }
    fn lock(&self, _path: &str) -> Result<WriterLock, LakeError> {
        Ok(WriterLock::default())
    }
    fn locate(&self, path: &str) -> PathBuf {
        PathBuf::from("/nowhere").join(path)
    }
}

/// Three calls as rows.
fn rows() -> Vec<pending::Rows> {
    let mut batch = Batch::default();
    let profile = Profile { account_id: batch.strings.intern("1"), model_id: batch.strings.intern("m"), ..Profile::default() };
    batch.profiles.push(profile);
    for number in 0..3 {
        batch.invocations.push(Invocation {
            event_time: Still.now(),
            request_id: RequestId::Uuid(number),
            profile: 0,
            usage: Usage::default(),
            basis: CostBasis::Exact,
            latency_ms: None,
            extras: None,
        });
    }
    let batch = EnrichedBatch { batch, owners: vec![Owner::default()], pricing: vec![Pricing::default(); 3] };
    call_rows(&batch, &[true; 3], "fuzz", Still.now()).into_iter().map(|(dt, rows)| (tables::CALLS.to_owned(), dt, rows)).collect()
}

/// A small lake: two epochs, the second of them not published in every table.
fn objects() -> &'static BTreeMap<String, Vec<u8>> {
    static OBJECTS: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    OBJECTS.get_or_init(|| {
        let memory = Arc::new(Memory::default());
        let mut lake = Lake::open_writer_on(Arc::new(Handle(Arc::clone(&memory))), &Still).expect("a lake");
        for _ in 0..2 {
            let mut epoch = lake.begin_epoch();
            for (table, dt, rows) in rows() {
                epoch.append(&table, dt, rows).expect("rows");
            }
            let sealed = epoch.seal().expect("files");
            lake.commit(sealed, Positions::new(), Still.now(), Still.now()).expect("a commit");
        }
        let objects = memory.0.lock().expect("objects");
        objects.clone()
    })
}

/// Objects whose content the target replaces: log entries, manifests, a checkpoint's pointer.
fn places() -> Vec<&'static str> {
    let told = |path: &&&String| path.starts_with("calls/_delta_log") || path.starts_with("_sluice/e");
    objects().keys().filter(|path| told(&path)).map(String::as_str).chain(["calls/_delta_log/_last_checkpoint"]).collect()
}

/// Originals of what [`lake`] replaces, each with its number before it.
pub fn lake_seeds() -> Vec<Vec<u8>> {
    let seed = |(number, path): (usize, &str)| {
        let mut bytes = vec![u8::try_from(number).unwrap_or(u8::MAX)];
        bytes.extend(objects().get(path).map_or(
            &br#"{"version":1,"size":3}"#[..],
            |bytes| {
                if path.ends_with(".gz") { &[] } else { bytes }
            },
        ));
        if let Some(packed) = objects().get(path).filter(|_| path.ends_with(".gz")) {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text).expect("a manifest");
            bytes.extend(text);
        }
        bytes
    };
    places().into_iter().enumerate().map(seed).collect()
}

/// A lake of which one object, chosen by the first byte, holds something else: reading it and writing to it may be refused, and
/// never as a mistake of this program.
pub fn lake(data: &[u8]) {
    let Some((place, bytes)) = data.split_first() else { return };
    let places = places();
    let path = places[usize::from(*place) % places.len()];
    let mut changed = objects().clone();
    let content = if path.ends_with(".gz") { pack(bytes) } else { bytes.to_vec() };
    changed.insert(path.to_owned(), content);
    let memory = || Arc::new(Handle(Arc::new(Memory(Mutex::new(changed.clone())))));
    let refused = |error: &LakeError| assert_ne!(error.class(), ErrorClass::Bug, "{error:?}");
    match Lake::open_reader_on(memory()) {
        Ok(lake) => tables::ALL.iter().for_each(|table| drop(lake.files(table).inspect_err(&refused))),
        Err(error) => refused(&error),
    }
    if let Err(error) = Lake::open_writer_on(memory(), &Still) {
        refused(&error);
    }
}

fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// The SQL of a declared window: planned or refused with a reason; what is planned takes rows.
pub fn window(data: &[u8]) {
    let Ok(sql) = std::str::from_utf8(data) else { return };
    let schema = tables::schema(tables::CALLS).expect("schema of calls");
    match WindowPlan::plan("fuzz", sql, schema) {
        Ok(mut plan) => {
            for (_, _, rows) in rows() {
                drop(plan.fold(&rows));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Segments to begin with.
pub fn segment_seeds() -> Vec<Vec<u8>> {
    vec![pending::encode(&rows()).expect("a segment"), Vec::new()]
}
