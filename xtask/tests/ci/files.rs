//! The files of the engines, read.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// Folder of the workflows of GitHub.
const WORKFLOWS: &str = ".github/workflows";
/// The pipeline of GitLab.
pub const GITLAB: &str = "ci/gitlab-ci.yml";
/// Folder of the manifests for Kubernetes.
pub const KUBERNETES: &str = "ci/kubernetes";

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_owned()
}

/// Every workflow of GitHub.
pub fn workflows() -> Vec<String> {
    with_ending(WORKFLOWS, ".yml")
}

/// Every manifest for Kubernetes.
pub fn manifests() -> Vec<String> {
    with_ending(KUBERNETES, ".yaml")
}

/// The files of a folder whose names end so, relative to the repository.
fn with_ending(folder: &str, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).expect("a folder of the repository");
    let names = entries.flatten().map(|entry| entry.file_name().into_string().expect("a UTF-8 name"));
    let mut found: Vec<_> =
        names.filter(|name| name.ends_with(ending)).map(|name| format!("{folder}/{name}")).collect();
    found.sort();
    assert!(!found.is_empty(), "{folder} holds no {ending}");
    found
}

/// A file that holds one YAML document.
pub fn yaml(file: &str) -> Value {
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let documents = YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(documents.len(), 1, "{file} holds one document");
    json(&documents[0])
}

fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) | Yaml::Real(text) => Value::String(text.clone()),
        Yaml::Integer(number) => Value::from(*number),
        Yaml::Boolean(truth) => Value::Bool(*truth),
        Yaml::Array(items) => items.iter().map(json).collect(),
        Yaml::Hash(entries) => {
            let key = |key: &Yaml| json(key).as_str().expect("a key is a text").to_owned();
            Value::Object(entries.iter().map(|(name, value)| (key(name), json(value))).collect::<Map<_, _>>())
        }
        Yaml::Null => Value::Null,
        other => panic!("no engine needs {other:?}"),
    }
}

/// The texts of a list.
pub fn texts(list: &Value) -> Vec<String> {
    let text = |item: &Value| item.as_str().unwrap_or_else(|| panic!("{item} is a text")).to_owned();
    list.as_array().map(|items| items.iter().map(text).collect()).unwrap_or_default()
}
