//! The part of a run that `--shard` selects.

use anyhow::Result;
use camino::Utf8Path;

use super::plan::TierPlan;
use super::rundir::RUNS;
use super::scenarios::{Scenario, any_of};
use super::shard::{self, Choice, Durations, Shard, divide};
use crate::cli::ConformanceArgs;
use crate::error::usage;
use crate::history;
use crate::suite::Suite;
use crate::terminal::say;

/// A shard of a run, and what all shards of the run share.
pub struct Part {
    shard: Shard,
    sources: String,
    /// The name of the whole run, from which its seeds follow.
    pub run: String,
}

impl Part {
    /// The shard that the arguments choose.
    pub fn find(root: &Utf8Path, choice: &Choice, arguments: &ConformanceArgs) -> Result<Self> {
        let shard = choice.resolve(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
        let sources = shard::sources(root)?;
        let run = arguments.run_name.clone().or_else(|| shard.run.clone()).unwrap_or_else(|| sources.clone());
        Ok(Self { shard, sources, run })
    }

    /// Refuses more shards than scenarios: a shard without a scenario would compare nothing.
    pub fn require_at_most(&self, scenarios: usize) -> Result<()> {
        if self.shard.of <= scenarios {
            return Ok(());
        }
        Err(usage(format!(
            "--shard {}/{} divides {scenarios} scenarios among {} shards, so that some would have none: use at most \
             {scenarios}.",
            self.shard.number, self.shard.of, self.shard.of
        )))
    }

    /// The scenarios of this shard among those that a list would show.
    pub fn listed(
        &self,
        root: &Utf8Path,
        listed: Vec<Scenario>,
        arguments: &ConformanceArgs,
    ) -> Result<Vec<Scenario>> {
        let runs = Utf8Path::new(RUNS).join("a-run");
        let file = history::file(&runs, arguments.history.as_deref())?;
        let suite = file.exists().then(|| Suite::without_guests(root)).transpose()?;
        let durations = Durations::find(suite.as_ref(), &file)?;
        let names: Vec<String> = listed.iter().map(|scenario| scenario.name.clone()).collect();
        let own = self.own(&names, &durations)?.1;
        Ok(listed.into_iter().filter(|scenario| own.contains(&scenario.name)).collect())
    }

    /// Leaves to each tier what this shard has to run, and notes in the run's directory how the run
    /// is divided.
    pub fn of_plans(
        &self,
        plans: Vec<TierPlan>,
        suite: &Suite,
        history: &Utf8Path,
        dir: &Utf8Path,
    ) -> Result<Vec<TierPlan>> {
        let names: Vec<String> = plans.iter().flat_map(|plan| plan.tests.clone()).collect();
        let durations = Durations::find(Some(suite), history)?;
        let (divided, own) = self.own(&names, &durations)?;
        let Shard { number, of, .. } = self.shard;
        let (count, source) = (own.len(), durations.source);
        say(format!(
            "Shard {number} of {of}: {count} of {} scenarios, by the {source} of durations.",
            names.len()
        ));
        shard::note(dir, &self.shard, &self.run, &self.sources, &divided)?;
        Ok(plans.into_iter().filter_map(|plan| restricted(plan, &own)).collect())
    }

    /// How the scenarios are divided, and those of this shard.
    fn own(&self, names: &[String], durations: &Durations) -> Result<(Vec<Vec<String>>, Vec<String>)> {
        self.require_at_most(names.len())?;
        let divided = divide(names, self.shard.of, |name| durations.of(name));
        let own = divided.get(self.shard.number - 1).cloned().unwrap_or_default();
        Ok((divided, own))
    }
}

/// A plan for some of its tests; `None` if none is left.
fn restricted(plan: TierPlan, own: &[String]) -> Option<TierPlan> {
    let tests: Vec<String> = plan.tests.into_iter().filter(|name| own.contains(name)).collect();
    (!tests.is_empty()).then(|| TierPlan { tier: plan.tier, expression: any_of(&tests), tests })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::scenarios::{self, Tier, TierChoice};

    fn part(number: usize, of: usize) -> Part {
        Part { shard: Shard { number, of, run: None }, sources: "abc".into(), run: "nightly".into() }
    }

    #[test]
    fn the_shards_of_every_selection_are_exactly_that_selection() {
        let all = scenarios::all().expect("they are valid");
        let durations = Durations::find(None, Utf8Path::new("none")).expect("the table is valid");
        for tier in [None, Some(TierChoice::Sim), Some(TierChoice::Real), Some(TierChoice::All)] {
            let chosen = scenarios::choose(&all, &[], tier).expect("a choice");
            let mut names: Vec<String> = chosen.into_iter().map(|scenario| scenario.name).collect();
            names.sort();
            for of in 1..=names.len() {
                let own = |number| part(number, of).own(&names, &durations).expect("enough").1;
                let mut union: Vec<String> = (1..=of).flat_map(own).collect();
                union.sort();
                assert_eq!(union, names, "{of} shards");
            }
        }
    }

    #[test]
    fn more_shards_than_scenarios_are_wrong_usage() {
        let error = part(1, 3).require_at_most(2).expect_err("one would have none");
        assert_eq!(crate::error::code_of(&error), crate::error::USAGE);
        assert!(part(3, 3).require_at_most(3).is_ok());
    }

    #[test]
    fn a_plan_runs_only_the_tests_of_its_shard() {
        let plan = || TierPlan {
            tier: Tier::Sim,
            expression: "test(=a) | test(=b)".to_owned(),
            tests: vec!["a".to_owned(), "b".to_owned()],
        };
        let kept = restricted(plan(), &["b".to_owned()]).expect("one is left");
        assert_eq!((kept.expression.as_str(), kept.tests), ("test(=b)", vec!["b".to_owned()]));
        assert!(restricted(plan(), &["c".to_owned()]).is_none());
    }
}
