//! What a run was asked for, so that its report can say how to repeat it.

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::foreign_files;

/// File in the run's directory that holds the request. `cargo xtask` writes it.
const FILE: &str = "request.json";

/// What a run was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// The command that began the run; empty if that is not known.
    pub command: String,
    /// Those of its options that change what a scenario does, such as `--profile asr-2024`.
    pub options: String,
    /// The one seed that `--seed` or `ROUNDTRIP_SEED` gave to everything simulated, if one did.
    #[serde(default)]
    pub seed: Option<String>,
    /// The revision of the suite's source, with `, changed since` if files differed from it; empty
    /// if that is not known.
    #[serde(default)]
    pub revision: String,
}

impl Request {
    /// The request of the run in `dir`; an empty one if the directory holds none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of_run(dir: &Utf8Path) -> Result<Self> {
        let path = dir.join(FILE);
        match foreign_files::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("understand {path}")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("read {path}")),
        }
    }

    /// The command that runs one scenario again.
    #[must_use]
    pub fn repeat(&self, scenario: &str) -> String {
        let seed = self.seed.iter().map(|seed| format!("ROUNDTRIP_SEED={seed} "));
        let options = (!self.options.is_empty()).then(|| format!(" {}", self.options));
        let command = format!("cargo xtask conformance --scenario {scenario}");
        seed.chain([command]).chain(options).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_repeated_with_the_options_and_the_seed_of_its_run() {
        let plain = Request::default();
        assert_eq!(plain.repeat("clock"), "cargo xtask conformance --scenario clock");
        let request =
            Request { options: "--profile asr-2024".to_owned(), seed: Some("7".to_owned()), ..plain };
        assert_eq!(
            request.repeat("clock"),
            "ROUNDTRIP_SEED=7 cargo xtask conformance --scenario clock --profile asr-2024"
        );
    }
}
