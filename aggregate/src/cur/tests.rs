//! Reports in every form they come in give the same sums; what is no report says so.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Decimal128Array, DictionaryArray, Float64Array, MapBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMillisecondArray,
};
use datafusion::arrow::datatypes::{Field, Int32Type, Schema};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use sluice_schemas::time::parse_day;

use super::{CurError, CurReport, DaySpan, list, read};

const HEADER: &str = "line_item_usage_start_date,line_item_line_item_type,line_item_usage_account_id,line_item_iam_principal,line_item_usage_type,\
                      product_servicecode,pricing_unit,line_item_line_item_description,line_item_usage_amount,line_item_unblended_cost,product,tags";
const ALPHA: &str = "arn:aws:sts::111122223333:assumed-role/Alpha/one";
const TAGS: &str = r#"{""iamPrincipal/team"":""checkout"",""resourceTags/x"":""y""}"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path
    }
}

fn report(path: &Path) -> Result<CurReport, CurError> {
    read(&list(path)?, DaySpan::default(), |_| ())
}

fn line(start: &str, kind: &str, usage_type: &str, amount: &str, cost: &str) -> String {
    let description = "\"per 1K tokens, in\nus-east-1\"";
    format!("{start},{kind},111122223333,{ALPHA},{usage_type},AmazonBedrock,1K tokens,{description},{amount},{cost},\"{{}}\",\"{TAGS}\"")
}

/// Two hours of a day, a discount, a tax, and a line of another service.
fn csv() -> String {
    let lines = [
        HEADER.to_owned(),
        line("2026-11-01T00:00:00.000Z", "Usage", "USE1-NovaPro-input-tokens", "23.1000000000", "0.0184800000"),
        line("2026-11-01T01:00:00.000Z", "Usage", "USE1-NovaPro-input-tokens", "0.9000000000", "0.0007200000"),
        line("2026-11-01T01:00:00.000Z", "EdpDiscount", "USE1-NovaPro-input-tokens", "0.0000000000", "-0.0001000000"),
        line("2026-11-01T00:00:00.000Z", "Tax", "", "1.0000000000", "0.3000000000"),
        "2026-11-03T07:00:00.000Z,Usage,111122223333,,USE1-BoxUsage,AmazonEC2,Hrs,,1.0,0.01,{},{}".to_owned(),
    ];
    lines.join("\n") + "\n"
}

fn sums(report: &CurReport) -> Vec<(String, u64, i128, String)> {
    report.groups.iter().map(|group| (group.line_type.clone(), group.lines, group.quantity, group.cost.to_string())).collect()
}

#[test]
fn lines_of_a_day_are_one_sum() {
    let folder = Folder::new();
    let found = report(&folder.write("cur.csv", csv().as_bytes())).expect("a report");
    let expected = [
        ("Tax", 1, 1_000_000_000_000, "0.300000000000"),
        ("Usage", 2, 24_000_000_000_000, "0.019200000000"),
        ("EdpDiscount", 1, 0, "-0.000100000000"),
    ];
    assert_eq!(sums(&found), expected.map(|(kind, lines, quantity, cost)| (kind.to_owned(), lines, quantity, cost.to_owned())));
    assert_eq!((found.rows, found.bedrock_rows, found.cost_digits, found.quantity_digits), (5, 4, 10, 10));
    assert_eq!(found.days, parse_day("2026-11-01").zip(parse_day("2026-11-03")));
    assert_eq!(found.newest.map(|newest| newest.to_string()).as_deref(), Some("2026-11-03T07:00:00Z"));
    assert_eq!(found.tags[ALPHA].iter().collect::<Vec<_>>(), [(&"team".to_owned(), &"checkout".to_owned())]);
    assert!(!found.has_net);
}

#[test]
fn compressed_or_of_the_older_generation_it_is_the_same() {
    let folder = Folder::new();
    let plain = report(&folder.write("cur.csv", csv().as_bytes())).expect("a report");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(csv().as_bytes()).expect("memory");
    // A second member, as concatenated files have it.
    let mut bytes = gzip.finish().expect("memory");
    bytes.extend(GzEncoder::new(Vec::new(), Compression::fast()).finish().expect("memory"));
    assert_eq!(report(&folder.write("cur.csv.gz", &bytes)).expect("a report"), plain);
    let older = "\u{feff}lineItem/UsageStartDate,lineItem/LineItemType,lineItem/UsageAccountId,line_item_iam_principal,lineItem/UsageType,\
                 product/servicecode,pricing/unit,lineItem/LineItemDescription,lineItem/UsageAmount,lineItem/UnblendedCost,product,tags";
    assert_eq!(report(&folder.write("old.csv", csv().replace(HEADER, older).as_bytes())).expect("a report"), plain);
}

fn texts(values: [&str; 5]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn map(of: [&[(&str, &str)]; 5]) -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for pairs in of {
        for (key, value) in pairs {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
        builder.append(true).expect("as many keys as values");
    }
    Arc::new(builder.finish())
}

/// The lines of [`csv`], with the columns that differ between writers given.
fn parquet(folder: &Folder, name: &str, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
    let dictionary: DictionaryArray<Int32Type> = ["Usage", "Usage", "EdpDiscount", "Tax", "Usage"].into_iter().collect();
    let starts = [0_i64, 3_600_000, 3_600_000, 0, 2 * 86_400_000 + 7 * 3_600_000].map(|after| 1_793_491_200_000 + after);
    let description = "per 1K tokens, in\nus-east-1";
    let mut all: Vec<(&str, ArrayRef)> = vec![
        ("line_item_usage_start_date", Arc::new(TimestampMillisecondArray::from(starts.to_vec()))),
        ("line_item_line_item_type", Arc::new(dictionary)),
        ("line_item_usage_account_id", texts(["111122223333"; 5])),
        ("line_item_iam_principal", texts([ALPHA, ALPHA, ALPHA, ALPHA, ""])),
        ("pricing_unit", texts(["1K tokens", "1K tokens", "1K tokens", "1K tokens", "Hrs"])),
        ("line_item_line_item_description", texts([description, description, description, description, ""])),
    ];
    let usage_type = "USE1-NovaPro-input-tokens";
    all.push(("line_item_usage_type", texts([usage_type, usage_type, usage_type, "", "USE1-BoxUsage"])));
    all.extend(columns);
    let fields: Vec<Field> = all.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let columns = all.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch");
    let path = folder.0.path().join(name);
    let mut writer = ArrowWriter::try_new(std::fs::File::create(&path).expect("a file"), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
    path
}

fn services() -> (&'static str, ArrayRef) {
    ("product_servicecode", texts(["AmazonBedrock", "AmazonBedrock", "AmazonBedrock", "AmazonBedrock", "AmazonEC2"]))
}

#[test]
fn parquet_of_floats_and_maps_is_the_same() {
    let folder = Folder::new();
    let plain = report(&folder.write("cur.csv", csv().as_bytes())).expect("a report");
    let tags: &[(&str, &str)] = &[("iamPrincipal/team", "checkout"), ("resourceTags/x", "y")];
    let columns = vec![
        services(),
        ("line_item_usage_amount", Arc::new(Float64Array::from(vec![23.1, 0.9, 0.0, 1.0, 1.0])) as ArrayRef),
        ("line_item_unblended_cost", Arc::new(Float64Array::from(vec![0.018_48, 0.000_72, -0.000_1, 0.3, 0.01])) as ArrayRef),
        ("tags", map([tags, tags, tags, tags, &[]])),
    ];
    let found = report(&parquet(&folder, "floats.parquet", columns)).expect("a report");
    assert_eq!((&found.groups, &found.tags, found.days, found.newest), (&plain.groups, &plain.tags, plain.days, plain.newest));
    // The digits of floats are those of their shortest text.
    assert_eq!((found.cost_digits, found.quantity_digits), (5, 1));
}

#[test]
fn parquet_of_decimals_and_json_is_the_same() {
    let folder = Folder::new();
    let plain = report(&folder.write("cur.csv", csv().as_bytes())).expect("a report");
    let decimal = |values: [i128; 5]| -> ArrayRef {
        Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(38, 16).expect("a decimal"))
    };
    let unit = 1_000_000_000_000;
    let tags = TAGS.replace("\"\"", "\"");
    let market: &[(&str, &str)] = &[("product_name", "Claude Haiku 4.5 (Amazon Bedrock Edition)"), ("region_code", "us-east-1")];
    let columns = vec![
        ("line_item_usage_amount", decimal([231_000 * unit, 9_000 * unit, 0, 10_000 * unit, 10_000 * unit])),
        ("line_item_unblended_cost", decimal([184_800_000_000_000, 7_200_000_000_000, -1_000_000_000_000, 3_000 * unit, 100 * unit])),
        ("tags", texts([&tags, &tags, &tags, &tags, "{}"])),
    ];
    let with_services = columns.clone().into_iter().chain([services()]).collect();
    let found = report(&parquet(&folder, "decimals.parquet", with_services)).expect("a report");
    assert_eq!((&found.groups, &found.tags), (&plain.groups, &plain.tags));
    // Without a column of the service, the map of the product tells.
    let with_map = columns.into_iter().chain([("product", map([market, market, market, market, &[("product_name", "EC2")]]))]).collect();
    let found = report(&parquet(&folder, "map.parquet", with_map)).expect("a report");
    assert_eq!(found.bedrock_rows, 4);
    let told = found.groups.iter().all(|group| group.region == "us-east-1" && group.product.starts_with("Claude Haiku 4.5"));
    assert!(told, "{:?}", found.groups);
}

#[test]
fn costs_after_discounts_are_not_discounted_twice() {
    let folder = Folder::new();
    let text = csv().replace(",product,tags\n", ",product,tags,line_item_net_unblended_cost\n");
    let nets = ["0.0162624000", "", "", "", ""];
    let mut lines = nets.iter();
    let text: String = text
        .replace("in\nus-east-1", "in us-east-1")
        .lines()
        .enumerate()
        .map(|(at, line)| if at == 0 { format!("{line}\n") } else { format!("{line},{}\n", lines.next().copied().unwrap_or("")) })
        .collect();
    let found = report(&folder.write("net.csv", text.as_bytes())).expect("a report");
    assert!(found.has_net);
    let nets: Vec<String> = found.groups.iter().map(|group| group.net.to_string()).collect();
    // Usage without a net cost has its own; the discount is in the net cost of usage already.
    assert_eq!(nets, ["0.300000000000", "0.016982400000", "0.000000000000"]);
}

#[test]
fn only_the_days_asked_for_are_summed() {
    let folder = Folder::new();
    let path = folder.write("cur.csv", csv().as_bytes());
    let span = DaySpan { from: parse_day("2026-11-02"), to: None };
    let found = read(&list(&path).expect("a file"), span, |_| ()).expect("a report");
    assert_eq!((found.groups.len(), found.bedrock_rows, found.rows), (0, 0, 5));
    assert_eq!(found.days, parse_day("2026-11-01").zip(parse_day("2026-11-03")));
}

#[test]
fn what_is_no_report_says_what_to_do() {
    let folder = Folder::new();
    let told = |name: &str, text: &[u8]| report(&folder.write(name, text)).expect_err(name).to_string();
    let change = |from: &str, to: &str| csv().replacen(from, to, 1).into_bytes();
    for (name, text, words) in [
        ("words.txt", b"just,some,words\n1,2,3\n".to_vec(), ["no column 'line_item_usage_start_date'", "just, some, words"]),
        ("number.csv", change("0.0184800000", "a lot"), ["line 1: line_item_unblended_cost is 'a lot'", "no amount"]),
        ("empty.csv", change("0.0184800000", ""), ["line 1: line_item_unblended_cost is ''", "no amount"]),
        ("time.csv", change("2026-11-01T01", "2026-11-41T01"), ["line 2: line_item_usage_start_date", "no time in UTC"]),
        ("tags.csv", change(TAGS, "iamPrincipal/team=x"), ["line 1: tags is 'iamPrincipal/team=x'", "no JSON object"]),
        ("short.csv", change(",1K tokens,", ","), ["not a CSV file of a report", "fetch it again"]),
        ("nothing.csv", HEADER.as_bytes().to_vec(), ["has no lines", "wait for the first delivery"]),
        ("cut.parquet", b"PAR1 and no more".to_vec(), ["not a whole Parquet file", "fetch it again"]),
        ("latin.csv", [csv().as_bytes(), b"2026-11-01T00:00:00Z,Usage,\xff,,x,AmazonBedrock,,,1,1,,\n"].concat(), ["line 6", "no UTF-8"]),
    ] {
        let error = told(name, &text);
        assert!(words.iter().all(|word| error.contains(word)), "{name}: {error}");
    }
    let yen = csv().replace("pricing_unit", "line_item_currency_code").replace("1K tokens,\"", "JPY,\"");
    let error = told("yen.csv", yen.as_bytes());
    assert!(error.contains("billed in JPY") && error.contains("export the report in USD"), "{error}");
    let cut = {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(csv().as_bytes()).expect("memory");
        let mut bytes = gzip.finish().expect("memory");
        bytes.truncate(bytes.len() / 2);
        bytes
    };
    assert!(told("cut.csv.gz", &cut).contains("not a CSV file of a report"));
}

#[test]
fn a_column_of_a_wrong_type_is_named() {
    let folder = Folder::new();
    let amounts = Arc::new(Float64Array::from(vec![1.0; 5])) as ArrayRef;
    let columns = vec![services(), ("line_item_usage_amount", amounts), ("line_item_unblended_cost", map([&[]; 5]))];
    let error = report(&parquet(&folder, "map.parquet", columns)).expect_err("a map is no amount").to_string();
    assert!(error.contains("'line_item_unblended_cost'"), "{error}");
}

/// A report of many lines is held as its sums: twenty times the lines take no more memory.
#[test]
fn memory_grows_with_the_sums_and_not_with_the_lines() {
    let folder = Folder::new();
    let peak = |lines: usize| {
        let body: String = (0..lines)
            .map(|at| line(&format!("2026-11-01T{:02}:00:00Z", at % 24), "Usage", "USE1-NovaPro-input-tokens", "1.5", "0.0012") + "\n")
            .collect();
        let path = folder.write(&format!("{lines}.csv"), format!("{HEADER}\n{body}").as_bytes());
        drop(body);
        let mut found = None;
        let spent = allocation_counter::measure(|| found = report(&path).ok());
        let found = found.expect("a report");
        assert_eq!((found.bedrock_rows as usize, found.groups.len()), (lines, 1));
        assert_eq!(found.groups[0].cost.0, 1_200_000_000 * lines as i128);
        spent.bytes_max
    };
    let (few, many) = (peak(2_000), peak(40_000));
    assert!(many < few + few / 4, "{few} bytes for 2,000 lines, {many} for 40,000");
}

fn whole_parquet(folder: &Folder) -> Vec<u8> {
    let tags: &[(&str, &str)] = &[("iamPrincipal/team", "checkout")];
    let columns = vec![
        services(),
        ("line_item_usage_amount", Arc::new(Float64Array::from(vec![23.1, 0.9, 0.0, 1.0, 1.0])) as ArrayRef),
        ("line_item_unblended_cost", Arc::new(Float64Array::from(vec![0.018_48, 0.000_72, -0.000_1, 0.3, 0.01])) as ArrayRef),
        ("tags", map([tags; 5])),
    ];
    std::fs::read(parquet(folder, "whole.parquet", columns)).expect("a file")
}

/// Cut or changed bytes are read or refused, whatever they are.
#[test]
fn damaged_files_are_read_or_refused() {
    let folder = Folder::new();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(csv().as_bytes()).expect("memory");
    for (name, bytes) in
        [("a.csv", csv().into_bytes()), ("a.csv.gz", gzip.finish().expect("memory")), ("a.parquet", whole_parquet(&folder))]
    {
        for at in (0..bytes.len()).step_by(5) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            drop(report(&folder.write(name, &damaged)));
            if at % 7 == 0 {
                drop(report(&folder.write(name, &bytes[..at])));
            }
        }
    }
}
