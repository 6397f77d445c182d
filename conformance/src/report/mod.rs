//! Reports of a run: the summary on the terminal, `results.json`, JUnit, one HTML page, and a
//! summary in Markdown for the page of a job.

mod collect;
mod exit_code;
mod figures;
mod html;
mod junit;
mod markdown;
pub(crate) mod reason;
pub(crate) mod rules;
#[cfg(test)]
mod samples;
mod schema;
mod shards;
mod speeds;
mod stored;
mod summary;
mod test_runner;
pub(crate) mod tier;
mod timeline;
mod trend_plot;

use anyhow::{Context as _, Result};
use camino::Utf8Path;

use crate::foreign_files;
use crate::outcome::Results;
use crate::regressions::Comparison;
pub(crate) use collect::suite;
pub(crate) use stored::RESULTS;
pub(crate) use test_runner::TESTS;

pub use collect::collect;
pub use exit_code::exit_code;
pub use schema::schema_page;
pub use stored::load;
pub use summary::Detail;

/// The summary for the terminal of the run whose reports are in `dir`.
#[must_use]
pub fn summary(results: &Results, dir: &Utf8Path, detail: Detail) -> String {
    summary::render(results, dir, detail)
}

/// Writes every report into the run's directory.
///
/// # Errors
/// The directory cannot be read or written.
pub fn write(dir: &Utf8Path, results: &Results) -> Result<()> {
    let put = |name: &str, text: String| {
        let path = dir.join(name);
        foreign_files::replace(&path, text.as_bytes()).with_context(|| format!("write {path}"))
    };
    put(RESULTS, serde_json::to_string_pretty(results)?)?;
    put("junit.xml", junit::render(results)?)?;
    put("summary.md", markdown::render(results))?;
    put("report.html", html::render(results, dir))
}

/// The page that plots each series of a comparison over time.
#[must_use]
pub fn trend(comparison: &Comparison) -> String {
    html::trend::render(comparison)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Verdict;

    #[test]
    fn a_scenario_that_never_started_is_unknown_in_every_report() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        std::fs::write(dir.join(crate::evidence::ASKED), r#"["hyperv-azure"]"#).unwrap();
        let results = collect(dir, crate::outcome::HostFacts::default()).unwrap();
        assert_eq!(results.verdict, Verdict::Unknown);
        write(dir, &results).unwrap();
        let summary = summary(&results, dir, Detail::Lines);
        let files = ["results.json", "junit.xml", "report.html", "summary.md"];
        let texts = files.map(|name| std::fs::read_to_string(dir.join(name)).unwrap());
        for text in texts.iter().chain([&summary]) {
            assert!(text.contains("hyperv-azure") && text.contains("never started"), "{text}");
        }
        assert!(texts[1].contains("<error"), "{}", texts[1]);
    }

    #[test]
    fn a_time_bound_that_was_exceeded_is_a_failure_in_junit() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        std::fs::write(dir.join(crate::evidence::ASKED), r#"["hyperv-azure"]"#).unwrap();
        let mut results = collect(dir, crate::outcome::HostFacts::default()).unwrap();
        results.scenarios[0].verdict = Verdict::Pass;
        assert!(!junit::render(&results).unwrap().contains("<failure"));
        results.scenarios[0].slow.push("failover took 9 boots".to_owned());
        let text = junit::render(&results).unwrap();
        assert!(text.contains("<failure") && text.contains("slow"), "{text}");
    }
}
