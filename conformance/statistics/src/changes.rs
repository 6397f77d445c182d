//! All changes of a series.

use crate::energy::best_split;
use crate::mean;
use crate::ranks::{least_p, p_of_order};
use crate::student::p_of_shift;

/// The fewest values on each side of a change. A single bad night is no change.
pub const LEAST: usize = 4;

/// A change of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The index of the first value after it.
    pub first: usize,
    /// How likely a change as large as this is somewhere in a series in which nothing changed.
    pub p: f64,
}

/// Finds the changes of a series whose probability by chance is `alpha` or less, the oldest first.
///
/// The series is split where its parts differ most, and each part again, while the difference is
/// significant. A split is the best one of many, so its probability is multiplied by their number
/// (Bonferroni).
#[must_use]
pub fn changes(values: &[f64], alpha: f64) -> Vec<Change> {
    let mut found = Vec::new();
    search(values, 0, alpha, &mut found);
    found
}

/// How likely the difference of two samples is by chance: the larger probability of two tests. The
/// t-test asks whether the means differ and trusts that the values are normal; the order of the
/// values tells nothing about the size of the difference and needs no trust. `alpha` is the
/// probability above which the answer no longer matters.
#[must_use]
pub fn p_of_difference(before: &[f64], after: &[f64], alpha: f64) -> f64 {
    let p = p_of_shift(before, after);
    // The second test takes longer.
    if p > alpha { p } else { p.max(p_of_order(before, after)) }
}

/// The fewest values of a series in which a change can be found, however large it is.
#[must_use]
pub fn fewest_values(alpha: f64) -> usize {
    let is_enough = |count: &usize| {
        let splits = (count + 1 - 2 * LEAST) as f64;
        (LEAST..=count - LEAST).any(|before| least_p(before, count - before) * splits <= alpha)
    };
    (2 * LEAST..10_000).find(is_enough).unwrap_or(usize::MAX)
}

/// Whether two samples of these sizes can differ significantly, however far apart they are.
#[must_use]
pub fn can_differ(before: usize, after: usize, alpha: f64) -> bool {
    before.min(after) > 0 && least_p(before, after) <= alpha
}

/// When a series is worse than before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// The probability by chance that a change may have at most.
    pub alpha: f64,
    /// By how much the mean must rise at least.
    pub least_rise: f64,
}

/// The newest change of a series, if it is one for the worse: if the values since then are higher
/// than those between the change before and this one. [`levels`] tells the two apart.
#[must_use]
pub fn regression(values: &[f64], threshold: Threshold) -> Option<Change> {
    let all = changes(values, threshold.alpha);
    let newest = *all.last()?;
    let (before, after) = levels(values, &all)?;
    (mean(after) - mean(before) >= threshold.least_rise).then_some(newest)
}

/// The values between the last two changes, and those since the last one.
#[must_use]
pub fn levels<'v>(values: &'v [f64], changes: &[Change]) -> Option<(&'v [f64], &'v [f64])> {
    let newest = changes.last()?.first;
    let from = changes.iter().rev().nth(1).map_or(0, |change| change.first);
    Some((&values[from..newest], &values[newest..]))
}

fn search(values: &[f64], offset: usize, alpha: f64, found: &mut Vec<Change>) {
    let Some(at) = best_split(values, LEAST) else { return };
    let (before, after) = values.split_at(at);
    let splits = values.len() + 1 - 2 * LEAST;
    let p = (p_of_difference(before, after, alpha / splits as f64) * splits as f64).min(1.0);
    if p > alpha {
        return;
    }
    search(before, offset, alpha, found);
    found.push(Change { first: offset + at, p });
    search(after, offset + at, alpha, found);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` values around `level`, with a spread of 2 %.
    fn level(level: f64, count: usize) -> impl Iterator<Item = f64> {
        (0..count).map(move |index| level * (1.0 + 0.01 * [0.0, 2.0, -1.0, 1.0, -2.0][index % 5]))
    }

    #[test]
    fn every_change_is_found_at_its_first_value() {
        let values: Vec<_> = level(10.0, 20).chain(level(12.0, 15)).chain(level(9.0, 12)).collect();
        let found: Vec<_> = changes(&values, 1e-4).iter().map(|change| change.first).collect();
        assert_eq!(found, [20, 35]);
    }

    #[test]
    fn neither_a_level_series_nor_a_single_bad_value_is_a_change() {
        let mut values: Vec<_> = level(10.0, 40).collect();
        assert_eq!(changes(&values, 1e-4), []);
        values[30] = 40.0;
        assert_eq!(changes(&values, 1e-4), []);
        values[39] = 40.0;
        assert_eq!(changes(&values, 1e-4), []);
    }

    #[test]
    fn only_a_rise_of_the_newest_values_is_a_regression() {
        let threshold = Threshold { alpha: 1e-4, least_rise: 0.5 };
        let up: Vec<_> = level(10.0, 20).chain(level(12.0, 12)).collect();
        assert_eq!(regression(&up, threshold).map(|change| change.first), Some(20));
        assert_eq!(regression(&up, Threshold { least_rise: 2.5, ..threshold }), None, "too small");
        let mended: Vec<_> = up.iter().copied().chain(level(10.0, 12)).collect();
        assert_eq!(regression(&mended, threshold), None);
        let down: Vec<_> = level(12.0, 20).chain(level(10.0, 12)).collect();
        assert_eq!(regression(&down, threshold), None);
    }

    #[test]
    fn fewer_values_than_the_fewest_show_no_change_however_large() {
        for alpha in [0.05, 1e-3, 1e-5] {
            let fewest = fewest_values(alpha);
            let step = |count: usize| {
                let values: Vec<_> = (0..count).map(|n| n as f64 * 1e-3).collect();
                (1..count).any(|at| {
                    let mut values = values.clone();
                    values[at..].iter_mut().for_each(|value| *value += 1e3);
                    !changes(&values, alpha).is_empty()
                })
            };
            assert!(step(fewest) && !step(fewest - 1), "{alpha}: {fewest}");
        }
        assert!(can_differ(8, 8, 1e-3) && !can_differ(4, 4, 1e-3) && !can_differ(0, 9, 1.0));
    }

    #[test]
    fn a_series_that_is_too_short_has_no_change() {
        assert_eq!(changes(&[], 0.5), []);
        assert_eq!(changes(&[1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0], 0.5), [], "seven values");
        assert_eq!(changes(&[1.0, 1.1, 1.2, 1.3, 9.0, 9.1, 9.2, 9.3], 0.5).len(), 1, "four and four");
    }
}
