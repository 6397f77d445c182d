//! Cores that hang, die, break the protocol and believe a wrong size: each leads to one line, a
//! verdict and its exit code, and leaves nothing behind. The cores are the scripts of
//! `hostile_cores`. One does only what is legal.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use conformance::outcome::HostFacts;
use conformance::scenario::{self, Scenario, Tier};
use conformance::wire_core::CoreChoice;
use conformance::{report, sim};
use contract::{JobId, ReplicationCore as _};
use futures_util::future::join_all;
use wire::client::{Client, Session, SystemClock};
use wire::protocol::Time;

/// Marks the process in which the suite judges a core.
const CHILD: &str = "ROUNDTRIP_TEST_CHILD";
/// What the child does with a core that answers in another order.
const CONCURRENT_CALLS: &str = "concurrent-calls";
/// The time in which a core starts.
const STARTED_WITHIN: Duration = Duration::from_secs(60);
/// The time in which a killed process is gone.
const GONE_WITHIN: Duration = Duration::from_secs(30);

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile_cores").join(name).with_extension("py")
}

/// What the child does: a script of the simulated tier, or calls at the same time. The parent gives
/// it the environment of a run.
#[test]
fn judge() {
    match std::env::var(CHILD).ok().as_deref() {
        Some(CONCURRENT_CALLS) => concurrent_calls(),
        Some(script) => {
            let scenarios = scenario::all().unwrap();
            let of_script = |one: &&Scenario| one.tier == Tier::Sim && one.script == script;
            sim::run(scenarios.iter().find(of_script).unwrap()).unwrap();
        }
        None => {}
    }
}

/// Calls a core several times before it answers the first call. Each call must get its own answer.
#[tokio::main(flavor = "current_thread")]
async fn concurrent_calls() {
    let CoreChoice::Wire(address) = CoreChoice::selected().unwrap() else { panic!("a core is named") };
    let dir = tempfile::tempdir().unwrap();
    let session = Session {
        platforms: BTreeMap::new(),
        state_dir: dir.path().to_owned(),
        run: "hostile".to_owned(),
        clock: Arc::new(SystemClock),
        time: Time::System,
        log: None,
        observer: None,
    };
    let core = Client::open(address, session);
    let jobs: Vec<_> = (1..=8).map(|number| JobId(format!("job-{number}"))).collect();
    let answers = join_all(jobs.iter().map(|job| core.job(job))).await;
    let answered: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().id).collect();
    assert_eq!(answered, jobs);
    assert!(core.failure().is_none());
}

/// Judges a core by a script of the simulated tier. Returns the exit code of the run and the line
/// that says why.
fn run(core: &str, script: &str) -> (u8, String) {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    in_child(core, script, dir);
    let results = report::collect(dir, HostFacts::default()).unwrap();
    report::write(dir, &results).unwrap();
    let why = results.scenarios[0].why.clone();
    (report::exit_code(results.verdict, false), why)
}

/// Lets a child of this process do its work with a core, which must leave nothing behind.
fn in_child(core: &str, work: &str, dir: &Utf8Path) {
    let temporary = dir.join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let child = child(core, work, dir, &temporary).output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    let processes = std::fs::read_to_string(dir.join("processes")).unwrap();
    processes.lines().for_each(is_gone);
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{core} leaves {left:?}");
    // The processes and the temporary files are no scenarios.
    std::fs::remove_dir(&temporary).unwrap();
}

/// A child that works with a core.
fn child(core: &str, work: &str, dir: &Utf8Path, temporary: &Utf8Path) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["judge", "--exact", "--quiet"])
        .env(CHILD, work)
        .env("ROUNDTRIP_CORE", format!("python3 '{}'", script(core).display()))
        .env("ROUNDTRIP_RUN_DIR", dir)
        .env("ROUNDTRIP_RUN_ID", "hostile")
        .env("ROUNDTRIP_SEEDS", "1")
        .env("TMPDIR", temporary);
    child
}

/// Waits until a process is dead; whether its parent has noticed does not matter.
fn is_gone(process: &str) {
    let started = Instant::now();
    let stat = format!("/proc/{process}/stat");
    while std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ")) {
        assert!(started.elapsed() < GONE_WITHIN, "process {process} is left");
        std::thread::yield_now();
    }
}

macro_rules! hostile_cores {
    ($($name:ident, $script:literal: $code:literal, $line:literal;)+) => {$(
        #[test]
        fn $name() {
            let (code, why) = run(stringify!($name), $script);
            assert_eq!(code, $code, "{why}");
            assert!(why.contains($line) && !why.contains('\n'), "{why}");
        }
    )+};
}

hostile_cores! {
    hang_at_handshake, "sim-rules": 3, "sent no message within 10 s";
    wrong_version, "sim-rules": 3, "speaks version 2.0 of the protocol";
    truncated_json, "sim-rules": 1, "is not JSON";
    unknown_id, "sim-rules": 1, "an answer has the id 4711, which no request had";
    duplicate_answers, "sim-rules": 1, "a second answer to the request";
    long_line, "sim-rules": 1, "a message is longer than 16 MiB";
    endless_stream, "sim-rules": 1, "unknown notifications";
    death_during_a_job, "sim-rules": 1, "was killed by signal 9";
    wrong_size, "sim-cycle": 1, "the disks of the source have the sizes";
}

/// A suite that is killed takes its cores with it, also one that does not notice; a later run
/// removes its directories.
#[test]
fn killed_suite() {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    let temporary = dir.join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let mut child = child("ignores_its_end", "sim-rules", dir, &temporary).spawn().unwrap();
    let started = Instant::now();
    let processes = loop {
        let noted = std::fs::read_to_string(dir.join("processes")).unwrap_or_default();
        // Each core notes itself and its child; the first one only says its name.
        if noted.lines().count() >= 4 && noted.ends_with('\n') {
            break noted;
        }
        assert!(started.elapsed() < STARTED_WITHIN, "the core did not start");
        std::thread::yield_now();
    };
    child.kill().unwrap();
    child.wait().unwrap();
    processes.lines().for_each(is_gone);
    assert!(!tempdirs::remove_stale(temporary.as_std_path()).unwrap().is_empty());
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn out_of_order_answers() {
    let dir = tempfile::tempdir().unwrap();
    in_child("out_of_order_answers", CONCURRENT_CALLS, Utf8Path::from_path(dir.path()).unwrap());
}
