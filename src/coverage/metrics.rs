//! CloudWatch of every account and region: whose credentials can ask which, and its counts as the comparison takes them.

use std::collections::{BTreeMap, BTreeSet};

use sluice_aggregate::coverage::sums::{LEAD, SKEW};
use sluice_aggregate::coverage::{Counts, Key, Report, Side, Sides, Tokens};
use sluice_ingest::cloudwatch_metrics::{CloudWatch, CloudWatchSettings, Counted, read};
use sluice_ingest::source::SourceError;
use sluice_schemas::time::SECOND;
use tokio::runtime::Handle;

use super::Asking;
use super::config::{ACCOUNT, CoverageConfig};

/// Asks everyone who is configured or has calls in the lake; returns what was counted of the endpoint that is not logged.
pub(super) fn ask(asking: &Asking<'_>, report: &mut Report) -> Option<Counts> {
    let config = &asking.config.coverage;
    if !config.cloudwatch {
        report.leave_out(Side::Cloudwatch, "", "it is switched off: cloudwatch = false in [coverage]");
        return None;
    }
    let places = places(config, &asking.calls.places);
    if places.is_empty() {
        report.leave_out(
            Side::Cloudwatch,
            "",
            "no account or region is known: the lake holds no calls of that time, and [coverage] names no regions",
        );
        return None;
    }
    let runtime = match asking.clients.runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            report.leave_out(Side::Cloudwatch, "", error.to_string());
            return None;
        }
    };
    let mut mantle = None;
    for (account, regions) in places {
        for region in regions {
            let place = format!("{} {region}", account.as_deref().unwrap_or("this account"));
            match open(config, account.as_deref(), &region, runtime) {
                Ok(mut cloudwatch) => match compare(asking, &mut cloudwatch, &region, report) {
                    Ok(counts) => *mantle.get_or_insert_with(Counts::default) += counts,
                    Err(error) => report.leave_out(Side::Cloudwatch, place, told(&error)),
                },
                // Without credentials one place fares like the next.
                Err(Refused { why, everywhere: true }) => {
                    report.leave_out(Side::Cloudwatch, "", why);
                    return mantle;
                }
                Err(Refused { why, everywhere: false }) => report.leave_out(Side::Cloudwatch, place, why),
            }
        }
    }
    mantle
}

/// Returns the regions to ask, by account; no account stands for that of the credentials.
fn places(config: &CoverageConfig, seen: &BTreeSet<(String, String)>) -> BTreeMap<Option<String>, BTreeSet<String>> {
    let mut places: BTreeMap<Option<String>, BTreeSet<String>> = BTreeMap::new();
    for (account, region) in seen.iter().filter(|(account, region)| !account.is_empty() && !region.is_empty()) {
        places.entry(Some(account.clone())).or_default().insert(region.clone());
    }
    let accounts: Vec<Option<String>> = config.accounts.iter().cloned().map(Some).collect();
    let known: BTreeSet<String> = places.values().flatten().chain(&config.regions).cloned().collect();
    for account in &accounts {
        places.entry(account.clone()).or_default().extend(known.iter().cloned());
    }
    if places.is_empty() && !config.regions.is_empty() {
        places.insert(None, BTreeSet::new());
    }
    for regions in places.values_mut() {
        regions.extend(config.regions.iter().cloned());
    }
    places
}

/// Why a place cannot be asked.
struct Refused {
    why: String,
    /// No other place can be asked either.
    everywhere: bool,
}

/// Opens CloudWatch of a place with the credentials at hand if they are of its account, else with the role that is configured.
fn open(config: &CoverageConfig, account: Option<&str>, region: &str, runtime: &Handle) -> Result<CloudWatch, Refused> {
    let settings = |role_arn: Option<String>| CloudWatchSettings {
        region: region.to_owned(),
        role_arn,
        endpoint: config.endpoint.clone(),
        profile: config.profile.clone(),
    };
    let own = CloudWatch::open(&settings(None), runtime).map_err(|error| Refused { why: told(&error), everywhere: true })?;
    let Some(account) = account.filter(|account| own.account_id() != *account) else { return Ok(own) };
    let here = |why: String| Refused { why, everywhere: false };
    let Some(role) = config.role_arn.as_ref().map(|role| role.replace(ACCOUNT, account)) else {
        let own = own.account_id();
        return Err(here(format!("the credentials are of account {own}: set role_arn in [coverage] to a role of account {account}")));
    };
    let theirs = CloudWatch::open(&settings(Some(role.clone())), runtime).map_err(|error| here(told(&error)))?;
    if theirs.account_id() == account {
        return Ok(theirs);
    }
    Err(here(format!("{role} is a role of account {}: write {ACCOUNT} in its place", theirs.account_id())))
}

/// The causes below are of libraries; what they come to and what to do stands in the error itself.
fn told(error: &SourceError) -> String {
    error.to_string()
}

/// Reads the metrics of a place and compares them with the lake's calls there.
fn compare(asking: &Asking<'_>, cloudwatch: &mut CloudWatch, region: &str, report: &mut Report) -> Result<Counts, SourceError> {
    let stretch = asking.stretch;
    let (from, to) = (stretch.since.plus(-LEAD), stretch.until.plus(SKEW).min(stretch.now));
    let also: BTreeSet<String> = asking.calls.model_ids().map(str::to_owned).collect();
    let reading = read(cloudwatch, (from, to), asking.slot / SECOND, &also)?;
    let account_id = cloudwatch.account_id().to_owned();
    let mut counted = Sides::new();
    for (model_id, slots) in &reading.models {
        let key = Key { account_id: account_id.clone(), region: region.to_owned(), model: asking.names.of(model_id, region) };
        let series = counted.entry(key).or_default();
        slots.iter().for_each(|(at, slot)| *series.entry(*at).or_default() += counts_of(slot));
    }
    let lake = &asking.calls.sides;
    report.add_sums(Side::Cloudwatch, lake, &counted, stretch, asking.slot, asking.prices);
    let here = lake.iter().filter(|(key, _)| key.account_id == account_id && key.region == region && !counted.contains_key(*key));
    for (key, series) in here {
        let calls: u64 = series.range(stretch.since..stretch.settled()).map(|(_, counts)| counts.calls).sum();
        if calls > 0 {
            let why = format!("it counted nothing of {}, of which the lake holds {calls} calls", key.model);
            report.leave_out(Side::Cloudwatch, format!("{account_id} {region}"), why);
        }
    }
    Ok(counts_of(&reading.mantle))
}

fn counts_of(counted: &Counted) -> Counts {
    Counts {
        calls: counted.invocations,
        failed: counted.client_errors.saturating_add(counted.server_errors),
        tokens: Tokens::of([counted.input, counted.output, counted.cache_read, counted.cache_write]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> CoverageConfig {
        let raw: super::super::RawCoverage = toml::from_str(text).unwrap();
        raw.check(std::path::Path::new(""), &mut Vec::new())
    }

    fn seen(places: &[(&str, &str)]) -> BTreeSet<(String, String)> {
        places.iter().map(|(account, region)| ((*account).to_owned(), (*region).to_owned())).collect()
    }

    #[test]
    fn what_the_lake_has_seen_and_what_is_configured_is_asked() {
        let seen = seen(&[("111122223333", "eu-central-1"), ("444455556666", "us-east-1"), ("", "")]);
        let flat = |config: &str, seen: &BTreeSet<(String, String)>| -> Vec<String> {
            let places = places(&self::config(config), seen);
            places
                .into_iter()
                .flat_map(|(account, regions)| {
                    regions.into_iter().map(move |region| format!("{} {region}", account.as_deref().unwrap_or("own")))
                })
                .collect()
        };
        assert_eq!(flat("", &seen), ["111122223333 eu-central-1", "444455556666 us-east-1"]);
        assert_eq!(flat("regions = ['us-west-2']", &BTreeSet::new()), ["own us-west-2"]);
        assert_eq!(flat("regions = ['us-west-2']\naccounts = ['777788889999']", &BTreeSet::new()), ["777788889999 us-west-2"]);
        let all = flat("accounts = ['111122223333']", &seen);
        assert_eq!(all, ["111122223333 eu-central-1", "111122223333 us-east-1", "444455556666 us-east-1"]);
        assert!(flat("", &BTreeSet::new()).is_empty());
    }
}
