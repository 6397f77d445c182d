//! What survives the process: items and jobs, in SQLite.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use contract::{CoreError, ErrorCode, JobView};
use rusqlite::Connection;

use crate::item::Record;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS item (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS job (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
";

/// The core's memory. Each change is one transaction.
pub(crate) struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, CoreError> {
        let connection = Connection::open(path).map_err(|e| failed("open", &e))?;
        connection.execute_batch(SCHEMA).map_err(|e| failed("prepare", &e))?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    pub(crate) fn put_item(&self, record: &Record) -> Result<(), CoreError> {
        self.put("INSERT OR REPLACE INTO item (id, record) VALUES (?1, ?2)", &record.id.0, record)
    }

    pub(crate) fn remove_item(&self, record: &Record) -> Result<(), CoreError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = connection.execute("DELETE FROM item WHERE id = ?1", [&record.id.0]);
        removed.map(drop).map_err(|e| failed("write", &e))
    }

    pub(crate) fn put_job(&self, job: &JobView) -> Result<(), CoreError> {
        self.put("INSERT OR REPLACE INTO job (id, record) VALUES (?1, ?2)", &job.id.0, job)
    }

    fn put(&self, statement: &str, id: &str, record: &impl serde::Serialize) -> Result<(), CoreError> {
        let text = serde_json::to_string(record)
            .map_err(|e| CoreError::new(ErrorCode::Store, format!("a record cannot be written: {e}")))?;
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.execute(statement, (id, text)).map(drop).map_err(|e| failed("write", &e))
    }
}

fn failed(tried: &str, error: &rusqlite::Error) -> CoreError {
    CoreError::new(ErrorCode::Store, format!("the core's store: {tried}: {error}"))
}
