//! Reads the texts of a configuration, and remembers which version of each.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sluice_enforce::audit::sha256;
#[cfg(feature = "aws")]
use sluice_schemas::ErrorClass;

use super::Location;

/// Digits of a digest that are shown.
const SHOWN: usize = 12;

/// Name of an edition without a text: defaults, and what the environment says.
const NONE: &str = "none";

/// A text that was read: where it lies, and which state of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DocumentVersion {
    /// Where.
    pub(crate) location: String,
    /// Its version: of a parameter the number, of an object the version id or the entity tag, of a file the beginning of the digest.
    pub(crate) version: String,
    /// SHA-256 of its content.
    pub(crate) sha256: String,
}

/// Everything that a configuration was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edition {
    /// The texts, in the order in which they were read; none for a configuration without a file.
    pub(crate) documents: Vec<DocumentVersion>,
}

impl DocumentVersion {
    /// Tells whether it lies in AWS.
    pub(super) fn is_remote(&self) -> bool {
        self.location.parse::<Location>().is_ok_and(|location| location.is_remote())
    }
}

impl Edition {
    /// Returns one short name of all versions together.
    pub(crate) fn id(&self) -> String {
        if self.documents.is_empty() {
            return NONE.to_owned();
        }
        let all: Vec<String> = self.documents.iter().map(|document| format!("{} {}\n", document.location, document.sha256)).collect();
        let mut digest = sha256(all.concat().as_bytes());
        digest.truncate(SHOWN);
        digest
    }
}

impl fmt::Display for DocumentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.location, self.version)
    }
}

impl fmt::Display for Edition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.documents.iter().map(ToString::to_string).collect();
        f.write_str(&all.join("; "))
    }
}

/// Why a text could not be read.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    /// What is wrong, and what to do.
    pub(crate) problem: String,
}

/// Reads texts. One that is kept keeps its clients and their credentials; each reading begins with [`Reader::begin`].
#[derive(Debug, Default)]
pub(crate) struct Reader {
    #[cfg(feature = "aws")]
    remote: Option<sluice_ingest::documents::Documents>,
    edition: Edition,
    /// Texts of this reading: one that is named twice is of one version.
    texts: BTreeMap<Location, String>,
    failed: bool,
}

impl Reader {
    /// Forgets what was read.
    pub(super) fn begin(&mut self) {
        self.edition = Edition::default();
        self.texts.clear();
        self.failed = false;
    }

    /// Returns what was read since.
    pub(crate) const fn edition(&self) -> &Edition {
        &self.edition
    }

    /// Tells whether a text could not be read since.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Reads a text.
    ///
    /// # Errors
    /// It is not there, or may not be read.
    pub(super) fn read(&mut self, location: &Location) -> Result<String, Unread> {
        if let Some(text) = self.texts.get(location) {
            return Ok(text.clone());
        }
        let (text, version) = self.fetch(location).inspect_err(|_| self.failed = true)?;
        let digest = sha256(text.as_bytes());
        let version = version.unwrap_or_else(|| format!("sha256 {}", &digest[..SHOWN]));
        self.edition.documents.push(DocumentVersion { location: location.to_string(), version, sha256: digest });
        self.texts.insert(location.clone(), text.clone());
        Ok(text)
    }

    fn fetch(&mut self, location: &Location) -> Result<(String, Option<String>), Unread> {
        match location {
            Location::File(path) => {
                let read = std::fs::read_to_string(path);
                Ok((read.map_err(|error| Unread { problem: format!("cannot read {}: {error}", path.display()) })?, None))
            }
            remote => self.fetch_remote(remote),
        }
    }

    #[cfg(feature = "aws")]
    fn fetch_remote(&mut self, location: &Location) -> Result<(String, Option<String>), Unread> {
        use sluice_ingest::documents::Documents;
        let unread = |error: sluice_ingest::source::SourceError| {
            let is_passing = error.class() == ErrorClass::Transient;
            Unread { problem: if is_passing { format!("cannot be read now: {error}") } else { error.to_string() } }
        };
        if self.remote.is_none() {
            self.remote = Some(Documents::open().map_err(unread)?);
        }
        let Some(documents) = &mut self.remote else { return Err(Unread { problem: "there is no client".to_owned() }) };
        let read = match location {
            Location::Parameter(name) => documents.parameter(name, &sluice_schemas::SystemClock),
            Location::Object(bucket, key) => documents.object(bucket, key),
            Location::File(path) => return Err(Unread { problem: format!("{} is a file", path.display()) }),
        };
        let document = read.map_err(unread)?;
        let is_tagged = document.version.starts_with("etag ");
        Ok((document.text, Some(if is_tagged { document.version } else { format!("version {}", document.version) })))
    }

    #[cfg(not(feature = "aws"))]
    fn fetch_remote(&mut self, location: &Location) -> Result<(String, Option<String>), Unread> {
        Err(Unread { problem: format!("this build cannot read {location}: build it with --features aws, or name a file") })
    }
}
