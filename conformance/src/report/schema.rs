//! The published JSON Schema of `results.json`.

use schemars::schema_for;
use serde_json::Value;

use crate::outcome::{Results, SCHEMA};

/// The schema as JSON. `docs/results.schema.json` holds it.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schema_for!(Results);
    schema.insert("title".to_owned(), format!("Roundtrip's results.json, schema {SCHEMA}").into());
    schema.to_value()
}

/// The text of `docs/results.schema.json`.
#[must_use]
pub fn schema_page() -> String {
    format!("{:#}\n", schema())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_schema_is_that_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/results.schema.json");
        let published = std::fs::read_to_string(path).unwrap();
        assert!(
            published == schema_page(),
            "docs/results.schema.json is out of date: run `cargo xtask docs`"
        );
    }
}
