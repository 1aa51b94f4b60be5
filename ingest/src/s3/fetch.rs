//! Fetches objects: whole ones into memory, a stretch of a large one, and says why one cannot be had.

use std::fmt;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use sluice_schemas::ErrorClass;

use super::backoff::{Passing, persist};
use super::identity::{Claim, Identity};
use crate::aws::{Call, Fault, Stage, explain, remedy};
use crate::files::MAX_WHOLE_GZIP;
use crate::source::SourceError;

/// Largest object held in memory.
pub(super) const MAX_WHOLE: u64 = MAX_WHOLE_GZIP;

/// What became of an object.
#[derive(Debug)]
pub(super) enum Fetched {
    /// Here it is.
    Whole(Identity, Vec<u8>),
    /// It is there, and too large to be held; its size.
    Large(Identity, u64),
    /// It cannot be had.
    Refused(Refusal),
    /// The version that was told is gone; this one has taken its place.
    Replaced(Box<Fetched>),
}

/// Why an object cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What the service said, and what to do about it.
    pub(super) message: String,
    /// It is there, and could be read if it were allowed.
    pub(super) is_denied: bool,
}

/// Why a call for an object failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// This object alone is at fault.
    Refused(Refusal),
    /// Another version has taken its place.
    Changed,
    /// Everything is at fault, perhaps in passing.
    Source(SourceError),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => f.write_str(&refusal.message),
            Self::Changed => f.write_str("the object was overwritten"),
            Self::Source(error) => error.fmt(f),
        }
    }
}

impl Passing for Failed {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Source(error) if error.may_pass())
    }
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Its bucket.
    pub(super) bucket: String,
    /// Its key.
    pub(super) key: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// The objects of S3.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    /// The client.
    pub(super) client: Client,
    /// Its region.
    pub(super) region: String,
}

impl Objects {
    /// Fetches an object unless it is too large to be held.
    ///
    /// # Errors
    /// When S3 cannot be used, or not for long.
    pub(super) async fn fetch(&self, address: &Address, claim: &Claim) -> Result<Fetched, SourceError> {
        match persist("GetObject", || self.try_fetch(address, claim)).await {
            Ok(fetched) => Ok(fetched),
            Err(Failed::Refused(refusal)) => Ok(Fetched::Refused(refusal)),
            Err(Failed::Source(error)) => Err(error),
            Err(Failed::Changed) => {
                let any = Claim::default();
                match persist("GetObject", || self.try_fetch(address, &any)).await {
                    Ok(fetched) => Ok(Fetched::Replaced(Box::new(fetched))),
                    Err(Failed::Refused(refusal)) => Ok(Fetched::Replaced(Box::new(Fetched::Refused(refusal)))),
                    Err(Failed::Changed) => Ok(Fetched::Refused(changed())),
                    Err(Failed::Source(error)) => Err(error),
                }
            }
        }
    }

    async fn try_fetch(&self, address: &Address, claim: &Claim) -> Result<Fetched, Failed> {
        let answer = self.get(address, claim, None).await?;
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
        let said = Claim::new(answer.e_tag(), Some(size), answer.version_id());
        let Some(identity) = said.identity() else { return Err(self.garbled(address, "an answer without an entity tag")) };
        // The size is asked for even where it was told: whoever may write to a queue can tell any size.
        if size > MAX_WHOLE {
            return Ok(Fetched::Large(identity, size));
        }
        let bytes = self.collect(address, answer.body, size).await?;
        Ok(Fetched::Whole(identity, bytes))
    }

    /// Fetches bytes `start..end` of a version; the end lies within it.
    ///
    /// # Errors
    /// When the object cannot be had, has changed, or S3 cannot be used for long.
    pub(super) async fn stretch(&self, address: &Address, version: &Claim, start: u64, end: u64) -> Result<Vec<u8>, Failed> {
        let range = format!("bytes={start}-{}", end.saturating_sub(1));
        persist("GetObject", || async {
            let answer = self.get(address, version, Some(range.clone())).await?;
            self.collect(address, answer.body, end - start).await
        })
        .await
    }

    /// Takes `size` bytes, no more and no less.
    async fn collect(&self, address: &Address, mut body: ByteStream, size: u64) -> Result<Vec<u8>, Failed> {
        let mut bytes = Vec::with_capacity(usize::try_from(size.min(MAX_WHOLE)).unwrap_or(0));
        loop {
            match body.next().await {
                Some(Ok(chunk)) if bytes.len() as u64 + chunk.len() as u64 > size => {
                    return Err(self.garbled(address, "more than was announced"));
                }
                Some(Ok(chunk)) => bytes.extend_from_slice(&chunk),
                Some(Err(error)) => return Err(self.garbled(address, &format!("an answer that broke off: {error}"))),
                None if (bytes.len() as u64) < size => return Err(self.garbled(address, "less than was announced")),
                None => return Ok(bytes),
            }
        }
    }

    pub(super) async fn get(&self, address: &Address, version: &Claim, range: Option<String>) -> Result<GetObjectOutput, Failed> {
        let Address { bucket, key } = address;
        let mut call = self.client.get_object().bucket(bucket).key(key).set_range(range);
        call = match (&version.version, &version.etag) {
            (Some(version), _) => call.version_id(version),
            (None, Some(etag)) => call.if_match(format!("\"{etag}\"")),
            (None, None) => call,
        };
        call.send().await.map_err(|error| {
            let (resource, arn) = (address.to_string(), format!("arn:aws:s3:::{bucket}/{key}"));
            let call = Call { resource: &resource, action: "s3:GetObject", arn: &arn, region: &self.region };
            let fault = Fault::of(&error);
            if is_changed(&fault) || error.raw_response().is_some_and(|answer| answer.status().as_u16() == 412) {
                return Failed::Changed;
            }
            refusal(call, &fault).map_or_else(|| Failed::Source(explain(call, error)), Failed::Refused)
        })
    }

    fn garbled(&self, address: &Address, what: &str) -> Failed {
        Failed::Source(SourceError::Service {
            resource: address.to_string(),
            problem: format!("S3 gave {what}"),
            fix: format!("the connection to {} has trouble: the call is repeated", self.region),
            class: ErrorClass::Transient,
            source: None,
        })
    }
}

/// The refusal of a version that was overwritten in a bucket that keeps no versions.
pub(super) fn changed() -> Refusal {
    let message = "it was overwritten before it was read to its end: switch on versioning for the bucket to keep such logs";
    Refusal { message: message.to_owned(), is_denied: false }
}

fn is_changed(fault: &Fault) -> bool {
    fault.code() == "PreconditionFailed"
}

/// Tells whether a failure concerns one object alone, and how. Codes: S3 API reference, "Error responses".
fn refusal(call: Call<'_>, fault: &Fault) -> Option<Refusal> {
    if fault.stage != Stage::Service {
        return None;
    }
    let Call { arn, .. } = call;
    let (fix, is_denied) = match fault.code() {
        "NoSuchKey" | "NoSuchVersion" | "NoSuchBucket" | "NotFound" | "MethodNotAllowed" => {
            ("it was deleted before it was read: look at the lifecycle rules of the bucket".to_owned(), false)
        }
        "InvalidObjectState" => ("it is archived: restore it and read it again".to_owned(), true),
        code if fault.problem.contains("kms:") || code.starts_with("KMS.") => {
            (format!("allow kms:Decrypt on the key that encrypts {arn} to the role sluice runs as"), true)
        }
        "AccessDenied" | "AllAccessDisabled" | "Forbidden" => {
            let hint = "without s3:ListBucket S3 says the same of an object that does not exist";
            (format!("allow s3:GetObject and s3:GetObjectVersion on {arn} to the role sluice runs as; {hint}"), true)
        }
        // The rest is about credentials, clock, region, or will pass; what this program does not know is the object's own.
        _ => {
            let (fix, class) = remedy(call, fault);
            let general = class != ErrorClass::Misconfigured || !fix.contains("API reference");
            return (!general).then(|| Refusal { message: format!("{}; {fix}", fault.problem), is_denied: true });
        }
    };
    Some(Refusal { message: format!("{}; {fix}", fault.problem), is_denied })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(code: &str, message: &str) -> Option<Refusal> {
        let call = Call { resource: "s3://b/k", action: "s3:GetObject", arn: "arn:aws:s3:::b/k", region: "r" };
        let fault = Fault { stage: Stage::Service, code: Some(code.to_owned()), problem: format!("{code}: {message}") };
        refusal(call, &fault)
    }

    #[test]
    fn what_concerns_one_object_is_its_refusal() {
        for (code, message, words, is_denied) in [
            ("NoSuchKey", "The specified key does not exist.", "deleted", false),
            ("NoSuchVersion", "", "deleted", false),
            ("AccessDenied", "Access Denied", "s3:GetObject", true),
            ("AccessDenied", "User: x is not authorized to perform: kms:Decrypt on resource: y", "kms:Decrypt on the key", true),
            ("KMS.DisabledException", "", "kms:Decrypt", true),
            ("InvalidObjectState", "", "archived", true),
            ("InvalidRequest", "stored using a form of Server Side Encryption", "API reference", true),
        ] {
            let refusal = decide(code, message).expect(code);
            assert!(refusal.message.starts_with(code) && refusal.message.contains(words), "{}", refusal.message);
            assert_eq!(refusal.is_denied, is_denied, "{code}");
        }
    }

    #[test]
    fn what_concerns_all_is_not() {
        for code in ["SlowDown", "InternalError", "ServiceUnavailable", "ExpiredToken", "InvalidAccessKeyId", "PermanentRedirect"] {
            assert_eq!(decide(code, ""), None, "{code}");
        }
    }
}
