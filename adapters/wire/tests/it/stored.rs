//! Stored messages of earlier versions, which this version still reads. A file is never changed: a
//! change of the protocol that breaks one needs a new major version.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use wire::compatibility;

/// Each request of a file with its answer.
fn calls(text: &str) -> Vec<(String, Value, Value)> {
    let messages = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (requests, answers): (Vec<_>, Vec<_>) = messages.partition(|message| message["method"].is_string());
    let mut results: BTreeMap<u64, Value> =
        answers.iter().map(|answer| (answer["id"].as_u64().unwrap(), answer["result"].clone())).collect();
    let call = |request: &Value| {
        let result = results.remove(&request["id"].as_u64().unwrap()).unwrap();
        (request["method"].as_str().unwrap().to_owned(), request["params"].clone(), result)
    };
    requests.iter().map(call).collect()
}

#[test]
fn the_messages_of_earlier_versions_are_read() {
    let versions = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
    let mut read = 0;
    for version in std::fs::read_dir(versions).unwrap() {
        for file in std::fs::read_dir(version.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            for (method, params, result) in calls(&std::fs::read_to_string(&path).unwrap()) {
                match compatibility::read(&method, &params, &result) {
                    Some(Ok(())) => read += 1,
                    found => panic!("{}: {method}: {found:?}", path.display()),
                }
            }
        }
    }
    assert!(read >= 60, "{read} calls");
}
