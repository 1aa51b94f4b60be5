//! `sluice reconcile` as a user runs it: a report with every cause in it, in each form of output, with its rates derived and put to use,
//! and what is said of what is no report. `UPDATE_GOLDEN=1` writes the expected files anew; the figures of the README must stay.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use sluice_schemas::Micros;

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const PERIOD: &str = "cur/data/BILLING_PERIOD=2026-11";

fn case() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reconcile")
}

/// A folder with the report and a lake of the calls.
struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(world.path(PERIOD)).unwrap();
        fs::copy(case().join("cur.csv"), world.path(&format!("{PERIOD}/cur-00001.csv"))).unwrap();
        world.written("2026-11-09T00:00:00Z");
        for name in ["sluice.toml", "prices.toml", "calls.jsonl"] {
            fs::copy(case().join(name), world.path(name)).unwrap();
        }
        world.text(&["replay", "calls.jsonl"]);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(SLUICE).args(arguments).current_dir(self.0.path()).output().unwrap()
    }

    /// Returns what a command says, its own folder left out.
    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        self.plain(&output.stdout)
    }

    fn plain(&self, bytes: &[u8]) -> String {
        let folder = self.0.path().canonicalize().unwrap();
        String::from_utf8_lossy(bytes).replace(&format!("{}/", folder.display()), "").replace(&format!("{}/", self.0.path().display()), "")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.text(arguments)).unwrap()
    }

    /// Returns the error of a command, which must end with exit code 2.
    fn error(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Sets the time at which the report was written.
    fn written(&self, at: &str) {
        let at: Micros = at.parse().unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap());
        let file = fs::File::options().write(true).open(self.path(&format!("{PERIOD}/cur-00001.csv"))).unwrap();
        file.set_modified(time).unwrap();
    }

    fn rewrite(&self, change: impl Fn(&str) -> String) {
        let path = self.path(&format!("{PERIOD}/cur-00001.csv"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, change(&text)).unwrap();
    }
}

fn same_as_golden(name: &str, found: &str) {
    let path = case().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}; UPDATE_GOLDEN=1 writes it"));
    for (number, (expected, found)) in expected.lines().zip(found.lines()).enumerate() {
        assert_eq!(expected, found, "{name}, line {}", number + 1);
    }
    assert_eq!(expected.lines().count(), found.lines().count(), "{name}");
}

fn cause<'a>(report: &'a Value, name: &str) -> &'a str {
    report["total"]["causes"][name].as_str().unwrap()
}

#[test]
fn every_cause_is_named_with_its_amount() {
    let world = World::new();
    for (name, arguments) in [
        ("expected.txt", ["--format", "table"].as_slice()),
        ("expected.json", &["--format", "json"]),
        ("expected.csv", &["--format", "csv"]),
        ("by-day.txt", &["--by", "day"]),
        ("by-model.csv", &["--by", "model", "--format", "csv"]),
        ("by-principal.json", &["--by", "principal", "--format", "json"]),
        ("by-usage-type.csv", &["--by", "usage-type", "--format", "csv"]),
    ] {
        same_as_golden(name, &world.text(&[&["reconcile", "cur"], arguments].concat()));
    }
    let report = world.json(&["reconcile", "cur", "--format", "json"]);
    let readme = fs::read_to_string(case().join("README")).unwrap();
    let mut figures = 0;
    for (name, amount) in readme.lines().filter_map(|line| line.strip_prefix("= ")?.split_once(',')) {
        let found = if name == "moved" { report["total"]["moved_usd"].as_str().unwrap() } else { cause(&report, name) };
        assert_eq!(found, amount, "{name}");
        figures += 1;
    }
    assert_eq!(figures, 8);
}

#[test]
fn rates_of_the_bill_rate_the_calls_again() {
    let world = World::new();
    world.text(&["reconcile", "cur", "--derive-rates", "rates.toml"]);
    let changes = world.json(&["prices", "diff", "rates.toml", "--config", "sluice.toml", "--format", "json"]);
    let changed = |key: &str| {
        let of_key = |change: &&Value| change["key"].as_str().unwrap().starts_with(key) && change["price_of"] == "input";
        changes.as_array().unwrap().iter().find(of_key).unwrap_or_else(|| panic!("no change of {key}"))["after"].clone()
    };
    assert_eq!(changed("amazon.nova-micro-v1:0 geo:us us-east-1"), "0.0000000385");
    // 0.18 less a discount of 0.0216, for three million.
    assert_eq!(changed("amazon.nova-lite-v1:0 in_region us-east-1"), "0.0000000528");
    let config = fs::read_to_string(world.path("sluice.toml")).unwrap();
    fs::write(world.path("sluice.toml"), config.replace("prices.toml", "rates.toml")).unwrap();
    world.text(&["prices", "rerate", "--all"]);
    let report = world.json(&["reconcile", "cur", "--format", "json"]);
    let left = ["price", "discount", "volume", "unlogged", "unexplained"].map(|name| cause(&report, name));
    assert_eq!(left, ["0.000000000000", "0.000000000000", "0.150000000000", "1.720000000000", "7.000000000000"]);
}

/// A bill made of what the lake says was used, at the prices of the lake, differs from it by its rounding alone.
#[test]
fn a_bill_of_simulated_calls_agrees() {
    let world = World::new();
    let span = ["--calls", "3000", "--span", "48h", "--start", "2026-11-10T00:00:00Z", "--files", "2"];
    world.text(&[&["simulate", "logs"], span.as_slice()].concat());
    world.text(&["replay", "logs"]);
    let used = world.json(&[
        "query",
        "SELECT date_trunc('hour', event_time) AS hour, account_id, region, principal_arn, model, sum(input_tokens) AS input, \
         sum(output_tokens) AS output FROM calls WHERE priced AND dt >= '2026-11-10' AND price_scope <> 'global' AND service_tier = 'standard' \
         AND region IN ('us-east-1', 'us-west-2') AND model IN ('amazon.nova-pro-v1:0', 'amazon.nova-micro-v1:0') GROUP BY 1, 2, 3, 4, 5",
        "--format",
        "json",
    ]);
    let header = fs::read_to_string(case().join("cur.csv")).unwrap().lines().next().unwrap().to_owned();
    let mut bill = header + "\n";
    let mut lines = 0;
    for row in used.as_array().unwrap() {
        let text = |name: &str| row[name].as_str().unwrap();
        let place = if text("region") == "us-east-1" { "USE1" } else { "USW2" };
        let (name, rates) = if text("model").contains("micro") { ("NovaMicro", [35, 140]) } else { ("NovaPro", [800, 3_200]) };
        for (class, rate) in ["input", "output"].into_iter().zip(rates) {
            // Rates are nano-dollars a token, so nine decimals hold every cost.
            let tokens = row[class].as_i64().unwrap();
            let nanos = tokens * rate;
            bill += &format!(
                "1,{},{},Usage,AmazonBedrock,AmazonBedrock,{place}-{name}-{class}-tokens,{}.{:03},{}.{:09},USD,1K tokens,,{},{{}},{{}}\n",
                text("account_id"),
                text("hour"),
                tokens / 1_000,
                tokens % 1_000,
                nanos / 1_000_000_000,
                nanos % 1_000_000_000,
                text("principal_arn"),
            );
            lines += 1;
        }
    }
    assert!(lines > 100, "{lines}");
    fs::write(world.path("bill.csv"), bill).unwrap();
    let report = world.json(&["reconcile", "bill.csv", "--format", "json"]);
    let billed: Vec<&Value> = report["rows"].as_array().unwrap().iter().filter(|row| row["lines"] != 0).collect();
    assert!(billed.len() > 20);
    for row in billed {
        for cause in ["price", "volume", "unlogged", "discount", "timing", "unexplained"] {
            assert_eq!(row["causes"][cause], "0.000000000000", "{row}");
        }
    }
}

#[test]
fn without_principals_the_sums_are_the_same() {
    let world = World::new();
    let with = world.json(&["reconcile", "cur", "--format", "json"]);
    world.rewrite(|text| text.replace("line_item_iam_principal", "line_item_iam_nobody"));
    let without = world.json(&["reconcile", "cur", "--format", "json"]);
    assert_eq!(with["total"], without["total"]);
    assert_eq!(without["report"]["by_principal"], false);
    let notes = without["notes"].to_string();
    assert!(notes.contains("names no IAM principal") && notes.contains("INCLUDE_IAM_PRINCIPAL_DATA"), "{notes}");
}

#[test]
fn days_can_be_chosen() {
    let world = World::new();
    let report = world.json(&["reconcile", "cur", "--from", "2026-11-05", "--to", "2026-11-05", "--by", "day", "--format", "json"]);
    let days: Vec<&Value> = report["groups"].as_array().unwrap().iter().map(|group| &group["name"]).collect();
    assert_eq!(days, ["2026-11-05"]);
    assert_eq!((cause(&report, "discount"), cause(&report, "price")), ("-0.021600000000", "0.000000000000"));
    let outside = world.json(&["reconcile", "cur", "--from", "2026-12-01", "--format", "json"]);
    assert_eq!(outside["total"]["billed_usd"], "0.000000000000");
}

#[test]
fn only_a_report_that_was_written_of_late_may_be_incomplete() {
    let world = World::new();
    let told = |arguments: &[&str]| {
        let report = world.json(&[&["reconcile", "cur", "--format", "json"], arguments].concat());
        let notes: Vec<String> = report["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap().to_owned()).collect();
        notes.into_iter().find(|note| note.contains("may be incomplete"))
    };
    let last_day = ["--from", "2026-11-08", "--to", "2026-11-08"];
    assert!(told(&[]).unwrap().ends_with("; --to 2026-11-06 leaves them out"));
    let note = told(&last_day).unwrap();
    assert!(note.contains("from 2026-11-07T00:00:00Z on") && !note.contains("--to"), "{note}");
    world.written("2026-12-10T00:00:00Z");
    assert_eq!((told(&[]), told(&last_day)), (None, None));
}

#[test]
fn the_exit_code_tells_a_difference_only_when_asked() {
    let world = World::new();
    for (arguments, code) in [
        ([].as_slice(), 0),
        (&["--fail-above", "2.5"], 1),
        (&["--fail-above", "99%"], 0),
        (&["--fail-above", "0", "--from", "2026-11-06", "--to", "2026-11-06"], 0),
    ] {
        let output = world.run(&[&["reconcile", "cur"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn what_cannot_be_read_says_what_to_do() {
    let world = World::new();
    fs::write(world.path("words.csv"), "just,words\n1,2\n").unwrap();
    fs::create_dir(world.path("empty")).unwrap();
    for (arguments, words) in [
        (["nowhere"].as_slice(), ["cannot read nowhere", "No such file"]),
        (&["s3://bucket/cur"], ["is in S3", "aws s3 sync"]),
        (&["empty"], ["no file of a report", "name the folder"]),
        (&["words.csv"], ["no column 'line_item_usage_start_date'", "add it to the export's query"]),
        (&["cur", "--net"], ["line_item_net_unblended_cost", "leave --net out"]),
        (&["cur", "--from", "2026-11-02", "--to", "2026-11-01"], ["--from is after --to", "name the first day"]),
        (&["cur", "--from", "monday"], ["write a day like", "--from"]),
        (&["cur", "--lake", "nothing"], ["open lake", "nothing"]),
        (&["cur", "--from", "2026-11-07", "--derive-rates", "rates.toml"], ["no rate can be told", ""]),
    ] {
        let error = world.error(&[&["reconcile"], arguments].concat());
        assert!(words.iter().all(|word| error.contains(word)), "{arguments:?}: {error}");
    }
    assert!(!world.path("rates.toml").exists());
    world.rewrite(|text| text.replacen("0.0038500000", "free", 1));
    let error = world.error(&["reconcile", "cur"]);
    assert!(error.contains("line 1: line_item_unblended_cost is 'free'"), "{error}");
}
