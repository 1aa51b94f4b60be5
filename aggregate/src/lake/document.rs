//! Texts that belong to the lake and to no table, such as a list of prices: kept once each, under the hash of what they say.

use sha2::{Digest, Sha256};

use super::manifest::{FOLDER, compress, decompress};
use super::{Lake, LakeError, hex};

/// Hexadecimal digits of the hash in a name.
const DIGITS: usize = 32;

impl Lake {
    /// Keeps a text, once however often it is given, and returns its name. `kind` becomes a folder.
    ///
    /// # Errors
    /// This is no writer, or the storage failed.
    pub fn keep_document(&self, kind: &str, text: &str) -> Result<String, LakeError> {
        self.check_writer()?;
        let path = format!("{FOLDER}/{kind}/{}.gz", &hex(&Sha256::digest(text))[..DIGITS]);
        // One that is there says the same: its name is its hash.
        self.objects.put_if_absent(&path, &compress(&path, text.as_bytes())?)?;
        Ok(path)
    }

    /// Returns a text by its name; `None` if it is not there.
    ///
    /// # Errors
    /// The storage failed, or what is there is not what was written.
    pub fn document(&self, name: &str) -> Result<Option<String>, LakeError> {
        let Some(bytes) = self.objects.get(name)? else { return Ok(None) };
        let text = String::from_utf8(decompress(name, &bytes)?).map_err(|error| LakeError::corrupt(name, error))?;
        let sha256 = hex(&Sha256::digest(&text));
        if !name.ends_with(&format!("/{}.gz", &sha256[..DIGITS])) {
            return Err(LakeError::corrupt(name, format!("its SHA-256 is {sha256}, and its name another")));
        }
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Lake, LakeError};
    use sluice_schemas::SystemClock;

    #[test]
    fn a_text_is_kept_once_and_a_changed_one_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open_writer(folder.path(), &SystemClock).unwrap();
        let name = lake.keep_document("prices", "a = 1\n").unwrap();
        assert_eq!(lake.keep_document("prices", "a = 1\n").unwrap(), name);
        assert_ne!(lake.keep_document("prices", "a = 2\n").unwrap(), name);
        assert_eq!(lake.document(&name).unwrap().as_deref(), Some("a = 1\n"));
        assert_eq!(lake.document("_sluice/prices/none.gz").unwrap(), None);
        let other = lake.keep_document("prices", "a = 3\n").unwrap();
        std::fs::copy(folder.path().join(&other), folder.path().join(&name)).unwrap();
        assert!(matches!(lake.document(&name), Err(LakeError::Corrupt { .. })));
    }
}
