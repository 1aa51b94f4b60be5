//! From the place a person names to the storage behind it.

use std::path::Path;
use std::sync::Arc;

use super::LakeError;
use super::local::LocalObjects;
use super::objects::Objects;

/// Tells whether a place is no path of the local file system, and must not be made one.
#[must_use]
pub fn is_remote(place: &Path) -> bool {
    place.to_str().is_some_and(|text| text.starts_with("s3://"))
}

/// Returns the objects at a folder, or at an `s3://bucket/prefix` reached as the environment says.
///
/// # Errors
/// It is on S3, and that is not part of this program or cannot be set up.
pub fn objects_at(place: &Path) -> Result<Arc<dyn Objects>, LakeError> {
    match place.to_str().filter(|_| is_remote(place)) {
        None => Ok(Arc::new(LocalObjects::new(place))),
        Some(url) => on_s3(url),
    }
}

#[cfg(feature = "aws")]
fn on_s3(url: &str) -> Result<Arc<dyn Objects>, LakeError> {
    Ok(Arc::new(super::s3::S3Objects::connect(url, &super::s3::S3Settings::default())?))
}

#[cfg(not(feature = "aws"))]
fn on_s3(url: &str) -> Result<Arc<dyn Objects>, LakeError> {
    Err(LakeError::Remote {
        what: "reach",
        path: url.into(),
        problem: "this program was built without S3".to_owned(),
        fix: "build it with --features aws".to_owned(),
        is_transient: false,
    })
}
