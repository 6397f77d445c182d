//! Reads stored results, also those of older suites.

use serde_json::{Value, json};

use super::{Results, SCHEMA};
use crate::rules::{RuleId, Score};
use crate::verdict::Verdict;

/// Why stored results cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// They are no JSON, or not what their schema says.
    #[error("the results are malformed: {0}")]
    Malformed(String),
    /// A newer suite wrote them.
    #[error("the results have schema {0}, and this suite reads schemas 1 to {SCHEMA}: use a newer one")]
    Newer(u64),
}

impl From<serde_json::Error> for StoredError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// The results in the text of a `results.json` of any schema up to [`SCHEMA`]. What a schema did
/// not have is taken from the catalogue of rules, or left empty.
///
/// # Errors
/// The text is malformed, or a newer suite wrote it.
pub fn from_stored(text: &[u8]) -> Result<Results, StoredError> {
    let mut stored: Value = serde_json::from_slice(text)?;
    match stored["schema"].as_u64() {
        Some(1) => upgrade_from_1(&mut stored)?,
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(schema) if schema > u64::from(SCHEMA) => return Err(StoredError::Newer(schema)),
        _ => return Err(StoredError::Malformed("they name no schema".to_owned())),
    }
    Ok(serde_json::from_value(stored)?)
}

/// Schema 1 had neither profiles nor classes of rules, and named what was found `why`.
fn upgrade_from_1(stored: &mut Value) -> Result<(), StoredError> {
    let put = |object: &mut Value, name: &str, value: Value| {
        if let Some(fields) = object.as_object_mut() {
            fields.entry(name.to_owned()).or_insert(value);
        }
    };
    put(stored, "profile", json!(""));
    put(stored, "not_judged", json!([]));
    rules_of(stored)?;
    for scenario in stored["scenarios"].as_array_mut().into_iter().flatten() {
        put(scenario, "profile", json!(""));
        rules_of(scenario)?;
        let edges = scenario["edges"].as_array_mut().into_iter().flatten();
        for disk in edges.flat_map(|edge| edge["disks"].as_array_mut().into_iter().flatten()) {
            let ignored = disk["evidence"]["exempt"].take();
            put(
                &mut disk["evidence"],
                "ignored_sectors",
                if ignored.is_array() { ignored } else { json!([]) },
            );
        }
    }
    stored["schema"] = SCHEMA.into();
    Ok(())
}

fn rules_of(object: &mut Value) -> Result<(), StoredError> {
    for rule in object["rules"].as_array_mut().into_iter().flatten() {
        let id: RuleId = serde_json::from_value(rule["id"].clone())?;
        let verdict: Verdict = serde_json::from_value(rule["verdict"].clone())?;
        let known = id.rule();
        rule["title"] = known.title.as_str().into();
        rule["class"] = json!(known.class);
        rule["score"] = json!(Score::of(known.class, verdict));
        rule["expected"] = known.evidence.as_str().into();
        rule["found"] = rule["why"].take();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/stored/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn results_of_every_schema_so_far_can_be_read() {
        for schema in 1..=SCHEMA {
            let results = from_stored(&stored(&format!("results-schema-{schema}.json"))).unwrap();
            assert_eq!(results.schema, SCHEMA);
            assert!(results.scenarios.iter().any(|scenario| !scenario.edges.is_empty()));
            for rule in results.scenarios.iter().flat_map(|scenario| &scenario.rules) {
                assert!(!rule.title.is_empty() && !rule.expected.is_empty() && !rule.found.is_empty());
                assert_eq!(rule.score, Score::of(rule.class, rule.verdict), "{}", rule.id);
            }
        }
    }

    #[test]
    fn results_of_a_newer_suite_are_refused_by_name() {
        let newer = format!(r#"{{"schema": {}}}"#, SCHEMA + 1);
        let error = from_stored(newer.as_bytes()).unwrap_err();
        assert!(matches!(error, StoredError::Newer(_)) && error.to_string().contains("newer"), "{error}");
    }

    #[test]
    fn results_that_are_cut_off_or_nameless_are_malformed() {
        let whole = stored("results-schema-2.json");
        for text in [&whole[..whole.len() / 2], b"{}", b"[]", b""] {
            assert!(matches!(from_stored(text), Err(StoredError::Malformed(_))));
        }
    }
}
