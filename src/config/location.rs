//! Where a text of the configuration lies: a file, an object of S3, a parameter of the Parameter Store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Location {
    /// A file.
    File(PathBuf),
    /// An object: bucket and key.
    Object(String, String),
    /// A parameter: its name, which begins with a slash and may end in `:VERSION` or `:LABEL`.
    Parameter(String),
}

/// Why a text names no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LocationError {
    /// No text.
    #[error("names nothing: write a path, s3://BUCKET/KEY or ssm:/NAME")]
    Empty,
    /// A bucket without a key, or a key without a bucket.
    #[error("'{text}' names no object: write it like s3://BUCKET/KEY")]
    Object {
        /// The text.
        text: String,
    },
    /// A parameter without a leading slash.
    #[error("'{text}' names no parameter: its name begins with a slash, as in ssm:/sluice/config")]
    Parameter {
        /// The text.
        text: String,
    },
    /// A relative path where nothing is near.
    #[error("'{text}' is relative, and {place} has no folder: write an absolute path, s3://BUCKET/KEY or ssm:/NAME")]
    Relative {
        /// The text.
        text: String,
        /// Where it stands.
        place: Location,
    },
}

impl Location {
    /// Tells whether it lies in AWS.
    pub(crate) const fn is_remote(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    /// Returns the path of a file.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Object(..) | Self::Parameter(_) => None,
        }
    }

    /// Returns the folder that relative paths of a file are relative to; none for what is no file.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.file().map(|file| file.parent().unwrap_or(Path::new("")))
    }

    /// Reads a place that is named in the text that lies here: a relative one is beside it.
    ///
    /// # Errors
    /// It names no place, or a relative one beside a parameter.
    pub(super) fn beside(&self, text: &str) -> Result<Self, LocationError> {
        let named = match text.parse()? {
            Self::File(path) if path.is_relative() => path,
            other => return Ok(other),
        };
        match self {
            Self::File(own) => Ok(Self::File(own.parent().unwrap_or(Path::new("")).join(named))),
            Self::Object(bucket, key) => {
                let folder = key.rsplit_once('/').map_or("", |(folder, _)| folder);
                let key = if folder.is_empty() { text.to_owned() } else { format!("{folder}/{text}") };
                Ok(Self::Object(bucket.clone(), key))
            }
            Self::Parameter(_) => Err(LocationError::Relative { text: text.to_owned(), place: self.clone() }),
        }
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        if let Some(rest) = text.strip_prefix("s3:") {
            let parts = rest.strip_prefix("//").and_then(|rest| rest.split_once('/'));
            let named = parts.filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty() && !key.ends_with('/'));
            let (bucket, key) = named.ok_or_else(|| LocationError::Object { text: text.to_owned() })?;
            return Ok(Self::Object(bucket.to_owned(), key.to_owned()));
        }
        if let Some(name) = text.strip_prefix("ssm:") {
            let is_name = name.starts_with('/') && !name.starts_with("//") && name.len() > 1;
            return if is_name { Ok(Self::Parameter(name.to_owned())) } else { Err(LocationError::Parameter { text: text.to_owned() }) };
        }
        Ok(Self::File(PathBuf::from(text)))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Object(bucket, key) => write!(f, "s3://{bucket}/{key}"),
            Self::Parameter(name) => write!(f, "ssm:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Location {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_told_apart() {
        assert_eq!(at("sluice.toml"), Location::File("sluice.toml".into()));
        assert_eq!(at("s3://b/k/x.toml"), Location::Object("b".to_owned(), "k/x.toml".to_owned()));
        assert_eq!(at("ssm:/sluice/config:3"), Location::Parameter("/sluice/config:3".to_owned()));
        for text in ["a/b.toml", "s3://b/k/x.toml", "ssm:/sluice/config:3"] {
            assert_eq!(at(text).to_string(), text);
        }
        for wrong in ["", "s3://bucket", "s3://bucket/", "s3:bucket/key", "s3:///key", "s3://b/folder/", "ssm:name", "ssm:", "ssm://x"] {
            assert!(wrong.parse::<Location>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_relative_is_beside_the_text_that_names_it() {
        assert_eq!(at("/etc/sluice/sluice.toml").beside("budgets.toml"), Ok(at("/etc/sluice/budgets.toml")));
        assert_eq!(at("sluice.toml").beside("budgets.toml"), Ok(at("budgets.toml")));
        assert_eq!(at("s3://b/conf/main.toml").beside("budgets.toml"), Ok(at("s3://b/conf/budgets.toml")));
        assert_eq!(at("s3://b/main.toml").beside("x/y.toml"), Ok(at("s3://b/x/y.toml")));
        assert_eq!(at("ssm:/a").beside("/etc/x.toml"), Ok(at("/etc/x.toml")));
        assert_eq!(at("ssm:/a").beside("ssm:/b"), Ok(at("ssm:/b")));
        assert!(at("ssm:/a").beside("b.toml").unwrap_err().to_string().contains("ssm:/a has no folder"));
    }
}
