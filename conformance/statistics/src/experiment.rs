//! How often the search for regressions is wrong, by simulation: false alarms on histories in which
//! nothing changed, and how soon a slowdown is found.

use fastrand::Rng;

use crate::changes::{LEAST, Threshold, regression};
use crate::interval::interval_of_shift;
use crate::mean;

/// How the values of a series are spread around their level. All are logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spread<'a> {
    /// Log-normal with this standard deviation.
    LogNormal(f64),
    /// Evenly between these two.
    Even(f64, f64),
    /// Log-normal, but some values are higher by `outlier`, as on a host that is busy at times.
    Outliers {
        /// The standard deviation.
        deviation: f64,
        /// The share of the values that are higher.
        share: f64,
        /// By how much they are higher.
        outlier: f64,
    },
    /// Drawn from these values, each with the same probability, and smoothed: a few values
    /// stand for all those between them.
    Recorded(&'a [f64]),
    /// Log-normal, and each value follows the one before it in part: no series of independent
    /// values, which the tests assume.
    Dependent {
        /// The standard deviation.
        deviation: f64,
        /// How much of a deviation is left in the next value.
        carry: f64,
    },
}

impl Spread<'_> {
    /// A series of values around 0.
    pub fn draw(&self, count: usize, rng: &mut Rng) -> Vec<f64> {
        let mut last = 0.0;
        let width = if let Self::Recorded(values) = self { kernel_width(values) } else { 0.0 };
        let mut next = || match *self {
            Self::LogNormal(deviation) => deviation * normal(rng),
            Self::Even(low, high) => low + (high - low) * rng.f64(),
            Self::Outliers { deviation, share, outlier } => {
                let higher = if rng.f64() < share { outlier } else { 0.0 };
                deviation * normal(rng) + higher
            }
            Self::Recorded(values) => values[rng.usize(..values.len())] + width * normal(rng),
            Self::Dependent { deviation, carry } => {
                let new = (1.0 - carry * carry).sqrt() * deviation * normal(rng);
                last = carry * last + new;
                last
            }
        };
        (0..count).map(|_| next()).collect()
    }
}

/// The width of the normal kernel that smooths a sample, by Silverman's rule.
fn kernel_width(values: &[f64]) -> f64 {
    let count = values.len().max(2) as f64;
    0.9 * deviation(values) * count.powf(-0.2)
}

/// The standard deviation of what a sample comes from.
#[must_use]
pub fn deviation(values: &[f64]) -> f64 {
    let centre = mean(values);
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    (squares / (values.len().max(2) - 1) as f64).sqrt()
}

/// A standard normal number, by the method of Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// How many of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub found: usize,
    /// Of how many.
    pub of: usize,
}

impl Share {
    /// The share as a number up to 1.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.found as f64 / self.of.max(1) as f64
    }

    fn count(hits: impl Iterator<Item = bool>) -> Self {
        let mut share = Self::default();
        for hit in hits {
            share.of += 1;
            share.found += usize::from(hit);
        }
        share
    }
}

/// The runs that a report looks at: the newest ones of a history that ends with run `last`.
fn window(values: &[f64], last: usize, longest: usize) -> &[f64] {
    &values[(last + 1).saturating_sub(longest)..=last]
}

/// Looks once at each of many series of `runs` runs in which nothing changed.
#[must_use]
pub fn one_look(spread: Spread<'_>, runs: usize, threshold: Threshold, series: usize, seed: u64) -> Share {
    let mut rng = Rng::with_seed(seed);
    Share::count((0..series).map(|_| regression(&spread.draw(runs, &mut rng), threshold).is_some()))
}

/// Looks at each of many series in which nothing changed after each of `runs` runs, as nights do,
/// and counts those that ever raised an alarm.
#[must_use]
pub fn every_night(
    spread: Spread<'_>,
    runs: usize,
    longest: usize,
    threshold: Threshold,
    series: usize,
    seed: u64,
) -> Share {
    let mut rng = Rng::with_seed(seed);
    Share::count((0..series).map(|_| {
        let values = spread.draw(runs, &mut rng);
        (2 * LEAST - 1..runs).any(|last| regression(window(&values, last, longest), threshold).is_some())
    }))
}

/// A run of many series on one host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Host<'a> {
    /// How many series.
    pub series: usize,
    /// How each is spread by itself.
    pub own: Spread<'a>,
    /// The standard deviation of what all of them have in common in a run.
    pub common: f64,
}

impl Host<'_> {
    /// Every series with `runs` runs, and the mean of all of them.
    fn draw(&self, runs: usize, rng: &mut Rng) -> Vec<Vec<f64>> {
        let common = Spread::LogNormal(self.common).draw(runs, rng);
        let one = |rng: &mut Rng| {
            let own = self.own.draw(runs, rng);
            own.iter().zip(&common).map(|(own, common)| own + common).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = (0..self.series).map(|_| one(rng)).collect();
        let mean_of_run = |run| mean(&all.iter().map(|series: &Vec<f64>| series[run]).collect::<Vec<_>>());
        all.push((0..runs).map(mean_of_run).collect());
        all
    }
}

/// What a year of nights, or any other number of them, raised on a host where nothing changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nights {
    /// Nights with an alarm of any series.
    pub nights: Share,
    /// Histories with such a night.
    pub histories: Share,
}

/// Follows many histories of one host through all their nights. `night_alpha` is shared by all
/// series of a night.
#[must_use]
pub fn nights(
    host: Host<'_>,
    runs: usize,
    longest: usize,
    night_alpha: f64,
    least_rise: f64,
    histories: usize,
    seed: u64,
) -> Nights {
    let mut rng = Rng::with_seed(seed);
    let threshold = Threshold { alpha: night_alpha / (host.series + 1) as f64, least_rise };
    let mut counted = Nights::default();
    for _ in 0..histories {
        let all = host.draw(runs, &mut rng);
        let alarms = Share::count((2 * LEAST - 1..runs).map(|last| {
            all.iter().any(|values| regression(window(values, last, longest), threshold).is_some())
        }));
        counted.nights.found += alarms.found;
        counted.nights.of += alarms.of;
        counted.histories.found += usize::from(alarms.found > 0);
        counted.histories.of += 1;
    }
    counted
}

/// What happens to a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// Its values rise by this.
    Rise(f64),
    /// Its values are multiplied by this.
    Factor(f64),
}

impl Effect {
    fn apply(self, value: f64) -> f64 {
        match self {
            Self::Rise(rise) => value + rise,
            Self::Factor(factor) => value * factor,
        }
    }
}

/// In how many of many series an effect that begins after `before` runs is found by the first, the
/// second, … of the `after` runs that follow.
#[must_use]
pub fn found_after(
    spread: Spread<'_>,
    (before, after): (usize, usize),
    effect: Effect,
    threshold: Threshold,
    series: usize,
    seed: u64,
) -> Vec<Share> {
    let mut rng = Rng::with_seed(seed);
    let mut found = vec![Share { found: 0, of: series }; after];
    for _ in 0..series {
        let mut values = spread.draw(before + after, &mut rng);
        values[before..].iter_mut().for_each(|value| *value = effect.apply(*value));
        let first = (1..=after).find(|count| regression(&values[..before + count], threshold).is_some());
        if let Some(first) = first {
            found[first - 1..].iter_mut().for_each(|share| share.found += 1);
        }
    }
    found
}

/// How often the interval of a rise contains the true one.
#[must_use]
pub fn coverage(spread: Spread<'_>, before: usize, after: usize, series: usize, seed: u64) -> Share {
    let mut rng = Rng::with_seed(seed);
    let rise = 0.1;
    Share::count((0..series).map(|_| {
        let values = spread.draw(before + after, &mut rng);
        let after: Vec<_> = values[before..].iter().map(|value| value + rise).collect();
        let interval = interval_of_shift(&values[..before], &after);
        interval.is_some_and(|interval| interval.low <= rise && rise <= interval.high)
    }))
}

#[cfg(test)]
#[path = "experiment_tests.rs"]
mod tests;
