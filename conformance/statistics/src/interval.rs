//! How large a change is, by the bootstrap.

use fastrand::Rng;

use crate::mean;

/// How often the interval contains the true change.
pub const CONFIDENCE: f64 = 0.95;
/// How often the samples are drawn again.
const DRAWS: usize = 1_000;
/// The same samples give the same interval.
const SEED: u64 = 1;

/// A confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// By how much the mean of `after` exceeds that of `before`, with the given [`CONFIDENCE`]. `None`
/// if one of them is empty.
#[must_use]
pub fn interval_of_shift(before: &[f64], after: &[f64]) -> Option<Interval> {
    if before.is_empty() || after.is_empty() {
        return None;
    }
    let mut rng = Rng::with_seed(SEED);
    let mut shifts: Vec<f64> =
        (0..DRAWS).map(|_| mean_again(after, &mut rng) - mean_again(before, &mut rng)).collect();
    shifts.sort_by(f64::total_cmp);
    // A sample of few values varies less than what it comes from; the ends are moved apart by that.
    let shift = mean(after) - mean(before);
    let wider = widening(before.len()).max(widening(after.len()));
    let end = |share: f64| {
        let drawn = shifts[((DRAWS - 1) as f64 * share).round() as usize];
        shift + (drawn - shift) * wider
    };
    Some(Interval { low: end((1.0 - CONFIDENCE) / 2.0), high: end(f64::midpoint(1.0, CONFIDENCE)) })
}

/// By how much the standard deviation of a sample of `count` values is too small.
fn widening(count: usize) -> f64 {
    let count = count as f64;
    (count / (count - 1.0).max(1.0)).sqrt()
}

/// The mean of a sample that is drawn again from itself.
fn mean_again(values: &[f64], rng: &mut Rng) -> f64 {
    (0..values.len()).map(|_| values[rng.usize(..values.len())]).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_lies_around_the_difference_and_is_the_same_each_time() {
        let before: Vec<_> = (0..30).map(|n| f64::from(n % 5)).collect();
        let after: Vec<_> = (0..20).map(|n| 3.0 + f64::from(n % 5)).collect();
        let interval = interval_of_shift(&before, &after).unwrap();
        assert!(interval.low > 1.8 && interval.low < 3.0, "{interval:?}");
        assert!(interval.high > 3.0 && interval.high < 4.2, "{interval:?}");
        assert_eq!(Some(interval), interval_of_shift(&before, &after));
    }

    #[test]
    fn without_values_there_is_none() {
        assert_eq!(interval_of_shift(&[], &[1.0]), None);
        assert_eq!(interval_of_shift(&[2.0], &[3.0]), Some(Interval { low: 1.0, high: 1.0 }));
    }
}
