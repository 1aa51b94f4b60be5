//! The report for people and for programs.

use std::io::IsTerminal;

use super::GROUPS;
use super::finding::{Finding, Level, Report};
use crate::output::counted;

/// Columns of text before lines are broken, on whatever is no terminal.
const WIDTH: usize = 110;
/// Where the text of a finding begins.
const INDENT: usize = 4;

/// Returns the report as JSON.
///
/// # Errors
/// It cannot be written as JSON.
pub(crate) fn json(report: &Report) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(report)?)
}

/// A piece of a line, with its colour.
pub(crate) type Piece = (Option<&'static str>, String);

/// Returns the report as lines of pieces.
pub(crate) fn table(report: &Report) -> Vec<Vec<Piece>> {
    let width = columns().unwrap_or(WIDTH).clamp(60, 160);
    let mut lines = Vec::new();
    for (group, title, _) in GROUPS {
        let findings: Vec<&Finding> = report.findings.iter().filter(|finding| finding.group() == group).collect();
        if findings.is_empty() {
            continue;
        }
        if !lines.is_empty() {
            lines.push(Vec::new());
        }
        lines.push(vec![(Some(BOLD), group.to_owned()), (None, format!("  {title}"))]);
        for finding in findings {
            lines.extend(finding_lines(finding, width));
        }
    }
    lines.extend(fix_lines(report));
    lines.push(Vec::new());
    lines.push(summary(report));
    lines
}

const BOLD: &str = "1";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const DIM: &str = "2";

const fn colour(level: Level) -> Option<&'static str> {
    match level {
        Level::Ok => Some(GREEN),
        Level::Warn => Some(YELLOW),
        Level::Fail => Some(RED),
        Level::Skipped => Some(DIM),
        Level::Note => None,
    }
}

fn finding_lines(finding: &Finding, width: usize) -> Vec<Vec<Piece>> {
    let (mark, word) = finding.level.shown();
    // What is as it should be needs no word beside its mark.
    let word = if finding.level == Level::Ok { String::new() } else { format!("{word} ") };
    let about = if finding.about.is_empty() { String::new() } else { format!("{}: ", finding.about) };
    let name = finding.check.split_once('.').map_or(finding.check, |(_, name)| name).replace('_', " ");
    let text = format!("{name}: {about}{}", finding.seen);
    let mut lines = Vec::new();
    for (number, part) in broken(&text, width.saturating_sub(INDENT), word.chars().count()).into_iter().enumerate() {
        if number == 0 {
            lines.push(vec![(colour(finding.level), format!("  {mark} {word}")), (None, part)]);
        } else {
            lines.push(vec![(None, format!("{:INDENT$}{part}", ""))]);
        }
    }
    if !finding.why.is_empty() {
        lines.extend(
            broken(&finding.why, width.saturating_sub(INDENT), 0)
                .into_iter()
                .map(|part| vec![(Some(DIM), format!("{:INDENT$}{part}", ""))]),
        );
    }
    lines
}

/// Breaks text at spaces; the first line has so many columns less.
fn broken(text: &str, width: usize, taken: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = taken;
    for word in text.split_whitespace() {
        let long = word.chars().count();
        let is_first = lines.last().is_none_or(String::is_empty);
        if !is_first && used + 1 + long > width {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += long;
        }
    }
    lines
}

/// Commands are never broken: they are to be pasted.
fn fix_lines(report: &Report) -> Vec<Vec<Piece>> {
    let mut lines = Vec::new();
    let titles = [(Level::Fail, "To fix"), (Level::Warn, "Better"), (Level::Note, "If you like"), (Level::Skipped, "To be told more")];
    let mut number = 0;
    for (level, title) in titles {
        let mut last = "";
        for fix in report.fixes.iter().filter(|fix| fix.level == level) {
            if last.is_empty() {
                lines.push(Vec::new());
                lines.push(vec![(Some(BOLD), title.to_owned())]);
            }
            if last != fix.check {
                number += 1;
                lines.push(vec![(Some(DIM), format!("{number:>3}. {}", fix.check))]);
            }
            last = fix.check;
            lines.push(vec![(None, format!("     {}", fix.run))]);
        }
    }
    lines
}

fn summary(report: &Report) -> Vec<Piece> {
    let counts = report.counts;
    let (colour, verdict) = if counts.fail > 0 {
        (RED, format!("{} failed: sluice cannot tell or stop as it should", counts.fail))
    } else {
        (GREEN, "nothing keeps sluice from telling and stopping".to_owned())
    };
    let rest =
        format!("; {}, {}, {} ok, {} skipped", counted(counts.warn, "warning"), counted(counts.note, "note"), counts.ok, counts.skipped);
    vec![(Some(colour), verdict), (None, rest)]
}

fn columns() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    ratatui::crossterm::terminal::size().ok().map(|(columns, _)| usize::from(columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(report: &Report) -> String {
        table(report).iter().map(|line| line.iter().map(|(_, text)| text.as_str()).collect::<String>() + "\n").collect()
    }

    #[test]
    fn marks_words_and_fixes() {
        let found = vec![
            Finding::ok("logging.enabled", "us-east-1", "on, to log group /bedrock"),
            Finding::fail("logging.group", "/bedrock", "the log group is not there", "every record is lost")
                .fix("aws logs create-log-group"),
            Finding::warn("trail.rules", "", "none", "late").fix("aws events put-rule"),
        ];
        let groups = GROUPS.map(|(group, ..)| group);
        let report = Report::new(String::new(), String::new(), Vec::new(), &groups, found);
        let text = text(&report);
        for part in [
            "logging  Bedrock invocation logging",
            "  ✓ enabled: us-east-1: on, to log group /bedrock",
            "  ✗ FAILED group: /bedrock: the log group is not there\n    every record is lost",
            "To fix\n  1. logging.group\n     aws logs create-log-group",
            "Better\n  2. trail.rules\n     aws events put-rule",
            "1 failed: sluice cannot tell or stop as it should; 1 warning, 0 notes",
        ] {
            assert!(text.contains(part), "{part}\n---\n{text}");
        }
    }

    #[test]
    fn text_is_broken_at_spaces() {
        assert_eq!(broken("aa bb cc", 5, 0), ["aa bb", "cc"]);
        assert_eq!(broken("aa bb cc", 5, 3), ["aa", "bb cc"]);
        assert_eq!(broken("aaaaaaaaaa b", 5, 0), ["aaaaaaaaaa", "b"]);
    }
}
