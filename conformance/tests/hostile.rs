//! Cores that hang, die and break the protocol: each leads to one line, a verdict and its exit
//! code, and leaves nothing behind. The cores are the scripts of `hostile_cores`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use conformance::outcome::HostFacts;
use conformance::scenario::{self, Tier};
use conformance::{report, sim};

/// Marks the process in which the suite judges a core.
const CHILD: &str = "ROUNDTRIP_TEST_CHILD";
/// The time in which a killed process is gone.
const GONE_WITHIN: Duration = Duration::from_secs(30);

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile_cores").join(name).with_extension("py")
}

/// Runs the checks of the simulated tier. The parent gives it the environment of a run.
#[test]
fn judge() {
    if std::env::var_os(CHILD).is_some() {
        let scenarios = scenario::all().unwrap();
        let rules = scenarios.iter().find(|one| one.tier == Tier::Sim && one.script == "sim-rules").unwrap();
        sim::run(rules).unwrap();
    }
}

/// Judges a core. Returns the exit code of the run and the line that says why.
fn run(core: &str) -> (u8, String) {
    let keep = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(keep.path()).unwrap();
    let temporary = dir.join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["judge", "--exact", "--quiet"])
        .env(CHILD, "1")
        .env("ROUNDTRIP_CORE", format!("python3 '{}'", script(core).display()))
        .env("ROUNDTRIP_RUN_DIR", dir)
        .env("ROUNDTRIP_RUN_ID", "hostile")
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    let processes = std::fs::read_to_string(dir.join("processes")).unwrap_or_default();
    processes.lines().for_each(is_gone);
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{core} leaves {left:?}");
    // The processes and the temporary files are no scenarios.
    std::fs::remove_dir(&temporary).unwrap();
    let results = report::collect(dir, HostFacts::default()).unwrap();
    report::write(dir, &results).unwrap();
    let why = results.scenarios[0].why.clone();
    (report::exit_code(results.verdict, false), why)
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
    ($($name:ident: $code:literal, $line:literal;)+) => {$(
        #[test]
        fn $name() {
            let (code, why) = run(stringify!($name));
            assert_eq!(code, $code, "{why}");
            assert!(why.contains($line) && !why.contains('\n'), "{why}");
        }
    )+};
}

hostile_cores! {
    hang_at_handshake: 3, "sent no message within 10 s";
    wrong_version: 3, "speaks version 2.0 of the protocol";
    truncated_json: 1, "is not JSON";
    unknown_id: 1, "an answer has the id 4711, which no request had";
    duplicate_answers: 1, "a second answer to the request";
    long_line: 1, "a message is longer than 16 MiB";
    endless_stream: 1, "unknown notifications";
    death_during_a_job: 1, "was killed by signal 9";
}
