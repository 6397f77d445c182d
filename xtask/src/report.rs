//! The command `report`: writes the report of a run again.

use std::process::Command;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::ReportArgs;
use crate::conformance::rundir::RUNS;
use crate::error::usage;
use crate::history;
use crate::process::quietly;
use crate::suite::Suite;

/// Width and height of a picture, in pixels.
const PICTURE: &str = "1280,900";

/// Writes it and returns the run's verdict as an exit code.
pub fn command(root: &Utf8Path, arguments: &ReportArgs) -> Result<u8> {
    let ReportArgs { run, verbose, history, picture, .. } = arguments;
    let dir = find(run)?;
    let history = history::file(&dir, history.as_deref())?;
    let code = Suite::on_ready_machine(root)?.verdict(&self::arguments(&dir, *verbose, &history))?;
    if let Some(picture) = picture {
        take_picture(&dir.join("report.html"), picture)?;
    }
    Ok(code)
}

/// Writes a picture of the top of a page.
fn take_picture(page: &Utf8Path, picture: &Utf8Path) -> Result<()> {
    let mut browser = Command::new("chromium");
    // Root, as in a container, has no sandbox.
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
    browser.args([format!("--window-size={PICTURE}"), format!("--screenshot={picture}")]);
    quietly("take a picture of the report with Chromium", browser.arg(format!("file://{page}")))
}

/// The arguments by which the suite writes the report of the run in `dir`.
pub fn arguments<'a>(dir: &'a Utf8Path, verbose: bool, history: &'a Utf8Path) -> Vec<&'a str> {
    let fixed = ["report", dir.as_str(), "--history", history.as_str()];
    fixed.into_iter().chain(verbose.then_some("--verbose")).collect()
}

/// The directory of a run that is named by its path, or by its id under the default place.
pub fn find(run: &Utf8Path) -> Result<Utf8PathBuf> {
    let places = [run.to_owned(), Utf8Path::new(RUNS).join(run)];
    let found = places.iter().find(|place| place.is_dir());
    let found = found.ok_or_else(|| {
        usage(format!("There is no run {run}: neither {} nor {} is a directory.", places[0], places[1]))
    })?;
    Ok(found.canonicalize_utf8()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_by_its_path_and_a_missing_one_is_wrong_usage() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = Utf8Path::from_path(scratch.path()).expect("a UTF-8 path");
        assert!(find(dir).is_ok());
        let error = find(&dir.join("none")).expect_err("it does not exist");
        assert_eq!(crate::error::code_of(&error), crate::error::USAGE);
    }
}
