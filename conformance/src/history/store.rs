//! The file of the history.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

use super::error::HistoryError;
use super::record::{Metric, RunRecord};

/// Version of the tables below, which SQLite keeps as `user_version`.
const VERSION: i64 = 1;
/// Tells a history from any other SQLite file: `RTRP`.
const APPLICATION: i64 = 0x5254_5250;
/// How long to wait for another writer.
const BUSY: Duration = Duration::from_secs(30);

/// A run is one row, as JSON without its metrics, which have rows of their own. The other columns
/// are for searching.
const TABLES: &str = "
CREATE TABLE runs (
    run TEXT PRIMARY KEY,
    began TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE INDEX runs_began ON runs (began);
CREATE TABLE metrics (
    run TEXT NOT NULL REFERENCES runs ON DELETE CASCADE,
    scenario TEXT NOT NULL,
    edge TEXT NOT NULL,
    name TEXT NOT NULL,
    value REAL NOT NULL
) STRICT;
CREATE INDEX metrics_run ON metrics (run);
CREATE INDEX metrics_name ON metrics (name, scenario, edge);
";

/// An open history.
#[derive(Debug)]
pub struct History {
    pub(super) path: Utf8PathBuf,
    pub(super) connection: Connection,
}

pub(super) type Result<T> = std::result::Result<T, HistoryError>;

impl History {
    /// Opens a history, and makes the file if there is none.
    ///
    /// # Errors
    /// The file is damaged, no history, from a newer suite, or cannot be written.
    pub fn open(path: &Utf8Path) -> Result<Self> {
        let connection = Connection::open(path).map_err(|error| HistoryError::of(path, &error))?;
        let mut history = Self { path: path.to_owned(), connection };
        history.prepare()?;
        Ok(history)
    }

    /// Opens a history only to read it; `None` if there is no file.
    ///
    /// # Errors
    /// The file is damaged, no history, or from a newer suite.
    pub fn read(path: &Utf8Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        // A writer that was killed leaves a journal, which only a connection that may write can
        // roll back. Where the file may not be written, it is read as it is.
        let writable = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE);
        let connection =
            writable.or_else(|_| Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY));
        let connection = connection.map_err(|error| HistoryError::of(path, &error))?;
        let mut history = Self { path: path.to_owned(), connection };
        history.prepare()?;
        Ok(Some(history))
    }

    /// Checks what the file is, and makes the tables in an empty one.
    fn prepare(&mut self) -> Result<()> {
        let path = self.path.clone();
        let checked = (|| {
            self.connection.busy_timeout(BUSY)?;
            self.connection.pragma_update(None, "foreign_keys", true)?;
            // The lock is taken first, so that of two processes one makes the tables.
            let version = self.version()?;
            if version == (0, 0) {
                let make = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let empty: i64 =
                    make.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
                if empty == 0 {
                    make.execute_batch(TABLES)?;
                    make.pragma_update(None, "application_id", APPLICATION)?;
                    make.pragma_update(None, "user_version", VERSION)?;
                }
                make.commit()?;
            }
            self.version()
        })();
        match checked.map_err(|error| HistoryError::of(&path, &error))? {
            (APPLICATION, VERSION) => Ok(()),
            (APPLICATION, version) if version > VERSION => {
                Err(HistoryError::Newer { path, version, known: VERSION })
            }
            (application, version) => {
                let why = format!("application {application:#x}, version {version}");
                Err(HistoryError::Damaged { path, why })
            }
        }
    }

    fn version(&self) -> rusqlite::Result<(i64, i64)> {
        let of = |name| self.connection.pragma_query_value(None, name, |row| row.get(0));
        Ok((of("application_id")?, of("user_version")?))
    }

    /// What an error of SQLite means for this history.
    pub(super) fn failed(&self) -> impl Fn(rusqlite::Error) -> HistoryError + use<> {
        let path = self.path.clone();
        move |error| HistoryError::of(&path, &error)
    }

    /// Adds a run, or replaces it if it is there already, and returns its id in the history. Either
    /// all of it is written or nothing.
    ///
    /// A run is named by its directory, which may have had another run before. The later one then
    /// has the id `RUN@BEGAN`, so that both are kept.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, record: &RunRecord) -> Result<String> {
        let failed = self.failed();
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let change = change.map_err(&failed)?;
        let run = free_id(&change, record).map_err(&failed)?;
        let without_metrics = RunRecord { run: run.clone(), metrics: Vec::new(), ..record.clone() };
        let text = text(&self.path, &without_metrics)?;
        let add = || {
            change.execute("DELETE FROM runs WHERE run = ?1", [&run])?;
            change.execute(
                "INSERT INTO runs (run, began, fingerprint, record) VALUES (?1, ?2, ?3, ?4)",
                params![run, record.began, record.fingerprint, text],
            )?;
            let mut insert = change.prepare(
                "INSERT INTO metrics (run, scenario, edge, name, value) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for metric in &record.metrics {
                insert.execute(params![run, metric.scenario, metric.edge, metric.name, metric.value])?;
            }
            Ok(())
        };
        add().map_err(&failed)?;
        change.commit().map_err(failed)?;
        Ok(run)
    }

    /// Every run without its metrics, the oldest first.
    ///
    /// # Errors
    /// The file cannot be read, or a run in it is malformed.
    pub fn runs(&self) -> Result<Vec<RunRecord>> {
        self.records("SELECT record FROM runs ORDER BY began, run", params![])
    }

    /// Every run on hosts with this fingerprint, without its metrics, the newest first.
    ///
    /// # Errors
    /// The file cannot be read, or a run in it is malformed.
    pub fn on_host(&self, fingerprint: &str) -> Result<Vec<RunRecord>> {
        let select = "SELECT record FROM runs WHERE fingerprint = ?1 ORDER BY began DESC, run DESC";
        self.records(select, params![fingerprint])
    }

    /// The records that a statement selects.
    pub(super) fn records(&self, select: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<RunRecord>> {
        let read = || {
            let mut select = self.connection.prepare(select)?;
            let texts = select.query_map(values, |row| row.get::<_, String>(0))?;
            texts.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(self.failed())?.iter().map(|text| self.parse(text)).collect()
    }

    /// One run with its metrics.
    ///
    /// # Errors
    /// There is none with this id, or it cannot be read.
    pub fn run(&self, id: &str) -> Result<RunRecord> {
        let mut runs = self.records("SELECT record FROM runs WHERE run = ?1", params![id])?;
        let run = runs.pop().ok_or_else(|| self.no_such_run(id))?;
        let read = || {
            let select = "SELECT scenario, edge, name, value FROM metrics WHERE run = ?1 ORDER BY rowid";
            let mut select = self.connection.prepare(select)?;
            select.query_map([id], metric)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        Ok(RunRecord { metrics: read().map_err(self.failed())?, ..run })
    }

    /// Everything that was measured in these runs but the steps, each value with the index of its
    /// run, in the order in which it was added.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn measured(&self, runs: &[RunRecord]) -> Result<Vec<(usize, Metric)>> {
        self.metrics(runs, "name NOT LIKE 'step-ms%'")
    }

    /// How long the steps of these runs took, each value with the index of its run.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn steps(&self, runs: &[RunRecord]) -> Result<Vec<(usize, Metric)>> {
        self.metrics(runs, "name LIKE 'step-ms%'")
    }

    fn metrics(&self, runs: &[RunRecord], which: &str) -> Result<Vec<(usize, Metric)>> {
        let read = || {
            let mut select = self.connection.prepare(&format!(
                "SELECT scenario, edge, name, value FROM metrics WHERE run = ?1 AND {which} ORDER BY rowid"
            ))?;
            let mut all = Vec::new();
            for (index, run) in runs.iter().enumerate() {
                let metrics = select.query_map([&run.run], metric)?;
                for metric in metrics {
                    all.push((index, metric?));
                }
            }
            Ok(all)
        };
        read().map_err(self.failed())
    }

    /// Whether the file has a table that older suites did not make.
    pub(super) fn has_table(&self, name: &str) -> Result<bool> {
        let select = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1";
        let tables = self.connection.query_row(select, [name], |row| row.get::<_, i64>(0));
        tables.map(|count| count > 0).map_err(self.failed())
    }

    /// That nothing has this id.
    pub(super) fn no_such_run(&self, id: &str) -> HistoryError {
        HistoryError::NoSuchRun { path: self.path.clone(), run: id.to_owned() }
    }

    fn parse(&self, text: &str) -> Result<RunRecord> {
        serde_json::from_str(text)
            .map_err(|error| HistoryError::Damaged { path: self.path.clone(), why: error.to_string() })
    }
}

/// The metric in a row of its columns.
fn metric(row: &rusqlite::Row<'_>) -> rusqlite::Result<Metric> {
    Ok(Metric { scenario: row.get(0)?, edge: row.get(1)?, name: row.get(2)?, value: row.get(3)? })
}

/// A record as the file keeps it.
pub(super) fn text(path: &Utf8Path, record: &RunRecord) -> Result<String> {
    serde_json::to_string(record)
        .map_err(|error| HistoryError::Unusable { path: path.to_owned(), why: error.to_string() })
}

/// The id that a run has or gets: its name, unless that is another run's.
fn free_id(history: &Connection, record: &RunRecord) -> rusqlite::Result<String> {
    let began = "SELECT began FROM runs WHERE run = ?1";
    let began: Option<String> = history.query_row(began, [&record.run], |row| row.get(0)).optional()?;
    Ok(match began {
        Some(began) if began != record.began => format!("{}@{}", record.run, record.began),
        _ => record.run.clone(),
    })
}

#[cfg(test)]
#[path = "store_tests.rs"]
pub(super) mod tests;
