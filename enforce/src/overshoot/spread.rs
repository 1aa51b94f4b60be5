//! How long something took, as counts by length: quantiles that never say too little.

/// Buckets an octave is cut into: a quantile says at most a quarter too much.
const PARTS: u32 = 4;
const BUCKETS: usize = 64 * PARTS as usize;

/// Lengths in microseconds of the present and the previous generation, so that what was long ago is forgotten.
#[derive(Clone, Debug)]
pub struct Spread {
    present: Vec<u64>,
    previous: Vec<u64>,
    longest: [i64; 2],
    /// Start of the present generation.
    since: i64,
    /// Length of a generation.
    generation: i64,
}

impl Spread {
    /// Returns an empty spread that forgets what is older than one to two generations of so many microseconds.
    #[must_use]
    pub fn new(generation: i64) -> Self {
        Self { present: vec![0; BUCKETS], previous: vec![0; BUCKETS], longest: [0; 2], since: i64::MIN, generation: generation.max(1) }
    }

    /// Counts a length `times` times, seen at `now`; one below zero counts as zero.
    pub fn note(&mut self, length: i64, times: u64, now: i64) {
        self.turn(now);
        let length = length.max(0);
        if let Some(count) = self.present.get_mut(bucket(length)) {
            *count = count.saturating_add(times);
        }
        if times > 0 {
            self.longest[0] = self.longest[0].max(length);
        }
    }

    /// Begins a new generation when it is time to.
    fn turn(&mut self, now: i64) {
        if self.since == i64::MIN {
            self.since = now;
        }
        let passed = now.saturating_sub(self.since);
        if passed < self.generation {
            return;
        }
        std::mem::swap(&mut self.present, &mut self.previous);
        self.present.fill(0);
        self.longest = [0, self.longest[0]];
        if passed >= self.generation.saturating_mul(2) {
            self.previous.fill(0);
            self.longest = [0; 2];
        }
        self.since = now;
    }

    /// Returns a length that `permille` thousandths of those counted do not exceed; `None` before the first.
    #[must_use]
    pub fn quantile(&self, permille: u64) -> Option<i64> {
        let counts = || self.present.iter().zip(&self.previous).map(|(a, b)| u128::from(*a) + u128::from(*b));
        let all: u128 = counts().sum();
        let rank = (all * u128::from(permille)).div_ceil(1_000).max(1);
        let mut below = 0;
        let at = counts().position(|count| {
            below += count;
            all > 0 && below >= rank
        })?;
        Some(upper(at).min(self.longest[0].max(self.longest[1])))
    }
}

/// Returns the bucket of a length: its octave and the quarter of it.
fn bucket(length: i64) -> usize {
    let length = u64::try_from(length).unwrap_or(0) + 1;
    let octave = length.ilog2();
    let part = if octave >= 2 { (length >> (octave - 2)) & 3 } else { (length << (2 - octave)) & 3 };
    (octave * PARTS) as usize + usize::try_from(part).unwrap_or(0)
}

/// Returns the longest length of a bucket.
fn upper(at: usize) -> i64 {
    let (octave, part) = (at / PARTS as usize, at % PARTS as usize);
    let end = ((4 + part as u128 + 1) << octave) / 4;
    i64::try_from(end.saturating_sub(2)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quantile_never_says_too_little_and_a_quarter_too_much_at_most(
            lengths in proptest::collection::vec(0_i64..2_000_000_000, 1..200), permille in 1_u64..=1_000
        ) {
            let mut spread = Spread::new(i64::MAX);
            lengths.iter().for_each(|length| spread.note(*length, 1, 0));
            let mut sorted = lengths;
            sorted.sort_unstable();
            let rank = (sorted.len() as u64 * permille).div_ceil(1_000).max(1);
            let exact = sorted[rank as usize - 1];
            let said = spread.quantile(permille).expect("some");
            prop_assert!(exact <= said && said <= exact + exact / 4 + 1, "{} for {}", said, exact);
        }
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut spread = Spread::new(100);
        assert_eq!(spread.quantile(500), None);
        spread.note(5_000, 1, 0);
        spread.note(7, 1, 100);
        assert_eq!(spread.quantile(1_000), Some(5_000));
        spread.note(7, 1, 200);
        assert_eq!(spread.quantile(1_000), Some(7));
        spread.note(-3, 1, 1_000);
        assert_eq!(spread.quantile(1_000), Some(0));
    }
}
