//! Whether a series grows: the slope of Theil and Sen, with Sen's interval.
//!
//! The slope is the median of the slopes between all pairs of values. A few values that are far
//! off, such as the first ones of a process that still warms up, do not move it. The interval
//! assumes nothing about how the values vary, only that they do so independently.

use crate::median;

/// The number of standard deviations on either side of the middle of a normal distribution between
/// which 95 % of it lie.
const DEVIATIONS_OF_95: f64 = 1.959_963_984_540_054;

/// The fewest values of which an interval can be given.
pub const FEWEST_FOR_SLOPE: usize = 5;

/// By how much a series grows from one value to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// The best estimate.
    pub per_step: f64,
    /// The lower end of the 95 % interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The slope of values that follow each other at equal distances. `None`: they are fewer than
/// [`FEWEST_FOR_SLOPE`].
#[must_use]
pub fn slope(values: &[f64]) -> Option<Slope> {
    let count = values.len();
    if count < FEWEST_FOR_SLOPE {
        return None;
    }
    let pairs = (0..count).flat_map(|first| (first + 1..count).map(move |second| (first, second)));
    let between =
        |(first, second): (usize, usize)| (values[second] - values[first]) / (second - first) as f64;
    let mut slopes: Vec<f64> = pairs.map(between).collect();
    slopes.sort_by(f64::total_cmp);
    let width = DEVIATIONS_OF_95 * kendall_deviation(values);
    // Outwards where a rank lies between two, so that the interval is never too narrow.
    let from_end = ((slopes.len() as f64 - width) / 2.0).floor().max(1.0) as usize;
    let (low, high) = (slopes[from_end - 1], slopes[slopes.len() - from_end]);
    Some(Slope { per_step: median(&slopes), low, high })
}

/// The standard deviation of Kendall's statistic of a series without a trend. Equal values, which
/// are neither in order nor out of order, make it smaller.
fn kendall_deviation(values: &[f64]) -> f64 {
    let term = |count: f64| count * (count - 1.0) * (2.0 * count + 5.0);
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted.chunk_by(|one, other| one == other).map(|equal| term(equal.len() as f64)).sum();
    ((term(values.len() as f64) - ties) / 18.0).max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// A series with a mean of about 1 and noise of 5 % on either side.
    fn noise(rng: &mut Rng, count: usize, growth: f64) -> Vec<f64> {
        (0..count).map(|step| 1.0 + growth * step as f64 + 0.1 * (rng.f64() - 0.5)).collect()
    }

    #[test]
    fn a_line_has_its_slope_and_a_constant_none() {
        let line: Vec<_> = (0..20).map(|step| 7.0 + 2.0 * f64::from(step)).collect();
        assert_eq!(slope(&line), Some(Slope { per_step: 2.0, low: 2.0, high: 2.0 }));
        assert_eq!(slope(&[4.0; 9]), Some(Slope { per_step: 0.0, low: 0.0, high: 0.0 }));
        assert_eq!(slope(&[1.0, 2.0, 3.0, 4.0]), None);
    }

    #[test]
    fn the_interval_contains_the_slope_about_as_often_as_it_says() {
        for (count, growth) in [(10, 0.0), (30, 0.002), (100, 0.0)] {
            let mut rng = Rng::with_seed(count as u64);
            let contains = |_: &usize| {
                let slope = slope(&noise(&mut rng, count, growth)).expect("enough values");
                slope.low <= growth && growth <= slope.high
            };
            let often = (0..1000).filter(contains).count();
            assert!((930..=985).contains(&often), "{count} values: {often} of 1000");
        }
    }

    #[test]
    fn a_leak_is_found_below_noise_that_is_larger() {
        let mut rng = Rng::with_seed(1);
        let mut found = |growth| {
            let grows = |series: &[f64]| slope(series).is_some_and(|slope| slope.low > 0.0);
            (0..500).filter(|_| grows(&noise(&mut rng, 100, growth))).count()
        };
        // A false alarm in 40, because only one end of the interval counts.
        assert!(found(0.0) <= 25);
        assert!(found(0.0005) >= 475);
    }

    #[test]
    fn a_process_that_warms_up_does_not_grow() {
        let mut rng = Rng::with_seed(3);
        let mut series = noise(&mut rng, 60, 0.0);
        series[0] = 0.5;
        series[1] = 0.7;
        series[2] = 0.8;
        let slope = slope(&series).expect("enough values");
        assert!(slope.low <= 0.0005, "{slope:?}");
    }
}
