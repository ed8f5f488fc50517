//! Series of measurements and what is told of them.

use std::time::Duration;

/// Measurements of one thing.
#[derive(Debug, Clone, Default)]
pub(super) struct Series(Vec<f64>);

impl Series {
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds a time in milliseconds.
    pub(super) fn push_time(&mut self, time: Duration) {
        self.push(milliseconds(time));
    }

    /// The lower of the middle ones, so that it is a value that was measured; NaN of nothing.
    pub(super) fn median(&self) -> f64 {
        self.at_rank(50)
    }

    /// The value that 99 % do not exceed, by nearest rank: of up to 100 values the greatest or the
    /// one below it.
    pub(super) fn p99(&self) -> f64 {
        self.at_rank(99)
    }

    fn at_rank(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or(f64::NAN)
    }
}

/// A time in milliseconds.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_p99_are_measured_values() {
        let mut series = Series::default();
        for value in (1..=200_u8).rev() {
            series.push(f64::from(value));
        }
        assert_eq!((series.median(), series.p99()), (100.0, 198.0));
    }

    #[test]
    fn nothing_has_no_median() {
        assert!(Series::default().median().is_nan());
    }
}
