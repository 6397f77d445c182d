//! The command `conformance`: checks arguments, host and set-up, runs the chosen scenarios,
//! reports.

mod conclusion;
mod connection;
mod environment;
mod nextest;
mod part;
mod plan;
pub mod preflight;
mod progress;
mod remaining;
pub mod request;
pub mod rundir;
pub mod scenarios;
pub mod shard;
mod shortage;

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::ConformanceArgs;
use crate::error::{code_of, usage};
use crate::setup::daemon;
use crate::suite::Suite;
use crate::system::LiveSystem;
use crate::terminal::say;
use crate::{guest_images, history, report, setup};
use conclusion::Ending;
use nextest::TierRun;
use part::Part;
use plan::TierPlan;
use preflight::Resources;
use progress::ProgressView;
use remaining::Remaining;
use rundir::RunDir;
use scenarios::{Scenario, Tier, TierChoice};

/// The scenario of the checks in memory.
const CHECKS: &str = "sim-rules";

/// One run, from its arguments to its verdict.
struct Run<'a> {
    root: &'a Utf8Path,
    arguments: &'a ConformanceArgs,
    chosen: Vec<Scenario>,
    part: Option<Part>,
    dir: RunDir,
    uri: String,
}

/// Runs the chosen scenarios and returns the exit code.
pub fn command(root: &Utf8Path, arguments: &ConformanceArgs) -> Result<u8> {
    let all = scenarios::all()?;
    // Without a tier, a list shows all scenarios and an expression selects among all. The list of a
    // shard shows what it would run.
    let all_of_them = arguments.list && arguments.shard.is_none() || arguments.filter.is_some();
    let whole = all_of_them.then_some(TierChoice::All);
    let named = if arguments.rule.is_empty() { &arguments.scenario } else { &vec![CHECKS.to_owned()] };
    let chosen = scenarios::choose(&all, named, arguments.tier.or(whole))?;
    let part = arguments.shard.as_ref().map(|choice| Part::find(root, choice, arguments)).transpose()?;
    if let Some(part) = &part {
        part.require_at_most(chosen.len())?;
    }
    if arguments.list {
        let listed = if arguments.scenario.is_empty() && part.is_none() {
            scenarios::of(&all, arguments.tier.unwrap_or(TierChoice::All))
        } else {
            chosen
        };
        let listed = part.iter().try_fold(listed, |listed, part| part.listed(root, listed, arguments))?;
        print!("{}", scenarios::table(&listed));
        return Ok(0);
    }
    arguments.connect.as_deref().map_or(Ok(()), connection::require_local)?;
    let uri = arguments.connect.clone().unwrap_or_else(|| daemon::uri(&LiveSystem).to_owned());
    let run_name = part.as_ref().map(|part| part.run.clone()).or_else(|| arguments.run_name.clone());
    let arguments = ConformanceArgs { run_name, ..arguments.clone() };
    let dir = RunDir::plan(arguments.out.as_deref())?;
    let run = Run { root, arguments: &arguments, chosen, part, dir, uri };
    let code = run.prepare().and_then(|suite| run.execute(&suite));
    let noted = shard::ended(&run.dir.path, code.as_ref().map_or_else(code_of, |code| *code));
    let code = shortage::explained(code.and_then(|code| noted.map(|()| code)), &run.dir.path);
    run.dir.remove_if_empty();
    code
}

impl Run<'_> {
    /// Refuses whatever can be refused before a guest starts, and builds the suite.
    fn prepare(&self) -> Result<Suite> {
        let out = &self.dir.path;
        let cache = guest_images::cache_dir();
        self.dir.create()?;
        Resources::of(out, &cache)?.require(out, &cache, self.further_cycles())?;
        preflight::require_temporary(&Utf8PathBuf::try_from(std::env::temp_dir())?)?;
        setup::ensure(self.root, self.arguments.consent.yes)?;
        let image = guest_images::ensure(self.root)?;
        let suite = Suite::build(self.root, &self.uri)?.with_image(image.hash);
        let mut preflight = vec!["preflight", "--connect", &self.uri];
        if let Some(core) = &self.arguments.core {
            preflight.extend(["--core", core.as_str()]);
        }
        if let Some(mutant) = &self.arguments.mutant {
            preflight.extend(["--mutant", mutant.as_str()]);
        }
        if let Some(variant) = &self.arguments.variant {
            preflight.extend(["--variant", variant.as_str()]);
        }
        if let Some(profile) = &self.arguments.profile {
            preflight.extend(["--profile", profile.as_str()]);
        }
        suite.must(&preflight)?;
        suite.must(&["reap"])?;
        Ok(suite)
    }

    /// How many cycles take place on guests, beside the first of each scenario.
    fn further_cycles(&self) -> u64 {
        let on_guests = self.chosen.iter().filter(|scenario| scenario.tier == Tier::Real).count();
        on_guests as u64 * u64::from(self.arguments.cycles.map_or(0, |count| count.saturating_sub(1)))
    }

    fn execute(&self, suite: &Suite) -> Result<u8> {
        let history = history::file(&self.dir.path, self.arguments.history.as_deref())?;
        let plans = self.plans()?;
        let plans = self
            .part
            .iter()
            .try_fold(plans, |plans, part| part.of_plans(plans, suite, &history, &self.dir.path))?;
        let count = plans.iter().map(|plan| plan.tests.len()).sum::<usize>();
        let things = if count == 1 { "scenario" } else { "scenarios" };
        self.dir.link_latest()?;
        say(format!("Run {}: {count} {things} on {}, evidence in {}", self.dir.id, self.uri, self.dir.path));
        let simulated = plans.iter().any(|plan| plan.tier == Tier::Sim);
        environment::seed_notice(self.arguments, simulated).into_iter().for_each(say);
        self.dir.note_asked(plans.iter().flat_map(|plan| &plan.tests))?;
        request::note(self.root, &self.dir.path, self.arguments)?;
        let mut remaining = Remaining::new(history::usual(suite, &history));
        remaining.expect(plans.iter().flat_map(|plan| &plan.tests));
        remaining.announcement().into_iter().for_each(say);
        let ending = self.run_plans(suite, plans, &remaining)?;
        ending.note(&self.dir.path)?;
        // The tests take their guests down themselves, but a killed test cannot. Either way the
        // report is written.
        let reaped = suite.must(&["reap"]);
        let verdict = suite.verdict(&report::arguments(&self.dir.path, self.arguments.verbose, &history))?;
        reaped?;
        ending.conclude(&self.dir.path, verdict)
    }

    /// What each tier has to run. Tiers without a test are left out.
    fn plans(&self) -> Result<Vec<TierPlan>> {
        let mut plans = Vec::new();
        for tier in [Tier::Sim, Tier::Real] {
            let chosen: Vec<&Scenario> =
                self.chosen.iter().filter(|scenario| scenario.tier == tier).collect();
            if chosen.is_empty() {
                continue;
            }
            let expression = scenarios::expression(&chosen, self.arguments.filter.as_deref());
            let tests = self.expected(tier, &expression, &chosen)?;
            plans.push(TierPlan { tier, expression, tests });
        }
        plans.retain(|plan| !plan.tests.is_empty());
        if plans.is_empty() {
            return Err(usage(
                "No scenario matches that --filter: `cargo xtask conformance --list` shows their names.",
            ));
        }
        Ok(plans)
    }

    fn run_plans(&self, suite: &Suite, plans: Vec<TierPlan>, remaining: &Remaining) -> Result<Ending> {
        let mut ending = Ending::default();
        for plan in plans {
            if !ending.interrupted {
                self.run_tier(suite, &plan, remaining, &mut ending)?;
            }
            ending.expected.extend(plan.tests);
        }
        Ok(ending)
    }

    /// The scenarios that must leave a result. Only nextest can evaluate a `--filter`.
    fn expected(&self, tier: Tier, expression: &str, chosen: &[&Scenario]) -> Result<Vec<String>> {
        match self.arguments.filter {
            Some(_) => nextest::names(self.root, tier.name(), expression),
            None => Ok(chosen.iter().map(|scenario| scenario.name.clone()).collect()),
        }
    }

    fn run_tier(
        &self,
        suite: &Suite,
        plan: &TierPlan,
        remaining: &Remaining,
        ending: &mut Ending,
    ) -> Result<()> {
        let TierPlan { tier, ref expression, .. } = *plan;
        let jobs = self.arguments.jobs.or((tier == Tier::Real).then_some(1));
        let environment = environment::for_tests(self.arguments, &self.dir, suite.guests());
        let run = TierRun {
            root: self.root,
            out: &self.dir.path,
            tier: tier.name(),
            expression,
            jobs,
            cycles: self.arguments.cycles.unwrap_or(1),
            environment: &environment,
        };
        let mut view = ProgressView::new(&self.dir.path, remaining.clone());
        let outcome = run.run(&mut view);
        view.finish();
        let outcome = outcome?;
        ending.interrupted |= outcome.interrupted;
        ending.failed |= !outcome.passed;
        if !outcome.ran && !outcome.interrupted {
            ending.broken = Some(tier);
        }
        Ok(())
    }
}
