//! An object gathered in a temporary file and sent when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::call::{Call, Failure, S3};
use crate::lake::objects::StagedObject;
use crate::lake::{LakeError, random_id};

/// Bytes sent at once. An object that is larger is sent in parts of this size, of which S3 takes 10,000.
const PART: usize = 16 << 20;

/// Folder of the objects in the making; removed with what is in it.
#[derive(Debug, Default)]
pub(super) struct TemporaryFolder {
    path: OnceLock<PathBuf>,
    serial: AtomicU64,
}

impl TemporaryFolder {
    fn next(&self) -> Result<PathBuf, LakeError> {
        let folder = self.path.get_or_init(|| std::env::temp_dir().join(format!("sluice-{}-{}", std::process::id(), random_id())));
        fs::create_dir_all(folder).map_err(|source| LakeError::io("create", folder, source))?;
        Ok(folder.join(self.serial.fetch_add(1, Ordering::Relaxed).to_string()))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Some(path) = self.path.get()
            && let Err(error) = fs::remove_dir_all(path)
        {
            tracing::warn!(path = %path.display(), %error, "temporary folder could not be removed");
        }
    }
}

/// An object in the making; its file is open only while a piece is written, so that any number of them can be.
#[derive(Debug)]
pub(super) struct Staged {
    s3: Arc<S3>,
    key: String,
    file: PathBuf,
    bytes: u64,
    /// Keeps the folder.
    _folder: Arc<TemporaryFolder>,
}

impl Staged {
    pub(super) fn create(s3: Arc<S3>, key: String, folder: Arc<TemporaryFolder>) -> Result<Self, LakeError> {
        let file = folder.next()?;
        File::create(&file).map_err(|source| LakeError::io("write", &file, source))?;
        Ok(Self { s3, key, file, bytes: 0, _folder: folder })
    }

    /// Sends the object in parts. Nothing of it can be seen until the last call.
    fn send_parts(&self, file: &mut File) -> Result<(), LakeError> {
        let call = Call { what: "write", permission: "s3:PutObject and s3:AbortMultipartUpload", key: &self.key };
        let failed = |failure: Failure| self.s3.explain(call, failure);
        let create = self.s3.client.create_multipart_upload().bucket(&self.s3.bucket).key(&self.key);
        let begun = self.s3.send(|| {
            let create = create.clone();
            async move { create.send().await.map_err(Failure::from) }
        });
        let upload = begun.map_err(failed)?.upload_id.unwrap_or_default();
        let sent = self.send_each_part(file, &upload, call).and_then(|parts| self.complete(&upload, parts, call));
        if sent.is_err() {
            let abort = self.s3.client.abort_multipart_upload().bucket(&self.s3.bucket).key(&self.key).upload_id(&upload);
            let aborted = self.s3.send(|| {
                let abort = abort.clone();
                async move { abort.send().await.map(drop).map_err(Failure::from) }
            });
            if let Err(error) = aborted {
                tracing::warn!(key = self.key, %error, "parts of an upload could not be removed: a lifecycle rule for incomplete uploads does");
            }
        }
        sent
    }

    fn send_each_part(&self, file: &mut File, upload: &str, call: Call<'_>) -> Result<Vec<CompletedPart>, LakeError> {
        let mut parts = Vec::new();
        for number in 1.. {
            let bytes = self.read_part(file)?;
            if bytes.is_empty() {
                break;
            }
            let sent = self.s3.send(|| {
                let part = self.s3.client.upload_part().bucket(&self.s3.bucket).key(&self.key).upload_id(upload);
                let part = part.part_number(number).body(ByteStream::from(bytes.clone()));
                async move { part.send().await.map_err(Failure::from) }
            });
            let sent = sent.map_err(|failure| self.s3.explain(call, failure))?;
            let part = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).set_checksum_crc32(sent.checksum_crc32);
            parts.push(part.build());
        }
        Ok(parts)
    }

    fn complete(&self, upload: &str, parts: Vec<CompletedPart>, call: Call<'_>) -> Result<(), LakeError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self.s3.client.complete_multipart_upload().bucket(&self.s3.bucket).key(&self.key).upload_id(upload);
        let complete = complete.multipart_upload(parts);
        let done = self.s3.send(|| {
            let complete = complete.clone();
            async move { complete.send().await.map(drop).map_err(Failure::from) }
        });
        match done {
            // Carried out by an earlier try whose answer was lost, or now with an answer that cannot be read: then the object is
            // there, whole. Its name is of this attempt alone.
            Err(failure) if failure.may_be_done() && self.s3.size(&self.key)? == Some(self.bytes) => Ok(()),
            other => other.map_err(|failure| self.s3.explain(call, failure)),
        }
    }

    fn read_part(&self, file: &mut File) -> Result<Bytes, LakeError> {
        let mut bytes = Vec::new();
        let read = file.take(PART as u64).read_to_end(&mut bytes);
        read.map_err(|source| LakeError::io("read", &self.file, source))?;
        Ok(Bytes::from(bytes))
    }
}

impl StagedObject for Staged {
    fn append(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        let written = OpenOptions::new().append(true).open(&self.file).and_then(|mut file| file.write_all(bytes));
        written.map_err(|source| LakeError::io("write", &self.file, source))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), LakeError> {
        let mut file = File::open(&self.file).map_err(|source| LakeError::io("read", &self.file, source))?;
        if self.bytes <= PART as u64 { self.s3.put(&self.key, self.read_part(&mut file)?) } else { self.send_parts(&mut file) }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        remove(&self.file);
    }
}

/// Removes a file that nothing refers to; one that stays goes with its folder.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "temporary file could not be removed");
    }
}
