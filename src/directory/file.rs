//! Entries from a file, for accounts that AWS may not be asked about: a JSON list of entries as the table `directory` keeps them.

use std::path::Path;

use anyhow::Context;
use sluice_schemas::Micros;
use sluice_schemas::directory::Entry;

/// Reads the file; `now` is when entries were seen that do not say.
///
/// # Errors
/// It cannot be read, is no list of entries, or one of them names nothing.
pub(crate) fn read(path: &Path, now: Micros) -> anyhow::Result<Vec<Entry>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read directory file {}", path.display()))?;
    parse(&text, now).with_context(|| format!("directory file {}", path.display()))
}

fn parse(text: &str, now: Micros) -> anyhow::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = serde_json::from_str(text)?;
    for (number, entry) in entries.iter_mut().enumerate() {
        anyhow::ensure!(!entry.arn.is_empty(), "entry {} has no arn", number + 1);
        if entry.seen_at == Micros::default() {
            entry.seen_at = now;
        }
        entry.tags.sort();
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use sluice_schemas::directory::EntryKind;

    use super::*;

    #[test]
    fn a_list_of_entries() {
        let text = r#"[{"kind":"inference_profile","arn":"arn:aws:bedrock:us-east-1:1:application-inference-profile/a","models":["arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"],"tags":[["team","search"],["agent","triage"]]},
            {"kind":"role","arn":"arn:aws:iam::1:role/r","seen_at":"2026-10-01T00:00:00Z","pins":{"session_name":true}}]"#;
        let entries = parse(text, Micros(7)).unwrap();
        assert_eq!((entries[0].kind, entries[0].seen_at, entries[0].tags[0].0.as_str()), (EntryKind::InferenceProfile, Micros(7), "agent"));
        assert!(entries[1].pins.session_name && entries[1].seen_at > Micros(7));
        for wrong in ["", "{}", "[{}]", r#"[{"kind":"x","arn":"a"}]"#] {
            assert!(parse(wrong, Micros(7)).is_err(), "{wrong}");
        }
    }
}
