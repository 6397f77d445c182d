//! Times, statistics over them, and the tables that show them.

use std::fmt;
use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

/// A figure that was measured in several rounds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample(Vec<f64>);

impl Sample {
    /// Takes figures in any order; `None` if there are none.
    pub(super) fn new(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        (!figures.is_empty()).then_some(Self(figures))
    }

    /// Takes times, as seconds.
    pub(super) fn of_times(times: &[Duration]) -> Option<Self> {
        Self::new(times.iter().map(Duration::as_secs_f64).collect())
    }

    /// How many times faster than `theirs` our times are, each compared within its own round.
    pub(super) fn of_ratios(theirs: &[Duration], ours: &[Duration]) -> Option<Self> {
        Self::new(theirs.iter().zip(ours).map(|(their, our)| their.div_duration_f64(*our)).collect())
    }

    /// The median.
    pub(super) fn median(&self) -> f64 {
        let low = (self.0.len() - 1) / 2;
        let high = self.0.len() / 2;
        (self.0[low] + self.0[high]) / 2.0
    }
}

/// A sample in few numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    /// The median of the rounds.
    pub median: f64,
    /// The smallest value.
    pub least: f64,
    /// The largest value.
    pub most: f64,
}

impl From<&Sample> for Spread {
    fn from(sample: &Sample) -> Self {
        let (least, most) = (sample.0[0], sample.0[sample.0.len() - 1]);
        Self { median: sample.median(), least, most }
    }
}

/// A time of ours next to that of its reference, measured in the same rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Figure {
    /// The name of the row, by which the page knows it.
    pub row: String,
    /// Our time in seconds.
    pub ours: Spread,
    /// The reference's time in seconds.
    pub reference: Spread,
    /// Ours divided by the reference's, each within its own round.
    pub ratio: Spread,
}

/// What a run of the benchmark found, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    /// The host's processor, cores and kernel.
    pub(super) host: String,
    /// Rounds of each measurement.
    pub(super) rounds: u32,
    /// Whether something else ran so much that the figures mean nothing.
    pub(super) busy: bool,
    /// The rows.
    pub(super) figures: Vec<Figure>,
}

/// All rows that were measured.
#[derive(Debug, Default)]
pub(super) struct Figures(pub(super) Vec<Figure>);

impl Figures {
    /// Adds a row.
    pub(super) fn add(&mut self, row: &str, ours: &[Duration], reference: &[Duration]) -> Result<()> {
        let sample = |times: &[Duration]| Sample::of_times(times).context("no round was run");
        let ratio = Sample::of_ratios(ours, reference).context("no round was run")?;
        self.0.push(Figure {
            row: row.to_owned(),
            ours: Spread::from(&sample(ours)?),
            reference: Spread::from(&sample(reference)?),
            ratio: Spread::from(&ratio),
        });
        Ok(())
    }
}

/// The median, and the range over the rounds.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.0[0];
        let most = self.0[self.0.len() - 1];
        write!(f, "{:.2} ({least:.2} to {most:.2})", self.median())
    }
}

/// A table whose first column is aligned left and all others right.
pub(super) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Syncs a file to disk and returns the time since `began`.
pub(super) fn synced(path: &Utf8Path, began: Instant) -> Result<Duration> {
    File::open(path).and_then(|file| file.sync_all()).with_context(|| format!("sync {path}"))?;
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_printed_with_the_range() {
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
