//! The row of buckets against plain lists of events.

use proptest::prelude::*;
use sluice_schemas::time::DAY;

use super::*;

fn dollars(amount: i64) -> Tally {
    Tally { amount: PicoUsd::from_dollars(amount), calls: 1, unpriced: 0 }
}

#[test]
fn geometries() {
    assert_eq!(Geometry::new(MINUTE), Geometry { bucket: MINUTE, reach: 1, late: 360 });
    assert_eq!(Geometry::new(HOUR), Geometry { bucket: MINUTE, reach: 60, late: 360 });
    assert_eq!(Geometry::new(2 * HOUR), Geometry { bucket: 2 * MINUTE, reach: 60, late: 180 });
    assert_eq!(Geometry::new(DAY), Geometry { bucket: 15 * MINUTE, reach: 96, late: 96 });
    let month = Geometry::new(31 * DAY);
    assert_eq!((month.bucket, month.reach, month.late), (465 * MINUTE, 96, 96));
}

#[test]
fn an_excursion_lasts_until_the_sum_fell_well_below() {
    let geometry = Geometry::new(HOUR);
    let mut ring = Ring::default();
    for (index, amount) in [(0, 6), (30, 4), (62, 5), (125, 1), (126, 9)] {
        assert!(ring.add(geometry, index, dollars(amount)));
    }
    let found = ring.excursions(geometry, PicoUsd::from_dollars(10), false);
    let spans: Vec<_> = found.iter().map(|excursion| (excursion.start, excursion.end)).collect();
    // At 61 the first six are gone and nine tenths are not there: armed. At 126 ten are reached again.
    assert_eq!(spans, [(Some(30), Some(62)), (Some(126), None)]);
    assert_eq!(found[1].at_start.amount, PicoUsd::from_dollars(10));
}

proptest! {
    #[test]
    fn the_sum_is_exact_up_to_one_bucket_and_never_too_small(
        events in proptest::collection::vec((0_i64..12 * HOUR, 1_i64..100), 1..80), width in prop::sample::select(vec![MINUTE, 5 * MINUTE, HOUR, 3 * HOUR]),
        at in 0_i64..12 * HOUR
    ) {
        let geometry = Geometry::new(width);
        let mut ring = Ring::default();
        for (time, amount) in &events {
            prop_assert!(ring.add(geometry, geometry.index(Micros(*time)), dollars(*amount)));
        }
        let sum_of = |from: i64, to: i64| events.iter().filter(|(time, _)| *time > from && *time <= to).map(|(_, amount)| *amount).sum::<i64>();
        // Looked at from the end of the bucket, as the counter is fed by whole minutes.
        let end = geometry.start(geometry.index(Micros(at)) + 1).0 - 1;
        let sum = ring.sum(geometry, geometry.index(Micros(at))).amount;
        prop_assert!(sum >= PicoUsd::from_dollars(sum_of(end - width, end)));
        prop_assert!(sum <= PicoUsd::from_dollars(sum_of(end - width - geometry.bucket, end)));
        let exact = ring.sum(geometry, geometry.index(Micros(at))).amount >= PicoUsd::from_dollars(sum_of(at - width, at));
        prop_assert!(exact, "at any moment of the bucket");
    }

    #[test]
    fn excursions_follow_from_the_sums_alone(
        events in proptest::collection::vec((0_i64..400, 1_i64..30), 1..60), threshold in 20_i64..80, width in 1_i64..90
    ) {
        let geometry = Geometry::new(width * MINUTE);
        let threshold = PicoUsd::from_dollars(threshold);
        let fill = |events: &[(i64, i64)]| {
            let mut ring = Ring::default();
            for (minute, amount) in events {
                ring.add(geometry, geometry.index(Micros(minute * MINUTE)), dollars(*amount));
            }
            ring
        };
        let ring = fill(&events);
        let found = ring.excursions(geometry, threshold, false);
        // By definition, one position after the other.
        let (mut inside, mut expected) = (false, Vec::new());
        for index in 0..=400 {
            let Some(own) = ring.buckets().iter().find(|bucket| bucket.index == index) else { continue };
            let sum = ring.sum(geometry, index);
            if inside && sum.amount - own.tally.amount < nine_tenths(threshold) {
                inside = false;
            }
            if !inside && sum.amount >= threshold {
                inside = true;
                expected.push((Some(index), sum));
            }
        }
        let starts: Vec<_> = found.iter().map(|excursion| (excursion.start, excursion.at_start)).collect();
        prop_assert_eq!(starts, expected);
        let mut reversed = events.clone();
        reversed.reverse();
        prop_assert_eq!(fill(&reversed).excursions(geometry, threshold, false), found);
    }

    #[test]
    fn sliding_changes_no_window_that_is_still_watched(events in proptest::collection::vec((0_i64..3000, 1_i64..30), 1..80)) {
        let geometry = Geometry::new(HOUR);
        let mut events = events;
        events.sort_unstable();
        let (mut whole, mut sliding) = (Ring::default(), Ring::default());
        for (minute, amount) in events {
            whole.add(geometry, minute, dollars(amount));
            prop_assert!(sliding.add(geometry, minute, dollars(amount)));
            sliding.slide(geometry);
            let floor = sliding.floor().expect("not empty");
            for index in floor..=minute {
                prop_assert_eq!(sliding.sum(geometry, index), whole.sum(geometry, index));
            }
            prop_assert!(sliding.buckets().len() as i64 <= geometry.reach + geometry.late + 1);
        }
    }
}
