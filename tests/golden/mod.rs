//! Recorded streams and what they come to, to the pico-dollar. Each case is run three ways, and each way must give the same file:
//!
//! 1. straight: one replay;
//! 2. with a restart at every commit: the files grow line by line, and after each commit the process dies and a new one goes on;
//! 3. split otherwise: the lines are shuffled and dealt out to other files, read by five workers.
//!
//! A case is a folder: `in/` (the logs), `case.toml` (configuration), `prices.toml`, `agents.toml` where it needs them, `later.toml` (prices
//! that become known afterwards: the lake is rated again with them), `README` (what it shows, and figures worked out by hand),
//! `expected.txt`. `UPDATE_GOLDEN=1` writes the expected files anew; the figures of the README must stay.

mod report;
mod ways;

use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn check(name: &str) {
    let case = folder().join(name);
    let expected = case.join("expected.txt");
    let straight = ways::straight(&case);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&expected, &straight).unwrap();
    }
    let expected = std::fs::read_to_string(&expected).unwrap_or_else(|error| panic!("{name}: {error}; UPDATE_GOLDEN=1 writes it"));
    let readme = std::fs::read_to_string(case.join("README")).unwrap();
    for figure in readme.lines().filter_map(|line| line.strip_prefix("= ")) {
        assert!(expected.contains(figure), "{name}: the figure worked out by hand is not in expected.txt: {figure}");
    }
    same(name, "straight", &expected, &straight);
    same(name, "with restarts", &expected, &ways::with_restarts(&case));
    same(name, "split otherwise", &expected, &ways::split_otherwise(&case));
}

fn same(name: &str, way: &str, expected: &str, found: &str) {
    let lines = expected.lines().chain(std::iter::repeat("nothing")).zip(found.lines().chain(std::iter::repeat("nothing")));
    let most = expected.lines().count().max(found.lines().count());
    for (number, (expected, found)) in lines.take(most).enumerate() {
        assert!(expected == found, "{name}, {way}, line {}:\n expected {expected}\n found    {found}", number + 1);
    }
}

macro_rules! cases {
    ($($test:ident = $folder:literal),* $(,)?) => {
        const CASES: &[&str] = &[$($folder),*];
        $(
            #[test]
            fn $test() {
                check($folder);
            }
        )*
    };
}

cases! {
    plain_calls = "plain-calls",
    cache_split = "cache-split",
    streams = "streams",
    failures = "failures",
    spoofed_claims = "spoofed-claims",
    attribution_by_events = "attribution",
    late_and_twice = "late-and-twice",
    budgets_of_every_window = "budgets",
    bad_lines = "bad-lines",
    cloudwatch_envelopes = "cloudwatch",
    price_change = "price-change",
    unpriced_then_rated = "unpriced-then-rated",
}

#[test]
fn every_folder_is_a_case() {
    let folders = std::fs::read_dir(folder()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir());
    let mut found: Vec<String> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    found.sort();
    let mut known: Vec<String> = CASES.iter().map(|name| (*name).to_owned()).collect();
    known.sort();
    assert_eq!(found, known);
}
