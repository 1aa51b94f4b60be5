//! Tests of finding where records end.

use proptest::prelude::*;

use super::*;

#[test]
fn shapes() {
    assert_eq!(shape(b" {\"a\": [1, {}]} \n"), Shape::One);
    assert_eq!(shape(b""), Shape::Prefix);
    assert_eq!(shape(b"{\n  \"a\": [1,"), Shape::Prefix);
    assert_eq!(shape(b"{\"a\":\"torn\n{\"b\":1}\n"), Shape::Other);
    assert_eq!(shape(b"{}{}"), Shape::Other);
    assert_eq!(shape(b"Permissions are correctly set"), Shape::Other);
}

#[test]
fn frames() {
    let cases: [(&[u8], Frame); 9] = [
        (b"{\n \"Records\": [\n  {}\n ]\n}\n", Frame::Document),
        (b"[\n{\"a\":1},\n{\"a\":2}\n]", Frame::Document),
        (b"{\n \"Records\": [\n  {},", Frame::Unfinished),
        (b"{\"a\":", Frame::Unfinished),
        (b"{\"Records\":[{}]}", Frame::Lines),
        (b"{\"a\":1}\n{\"a\":2}\n", Frame::Lines),
        (b"{\"a\":1\n{\"a\":2}\n", Frame::Lines),
        (b"{\"a\":\"torn\n{\"a\":2}\n", Frame::Lines),
        (b" \n", Frame::Lines),
    ];
    for (bytes, expected) in cases {
        assert_eq!(frame(bytes), expected, "{}", String::from_utf8_lossy(bytes));
    }
    let long_line = [b"{\"a\":\"", &vec![b'x'; MAX_LINE][..], b"\"}"].concat();
    assert_eq!(frame(&long_line), Frame::Document, "too long for a line, but a whole value");
}

#[test]
fn the_complete_part_of_a_last_line() {
    assert_eq!(complete_part(b"{\"a\":1}"), 7);
    assert_eq!(complete_part(b"{\"a\":1"), 0);
    assert_eq!(complete_part(b"{\"a\":1}{\"a\":2}"), 14);
    assert_eq!(complete_part(b"{\"a\":1}{\"a\":"), 7);
    assert_eq!(complete_part(b"{\"a\":1}x"), 0);
    assert_eq!(complete_part(b"{\"a\":\"}{\"}{\"b\":1} {\"c\":1}{\""), 25);
    assert_eq!(complete_part(b"{\"a\":1}{\"b\":1}garbage}{"), 7);
    // Text within a torn record cannot pose as a record: its quotes are escaped.
    assert_eq!(complete_part(br#"{"a":"torn{"b":"}{\"requestId\":\"x\"}{"}"#), 0);
    assert_eq!(complete_part(b"12"), 0, "a number may go on");
    assert_eq!(complete_part(b""), 0);
    assert_eq!(complete_len(b"x\n{\"a\":1}"), 9);
    assert_eq!(complete_len(b"x\n{\"a\":"), 2);
}

/// A reader of few bytes at a time.
struct Drops<'a>(&'a [u8], usize);

impl Read for Drops<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.0.len().min(self.1).min(buffer.len());
        buffer[..size].copy_from_slice(&self.0[..size]);
        self.0 = &self.0[size..];
        Ok(size)
    }
}

fn cuts(bytes: &[u8], drop: usize, piece: usize, max_line: usize) -> Vec<Cut> {
    let (mut cutter, mut reader, mut cuts) = (Cutter::new(piece, max_line), Drops(bytes, drop), Vec::new());
    loop {
        cuts.push(cutter.next(&mut reader).unwrap());
        if matches!(cuts.last(), Some(Cut::Rest(_) | Cut::Oversize { terminated: false, .. })) {
            return cuts;
        }
    }
}

#[test]
fn cuts_at_newlines_and_between_values() {
    let lines = |bytes: &[u8]| Cut::Lines(bytes.to_vec());
    assert_eq!(cuts(b"aa\nbb\ncc\nd", 3, 6, 8), [lines(b"aa\nbb\n"), lines(b"cc\n"), Cut::Rest(b"d".to_vec())]);
    let values = b"{\"a\":1}{\"a\":2}{\"a\":3}{\"a\":4}";
    assert_eq!(cuts(values, 100, 17, 20), [lines(b"{\"a\":1}{\"a\":2}"), Cut::Rest(b"{\"a\":3}{\"a\":4}".to_vec())]);
    assert_eq!(cuts(b"", 1, 4, 8), [Cut::Rest(Vec::new())]);
}

#[test]
fn over_long_lines_are_skipped_in_constant_memory() {
    let long = vec![b'x'; 50];
    let bytes = [b"a\n", &long[..], b"\nb\n"].concat();
    let oversize = |bytes, terminated| Cut::Oversize { head: vec![b'x'; 9], bytes, terminated };
    assert_eq!(cuts(&bytes, 5, 4, 8), [Cut::Lines(b"a\n".to_vec()), oversize(51, true), Cut::Lines(b"b\n".to_vec()), Cut::Rest(vec![])]);
    assert_eq!(cuts(&long, 5, 4, 8), [oversize(50, false)]);
    let longest = [&long[..8], b"\n"].concat();
    assert_eq!(cuts(&longest, 5, 4, 8), [Cut::Lines(longest.clone()), Cut::Rest(vec![])]);
}

#[test]
fn what_was_read_before_an_error_is_not_lost() {
    struct Fails(Vec<u8>);
    impl Read for Fails {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::Error::other("gone"));
            }
            let size = self.0.len().min(buffer.len());
            buffer[..size].copy_from_slice(&self.0[..size]);
            self.0.drain(..size);
            Ok(size)
        }
    }
    let mut cutter = Cutter::default();
    cutter.next(&mut Fails(b"{\"a\":1}\n{\"a\":2}\n{\"a\":3".to_vec())).unwrap_err();
    assert_eq!(cutter.salvage(), b"{\"a\":1}\n{\"a\":2}\n");
}

fn stretch() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "\\{\"a\":\"[a-z{}]{0,12}\"\\}\n",
        2 => "\\{\"a\":[0-9]{1,5}\\}",
        1 => "[a-z{}\"]{0,30}\n",
        1 => "[ \n]{0,2}",
    ]
    .prop_map(String::into_bytes)
}

proptest! {
    #[test]
    fn cuts_lose_nothing_and_end_at_records(
        stretches in prop::collection::vec(stretch(), 0..40),
        drop in 1_usize..50,
        piece in 8_usize..40,
    ) {
        let bytes = stretches.concat();
        let (max_line, mut at) = (piece * 2, 0);
        for cut in cuts(&bytes, drop, piece, max_line) {
            let length = match cut {
                Cut::Lines(lines) => {
                    prop_assert!(bytes[at..].starts_with(&lines) && !lines.is_empty());
                    let ends = lines.ends_with(b"\n") || last_object_end(&lines) == lines.len();
                    prop_assert!(ends);
                    lines.len()
                }
                Cut::Rest(rest) => {
                    prop_assert_eq!(&rest, &bytes[at..]);
                    rest.len()
                }
                Cut::Oversize { bytes, .. } => {
                    prop_assert!(bytes > max_line as u64);
                    bytes as usize
                }
            };
            at += length;
        }
        prop_assert_eq!(at, bytes.len());
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_record() {
    let mark = "\u{feff}";
    assert_eq!(frame(format!("{mark}{{\"a\":1}}\n{{\"a\":2}}\n").as_bytes()), Frame::Lines);
    assert_eq!(frame(format!("{mark}{{\n\"a\":1\n}}\n").as_bytes()), Frame::Document);
    assert_eq!(frame(format!("{mark}{{\n\"a\":").as_bytes()), Frame::Unfinished);
    assert_eq!(frame(mark.as_bytes()), Frame::Lines);
    assert_eq!(complete_len(format!("{mark}{{}}{{}}").as_bytes()), 7);
    assert_eq!(complete_len(format!("{mark}{{}}{{").as_bytes()), 5);
}

#[test]
fn what_is_longer_than_a_record_can_be_is_kept_by_its_beginning_and_its_hash() {
    let (raw, whole) = kept(&[b'x'; RAW_WHOLE]);
    assert_eq!((raw.len(), whole), (RAW_WHOLE, None));
    let (raw, whole) = kept(&[b'x'; RAW_WHOLE + 1]);
    let whole = whole.unwrap();
    assert_eq!((raw.len(), whole.bytes, whole.sha256.len()), (RAW_HEAD, RAW_WHOLE as u64 + 1, 64));
}
