//! Grammar of `reconcile`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sluice_schemas::PicoUsd;
use sluice_schemas::time::parse_day;

use super::args::{Format, Place};

#[derive(Debug, Args)]
pub(crate) struct ReconcileArgs {
    /// The report: CUR 2.0 or its predecessor, Parquet or CSV, gzip or not; a file, or a folder as `aws s3 sync` copies it
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) place: Place,
    /// First day to compare, in UTC (default: the first day of the report)
    #[arg(long, value_name = "DAY", value_parser = read_day)]
    pub(crate) from: Option<i32>,
    /// Last day to compare (default: the last day of the report)
    #[arg(long, value_name = "DAY", value_parser = read_day)]
    pub(crate) to: Option<i32>,
    /// Sum the rows up (default: every day, principal and usage type apart)
    #[arg(long, value_enum)]
    pub(crate) by: Option<GroupBy>,
    /// Compare with the cost after discounts (line_item_net_unblended_cost)
    #[arg(long)]
    pub(crate) net: bool,
    /// End with exit code 1 if the variance is more than this share of what is billed, for example 2.5%
    #[arg(long, value_name = "PERCENT", value_parser = read_percent)]
    pub(crate) fail_above: Option<u64>,
    /// Write the rates that the bill comes to, as a price file for `sluice prices diff` and [enrich] prices_file
    #[arg(long, value_name = "FILE")]
    pub(crate) derive_rates: Option<PathBuf>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

/// What rows are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupBy {
    /// Day, in UTC.
    Day,
    /// IAM principal.
    Principal,
    /// Model.
    Model,
    /// Model, unit, region, scope and tier.
    UsageType,
}

fn read_day(text: &str) -> Result<i32, String> {
    parse_day(text).ok_or_else(|| "write a day like 2026-11-01".to_owned())
}

/// Reads a percentage as millionths of a percent.
fn read_percent(text: &str) -> Result<u64, String> {
    const MILLIONTH: i128 = 1_000_000;
    let amount = text.trim_end_matches('%').trim_end().parse::<PicoUsd>().ok().filter(|amount| amount.0 >= 0 && amount.0 % MILLIONTH == 0);
    let millionths = amount.and_then(|amount| u64::try_from(amount.0 / MILLIONTH).ok());
    millionths.ok_or_else(|| "write a percentage like 2.5, with at most six decimals".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_percentages() {
        assert_eq!(read_day("1970-01-02"), Ok(1));
        assert!(read_day("2026-13-01").is_err() && read_day("yesterday").is_err());
        assert_eq!((read_percent("2.5%"), read_percent("0"), read_percent("0.000001")), (Ok(2_500_000), Ok(0), Ok(1)));
        assert!(["-1", "0.0000001", "1e3", ""].into_iter().all(|text| read_percent(text).is_err()));
    }
}
