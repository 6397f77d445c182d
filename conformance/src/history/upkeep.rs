//! What is done with one run or with the oldest, of scenarios or of the benchmark.

use std::collections::BTreeSet;

use rusqlite::{Connection, TransactionBehavior};

use super::benches;
use super::error::HistoryError;
use super::record::RunRecord;
use super::store::{History, Result};

/// What a record is about. Each kind is kept, compared and accepted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A run of scenarios.
    Run,
    /// A run of the benchmark.
    Bench,
}

impl Kind {
    /// The table of its records.
    fn table(self) -> &'static str {
        match self {
            Self::Run => "runs",
            Self::Bench => benches::TABLE,
        }
    }

    /// The table of the runs up to which changes are intended. Histories of older suites lack it,
    /// and older suites leave it alone. It keeps the time, because the run may be deleted.
    fn accepted(self) -> &'static str {
        match self {
            Self::Run => "accepted",
            Self::Bench => "accepted_benches",
        }
    }
}

/// A run up to which changes are intended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AcceptedRun {
    /// Its id.
    pub run: String,
    /// When it began.
    pub began: String,
}

impl AcceptedRun {
    /// Whether this is the run.
    #[must_use]
    pub fn is(&self, run: &RunRecord) -> bool {
        (&self.run, &self.began) == (&run.run, &run.began)
    }
}

/// How many records were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Runs of scenarios.
    pub runs: usize,
    /// Runs of the benchmark.
    pub benches: usize,
}

impl History {
    /// The record with this id and what was measured, whatever it is about.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn find(&self, id: &str) -> Result<(Kind, RunRecord)> {
        match self.run(id) {
            Err(HistoryError::NoSuchRun { .. }) => Ok((Kind::Bench, self.bench(id)?)),
            found => Ok((Kind::Run, found?)),
        }
    }

    /// Notes that whatever changed up to this run is intended, so that it is no regression. That of
    /// a benchmark says nothing about runs of scenarios, nor the other way round.
    ///
    /// # Errors
    /// There is no run with this id, or the file cannot be written.
    pub fn accept(&mut self, id: &str) -> Result<()> {
        let (kind, run) = self.find(id)?;
        let failed = self.failed();
        let accept = |connection: &mut Connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let table = kind.accepted();
            change.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS {table} (run TEXT PRIMARY KEY, began TEXT NOT NULL) STRICT"
            ))?;
            let insert = format!("INSERT OR REPLACE INTO {table} (run, began) VALUES (?1, ?2)");
            change.execute(&insert, [&run.run, &run.began])?;
            change.commit()
        };
        accept(&mut self.connection).map_err(failed)
    }

    /// The runs of this kind that were accepted, also those that were deleted since.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn accepted(&self, kind: Kind) -> Result<BTreeSet<AcceptedRun>> {
        if !self.has_table(kind.accepted())? {
            return Ok(BTreeSet::new());
        }
        let read = || {
            let select = format!("SELECT run, began FROM {}", kind.accepted());
            let mut select = self.connection.prepare(&select)?;
            let runs =
                select.query_map([], |row| Ok(AcceptedRun { run: row.get(0)?, began: row.get(1)? }))?;
            runs.collect::<rusqlite::Result<_>>()
        };
        read().map_err(self.failed())
    }

    /// Deletes all records of each kind but the newest `keep`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn prune(&mut self, keep: u32) -> Result<Pruned> {
        let has_benches = self.has_table(Kind::Bench.table())?;
        let failed = self.failed();
        let delete = |connection: &mut Connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let oldest = |kind: Kind| {
                let table = kind.table();
                let newest = format!("SELECT run FROM {table} ORDER BY began DESC, run DESC LIMIT ?1");
                change.execute(&format!("DELETE FROM {table} WHERE run NOT IN ({newest})"), [keep])
            };
            let runs = oldest(Kind::Run)?;
            let benches = if has_benches { oldest(Kind::Bench)? } else { 0 };
            change.commit()?;
            connection.execute_batch("VACUUM")?;
            Ok(Pruned { runs, benches })
        };
        delete(&mut self.connection).map_err(failed)
    }
}

#[cfg(test)]
#[path = "upkeep_tests.rs"]
mod tests;
