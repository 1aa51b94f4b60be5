//! Random numbers from a seed, integers only.

/// Splitmix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number of `from..=to`.
    pub(crate) fn within(&mut self, from: i64, to: i64) -> i64 {
        from + (self.next() % (to - from + 1).max(1) as u64) as i64
    }

    pub(crate) fn chance(&mut self, permille: i64) -> bool {
        self.within(0, 999) < permille
    }

    /// Returns a number around `mean`: two thirds lie within `permille` / 2 of it, none beyond `permille`.
    pub(crate) fn around(&mut self, mean: i64, permille: i64) -> i64 {
        let bell: i64 = (0..4).map(|_| self.within(-1_000, 1_000)).sum::<i64>() / 4;
        mean + mean * permille / 1_000 * bell / 1_000
    }

    /// Returns a number that is mostly between a quarter and twice of `mean`, at times five times as much: lengths of texts, sizes of jobs.
    pub(crate) fn wide(&mut self, mean: i64) -> i64 {
        let value = mean * self.within(40, 160) / 100 * self.within(40, 160) / 100;
        if self.chance(20) { value * self.within(2, 5) } else { value.max(1) }
    }

    /// Returns the time to the next of events that come by chance, `mean` apart.
    pub(crate) fn wait(&mut self, mean: i64) -> i64 {
        // Minus the logarithm of a uniform number, from its leading zeros and the bits behind them.
        let bits = self.next() | 1;
        let zeros = i64::from(bits.leading_zeros());
        let rest = ((bits << zeros) >> 54) as i64 & 511;
        let log2_millis = zeros * 1_000 + (511 - rest) * 1_000 / 512;
        (mean / 1_000).max(1) * (log2_millis * 693 / 1_000)
    }
}
