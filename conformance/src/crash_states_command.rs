//! The command `crash-states`: examines the states in which a power loss may have left the disks of
//! a run's guests.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use camino::{Utf8Path, Utf8PathBuf};
use harness::crash_states::{Examination, LogUnderTest, Sampling, examine};
use harness::oracle::WriteLog;
use harness::recovered::DiskLayout;
use images::shape::Shape;
use witness::ledger::RecordNumber;

use crate::outcome::{DiskOutcome, EdgeOutcome, Verdict};
use crate::recheck::files::Files;
use crate::recheck::stored::{self, Ended, Stored};
use crate::report;
use crate::scenario;

/// The log of one disk, with the base on which it began.
struct StoredLog {
    /// Scenario, edge and disk.
    name: String,
    layout: DiskLayout,
    base: Utf8PathBuf,
    log: Utf8PathBuf,
    initial_record: RecordNumber,
}

/// Examines the states of every write log in `dir`, the directory of a run or of one scenario, and
/// prints a line for each log. Returns 1 if a state is not sound, and otherwise 3 if a scenario has
/// not ended or no log was examined.
///
/// # Errors
/// There is no evidence, or it cannot be read or checked here.
pub fn run(dir: &Utf8Path, sampling: Sampling) -> Result<u8> {
    let began = Instant::now();
    let (mut verdict, mut logs, mut states) = (Verdict::Pass, 0, 0);
    for stored in stored::find(dir)? {
        let ended = match stored {
            Stored::Ended(ended) => ended,
            Stored::Superseded { .. } => continue,
            Stored::Unfinished { name, why } => {
                // Logs that are not there prove nothing.
                verdict = verdict.and(Verdict::Unknown);
                println!("{name}: {why}");
                continue;
            }
        };
        for (name, found) in examine_scenario(&ended, sampling)? {
            print(&name, &found);
            logs += 1;
            states += found.boundaries + found.sampled;
            verdict = verdict.and(if found.bad.is_empty() { Verdict::Pass } else { Verdict::Fail });
        }
    }
    if logs == 0 {
        println!("{dir} stores no write log of a disk with the workload: nothing was examined");
        return Ok(report::exit_code(Verdict::Unknown, false));
    }
    let minute = per_minute(states, began.elapsed());
    println!("{states} states of {logs} logs, {minute} a minute");
    Ok(report::exit_code(verdict, false))
}

fn per_minute(states: u64, took: Duration) -> u64 {
    (states as f64 / took.as_secs_f64().max(f64::EPSILON) * 60.0) as u64
}

/// Examines each log of a scenario once, by the first edge that was judged by it.
fn examine_scenario(ended: &Ended, sampling: Sampling) -> Result<Vec<(String, Examination)>> {
    let files = Files::of_scenario(&ended.dir)?;
    let shape = shape_of(&ended.outcome.name)?;
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for edge in &ended.outcome.edges {
        let is_new = |disk: &&DiskOutcome| seen.insert(disk.evidence.log.clone());
        let disks: Vec<&DiskOutcome> = edge.disks.iter().filter(is_new).collect();
        if disks.is_empty() {
            continue;
        }
        let unpacked = files.unpack(edge)?;
        let logs = disks.into_iter().filter_map(|disk| {
            let layout = DiskLayout::named(&disk.name, shape)?;
            let evidence = &disk.evidence;
            let paths =
                unpacked.path(&evidence.base).and_then(|base| Ok((base, unpacked.path(&evidence.log)?)));
            Some(paths.map(|(base, log)| StoredLog {
                name: format!("{} {} {}", ended.outcome.name, edge.name, disk.name),
                layout,
                base,
                log,
                initial_record: first_record(edge),
            }))
        });
        let logs: Vec<StoredLog> = logs.collect::<Result<_>>()?;
        all.extend(examine_logs(&logs, sampling)?);
    }
    Ok(all)
}

/// The layout of the disks in a scenario, by its row.
fn shape_of(scenario: &str) -> Result<&'static Shape> {
    let row = scenario::all()?.into_iter().find(|row| row.name == scenario);
    let name = row.map(|row| row.shape).unwrap_or_default();
    Shape::named(&name).with_context(|| format!("there is no shape called {name}"))
}

fn first_record(edge: &EdgeOutcome) -> RecordNumber {
    edge.evidence.initial_record.unwrap_or(0)
}

/// Examines the logs side by side.
fn examine_logs(logs: &[StoredLog], sampling: Sampling) -> Result<Vec<(String, Examination)>> {
    std::thread::scope(|scope| {
        let tasks: Vec<_> = logs.iter().map(|log| scope.spawn(move || examine_log(log, sampling))).collect();
        let results = logs.iter().zip(tasks).map(|(log, task)| {
            let found = task.join().map_err(|_| anyhow!("the suite itself failed"))?;
            Ok((log.name.clone(), found.with_context(|| log.name.clone())?))
        });
        results.collect()
    })
}

fn examine_log(stored: &StoredLog, sampling: Sampling) -> Result<Examination> {
    let StoredLog { layout, base, log, initial_record, .. } = stored;
    let disk_bytes = std::fs::metadata(base).with_context(|| format!("read {base}"))?.len();
    let log = WriteLog::open(log.as_std_path(), disk_bytes)?;
    let layout = layout.clone();
    let base = base.as_std_path();
    let test = LogUnderTest { layout, base, log: &log, initial_record: *initial_record };
    Ok(examine(&test, sampling)?)
}

fn print(name: &str, found: &Examination) {
    let Examination { boundaries, sampled, bad } = found;
    println!("{name}: {boundaries} states at flushes and {sampled} between them, {} not sound", bad.len());
    for state in bad.iter().take(1) {
        println!("  the first one is {}: {}", state.state, state.damage);
        if let Some(culprit) = &state.culprit {
            println!("  {culprit}");
        }
    }
}
