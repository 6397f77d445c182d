//! One quantity over all cycles, and whether it grows.

use std::fmt;

use statistics::{FEWEST_FOR_SLOPE, Slope, mean, slope};

/// Growth by at most this share of the mean in each cycle is tolerated: a tenth in a hundred
/// cycles.
const TOLERATED: f64 = 0.001;
/// Growth of memory and disk by so many bytes in each cycle is tolerated too: a core keeps the
/// records of its jobs.
const TOLERATED_BYTES: f64 = 32.0 * 1024.0;

/// Which of the first cycles are left out, in which caches fill and pools of threads start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WarmUp {
    /// A tenth of all.
    Tenth,
    /// All before this one.
    Before(u32),
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Milliseconds,
    Pieces,
}

/// A quantity over all cycles.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) unit: Unit,
    /// One value for each cycle, in order.
    pub(super) values: Vec<f64>,
    /// The cycle of the first value.
    first: u32,
    /// Whether growth of it counts. What other programs of the host change is only shown.
    pub(super) counts: bool,
}

/// Whether it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trend {
    /// Not by more than is tolerated: the whole interval lies below that.
    Flat,
    /// By more than is tolerated: the whole interval lies above that.
    Grows,
    /// More cycles would tell: what is tolerated lies within the interval.
    Undecided,
    /// There are too few cycles for an interval.
    TooFew,
}

/// A quantity's mean, its growth in each cycle as a share of that, and what follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judged {
    pub(super) mean: f64,
    pub(super) growth: Option<Slope>,
    pub(super) trend: Trend,
}

impl Series {
    pub(super) fn new(name: impl Into<String>, unit: Unit, values: Vec<f64>) -> Self {
        Self { name: name.into(), unit, values, first: 1, counts: true }
    }

    /// A quantity that is known as a sum over all cycles so far.
    pub(super) fn of_sums(name: impl Into<String>, unit: Unit, sums: &[f64]) -> Self {
        let values = sums.windows(2).map(|pair| (pair[1] - pair[0]).max(0.0)).collect();
        Self { first: 2, ..Self::new(name, unit, values) }
    }

    /// The same, if growth of it is only shown.
    pub(super) fn only_shown(self) -> Self {
        Self { counts: false, ..self }
    }

    /// Judges it without its first values.
    pub(super) fn judge(&self, warm_up: WarmUp) -> Judged {
        let count = self.values.len();
        let left_out = match warm_up {
            WarmUp::Tenth => count.div_ceil(10),
            WarmUp::Before(cycle) => cycle.saturating_sub(self.first) as usize,
        };
        let values = &self.values[left_out.min(count)..];
        let mean = mean(values);
        let growth = slope(values).map(|slope| relative(slope, mean));
        let tolerated = match self.unit {
            Unit::Bytes if mean > 0.0 => TOLERATED.max(TOLERATED_BYTES / mean),
            _ => TOLERATED,
        };
        let trend = match growth {
            None => Trend::TooFew,
            Some(growth) if growth.low > tolerated => Trend::Grows,
            Some(growth) if growth.high > tolerated => Trend::Undecided,
            Some(_) => Trend::Flat,
        };
        Judged { mean, growth, trend }
    }

    /// The mean, as it is shown.
    pub(super) fn show(&self, mean: f64) -> String {
        match self.unit {
            Unit::Bytes => format!("{:.1} MiB", mean / f64::from(1 << 20)),
            Unit::Milliseconds => format!("{mean:.0} ms"),
            Unit::Pieces => format!("{mean:.1}"),
        }
    }
}

/// What is tolerated, in words.
pub(super) fn tolerated() -> String {
    let (share, kib) = (100.0 * TOLERATED, TOLERATED_BYTES / 1024.0);
    format!("tolerated in a cycle: growth by {share:.1} % of the mean; of memory and disk, by {kib:.0} KiB")
}

/// A slope as a share of the mean. The quantities here are never negative, so a mean of 0 is that
/// of zeroes.
fn relative(slope: Slope, mean: f64) -> Slope {
    let share = |value: f64| if mean == 0.0 { 0.0 } else { value / mean };
    Slope { per_step: share(slope.per_step), low: share(slope.low), high: share(slope.high) }
}

/// The fewest cycles that can be judged: one more than values, because of sums.
pub(super) const FEWEST: usize = FEWEST_FOR_SLOPE + 1;

impl fmt::Display for Trend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flat => "flat",
            Self::Grows => "GROWS",
            Self::Undecided => "undecided",
            Self::TooFew => "too few cycles",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that vary by a tenth, in an order without a trend, and grow by a share in each cycle.
    fn series(cycles: usize, growth: f64) -> Series {
        let value = |cycle: usize| {
            let noise = ((cycle * 7919) % 101) as f64 / 1010.0;
            1.0e8 * (1.0 + noise + growth * cycle as f64)
        };
        Series::new("memory", Unit::Bytes, (0..cycles).map(value).collect())
    }

    #[test]
    fn a_leak_is_found_and_noise_is_not() {
        assert_eq!(series(100, 0.0).judge(WarmUp::Tenth).trend, Trend::Flat);
        assert_eq!(series(100, 0.0004).judge(WarmUp::Tenth).trend, Trend::Flat);
        assert_eq!(series(100, 0.003).judge(WarmUp::Tenth).trend, Trend::Grows);
        assert_eq!(series(12, 0.0).judge(WarmUp::Tenth).trend, Trend::Undecided);
        assert_eq!(series(12, 0.2).judge(WarmUp::Tenth).trend, Trend::Grows);
        assert_eq!(series(5, 0.2).judge(WarmUp::Tenth).trend, Trend::TooFew);
        assert_eq!(Series::new("none", Unit::Bytes, Vec::new()).judge(WarmUp::Tenth).trend, Trend::TooFew);
    }

    #[test]
    fn the_records_of_a_few_jobs_are_no_leak() {
        let memory = |each: u32| (0..60).map(|cycle| f64::from(4 << 20) + f64::from(each * cycle)).collect();
        let trend = |each| Series::new("memory", Unit::Bytes, memory(each)).judge(WarmUp::Tenth).trend;
        assert_eq!((trend(20 << 10), trend(40 << 10)), (Trend::Flat, Trend::Grows));
    }

    #[test]
    fn one_descriptor_that_stays_open_in_each_cycle_is_found() {
        let files = |leak: bool| {
            let value =
                |cycle: u32| f64::from(40 + u32::from(cycle.is_multiple_of(3)) + u32::from(leak) * cycle);
            Series::new("files", Unit::Pieces, (0..30).map(value).collect()).judge(WarmUp::Tenth).trend
        };
        assert_eq!(files(true), Trend::Grows);
        assert_eq!(files(false), Trend::Flat);
    }

    #[test]
    fn a_start_that_warms_up_and_a_constant_are_flat() {
        let warm = |cycle: u32| if cycle < 4 { f64::from(cycle) } else { 10.0 + f64::from(cycle % 2) };
        assert_eq!(
            Series::new("warm", Unit::Pieces, (0..60).map(warm).collect()).judge(WarmUp::Tenth).trend,
            Trend::Flat
        );
        let zeroes = Series::new("zeroes", Unit::Bytes, vec![0.0; 20]).judge(WarmUp::Tenth);
        assert_eq!((zeroes.trend, zeroes.growth.map(|growth| growth.high)), (Trend::Flat, Some(0.0)));
    }

    #[test]
    fn what_fills_up_and_stays_full_is_flat_from_then_on() {
        let filling = |cycle: u32| f64::from(cycle.min(13)) + f64::from(cycle % 2) / 100.0;
        let series = Series::new("ring", Unit::Milliseconds, (1..=20).map(filling).collect());
        assert_eq!(series.judge(WarmUp::Tenth).trend, Trend::Grows);
        assert_eq!(series.judge(WarmUp::Before(13)).trend, Trend::Flat);
        assert_eq!(series.judge(WarmUp::Before(18)).trend, Trend::TooFew);
        assert_eq!(series.judge(WarmUp::Before(900)).trend, Trend::TooFew);
    }

    #[test]
    fn a_sum_begins_with_the_second_cycle() {
        let sums = [5.0, 9.0, 12.0, 14.0, 15.0, 15.0, 15.0, 15.0];
        let series = Series::of_sums("time", Unit::Milliseconds, &sums);
        assert_eq!(series.values, [4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(series.judge(WarmUp::Before(3)).mean, 1.0, "the second cycle is left out");
    }
}
