//! Every budget of docs/budgets.md is one: each passes the check, and a backtest takes it.

#![cfg(test)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
/// Fewest examples of the page.
const EXAMPLES_MIN: usize = 12;

/// Returns the TOML of each section of the page, with its heading.
fn examples(page: &str) -> Vec<(String, String)> {
    let mut examples: Vec<(String, String)> = Vec::new();
    let (mut heading, mut code) = (String::new(), None::<String>);
    for line in page.lines() {
        match &mut code {
            None if line.starts_with("## ") => heading = line[3..].to_owned(),
            None if line == "```toml" => code = Some(String::new()),
            None => {}
            Some(_) if line == "```" => examples.push((heading.clone(), code.take().unwrap())),
            Some(text) => *text += &format!("{line}\n"),
        }
    }
    assert!(code.is_none(), "a block without an end");
    examples
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/budgets.md")).unwrap()
}

fn sluice(folder: &Path, args: &[&str]) -> Output {
    Command::new(SLUICE).args(args).current_dir(folder).env_remove("SLUICE_CONFIG").output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_example_passes_the_check_and_can_be_tried() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let made = sluice(at, &["simulate", "logs", "--calls", "300", "--files", "1", "--shape", "meta"]);
    assert!(made.status.success(), "{}", said(&made));
    let read = sluice(at, &["replay", "logs", "--lake", "lake"]);
    assert!(read.status.success(), "{}", said(&read));
    let examples = examples(&page());
    assert!(examples.len() >= EXAMPLES_MIN, "{} examples", examples.len());
    for (heading, text) in &examples {
        fs::write(at.join("sluice.toml"), format!("{text}\n[lake]\npath = 'lake'\n")).unwrap();
        let checked = sluice(at, &["config", "check"]);
        assert!(checked.status.success(), "{heading}: {}", said(&checked));
        if text.contains("[[budget]]") {
            let tried = sluice(at, &["budget", "backtest"]);
            assert!(tried.status.success(), "{heading}: {}", said(&tried));
        }
        if text.contains("[[runaway]]") {
            let tried = sluice(at, &["runaway", "backtest"]);
            assert!(tried.status.success(), "{heading}: {}", said(&tried));
        }
    }
}

#[test]
fn examples_can_stand_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut names: Vec<&str> = Vec::new();
    let page = page();
    let all: Vec<String> = examples(&page).into_iter().map(|(_, text)| text).collect();
    let text = all.concat();
    names.extend(text.lines().filter_map(|line| line.strip_prefix("name = ")));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "names are unique");
    // Inline, for [lake] would end the table of the last example.
    fs::write(folder.path().join("sluice.toml"), format!("lake = {{ path = 'lake' }}\n{text}")).unwrap();
    let checked = sluice(folder.path(), &["config", "check"]);
    assert!(checked.status.success(), "{}", said(&checked));
}
