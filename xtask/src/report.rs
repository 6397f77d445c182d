//! The command `report`: writes the report of a run again, and compares the run with earlier ones.

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
    let ReportArgs { run, verbose, history, picture, against, last, trend, .. } = arguments;
    let dir = find(run)?;
    let history = history::file(&dir, history.as_deref())?;
    let against = against.as_deref().map(baseline).transpose()?;
    let last = last.map(|last| last.to_string());
    let mut words = self::arguments(&dir, *verbose, &history);
    words.push("--compare");
    for (option, value) in [("--against", &against), ("--last", &last)] {
        words.extend(value.iter().flat_map(|value| [option, value.as_str()]));
    }
    words.extend(trend.then_some("--trend"));
    let code = Suite::without_guests(root)?.verdict(&words)?;
    if let Some(picture) = picture {
        take_picture(&dir.join("report.html"), picture)?;
    }
    Ok(code)
}

/// What the suite is told of a baseline: the absolute path of a file, or the id of a run, which may
/// be named by its directory.
fn baseline(name: &str) -> Result<String> {
    if Utf8Path::new(name).is_file() {
        return Ok(Utf8Path::new(name).canonicalize_utf8()?.into_string());
    }
    let dir = find(Utf8Path::new(name)).ok();
    // The directory of a run may be gone while the history still has the run.
    Ok(dir.and_then(|dir| dir.file_name().map(ToOwned::to_owned)).unwrap_or_else(|| name.to_owned()))
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

    #[test]
    fn a_baseline_is_a_file_a_directory_of_a_run_or_an_id() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = Utf8Path::from_path(scratch.path())
            .expect("a UTF-8 path")
            .canonicalize_utf8()
            .expect("it exists");
        let (file, run) = (dir.join("baseline.jsonl"), dir.join("run-1"));
        std::fs::write(&file, "").expect("written");
        std::fs::create_dir(&run).expect("made");
        assert_eq!(baseline(file.as_str()).expect("a file"), file.as_str());
        assert_eq!(baseline(run.as_str()).expect("a directory"), "run-1");
        assert_eq!(baseline("run-2").expect("an id"), "run-2");
    }
}
