//! A rehearsal of the nightly workflow: its steps run here, and the actions that hand files from
//! job to job are directories.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::files::{root, texts, yaml};
use crate::place::{Place, Ran, SHARDS, copy, results, shell};

const WORKFLOW: &str = ".github/workflows/nightly.yml";
/// Steps that change this machine or boot guests.
const LEFT_OUT: [&str; 2] = ["ci/set-up-runner", "cargo xtask clean"];

/// One run of the workflow.
struct Night<'a> {
    place: &'a Place,
    id: u32,
}

impl Night<'_> {
    /// Runs a job once. Returns its first failure, if any, else its last success.
    fn job(&self, name: &str, shard: Option<usize>) -> Ran {
        self.place.tidy();
        let workflow = yaml(WORKFLOW);
        let temp = self.place.path(&format!("temp-{name}-{}", shard.unwrap_or_default()));
        // Each job begins with an empty folder, which there is none of in the first night.
        let _ = fs::remove_dir_all(&temp);
        fs::create_dir_all(&temp).expect("made");
        let summary = temp.join("summary").display().to_string();
        let mut ended = Ran { code: 0, output: String::new(), answer: String::new() };
        for step in workflow["jobs"][name]["steps"].as_array().expect("steps") {
            if ended.code != 0 && step["if"] != "always()" {
                continue;
            }
            if let Some(action) = step["uses"].as_str() {
                self.action(action, &step["with"], &|text| self.filled(text, shard, &temp));
                continue;
            }
            let call = step["run"].as_str().expect("a step runs something");
            if LEFT_OUT.contains(&call) {
                continue;
            }
            let mut variables = vec![
                ("RUNNER_TEMP", temp.display().to_string()),
                ("GITHUB_STEP_SUMMARY", summary.clone()),
                (
                    "RUN_NAME",
                    self.filled(workflow["env"]["RUN_NAME"].as_str().expect("a name"), shard, &temp),
                ),
            ];
            if let Some(value) = step["env"]["SHARD"].as_str() {
                variables.push(("SHARD", self.filled(value, shard, &temp)));
            }
            let ran = shell(call, &variables);
            if ended.code == 0 {
                ended = ran;
            }
        }
        ended
    }

    /// A text with its expressions replaced.
    fn filled(&self, text: &str, shard: Option<usize>, temp: &Path) -> String {
        let known = [
            ("github.run_id", self.id.to_string()),
            ("github.run_attempt", "1".to_owned()),
            ("runner.temp", temp.display().to_string()),
            ("runner.os", "Linux".to_owned()),
            ("matrix.shard", shard.unwrap_or_default().to_string()),
            ("strategy.job-total", SHARDS.to_string()),
            ("hashFiles('Cargo.lock')", "0".to_owned()),
        ];
        let filled = known
            .into_iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{{ {name} }}}}"), &value));
        assert!(!filled.contains("${{"), "the rehearsal does not know what {filled} means");
        filled
    }

    fn action(&self, action: &str, with: &Value, filled: &dyn Fn(&str) -> String) {
        let text = |key: &str| with[key].as_str().map(filled);
        let action = action.split('@').next().unwrap_or_default();
        let history = text("key").is_some_and(|key| key.starts_with("history-"));
        match action {
            "actions/checkout" => {}
            // Builds and images are here already.
            "actions/cache" | "actions/cache/restore" | "actions/cache/save" if !history => {}
            "actions/cache/restore" => {
                self.restore(&text("path").expect("a path"), &text("restore-keys").expect("keys"))
            }
            "actions/cache/save" => {
                let to = self.place.path("caches").join(text("key").expect("a key"));
                copy(&root().join(text("path").expect("a path")), &to);
            }
            "actions/upload-artifact" => {
                let to = self.artifact(&text("name").expect("a name"));
                upload(&text("path").expect("a path"), &to);
            }
            "actions/download-artifact" => {
                let to = root().join(text("path").expect("a path"));
                match text("name") {
                    Some(name) => copy(&self.artifact(&name), &to),
                    None => self.download_all(&text("pattern").expect("a pattern"), &to),
                }
            }
            other => panic!("the rehearsal does not know {other}"),
        }
    }

    fn artifact(&self, name: &str) -> PathBuf {
        self.place.path(&format!("artifacts-{}", self.id)).join(name)
    }

    /// Restores the newest cache whose key begins so, if there is one.
    fn restore(&self, path: &str, key: &str) {
        let caches = fs::read_dir(self.place.path("caches")).into_iter().flatten().flatten();
        let mut found: Vec<_> = caches.map(|cache| cache.path()).collect();
        found.retain(|cache| cache.file_name().is_some_and(|name| name.to_string_lossy().starts_with(key)));
        found.sort();
        if let Some(newest) = found.last() {
            copy(newest, &root().join(path));
        }
    }

    fn download_all(&self, pattern: &str, to: &Path) {
        let prefix = pattern.strip_suffix('*').expect("a pattern that ends in a star");
        let artifacts = fs::read_dir(self.place.path(&format!("artifacts-{}", self.id))).expect("artifacts");
        for artifact in artifacts.flatten() {
            let name = artifact.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) {
                copy(&artifact.path(), &to.join(name));
            }
        }
    }
}

/// Puts what the lines of `paths` name into `to`: directories, or files below directories. Paths of
/// several directories are kept below the directory that they have in common.
fn upload(paths: &str, to: &Path) {
    let parts: Vec<_> = paths.lines().map(|path| path.split_once("/**").unwrap_or((path, ""))).collect();
    let mut bases = parts.iter().map(|(base, _)| *base);
    let first = bases.next().expect("a path");
    let several = bases.any(|base| base != first);
    for (base, kind) in parts {
        let base = root().join(base);
        let above = if several { base.parent().expect("a folder") } else { &base };
        let wanted = |path: &Path| match kind.trim_start_matches('/') {
            "" => true,
            kind => match kind.strip_prefix("*.") {
                Some(ending) => path.extension().is_some_and(|found| found == ending),
                None => {
                    let folder = kind.strip_suffix("/**").expect("a folder and everything in it");
                    path.components().any(|part| part.as_os_str() == folder)
                }
            },
        };
        copy_some(above, &base, to, &wanted);
    }
    assert!(to.exists(), "nothing was found to upload: {paths}");
}

fn copy_some(base: &Path, dir: &Path, to: &Path, wanted: &dyn Fn(&Path) -> bool) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            copy_some(base, &path, to, wanted);
        } else if wanted(&path) {
            let target = to.join(path.strip_prefix(base).expect("below it"));
            fs::create_dir_all(target.parent().expect("a folder")).expect("made");
            fs::copy(path, target).expect("copied");
        }
    }
}

/// The scenarios and verdicts of a report.
fn verdicts(report: &Path) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let scenarios = results(report)["scenarios"].as_array().expect("scenarios").clone();
    scenarios.iter().map(|scenario| (text(&scenario["name"]), text(&scenario["verdict"]))).collect()
}

#[test]
#[ignore = "runs the sim tier several times"]
fn two_nights_of_the_workflow_rehearsed() {
    let place = Place::new();
    for id in [1, 2] {
        let night = Night { place: &place, id };
        let divided_by = if id == 1 { "table" } else { "history" };
        assert_eq!(night.job("history", None).code, 0);
        for shard in 1..=SHARDS {
            let ran = night.job("shard", Some(shard));
            assert!(
                ran.code == 0 && ran.output.contains(&format!("by the {divided_by} of durations")),
                "{ran:?}"
            );
        }
        let ran = night.job("report", None);
        assert_eq!(ran.code, 0, "{ran:?}");
        let report = night.artifact("report/report");
        assert_eq!(verdicts(&night.artifact("report/cost")).len(), 1);
        assert!(
            verdicts(&report).len() > 3 && verdicts(&report).iter().all(|(_, verdict)| verdict == "pass")
        );
        let summary = fs::read_to_string(place.path("temp-report-0/summary")).expect("it is there");
        assert!(summary.contains("Roundtrip: conforms"), "{summary}");
    }
    // The history of the second night holds both runs of both nights.
    let history = place.path("caches/history-2-1/history.sqlite").display().to_string();
    let listed = shell(&format!("cargo xtask history --history {history} export"), &[]);
    assert_eq!(listed.output.lines().filter(|line| line.starts_with('{')).count(), 4, "{listed:?}");
    a_lost_shard_fails_the_night(&Night { place: &place, id: 2 });
}

fn a_lost_shard_fails_the_night(night: &Night<'_>) {
    fs::remove_dir_all(night.artifact("shard-2")).expect("removed");
    fs::remove_dir_all(night.artifact("report")).expect("removed");
    fs::remove_dir_all(night.place.path("temp-report-0")).expect("removed");
    let ran = night.job("report", None);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.output.contains("shard 2 of 2") && ran.output.contains("is missing"), "{ran:?}");
    let unknown = verdicts(&night.artifact("report/report"));
    assert!(unknown.iter().any(|(_, verdict)| verdict == "unknown"), "{unknown:?}");
    let summary = fs::read_to_string(night.place.path("temp-report-0/summary")).expect("it is there");
    assert!(summary.contains("is missing"), "{summary}");
}

#[test]
fn the_workflow_has_the_jobs_that_are_rehearsed() {
    let jobs = yaml(WORKFLOW)["jobs"].clone();
    let shards = jobs["shard"]["strategy"]["matrix"]["shard"].as_array().expect("shards").len();
    let numbers: Vec<_> = (1..=shards as u64).collect();
    assert_eq!(jobs["shard"]["strategy"]["matrix"]["shard"], serde_json::json!(numbers));
    assert_eq!((&jobs["shard"]["needs"], &jobs["report"]["needs"]), (&"history".into(), &"shard".into()));
    assert_eq!(jobs["report"]["if"], "always()");
    assert!(texts(&jobs["shard"]["runs-on"]).contains(&"kvm".to_owned()));
}
