//! Reports of a run: the summary on the terminal, `results.json`, JUnit and one HTML page.

mod collect;
mod html;
mod junit;
mod rules;
mod summary;

use anyhow::{Context as _, Result};
use camino::Utf8Path;

use crate::outcome::{Results, Verdict};

pub use collect::collect;

/// Writes every report into the run's directory and returns the summary for the terminal.
///
/// # Errors
/// The directory cannot be read or written.
pub fn write(dir: &Utf8Path, results: &Results) -> Result<String> {
    let put = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {path}"))
    };
    put("results.json", serde_json::to_string_pretty(results)?)?;
    put("junit.xml", junit::render(results)?)?;
    put("report.html", html::render(results))?;
    Ok(summary::render(results, dir))
}

/// The exit code of a verdict: 0 conforms, 1 a rule failed, 2 conforms but exceeded a time bound,
/// 3 nothing can be said.
#[must_use]
pub fn exit_code(verdict: Verdict, slow: bool) -> u8 {
    match verdict {
        Verdict::Pass if slow => 2,
        Verdict::Pass => 0,
        Verdict::Fail => 1,
        Verdict::Unknown => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_bound_counts_only_for_a_run_that_conforms() {
        use Verdict::{Fail, Pass, Unknown};
        assert_eq!([Pass, Fail, Unknown].map(|verdict| exit_code(verdict, false)), [0, 1, 3]);
        assert_eq!([Pass, Fail, Unknown].map(|verdict| exit_code(verdict, true)), [2, 1, 3]);
    }
}
