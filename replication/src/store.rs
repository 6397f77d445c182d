//! The store: items, jobs, policies and plans in an SQLite database, which survives a restart of
//! the core.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use contract::{CoreError, ErrorCode, PlanId, PolicyId, PolicyView, RecoveryPlan};
use rusqlite::Connection;

use crate::fault_hook::FaultHook;
use crate::state::{Record, StoredJob};

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS item (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS policy (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS job (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS plan (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT;
";

const PUT_ITEM: &str = "INSERT OR REPLACE INTO item (id, record) VALUES (?1, ?2)";
// An update keeps the row id, so that jobs stay in the order in which they began.
const PUT_JOB: &str =
    "INSERT INTO job (id, record) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET record = ?2";

/// The core's database. Each change is one transaction.
pub(crate) struct Store {
    connection: Mutex<Connection>,
    fault_hook: Option<Arc<dyn FaultHook>>,
}

impl Store {
    pub(crate) fn open(path: &Path, fault_hook: Option<Arc<dyn FaultHook>>) -> Result<Self, CoreError> {
        let connection = Connection::open(path).map_err(|e| failed("open", &e))?;
        connection.execute_batch(SCHEMA).map_err(|e| failed("prepare", &e))?;
        Ok(Self { connection: Mutex::new(connection), fault_hook })
    }

    /// All items, sorted by id.
    pub(crate) fn items(&self) -> Result<Vec<Record>, CoreError> {
        self.all("SELECT record FROM item ORDER BY id")
    }

    /// All jobs, in the order in which they began.
    pub(crate) fn jobs(&self) -> Result<Vec<StoredJob>, CoreError> {
        self.all("SELECT record FROM job ORDER BY rowid")
    }

    /// All plans, sorted by id.
    pub(crate) fn plans(&self) -> Result<Vec<RecoveryPlan>, CoreError> {
        self.all("SELECT record FROM plan ORDER BY id")
    }

    pub(crate) fn put_plan(&self, plan: &RecoveryPlan) -> Result<(), CoreError> {
        self.put("INSERT INTO plan (id, record) VALUES (?1, ?2)", &plan.id.0, plan)
    }

    pub(crate) fn remove_plan(&self, plan: &PlanId) -> Result<(), CoreError> {
        self.remove("DELETE FROM plan WHERE id = ?1", &plan.0)
    }

    fn all<T: serde::de::DeserializeOwned>(&self, query: &str) -> Result<Vec<T>, CoreError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare(query).map_err(|e| failed("read", &e))?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(|e| failed("read", &e))?;
        let records = rows.map(|row| {
            let text = row.map_err(|e| failed("read", &e))?;
            serde_json::from_str(&text).map_err(|error| {
                let text = format!("the core's store contains a record that cannot be parsed: {error}");
                CoreError::new(ErrorCode::Store, text)
            })
        });
        records.collect()
    }

    pub(crate) fn put_item(&self, record: &Record) -> Result<(), CoreError> {
        self.put(PUT_ITEM, &record.id.0, record)
    }

    pub(crate) fn remove_item(&self, record: &Record) -> Result<(), CoreError> {
        self.remove("DELETE FROM item WHERE id = ?1", &record.id.0)
    }

    fn remove(&self, statement: &str, id: &str) -> Result<(), CoreError> {
        self.write(|connection| connection.execute(statement, [id]).map(drop))
    }

    pub(crate) fn put_job(&self, job: &StoredJob) -> Result<(), CoreError> {
        self.put(PUT_JOB, &job.view.id.0, job)
    }

    /// Stores a job that begins and the item that names it as its job, in one transaction.
    pub(crate) fn begin(&self, job: &StoredJob, item: &Record) -> Result<(), CoreError> {
        let rows = [(PUT_JOB, &job.view.id.0, to_json(job)?), (PUT_ITEM, &item.id.0, to_json(item)?)];
        self.write(|connection| {
            let transaction = connection.transaction()?;
            for (statement, id, text) in rows {
                transaction.execute(statement, (id, text))?;
            }
            transaction.commit()
        })
    }

    pub(crate) fn policies(&self) -> Result<Vec<PolicyView>, CoreError> {
        self.all("SELECT record FROM policy ORDER BY id")
    }

    /// Stores policies in one transaction.
    pub(crate) fn put_policies(&self, policies: &[PolicyView]) -> Result<(), CoreError> {
        let rows = policies.iter().map(|policy| Ok((&policy.id.0, to_json(policy)?)));
        let rows: Vec<_> = rows.collect::<Result<_, CoreError>>()?;
        self.in_one_transaction("INSERT OR REPLACE INTO policy (id, record) VALUES (?1, ?2)", rows)
    }

    /// Removes policies in one transaction.
    pub(crate) fn remove_policies(&self, policies: &[PolicyId]) -> Result<(), CoreError> {
        self.in_one_transaction("DELETE FROM policy WHERE id = ?1", policies.iter().map(|id| [&id.0]))
    }

    fn in_one_transaction<P: rusqlite::Params>(
        &self,
        statement: &str,
        rows: impl IntoIterator<Item = P>,
    ) -> Result<(), CoreError> {
        self.write(|connection| {
            let transaction = connection.transaction()?;
            for row in rows {
                transaction.execute(statement, row)?;
            }
            transaction.commit()
        })
    }

    fn put(&self, statement: &str, id: &str, record: &impl serde::Serialize) -> Result<(), CoreError> {
        let text = to_json(record)?;
        self.write(|connection| connection.execute(statement, (id, text)).map(drop))
    }

    fn write(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<()>) -> Result<(), CoreError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut connection).map_err(|e| failed("write", &e));
        if let Some(hook) = &self.fault_hook {
            hook.stored();
        }
        result
    }
}

fn to_json(record: &impl serde::Serialize) -> Result<String, CoreError> {
    serde_json::to_string(record)
        .map_err(|e| CoreError::new(ErrorCode::Store, format!("a record cannot be written: {e}")))
}

fn failed(tried: &str, error: &rusqlite::Error) -> CoreError {
    CoreError::new(ErrorCode::Store, format!("the core's store: {tried}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_database_is_refused_and_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("core.db");
        std::fs::write(&path, "nonsense ".repeat(1000)).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert_eq!(Store::open(&path, None).err().map(|error| error.code), Some(ErrorCode::Store));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_record_that_cannot_be_parsed_is_an_error_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("core.db"), None).unwrap();
        store.put("INSERT INTO item (id, record) VALUES (?1, ?2)", "x", &"not an item").unwrap();
        let error = store.items().err().unwrap();
        assert_eq!(error.code, ErrorCode::Store);
        assert!(error.message.contains("cannot be parsed"), "{error}");
    }
}
