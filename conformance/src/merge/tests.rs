use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::evidence::{ASKED, PROGRESS, RESULT, SEAL, STARTED};
use crate::history::{RunRecord, fingerprint};
use crate::host_facts::HOST;
use crate::outcome::{DIVISION, Division, HostFacts, Results, ScenarioOutcome, Verdict};
use crate::report;

/// The shards of a run of three scenarios.
struct Shards {
    keep: tempfile::TempDir,
}

impl Shards {
    fn new() -> Self {
        let shards = Self { keep: tempfile::tempdir().unwrap() };
        shards.fill(1, &["a", "c"], Some(0));
        shards.fill(2, &["b"], Some(0));
        shards
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.keep.path()).unwrap().join(name)
    }

    fn dir(&self, number: usize) -> Utf8PathBuf {
        self.path(&format!("shard-{number}"))
    }

    fn fill(&self, number: usize, scenarios: &[&str], ended: Option<u8>) {
        let dir = self.dir(number);
        fs::create_dir_all(&dir).unwrap();
        let put = |name: &str, value: Value| fs::write(dir.join(name), value.to_string()).unwrap();
        put(ASKED, json!(scenarios));
        put("request.json", json!({"command": "cargo xtask …", "options": "--profile asr-2019"}));
        let divided = json!([["a", "c"], ["b"]]);
        let shard = json!({"kind": "shard", "number": number, "of": 2, "run": "nightly", "sources": "abc",
            "command": "cargo xtask conformance", "divided": divided});
        put(DIVISION, shard);
        for name in scenarios {
            scenario(&dir, name);
            let line = json!({"at_ms": 1, "scenario": name, "step": "boot", "state": "done"});
            let lines = fs::read_to_string(dir.join(PROGRESS)).unwrap_or_default();
            fs::write(dir.join(PROGRESS), format!("{lines}{line}\n")).unwrap();
        }
        let host = HostFacts { accelerator: "TCG".to_owned(), cores: 2, ..HostFacts::default() };
        report::write(&dir, &report::load(&dir, || Ok(host)).unwrap()).unwrap();
        if let Some(code) = ended {
            put("ended.json", json!({"code": code}));
        }
    }

    /// Changes a JSON file of a shard.
    fn change(&self, number: usize, file: &str, change: impl FnOnce(&mut Value)) {
        let path = self.dir(number).join(file);
        let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        fs::write(path, value.to_string()).unwrap();
    }

    fn merge(&self, numbers: &[usize]) -> Result<(Vec<String>, Results), MergeError> {
        let out = self.path("whole");
        fs::create_dir_all(&out).unwrap();
        let dirs: Vec<_> = numbers.iter().map(|number| self.dir(*number)).collect();
        let lines = merge(&dirs, &out)?;
        let results = report::collect(&out, HostFacts::default())?;
        Ok((lines, results))
    }

    /// The line with which the merge is refused, before it wrote anything.
    fn refusal(&self, numbers: &[usize]) -> String {
        let error = self.merge(numbers).expect_err("refused");
        assert!(matches!(error, MergeError::Refused(_)), "{error}");
        assert_eq!(fs::read_dir(self.path("whole")).unwrap().count(), 0);
        let line = error.to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        line
    }
}

fn scenario(dir: &Utf8Path, name: &str) {
    let dir = dir.join(name);
    fs::create_dir_all(dir.join("logs")).unwrap();
    fs::write(dir.join("logs/serial.log"), name).unwrap();
    fs::write(dir.join(STARTED), json!({"scenario": name, "at": "2026-01-02T03:04:05Z"}).to_string())
        .unwrap();
    let mut outcome = ScenarioOutcome::begun(name, "A title", None);
    outcome.verdict = Verdict::Pass;
    "built-in 0.1.0".clone_into(&mut outcome.core);
    let text = serde_json::to_vec(&outcome).unwrap();
    fs::write(dir.join(SEAL), json!({"result": blake3::hash(&text).to_string()}).to_string()).unwrap();
    fs::write(dir.join(RESULT), text).unwrap();
}

#[test]
fn all_shards_make_the_whole_run_in_any_order() {
    for order in [[1, 2], [2, 1]] {
        let shards = Shards::new();
        let (lines, results) = shards.merge(&order).unwrap();
        assert_eq!((lines.len(), results.verdict), (0, Verdict::Pass));
        let names: Vec<_> = results.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(results.request.command, "cargo xtask conformance");
        assert_eq!(results.conclusion(), "conforms");
        let log = shards.path("whole").join("b/logs/serial.log");
        assert_eq!(fs::read_to_string(log).unwrap(), "b");
        let progress = fs::read_to_string(shards.path("whole").join(PROGRESS)).unwrap();
        assert_eq!(progress.lines().count(), 3);
    }
}

#[test]
fn one_shard_alone_does_not_say_that_the_core_conforms() {
    let shards = Shards::new();
    let results = report::collect(&shards.dir(1), HostFacts::default()).unwrap();
    assert_eq!(results.verdict, Verdict::Pass);
    assert!(results.conclusion().contains("one shard"), "{}", results.conclusion());
}

#[test]
fn the_scenarios_of_a_missing_shard_are_unknown_and_say_why() {
    let (lines, results) = Shards::new().merge(&[1]).unwrap();
    assert_eq!(lines, ["shard 2 of 2, which had to run b, is missing"]);
    assert_eq!(results.verdict, Verdict::Unknown);
    let missing = results.scenarios.iter().find(|scenario| scenario.name == "b").unwrap();
    assert_eq!((missing.verdict, missing.why.as_str()), (Verdict::Unknown, lines[0].as_str()));
}

#[test]
fn a_shard_that_was_killed_half_way_leaves_a_report_that_says_so() {
    let shards = Shards::new();
    for file in ["ended.json", "results.json", "c/result.json"] {
        fs::remove_file(shards.dir(1).join(file)).unwrap();
    }
    let (lines, results) = shards.merge(&[1, 2]).unwrap();
    assert_eq!(lines, ["shard 1 of 2, which had to run a, c, was killed"]);
    let verdicts: Vec<_> = results.scenarios.iter().map(|scenario| scenario.verdict).collect();
    assert_eq!(verdicts, [Verdict::Pass, Verdict::Pass, Verdict::Unknown]);
    assert_eq!(results.verdict, Verdict::Unknown);
}

#[test]
fn a_shard_without_a_verdict_keeps_the_whole_run_from_one_although_its_results_pass() {
    for ended in [json!({"code": 3}), json!({"code": 130})] {
        let shards = Shards::new();
        shards.change(2, "ended.json", |value| *value = ended.clone());
        let (_, results) = shards.merge(&[1, 2]).unwrap();
        assert_eq!(results.verdict, Verdict::Unknown);
        assert!(results.scenarios.iter().any(|scenario| scenario.name == "shard-2-of-2"));
    }
}

#[test]
fn shards_of_different_runs_are_refused_with_what_differs() {
    let shared: [(&str, &str, &str, Value); 8] = [
        (DIVISION, "sources", "sources", json!("def")),
        (DIVISION, "run", "run name", json!("another night")),
        (DIVISION, "divided", "division of the scenarios", json!([["a"], ["b", "c"]])),
        ("request.json", "options", "options", json!("--profile asr-2024")),
        ("request.json", "options", "options", json!("--core ./mine")),
        ("request.json", "seed", "seed", json!("7")),
        ("results.json", "suite", "suite", json!("roundtrip 9.9.9")),
        ("results.json", "profile", "profile", json!("asr-2024")),
    ];
    for (file, field, named, other) in shared {
        let shards = Shards::new();
        shards.change(2, file, |value| value[field] = other.clone());
        let line = shards.refusal(&[1, 2]);
        assert!(line.contains(&format!("Their {named} differs")), "{line}");
    }
    let shards = Shards::new();
    shards.change(2, "results.json", |value| value["scenarios"][0]["core"] = json!("mine 1.0"));
    assert!(shards.refusal(&[1, 2]).contains("Their core differs: \"built-in 0.1.0\" and \"mine 1.0\""));
}

#[test]
fn a_shard_that_is_there_twice_is_refused() {
    let shards = Shards::new();
    assert!(shards.refusal(&[1, 2, 1]).contains("are both shard 1 of 2"));
}

#[test]
fn what_is_no_shard_is_refused() {
    let shards = Shards::new();
    fs::remove_file(shards.dir(2).join(DIVISION)).unwrap();
    assert!(shards.refusal(&[1, 2]).contains("shard-2 is no shard of a run"));
    let shards = Shards::new();
    scenario(&shards.dir(1), "b");
    assert!(shards.refusal(&[1, 2]).contains("evidence of b, which shard 1 of 2 did not have to run"));
}

#[test]
fn a_merged_run_is_not_merged_again() {
    let shards = Shards::new();
    shards.merge(&[1, 2]).unwrap();
    let again = merge(&[shards.path("whole")], &shards.path("again")).unwrap_err();
    assert!(again.to_string().contains("is a merged run"), "{again}");
}

#[test]
fn results_that_cannot_be_read_are_no_verdict() {
    for damage in ["{\"schema\": 999}", "{", ""] {
        let shards = Shards::new();
        fs::write(shards.dir(2).join("results.json"), damage).unwrap();
        let error = shards.merge(&[1, 2]).expect_err("they cannot be read");
        assert!(
            matches!(error, MergeError::Failed(_)) && error.to_string().contains("results.json"),
            "{error}"
        );
    }
}

#[test]
fn the_host_of_a_merged_run_is_that_of_its_shards() {
    let shards = Shards::new();
    shards.change(2, "results.json", |value| value["host"]["accelerator"] = json!("KVM"));
    shards.merge(&[1, 2]).unwrap();
    let merged = Division::of_run(&shards.path("whole")).unwrap();
    let Division::Merged(merged) = merged else { panic!("{merged:?}") };
    assert_eq!((merged.host().accelerator.as_str(), merged.host().cores), ("KVM | TCG", 2));
}

#[test]
fn a_link_of_one_shard_is_no_way_out_of_the_merged_run() {
    let shards = Shards::new();
    let elsewhere = shards.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, shards.dir(1).join("notes")).unwrap();
    fs::create_dir(shards.dir(2).join("notes")).unwrap();
    fs::write(shards.dir(2).join("notes/autostart"), "harm").unwrap();
    let error = format!("{:#}", anyhow::Error::from(shards.merge(&[1, 2]).expect_err("refused")));
    assert!(error.contains("symbolic link"), "{error}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn a_shard_that_was_killed_is_of_the_host_that_it_noted_or_of_an_unknown_one() {
    let merged = |shards: &Shards| {
        shards.merge(&[1, 2]).unwrap();
        let Division::Merged(merged) = Division::of_run(&shards.path("whole")).unwrap() else { panic!() };
        merged
    };
    let noted = HostFacts { accelerator: "KVM".to_owned(), cores: 16, ..HostFacts::default() };
    for host in [Some(noted), None] {
        let shards = Shards::new();
        for file in ["ended.json", "results.json"] {
            fs::remove_file(shards.dir(1).join(file)).unwrap();
        }
        if let Some(host) = &host {
            fs::write(shards.dir(1).join(HOST), serde_json::to_vec(host).unwrap()).unwrap();
        }
        let merged = merged(&shards);
        assert!(!shards.path("whole").join(HOST).exists(), "the whole run has no host of its own");
        assert_eq!(merged.host().is_known(), host.is_some());
        assert_eq!(merged.shards[0].host, Some(host.unwrap_or_else(HostFacts::unknown)));
    }
}

/// The record of a run that was merged from shards on these hosts.
fn recorded(hosts: [Option<&HostFacts>; 2]) -> RunRecord {
    let shards = Shards::new();
    for (number, host) in (1..).zip(hosts) {
        let text = host.map(|host| serde_json::to_vec(host).unwrap());
        match text {
            Some(text) => fs::write(shards.dir(number).join(HOST), text).unwrap(),
            None => {
                ["ended.json", "results.json"].iter().for_each(|file| {
                    fs::remove_file(shards.dir(number).join(file)).unwrap();
                });
            }
        }
    }
    let (_, results) = shards.merge(&[1, 2]).unwrap();
    let Division::Merged(merged) = &results.division else { panic!("it was merged") };
    RunRecord::of(&Results { host: merged.host(), ..results.clone() }, &shards.path("whole"))
}

#[test]
fn each_scenario_of_a_merged_run_has_the_host_of_its_shard_and_the_run_none_of_them() {
    let small = HostFacts { cpu: "A".to_owned(), cores: 4, memory: 16 << 30, ..HostFacts::default() };
    let large = HostFacts { cores: 16, memory: 64 << 30, ..small.clone() };
    let [of_small, of_large] = [&small, &large].map(fingerprint);
    let mixed = recorded([Some(&small), Some(&large)]);
    assert_eq!(
        ["a", "b", "c"].map(|name| mixed.host_of(name)),
        [&of_small, &of_large, &of_small].map(|x| Some(x.as_str()))
    );
    assert!(![&of_small, &of_large].contains(&&mixed.fingerprint), "{}", mixed.fingerprint);
    let swapped = recorded([Some(&large), Some(&small)]);
    assert_eq!(swapped.fingerprint, mixed.fingerprint);
    assert_ne!(swapped.host_of("a"), mixed.host_of("a"));
    assert_eq!(recorded([Some(&small), Some(&small)]).fingerprint, of_small);
}

#[test]
fn what_a_killed_shard_measured_on_an_unknown_host_is_not_filed_under_the_others_host() {
    let small = HostFacts { cpu: "A".to_owned(), cores: 4, ..HostFacts::default() };
    let killed = recorded([None, Some(&small)]);
    assert_eq!(killed.fingerprint, fingerprint(&small));
    assert_eq!(["a", "b"].map(|name| killed.host_of(name)), [None, Some(fingerprint(&small).as_str())]);
}
