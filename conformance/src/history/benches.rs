//! Figures of the benchmark. They are in a table of their own, so that nothing which counts,
//! compares or lists runs meets them.

use rusqlite::{Connection, TransactionBehavior, params};

use super::record::{Metric, RunRecord};
use super::store::{History, Result, text};

/// The table. Histories of older suites lack it, and older suites leave it alone.
pub(super) const TABLE: &str = "benches";
/// Makes it. A record has a dozen values, which are therefore part of its JSON.
const MAKE: &str = "
CREATE TABLE IF NOT EXISTS benches (
    run TEXT PRIMARY KEY,
    began TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;
";

/// The only scenario of a benchmark's record.
pub const BENCH: &str = "bench";

/// What the metrics of a benchmark's record say. The name of the row follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchValue {
    /// Our time divided by the reference's, each within its own round: the median.
    Ratio,
    /// Our time in milliseconds: the median.
    Ours,
    /// The reference's time in milliseconds: the median.
    Reference,
}

impl BenchValue {
    /// Of one row, in the order in which people read them.
    pub const ALL: [Self; 3] = [Self::Ours, Self::Reference, Self::Ratio];

    fn prefix(self) -> &'static str {
        match self {
            Self::Ratio => "bench-ratio ",
            Self::Ours => "bench-ms ",
            Self::Reference => "bench-reference-ms ",
        }
    }

    /// The metric of a row; `None` if the value is none that the file can keep.
    #[must_use]
    pub fn of(self, row: &str, value: f64) -> Option<Metric> {
        let name = self.prefix().to_owned() + row;
        let metric = Metric { scenario: BENCH.to_owned(), edge: String::new(), name, value };
        value.is_finite().then_some(metric)
    }

    /// The row that a metric with this name is about, if it says this of one.
    #[must_use]
    pub fn row(self, name: &str) -> Option<&str> {
        name.strip_prefix(self.prefix())
    }
}

impl History {
    /// Adds the figures of a benchmark. Either all of them are written or nothing.
    ///
    /// # Errors
    /// The file cannot be written, or has a benchmark with this id.
    pub fn add_bench(&mut self, record: &RunRecord) -> Result<()> {
        let text = text(&self.path, record)?;
        let failed = self.failed();
        let add = |connection: &mut Connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            change.execute_batch(MAKE)?;
            let insert = "INSERT INTO benches (run, began, record) VALUES (?1, ?2, ?3)";
            change.execute(insert, params![record.run, record.began, text])?;
            change.commit()
        };
        add(&mut self.connection).map_err(failed)
    }

    /// Every benchmark with its figures, the oldest first.
    ///
    /// # Errors
    /// The file cannot be read, or a record in it is malformed.
    pub fn benches(&self) -> Result<Vec<RunRecord>> {
        if !self.has_table(TABLE)? {
            return Ok(Vec::new());
        }
        self.records("SELECT record FROM benches ORDER BY began, run", params![])
    }

    /// One benchmark with its figures.
    ///
    /// # Errors
    /// There is none with this id, or it cannot be read.
    pub fn bench(&self, id: &str) -> Result<RunRecord> {
        if !self.has_table(TABLE)? {
            return Err(self.no_such_run(id));
        }
        let mut found = self.records("SELECT record FROM benches WHERE run = ?1", params![id])?;
        found.pop().ok_or_else(|| self.no_such_run(id))
    }
}

#[cfg(test)]
#[path = "benches_tests.rs"]
pub(super) mod tests;
