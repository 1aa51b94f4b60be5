//! `sluice rules`: check, and try on records.

mod samples;

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Serialize;
use sluice_enrich::{AgentsFile, Enricher, MetadataKeys, OwnerTexts, RuleMatch, Rules, RulesError};

use super::args::{Format, Place};
use super::args_who::{RulesArgs, RulesTestArgs, RulesVerb};
use super::{EXIT_FOUND, who};
use crate::config::{Config, ConfigError};
use crate::output;
use samples::Samples;

pub(super) fn run(args: &RulesArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        RulesVerb::Check { rules, place } => check(rules.as_deref(), place),
        RulesVerb::Test(args) => test(args),
    }
}

/// Reads the configuration of a place, and tells whether it names a lake: rules are of any, so that none has to be named.
fn config_of(place: &Place) -> Result<(Config, bool), ConfigError> {
    let mut origin = place.origin();
    match Config::load(&origin) {
        Err(_) if origin.lake.is_none() => {
            origin.lake = Some("lake".into());
            Config::load(&origin).map(|config| (config, false))
        }
        read => read.map(|config| (config, true)),
    }
}

fn check(file: Option<&Path>, place: &Place) -> anyhow::Result<ExitCode> {
    let (rules, name) = match file {
        Some(file) => (read(file)?, file.display().to_string()),
        None => {
            let (config, _) = config_of(place)?;
            let Some(file) = &config.enrich.rules_file else {
                output::line(&format!("{}: no rules_file in [enrich], nothing to check", place.name()));
                return Ok(ExitCode::SUCCESS);
            };
            ((*config.rules).clone(), file.display().to_string())
        }
    };
    let names: Vec<_> = rules.names().map(|(name, line)| format!("'{name}' in line {line}")).collect();
    let rules = if names.len() == 1 { "rule" } else { "rules" };
    let listed = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    output::line(&format!("{name}: valid, {} {rules}{listed}", names.len()));
    Ok(ExitCode::SUCCESS)
}

/// Reads a rules file; each fault is a line of its own.
fn read(file: &Path) -> anyhow::Result<Rules> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    match Rules::parse(&text) {
        Ok(rules) => Ok(rules),
        Err(RulesError::Faults { faults }) => {
            let lines: Vec<_> = faults.iter().map(|fault| format!("  - {fault}")).collect();
            bail!("{} in {}:\n{}", if faults.len() == 1 { "a fault" } else { "faults" }, file.display(), lines.join("\n"))
        }
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

/// Returns the enricher that tries the rules: without a configuration, one that knows the rules alone.
fn enricher(args: &RulesTestArgs) -> anyhow::Result<(Enricher, Arc<Rules>)> {
    let own = args.rules.as_deref().map(read).transpose()?.map(Arc::new);
    if let (Some(rules), None, None) = (&own, &args.place.origin().file, &args.place.lake) {
        let alone = Enricher::new(sluice_enrich::prices::Catalogue::default(), AgentsFile::empty(), MetadataKeys::default());
        return Ok((alone.with_rules(Arc::clone(rules)), Arc::clone(rules)));
    }
    let (config, has_lake) = config_of(&args.place)?;
    let rules = own.unwrap_or_else(|| Arc::clone(&config.rules));
    // Tags of profiles, roles and users are no part of a record: the directory knows them.
    let lake = has_lake.then_some(config.lake.as_path());
    Ok((who::with_directory(who::enricher(&config, Arc::clone(&rules))?, &config, lake)?, rules))
}

/// What became of one record.
#[derive(Debug, Serialize)]
struct Tried {
    record: String,
    principal_arn: String,
    rule: Option<RuleMatch>,
    owner: OwnerTexts,
}

fn test(args: &RulesTestArgs) -> anyhow::Result<ExitCode> {
    let (enricher, rules) = enricher(args)?;
    if rules.is_empty() {
        bail!("there are no rules: set rules_file in [enrich], or give --rules FILE");
    }
    let mut samples = Samples::default();
    for file in &args.files {
        samples.add_path(file)?;
    }
    if args.files.is_empty() {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).context("read standard input")?;
        samples.add(&bytes, "standard input");
    }
    let mut used = vec![0_u64; rules.names().len()];
    let mut tried = Vec::new();
    for sample in samples.calls() {
        let rule = enricher.rule_of(&sample.call(), &sample.evidence);
        if let Some(times) = rule.as_ref().and_then(|rule| used.get_mut(rule.index)) {
            *times += 1;
        }
        let owner = enricher.attribute(&sample.call(), &sample.evidence);
        tried.push(Tried { record: sample.record.clone(), principal_arn: sample.principal_arn.clone(), rule, owner });
    }
    print(&tried, args.format)?;
    for refused in &samples.refused {
        output::note(refused);
    }
    if tried.is_empty() && !samples.refused.is_empty() {
        output::note("no record could be read");
        return Ok(ExitCode::from(EXIT_FOUND));
    }
    let unused: Vec<_> = rules.names().zip(&used).filter(|(_, times)| **times == 0).map(|((name, line), _)| (name, line)).collect();
    for (name, line) in &unused {
        output::note(&format!("rule '{name}' in line {line} matched no record"));
    }
    Ok(if args.all_used && !unused.is_empty() { ExitCode::from(EXIT_FOUND) } else { ExitCode::SUCCESS })
}

const HEADER: [&str; 9] = ["RECORD", "CALLER", "RULE", "AGENT", "SESSION", "TEAM", "RANK", "MATCHED ON", "BOOKED TO"];

fn print(tried: &[Tried], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        output::json(&serde_json::to_string_pretty(tried)?);
        return Ok(());
    }
    let absent = if format == Format::Table { "-" } else { "" };
    let row = |tried: &Tried| -> Vec<String> {
        let rule = tried.rule.as_ref();
        let said = |text: fn(&RuleMatch) -> String| rule.map_or_else(|| absent.to_owned(), text);
        let caller = tried.principal_arn.rsplit_once(':').map_or(tried.principal_arn.as_str(), |(_, name)| name);
        vec![
            tried.record.clone(),
            caller.to_owned(),
            said(|rule| rule.rule.clone()),
            said(|rule| rule.agent.clone()),
            said(|rule| rule.session.clone()),
            said(|rule| rule.team.clone()),
            said(|rule| (rule.rank as u8).to_string()),
            said(|rule| rule.matched.iter().map(|(field, value)| format!("{field}={value}")).collect::<Vec<_>>().join(" ")),
            format!("{} ({})", tried.owner.agent_id, tried.owner.agent_status.as_str()),
        ]
    };
    let rows: Vec<_> = tried.iter().map(row).collect();
    output::rows(&HEADER, rows.iter().map(Vec::as_slice), format.word())
}
