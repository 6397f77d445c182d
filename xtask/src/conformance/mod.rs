//! The command `conformance`: checks words, host and set-up, runs the chosen scenarios, reports.

mod nextest;
pub mod preflight;
mod progress;
pub mod rundir;
pub mod scenarios;

use anyhow::Result;
use camino::Utf8Path;

use crate::cli::ConformanceArgs;
use crate::error::{INTERRUPTED, infrastructure, usage};
use crate::host::Live as LiveHost;
use crate::run::say;
use crate::setup::daemon;
use crate::suite::Suite;
use crate::{images_cmd, setup};
use nextest::{Order, last_lines, log_path};
use preflight::Figures;
use progress::Live;
use rundir::RunDir;
use scenarios::{Scenario, Tier, TierChoice};

/// Lines of nextest's log that are repeated when it could not do its work.
const LOG_LINES: usize = 20;

/// One run, from its words to its verdict.
struct Run<'a> {
    root: &'a Utf8Path,
    arguments: &'a ConformanceArgs,
    chosen: Vec<Scenario>,
    dir: RunDir,
    uri: String,
}

/// Runs it and gives its exit code.
pub fn command(root: &Utf8Path, arguments: &ConformanceArgs) -> Result<u8> {
    let all = scenarios::all()?;
    // A list shows all there are, and an expression narrows all there are.
    let whole = (arguments.list || arguments.filter.is_some()).then_some(TierChoice::All);
    let chosen = scenarios::choose(&all, &arguments.scenario, arguments.tier.or(whole))?;
    if arguments.list {
        let listed = if arguments.scenario.is_empty() {
            scenarios::of(&all, arguments.tier.unwrap_or(TierChoice::All))
        } else {
            chosen
        };
        print!("{}", scenarios::table(&listed));
        return Ok(0);
    }
    let uri = arguments.connect.clone().unwrap_or_else(|| daemon::uri(&LiveHost).to_owned());
    let run = Run { root, arguments, chosen, dir: RunDir::plan(arguments.out.as_deref())?, uri };
    let code = run.prepare().and_then(|suite| run.execute(&suite));
    run.dir.drop_if_empty();
    code
}

/// One tier's part of a run.
struct Share {
    tier: Tier,
    /// Which tests, for nextest.
    expression: String,
    /// The same, by name.
    tests: Vec<String>,
}

/// How the running of the tests went, apart from what they found.
#[derive(Default)]
struct Ending {
    /// Scenarios that must have left a result.
    expected: Vec<String>,
    interrupted: bool,
    /// A tier that nextest could not run.
    broken: Option<Tier>,
    failed: bool,
}

impl Run<'_> {
    /// Everything that can be refused is refused here, before a guest starts.
    fn prepare(&self) -> Result<Suite> {
        let (out, cache) = (&self.dir.path, images_cmd::cache_dir());
        self.dir.create()?;
        Figures::of(out, &cache)?.judge(out, &cache)?;
        setup::ensure(self.root, self.arguments.consent.yes)?;
        images_cmd::ensure(self.root)?;
        let suite = Suite::build(self.root, &self.uri)?;
        let mut preflight = vec!["preflight", "--connect", &self.uri];
        if let Some(mutant) = &self.arguments.mutant {
            preflight.extend(["--mutant", mutant.as_str()]);
        }
        suite.must(&preflight)?;
        suite.must(&["reap"])?;
        Ok(suite)
    }

    fn execute(&self, suite: &Suite) -> Result<u8> {
        let shares = self.shares()?;
        let count = shares.iter().map(|share| share.tests.len()).sum::<usize>();
        let things = if count == 1 { "scenario" } else { "scenarios" };
        self.dir.link_latest()?;
        say(format!("Run {}: {count} {things} on {}, evidence in {}", self.dir.id, self.uri, self.dir.path));
        let ending = self.run_shares(shares)?;
        // The tests take their guests down themselves; a killed one could not. Its report is due all the same.
        let reaped = suite.must(&["reap"]);
        let verdict = suite.verdict(&["report", self.dir.path.as_str()])?;
        reaped?;
        self.conclude(verdict, &ending)
    }

    /// What each tier has to run; tiers without a test are left out.
    fn shares(&self) -> Result<Vec<Share>> {
        let mut shares = Vec::new();
        for tier in [Tier::Sim, Tier::Real] {
            let chosen: Vec<&Scenario> =
                self.chosen.iter().filter(|scenario| scenario.tier == tier).collect();
            if chosen.is_empty() {
                continue;
            }
            let expression = scenarios::expression(&chosen, self.arguments.filter.as_deref());
            let tests = self.expected(tier, &expression, &chosen)?;
            shares.push(Share { tier, expression, tests });
        }
        shares.retain(|share| !share.tests.is_empty());
        if shares.is_empty() {
            return Err(usage(
                "No scenario matches that --filter: `cargo xtask conformance --list` shows their names.",
            ));
        }
        Ok(shares)
    }

    fn run_shares(&self, shares: Vec<Share>) -> Result<Ending> {
        let mut ending = Ending::default();
        for share in shares {
            if !ending.interrupted {
                self.run_tier(share.tier, &share.expression, &mut ending)?;
            }
            ending.expected.extend(share.tests);
        }
        Ok(ending)
    }

    /// The scenarios that must leave a result. Only nextest knows what a person's own expression means.
    fn expected(&self, tier: Tier, expression: &str, chosen: &[&Scenario]) -> Result<Vec<String>> {
        match self.arguments.filter {
            Some(_) => nextest::names(self.root, tier.name(), expression),
            None => Ok(chosen.iter().map(|scenario| scenario.name.clone()).collect()),
        }
    }

    fn run_tier(&self, tier: Tier, expression: &str, ending: &mut Ending) -> Result<()> {
        let jobs = self.arguments.jobs.or((tier == Tier::Real).then_some(1));
        let environment = self.environment();
        let order = Order {
            root: self.root,
            out: &self.dir.path,
            tier: tier.name(),
            expression,
            jobs,
            environment: &environment,
        };
        let mut live = Live::new(&self.dir.path);
        let outcome = order.run(&mut live);
        live.finish();
        let outcome = outcome?;
        ending.interrupted |= outcome.interrupted;
        ending.failed |= !outcome.passed;
        if !outcome.ran && !outcome.interrupted {
            ending.broken = Some(tier);
        }
        Ok(())
    }

    /// What the tests are told of this run.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let arguments = self.arguments;
        let always = [
            ("ROUNDTRIP_RUN_DIR", Some(self.dir.path.to_string())),
            ("ROUNDTRIP_RUN_ID", Some(self.dir.id.clone())),
            ("ROUNDTRIP_CONNECT", Some(self.uri.clone())),
            ("ROUNDTRIP_KEEP", arguments.keep.then(|| "1".to_owned())),
            ("ROUNDTRIP_MUTANT", arguments.mutant.clone()),
            ("ROUNDTRIP_CYCLES", arguments.cycles.map(|count| count.to_string())),
            // A run finds differences from snapshots; it does not write new ones beside the sources.
            ("INSTA_UPDATE", std::env::var("INSTA_UPDATE").or_else(|_| Ok::<_, ()>("no".to_owned())).ok()),
        ];
        always.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// The exit code: a report's good word never outweighs a test that failed or left no result.
    fn conclude(&self, verdict: u8, ending: &Ending) -> Result<u8> {
        if ending.interrupted {
            say("Interrupted: the report is partial.");
            return Ok(INTERRUPTED);
        }
        if let Some(tier) = ending.broken {
            return Err(self.with_log(&format!("nextest could not run the {} tier", tier.name())));
        }
        let out = &self.dir.path;
        let silent: Vec<&str> = ending
            .expected
            .iter()
            .map(String::as_str)
            .filter(|name| !has_result(&out.join(name), 3))
            .collect();
        if !silent.is_empty() {
            return Err(self.with_log(&format!("No result was left by {}", silent.join(", "))));
        }
        if verdict == 0 && ending.failed {
            return Err(self.with_log("The report found nothing, and yet a test failed"));
        }
        Ok(verdict)
    }

    fn with_log(&self, line: &str) -> anyhow::Error {
        let log = log_path(&self.dir.path);
        infrastructure(format!("{line}. The end of {log}:\n{}", last_lines(&log, LOG_LINES).trim_end()))
    }
}

/// Whether a scenario's directory holds a result: at its top, or under its attempts and cycles.
fn has_result(dir: &Utf8Path, depth: u32) -> bool {
    if dir.join("result.json").exists() {
        return true;
    }
    let Ok(entries) = dir.read_dir_utf8() else { return false };
    depth > 0 && entries.flatten().any(|entry| has_result(entry.path(), depth - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Consent;

    fn concluded(verdict: u8, ending: &Ending, with_result: bool) -> Result<u8> {
        let scratch = tempfile::tempdir()?;
        let path = camino::Utf8PathBuf::try_from(scratch.path().to_owned())?;
        if with_result {
            std::fs::create_dir_all(path.join("a/attempt-1"))?;
            std::fs::write(path.join("a/attempt-1/result.json"), "{}")?;
        }
        let arguments = ConformanceArgs::only("a", Consent::default());
        let dir = RunDir::plan(Some(&path))?;
        let run = Run { root: &path, arguments: &arguments, chosen: Vec::new(), dir, uri: "test".into() };
        run.conclude(verdict, ending)
    }

    fn ending(change: impl FnOnce(&mut Ending)) -> Ending {
        let mut ending = Ending { expected: vec!["a".into()], ..Ending::default() };
        change(&mut ending);
        ending
    }

    #[test]
    fn the_report_decides_only_where_the_tests_agree() {
        assert_eq!(concluded(0, &ending(|_| ()), true).ok(), Some(0));
        assert_eq!(concluded(1, &ending(|end| end.failed = true), true).ok(), Some(1));
        assert_eq!(concluded(0, &ending(|end| end.interrupted = true), false).ok(), Some(INTERRUPTED));
        for (ending, with_result) in [
            (ending(|_| ()), false),
            (ending(|end| end.failed = true), true),
            (ending(|end| end.broken = Some(Tier::Real)), true),
        ] {
            let error = concluded(0, &ending, with_result).expect_err("no verdict");
            assert_eq!(crate::error::code_of(&error), crate::error::INFRASTRUCTURE, "{error}");
        }
    }
}
