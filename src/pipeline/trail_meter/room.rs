//! Which hours of metered calls are forgotten when they are much; they are read again from the lake.

/// Hours whose metered calls are known by what they rest on.
const HOURS_MAX: usize = 96;
/// Metered calls that are known, those of the hours at hand apart: some 70 MB.
const CALLS_MAX: usize = 2_000_000;
/// Hours on either side that the calls of an hour may have to be looked for in: forgotten, they would be read again for every batch.
const AT_HAND: u64 = 3;

/// Returns the hours to forget, the farthest from the one in hand first, out of those that are known with so many calls each. Half of the
/// room is made free at once: each time, the lake has to be committed.
pub(super) fn to_forget(known: impl Iterator<Item = (i64, usize)>, in_hand: i64) -> Vec<i64> {
    let mut known: Vec<(i64, usize)> = known.collect();
    let (mut hours, mut calls) = (known.len(), known.iter().map(|(_, calls)| calls).sum::<usize>());
    if hours <= HOURS_MAX && calls <= CALLS_MAX {
        return Vec::new();
    }
    known.retain(|(hour, _)| hour.abs_diff(in_hand) > AT_HAND);
    known.sort_unstable_by_key(|(hour, _)| (std::cmp::Reverse(hour.abs_diff(in_hand)), *hour));
    let is_much = |&(_, of_hour): &(i64, usize)| {
        let much = hours > HOURS_MAX / 2 || calls > CALLS_MAX / 2;
        (hours, calls) = (hours - 1, calls - of_hour);
        much
    };
    known.into_iter().take_while(is_much).map(|(hour, _)| hour).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_kept() {
        assert!(to_forget((0..96).map(|hour| (hour, 20_000)), 50).is_empty());
    }

    #[test]
    fn the_farthest_hours_go_first_until_half_is_free() {
        let forgotten = to_forget((0..97).map(|hour| (hour, 1)), 96);
        assert_eq!(forgotten, (0..49).collect::<Vec<i64>>());
    }

    #[test]
    fn many_calls_are_much_however_few_the_hours() {
        assert_eq!(to_forget([(1, 900_000), (2, 600_000), (9, 300_000), (10, 300_000)].into_iter(), 10), [1, 2]);
    }

    #[test]
    fn the_hours_at_hand_stay_however_much_they_hold() {
        assert_eq!(to_forget((4..=16).map(|hour| (hour, 5_000_000)), 10), [4, 16, 5, 15, 6, 14]);
        assert!(to_forget((7..=13).map(|hour| (hour, 5_000_000)), 10).is_empty());
    }
}
