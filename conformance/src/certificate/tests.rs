//! Certificates of made-up runs, unchanged and altered anywhere.

use camino::{Utf8Path, Utf8PathBuf};

use super::document::{claims_of, issue, rendering_of};
use super::*;
use crate::evidence::{RESULT, SEAL, STARTED};
use crate::outcome::{HostFacts, Results, RuleOutcome, ScenarioOutcome, Verdict, from_stored};
use crate::recheck::Recheck;
use crate::report;
use crate::rules::{Class, Score};

/// The stored run from which the others are made.
const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stored/results-schema-2.json");
/// A scenario of the simulated tier, which stores no disks.
const SCENARIO: &str = "sim-rules";

struct Run {
    _keep: tempfile::TempDir,
    dir: Utf8PathBuf,
    certificate: Utf8PathBuf,
}

impl Run {
    /// A run of one simulated scenario, with a file of evidence, its reports and its certificate.
    fn new(verdict: Verdict) -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        let stored: Results = from_stored(&std::fs::read(STORED).unwrap()).unwrap();
        let mut outcome = stored.scenarios[0].clone();
        outcome.name = SCENARIO.to_owned();
        outcome.edges.clear();
        outcome.rules.iter_mut().for_each(|rule| rule.tier = crate::scenario::Tier::Sim);
        if verdict != Verdict::Pass {
            let kept = |rule: &&mut RuleOutcome| (rule.class, rule.score) == (Class::Guarantee, Score::Held);
            let rule = outcome.rules.iter_mut().find(kept).unwrap();
            rule.verdict = verdict;
            rule.score = Score::of(rule.class, verdict);
            outcome.verdict = rule.score.verdict();
            outcome.why = format!("{} VMware kept running\nand more", rule.id);
        }
        let place = dir.join(SCENARIO);
        std::fs::create_dir(&place).unwrap();
        let text = serde_json::to_vec_pretty(&outcome).unwrap();
        let seal = serde_json::json!({"result": blake3::hash(&text).to_string()});
        std::fs::write(place.join(SEAL), seal.to_string()).unwrap();
        std::fs::write(place.join(RESULT), text).unwrap();
        let started = serde_json::json!({"scenario": SCENARIO, "at": "2026-01-02T03:04:05Z"});
        std::fs::write(place.join(STARTED), started.to_string()).unwrap();
        std::fs::write(place.join("log.jsonl"), "{\"level\":\"INFO\"}\n").unwrap();
        report::write(&dir, &report::collect(&dir, HostFacts::default()).unwrap()).unwrap();
        let certificate = dir.join(FILE);
        issue(&dir, &certificate).unwrap();
        Self { _keep: keep, dir, certificate }
    }

    async fn verify(&self) -> Result<Recheck, String> {
        verify(&self.certificate, &self.dir).await.map_err(|error| format!("{error:#}"))
    }

    async fn verdict(&self) -> Verdict {
        self.verify().await.map_or(Verdict::Unknown, |recheck| recheck.verdict)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(rendering_of(&self.certificate)).unwrap()
    }

    /// All files of the run, with the certificate and its text.
    fn files(&self) -> Vec<Utf8PathBuf> {
        let certificate = Certificate::read(&self.certificate).unwrap();
        let listed = certificate.files.iter().map(|file| self.dir.join(&file.path));
        listed.chain([self.certificate.clone(), rendering_of(&self.certificate)]).collect()
    }
}

fn places(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by((length / 12).max(1)).chain([length - 1])
}

#[tokio::test]
async fn a_certificate_verifies_with_its_run_and_says_that_no_disk_was_judged_again() {
    let run = Run::new(Verdict::Pass);
    let recheck = run.verify().await.unwrap();
    assert_eq!(recheck.verdict, Verdict::Pass, "{:#?}", recheck.lines);
    assert!(recheck.lines.iter().any(|line| line.contains("only digests were compared")), "{recheck:?}");
    assert!(recheck.lines.last().unwrap().contains("conforms (PARTIAL RUN: 1 of "), "{recheck:?}");
    assert_eq!(run.files().len(), 5 + 3 + 2);
}

#[tokio::test]
async fn one_altered_byte_anywhere_is_noticed() {
    let run = Run::new(Verdict::Pass);
    for path in run.files() {
        let original = std::fs::read(&path).unwrap();
        for at in places(original.len()) {
            let mut altered = original.clone();
            altered[at] ^= 1;
            std::fs::write(&path, altered).unwrap();
            assert_ne!(run.verdict().await, Verdict::Pass, "byte {at} of {path}");
        }
        std::fs::write(&path, original).unwrap();
    }
    assert_eq!(run.verdict().await, Verdict::Pass);
}

#[tokio::test]
async fn a_file_that_is_missing_or_was_added_is_named() {
    let run = Run::new(Verdict::Pass);
    let log = run.dir.join(SCENARIO).join("log.jsonl");
    let content = std::fs::read(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let missing = run.verify().await.unwrap();
    assert_eq!(missing.verdict, Verdict::Unknown);
    assert!(missing.lines.iter().any(|line| line.ends_with("log.jsonl is missing")), "{missing:?}");
    std::fs::write(&log, content).unwrap();
    std::fs::write(run.dir.join("more"), "").unwrap();
    let added = run.verify().await.unwrap();
    assert_eq!(added.verdict, Verdict::Unknown);
    assert!(added.lines.iter().any(|line| line.starts_with("more is not in the certificate")), "{added:?}");
}

#[tokio::test]
async fn a_certificate_that_was_sealed_again_still_has_to_state_what_the_results_state() {
    let changes: [fn(&mut Certificate); 4] = [
        |certificate| certificate.claims.heading = "conforms".to_owned(),
        |certificate| certificate.claims.cores = ["another core 2.0".to_owned()].into(),
        |certificate| certificate.claims.verdict = Verdict::Pass,
        |certificate| certificate.claims.rules.clear(),
    ];
    for change in changes {
        let run = Run::new(Verdict::Fail);
        let mut certificate = Certificate::read(&run.certificate).unwrap();
        change(&mut certificate);
        std::fs::write(&run.certificate, certificate.sealed().unwrap().json().unwrap()).unwrap();
        let recheck = run.verify().await.unwrap();
        let line = "results.json does not state what the certificate states";
        assert!(recheck.lines.iter().any(|found| found == line), "{recheck:?}");
    }
}

#[tokio::test]
async fn results_that_no_evidence_supports_are_noticed_even_if_the_certificate_was_made_from_them() {
    let run = Run::new(Verdict::Pass);
    let path = run.dir.join("results.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let core = Certificate::read(&run.certificate).unwrap().claims.cores.pop_first().unwrap();
    std::fs::write(&path, text.replace(&core, "another core 2.0")).unwrap();
    issue(&run.dir, &run.certificate).unwrap();
    let recheck = run.verify().await.unwrap();
    assert_eq!(recheck.verdict, Verdict::Unknown);
    assert!(recheck.lines.iter().any(|line| line.contains("does not state of")), "{recheck:?}");
}

/// What somebody could change in results besides the scenarios, and what the objection names.
type Edit = (&'static str, fn(&mut serde_json::Value));

const EDITS: [Edit; 9] = [
    ("table of rules", |results| drop(results["rules"].as_array_mut().unwrap().remove(0))),
    ("table of rules", |results| {
        let rules = results["rules"].as_array_mut().unwrap();
        let rule = rules.iter_mut().find(|rule| rule["class"] == "limitation").unwrap();
        rule["score"] = "differs-from-limit".into();
    }),
    ("table of rules", |results| results["rules"][0]["verdict"] = "unknown".into()),
    ("list of rules that were not judged", |results| results["not_judged"] = serde_json::json!([])),
    ("profile", |results| results["profile"] = "asr-2024".into()),
    ("time of the start", |results| results["began"] = "2020-01-01T00:00:00Z".into()),
    ("request", |results| results["request"]["revision"] = "another".into()),
    ("request", |results| results["request"]["command"] = "cargo xtask conformance".into()),
    ("division", |results| {
        results["division"] = serde_json::json!({"kind": "merged", "run": "", "sources": "", "shards": []});
    }),
];

#[tokio::test]
async fn results_whose_tables_do_not_follow_from_the_evidence_get_no_certificate() {
    for (part, edit) in EDITS {
        let run = Run::new(Verdict::Pass);
        let path = run.dir.join("results.json");
        let mut results = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        edit(&mut results);
        std::fs::write(&path, results.to_string()).unwrap();
        let (recheck, written) = certify(&run.dir, &run.certificate).await.unwrap();
        assert_eq!((recheck.verdict, written), (Verdict::Unknown, false), "{part}: {recheck:#?}");
        let line = format!("results.json does not state the {part}");
        assert!(recheck.lines.iter().any(|found| found.starts_with(&line)), "{part}: {recheck:#?}");
    }
}

#[tokio::test]
async fn a_better_verdict_than_that_of_the_evidence_gets_no_certificate() {
    let run = Run::new(Verdict::Fail);
    let path = run.dir.join("results.json");
    let mut results = from_stored(&std::fs::read(&path).unwrap()).unwrap();
    results.verdict = Verdict::Pass;
    results.scenarios[0].verdict = Verdict::Pass;
    results.scenarios[0].why.clear();
    std::fs::write(&path, serde_json::to_vec(&results).unwrap()).unwrap();
    let (recheck, written) = certify(&run.dir, &run.certificate).await.unwrap();
    assert_eq!((recheck.verdict, written), (Verdict::Fail, false));
    let line = "results.json does not state the verdict that follows from the evidence";
    assert!(recheck.lines.iter().any(|found| found == line), "{recheck:#?}");
}

#[tokio::test]
async fn a_run_that_was_skipped_as_a_whole_is_no_pass_and_its_certificate_says_so() {
    let run = Run::new(Verdict::Skipped);
    let (recheck, written) = certify(&run.dir, &run.certificate).await.unwrap();
    assert_eq!((recheck.verdict, written), (Verdict::Unknown, true), "{recheck:#?}");
    assert!(run.text().lines().next().unwrap().contains("SKIPPED: nothing was judged"), "{}", run.text());
}

#[tokio::test]
async fn evidence_that_does_not_support_the_verdict_gets_no_certificate() {
    let run = Run::new(Verdict::Pass);
    std::fs::write(run.dir.join(SCENARIO).join(SEAL), "{}").unwrap();
    let (recheck, written) = certify(&run.dir, &run.certificate).await.unwrap();
    assert_eq!((recheck.verdict, written), (Verdict::Unknown, false));
    assert!(!run.certificate.exists() && !rendering_of(&run.certificate).exists());
    for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Unknown] {
        let run = Run::new(verdict);
        let (recheck, written) = certify(&run.dir, &run.certificate).await.unwrap();
        assert_eq!((recheck.verdict, written), (verdict, true));
    }
}

#[tokio::test]
async fn the_first_line_says_what_is_no_pass() {
    for (verdict, word) in [(Verdict::Fail, "FAILED"), (Verdict::Unknown, "UNKNOWN")] {
        let run = Run::new(verdict);
        let first = run.text().lines().next().unwrap().to_owned();
        assert!(first.contains(word) && !first.contains("conforms"), "{first}");
        assert_eq!(run.verdict().await, verdict);
        assert!(run.text().contains("VMware stand-in kept running"), "{}", run.text());
    }
}

#[test]
fn an_injected_fault_and_a_regression_are_in_the_first_line() {
    let run = Run::new(Verdict::Pass);
    let path = run.dir.join("results.json");
    let mut results = from_stored(&std::fs::read(&path).unwrap()).unwrap();
    results.scenarios[0].mutant = Some("drop-extent".to_owned());
    results.scenarios[0].slow.push("failover took 9 boots".to_owned());
    std::fs::write(&path, serde_json::to_vec(&results).unwrap()).unwrap();
    let heading = claims_of(&run.dir).unwrap().heading;
    assert!(heading.contains("with a regression") && heading.contains("A FAULT WAS INJECTED"), "{heading}");
}

#[test]
fn only_scenarios_of_the_suite_count_towards_a_whole_run_and_each_once() {
    let run = Run::new(Verdict::Pass);
    let path = run.dir.join("results.json");
    let stored = from_stored(&std::fs::read(&path).unwrap()).unwrap();
    let names: Vec<String> = crate::scenario::all().unwrap().into_iter().map(|row| row.name).collect();
    let heading = |names: &[String], more: &[&str]| {
        let names = names.iter().cloned().chain(more.iter().map(ToString::to_string));
        let scenario = |name| ScenarioOutcome { name, ..stored.scenarios[0].clone() };
        let results = Results { scenarios: names.map(scenario).collect(), ..stored.clone() };
        std::fs::write(&path, serde_json::to_vec(&results).unwrap()).unwrap();
        claims_of(&run.dir).unwrap().heading
    };
    let (all, some) = (names.len(), names.len() - 1);
    for more in [vec!["a-copy"], vec![names[0].as_str()], vec!["shard-1-of-2"]] {
        let partial = heading(&names[..some], &more);
        assert!(partial.contains(&format!("PARTIAL RUN: {some} of {all} scenarios")), "{partial}");
    }
    let whole = heading(&names, &["shard-1-of-2"]);
    assert!(whole.contains(&format!("({all} of {all} scenarios")), "{whole}");
}

#[test]
fn every_rule_is_in_one_group() {
    let run = Run::new(Verdict::Pass);
    let claims = claims_of(&run.dir).unwrap();
    let mut ids: Vec<_> = claims.rules.values().flatten().collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), all), (all, crate::rules::catalogue().len()));
    assert!(!claims.group("passed").is_empty());
}

#[test]
fn a_certificate_can_lie_elsewhere_and_a_run_without_results_has_none() {
    let run = Run::new(Verdict::Pass);
    let elsewhere = tempfile::tempdir().unwrap();
    let file = Utf8Path::from_path(elsewhere.path()).unwrap().join("acme.json");
    let certificate = issue(&run.dir, &file).unwrap();
    assert_eq!(certificate.files, Certificate::read(&run.certificate).unwrap().files);
    assert!(rendering_of(&file).ends_with("acme.md"));
    std::fs::remove_file(run.dir.join("results.json")).unwrap();
    let error = format!("{:#}", issue(&run.dir, &file).unwrap_err());
    assert!(error.contains("cargo xtask report"), "{error}");
}
