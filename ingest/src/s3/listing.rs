//! Lists the objects of a path in the order of their keys, and no more folders than the wanted time asks for.

use std::collections::HashSet;

use sluice_schemas::Micros;
use tokio::sync::mpsc::Sender;

use super::backoff::persist;
use super::fetch::{Address, Objects};
use super::identity::Claim;
use super::layout::{Allowed, Bounds, FolderDecision, KeyDecision, decide_folder, decide_key, place};
use super::settings::Path;
use crate::aws::{Call, explain};
use crate::source::SourceError;

/// What a listing finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An object to be read.
    Object(Address, Claim),
    /// The logs of an account that is not on the list; told once for each.
    Foreign(Address),
    /// Nothing more: all paths were listed.
    End,
}

/// A page of a listing.
type Page = Result<Vec<Found>, SourceError>;

/// What a listing still has to do.
#[derive(Debug)]
enum Task {
    /// Everything below the prefix.
    Flat(String),
    /// What lies in the prefix, and then each of its folders.
    Walk(String),
}

/// Lists paths one after another.
pub(super) struct Lister {
    pub(super) objects: Objects,
    pub(super) bounds: Bounds,
    pub(super) allowed: Allowed,
    pub(super) pages: Sender<Page>,
    /// Owners that were reported as foreign.
    pub(super) foreign: HashSet<String>,
}

impl Lister {
    /// Lists everything; ends early when nobody takes the pages any more.
    pub(super) async fn run(mut self, paths: Vec<Path>) {
        let mut last = Ok(vec![Found::End]);
        for path in paths {
            match self.path(&path).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    last = Err(error);
                    break;
                }
            }
        }
        if self.pages.send(last).await.is_err() {
            tracing::debug!("nobody takes the end of a listing");
        }
    }

    /// Lists a path; `false` when nobody listens.
    async fn path(&mut self, path: &Path) -> Result<bool, SourceError> {
        let mut tasks = Vec::new();
        let mut found = Vec::new();
        self.folder(&path.bucket, path.prefix.clone(), &mut tasks, &mut found);
        while let Some(task) = tasks.pop() {
            let (prefix, delimiter) = match task {
                Task::Flat(prefix) => (prefix, None),
                Task::Walk(prefix) => (prefix, Some("/")),
            };
            let (mut token, mut folders) = (None, Vec::new());
            loop {
                let page = persist("ListObjectsV2", || self.page(&path.bucket, &prefix, delimiter, token.clone())).await?;
                for object in page.contents() {
                    self.object(&path.bucket, object, &mut found);
                }
                folders.extend(page.common_prefixes().iter().filter_map(|folder| folder.prefix().map(str::to_owned)));
                if !found.is_empty() && self.pages.send(Ok(std::mem::take(&mut found))).await.is_err() {
                    return Ok(false);
                }
                token = page.next_continuation_token().map(str::to_owned);
                if token.is_none() {
                    break;
                }
            }
            // The first folder is the next task.
            for folder in folders.into_iter().rev() {
                self.folder(&path.bucket, folder, &mut tasks, &mut found);
            }
        }
        Ok(found.is_empty() || self.pages.send(Ok(found)).await.is_ok())
    }

    fn folder(&mut self, bucket: &str, prefix: String, tasks: &mut Vec<Task>, found: &mut Vec<Found>) {
        match decide_folder(&prefix, self.bounds, &self.allowed) {
            FolderDecision::Flat => tasks.push(Task::Flat(prefix)),
            FolderDecision::Walk => tasks.push(Task::Walk(prefix)),
            FolderDecision::Skip => {}
            FolderDecision::Foreign => self.report(bucket, &prefix, found),
        }
    }

    fn object(&mut self, bucket: &str, object: &aws_sdk_s3::types::Object, found: &mut Vec<Found>) {
        let Some(key) = object.key() else { return };
        let modified = object.last_modified().map(|time| Micros(time.secs().saturating_mul(1_000_000)));
        match decide_key(key, modified, self.bounds, &self.allowed) {
            KeyDecision::Read => {
                let size = object.size().and_then(|size| u64::try_from(size).ok());
                let address = Address { bucket: bucket.to_owned(), key: key.to_owned() };
                found.push(Found::Object(address, Claim::new(object.e_tag(), size, None)));
            }
            KeyDecision::Foreign => self.report(bucket, key, found),
            KeyDecision::NoLog | KeyDecision::OutOfTime => {}
        }
    }

    fn report(&mut self, bucket: &str, path: &str, found: &mut Vec<Found>) {
        let owner = Address { bucket: bucket.to_owned(), key: place(path).owner.to_owned() };
        if self.foreign.insert(owner.to_string()) {
            found.push(Found::Foreign(owner));
        }
    }

    async fn page(
        &self,
        bucket: &str,
        prefix: &str,
        delimiter: Option<&str>,
        token: Option<String>,
    ) -> Result<aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output, SourceError> {
        let call = self.objects.client.list_objects_v2().bucket(bucket).prefix(prefix);
        let call = call.set_delimiter(delimiter.map(str::to_owned)).set_continuation_token(token);
        call.send().await.map_err(|error| {
            let (resource, arn) = (format!("s3://{bucket}/{prefix}"), format!("arn:aws:s3:::{bucket}"));
            explain(Call { resource: &resource, action: "s3:ListBucket", arn: &arn, region: &self.objects.region }, error)
        })
    }
}
