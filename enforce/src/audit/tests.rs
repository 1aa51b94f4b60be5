//! Whatever is done to a trail, or to its copy in the lake, is found and named by its line.

use proptest::prelude::*;
use sluice_schemas::Micros;

use super::chain::{Head, hash, seal};
use super::{AuditEntry, AuditFault, Comparison, FaultKind, Verifier};

type Trail = Vec<(u64, AuditEntry)>;

fn said(number: u64) -> AuditEntry {
    AuditEntry {
        at: Micros(i64::try_from(number).expect("small") * 1_000),
        fire_id: format!("f{number}"),
        action: "hold".to_owned(),
        target: "agent_id=a".to_owned(),
        state: "done".to_owned(),
        actor: "sluice".to_owned(),
        detail: format!("number {number}"),
        inputs: super::inputs([("spent_usd", number.to_string()), ("limit_usd", "1".to_owned())]),
        policy_version: "p".to_owned(),
        price_version: "list#1".to_owned(),
        requests: vec![format!("r{number}")],
        ..AuditEntry::default()
    }
}

/// A trail whose first `bare` lines are from before there was a chain.
fn trail(bare: u64, length: u64) -> (Trail, Option<Head>) {
    let mut head: Option<Head> = None;
    let lines = (1..=length).map(|number| {
        let line = if number <= bare { said(number) } else { seal(&said(number), number, head.as_ref()) };
        if number > bare {
            head = Some(Head { number, hash: line.hash.clone() });
        }
        (number, line)
    });
    (lines.collect(), head)
}

fn verify(lines: &Trail, head: Option<&Head>) -> Vec<AuditFault> {
    let mut verifier = Verifier::default();
    lines.iter().for_each(|(number, line)| verifier.take(*number, line));
    verifier.finish(head).faults
}

fn compare(store: &Trail, lake: &Trail) -> Vec<AuditFault> {
    let mut comparison = Comparison::default();
    lake.iter().for_each(|(number, line)| comparison.of_lake(line.is_sealed().then_some(*number), line.clone()));
    store.iter().for_each(|(number, line)| comparison.of_store(*number, line));
    comparison.finish()
}

fn renumbered(lines: impl IntoIterator<Item = AuditEntry>) -> Trail {
    (1..).zip(lines).collect()
}

/// Changes one field of a line.
fn touch(line: &mut AuditEntry, field: usize) {
    match field {
        0 => line.at = line.at.plus(1),
        1 => line.fire_id.push('x'),
        2 => line.action.push('x'),
        3 => line.target.push('x'),
        4 => line.state.push('x'),
        5 => line.actor.push('x'),
        6 => line.detail.push('x'),
        7 => line.inputs.push('x'),
        8 => line.policy_version.push('x'),
        9 => line.price_version.push('x'),
        10 => line.requests.push("x".to_owned()),
        11 => line.requests.clear(),
        12 => line.prev.insert(0, '0'),
        _ => line.hash.insert(0, '0'),
    }
}

#[test]
fn a_trail_as_written_holds() {
    for (bare, length) in [(0, 0), (0, 1), (0, 9), (4, 9), (9, 9)] {
        let (lines, head) = trail(bare, length);
        let mut verifier = Verifier::default();
        lines.iter().for_each(|(number, line)| verifier.take(*number, line));
        let report = verifier.finish(head.as_ref());
        assert_eq!(report.faults, [], "{bare} {length}");
        assert_eq!((report.lines, report.begins_at), (length, (bare < length).then_some(bare + 1)));
        assert_eq!(report.ends, head);
        assert_eq!(compare(&lines, &lines), []);
    }
}

#[test]
fn texts_cannot_run_into_each_other() {
    let one = AuditEntry { fire_id: "ab".to_owned(), action: "c".to_owned(), ..AuditEntry::default() };
    let other = AuditEntry { fire_id: "a".to_owned(), action: "bc".to_owned(), ..AuditEntry::default() };
    assert_ne!(hash(1, &one), hash(1, &other));
    let requests = |list: &[&str]| AuditEntry { requests: list.iter().map(|id| (*id).to_owned()).collect(), ..AuditEntry::default() };
    assert_ne!(hash(1, &requests(&["a", "b"])), hash(1, &requests(&["a,b"])));
}

/// The hash of a line is a promise to later versions: it must not change.
#[test]
fn the_hash_of_a_line_is_fixed() {
    let line = seal(&said(7), 7, Some(&Head { number: 6, hash: "00".to_owned() }));
    assert_eq!(line.hash, "3ef4d1f017e3aa41bd69ac996a15405b55f4f9d4d7bef8a508a7313fc610ddec");
}

#[test]
fn a_line_in_the_place_of_the_last_is_found_by_the_head_or_by_the_lake() {
    let (mut lines, head) = trail(0, 5);
    let before = lines[3].1.clone();
    lines[4].1 = seal(&AuditEntry { detail: "another".to_owned(), ..said(5) }, 5, Some(&Head { number: 4, hash: before.hash }));
    assert_eq!(verify(&lines, head.as_ref()), [AuditFault { line: 5, kind: FaultKind::NotHead }]);
    let forged = Head { number: 5, hash: lines[4].1.hash.clone() };
    assert_eq!(verify(&lines, Some(&forged)), []);
    let faults = compare(&lines, &trail(0, 5).0);
    assert_eq!(faults, [AuditFault { line: 5, kind: FaultKind::Differs { fields: vec!["detail", "hash"] } }]);
}

#[test]
fn a_chain_that_was_made_anew_as_a_whole_is_found_by_the_lake() {
    let (copy, _) = trail(0, 6);
    let mut head: Option<Head> = None;
    let kept = copy.iter().filter(|(number, _)| *number != 3).map(|(_, line)| line.unsealed());
    let forged: Trail = renumbered(kept)
        .into_iter()
        .map(|(number, line)| {
            let line = seal(&line, number, head.as_ref());
            head = Some(Head { number, hash: line.hash.clone() });
            (number, line)
        })
        .collect();
    assert_eq!(verify(&forged, head.as_ref()), []);
    let named: Vec<u64> = compare(&forged, &copy).iter().map(|fault| fault.line).collect();
    assert_eq!(named, [3, 4, 5, 6]);
}

#[test]
fn a_program_that_knows_no_chain_is_told_from_silence() {
    let (mut lines, head) = trail(2, 4);
    lines.push((5, said(5)));
    assert_eq!(verify(&lines, head.as_ref()), [AuditFault { line: 5, kind: FaultKind::Unsealed }]);
}

#[test]
fn rows_of_old_are_compared_by_what_they_say() {
    let (store, _) = trail(3, 6);
    let mut lake = store.clone();
    lake.truncate(5);
    assert_eq!(compare(&store, &lake), [], "the last line is on its way");
    lake[1].1.detail.push('x');
    let faults = compare(&store, &lake);
    assert_eq!((faults.len(), faults[0].line, &faults[1]), (2, 0, &AuditFault { line: 2, kind: FaultKind::NotInLake }));
    lake.push(lake[4].clone());
    assert!(compare(&store, &lake).contains(&AuditFault { line: 5, kind: FaultKind::TwiceInLake }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_change_is_named_by_its_line(length in 2_u64..30, at in any::<prop::sample::Index>(), field in 0_usize..14) {
        let (copy, head) = trail(0, length);
        let mut lines = copy.clone();
        let at = at.index(lines.len());
        touch(&mut lines[at].1, field);
        let faults = verify(&lines, head.as_ref());
        let line = at as u64 + 1;
        prop_assert_eq!(&faults[0], &AuditFault { line, kind: FaultKind::Changed });
        // Its hash is what the next line names, or the head.
        prop_assert_eq!(faults.len(), if field < 13 { 1 } else { 2 });
        prop_assert_eq!(compare(&lines, &copy).iter().map(|fault| fault.line).collect::<Vec<_>>(), [line]);
        prop_assert_eq!(compare(&copy, &lines).iter().map(|fault| fault.line).collect::<Vec<_>>(), [line]);
    }

    #[test]
    fn a_line_that_is_gone_is_named(length in 2_u64..30, at in any::<prop::sample::Index>(), many in 1_usize..4) {
        let (copy, head) = trail(0, length);
        let at = at.index(copy.len());
        let gone = at..(at + many).min(copy.len());
        let mut lines = copy.clone();
        lines.drain(gone.clone());
        let missing = AuditFault { line: at as u64 + 1, kind: FaultKind::Missing { through: gone.end as u64 } };
        prop_assert_eq!(verify(&lines, head.as_ref()), [missing]);
        let alone = compare(&lines, &copy);
        prop_assert_eq!(alone.len(), gone.len());
        prop_assert!(alone.iter().all(|fault| fault.kind == FaultKind::NotInStore));
        // And where the lines after it were moved up to hide it.
        let hidden = renumbered(lines.into_iter().map(|(_, line)| line));
        let faults = verify(&hidden, head.as_ref());
        prop_assert!(!faults.is_empty());
        let first = faults.iter().map(|fault| fault.line).min();
        prop_assert_eq!(first, Some(at as u64 + 1));
    }

    #[test]
    fn lines_that_change_places_are_named(length in 2_u64..30, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let (copy, head) = trail(0, length);
        let (a, b) = (a.index(copy.len()), b.index(copy.len()));
        prop_assume!(a != b);
        let mut lines: Vec<AuditEntry> = copy.iter().map(|(_, line)| line.clone()).collect();
        lines.swap(a, b);
        let faults = verify(&renumbered(lines.clone()), head.as_ref());
        for (place, from) in [(a, b), (b, a)] {
            let moved = AuditFault { line: place as u64 + 1, kind: FaultKind::Moved { from: from as u64 + 1 } };
            prop_assert!(faults.contains(&moved), "{:?}", faults);
        }
        let named: Vec<u64> = compare(&renumbered(lines), &copy).iter().map(|fault| fault.line).collect();
        prop_assert_eq!(named, [a.min(b) as u64 + 1, a.max(b) as u64 + 1]);
    }

    #[test]
    fn a_line_that_was_put_in_is_named(
        length in 1_u64..30, at in any::<prop::sample::Index>(), knows_the_chain in any::<bool>(), sealed in any::<bool>()
    ) {
        let (copy, head) = trail(0, length);
        let at = at.index(copy.len());
        let mut lines: Vec<AuditEntry> = copy.iter().map(|(_, line)| line.clone()).collect();
        let number = at as u64 + 1;
        let before = at.checked_sub(1).map(|before| Head { number: number - 1, hash: copy[before].1.hash.clone() });
        let forged = AuditEntry { detail: "forged".to_owned(), ..said(99) };
        let forged = match (sealed, knows_the_chain) {
            (true, true) => seal(&forged, number, before.as_ref()),
            (true, false) => AuditEntry { hash: "ff".to_owned(), ..forged },
            _ => forged,
        };
        lines.insert(at, forged);
        let lines = renumbered(lines);
        let faults = verify(&lines, head.as_ref());
        prop_assert!(faults.iter().any(|fault| (number..=number + 1).contains(&fault.line)), "{:?}", faults);
        prop_assert!(compare(&lines, &copy).iter().any(|fault| fault.line == number));
    }
}
