//! What a run was asked for, so that its report can say how to repeat it.

use anyhow::{Context as _, Result};
use camino::Utf8Path;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::foreign_files;
use crate::rules::RuleId;

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
        self.command(&format!("--scenario {scenario}"))
    }

    /// The command that runs the checks in memory of one rule again.
    #[must_use]
    pub fn repeat_rule(&self, rule: RuleId) -> String {
        if self.options.contains("--rule ") {
            self.command("")
        } else {
            self.command(&format!("--rule {rule}"))
        }
    }

    fn command(&self, chosen: &str) -> String {
        let seed = self.seed.iter().map(|seed| format!("ROUNDTRIP_SEED={seed} "));
        let parts = ["cargo xtask conformance", chosen, &self.options];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        seed.chain([parts.join(" ")]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::ids::FO_04;

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
        assert_eq!(
            request.repeat_rule(FO_04),
            "ROUNDTRIP_SEED=7 cargo xtask conformance --rule FO-04 --profile asr-2024"
        );
        let one = Request { options: "--rule FO-04".to_owned(), ..Request::default() };
        assert_eq!(one.repeat_rule(FO_04), "cargo xtask conformance --rule FO-04");
    }
}
