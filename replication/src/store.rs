//! What survives the process: items and jobs, in SQLite.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use contract::{CoreError, ErrorCode, PolicyId, PolicyView};
use rusqlite::Connection;

use crate::item::Record;
use crate::jobs::Kept;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS item (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS policy (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS job (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
";

const PUT_ITEM: &str = "INSERT OR REPLACE INTO item (id, record) VALUES (?1, ?2)";
// Keeps its place, so that jobs stay in the order in which they began.
const PUT_JOB: &str =
    "INSERT INTO job (id, record) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET record = ?2";

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

    /// Every item and every job, jobs in the order in which they began.
    pub(crate) fn load(&self) -> Result<(Vec<Record>, Vec<Kept>), CoreError> {
        Ok((
            self.all("SELECT record FROM item ORDER BY id")?,
            self.all("SELECT record FROM job ORDER BY rowid")?,
        ))
    }

    fn all<T: serde::de::DeserializeOwned>(&self, query: &str) -> Result<Vec<T>, CoreError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare(query).map_err(|e| failed("read", &e))?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(|e| failed("read", &e))?;
        let records = rows.map(|row| {
            let text = row.map_err(|e| failed("read", &e))?;
            serde_json::from_str(&text).map_err(|error| {
                let text = format!("the core's store holds a record that is not understood: {error}");
                CoreError::new(ErrorCode::Store, text)
            })
        });
        records.collect()
    }

    pub(crate) fn put_item(&self, record: &Record) -> Result<(), CoreError> {
        self.put(PUT_ITEM, &record.id.0, record)
    }

    pub(crate) fn remove_item(&self, record: &Record) -> Result<(), CoreError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = connection.execute("DELETE FROM item WHERE id = ?1", [&record.id.0]);
        removed.map(drop).map_err(|e| failed("write", &e))
    }

    pub(crate) fn put_job(&self, job: &Kept) -> Result<(), CoreError> {
        self.put(PUT_JOB, &job.view.id.0, job)
    }

    /// A job begins and holds its item: both or neither.
    pub(crate) fn begin(&self, job: &Kept, item: &Record) -> Result<(), CoreError> {
        let rows = [(PUT_JOB, &job.view.id.0, written(job)?), (PUT_ITEM, &item.id.0, written(item)?)];
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let both = || {
            let transaction = connection.transaction()?;
            for (statement, id, text) in rows {
                transaction.execute(statement, (id, text))?;
            }
            transaction.commit()
        };
        both().map_err(|e| failed("write", &e))
    }

    pub(crate) fn policies(&self) -> Result<Vec<PolicyView>, CoreError> {
        self.all("SELECT record FROM policy ORDER BY id")
    }

    /// All of them or none.
    pub(crate) fn put_policies(&self, policies: &[PolicyView]) -> Result<(), CoreError> {
        self.together(policies, |transaction, policy| {
            let statement = "INSERT OR REPLACE INTO policy (id, record) VALUES (?1, ?2)";
            transaction.execute(statement, (&policy.id.0, written(policy)?)).map_err(|e| failed("write", &e))
        })
    }

    /// All of them or none.
    pub(crate) fn remove_policies(&self, policies: &[PolicyId]) -> Result<(), CoreError> {
        self.together(policies, |transaction, id| {
            transaction.execute("DELETE FROM policy WHERE id = ?1", [&id.0]).map_err(|e| failed("write", &e))
        })
    }

    fn together<T>(
        &self,
        records: &[T],
        each: impl Fn(&rusqlite::Transaction<'_>, &T) -> Result<usize, CoreError>,
    ) -> Result<(), CoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction().map_err(|e| failed("write", &e))?;
        for record in records {
            each(&transaction, record)?;
        }
        transaction.commit().map_err(|e| failed("write", &e))
    }

    fn put(&self, statement: &str, id: &str, record: &impl serde::Serialize) -> Result<(), CoreError> {
        let text = written(record)?;
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.execute(statement, (id, text)).map(drop).map_err(|e| failed("write", &e))
    }
}

fn written(record: &impl serde::Serialize) -> Result<String, CoreError> {
    serde_json::to_string(record)
        .map_err(|e| CoreError::new(ErrorCode::Store, format!("a record cannot be written: {e}")))
}

fn failed(tried: &str, error: &rusqlite::Error) -> CoreError {
    CoreError::new(ErrorCode::Store, format!("the core's store: {tried}: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_store_of_nonsense_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("core.db");
        std::fs::write(&path, "nonsense ".repeat(1000)).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert_eq!(Store::open(&path).err().map(|error| error.code), Some(ErrorCode::Store));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_record_of_another_kind_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("core.db")).unwrap();
        store.put("INSERT INTO item (id, record) VALUES (?1, ?2)", "x", &"not an item").unwrap();
        let error = store.load().err().unwrap();
        assert_eq!(error.code, ErrorCode::Store);
        assert!(error.message.contains("not understood"), "{error}");
    }
}
