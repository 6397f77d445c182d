//! Log lines of the core name the job and the item that they belong to.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use simulator::testbed::INTERVAL;
use simulator::{SimFault, run};

use crate::support::vmware_testbed;

/// Collects log lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The lines that the core has written.
    fn of_core(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["target"].as_str().unwrap().starts_with("replication")).collect()
    }
}

/// The innermost span of a name around a log line.
fn span<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    line["spans"].as_array()?.iter().rfind(|span| span["name"] == name)
}

#[test]
fn every_line_of_a_job_names_the_job_and_every_line_of_replication_names_the_item() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    run(71, async |world| {
        let testbed = vmware_testbed(world);
        let item = testbed.protect("db").await.unwrap();
        let lines = log.of_core();
        assert!(!lines.is_empty());
        for line in &lines {
            let job = span(line, "job").unwrap_or_else(|| panic!("no span of a job: {line}"));
            assert_eq!(job["job"], "job-1");
            assert_eq!(job["kind"], "EnableProtection");
            assert_eq!(job["item"], item.0);
        }
        testbed.primary.inject(&SimFault::LinkCut);
        testbed.advance(INTERVAL).await;
        testbed.advance(INTERVAL).await;
        let lines = log.of_core().split_off(lines.len());
        assert!(!lines.is_empty());
        for line in &lines {
            let replication = span(line, "replication");
            let replication = replication.unwrap_or_else(|| panic!("no span of replication: {line}"));
            assert_eq!(replication["item"], item.0);
            assert!(span(line, "job").is_none(), "replication outlives the job that starts it: {line}");
        }
    });
}
