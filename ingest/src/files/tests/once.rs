//! One pass: which files, in which form, and what becomes of the broken ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use sluice_schemas::ErrorClass;

use super::{Folder, Run, gz, lines, now, read_once, read_some, record};
use crate::files::{FolderSource, Mode};
use crate::source::{Payload, Poll, Source, SourceError};

#[test]
fn buckets_as_bedrock_and_cloudtrail_lay_them_out() {
    let folder = Folder::new();
    let hour = "logs/AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2024/01/01/00";
    folder.write(&format!("{hour}/20240101T000000000Z_a.json.gz"), gz(lines([1, 2]).as_bytes()));
    folder.write(&format!("{hour}/20240101T000000000Z_b.json.gz"), gz(lines([3]).as_bytes()));
    folder.write(&format!("{hour}/data/00000000-0000-4000-8000-000000000009_input.json.gz"), gz(record(9).as_bytes()));
    folder.write(&format!("{hour}/data/x/deeper.json"), record(9));
    folder.write(
        "logs/AWSLogs/111122223333/BedrockModelInvocationLogs/amazon-bedrock-logs-permission-check",
        "Permissions are correctly set for Amazon Bedrock logs.",
    );
    let event = r#"{"Records":[{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","accountId":"111122223333"},"eventTime":"2024-01-01T00:00:00Z","eventSource":"bedrock.amazonaws.com","eventName":"Converse","awsRegion":"us-east-1","requestID":"00000000-0000-4000-8000-000000000001","eventID":"11111111-0000-4000-8000-000000000001","eventType":"AwsApiCall","recipientAccountId":"111122223333"}]}"#;
    for trail in ["CloudTrail", "CloudTrail-Digest", "CloudTrail-Insight", "CloudTrail-NetworkActivity", "CloudTrail-Aggregated"] {
        folder.write(&format!("AWSLogs/o-abc123/111122223333/{trail}/us-east-1/2024/01/01/t.json.gz"), gz(event.as_bytes()));
    }
    let run = folder.read();
    assert_eq!(run.ids, [1, 2, 3]);
    assert_eq!(run.trail, ["11111111-0000-4000-8000-000000000001"]);
    assert_eq!((run.control, run.rejected), (1, vec![]));
}

#[test]
fn names_that_are_no_logs_are_passed_over() {
    let folder = Folder::new();
    for (id, name) in (1..).zip(["a.json", "b.jsonl", "c.ndjson", "d.log", "e.log.1", "f", "g.txt", "h.log-20240101", "i.json.gz"]) {
        folder.write(name, lines([id]));
    }
    for name in [".hidden", "_SUCCESS", "a.tmp", "b.parquet", "c.MD", "d.pdf", "e.png", ".git/f.json", "_delta_log/0.json", "g.json~"] {
        folder.write(name, lines([99]));
    }
    folder.write("empty.json", "");
    let run = folder.read();
    assert_eq!((run.ids, run.rejected), (vec![1, 2, 3, 4, 5, 6, 7, 8, 9], vec![]));
    assert_eq!(read_once(&folder.at("_SUCCESS"), &BTreeMap::new()).ids, [99], "asked for by its own path");
}

#[test]
fn every_kind_of_thing_below_a_folder() {
    let folder = Folder::new();
    folder.write("really/a.json", lines([1]));
    folder.write("folder.json/b.json", lines([2]));
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(folder.path(), folder.at("really/loop")).unwrap();
        symlink(folder.at("really"), folder.at("again")).unwrap();
        symlink(folder.at("really/a.json"), folder.at("link.json")).unwrap();
        symlink(folder.at("nowhere"), folder.at("dangling.json")).unwrap();
        let outside = Folder::new();
        outside.write("c.json", lines([3]));
        symlink(outside.path(), folder.at("outside")).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(folder.at("socket.json")).unwrap();
        let run = folder.read();
        assert_eq!((run.sorted(), run.rejected), (vec![1, 2, 3], vec![]));
    }
}

#[test]
fn roots_that_overlap_give_each_file_once() {
    let folder = Folder::new();
    folder.write("a/x.json", lines([1]));
    folder.write("b/x.json", lines([2]));
    let paths: Vec<PathBuf> = [folder.at("b"), folder.path(), folder.at("a/x.json"), folder.at("a/../a")].into();
    let run = read_some(&paths, &BTreeMap::new(), usize::MAX);
    assert_eq!(run.ids, [1, 2]);
    assert_eq!(run.positions.keys().collect::<Vec<_>>(), [&folder.shard("a/x.json"), &folder.shard("b/x.json")]);
}

#[test]
fn paths_that_cannot_be_read_from() {
    let open = |paths: &[PathBuf]| FolderSource::open(paths, &BTreeMap::new(), Mode::Once).unwrap_err();
    assert!(matches!(open(&[]), SourceError::NoPath));
    let error = open(&[PathBuf::from("/no/such/folder")]);
    assert!(matches!(error, SourceError::Open { .. }));
    assert_eq!(error.class(), ErrorClass::Misconfigured);
    #[cfg(unix)]
    assert!(matches!(open(&[PathBuf::from("/dev/null")]), SourceError::NotAFile { .. }));
}

#[test]
fn lines_documents_and_what_is_in_between() {
    let pretty = format!("{{\n  \"Records\": [\n    {}\n  ]\n}}\n", record(1));
    let array = format!("[\n{},\n{}\n]", record(2), record(3));
    let torn = format!("{}\n{}", &record(4)[300..], lines([5, 6]));
    let open = format!("{}\n{}", &record(7)[..200], lines([8]));
    let blank = format!("\n\r\n{}\r\n{}", record(9), record(10));
    for (content, ids, rejected) in [
        (pretty, vec![1], 0),
        (array, vec![2, 3], 0),
        (torn, vec![5, 6], 1),
        (open, vec![8], 1),
        (blank, vec![9, 10], 0),
        (String::new(), vec![], 0),
        ("\n\n \n".to_owned(), vec![], 0),
    ] {
        let folder = Folder::new();
        folder.write("plain.json", &content);
        folder.write("z.json.gz", gz(content.as_bytes()));
        let run = folder.read();
        assert_eq!(run.ids, [ids.clone(), ids].concat(), "{content}");
        assert_eq!(run.rejected.len(), 2 * rejected, "{content}: {:?}", run.rejected);
    }
}

#[test]
fn envelopes_back_to_back_as_firehose_stores_them() {
    let envelope = |id: u32| {
        let message = record(id).replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            "{{\"messageType\":\"DATA_MESSAGE\",\"owner\":\"111122223333\",\"logGroup\":\"g\",\"logStream\":\"s\",\"subscriptionFilters\":[\"f\"],\
             \"logEvents\":[{{\"id\":\"3\",\"timestamp\":1704067200000,\"message\":\"{message}\"}}]}}"
        )
    };
    let control = "{\"messageType\":\"CONTROL_MESSAGE\",\"owner\":\"CloudwatchLogs\",\"logGroup\":\"\",\"logStream\":\"\",\"subscriptionFilters\":[],\"logEvents\":[{\"id\":\"\",\"timestamp\":1704067200000,\"message\":\"CWL CONTROL MESSAGE: Checking health of destination Firehose.\"}]}";
    let together = [control.to_owned(), envelope(1), envelope(2), envelope(3)].concat();
    let folder = Folder::new();
    folder.write("a-plain", &together);
    folder.write("b-gz", gz(together.as_bytes()));
    folder.write("c-members", [gz(envelope(1).as_bytes()), gz(control.as_bytes()), gz(envelope(2).as_bytes())].concat());
    let run = folder.read();
    assert_eq!(run.ids, [1, 2, 3, 1, 2, 3, 1, 2]);
    assert_eq!((run.control, run.rejected), (3, vec![]));
}

#[test]
fn a_file_of_values_without_any_newline_is_cut_between_them() {
    let folder = Folder::new();
    let content: String = (0..33_000).map(record).collect();
    assert!(content.len() > 16 << 20);
    folder.write("firehose", &content);
    let run = folder.read();
    assert_eq!(run.ids, (0..33_000).collect::<Vec<_>>());
    assert!(run.rejected.is_empty() && run.pieces >= 4);
}

#[test]
fn a_line_longer_than_any_record_costs_that_line_only() {
    let folder = Folder::new();
    let long = format!("{{\"requestId\":\"{}\"}}\n", "x".repeat(17 << 20));
    folder.write("a.jsonl", [lines([1]), long.clone(), lines([2])].concat());
    folder.write("b.jsonl.gz", gz([lines([3]), long.clone(), lines([4])].concat().as_bytes()));
    folder.write("c.jsonl", [lines([5]), long.trim_end().to_owned()].concat());
    let run = folder.read();
    assert_eq!((run.ids.clone(), run.reasons()), (vec![1, 2, 3, 4, 5], vec!["too_long"; 3]));
    assert!(run.rejected.iter().all(|(_, offset, _)| *offset == lines([1]).len() as u64));
    let again = read_once(&folder.path(), &run.positions);
    assert_eq!((again.ids.len(), again.rejected.len(), again.pieces), (0, 0, 0));
}

#[test]
fn a_document_of_one_long_line_is_read_whole() {
    let folder = Folder::new();
    let records: Vec<String> = (0..33_000).map(record).collect();
    let content = format!("[{}]", records.join(","));
    folder.write("a.json", &content);
    folder.write("b.json.gz", gz(content.as_bytes()));
    let run = folder.read();
    assert_eq!((run.ids.len(), run.rejected), (66_000, vec![]));
}

#[test]
fn other_compressions_are_named() {
    let folder = Folder::new();
    folder.write("a.zst", b"\x28\xb5\x2f\xfd and so on");
    folder.write("b.json", lines([1]));
    let mut source = FolderSource::open(&[folder.path()], &BTreeMap::new(), Mode::Once).unwrap();
    let Poll::Piece(piece) = source.poll(Duration::ZERO, now()).unwrap() else { panic!("no piece") };
    assert_eq!(piece.payload, Payload::Unreadable("compressed with zstd, which is not supported".to_owned()));
    assert_eq!(folder.read().ids, [1]);
}

#[test]
fn a_file_that_vanishes_is_reported_and_tried_again() {
    let folder = Folder::new();
    for (id, name) in (1..).zip(["a", "b", "c"]) {
        folder.write(name, lines([id]));
    }
    let mut source = FolderSource::open(&[folder.path()], &BTreeMap::new(), Mode::Once).unwrap();
    fs::remove_file(folder.at("b")).unwrap();
    let mut run = Run::default();
    while let Poll::Piece(piece) = source.poll(Duration::ZERO, now()).unwrap() {
        run.take(piece);
    }
    assert_eq!((run.ids.clone(), run.reasons()), (vec![1, 3], vec!["unreadable"]));
    assert!(!run.positions[&folder.shard("b")].ended);
    folder.write("b", lines([2]));
    let again = read_once(&folder.path(), &run.positions);
    assert_eq!((again.ids, again.rejected), (vec![2], vec![]));
}

#[test]
fn progress_tells_stored_bytes() {
    let folder = Folder::new();
    folder.write("a.json", lines(0..100));
    folder.write("b.json.gz", gz(lines(0..100).as_bytes()));
    let stored = fs::metadata(folder.at("a.json")).unwrap().len() + fs::metadata(folder.at("b.json.gz")).unwrap().len();
    let mut source = FolderSource::open(&[folder.path()], &BTreeMap::new(), Mode::Once).unwrap();
    let before = source.progress();
    assert_eq!((before.files_total, before.files_done, before.bytes_total, before.bytes_done), (2, 0, stored, 0));
    let mut taken = 0;
    while let Poll::Piece(piece) = source.poll(Duration::ZERO, now()).unwrap() {
        taken += piece.source_bytes;
    }
    assert_eq!(taken, stored);
    let after = source.progress();
    assert_eq!((after.files_done, after.bytes_done, after.bytes_resumed, after.current), (2, stored, 0, None));
}

#[test]
fn a_tree_of_many_files() {
    let folder = Folder::new();
    for number in 0..20_000_u32 {
        let name = format!("{:02}/{:02}/{number}.json", number % 100, number / 100 % 10);
        if number < 1000 {
            folder.write(&name, lines([number]));
        } else {
            fs::File::create(folder.at(&name)).unwrap();
        }
    }
    let run = folder.read();
    assert_eq!(run.sorted(), (0..1000).collect::<Vec<_>>());
}

#[cfg(unix)]
#[test]
fn what_is_no_file_any_more_is_reported() {
    let folder = Folder::new();
    folder.write("a.json", lines([1]));
    folder.write("b.json", lines([2]));
    let mut source = FolderSource::open(&[folder.path()], &BTreeMap::new(), Mode::Once).unwrap();
    fs::remove_file(folder.at("a.json")).unwrap();
    fs::create_dir(folder.at("a.json")).unwrap();
    let mut run = Run::default();
    while let Poll::Piece(piece) = source.poll(Duration::ZERO, now()).unwrap() {
        run.take(piece);
    }
    assert_eq!((run.ids, run.rejected), (vec![2], vec![(folder.shard("a.json"), 0, "unreadable")]));
}
