//! Student's t-test.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use crate::mean;

/// How likely it is that the means of two samples differ by as much as they do, or more, in either
/// direction, if both come from the same normal distribution. 1 if that cannot be told.
///
/// Both samples share one variance, as they do when nothing changed. So a few values are enough in
/// one of them if the other one has many.
#[must_use]
pub fn p_of_shift(before: &[f64], after: &[f64]) -> f64 {
    let (n, m) = (before.len() as f64, after.len() as f64);
    let freedom = n + m - 2.0;
    if before.is_empty() || after.is_empty() || freedom < 1.0 {
        return 1.0;
    }
    let squares = |values: &[f64]| {
        let centre = mean(values);
        values.iter().map(|value| (value - centre).powi(2)).sum::<f64>()
    };
    let shift = (mean(after) - mean(before)).abs();
    let error = ((squares(before) + squares(after)) / freedom * (1.0 / n + 1.0 / m)).sqrt();
    if shift <= f64::EPSILON * mean(before).abs() {
        return 1.0;
    }
    if error == 0.0 {
        // Values without any spread differ, or they do not.
        return 0.0;
    }
    StudentsT::new(0.0, 1.0, freedom).map_or(1.0, |t| 2.0 * t.cdf(-shift / error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probability_is_that_of_published_tables() {
        // Means 2 and 5 of three values each: t = 3.674 with 4 degrees of freedom.
        let p = p_of_shift(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]);
        assert!((p - 0.021_311).abs() < 1e-5, "{p}");
        assert_eq!(p, p_of_shift(&[4.0, 5.0, 6.0], &[1.0, 2.0, 3.0]));
    }

    #[test]
    fn what_cannot_be_told_is_no_change() {
        assert_eq!(p_of_shift(&[], &[1.0, 2.0]), 1.0);
        assert_eq!(p_of_shift(&[1.0], &[2.0]), 1.0);
        assert_eq!(p_of_shift(&[3.0, 3.0], &[3.0, 3.0]), 1.0);
    }

    #[test]
    fn constants_that_differ_are_a_change() {
        assert_eq!(p_of_shift(&[3.0, 3.0], &[4.0, 4.0]), 0.0);
    }

    #[test]
    fn tiny_probabilities_are_still_told_apart() {
        let at = |value: f64| p_of_shift(&[0.0, 0.1, -0.1, 0.05, -0.05], &[value, value + 0.1, value - 0.1]);
        assert!(at(5.0) > at(50.0) && at(50.0) > 0.0);
    }
}
