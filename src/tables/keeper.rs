//! The daemon's part: whoever is the ledger brings the entries of a Glue database up to its lake, once a start, for tables and columns
//! change with the program or with a declared window alone. On a thread of its own, so that nothing waits for Glue.

use std::fmt;
use std::path::Path;

use sluice_aggregate::lake::{Lake, is_remote};

use super::database_name;
#[cfg(feature = "aws")]
use super::{Location, of_lake, sync::Catalogue, sync::Outcome, table_inputs};
use crate::config::Config;

/// A database of the Glue Data Catalog whose entries are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GlueDatabase {
    /// Its name.
    pub(crate) name: String,
    /// Its region; that of the environment if there is none.
    pub(crate) region: Option<String>,
}

impl GlueDatabase {
    /// Takes the keys `glue_database` and `glue_region` of `[lake]`; they are not of another lake that the command line names (`is_other`).
    ///
    /// # Errors
    /// The key, and a sentence for people.
    pub(crate) fn check(name: Option<&str>, region: Option<String>, lake: &Path, is_other: bool) -> Result<Option<Self>, String> {
        let Some(name) = name else {
            return if region.is_some() { Err("glue_region: there is no glue_database".to_owned()) } else { Ok(None) };
        };
        if !cfg!(feature = "aws") {
            return Err("glue_database: this build calls no AWS: build it with --features aws".to_owned());
        }
        if !is_remote(lake) {
            if is_other {
                return Ok(None);
            }
            return Err(format!("glue_database: Athena reads lakes in S3, and this one is {}", lake.display()));
        }
        let name = database_name(name).map_err(|why| format!("glue_database: {why}"))?;
        Ok(Some(Self { name, region }))
    }
}

impl fmt::Display for GlueDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.region.as_ref().map_or(Ok(()), |region| write!(f, " in {region}"))
    }
}

/// The thread; told to end on drop. It is not waited for: an entry is written whole or not at all.
#[derive(Debug)]
pub(crate) struct EntryKeeper {
    _stop: Option<crossbeam_channel::Sender<()>>,
}

#[cfg(not(feature = "aws"))]
impl EntryKeeper {
    /// Nothing is kept without calling AWS; the configuration names no database then.
    #[expect(clippy::unnecessary_wraps, reason = "a build with the AWS clients may fail here")]
    pub(crate) fn start(_config: &Config, _lake: &Lake) -> anyhow::Result<Self> {
        Ok(Self { _stop: None })
    }
}

#[cfg(feature = "aws")]
impl EntryKeeper {
    /// Starts the thread, unless no database is named.
    ///
    /// # Errors
    /// A column has a type that catalogues do not know, or the system refused a thread.
    pub(crate) fn start(config: &Config, lake: &Lake) -> anyhow::Result<Self> {
        let Some(glue) = config.glue.clone() else { return Ok(Self { _stop: None }) };
        let location = Location::parse(&config.lake.to_string_lossy()).map_err(anyhow::Error::msg)?;
        let wanted = table_inputs(&of_lake(lake)?, &location);
        let (stop, stopped) = crossbeam_channel::bounded(0);
        std::thread::Builder::new().name("glue".to_owned()).spawn(move || keep(&glue, &wanted, &stopped))?;
        Ok(Self { _stop: Some(stop) })
    }
}

/// Brings all entries up, however long Glue cannot be asked.
#[cfg(feature = "aws")]
fn keep(glue: &GlueDatabase, wanted: &[serde_json::Value], stopped: &crossbeam_channel::Receiver<()>) {
    use std::time::Duration;

    use crossbeam_channel::RecvTimeoutError;

    /// Time to the second try; it doubles.
    const FIRST: Duration = Duration::from_secs(60);
    /// Longest time between two tries.
    const LONGEST: Duration = Duration::from_secs(3_600);

    let mut wait = FIRST;
    loop {
        let done = Catalogue::connect(glue.region.clone(), &glue.name, false).and_then(|catalogue| bring_all(&catalogue, glue, wanted));
        let Err(error) = done else { return };
        let (problem, again_in_s) = (format!("{error:#}"), wait.as_secs());
        tracing::warn!(event = "glue_failed", database = %glue, problem, again_in_s, "entries of the Glue Data Catalog may lag behind the lake");
        if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        wait = (wait * 2).min(LONGEST);
    }
}

#[cfg(feature = "aws")]
fn bring_all(catalogue: &Catalogue, glue: &GlueDatabase, wanted: &[serde_json::Value]) -> anyhow::Result<()> {
    let (mut created, mut updated, mut left_alone) = (0, 0, 0);
    for table in wanted {
        match catalogue.bring(table)? {
            Outcome::Created => created += 1,
            Outcome::Updated => updated += 1,
            Outcome::Current => {}
            Outcome::LeftAlone(why) => {
                left_alone += 1;
                let table = table["Name"].as_str().unwrap_or_default();
                tracing::warn!(event = "glue_left_alone", database = %glue, table, why, "an entry of the Glue Data Catalog is someone else's");
            }
        }
    }
    let tables = wanted.len();
    tracing::info!(event = "glue_in_step", database = %glue, tables, created, updated, left_alone, "the Glue Data Catalog knows the lake's columns");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_of_a_lake_in_s3() {
        let check = |name, region: Option<&str>, lake: &str| GlueDatabase::check(name, region.map(str::to_owned), Path::new(lake), false);
        assert_eq!(check(None, None, "lake"), Ok(None));
        assert!(check(None, Some("eu-central-1"), "s3://b/lake").unwrap_err().starts_with("glue_region: "));
        if cfg!(feature = "aws") {
            let found = check(Some("sluice"), Some("eu-central-1"), "s3://b/lake").unwrap().unwrap();
            assert_eq!(found.to_string(), "sluice in eu-central-1");
            assert!(check(Some("sluice"), None, "/srv/lake").unwrap_err().contains("/srv/lake"));
            assert_eq!(GlueDatabase::check(Some("sluice"), None, Path::new("/srv/copy"), true), Ok(None));
        }
        assert!(check(Some("Sluice!"), None, "s3://b/lake").unwrap_err().starts_with("glue_database: "));
    }
}
