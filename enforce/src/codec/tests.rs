//! Rows come back as they went, and damaged ones do not come back.

use proptest::prelude::*;

use super::*;
use crate::test_support::budgets;

fn counter() -> impl Strategy<Value = Counter> {
    let tally = (any::<i64>(), any::<i64>(), any::<i64>()).prop_map(|(amount, calls, unpriced)| Tally {
        amount: PicoUsd(i128::from(amount) * 1_000_003),
        calls,
        unpriced,
    });
    let fired = (any::<bool>(), 0_u8..4, any::<i64>(), any::<i64>(), any::<[u8; 16]>()).prop_map(|(closed, state, at, bucket, fire_id)| {
        let state = [FiredState::Fired, FiredState::Late, FiredState::Unconfirmed, FiredState::Seeded][usize::from(state)];
        Fired { threshold: 0, state, event_time: Micros(at), bucket, closed, fire_id }
    });
    let fired = proptest::collection::vec(fired, 0..4);
    (
        tally,
        fired,
        proptest::option::of(any::<i128>()),
        any::<(i64, i64, u32)>(),
        any::<(i64, i128, i128, i128)>(),
        proptest::option::of(any::<i64>()),
    )
        .prop_map(|(tally, fired, tag_limit, (first, last, generation), burn, floor)| {
            let mut ring = Ring::default();
            ring.set_floor(floor);
            Counter {
                tally,
                fired,
                tag_limit: tag_limit.map(PicoUsd),
                first: Micros(first),
                last: Micros(last),
                generation,
                burn: Burn { slot: burn.0, current: PicoUsd(burn.1), previous: PicoUsd(burn.2), peak: PicoUsd(burn.3) },
                ring: floor.map(|_| Box::new(ring)),
                ..Counter::default()
            }
        })
}

fn one_budget() -> std::sync::Arc<Budget> {
    let budgets = budgets("[[budget]]\nname = \"b\"\nlimit = \"1 USD\"\nwindow = \"day\"");
    std::sync::Arc::clone(budgets.get("b").expect("there"))
}

fn read(value: &[u8]) -> Result<Counter, LedgerError> {
    read_counter(b"k", value, |text| (text == "100%").then_some(0))
}

proptest! {
    #[test]
    fn counters_come_back(counter in counter()) {
        let bytes = write_counter(&one_budget(), &counter);
        prop_assert_eq!(format!("{:?}", read(&bytes).expect("as written")), format!("{counter:?}"));
    }

    #[test]
    fn a_shortened_or_lengthened_row_is_refused(counter in counter(), cut in any::<prop::sample::Index>()) {
        let mut bytes = write_counter(&one_budget(), &counter);
        let shorter = &bytes[..cut.index(bytes.len())];
        prop_assert!(read(shorter).is_err());
        bytes.push(0);
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(read(&bytes));
        drop(read_key(&bytes));
        drop(read_book(&bytes, &bytes));
        drop(read_bucket(&bytes, &bytes));
        drop(read_pending(&bytes, &bytes));
    }

    #[test]
    fn keys_come_back(budget in "\\PC{0,20}", target in "\\PC{0,20}", period in any::<i64>(), index in any::<i64>()) {
        let key = Key { target: target.into(), period };
        let named = |key: &Key| (budget.clone(), key.clone());
        let (name, own) = named(&key);
        prop_assert_eq!(read_key(&counter_key(&budget, key.borrowed())), Ok(RowKey::Counter { budget: name, key: own }));
        let (name, own) = named(&key);
        prop_assert_eq!(read_key(&bucket_key(&budget, key.borrowed(), index)), Ok(RowKey::Bucket { budget: name, key: own, index }));
        prop_assert_eq!(read_key(&book_key(&budget)), Ok(RowKey::Book { budget: budget.clone() }));
    }

    #[test]
    fn numbers_come_back(number in any::<i128>()) {
        let mut bytes = Vec::new();
        put_signed(&mut bytes, number);
        let mut reader = Reader { key: b"", rest: &bytes };
        prop_assert_eq!(reader.signed(), Ok(number));
    }
}

/// A row as version 1 wrote it. It must be readable for ever.
const VERSION_1: &[u8] = &[
    1, 0x80, 0xa0, 0x94, 0xa5, 0x8d, 0x1d, 6, 2, 0x80, 0xb8, 0x99, 0x29, 0x80, 0xf0, 0xb2, 0x52, 4, 1, 10, 0, 0, 0, 0, 0, 0, 0, 2, 8, b'1',
    b'0', b'0', b'%', 1, 0, 20, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
];

#[test]
fn the_format_of_version_1_stays() {
    let counter = read(VERSION_1).expect("readable");
    assert_eq!(counter.tally, Tally { amount: PicoUsd(500_000_000_000), calls: 3, unpriced: 1 });
    assert_eq!((counter.generation, counter.tag_limit), (2, Some(PicoUsd(5))));
    assert_eq!((counter.fired[0].state, counter.fired[0].event_time, counter.fired[0].fire_id), (FiredState::Late, Micros(10), [7; 16]));
    assert_eq!(write_counter(&one_budget(), &counter), VERSION_1);
}

#[test]
fn damage_and_newer_versions_are_named() {
    let mut newer = VERSION_1.to_vec();
    newer[0] = 9;
    let error = read(&newer).expect_err("refused");
    assert_eq!(error, LedgerError::Version { key: "k".to_owned(), found: 9, known: 1 });
    assert_eq!(error.class(), ErrorClass::Misconfigured);
    let error = read_bucket(b"r\x04ab", &[1, 0xff]).expect_err("refused");
    assert_eq!(error.to_string(), "ledger row r\\x04ab is corrupt: ends too early");
    assert_eq!(error.class(), ErrorClass::Corrupt);
    assert!(read_pending(b"p", &[1]).is_err());
}
