//! The generated documents.

use std::path::Path;

use wire::{examples, openrpc, page};

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
