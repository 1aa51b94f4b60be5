//! What AWS says about the things that call: what is known of them, what is still wanted, and a thread that asks.
//!
//! ```text
//! coordinator: calls name things ─wish→ asking thread ─AWS→ entries ─Command::Learn→ coordinator: rows of `directory`, attribution
//! ```
//!
//! Owns: which things are asked about and when, and that entries survive a restart. Does not own: the questions (`ingest/directory`), nor
//! what entries mean for a call (`enrich/directory`). The coordinator never waits for AWS.

#[cfg(feature = "aws")]
mod asking;
mod book;
mod config;
mod file;
#[cfg(any(feature = "aws", test))]
mod schedule;

#[cfg(feature = "aws")]
pub(crate) use asking::Asking;
/// A build without the AWS clients asks nobody.
#[cfg(not(feature = "aws"))]
pub(crate) struct Asking;
pub(crate) use book::Book;
#[cfg(feature = "aws")]
pub(crate) use book::Wish;
pub(crate) use config::{DirectoryConfig, RawDirectory};
pub(crate) use file::read as read_file;
