//! House rules that a machine keeps: file heads, file and function lengths, who may depend on whom, who may mint a permit.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 6] = ["schemas", "ingest", "enrich", "aggregate", "enforce", "src"];
const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for name in CRATES {
        rust_files(&root().join(name), &mut files);
    }
    rust_files(&root().join("tests"), &mut files);
    files.sort();
    files.into_iter().map(|path| (path.strip_prefix(root()).unwrap().to_owned(), fs::read_to_string(&path).unwrap())).collect()
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "examples" | "benches")))
}

/// Lines before the inline test module.
fn production(text: &str) -> Vec<&str> {
    text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).collect()
}

fn check(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let missing = |(path, text): &(PathBuf, String)| (!text.starts_with("//!")).then(|| format!("{}: begins without //!", path.display()));
    check(sources().iter().filter_map(missing).collect());
}

#[test]
fn files_stay_small() {
    let mut faults = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
        let lines = production(text).len();
        if lines > FILE_LINES_MAX {
            faults.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", path.display()));
        }
    }
    check(faults);
}

#[test]
fn functions_stay_small() {
    let mut faults = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
        let lines = production(text);
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = line.trim_start();
            let is_function = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "const fn ", "pub const fn ", "async fn "];
            if !is_function.iter().any(|word| head.starts_with(word)) || head.ends_with(';') || head.ends_with('}') {
                continue;
            }
            let close = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|line| *line == close).unwrap_or(0);
            if length > FUNCTION_LINES_MAX {
                faults.push(format!("{}:{}: function of {length} lines, at most {FUNCTION_LINES_MAX}", path.display(), start + 1));
            }
        }
    }
    check(faults);
}

#[test]
fn a_stage_knows_no_other_stage() {
    let stages = ["ingest", "enrich", "aggregate", "enforce"];
    let mut faults = Vec::new();
    for stage in stages.iter().chain(&["schemas"]) {
        let manifest = fs::read_to_string(root().join(stage).join("Cargo.toml")).unwrap();
        for other in stages.iter().filter(|other| *other != stage) {
            if manifest.contains(&format!("sluice-{other}")) {
                faults.push(format!("{stage} depends on {other}"));
            }
        }
    }
    check(faults);
}

#[test]
fn a_permit_is_minted_in_one_place() {
    let mint = concat!("CommitPermit::", "after_commit(");
    let minting = |(path, text): &(PathBuf, String)| {
        let count = production(text).iter().filter(|line| line.contains(mint) && !line.trim_start().starts_with("//")).count();
        (count > 0 && !is_test(path)).then(|| path.display().to_string())
    };
    let places: Vec<String> = sources().iter().filter_map(minting).collect();
    assert_eq!(places, ["src/pipeline/commit.rs"]);
}

#[test]
fn nothing_is_left_for_later() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimpl", "emented!"), concat!("to", "do!(")];
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                faults.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    check(faults);
}

#[test]
fn no_test_is_ignored_and_no_lint_is_silenced_without_a_reason() {
    let words = [concat!("#[ig", "nore"), concat!("#[al", "low("), concat!("#![al", "low(")];
    let mut faults = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.trim_start().starts_with(word)) {
                faults.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    check(faults);
}
