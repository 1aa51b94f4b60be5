//! What a check comes to: one finding, and the report of them all.

use serde::Serialize;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing has to be done.
    Note,
    /// It works, and could break, cost more or tell less.
    Warn,
    /// It stops sluice from telling or stopping correctly.
    Fail,
    /// It was not looked at.
    Skipped,
}

impl Level {
    /// Returns its mark and word.
    pub(crate) const fn shown(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("✓", "ok"),
            Self::Note => ("·", "note"),
            Self::Warn => ("!", "warning"),
            Self::Fail => ("✗", "FAILED"),
            Self::Skipped => ("–", "skipped"),
        }
    }
}

/// What one check saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Group and name, for example `logging.enabled`.
    pub(crate) check: &'static str,
    /// How much it matters.
    pub(crate) level: Level,
    /// What it is about: a region, a name, an ARN; may be empty.
    pub(crate) about: String,
    /// What was seen.
    pub(crate) seen: String,
    /// Why it matters.
    pub(crate) why: String,
    /// Commands and edits that put it right, in their order.
    pub(crate) fix: Vec<String>,
}

impl Finding {
    fn new(check: &'static str, level: Level, about: impl Into<String>, seen: impl Into<String>, why: impl Into<String>) -> Self {
        Self { check, level, about: about.into(), seen: seen.into(), why: why.into(), fix: Vec::new() }
    }

    /// As it should be.
    pub(crate) fn ok(check: &'static str, about: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, about, seen, "")
    }

    /// Worth knowing.
    pub(crate) fn note(check: &'static str, about: impl Into<String>, seen: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(check, Level::Note, about, seen, why)
    }

    /// It works, but.
    pub(crate) fn warn(check: &'static str, about: impl Into<String>, seen: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(check, Level::Warn, about, seen, why)
    }

    /// It does not work.
    pub(crate) fn fail(check: &'static str, about: impl Into<String>, seen: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(check, Level::Fail, about, seen, why)
    }

    /// It was not looked at.
    pub(crate) fn skipped(check: &'static str, about: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(check, Level::Skipped, about, seen, "")
    }

    /// Adds what puts it right.
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix.push(fix.into());
        self
    }

    /// Adds several steps that put it right.
    pub(crate) fn fixes(mut self, fixes: Vec<String>) -> Self {
        self.fix.extend(fixes);
        self
    }

    /// Returns its group.
    pub(crate) fn group(&self) -> &'static str {
        self.check.split_once('.').map_or(self.check, |(group, _)| group)
    }
}

/// Everything that was seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Version of this form.
    pub(crate) version: u32,
    /// When, RFC 3339.
    pub(crate) at: String,
    /// Who asked AWS; empty where nobody did.
    pub(crate) identity: String,
    /// Regions looked at.
    pub(crate) regions: Vec<String>,
    /// `ok`, or `failed` where a finding stops sluice from telling or stopping correctly.
    pub(crate) verdict: &'static str,
    /// Findings by level.
    pub(crate) counts: Counts,
    /// Findings, in the order of the chain.
    pub(crate) findings: Vec<Finding>,
    /// What to do, in the order to do it.
    pub(crate) fixes: Vec<Fix>,
}

/// Findings by level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) ok: usize,
    pub(crate) note: usize,
    pub(crate) warn: usize,
    pub(crate) fail: usize,
    pub(crate) skipped: usize,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fix {
    /// The check it puts right.
    pub(crate) check: &'static str,
    /// Level of that finding.
    pub(crate) level: Level,
    /// A command to paste, or an edit.
    pub(crate) run: String,
}

impl Report {
    /// Puts findings in the order of the chain and counts them. What failed is put right first.
    pub(crate) fn new(at: String, identity: String, regions: Vec<String>, groups: &[&str], mut findings: Vec<Finding>) -> Self {
        let place = |finding: &Finding| groups.iter().position(|group| *group == finding.group()).unwrap_or(groups.len());
        findings.sort_by_key(place);
        // One rule that passes events of two services is told of once.
        let mut told: Vec<Finding> = Vec::new();
        findings.retain(|finding| {
            let is_new = !told.contains(finding);
            if is_new {
                told.push(finding.clone());
            }
            is_new
        });
        let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
        let counts = Counts {
            ok: count(Level::Ok),
            note: count(Level::Note),
            warn: count(Level::Warn),
            fail: count(Level::Fail),
            skipped: count(Level::Skipped),
        };
        let mut fixes: Vec<Fix> = Vec::new();
        for level in [Level::Fail, Level::Warn, Level::Note, Level::Skipped] {
            for finding in findings.iter().filter(|finding| finding.level == level) {
                for run in &finding.fix {
                    if fixes.iter().all(|known| known.run != *run) {
                        fixes.push(Fix { check: finding.check, level, run: run.clone() });
                    }
                }
            }
        }
        let verdict = if counts.fail > 0 { "failed" } else { "ok" };
        Self { version: 1, at, identity, regions, verdict, counts, findings, fixes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_put_right_first_and_nothing_twice() {
        let found = vec![
            Finding::warn("stream.retention", "s", "24 h", "").fix("b"),
            Finding::fail("trail.logging", "", "none", "").fix("c").fix("a"),
            Finding::ok("logging.enabled", "r", "on"),
            Finding::ok("logging.enabled", "r", "on"),
            Finding::fail("logging.group", "g", "gone", "").fix("a"),
        ];
        let report = Report::new(String::new(), String::new(), Vec::new(), &["logging", "stream", "trail"], found);
        let checks: Vec<&str> = report.findings.iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["logging.enabled", "logging.group", "stream.retention", "trail.logging"]);
        let fixes: Vec<&str> = report.fixes.iter().map(|fix| fix.run.as_str()).collect();
        assert_eq!(fixes, ["a", "c", "b"]);
        assert_eq!((report.verdict, report.counts.fail, report.counts.ok), ("failed", 2, 1));
    }
}
