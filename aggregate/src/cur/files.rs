//! Which files a report consists of: one file, a folder, the folders of its billing periods.
//!
//! An export that keeps its versions has a folder for each of them below the period; two versions are the same lines twice, so only the
//! newest is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::CurError;

/// Files of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurFiles {
    /// What was named.
    pub root: PathBuf,
    /// The files, in order.
    pub files: Vec<PathBuf>,
    /// Folders of versions that a newer one replaces.
    pub replaced: Vec<PathBuf>,
}

/// Lists the files of a report.
///
/// # Errors
/// Nothing there, two forms at once, or versions of which the newest cannot be told.
pub fn list(root: &Path) -> Result<CurFiles, CurError> {
    let text = root.to_string_lossy();
    if text.starts_with("s3://") || text.starts_with("s3a://") {
        return Err(CurError::Remote { path: text.into_owned() });
    }
    let failed = |source| CurError::Io { path: root.to_owned(), source };
    if !std::fs::metadata(root).map_err(failed)?.is_dir() {
        return Ok(CurFiles { root: root.to_owned(), files: vec![root.to_owned()], replaced: Vec::new() });
    }
    let mut files = Vec::new();
    walk(root, &mut files)?;
    files.sort();
    let replaced = replaced_versions(&files)?;
    files.retain(|file| !replaced.iter().any(|folder| file.starts_with(folder)));
    let parquet = files.iter().filter(|file| is_parquet(file)).count();
    match (files.len(), parquet) {
        (0, _) => Err(CurError::NoFiles { path: root.to_owned() }),
        (all, parquet) if parquet > 0 && parquet < all => Err(CurError::Mixed { path: root.to_owned() }),
        _ => Ok(CurFiles { root: root.to_owned(), files, replaced }),
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), CurError> {
    let failed = |source| CurError::Io { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().to_ascii_lowercase());
        if name.starts_with(['.', '_']) {
            continue;
        }
        if std::fs::metadata(&path).map_err(failed)?.is_dir() {
            walk(&path, found)?;
        } else if [".parquet", ".csv", ".csv.gz"].iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
    Ok(())
}

fn is_parquet(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"))
}

/// Returns the folders of versions that a newer one replaces.
fn replaced_versions(files: &[PathBuf]) -> Result<Vec<PathBuf>, CurError> {
    let mut periods: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    for file in files {
        let Some(period) = file.ancestors().skip(1).find(|folder| is_period(folder)) else { continue };
        // A file of the period itself is a version of its own.
        let version = file.ancestors().find(|path| path.parent() == Some(period)).unwrap_or(file);
        let version = if version == file { period } else { version };
        periods.entry(period.to_owned()).or_default().insert(version.to_owned());
    }
    let mut replaced = Vec::new();
    for (period, versions) in periods.into_iter().filter(|(_, versions)| versions.len() > 1) {
        let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let names: Vec<String> = versions.iter().map(name).collect();
        if !names.iter().all(|name| is_dated(name)) {
            return Err(CurError::Versions { path: period, versions: names });
        }
        // Names that begin with a time sort by it.
        let mut versions: Vec<PathBuf> = versions.into_iter().collect();
        versions.pop();
        replaced.extend(versions);
    }
    Ok(replaced)
}

/// `BILLING_PERIOD=2026-11`, `20261101-20261201`.
fn is_period(folder: &Path) -> bool {
    let name = folder.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let dates = name.split_once('-').is_some_and(|(from, to)| {
        let is_date = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_date(from) && is_date(to)
    });
    name.starts_with("billing_period=") || dates
}

/// `2026-11-20T06:12:33.100Z-5f0c…`
fn is_dated(name: &str) -> bool {
    let shape = name.bytes().take(11).map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    shape.eq("0000-00-00T".bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, "").expect("a file");
        }
        root
    }

    fn names(root: &tempfile::TempDir) -> Result<Vec<String>, CurError> {
        let found = list(root.path())?;
        Ok(found.files.iter().map(|file| file.strip_prefix(root.path()).expect("below").display().to_string()).collect())
    }

    #[test]
    fn folders_of_periods_are_read_and_manifests_are_not() {
        let root = folder(&[
            "data/BILLING_PERIOD=2026-10/cur-00001.snappy.parquet",
            "data/BILLING_PERIOD=2026-11/cur-00001.snappy.parquet",
            "data/BILLING_PERIOD=2026-11/cur-00002.snappy.parquet",
            "metadata/BILLING_PERIOD=2026-11/cur-Manifest.json",
            "data/_SUCCESS",
        ]);
        assert_eq!(names(&root).expect("a report").len(), 3);
    }

    #[test]
    fn the_newest_version_of_a_period_is_taken() {
        let root = folder(&[
            "BILLING_PERIOD=2026-11/2026-11-19T06:00:00.000Z-b/cur.csv.gz",
            "BILLING_PERIOD=2026-11/2026-11-20T06:00:00.000Z-a/cur.csv.gz",
            "BILLING_PERIOD=2026-10/2026-11-02T06:00:00.000Z-c/cur.csv.gz",
        ]);
        let expected = [
            "BILLING_PERIOD=2026-10/2026-11-02T06:00:00.000Z-c/cur.csv.gz",
            "BILLING_PERIOD=2026-11/2026-11-20T06:00:00.000Z-a/cur.csv.gz",
        ];
        assert_eq!(names(&root).expect("a report"), expected);
    }

    #[test]
    fn what_would_be_counted_twice_is_refused() {
        let versions = folder(&["20261101-20261201/0f1e/cur.csv.gz", "20261101-20261201/9a8b/cur.csv.gz"]);
        assert!(matches!(names(&versions), Err(CurError::Versions { .. })));
        let beside = folder(&["20261101-20261201/cur.csv.gz", "20261101-20261201/9a8b/cur.csv.gz"]);
        assert!(matches!(names(&beside), Err(CurError::Versions { .. })));
        let mixed = folder(&["a.csv", "a.parquet"]);
        assert!(matches!(names(&mixed), Err(CurError::Mixed { .. })));
        assert!(matches!(names(&folder(&["notes.txt"])), Err(CurError::NoFiles { .. })));
        assert!(matches!(list(Path::new("s3://bucket/cur")), Err(CurError::Remote { .. })));
        assert!(matches!(list(Path::new("/nowhere/at/all")), Err(CurError::Io { .. })));
    }
}
