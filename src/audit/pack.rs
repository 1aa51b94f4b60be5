//! An evidence pack: a folder of plain files with a manifest of their hashes, to be read without this program.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use sluice_aggregate::query::QueryEngine;
use sluice_enforce::audit::chain::sha256;
use sluice_schemas::{Clock, Micros, SystemClock};

use super::{Verdict, agents, lake, policy, readme, verify, walk};
use crate::config::Config;
use crate::lakeview;

/// The time a pack is about, half-open; without an end on either side it is all there is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    /// First moment.
    pub(crate) from: Option<Micros>,
    /// First moment after it.
    pub(crate) to: Option<Micros>,
}

impl Span {
    /// Tells whether a moment lies within.
    pub(crate) fn holds(&self, at: Micros) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at < to)
    }

    /// Returns the SQL that keeps rows whose `column` lies within.
    pub(crate) fn predicate(&self, column: &str) -> String {
        let from = self.from.map(|from| format!("{column} >= TIMESTAMP '{from}'"));
        let to = self.to.map(|to| format!("{column} < TIMESTAMP '{to}'"));
        let parts: Vec<String> = from.into_iter().chain(to).collect();
        if parts.is_empty() { "true".to_owned() } else { parts.join(" AND ") }
    }
}

/// A pack that was written.
pub(crate) struct Pack {
    /// What was found of the trail.
    pub(crate) verdict: Verdict,
    /// Files written, the manifest and the list of sums among them.
    pub(crate) files: usize,
    /// SHA-256 of the list of sums: names the whole pack.
    pub(crate) sha256: String,
}

/// Writes a pack into a folder that is empty or not there.
pub(crate) fn export(config: &Config, out: &Path, span: &Span) -> anyhow::Result<Pack> {
    fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let is_empty = fs::read_dir(out).with_context(|| format!("read {}", out.display()))?.next().is_none();
    anyhow::ensure!(is_empty, "{} is not empty: a pack gets a folder of its own", out.display());
    let verdict = verify(config)?;
    let lake = lake(config)?;
    let engine: Option<QueryEngine> = lake.as_ref().map(|lake| lakeview::engine(lake, Vec::new())).transpose()?;
    let engine = engine.as_ref();
    let now = SystemClock.now();
    let mut files: Vec<(&str, String)> = vec![
        ("actions.jsonl", actions(config, span)?),
        ("breaches.jsonl", breaches(engine, span)?),
        ("agents.csv", agents_table(engine, span)?),
        ("policy.json", pretty(&policy::policy(config, engine, span)?)?),
        ("prices.json", pretty(&policy::prices(config, engine, span)?)?),
        ("verify.json", pretty(&report(&verdict, now)?)?),
    ];
    files.push(("README.md", readme::text(span, now, &verdict)));
    let listed: Vec<Value> =
        files.iter().map(|(name, text)| json!({ "name": name, "bytes": text.len(), "sha256": sha256(text.as_bytes()) })).collect();
    let manifest = json!({
        "format": "sluice.audit-pack/1",
        "written_by": concat!("sluice ", env!("CARGO_PKG_VERSION")),
        "written_at": now,
        "from": span.from,
        "to": span.to,
        "files": listed,
    });
    files.push(("manifest.json", pretty(&manifest)?));
    let sums: String = files.iter().map(|(name, text)| format!("{}  {name}\n", sha256(text.as_bytes()))).collect();
    let sha256 = sha256(sums.as_bytes());
    files.push(("SHA256SUMS", sums));
    for (name, text) in &files {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(Pack { verdict, files: files.len(), sha256 })
}

fn pretty(value: &Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn report(verdict: &Verdict, now: Micros) -> anyhow::Result<Value> {
    let sentences: Vec<String> = verdict.faults().map(ToString::to_string).collect();
    Ok(json!({ "checked_at": now, "holds": sentences.is_empty(), "findings": sentences, "details": verdict }))
}

fn actions(config: &Config, span: &Span) -> anyhow::Result<String> {
    let mut text = String::new();
    walk(config, |number, entry| {
        if span.holds(entry.at) {
            let mut value = serde_json::to_value(entry)?;
            if let Value::Object(object) = &mut value {
                object.insert("line".to_owned(), number.into());
            }
            text.push_str(&value.to_string());
            text.push('\n');
        }
        Ok(())
    })?;
    Ok(text)
}

fn breaches(engine: Option<&QueryEngine>, span: &Span) -> anyhow::Result<String> {
    let Some(engine) = engine else { return Ok(String::new()) };
    let sql = format!("SELECT * FROM breaches WHERE {} ORDER BY event_time, fire_id", span.predicate("event_time"));
    Ok(policy::rows(engine, &sql)?.iter().map(|row| format!("{row}\n")).collect())
}

fn agents_table(engine: Option<&QueryEngine>, span: &Span) -> anyhow::Result<String> {
    let mut text = format!("{}\n", agents::HEADER);
    if let Some(engine) = engine {
        text.extend(agents::read(engine, span)?.iter().map(|(name, row)| row.csv(name)));
    }
    Ok(text)
}
