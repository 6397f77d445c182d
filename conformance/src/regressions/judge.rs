//! The changes of one series, and whether the newest values are worse than those before.

use statistics::{
    Change, Interval, Threshold, can_differ, changes, fewest_values, interval_of_shift, levels, mean, median,
    p_of_difference, regression,
};

use super::series::Series;

/// What is known about a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There are too few values: no change could be found, however large.
    TooFew {
        /// The fewest values that are enough; `None` if that depends on how they are split.
        needed: Option<usize>,
    },
    /// No change that matters.
    Level,
    /// The newest values are lower.
    Better,
    /// The newest values are higher: a regression.
    Worse,
    /// The newest values are higher, and somebody said that this is intended.
    Accepted,
}

/// The difference between the newest values and those before, as numbers that are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Values before.
    pub before: usize,
    /// Values since.
    pub after: usize,
    /// The mean before.
    pub from: f64,
    /// The mean since.
    pub to: f64,
    /// The confidence interval of the difference.
    pub interval: Interval,
    /// How likely a difference like this is by chance.
    pub p: f64,
    /// The first run since: its index in the list of runs that are compared.
    pub first: usize,
}

/// A series and what is known about it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The series.
    pub series: Series,
    /// What is known.
    pub state: State,
    /// The newest change; with a baseline, the difference to it.
    pub shift: Option<Shift>,
    /// The first run of every change: its index in the list of runs that are compared.
    pub changes: Vec<usize>,
}

/// Searches a series for changes.
pub(super) fn search(series: Series, alpha: f64) -> Judged {
    let numbers = series.numbers();
    let needed = fewest_values(alpha);
    if numbers.len() < needed {
        let state = State::TooFew { needed: Some(needed) };
        return Judged { series, state, shift: None, changes: Vec::new() };
    }
    let found = changes(&numbers, alpha);
    let threshold = Threshold { alpha, least_rise: series.least_rise(median(&numbers)) };
    let is_worse = regression(&numbers, threshold).is_some();
    let shift =
        levels(&numbers, &found).zip(found.last()).and_then(|((before, after), Change { first, p })| {
            shift(before, after, *p, series.points[*first].run)
        });
    let is_better = shift.is_some_and(|shift| shift.from - shift.to >= threshold.least_rise);
    let state = match (is_worse, is_better) {
        (true, _) => State::Worse,
        (false, true) => State::Better,
        (false, false) => State::Level,
    };
    let changes = found.iter().map(|change| series.points[change.first].run).collect();
    Judged { series, state, shift, changes }
}

/// Compares the values of the runs up to `baseline` with those after it.
pub(super) fn against(series: Series, baseline: usize, alpha: f64) -> Judged {
    let numbers = series.numbers();
    let at = series.points.partition_point(|point| point.run <= baseline);
    let (before, after) = numbers.split_at(at);
    if !can_differ(before.len(), after.len(), alpha) {
        return Judged { series, state: State::TooFew { needed: None }, shift: None, changes: Vec::new() };
    }
    let p = p_of_difference(before, after, alpha);
    let first = series.points[at].run;
    let shift = shift(before, after, p, first);
    let least = series.least_rise(median(before));
    let rise = mean(after) - mean(before);
    let state = match p <= alpha {
        true if rise >= least => State::Worse,
        true if -rise >= least => State::Better,
        _ => State::Level,
    };
    let changes = if state == State::Level { Vec::new() } else { vec![first] };
    Judged { series, state, shift, changes }
}

fn shift(before: &[f64], after: &[f64], p: f64, first: usize) -> Option<Shift> {
    let interval = interval_of_shift(before, after)?;
    let (from, to) = (mean(before), mean(after));
    Some(Shift { before: before.len(), after: after.len(), from, to, interval, p, first })
}

#[cfg(test)]
mod tests {
    use super::super::measure::Measure;
    use super::super::series::Point;
    use super::*;

    const ALPHA: f64 = 1e-4;

    /// A series of recovery times around these levels, one value for each.
    fn rto(levels: &[f64]) -> Series {
        let measure = Measure::find("rto").unwrap();
        let spread = |run: usize| 1.0 + 0.01 * [0.0, 2.0, -1.0, 1.0, -2.0][run % 5];
        let points = levels.iter().enumerate();
        let points = points
            .map(|(run, level)| Point { run, compared: measure.compared(level * spread(run)).unwrap() });
        Series { scenario: "s".into(), edge: "failover".into(), measure, points: points.collect() }
    }

    fn steps(levels: &[(f64, usize)]) -> Series {
        rto(&levels.iter().flat_map(|(level, count)| vec![*level; *count]).collect::<Vec<_>>())
    }

    #[test]
    fn a_slowdown_is_found_with_its_size_its_interval_and_its_first_run() {
        let judged = search(steps(&[(1.4, 30), (1.61, 10)]), ALPHA);
        assert_eq!((judged.state, &judged.changes[..]), (State::Worse, &[30][..]));
        let shift = judged.shift.unwrap();
        assert_eq!((shift.before, shift.after, shift.first), (30, 10, 30));
        let rise = (shift.to - shift.from).exp();
        assert!((rise - 1.15).abs() < 0.01, "{rise}");
        assert!(shift.interval.low.exp() > 1.12 && shift.interval.high.exp() < 1.18, "{shift:?}");
    }

    #[test]
    fn a_change_that_is_too_small_to_matter_or_for_the_better_is_no_regression() {
        let small = search(steps(&[(1.4, 40), (1.456, 20)]), ALPHA);
        assert_eq!((small.state, &small.changes[..]), (State::Level, &[40][..]), "4 %");
        assert_eq!(search(steps(&[(1.4, 30), (1.2, 10)]), ALPHA).state, State::Better);
        assert_eq!(search(steps(&[(1.4, 40)]), ALPHA).state, State::Level);
    }

    #[test]
    fn too_few_values_are_no_pass() {
        let judged = search(steps(&[(1.4, 1)]), ALPHA);
        assert!(matches!(judged.state, State::TooFew { needed: Some(16..=24) }), "{:?}", judged.state);
        assert_eq!(against(steps(&[(1.4, 2)]), 0, ALPHA).state, State::TooFew { needed: None });
        assert_eq!(against(steps(&[(1.4, 9)]), 20, ALPHA).state, State::TooFew { needed: None });
    }

    #[test]
    fn a_baseline_needs_fewer_runs() {
        let judged = against(steps(&[(1.4, 9), (1.61, 9)]), 8, ALPHA);
        assert_eq!((judged.state, judged.shift.unwrap().first), (State::Worse, 9));
        assert_eq!(against(steps(&[(1.4, 18)]), 8, ALPHA).state, State::Level);
        assert_eq!(against(steps(&[(1.6, 9), (1.4, 9)]), 8, ALPHA).state, State::Better);
    }
}
