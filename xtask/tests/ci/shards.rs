//! Merged shards are the same as one run, apart from times and from what names the run.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::place::{Place, Ran, results, run};

/// Fields that hold times, or that name one run or one place.
const OF_ONE_RUN: [&str; 9] =
    ["run", "began", "reported", "ms", "boots_ms", "boot_ms", "request", "division", "took"];

fn xtask(words: &[&str]) -> Ran {
    run(Command::new("cargo").arg("xtask").args(words), &[])
}

/// A value without the fields that differ between two runs of the same.
fn without_times(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let same = fields.iter().filter(|(name, _)| !OF_ONE_RUN.contains(&name.as_str()));
            same.map(|(name, value)| (name.clone(), without_times(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_times).collect(),
        other => other.clone(),
    }
}

/// The names of all tests of a JUnit report with their kind of result.
fn tests(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("junit.xml")).expect("it is there");
    let cases = text.split("<testcase").skip(1);
    let name =
        |case: &str| case.split("name=\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    cases
        .map(|case| format!("{:?} {}", name(case), case.contains("<failure") || case.contains("<error")))
        .collect()
}

fn conformance(dir: &Path, more: &[&str]) -> Ran {
    let dir = dir.display().to_string();
    let same = ["conformance", "--tier", "sim", "--seeds", "3", "--run-name", "one", "--out", &dir];
    xtask(&[&same[..], more].concat())
}

fn merge(dirs: &[&Path], out: &Path) -> Ran {
    let out = out.display().to_string();
    let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    let words = ["report", "merge", "--out", &out].into_iter().chain(dirs.iter().map(String::as_str));
    xtask(&words.collect::<Vec<_>>())
}

#[test]
#[ignore = "runs the sim tier twice"]
fn two_merged_shards_and_one_run_rehearsed() {
    let place = Place::new();
    let (whole, merged) = (place.path("whole"), place.path("merged"));
    assert_eq!(conformance(&whole, &[]).code, 0);
    let shards = [place.path("a"), place.path("b")];
    for (dir, shard) in shards.iter().zip(["1/2", "2/2"]) {
        let ran = conformance(dir, &["--shard", shard]);
        assert!(ran.code == 0 && ran.output.contains("as one shard"), "{ran:?}");
    }
    let ran = merge(&[&shards[1], &shards[0]], &merged);
    assert!(ran.code == 0 && ran.output.contains("conforms"), "{ran:?}");
    assert_eq!(without_times(&results(&merged)), without_times(&results(&whole)));
    assert_eq!(tests(&merged), tests(&whole));
    assert!(
        std::fs::read_to_string(merged.join("report.html"))
            .is_ok_and(|page| page.contains("merged from 2 shards"))
    );
    // Neither holds a disk, which is no pass; apart from that both are found as they were recorded.
    let recheck = |dir: &Path| xtask(&["recheck", &dir.display().to_string()]);
    let (one, other) = (recheck(&whole), recheck(&merged));
    assert_eq!((one.code, one.answer), (other.code, other.answer));
    let names = |dir: &Path| results(dir)["scenarios"].as_array().map_or(0, Vec::len);
    assert_eq!(names(&shards[0]) + names(&shards[1]), names(&merged));
    refusals(&place, &shards[0]);
}

/// What is no run is refused, and leaves nothing behind.
fn refusals(place: &Place, shard: &Path) {
    let out = place.path("refused");
    let twice = merge(&[shard, shard], &out);
    assert!(twice.code == 64 && twice.output.contains("are both shard 1 of 2"), "{twice:?}");
    let whole = merge(&[&place.path("whole")], &out);
    assert!(whole.code == 64 && whole.output.contains("is no shard of a run"), "{whole:?}");
    assert!(!out.exists());
    let missing = merge(&[shard], &out);
    assert!(missing.code == 3 && missing.output.contains("shard 2 of 2"), "{missing:?}");
    assert_eq!(results(&out)["verdict"], "unknown");
    let remote = conformance(&place.path("none"), &["--connect", "qemu+ssh://there/system"]);
    assert!(remote.code == 64 && remote.output.contains("another machine"), "{remote:?}");
    assert!(!place.path("none").exists());
}
