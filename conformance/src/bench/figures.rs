//! What is made of measured times.

use std::fmt;
use std::time::Duration;

/// One figure of several rounds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample(Vec<f64>);

impl Sample {
    /// Of figures in any order; at least one.
    pub(super) fn new(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        (!figures.is_empty()).then_some(Self(figures))
    }

    /// Times, in seconds.
    pub(super) fn of_times(times: &[Duration]) -> Option<Self> {
        Self::new(times.iter().map(Duration::as_secs_f64).collect())
    }

    /// How many times as fast as `theirs` ours were, each compared with the one of its own round.
    pub(super) fn of_ratios(theirs: &[Duration], ours: &[Duration]) -> Option<Self> {
        Self::new(theirs.iter().zip(ours).map(|(their, our)| their.div_duration_f64(*our)).collect())
    }

    /// The one in the middle.
    pub(super) fn median(&self) -> f64 {
        let (low, high) = ((self.0.len() - 1) / 2, self.0.len() / 2);
        (self.0[low] + self.0[high]) / 2.0
    }
}

/// The median, and how far the rounds lay apart.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (self.0[0], self.0[self.0.len() - 1]);
        write!(f, "{:.2} ({least:.2} to {most:.2})", self.median())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_the_spread_is_told() {
        let sample = Sample::new(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!(sample.to_string(), "2.00 (1.00 to 3.00)");
        assert_eq!(Sample::new(vec![4.0, 1.0, 2.0, 3.0]).unwrap().median(), 2.5);
        assert_eq!(Sample::new(Vec::new()), None);
    }

    #[test]
    fn a_ratio_above_one_means_that_ours_is_faster() {
        let seconds = |all: [u64; 2]| all.map(Duration::from_secs);
        assert_eq!(Sample::of_ratios(&seconds([4, 9]), &seconds([2, 3])).unwrap().median(), 2.5);
    }
}
