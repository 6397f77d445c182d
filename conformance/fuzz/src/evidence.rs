//! What a run stored is judged again, reported and certified whatever it holds, and evidence
//! without disks never passes.

use camino::{Utf8Path, Utf8PathBuf};
use conformance::certificate;
use conformance::outcome::{HostFacts, Verdict};
use conformance::recheck::recheck;
use conformance::report;

/// The files of a run that an input fills, one after the other. What follows a line of this mark
/// goes into the next file.
const FILES: [&str; 10] = [
    "vmware-azure/result.json",
    "results.json",
    "asked.json",
    "division.json",
    "request.json",
    "progress.jsonl",
    "vmware-azure/timeline.jsonl",
    "vmware-azure/edges/failover/system.writes",
    "certificate.json",
    "tests.json",
];
const MARK: &[u8] = b"\n--\n";

/// Runs the target.
pub fn run(input: &[u8]) {
    let keep = tempfile::tempdir_in("/dev/shm").expect("a temporary directory");
    let dir = Utf8Path::from_path(keep.path()).expect("a UTF-8 path");
    let inner = dir.join("run");
    let run = fill(&inner, input);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    if let Ok(again) = runtime.block_on(recheck(&run)) {
        assert_ne!(again.verdict, Verdict::Pass, "evidence without disks passes: {:?}", again.lines);
    }
    let _ = runtime.block_on(certificate::verify(&run.join("certificate.json"), &run));
    if let Ok(results) = report::load(&run, || Ok(HostFacts::default())) {
        let _ = report::summary(&results, &run, report::Detail::Tables);
        let _ = report::write(&run, &results);
    }
    let outside: Vec<_> = dir
        .read_dir_utf8()
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name().to_owned())
        .collect();
    assert_eq!(outside, ["run"], "something was written outside of the run");
}

fn fill(run: &Utf8Path, input: &[u8]) -> Utf8PathBuf {
    let scenario = run.join("vmware-azure");
    std::fs::create_dir_all(scenario.join("edges/failover")).expect("a directory");
    let put = |name: &str, content: &[u8]| std::fs::write(run.join(name), content).expect("a file");
    put("vmware-azure/started.json", br#"{"scenario":"vmware-azure","run":"r","at":"2026-01-02T03:04:05Z"}"#);
    let mut rest = input;
    for name in FILES {
        let end = rest.windows(MARK.len()).position(|window| window == MARK);
        let (content, more) = rest.split_at(end.unwrap_or(rest.len()));
        if !content.is_empty() {
            put(name, content);
        }
        if name == FILES[0] {
            // With the seal that belongs to it, as somebody could write it who knows how.
            put("vmware-azure/seal.json", format!("{{\"result\":\"{}\"}}", blake3::hash(content)).as_bytes());
        }
        rest = more.get(MARK.len()..).unwrap_or_default();
    }
    run.to_owned()
}
