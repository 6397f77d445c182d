//! The bill of this repository, by what the specification of CycloneDX 1.5 requires.

use serde_json::{Value, json};

use super::*;

/// The required members of what is written, their types and their values, as the specification
/// gives them.
fn required() -> Value {
    let reference = json!({"type": "string", "minLength": 1});
    let hash = json!({"type": "object", "required": ["alg", "content"], "additionalProperties": false,
        "properties": {"alg": {"enum": ["SHA-256"]}, "content": {"pattern": "^[a-f0-9]{64}$"}}});
    let component = json!({"type": "object", "required": ["type", "name"], "properties": {
        "type": {"enum": ["application", "framework", "library", "container", "platform",
            "operating-system", "device", "device-driver", "firmware", "file", "machine-learning-model", "data"]},
        "bom-ref": reference, "name": {"type": "string", "minLength": 1}, "version": {"type": "string"},
        "hashes": {"type": "array", "items": hash},
        "licenses": {"type": "array", "maxItems": 1, "items": {"type": "object", "required": ["expression"],
            "properties": {"expression": {"type": "string", "pattern": "^[^/]+$"}}}},
        "purl": {"type": "string", "pattern": "^pkg:cargo/[^@]+@[^@]+$"},
        "externalReferences": {"type": "array", "items": {"required": ["url", "type"],
            "properties": {"type": {"const": "vcs"}, "url": {"type": "string"}}}},
        "properties": {"type": "array", "items": {"properties": {"name": {"type": "string"},
            "value": {"type": "string"}}}}}});
    json!({"type": "object", "required": ["bomFormat", "specVersion", "version"],
        "properties": {
            "bomFormat": {"const": "CycloneDX"}, "specVersion": {"const": "1.5"},
            "version": {"type": "integer", "minimum": 1},
            "metadata": {"type": "object", "properties": {"component": component}},
            "components": {"type": "array", "uniqueItems": true, "items": component},
            "dependencies": {"type": "array", "uniqueItems": true, "items": {"type": "object",
                "required": ["ref"], "additionalProperties": false, "properties": {"ref": reference,
                    "dependsOn": {"type": "array", "uniqueItems": true, "items": reference}}}}}})
}

#[test]
fn the_bill_is_what_the_specification_requires_and_complete() {
    let root = crate::cargo::workspace().expect("the repository");
    let bill = serde_json::to_value(bill(&root).expect("a bill")).expect("JSON");
    let validator = jsonschema::validator_for(&required()).expect("a schema");
    let errors: Vec<_> = validator.iter_errors(&bill).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let components = bill["components"].as_array().expect("components");
    let names: Vec<_> =
        components.iter().map(|component| component["name"].as_str().expect("a name")).collect();
    for name in ["harness", "conformance", "serde", "tokio", "virt", "qcow2-rs"] {
        assert!(names.contains(&name), "{name} is missing");
    }
    // References are unique, and each leads to something.
    let known: Vec<_> = components.iter().map(|component| &component["bom-ref"]).collect();
    let unique: std::collections::BTreeSet<_> = known.iter().map(|known| known.to_string()).collect();
    assert_eq!(unique.len(), known.len());
    for dependency in bill["dependencies"].as_array().expect("dependencies") {
        let own = &dependency["ref"];
        assert!(own == ROOT || known.contains(&own), "{own}");
        let on = dependency["dependsOn"].as_array().expect("a list");
        assert!(on.iter().all(|reference| known.contains(&reference)), "{dependency}");
    }
    // What comes from a registry has a digest and a licence.
    for component in components.iter().filter(|component| component["purl"].is_string()) {
        let complete = component["hashes"].is_array() && component["licenses"].is_array();
        assert!(complete, "{component}");
    }
}

#[test]
fn code_without_checks_is_only_where_this_list_says() {
    let root = crate::cargo::workspace().expect("the repository");
    let resolved = resolved(&root).expect("resolved");
    let ours = resolved.packages.iter().filter(|package| package.source.is_none());
    let with: Vec<_> = ours
        .filter(|package| unsafe_code::places(folder(package).expect("a folder")).expect("readable") > 0)
        .map(|package| package.name.as_str())
        .collect();
    // The calls of libnbd, and the requests to device mapper.
    assert_eq!(with, ["agent", "nbd"]);
}
