//! `sluice doctor`: looks at the whole chain and says what to fix.

use std::process::ExitCode;

use super::EXIT_FOUND;
use super::args_doctor::{DoctorArgs, DoctorFormat};
use crate::config::Config;
use crate::doctor::{self, Order};
use crate::output;

pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.place.origin())?;
    let order = Order {
        regions: args.region.clone(),
        only: args.only.clone(),
        role: args.role.clone(),
        database: args.database.clone(),
        config_at: args.place.config.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let report = doctor::examine(config, order)?;
    match args.format {
        DoctorFormat::Json => output::json(&doctor::json(&report)?),
        DoctorFormat::Table => output::painted(&doctor::table(&report)),
    }
    Ok(if report.counts.fail > 0 { ExitCode::from(EXIT_FOUND) } else { ExitCode::SUCCESS })
}
