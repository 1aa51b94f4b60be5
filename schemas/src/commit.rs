//! What one lake commit publishes: the manifest that names every file of an epoch and how far the sources were read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::position::Positions;
use crate::time::Micros;

/// One data file of an epoch, already written and synced, not yet visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Path below the table's folder, for example `dt=2026-10-01/e000000000042-0.parquet`.
    pub path: String,
    /// Event date of every row, `YYYY-MM-DD`.
    pub dt: String,
    /// Rows in it.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
    /// Delta statistics of the file (`numRecords`, `minValues`, `maxValues`, `nullCount`) as JSON text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stats: String,
}

/// Everything an epoch publishes, written before the first table commit so that any later process can finish it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The epoch; the version of the `sluice` transaction in every table it touches.
    pub epoch: u64,
    /// Random id of this attempt: tells an own commit from a stranger's after a lost answer.
    pub uuid: String,
    /// Fence of the writer; a lower one than already seen must not commit.
    pub fence: u64,
    /// When it was sealed.
    pub sealed_at: Micros,
    /// Files by table name.
    pub files: BTreeMap<String, Vec<StagedFile>>,
    /// Full positions after this epoch.
    pub positions: Positions,
    /// Greatest event time minus allowed lateness, over all shards.
    pub watermark: Micros,
    /// What enforcement must know again if local state is lost, in a form of its own; null in a manifest of an earlier version.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub enforcement: Value,
    /// Evidence that came in up to this moment has moved the cost of the calls it speaks of.
    #[serde(default)]
    pub evidence_settled: Micros,
    /// Earliest time of the calls that evidence which is not settled may speak of.
    #[serde(default)]
    pub evidence_from: Micros,
}
