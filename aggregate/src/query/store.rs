//! The storage of the lake as DataFusion reads it: the local file system, or the lake's own objects behind the same trait.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::error::{DataFusionError, Result};
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::lake::{LakeError, Objects};

/// Where the files of a lake are.
#[derive(Clone, Debug)]
pub(super) enum Storage {
    /// In the local file system.
    Local,
    /// Behind the lake's own objects.
    Remote {
        /// What DataFusion calls it, for example `s3://bucket`.
        url: ObjectStoreUrl,
        /// The root of the lake, with a `/` at its end.
        root: String,
        objects: Arc<dyn Objects>,
    },
}

impl Storage {
    /// Returns the storage behind some objects.
    pub(super) fn of(objects: Option<&Arc<dyn Objects>>) -> Result<Self> {
        let Some((objects, root)) = objects.and_then(|objects| objects.remote().map(|root| (objects, root))) else {
            return Ok(Self::Local);
        };
        let host = root.find("://").map_or(0, |at| at + 3);
        let end = root.get(host..).and_then(|rest| rest.find('/')).map_or(root.len(), |at| host + at);
        Ok(Self::Remote { url: ObjectStoreUrl::parse(root.get(..end).unwrap_or(&root))?, root, objects: Arc::clone(objects) })
    }

    /// Returns what DataFusion is to know of it.
    pub(super) fn store(&self) -> Option<(&ObjectStoreUrl, Arc<dyn ObjectStore>)> {
        match self {
            Self::Local => None,
            Self::Remote { url, objects, .. } => Some((url, Arc::new(LakeStore { objects: Arc::clone(objects) }))),
        }
    }

    /// Returns what DataFusion calls it.
    pub(super) fn url(&self) -> ObjectStoreUrl {
        match self {
            Self::Local => ObjectStoreUrl::local_filesystem(),
            Self::Remote { url, .. } => url.clone(),
        }
    }

    /// Returns what DataFusion calls a file of the lake.
    pub(super) fn path(&self, file: &FilePath) -> Result<Path> {
        match self {
            Self::Local => Path::from_absolute_path(file).map_err(|error| DataFusionError::External(Box::new(error))),
            // Encodes what cannot stand in a path; `LakeStore` takes it back.
            Self::Remote { .. } => Ok(Path::from(self.inside(file))),
        }
    }

    /// Returns the size of a file of the lake.
    pub(super) fn size(&self, file: &FilePath) -> io::Result<u64> {
        match self {
            Self::Local => Ok(std::fs::metadata(file)?.len()),
            Self::Remote { objects, .. } => {
                let size = objects.size(self.inside(file)).map_err(io::Error::other)?;
                size.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
            }
        }
    }

    /// Returns the path of a file below the root.
    fn inside<'a>(&self, file: &'a FilePath) -> &'a str {
        let path = file.to_str().unwrap_or_default();
        match self {
            Self::Local => path,
            Self::Remote { root, .. } => path.strip_prefix(root.as_str()).unwrap_or(path),
        }
    }
}

/// The objects of a lake, to be read.
#[derive(Debug)]
struct LakeStore {
    objects: Arc<dyn Objects>,
}

impl fmt::Display for LakeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lake")
    }
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: "lake", source: source.into() }
}

fn read_only() -> Error {
    Error::NotSupported { source: "queries only read".into() }
}

/// Runs a blocking call of the storage beside the runtime's own thread, so that ranges of a file come at the same time.
async fn beside<T: Send + 'static>(call: impl FnOnce() -> std::result::Result<T, LakeError> + Send + 'static) -> StoreResult<T> {
    tokio::task::spawn_blocking(call).await.map_err(|source| Error::JoinError { source })?.map_err(failed)
}

#[async_trait]
impl ObjectStore for LakeStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let path = crate::lake::decode_path(location.as_ref());
        let not_found = || Error::NotFound { path: path.clone(), source: "no such object".into() };
        let (objects, name) = (Arc::clone(&self.objects), path.clone());
        // The reader knows the size of what it asks a bounded range of.
        let size = match &options.range {
            Some(datafusion::object_store::GetRange::Bounded(range)) if !options.head => range.end,
            _ => beside(move || objects.size(&name)).await?.ok_or_else(not_found)?,
        };
        let meta = ObjectMeta { location: location.clone(), last_modified: Default::default(), size, e_tag: None, version: None };
        let range = match &options.range {
            Some(range) => range.as_range(size).map_err(failed)?,
            None => 0..size,
        };
        let bytes = if options.head { Bytes::new() } else { self.read(&path, range.clone()).await? };
        let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::default() })
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        stream::once(async { Err(Error::NotSupported { source: "the lake's log lists its files".into() }) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> StoreResult<ListResult> {
        Err(Error::NotSupported { source: "the lake's log lists its files".into() })
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> StoreResult<PutResult> {
        Err(read_only())
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> StoreResult<Box<dyn MultipartUpload>> {
        Err(read_only())
    }

    fn delete_stream(&self, locations: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        locations.map(|_| Err(read_only())).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> StoreResult<()> {
        Err(read_only())
    }
}

impl LakeStore {
    async fn read(&self, path: &str, range: Range<u64>) -> StoreResult<Bytes> {
        let (objects, path) = (Arc::clone(&self.objects), path.to_owned());
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(failed)?;
        beside(move || objects.get_range(&path, range.start, length)).await.map(Bytes::from)
    }
}
