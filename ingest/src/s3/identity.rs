//! Tells one version of an object from another: what a position keeps of it, and what a listing, a notification and an answer
//! each say of it.
//!
//! Written `ETAG:SIZE[@VERSION]`, in a position with the moment at which it was first read (`retention`). Listings name no version and buckets without versioning have none, so the same object may
//! be told by entity tag and size alone.

use std::fmt;
use std::str::FromStr;

use sluice_schemas::{Micros, Position, ShardId};

use crate::retention;

/// Prefix of the shards of objects.
pub(super) const PREFIX: &str = "s3:";

/// Returns the shard of an object: `s3:BUCKET/KEY`.
pub(super) fn shard_of(bucket: &str, key: &str) -> ShardId {
    format!("{PREFIX}{bucket}/{key}")
}

/// Identity of one version of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    etag: String,
    size: u64,
    version: Option<String>,
}

/// Text that is no identity of this form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ForeignIdentity;

impl Identity {
    /// Returns what asks for this version.
    pub(super) fn claim(&self) -> Claim {
        Claim { etag: Some(self.etag.clone()), size: Some(self.size), version: self.version.clone() }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.etag, self.size)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

impl FromStr for Identity {
    type Err = ForeignIdentity;

    fn from_str(text: &str) -> Result<Self, ForeignIdentity> {
        let (text, _) = retention::split(text);
        let (text, version) = text.split_once('@').map_or((text, None), |(text, version)| (text, Some(version.to_owned())));
        let (etag, size) = text.rsplit_once(':').ok_or(ForeignIdentity)?;
        Ok(Self { etag: etag.to_owned(), size: size.parse().map_err(|_| ForeignIdentity)?, version })
    }
}

/// Returns what a position says of a version: the words of the one before where it names the same, or new ones.
pub(super) fn in_position(identity: &str, before: Option<&Position>, now: Micros) -> String {
    let is_same = |known: &Position| {
        let claim = identity.parse().map(|identity: Identity| identity.claim());
        let named = claim.and_then(|claim| known.identity.parse().map(|known: Identity| claim.is(&known)));
        named.unwrap_or(retention::split(&known.identity).0 == retention::split(identity).0)
    };
    before.filter(|known| is_same(known)).map_or_else(|| retention::stamp(identity, now), |known| known.identity.clone())
}

/// What is said of a version of an object before it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Entity tag without quotes.
    pub(crate) etag: Option<String>,
    /// Bytes stored.
    pub(crate) size: Option<u64>,
    /// Version id; none where the bucket has no versions.
    pub(crate) version: Option<String>,
}

impl Claim {
    /// Takes what an answer, a listing or a notification says.
    pub(crate) fn new(etag: Option<&str>, size: Option<u64>, version: Option<&str>) -> Self {
        let etag = etag.map(|etag| etag.trim_matches('"').to_owned()).filter(|etag| !etag.is_empty());
        // S3 writes "null" for an object put while its bucket had no versions.
        let version = version.filter(|version| !version.is_empty() && *version != "null").map(str::to_owned);
        Self { etag, size, version }
    }

    /// Returns the identity, if enough is said.
    pub(super) fn identity(&self) -> Option<Identity> {
        Some(Identity { etag: self.etag.clone()?, size: self.size?, version: self.version.clone() })
    }

    /// Tells whether this is the version that `known` identifies; not where too little is said.
    pub(super) fn is(&self, known: &Identity) -> bool {
        match (&self.version, &known.version) {
            (Some(version), Some(known)) => version == known,
            _ => self.etag.as_ref() == Some(&known.etag) && self.size == Some(known.size),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_written_and_read() {
        for text in ["d41d8cd98f00b204e9800998ecf8427e:0", "abc-12:7@3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrH"] {
            assert_eq!(text.parse::<Identity>().expect("an identity").to_string(), text);
        }
        assert_eq!("abc".parse::<Identity>(), Err(ForeignIdentity));
        assert_eq!("abc:x".parse::<Identity>(), Err(ForeignIdentity));
    }

    #[test]
    fn a_listing_knows_the_object_a_notification_named_by_version() {
        let told = Claim::new(Some("abc"), Some(7), Some("v1"));
        let known = told.identity().expect("an identity");
        assert!(Claim::new(Some("\"abc\""), Some(7), None).is(&known));
        assert!(told.is(&known));
        assert!(!Claim::new(Some("abc"), Some(7), Some("v2")).is(&known));
        assert!(!Claim::new(Some("abd"), Some(7), None).is(&known));
        assert!(!Claim::new(None, None, None).is(&known));
        assert!(Claim::new(None, None, Some("v1")).is(&known));
        assert_eq!(Claim::new(Some("abc"), Some(7), Some("null")).version, None);
    }
}
