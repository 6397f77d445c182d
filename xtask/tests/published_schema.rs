//! Stored results are as `docs/results.schema.json` says, so that whoever reads results can rely on
//! it.

use jsonschema::Validator;
use serde_json::Value;

fn json(path: &str) -> Value {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn published() -> Validator {
    jsonschema::validator_for(&json("docs/results.schema.json")).expect("it is a schema")
}

#[test]
fn stored_results_are_as_the_schema_says() {
    let stored = json("conformance/tests/stored/results-schema-2.json");
    let errors: Vec<_> = published().iter_errors(&stored).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn results_with_a_wrong_or_missing_field_are_refused() {
    let mut stored = json("conformance/tests/stored/results-schema-2.json");
    stored["scenarios"][0]["verdict"] = "perhaps".into();
    assert!(!published().is_valid(&stored));
    let mut stored = json("conformance/tests/stored/results-schema-2.json");
    stored["scenarios"][0].as_object_mut().expect("a scenario").remove("name");
    assert!(!published().is_valid(&stored));
}
