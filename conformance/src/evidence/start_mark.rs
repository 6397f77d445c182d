//! The first file of a scenario's evidence.

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::context::BY_HAND;
use crate::foreign_files;

/// First file of a scenario. If there is no result beside it, the scenario did not end.
pub const STARTED: &str = "started.json";

/// The content of [`STARTED`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StartMark {
    /// Name of the scenario.
    pub(crate) scenario: String,
    /// Id of the run.
    #[serde(default)]
    pub(crate) run: Option<String>,
    /// When the scenario began, UTC.
    #[serde(default)]
    pub(crate) at: Option<String>,
}

impl StartMark {
    /// The start mark in the directory of a scenario; `Err` says why there is none.
    pub(crate) fn read(dir: &Utf8Path) -> Result<Self, String> {
        let mark = foreign_files::read(&dir.join(STARTED))
            .map_err(|error| format!("{STARTED} cannot be read ({error})"))?;
        serde_json::from_slice(&mark).map_err(|error| format!("{STARTED} is malformed ({error})"))
    }

    /// The run, in words that are the same for all scenarios of a run.
    pub(super) fn run_in_words(&self) -> String {
        match self.run.as_deref() {
            Some(id) if id.starts_with(BY_HAND) => "a run by hand".to_owned(),
            Some(id) => format!("run {id}"),
            None => "a run without an id".to_owned(),
        }
    }
}
