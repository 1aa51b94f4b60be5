//! The five actions of a Delta log (reader protocol 1, writer protocol 2) and the commit information beside them.
//!
//! Source of the form: the Delta Lake project's "Delta Transaction Log Protocol".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Application id of the transaction whose version is the epoch.
pub(crate) const EPOCH_APP: &str = "sluice";
/// Application id of the transaction whose version is the fence: in the root table's log, so that taking over and committing are ordered
/// by the same thing, and in every checkpoint, which commit information is not.
pub(crate) const FENCE_APP: &str = "sluice-fence";

/// One line of a log entry: exactly one of the fields is set; actions unknown to this program leave all empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit_info: Option<CommitInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) meta_data: Option<MetaData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) txn: Option<Txn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) add: Option<Add>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remove: Option<Remove>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CommitInfo {
    pub(crate) timestamp: i64,
    pub(crate) operation: String,
    pub(crate) operation_parameters: serde_json::Map<String, serde_json::Value>,
    pub(crate) engine_info: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sluice: Option<Signature>,
}

/// How this program recognises its own commits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Signature {
    /// Random id of the commit; the same in every table of one epoch.
    pub(crate) uuid: String,
    /// Fence of the writer.
    pub(crate) fence: u64,
    /// Path of the manifest, for an epoch.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) manifest: String,
    /// SHA-256 of the manifest's bytes, for an epoch.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    pub(crate) min_reader_version: i32,
    pub(crate) min_writer_version: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetaData {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) format: Format,
    pub(crate) schema_string: String,
    pub(crate) partition_columns: Vec<String>,
    #[serde(default)]
    pub(crate) configuration: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created_time: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Format {
    pub(crate) provider: String,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Txn {
    pub(crate) app_id: String,
    pub(crate) version: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_updated: Option<i64>,
}

/// Values of the partition columns; a null partition is stored as null.
pub(crate) type PartitionValues = BTreeMap<String, Option<String>>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    /// Relative to the table, percent-encoded.
    pub(crate) path: String,
    pub(crate) partition_values: PartitionValues,
    pub(crate) size: i64,
    pub(crate) modification_time: i64,
    pub(crate) data_change: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stats: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deletion_timestamp: Option<i64>,
    pub(crate) data_change: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) extended_file_metadata: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) partition_values: Option<PartitionValues>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<i64>,
}

impl Line {
    pub(crate) fn add(add: Add) -> Self {
        Self { add: Some(add), ..Self::default() }
    }

    pub(crate) fn remove(remove: Remove) -> Self {
        Self { remove: Some(remove), ..Self::default() }
    }

    pub(crate) fn txn(app: &str, version: u64, now_ms: i64) -> Self {
        let txn = Txn { app_id: app.to_owned(), version: version.cast_signed(), last_updated: Some(now_ms) };
        Self { txn: Some(txn), ..Self::default() }
    }

    pub(crate) fn info(operation: &str, parameters: &[(&str, &str)], signature: Signature, now_ms: i64) -> Self {
        let parameters = parameters.iter().map(|(key, value)| ((*key).to_owned(), serde_json::Value::from(*value)));
        let info = CommitInfo {
            timestamp: now_ms,
            operation: operation.to_owned(),
            operation_parameters: parameters.collect(),
            engine_info: format!("sluice/{}", env!("CARGO_PKG_VERSION")),
            sluice: Some(signature),
        };
        Self { commit_info: Some(info), ..Self::default() }
    }
}

impl Add {
    /// Returns the action that takes this file out of the table.
    pub(crate) fn removed(&self, now_ms: i64, data_change: bool) -> Remove {
        Remove {
            path: self.path.clone(),
            deletion_timestamp: Some(now_ms),
            data_change,
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition_values.clone()),
            size: Some(self.size),
        }
    }
}

/// Decodes the lines of a log entry.
pub(crate) fn parse_lines(bytes: &[u8]) -> Result<Vec<Line>, serde_json::Error> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).map(serde_json::from_slice).collect()
}

/// Encodes the lines of a log entry.
pub(crate) fn write_lines(lines: &[Line]) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Decodes `%XX` of a path as it stands in the log.
pub(crate) fn decode_path(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| path.get(at + 1..at + 3)).flatten().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = escaped {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_lines_are_read() {
        let text = br#"{"commitInfo":{"timestamp":5,"operation":"WRITE","isolationLevel":"Serializable","operationParameters":{"mode":"Append"}}}
{"cdc":{"path":"x"}}

{"add":{"path":"dt=2026-10-01/a%20b.parquet","partitionValues":{"dt":"2026-10-01"},"size":3,"modificationTime":1,"dataChange":true,"tags":{}}}
"#;
        let lines = parse_lines(text).unwrap();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1], Line::default());
        assert_eq!(decode_path(&lines[2].add.as_ref().unwrap().path), "dt=2026-10-01/a b.parquet");
        assert_eq!(parse_lines(&write_lines(&lines).unwrap()).unwrap(), lines);
    }

    #[test]
    fn paths_that_are_not_escaped_stay() {
        for path in ["dt=2026-10-01/x.parquet", "100%", "%zz", "%"] {
            assert_eq!(decode_path(path), path);
        }
    }
}
