//! Manifests: what an epoch publishes, written before its first table commit, so that any later process can finish it.

use std::io::{Read, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use sluice_schemas::commit::Manifest;

use super::action::{EPOCH_APP, Signature};
use super::log::{KEEP_ENTRIES, TableLog, signature};
use super::objects::Objects;
use super::{LakeError, hex};

/// Folder of what belongs to the lake and to no table.
pub(crate) const FOLDER: &str = "_sluice";

/// Returns the path of an epoch's manifest. The fence in it keeps the attempts of two writers apart.
fn path_of(epoch: u64, fence: u64) -> String {
    format!("{FOLDER}/e{epoch:012}-f{fence:06}.json.gz")
}

/// Reads epoch and fence from the name of a manifest.
fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (epoch, fence) = name.strip_prefix('e')?.strip_suffix(".json.gz")?.split_once("-f")?;
    Some((epoch.parse().ok()?, fence.parse().ok()?))
}

/// Writes a manifest durably and returns how the commits of its epoch refer to it.
pub(crate) fn write(objects: &Arc<dyn Objects>, manifest: &Manifest) -> Result<Signature, LakeError> {
    let path = path_of(manifest.epoch, manifest.fence);
    let json = serde_json::to_vec(manifest).map_err(|error| LakeError::corrupt(&path, error))?;
    let bytes = compress(&path, &json)?;
    objects.put(&path, &bytes)?;
    Ok(Signature { uuid: manifest.uuid.clone(), fence: manifest.fence, sha256: hex(&Sha256::digest(&bytes)), manifest: path })
}

/// Compresses what an object of the lake's own folder holds.
pub(super) fn compress(path: &str, content: &[u8]) -> Result<Vec<u8>, LakeError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).and_then(|()| encoder.finish()).map_err(|error| LakeError::corrupt(path, error))
}

/// Returns what [`compress`] was given.
pub(super) fn decompress(path: &str, bytes: &[u8]) -> Result<Vec<u8>, LakeError> {
    let mut content = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut content).map_err(|error| LakeError::corrupt(path, error))?;
    Ok(content)
}

fn decode(path: &str, bytes: &[u8]) -> Result<Manifest, LakeError> {
    serde_json::from_slice(&decompress(path, bytes)?).map_err(|error| LakeError::corrupt(path, error))
}

/// Reads the manifest that a commit of the root table names.
pub(crate) fn read(objects: &Arc<dyn Objects>, named: &Signature) -> Result<Manifest, LakeError> {
    let path = &named.manifest;
    let missing = || LakeError::corrupt(path, "missing, but its epoch is committed: positions and files of the epoch are unknown");
    let bytes = objects.get(path)?.ok_or_else(missing)?;
    let sha256 = hex(&Sha256::digest(&bytes));
    if !named.sha256.is_empty() && named.sha256 != sha256 {
        return Err(LakeError::corrupt(path, format!("its SHA-256 is {sha256}, the commit names {}", named.sha256)));
    }
    decode(path, &bytes)
}

/// Finds how the root table's commit of `epoch` names its manifest, looking back from the end of the log.
pub(crate) fn named_by(objects: &Arc<dyn Objects>, calls: &TableLog, epoch: u64) -> Result<Signature, LakeError> {
    for version in (0..=calls.snapshot.version).rev() {
        let Some(lines) = calls.read_entry(version)? else { break };
        let here =
            lines.iter().filter_map(|line| line.txn.as_ref()).any(|txn| txn.app_id == EPOCH_APP && txn.version.cast_unsigned() == epoch);
        if let Some(found) = signature(&lines).filter(|found| here && !found.manifest.is_empty()) {
            return Ok(found.clone());
        }
    }
    // The entry was cleaned, after many commits that were no epochs: the name alone has to do.
    let names = list(objects)?;
    let fence = names.iter().filter(|(found, _)| *found == epoch).map(|(_, fence)| *fence).max();
    let fence = fence.ok_or_else(|| LakeError::corrupt(FOLDER, format!("no manifest of epoch {epoch}, which is committed")))?;
    Ok(Signature { manifest: path_of(epoch, fence), fence, ..Signature::default() })
}

/// Lists epoch and fence of every manifest, oldest first.
pub(crate) fn list(objects: &Arc<dyn Objects>) -> Result<Vec<(u64, u64)>, LakeError> {
    Ok(objects.list(FOLDER)?.iter().filter_map(|entry| parse_name(&entry.name)).collect())
}

/// Deletes the manifests of epochs that were never committed, and the files they name.
pub(crate) fn forget_after(objects: &Arc<dyn Objects>, epoch: u64) -> Result<(), LakeError> {
    for (orphan, fence) in list(objects)?.into_iter().filter(|(found, _)| *found > epoch) {
        let path = path_of(orphan, fence);
        let Some(bytes) = objects.get(&path)? else { continue };
        let manifest = decode(&path, &bytes)?;
        for (table, files) in &manifest.files {
            for file in files {
                objects.delete(&format!("{table}/{}", file.path))?;
            }
        }
        // Last, so that a crash in between leaves the names of what is still to be deleted.
        objects.delete(&path)?;
    }
    Ok(())
}

/// Deletes manifests beyond the recovery horizon.
pub(crate) fn clean(objects: &Arc<dyn Objects>, epoch: u64) -> Result<(), LakeError> {
    let horizon = epoch.saturating_sub(KEEP_ENTRIES.unsigned_abs());
    for (old, fence) in list(objects)?.into_iter().filter(|(found, _)| *found < horizon) {
        objects.delete(&path_of(old, fence))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_epoch_and_come_back() {
        let path = path_of(42, 7);
        assert_eq!(path, "_sluice/e000000000042-f000007.json.gz");
        assert_eq!(parse_name(path.strip_prefix("_sluice/").unwrap()), Some((42, 7)));
        for other in ["lock", "e1.json.gz", "e-f.json.gz", ".tmp-1-0-e000000000042-f000007.json.gz"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
