//! `sluice prices`: list, import, compare; rate calls again.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use sluice_enrich::prices::{Catalogue, import};
use sluice_schemas::Micros;
use sluice_schemas::visible::escape;

use super::args::{Format, Place, PriceSource, PricesArgs, PricesVerb};
use crate::config::Config;
use crate::output;
use crate::pipeline::catalogue;

pub(super) fn run(args: &PricesArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        PricesVerb::List { model, place, format } => list(model.as_deref(), place, *format),
        PricesVerb::Import { file, from, effective_from, out } => import(file, *from, *effective_from, out.as_deref()),
        PricesVerb::Diff { file, place, format } => diff(file, place, *format),
        PricesVerb::Rerate { place, all, dry_run, format } => super::rerate::run(place, *all, *dry_run, *format),
    }
}

/// Returns the configured catalogue, or the built-in one where nothing is configured.
fn configured(place: &Place) -> anyhow::Result<Catalogue> {
    if place.origin().file.is_none() && place.lake.is_none() {
        return Catalogue::builtin().context("built-in prices");
    }
    catalogue(&Config::load(&place.origin())?)
}

fn list(model: Option<&str>, place: &Place, format: Format) -> anyhow::Result<ExitCode> {
    let catalogue = configured(place)?;
    let mut rows = Vec::new();
    for card in catalogue.cards() {
        if model.is_some_and(|text| !card.key.model.contains(text)) {
            continue;
        }
        for (item, price) in card.items() {
            let to = card.effective_to.map(|to| to.to_string()).unwrap_or_default();
            let from = if card.effective_from.0 <= 0 { String::new() } else { card.effective_from.to_string() };
            rows.push([card.key.to_string(), item, price.to_text(0), from, to]);
        }
    }
    print(&["KEY", "PRICE OF", "USD A UNIT", "FROM", "TO"], &rows, format)?;
    if format == Format::Table {
        output::note(&format!("{} prices, catalogue {}", rows.len(), catalogue.version()));
    }
    Ok(ExitCode::SUCCESS)
}

fn import(file: &Path, from: PriceSource, effective_from: Option<Micros>, out: Option<&Path>) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let found = match from {
        PriceSource::Litellm => import::litellm(&text, effective_from.unwrap_or(Micros(0)))?,
        PriceSource::Aws => import::aws_offer(&text)?,
    };
    for (key, reason) in &found.skipped {
        output::note(&format!("skipped {}: {reason}", escape(key)));
    }
    output::note(&format!("{} entries converted, {} skipped", found.converted, found.skipped.len()));
    match out {
        Some(path) => std::fs::write(path, found.catalogue.to_text()).with_context(|| format!("write {}", path.display()))?,
        None => output::print(&found.catalogue.to_text()),
    }
    Ok(ExitCode::SUCCESS)
}

fn diff(file: &Path, place: &Place, format: Format) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let other = Catalogue::from_text(&text).with_context(|| format!("price file {}", file.display()))?;
    let current = configured(place)?;
    let after = current.overlay(&other)?;
    let price = |price: Option<sluice_enrich::prices::UnitPrice>| price.map_or_else(|| "-".to_owned(), |price| price.to_text(0));
    let rows: Vec<_> = current
        .diff(&after)
        .into_iter()
        .map(|change| {
            let from = if change.from.0 <= 0 { String::new() } else { change.from.to_string() };
            [change.key.to_string(), change.item, price(change.before), price(change.after), from]
        })
        .collect();
    print(&["KEY", "PRICE OF", "BEFORE", "AFTER", "FROM"], &rows, format)?;
    if format == Format::Table {
        output::note(&format!("{} prices change", rows.len()));
    }
    Ok(ExitCode::SUCCESS)
}

fn print<const N: usize>(header: &[&str; N], rows: &[[String; N]], format: Format) -> anyhow::Result<()> {
    output::rows(header, rows.iter().map(|row| row.as_slice()), format.word())
}
