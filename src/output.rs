//! Standard output and error: the only place that prints, so that no foreign text reaches a terminal unescaped. A closed pipe ends
//! the output, not the program's work; output that is lost otherwise, as on a full disk, is told at the end.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use sluice_schemas::visible::{escape, escape_json, escape_lines};

/// Why standard output does not have everything.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Writes text to standard output.
pub(crate) fn print(text: &str) {
    to_stdout(&escape_lines(text));
}

/// Returns why standard output does not have everything; none where it has, or where its reader went away.
pub(crate) fn lost() -> Option<&'static io::Error> {
    LOST.get()
}

/// Writes a JSON text and a line end to standard output.
pub(crate) fn json(text: &str) {
    to_stdout(&format!("{}\n", escape_json(text.trim_end())));
}

/// Writes text and a line end to standard output.
pub(crate) fn line(text: &str) {
    print(&format!("{text}\n"));
}

/// Writes lines of pieces, each with the number of its colour or style, which only a terminal is told.
pub(crate) fn painted(lines: &[Vec<(Option<&'static str>, String)>]) {
    let paints = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut out = String::new();
    for line in lines {
        for (style, text) in line {
            match style.filter(|_| paints) {
                Some(style) => out.push_str(&format!("\x1b[{style}m{}\x1b[0m", escape(text))),
                None => out.push_str(&escape(text)),
            }
        }
        out.push('\n');
    }
    to_stdout(&out);
}

/// Writes an error and what caused it to standard error.
pub(crate) fn error(error: &anyhow::Error) {
    let one_line = |text: &dyn std::fmt::Display| text.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = format!("error: {error}\n");
    // Some errors tell their causes themselves.
    let mut said = one_line(error);
    for cause in error.chain().skip(1) {
        if !said.contains(&one_line(cause)) {
            text.push_str(&format!("  because: {cause}\n"));
            said.push_str(&one_line(cause));
        }
    }
    to_stderr(&escape_lines(&text));
}

/// Writes a note to standard error, as a line of the log where that is JSON.
pub(crate) fn note(text: &str) {
    if crate::logging::is_json() {
        tracing::info!("{text}");
        return;
    }
    to_stderr(&escape_lines(&format!("{text}\n")));
}

fn to_stdout(text: &str) {
    match write_all(&mut io::stdout().lock(), text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            LOST.get_or_init(|| error);
        }
        Err(error) => tracing::debug!(%error, "output is closed"),
        Ok(()) => {}
    }
}

fn to_stderr(text: &str) {
    if let Err(error) = write_all(&mut io::stderr().lock(), text) {
        tracing::debug!(%error, "output is closed");
    }
}

fn write_all(out: &mut dyn Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Returns `1 budget`, `2 budgets`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Returns an empty table in the one style of the program.
pub(crate) fn table(header: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(header.to_vec());
    table
}

/// Returns a CSV cell: quoted where needed, and never a formula for a spreadsheet.
pub(crate) fn csv_cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guarded = if formula { format!("'{text}") } else { text.to_owned() };
    if guarded.contains([',', '"', '\n', '\r']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

/// Prints rows of text as a table, JSON objects or CSV.
pub(crate) fn rows<'a>(header: &[&str], rows: impl Iterator<Item = &'a [String]>, format: &str) -> anyhow::Result<()> {
    match format {
        "json" => {
            let names: Vec<String> = header.iter().map(|name| name.to_lowercase().replace(' ', "_")).collect();
            let object = |row: &[String]| -> serde_json::Map<String, serde_json::Value> {
                names.iter().cloned().zip(row.iter().map(|cell| serde_json::Value::String(cell.clone()))).collect()
            };
            json(&serde_json::to_string_pretty(&rows.map(object).collect::<Vec<_>>())?);
        }
        "csv" => {
            let mut text = header.join(",").to_lowercase().replace(' ', "_") + "\n";
            for row in rows {
                text.push_str(&row.iter().map(|cell| csv_cell(cell)).collect::<Vec<_>>().join(","));
                text.push('\n');
            }
            print(&text);
        }
        _ => {
            let mut table = table(header);
            for row in rows {
                table.add_row(row.iter().map(|cell| escape(cell).into_owned()));
            }
            line(&table.to_string());
        }
    }
    Ok(())
}
