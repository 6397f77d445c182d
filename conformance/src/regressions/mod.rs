//! Regressions: what changed for the worse since earlier runs of the history.
//!
//! - `measure`: what is compared, and by how much it must rise to matter
//! - `comparable`: which runs can be compared
//! - `series`: the values of comparable runs, one series for each edge and measure
//! - `pooled`: one more series for each measure, of all edges together
//! - `judge`: the changes of a series
//! - `compare`: all series of a run or a benchmark, with one limit on false alarms for all of them
//! - `words`: the same as lines for the terminal
//! - `figures`: how often that is wrong, by simulation; `page` and `page_plots` document it
//!
//! `docs/regressions.md` says how often this is wrong.

mod comparable;
pub(crate) mod compare;
mod figures;
mod judge;
mod measure;
mod page;
mod page_plots;
mod pooled;
mod series;
mod words;

pub use compare::{Against, Comparison, NIGHT_ALPHA, NotCompared, USUAL_LAST, compare, compare_bench};
pub use judge::{Judged, Shift, State};
pub use measure::{MEASURES, Measure, Scale};
pub use page::{Page, figures_again, pages};
pub use series::{Point, Series};
pub use words::{lines, sentence, table};
