//! Writes the price file of the program from LiteLLM's price list:
//! `cargo run -p sluice-enrich --example convert_prices -- LABEL litellm.json > enrich/data/bedrock.toml`
//!
//! What is skipped goes to standard error. The cards hold from 1970 on: a log older than the list gets the best price known.

use std::error::Error;
use std::io::Write;

use sluice_enrich::prices::import;
use sluice_schemas::Micros;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(label), Some(path)) = (arguments.next(), arguments.next()) else {
        return Err("usage: convert_prices LABEL FILE".into());
    };
    let import = import::litellm(&std::fs::read_to_string(path)?, Micros(0))?;
    let mut errors = std::io::stderr().lock();
    for (key, why) in &import.skipped {
        writeln!(errors, "skipped {key}: {why}")?;
    }
    writeln!(errors, "converted {} entries", import.converted)?;
    std::io::stdout().lock().write_all(import.catalogue.relabelled(&label)?.to_text().as_bytes())?;
    Ok(())
}
