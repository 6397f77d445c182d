//! Changes in series of measurements, of which each run adds one value.
//!
//! - `energy`: where two parts of a series differ most (E-divisive)
//! - `student`: whether the means of two samples differ (t-test)
//! - `ranks`: whether the order of their values shows it, too (Mann-Whitney)
//! - `changes`: all changes of a series
//! - `interval`: how large a change is (bootstrap)
//! - `slope`: whether a series grows (Theil and Sen)
//! - `experiment`: how often all this is wrong, by simulation
//!
//! Nothing here knows what was measured.

mod changes;
mod energy;
pub mod experiment;
mod interval;
mod ranks;
mod slope;
mod student;

pub use changes::{
    Change, LEAST, Threshold, can_differ, changes, fewest_values, levels, p_of_difference, regression,
};
pub use interval::{CONFIDENCE, Interval, interval_of_shift};
pub use slope::{FEWEST_FOR_SLOPE, Slope, slope};

/// The arithmetic mean; 0 of no values.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The middle value, or the mean of the two in the middle; 0 of no values.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_medians() {
        assert_eq!((mean(&[]), mean(&[1.0, 2.0, 6.0])), (0.0, 3.0));
        assert_eq!((median(&[]), median(&[9.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 9.0])), (0.0, 2.0, 3.0));
    }
}
