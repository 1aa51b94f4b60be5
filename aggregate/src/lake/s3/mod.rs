//! A lake in an S3 bucket.
//!
//! A log entry is created with `If-None-Match: *`: of many writers one gets the name, and a writer whose answer was lost finds its
//! own bytes there. S3 has no locks; a second writer is kept out by the fence in the log of the root table alone. What is
//! written in pieces is gathered in a temporary file and sent when it is whole, so memory does not grow with the number of
//! files in the making.
//!
//! "Conditional writes" of the S3 user guide: 412 means that the name is taken, 409 that another write to it was under way and
//! nothing is known yet. Reads and listings are strongly consistent.

mod call;
mod staged;

use std::path::PathBuf;
use std::sync::Arc;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use self::call::{Call, Failure, S3};
use self::staged::{Staged, TemporaryFolder};
use super::LakeError;
use super::objects::{ObjectEntry, Objects, Put, StagedObject, WriterLock};

/// How S3 is reached. What is absent comes from the environment, the shared configuration files, or the machine's role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// Region, for example `eu-central-1`.
    pub region: Option<String>,
    /// URL to send every call to, for a VPC endpoint or an emulator.
    pub endpoint: Option<String>,
    /// Profile of the shared configuration files.
    pub profile: Option<String>,
}

/// Objects below a prefix of a bucket.
#[derive(Debug)]
pub struct S3Objects {
    s3: Arc<S3>,
    /// Prefix with a `/` at its end; empty for the bucket itself.
    prefix: String,
    temporary: Arc<TemporaryFolder>,
}

impl S3Objects {
    /// Returns the objects below `url`, `s3://bucket/prefix`; nothing is sent yet.
    ///
    /// # Errors
    /// It is no such URL, or no region is set anywhere.
    pub fn connect(url: &str, settings: &S3Settings) -> Result<Self, LakeError> {
        let place = url.strip_prefix("s3://").unwrap_or_default().trim_end_matches('/');
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() || prefix.split('/').any(|part| prefix.len() > 1 && matches!(part, "" | "." | "..")) {
            return Err(LakeError::Remote {
                what: "use",
                path: PathBuf::from(url),
                problem: "it names no place in a bucket".to_owned(),
                fix: "write it like s3://bucket/prefix".to_owned(),
                is_transient: false,
            });
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { s3: Arc::new(S3::connect(bucket, settings)?), prefix, temporary: Arc::default() })
    }

    fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Reads an object or a range of it (first and last byte); `None` if it does not exist.
    fn read(&self, path: &str, range: Option<(u64, u64)>) -> Result<Option<Bytes>, LakeError> {
        let key = self.key(path);
        let get = self.s3.client.get_object().bucket(&self.s3.bucket).key(&key);
        let get = get.set_range(range.map(|(first, last)| format!("bytes={first}-{last}")));
        let call = Call { what: "read", permission: "s3:GetObject and s3:ListBucket", key: &key };
        let answer = self.s3.send(|| {
            let get = get.clone();
            async move { body(get.send().await?).await }
        });
        match answer {
            Ok(bytes) => Ok(Some(bytes)),
            Err(failure) if failure.is("NoSuchKey") => Ok(None),
            Err(failure) => Err(self.s3.explain(call, failure)),
        }
    }
}

/// Reads the body of an answer; one that breaks off is a call that failed.
async fn body(answer: GetObjectOutput) -> Result<Bytes, Failure> {
    answer.body.collect().await.map(aws_sdk_s3::primitives::AggregatedBytes::into_bytes).map_err(Failure::broken)
}

impl Objects for S3Objects {
    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<Put, LakeError> {
        let key = self.key(path);
        let call = Call { what: "create", permission: "s3:PutObject", key: &key };
        let content = Bytes::copy_from_slice(bytes);
        let sent = self.s3.send(|| {
            let put = self.s3.client.put_object().bucket(&self.s3.bucket).key(&key).if_none_match("*");
            let put = put.body(ByteStream::from(content.clone()));
            async move { put.send().await.map(drop).map_err(Failure::from) }
        });
        match sent {
            Ok(()) => Ok(Put::Created),
            // Ours, if an earlier try was carried out and its answer lost. Nothing but a whole object ever has the name.
            Err(failure) if failure.is("PreconditionFailed") && failure.tries > 1 => {
                let is_ours = self.get(path)?.is_some_and(|found| found == bytes);
                Ok(if is_ours { Put::Created } else { Put::Exists })
            }
            Err(failure) if failure.is("PreconditionFailed") => Ok(Put::Exists),
            Err(failure) => Err(self.s3.explain(call, failure)),
        }
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LakeError> {
        self.s3.put(&self.key(path), Bytes::copy_from_slice(bytes))
    }

    fn stage(&self, path: &str) -> Result<Box<dyn StagedObject>, LakeError> {
        Ok(Box::new(Staged::create(Arc::clone(&self.s3), self.key(path), Arc::clone(&self.temporary))?))
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LakeError> {
        Ok(self.read(path, None)?.map(Vec::from))
    }

    fn get_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, LakeError> {
        if length == 0 {
            return Ok(Vec::new());
        }
        let ends_early = || {
            let source = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
            LakeError::io("read", &self.locate(path), source)
        };
        let bytes = self.read(path, Some((offset, offset + length as u64 - 1)))?.ok_or_else(ends_early)?;
        if bytes.len() == length { Ok(bytes.into()) } else { Err(ends_early()) }
    }

    fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        let size = self.s3.size(&self.key(path))?;
        Ok(size)
    }

    fn list(&self, folder: &str) -> Result<Vec<ObjectEntry>, LakeError> {
        let below = if folder.is_empty() { self.prefix.clone() } else { format!("{}/", self.key(folder)) };
        let call = Call { what: "list", permission: "s3:ListBucket", key: &below };
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let list = self.s3.client.list_objects_v2().bucket(&self.s3.bucket).prefix(&below).delimiter("/");
            let list = list.set_continuation_token(next.take());
            let answer = self.s3.send(|| {
                let list = list.clone();
                async move { list.send().await.map_err(Failure::from) }
            });
            let page = answer.map_err(|failure| self.s3.explain(call, failure))?;
            let name = |key: Option<&str>| key.and_then(|key| key.strip_prefix(below.as_str())).unwrap_or_default().to_owned();
            for object in page.contents() {
                let bytes = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                found.push(ObjectEntry { name: name(object.key()), bytes, folder: false });
            }
            for folder in page.common_prefixes() {
                found.push(ObjectEntry { name: name(folder.prefix()).trim_end_matches('/').to_owned(), bytes: 0, folder: true });
            }
            match page.next_continuation_token {
                Some(token) if page.is_truncated == Some(true) => next = Some(token),
                _ => break,
            }
        }
        // An object of the folder's own name, as consoles make them to show a folder.
        found.retain(|entry| !entry.name.is_empty());
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn delete(&self, path: &str) -> Result<(), LakeError> {
        let key = self.key(path);
        let call = Call { what: "delete", permission: "s3:DeleteObject", key: &key };
        let delete = self.s3.client.delete_object().bucket(&self.s3.bucket).key(&key);
        let answer = self.s3.send(|| {
            let delete = delete.clone();
            async move { delete.send().await.map(drop).map_err(Failure::from) }
        });
        answer.map_err(|failure| self.s3.explain(call, failure))
    }

    /// Does nothing: a folder is there as long as something is in it.
    fn delete_empty_folder(&self, _: &str) -> Result<(), LakeError> {
        Ok(())
    }

    /// Does nothing: a name that can be listed is durable.
    fn settle(&self, _: &str) -> Result<(), LakeError> {
        Ok(())
    }

    /// Takes nothing: the fence in the log keeps a second writer out.
    fn lock(&self, _: &str) -> Result<WriterLock, LakeError> {
        Ok(WriterLock::default())
    }

    fn locate(&self, path: &str) -> PathBuf {
        self.s3.locate(&self.key(path))
    }

    fn remote(&self) -> Option<String> {
        Some(format!("s3://{}/{}", self.s3.bucket, self.prefix))
    }
}
