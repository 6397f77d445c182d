//! A test process ends with the test runner that started it.

use std::time::Duration;

use lifetime::parent;

/// Time to take guests down after the end of the runner. The runner's own grace is as long, see
/// `.config/nextest.toml`.
const GRACE: Duration = Duration::from_secs(45);
/// Set by nextest for every test.
const RUNNER: &str = "NEXTEST";

/// From now on this process ends with nextest, if nextest started it: a run that is killed must not
/// go on in the background.
///
/// # Panics
/// The host allows no thread or no process more: a test could not run either.
pub fn end_with_the_runner() {
    if std::env::var_os(RUNNER).is_some() {
        parent::end_with_parent(GRACE).expect("a thread, a descriptor and a shell");
    }
}
