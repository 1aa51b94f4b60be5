//! Tests of bounded inflating: members, padding, lies, damage, bombs.

use std::io::{Cursor, Read, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Text that compresses like a log.
fn text(lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|line| format!("{{\"requestId\":\"{line:08x}\",\"tokens\":{}}}\n", line * 7919 % 1000).into_bytes()).collect()
}

fn inflate(compressed: &[u8]) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    inflate_bounded(compressed, &InflateLimits::default(), &mut out).map(|()| out)
}

fn stream(compressed: &[u8]) -> Result<Vec<u8>, GzipFault> {
    let mut out = Vec::new();
    match GzipReader::new(compressed).read_to_end(&mut out) {
        Ok(_) => Ok(out),
        Err(error) => Err(GzipFault::of(&error).unwrap()),
    }
}

#[test]
fn one_member_and_many() {
    let (a, b) = (text(1000), text(3));
    assert_eq!(inflate(&gzip(&a)).unwrap(), a);
    let members = [gzip(&a), gzip(&b), gzip(b""), gzip(&b), gzip(&b)].concat();
    let content = [&a[..], &b, &b, &b].concat();
    assert_eq!(inflate(&members).unwrap(), content);
    assert_eq!(stream(&members).unwrap(), content);
}

#[test]
fn padding_is_no_damage_and_garbage_is() {
    let padded = [gzip(b"one"), vec![0; 700], gzip(b"two"), vec![0; 9]].concat();
    assert_eq!(inflate(&padded).unwrap(), b"onetwo");
    assert_eq!(stream(&padded).unwrap(), b"onetwo");
    let garbage = [gzip(b"one"), b"something else".to_vec()].concat();
    assert_eq!(inflate(&garbage), Err(InflateError::Corrupt));
    assert_eq!(stream(&garbage), Err(GzipFault::Invalid));
    assert_eq!(inflate(b""), Err(InflateError::Corrupt));
    assert_eq!(stream(b""), Err(GzipFault::Truncated));
}

#[test]
fn headers_with_every_optional_field() {
    let builder = flate2::GzBuilder::new().filename("a.json").comment("by hand").extra(vec![1; 300]).mtime(7);
    let mut encoder = builder.write(Vec::new(), Compression::best());
    encoder.write_all(b"content").unwrap();
    let compressed = encoder.finish().unwrap();
    assert_eq!(inflate(&compressed).unwrap(), b"content");
    assert_eq!(stream(&compressed).unwrap(), b"content");
}

#[test]
fn the_stated_size_is_only_a_hint() {
    let content = text(5000);
    let honest = gzip(&content);
    for stated in [0_u32, 1, u32::MAX] {
        let mut lying = honest.clone();
        let at = lying.len() - 4;
        lying[at..].copy_from_slice(&stated.to_le_bytes());
        assert_eq!(inflate(&lying), Err(InflateError::Corrupt));
        assert_eq!(stream(&lying), Err(GzipFault::Checksum));
        // In front of an honest member the lie only misguides the first buffer of nobody.
        let both = [lying, honest.clone()].concat();
        assert_eq!(inflate(&both), Err(InflateError::Corrupt));
        assert_eq!(survey(&both[..]).unwrap(), Survey { trusted: 0, fault: Some(GzipFault::Checksum) });
    }
}

#[test]
fn limits_hold() {
    let zeros = gzip(&vec![b'0'; 3 << 20]);
    let refused = |limits: InflateLimits| {
        let mut out = vec![1];
        let error = inflate_bounded(&zeros, &limits, &mut out).unwrap_err();
        assert!(out.is_empty());
        assert_eq!(error.class(), ErrorClass::Rejected);
        assert_eq!(error, InflateError::TooLarge { limits });
        error.reason().code()
    };
    assert_eq!(refused(InflateLimits::default()), "gzip_bomb");
    assert_eq!(refused(InflateLimits { max_bytes: (3 << 20) - 1, max_ratio: usize::MAX }), "gzip_bomb");
    let mut out = Vec::new();
    inflate_bounded(&zeros, &InflateLimits { max_bytes: 3 << 20, max_ratio: usize::MAX }, &mut out).unwrap();
    assert_eq!(out.len(), 3 << 20);
    // Many members cannot do together what one must not.
    let many = gzip(&text(20_000)).repeat(6);
    let limits = InflateLimits { max_bytes: 3 << 20, max_ratio: 200 };
    assert_eq!(inflate_bounded(&many, &limits, &mut out), Err(InflateError::TooLarge { limits }));
}

#[test]
fn a_short_text_of_one_letter_is_no_bomb() {
    let content = vec![b' '; 1 << 20];
    assert_eq!(inflate(&gzip(&content)).unwrap(), content);
}

#[test]
fn cut_anywhere_it_is_refused_and_its_beginning_is_given() {
    let content = text(40);
    let whole = gzip(&content);
    for end in 0..whole.len() {
        assert_eq!(inflate(&whole[..end]), Err(InflateError::Corrupt), "cut at {end}");
        let found = survey(&whole[..end]).unwrap();
        assert_eq!(found.fault, Some(GzipFault::Truncated), "cut at {end}");
        let mut kept = Vec::new();
        GzipReader::new(&whole[..end]).take(found.trusted).read_to_end(&mut kept).unwrap();
        assert_eq!(kept.len() as u64, found.trusted);
        assert!(content.starts_with(&kept), "cut at {end}");
    }
}

#[test]
fn a_changed_byte_never_passes_for_content() {
    let content = text(40);
    let whole = [gzip(&content), gzip(b"second")].concat();
    let all = [&content[..], b"second"].concat();
    let first = gzip(&content).len();
    for at in 0..whole.len() {
        for flip in [1_u8, 0x20, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            // Time, system and level in the header mean nothing.
            if let Ok(out) = inflate(&damaged) {
                assert_eq!(out, all, "flip {flip:#x} at {at}");
            }
            let found = survey(&damaged[..]).unwrap();
            if found.fault == Some(GzipFault::Checksum) {
                let expected = if at < first { 0 } else { content.len() as u64 };
                assert_eq!(found.trusted, expected, "flip {flip:#x} at {at}");
            }
        }
    }
}

#[test]
fn a_fault_stays() {
    let mut reader = GzipReader::new(&b"no gzip at all, but long enough for a header"[..]);
    for _ in 0..3 {
        let error = reader.read(&mut [0; 16]).unwrap_err();
        assert_eq!(GzipFault::of(&error), Some(GzipFault::Invalid));
    }
}

#[test]
fn errors_of_the_system_are_no_faults_of_the_stream() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from(std::io::ErrorKind::PermissionDenied))
        }
    }
    let start = gzip(&text(40));
    let chained = Cursor::new(&start[..60]).chain(Broken);
    let error = survey(std::io::BufReader::new(chained)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn a_bomb_is_told_from_a_big_file() {
    let bomb = gzip(&vec![b'0'; 1 << 20]).repeat(66);
    assert!(begins_as_bomb(&bomb[..]).unwrap());
    assert_eq!(survey(&bomb[..]).unwrap(), Survey { trusted: 0, fault: Some(GzipFault::Bomb) });
    assert!(!begins_as_bomb(&gzip(&text(30_000))[..]).unwrap());
    // A long calm stretch at the start of an honest file is no bomb either.
    let calm = [gzip(&vec![b' '; 2 << 20]), gzip(&text(30_000))].concat();
    assert!(!begins_as_bomb(&calm[..]).unwrap());
    assert_eq!(survey(&calm[..]).unwrap(), Survey { trusted: (2 << 20) + text(30_000).len() as u64, fault: None });
}

proptest! {
    #[test]
    fn any_members_in_any_portions(
        members in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), 0_usize..20), 1..6),
        portion in 1_usize..40,
    ) {
        let content: Vec<u8> = members.iter().flat_map(|(content, _)| content.clone()).collect();
        let compressed: Vec<u8> = members.iter().flat_map(|(content, zeros)| [gzip(content), vec![0; *zeros]].concat()).collect();
        prop_assert_eq!(&inflate(&compressed).unwrap(), &content);
        let mut reader = GzipReader::new(std::io::BufReader::with_capacity(portion, &compressed[..]));
        let (mut out, mut window) = (Vec::new(), vec![0; portion]);
        loop {
            let read = reader.read(&mut window).unwrap();
            if read == 0 {
                break;
            }
            out.extend_from_slice(&window[..read]);
        }
        prop_assert_eq!(out, content);
        prop_assert_eq!(reader.consumed(), compressed.len() as u64);
        prop_assert_eq!(reader.verified(), reader.produced());
    }

    #[test]
    fn any_bytes_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
        if magic && bytes.len() > 3 {
            bytes[..3].copy_from_slice(&MAGIC);
        }
        let fast = inflate(&bytes);
        let slow = stream(&bytes);
        prop_assert_eq!(fast.is_ok(), slow.is_ok());
        survey(&bytes[..]).unwrap();
    }
}
