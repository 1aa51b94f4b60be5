//! The chain: each line holds the hash of the one before and a hash over its own number and content.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::AuditEntry;
use crate::budget::hex;

/// First part of what is hashed: another way of hashing gets another name.
const SCHEME: &str = "sluice-audit/1";

/// Where the chain stands: kept beside the lines and moved with each of them, so that a last line that is gone is missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the last line.
    pub number: u64,
    /// Its hash.
    pub hash: String,
}

/// Returns the hash of a line under a number: SHA-256, as 64 hexadecimal digits.
///
/// Every part goes in behind its length, so no two lines can be written alike. The number is one of them: a line that is moved to
/// another place does not hold there.
#[must_use]
pub fn hash(number: u64, entry: &AuditEntry) -> String {
    let (number, at, count) = (number.to_string(), entry.at.0.to_string(), entry.requests.len().to_string());
    let texts = [
        SCHEME,
        &entry.prev,
        &number,
        &at,
        &entry.fire_id,
        &entry.action,
        &entry.target,
        &entry.state,
        &entry.actor,
        &entry.detail,
        &entry.inputs,
        &entry.policy_version,
        &entry.price_version,
        &count,
    ];
    let mut hasher = Sha256::new();
    for part in texts.into_iter().chain(entry.requests.iter().map(String::as_str)) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hex(&hasher.finalize())
}

/// Puts a line behind the head of the chain, under its number; without a head the chain begins with it.
#[must_use]
pub fn seal(entry: &AuditEntry, number: u64, head: Option<&Head>) -> AuditEntry {
    let mut sealed = AuditEntry { prev: head.map(|head| head.hash.clone()).unwrap_or_default(), ..entry.unsealed() };
    sealed.hash = hash(number, &sealed);
    sealed
}

/// Returns the SHA-256 of bytes as 64 hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
