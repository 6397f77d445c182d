//! The generated documents.

use std::path::Path;

use serde_json::json;
use wire::examples::Example;
use wire::{examples, openrpc, page};

use crate::schema::objections;

fn is_current(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == text, "{path} is out of date: run `cargo xtask docs`");
}

#[test]
fn the_openrpc_document_is_current() {
    is_current("adapters/wire/openrpc.json", &format!("{:#}\n", openrpc::document()));
}

#[test]
fn the_page_is_current() {
    is_current("docs/protocol.md", &page::page());
}

#[test]
fn the_core_in_rust_of_the_guide_is_the_example() {
    let guide = include_str!("../../../../docs/your-core.md");
    let example = include_str!("../../examples/my_core.rs");
    assert!(guide.contains(&format!("```rust\n{example}```\n")), "docs/your-core.md shows another program");
}

#[test]
fn every_method_is_described_and_has_an_example() {
    let (methods, _) = openrpc::describe();
    for method in &methods {
        assert!(!method.text.is_empty(), "{} has no description", method.name);
        assert!(!method.example.params.is_null(), "{} has no example", method.name);
        let names: Vec<_> = method.params.iter().map(|(name, ..)| name.as_str()).collect();
        let given = method.example.params.as_object().map(|params| params.keys().collect::<Vec<_>>());
        assert!(given.is_some_and(|given| given.iter().all(|name| names.contains(&name.as_str()))));
    }
    let examples = examples::all();
    assert_eq!(methods.len(), examples.len(), "examples of methods that do not exist");
}

#[test]
fn every_example_fits_its_schema() {
    let (methods, schemas) = openrpc::describe();
    for method in &methods {
        let Example { params, result, .. } = &method.example;
        for (name, schema, required) in &method.params {
            let given = params.get(name);
            assert!(given.is_some() || !required, "{}: the example lacks {name}", method.name);
            if let Some(value) = given {
                assert_eq!(objections(schema, &schemas, value), [""; 0], "{}: {name}", method.name);
            }
        }
        assert_eq!(objections(&method.result, &schemas, result), [""; 0], "the result of {}", method.name);
    }
}

#[test]
fn a_value_of_another_type_does_not_fit_a_schema() {
    let (methods, schemas) = openrpc::describe();
    let item = methods.iter().find(|method| method.name == "core.item").unwrap();
    let Example { result, .. } = &item.example;
    let mut unknown_phase = result.clone();
    unknown_phase["protection"]["phase"] = json!("asleep");
    let mut without_points = result.clone();
    without_points.as_object_mut().unwrap().remove("points");
    for wrong in [unknown_phase, without_points] {
        assert_ne!(objections(&item.result, &schemas, &wrong), [""; 0]);
    }
}
