//! The reference file taken apart: sections, keys, what they mean; and `docs/configuration.md`, which is made from it.
//!
//! A line of the file is `key = value  # meaning`, commented out where the key has no default. Comments of their own lines go on with
//! the meaning above them where they are indented, and belong to the key or section below them where they are not.

use std::fmt::Write as _;

use super::{REFERENCE, parse_duration};

/// A table of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    /// Its name; empty for keys above all tables.
    pub(crate) name: String,
    /// Whether there may be any number of it.
    pub(crate) is_list: bool,
    /// What it is for.
    pub(crate) meaning: String,
    /// Its keys.
    pub(crate) keys: Vec<Key>,
}

/// A key of a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: String,
    /// The value that is shown, as TOML.
    pub(crate) value: String,
    /// Whether that is the default.
    pub(crate) is_default: bool,
    /// What it means.
    pub(crate) meaning: String,
}

/// What begins a meaning where a value that is commented out is the default.
const DEFAULT: &str = "default";
/// What ends the meaning of a key that has no default and must be set.
const NEEDED: &str = "; needed";

/// Takes the reference file apart.
pub(crate) fn sections() -> Vec<Section> {
    parse(REFERENCE)
}

fn parse(text: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut pending: Vec<&str> = Vec::new();
    for line in text.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let is_set = !line.starts_with('#');
        if let Some((name, is_list, meaning)) = header(bare) {
            let meaning = join(&mut pending, meaning);
            sections.push(Section { name: name.to_owned(), is_list, meaning, keys: Vec::new() });
        } else if let Some((name, value, meaning)) = assignment(bare) {
            let (is_default, rest) = default(is_set, meaning);
            let meaning = join(&mut pending, rest);
            let key = Key { name: name.to_owned(), value: value.to_owned(), is_default, meaning };
            sections.last_mut().map(|section| section.keys.push(key)).unwrap_or_default();
        } else if line.trim().is_empty() {
            pending.clear();
        } else if let Some(more) = line.trim_start().strip_prefix('#') {
            let last = sections.last_mut().and_then(|section| section.keys.last_mut());
            match last.filter(|_| line.starts_with(' ')) {
                Some(key) => key.meaning = format!("{} {}", key.meaning, more.trim()),
                None => pending.push(more.trim()),
            }
        }
    }
    sections
}

/// Puts what stands above a line before what stands behind it.
fn join(pending: &mut Vec<&str>, meaning: &str) -> String {
    let above = std::mem::take(pending).join(" ");
    match (above.is_empty(), meaning.is_empty()) {
        (true, _) => meaning.to_owned(),
        (_, true) => above,
        _ => format!("{meaning}. {above}"),
    }
}

fn default(is_set: bool, meaning: &str) -> (bool, &str) {
    let marked = meaning.strip_prefix(DEFAULT).filter(|rest| rest.is_empty() || rest.starts_with(';'));
    match marked {
        Some(rest) if !is_set => (true, rest.trim_start_matches(';').trim()),
        // The file would be of no use without it.
        _ if meaning.ends_with(NEEDED) => (false, meaning),
        _ => (is_set, meaning),
    }
}

/// Reads `[name]` or `[[name]]`, and the comment behind it.
fn header(line: &str) -> Option<(&str, bool, &str)> {
    let is_list = line.starts_with("[[");
    let (open, close) = if is_list { ("[[", "]]") } else { ("[", "]") };
    let (name, rest) = line.strip_prefix(open)?.split_once(close)?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.'));
    is_name.then_some((name, is_list, comment(rest)))
}

/// Reads `key = value`, and the comment behind it.
fn assignment(line: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = line.split_once(" = ")?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !is_name {
        return None;
    }
    let end = end_of_value(rest);
    Some((name, rest[..end].trim(), comment(&rest[end..])))
}

/// Returns where the comment begins: at the first `#` outside of strings.
fn end_of_value(text: &str) -> usize {
    let mut quoted = false;
    for (at, char) in text.char_indices() {
        match char {
            '"' => quoted = !quoted,
            '#' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

fn comment(text: &str) -> &str {
    text.trim().trim_start_matches('#').trim()
}

impl Key {
    /// Returns what kind of value it takes, in a word or two.
    fn kind(&self) -> &'static str {
        let value: Option<toml::Value> = format!("v = {}", self.value).parse::<toml::Table>().ok().and_then(|mut table| table.remove("v"));
        match value {
            Some(toml::Value::Integer(_)) => "number",
            Some(toml::Value::Boolean(_)) => "true, false",
            Some(toml::Value::Array(_)) => "list",
            Some(toml::Value::Table(_)) => "table",
            Some(toml::Value::String(text)) => kind_of_text(&text),
            _ => "text",
        }
    }
}

fn kind_of_text(text: &str) -> &'static str {
    let digits = text.trim_end_matches(|char: char| !char.is_ascii_digit());
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match text {
        _ if parse_duration(text).is_ok() => "time",
        _ if is_number && text.ends_with(" USD") => "amount",
        _ if is_number && text.ends_with('%') => "share",
        _ if is_number && text.ends_with('B') => "size",
        _ => "text",
    }
}

impl Section {
    /// Returns its heading: its name, and of several tables of one name the kind.
    fn title(&self) -> String {
        let (open, close) = if self.is_list { ("[[", "]]") } else { ("[", "]") };
        let kind = self.keys.iter().find(|key| key.name == "kind").map(|key| format!(" {} = {}", key.name, key.value));
        format!("`{open}{}{close}{}`", self.name, kind.unwrap_or_default())
    }
}

const HEAD: &str = "# Configuration\n\n\
    One configuration, in one text or several: a file, an object of S3 (`s3://BUCKET/KEY`) or a parameter of the Parameter Store\n\
    (`ssm:/NAME`), named by `--config` or `SLUICE_CONFIG`; `sluice.toml` in the working folder without either. This page is made from\n\
    [deploy/config.reference.toml](../deploy/config.reference.toml) by `sluice config reference --format markdown`, and a test compares them.\n\n\
    ```console\n\
    $ sluice init                                  # writes one by questions\n\
    $ sluice config check --config ssm:/sluice/config   # every fault at once; exit code 2\n\
    $ sluice config show                           # what it comes to, and which version of each text\n\
    $ sluice config reload                         # a running daemon reads it now; it looks by itself every config_refresh\n\
    ```\n\n\
    ## How texts become one\n\n\
    `include` adds texts, which may include further ones. Array tables (`[[budget]]`, `[[notify]]`, `[[source]]`, …) follow each other; any other key\n\
    has one place, and set twice it is a fault that names both. Relative paths in a file are relative to that file; a relative name in an object of S3 is\n\
    an object beside it; a parameter has no folder, so what it names is absolute. `SLUICE__SECTION__KEY=value` in the environment wins over all texts\n\
    (`SLUICE__LAKE__PATH=/srv/lake`, `SLUICE__FILES__PATHS='[\"/a\"]'`).\n\n\
    Objects and parameters are fetched with the credentials, the region (`AWS_REGION`) and the endpoint (`AWS_ENDPOINT_URL`) of the environment, by a\n\
    build with `--features aws`. They take `s3:GetObject`, `ssm:GetParameter`, and `kms:Decrypt` where a key of your own encrypts them. A standard\n\
    parameter holds 4 KiB, an advanced one 8 KiB (AWS Systems Manager User Guide, \"Managing parameter tiers\"): put budgets in one of their own, or in S3.\n\n\
    ## New versions\n\n\
    A daemon looks every `[control] config_refresh`, on a thread of its own, and puts a new version into force as `sluice config reload` does: budgets,\n\
    runaway rules, agents, rules and prices change at once; a new or changed budget only notifies until `sluice approve NAME`. A version with faults,\n\
    or one that changes what is read at the start alone (lake, sources, levers, receivers, `[operate]`, …), is refused as a whole and told once: what was\n\
    in force stays, `sluice status` says why, `sluice_config_refused_total` and the EMF metric `ConfigRefused` count it. A version that cannot be fetched is tried\n\
    again at the next look, and `sluice_config_age_seconds` grows. A standby reads the configuration anew when its turn comes; workers\n\
    (`--role worker`) read it at their start. Which version was in force stands in the log (`event = \"config_in_force\"`), in `sluice status`, and in\n\
    the audit pack.\n\n\
    A time is written with its unit (`\"30s\"`, `\"5m\"`, `\"1h\"`, `\"2d\"`), an amount as `\"25.00 USD\"`, a size as `\"16MiB\"`, a share as `\"1%\"`.\n\
    Where a key has no default an example is shown.\n";

/// Returns `docs/configuration.md`.
pub(crate) fn markdown() -> String {
    let mut text = HEAD.to_owned();
    let mut titles = Vec::new();
    let sections = sections();
    for section in &sections {
        let title = if section.name.is_empty() { "Above all tables".to_owned() } else { section.title() };
        // A second example of a table says nothing new.
        if titles.contains(&title) {
            continue;
        }
        titles.push(title.clone());
        write_section(&mut text, &title, section, &sections).unwrap_or_default();
    }
    text
}

fn write_section(text: &mut String, title: &str, section: &Section, all: &[Section]) -> std::fmt::Result {
    writeln!(text, "\n## {title}\n")?;
    if !section.meaning.is_empty() {
        writeln!(text, "{}.\n", sentence(&section.meaning))?;
    }
    if section.keys.is_empty() {
        return Ok(());
    }
    writeln!(text, "| key | takes | default | example | meaning |\n|---|---|---|---|---|")?;
    for key in &section.keys {
        let value = format!("`{}`", cell(&key.value));
        let (default, example) = if key.is_default { (value.as_str(), "") } else { ("", value.as_str()) };
        // A key that many tables have is explained at the first of them.
        let mut named = all.iter().flat_map(|section| &section.keys).filter(|other| other.name == key.name && !other.meaning.is_empty());
        let meaning = if key.meaning.is_empty() { named.next().map_or("", |other| &other.meaning) } else { &key.meaning };
        writeln!(text, "| `{}` | {} | {default} | {example} | {} |", key.name, key.kind(), cell(&sentence(meaning)))?;
    }
    Ok(())
}

fn sentence(text: &str) -> String {
    let text = text.trim().trim_end_matches(['.', ';', ' ']);
    let mut chars = text.chars();
    let mut words = text.split(' ');
    let is_word =
        words.next().is_some_and(|word| word.trim_end_matches([',', ':']).chars().all(char::is_alphabetic)) && words.next() != Some("|");
    match chars.next() {
        Some(first) if is_word => first.to_uppercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests;
