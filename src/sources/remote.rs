//! Places named on the command line of a replay: `s3://` and `logs://` beside folders and files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use sluice_schemas::Micros;

use super::{Configured, parse};
use crate::config::parse_duration;

/// Schemes of places that are not files.
const SCHEMES: [&str; 2] = ["s3://", "logs://"];

/// Which stretch of time is fetched of a remote place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stretch {
    /// First day or moment, or a time ago.
    pub(crate) since: Option<String>,
    /// First day or moment not to fetch, or a time ago.
    pub(crate) until: Option<String>,
}

/// Places of a command line, parted.
#[derive(Debug)]
pub(crate) struct Parted {
    /// Files and folders.
    pub(crate) local: Vec<PathBuf>,
    /// Sources.
    pub(crate) remote: Vec<Arc<dyn Configured>>,
}

/// Parts local paths from remote places, which become sources.
///
/// # Errors
/// A place that cannot be read by this build, or a time that is none.
pub(crate) fn part(paths: &[PathBuf], stretch: &Stretch, now: Micros) -> anyhow::Result<Parted> {
    let remote = |path: &&PathBuf| path.to_str().is_some_and(|path| SCHEMES.iter().any(|scheme| path.starts_with(scheme)));
    let (places, local): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(remote);
    if places.is_empty() && (stretch.since.is_some() || stretch.until.is_some()) {
        bail!("--since and --until choose what is fetched from s3:// and logs://; of a folder, name the parts to read");
    }
    let since = stretch.since.as_deref().map(|text| moment(text, now));
    let until = stretch.until.as_deref().map(|text| moment(text, now));
    let mut sources = Vec::new();
    let objects: Vec<toml::Value> = texts(&places, "s3://").map(toml::Value::from).collect();
    let groups = texts(&places, "logs://").map(|group| ("logs", vec![("group", toml::Value::from(group))]));
    let buckets = (!objects.is_empty()).then(|| ("s3", vec![("paths", toml::Value::Array(objects)), ("mode", "listing".into())]));
    for (kind, settings) in buckets.into_iter().chain(groups) {
        let mut table = toml::Table::from_iter([("kind".to_owned(), kind.into())]);
        table.extend(settings.into_iter().map(|(key, value)| (key.to_owned(), value)));
        let times = [("since", &since), ("until", &until)];
        table.extend(times.into_iter().filter_map(|(key, time)| Some((key.to_owned(), toml::Value::from(time.clone()?)))));
        sources.push(parse(table).map_err(|faults| anyhow::anyhow!(faults.join("; ")))?);
    }
    Ok(Parted { local: local.into_iter().cloned().collect(), remote: sources })
}

fn texts<'a>(places: &'a [&PathBuf], scheme: &'a str) -> impl Iterator<Item = &'a str> {
    places.iter().filter_map(|place| Path::to_str(place)).filter(move |place| place.starts_with(scheme))
}

/// Turns a time ago (`30d`) into a moment; days and moments stay as they are, to be checked by whoever reads them.
fn moment(text: &str, now: Micros) -> String {
    let ago = parse_duration(text).ok().and_then(|ago| i64::try_from(ago.as_micros()).ok());
    ago.map_or_else(|| text.to_owned(), |ago| now.plus(-ago).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_ago_become_moments() {
        let now = "2026-10-31T00:00:00Z".parse().expect("a moment");
        assert_eq!(moment("30d", now), "2026-10-01T00:00:00Z");
        assert_eq!(moment("2026-10-05", now), "2026-10-05");
    }

    #[test]
    fn a_stretch_is_of_remote_places() {
        let stretch = Stretch { since: Some("30d".to_owned()), until: None };
        assert!(part(&[PathBuf::from("logs")], &stretch, Micros(0)).unwrap_err().to_string().contains("--since"));
        let Parted { local, remote } = part(&[PathBuf::from("logs")], &Stretch::default(), Micros(0)).expect("a folder");
        assert_eq!((local.len(), remote.len()), (1, 0));
    }

    #[cfg(feature = "aws")]
    #[test]
    fn buckets_and_groups_become_sources() {
        let paths = ["s3://bucket-a/AWSLogs", "logs", "logs:///aws/bedrock", "s3://bucket-b"].map(PathBuf::from);
        let Parted { local, remote } = part(&paths, &Stretch::default(), Micros(0)).expect("places");
        assert_eq!(local, [PathBuf::from("logs")]);
        let names: Vec<String> = remote.iter().map(|source| source.name()).collect();
        assert_eq!(names, ["s3 s3://bucket-a/AWSLogs, s3://bucket-b/", "logs /aws/bedrock"]);
    }
}
