//! Every step calls one program of the repository, or one command of `cargo xtask`, and nothing
//! else: what an engine runs can be run and tested without it.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::files::{GITLAB, manifests, root, texts, workflows, yaml};

/// What makes a program out of a call.
const LOGIC: [&str; 9] = ["&&", "||", ";", "|", "$(", "`", "<", ">", "\n"];

/// Every call of every engine's files, with the file.
fn calls() -> Vec<(String, String)> {
    let mut calls = Vec::new();
    for file in workflows() {
        let workflow = yaml(&file);
        for job in workflow["jobs"].as_object().expect("jobs").values() {
            let steps = job["steps"].as_array().expect("steps").iter();
            calls.extend(steps.filter_map(|step| Some((file.clone(), step["run"].as_str()?.to_owned()))));
        }
    }
    for job in yaml(GITLAB).as_object().expect("a pipeline").values() {
        let scripts =
            ["before_script", "script", "after_script"].into_iter().flat_map(|key| texts(&job[key]));
        calls.extend(scripts.map(|call| (GITLAB.to_owned(), call)));
    }
    for file in manifests() {
        let command = texts(&container(&yaml(&file))["command"]);
        if !command.is_empty() {
            // The engine replaces `$(NAME)`, without a shell.
            let command = command.iter().map(|word| word.replace("$(", "$").replace(')', ""));
            calls.push((file, shell_words::join(command.map(|word| word.replace('$', "VARIABLE-")))));
        }
    }
    assert!(calls.len() > 10, "{calls:?}");
    calls
}

fn is_xtask(words: &[String]) -> bool {
    words.iter().take(2).eq(["cargo", "xtask"])
}

/// The container of a job for Kubernetes.
pub fn container(manifest: &Value) -> Value {
    manifest["spec"]["template"]["spec"]["containers"][0].clone()
}

#[test]
fn every_step_is_one_call_without_logic() {
    for (file, call) in calls() {
        let found = LOGIC.iter().find(|sign| call.trim().contains(**sign));
        assert_eq!(found, None, "{file}: {call}");
    }
}

#[test]
fn every_step_calls_a_program_of_the_repository() {
    for (file, call) in calls() {
        let words = shell_words::split(&call).unwrap_or_else(|error| panic!("{file}: {call}: {error}"));
        if is_xtask(&words) {
            continue;
        }
        let path = root().join(&words[0]);
        let mode =
            path.metadata().unwrap_or_else(|error| panic!("{file}: {call}: {error}")).permissions().mode();
        assert!(mode & 0o111 != 0, "{file}: {} cannot be executed", words[0]);
    }
}

#[test]
fn every_option_of_cargo_xtask_is_one_that_it_knows() {
    let mut checked = 0;
    for (file, call) in calls() {
        let words = shell_words::split(&call).expect("words");
        if !is_xtask(&words) {
            continue;
        }
        // Values that the engine fills in.
        let known = [("$TIER", "all"), ("$SEEDS", "2"), ("$SHARD", "1/2"), ("$GITHUB_RUN_NUMBER", "1")];
        let known = known.into_iter().chain([("VARIABLE-TIER", "all"), ("VARIABLE-SEEDS", "2")]);
        let known = known.chain([("$CI_PIPELINE_IID", "1")]);
        let fill =
            |word: &String| known.clone().fold(word.clone(), |word, (name, value)| word.replace(name, value));
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        // What comes before `--help` is checked, and nothing is run.
        let output = command.args(words[2..].iter().map(fill)).arg("--help").output().expect("xtask runs");
        assert!(output.status.success(), "{file}: {call}\n{}", String::from_utf8_lossy(&output.stderr));
        checked += 1;
    }
    assert!(checked > 5);
}

#[test]
fn an_option_that_does_not_exist_is_noticed() {
    for wrong in
        [&["conformance", "--shards", "1/2", "--help"][..], &["conformance", "--tier", "moon", "--help"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(wrong).output().expect("xtask runs");
        assert_eq!(output.status.code(), Some(64), "{wrong:?}");
    }
}

#[test]
fn the_job_for_kubernetes_says_how_many_shards_it_has() {
    let job = yaml("ci/kubernetes/job.yaml");
    let completions = job["spec"]["completions"].as_u64().expect("a number");
    let variables = container(&job)["env"].as_array().expect("variables").clone();
    let stated = variables.iter().find(|variable| variable["name"] == "JOB_COMPLETIONS").expect("it is set");
    assert_eq!(stated["value"], completions.to_string());
    assert_eq!(job["spec"]["maxFailedIndexes"], completions);
}
