//! Numbers that look random and are the same for the same seed.

/// A generator ([SplitMix64](https://prng.di.unimi.it/splitmix64.c)).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The generator of one dimension of one case: what is drawn for one does not depend on whether
    /// others are there.
    pub(crate) fn of(seed: u64, dimension: &str) -> Self {
        let mut state = seed;
        for byte in dimension.bytes() {
            // FNV-1a.
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let mut random = Self(state ^ seed.rotate_left(32));
        random.next();
        random
    }

    /// 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number from `first` to `last`.
    pub(crate) fn within(&mut self, first: i64, last: i64) -> i64 {
        first + i64::try_from(self.below(u64::try_from(last - first + 1).unwrap())).unwrap()
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of a list.
    pub(crate) fn pick<'list, T>(&mut self, list: &'list [T]) -> &'list T {
        let at = self.below(u64::try_from(list.len()).unwrap());
        &list[usize::try_from(at).unwrap()]
    }

    /// Each of a list with this probability, in the order of the list.
    pub(crate) fn some<T: Clone>(&mut self, list: &[T], percent: u64) -> Vec<T> {
        let chosen = list.iter().filter(|_| self.percent(percent));
        chosen.cloned().collect()
    }

    /// The list in another order.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            let at = self.below(u64::try_from(end + 1).unwrap());
            list.swap(end, usize::try_from(at).unwrap());
        }
    }
}
