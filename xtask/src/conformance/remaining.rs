//! How long a run still takes, by what is usual on this host.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::history::Usual;
use crate::terminal::human;

/// What a run has to do, and how long that usually takes here.
#[derive(Clone, Debug, Default)]
pub struct Remaining {
    usual: std::rc::Rc<Usual>,
    /// The scenarios of the run: when each began, and whether it has ended.
    scenarios: BTreeMap<String, Progress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Waiting,
    Running(Instant),
    Ended,
}

impl Remaining {
    /// Nothing to do yet.
    pub fn new(usual: Usual) -> Self {
        Self { usual: usual.into(), scenarios: BTreeMap::new() }
    }

    /// Adds scenarios that the run has to do.
    pub fn expect<'a>(&mut self, names: impl Iterator<Item = &'a String>) {
        self.scenarios.extend(names.map(|name| (name.clone(), Progress::Waiting)));
    }

    /// Notes that something was heard of a scenario: it has begun.
    pub fn heard_of(&mut self, scenario: &str, now: Instant) {
        let known = self.scenarios.entry(scenario.to_owned()).or_insert(Progress::Waiting);
        if *known == Progress::Waiting {
            *known = Progress::Running(now);
        }
    }

    /// The scenarios that run.
    pub fn running(&self) -> impl Iterator<Item = &str> {
        let runs = |progress: &Progress| matches!(progress, Progress::Running(_));
        self.scenarios.iter().filter(move |(_, progress)| runs(progress)).map(|(name, _)| name.as_str())
    }

    /// Notes that a scenario has ended.
    pub fn ended(&mut self, scenario: &str) {
        self.scenarios.insert(scenario.to_owned(), Progress::Ended);
    }

    /// The usual duration of a step, as progress names it.
    pub fn usual_step(&self, scenario: &str, step: &str) -> Option<Duration> {
        self.usual.steps.get(scenario)?.get(step).map(|ms| Duration::from_millis(*ms))
    }

    fn usual_scenario(&self, scenario: &str) -> Option<Duration> {
        self.usual.scenarios.get(scenario).map(|ms| Duration::from_millis(*ms))
    }

    /// The usual time that is left, one scenario after the other; `None` if a scenario that has not
    /// ended never ran here.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let of_one = |(name, progress): (&String, &Progress)| match progress {
            Progress::Ended => Some(Duration::ZERO),
            Progress::Waiting => self.usual_scenario(name),
            Progress::Running(since) => Some(self.usual_scenario(name)?.saturating_sub(now - *since)),
        };
        self.scenarios.iter().map(of_one).sum()
    }

    /// How far the run is: `3 of 20 scenarios done, about 4 min 10 s left`.
    pub fn words(&self, now: Instant) -> String {
        let done = self.scenarios.values().filter(|progress| **progress == Progress::Ended).count();
        let done = format!("{done} of {} scenarios done", self.scenarios.len());
        match self.left(now).filter(|left| !left.is_zero()) {
            Some(left) => format!("{done}, about {} left", human(left)),
            None => done,
        }
    }

    /// What a run begins with, if it is known how long it usually takes.
    pub fn announcement(&self) -> Option<String> {
        let left = self.left(Instant::now()).filter(|left| !left.is_zero())?;
        let runs = match self.usual.runs {
            1 => "the one run before".to_owned(),
            runs => format!("the median of {runs} runs before"),
        };
        Some(format!("This usually takes about {} on this host ({runs}).", human(left)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Remaining {
        let scenarios = [("a".to_owned(), 60_000), ("b".to_owned(), 30_000)].into();
        let steps = [("a".to_owned(), [("failover · boot".to_owned(), 5_000)].into())].into();
        let mut remaining = Remaining::new(Usual { runs: 3, scenarios, steps });
        remaining.expect(["a".to_owned(), "b".to_owned()].iter());
        remaining
    }

    #[test]
    fn what_is_left_shrinks_as_scenarios_run_and_end() {
        let now = Instant::now();
        let mut remaining = two();
        assert_eq!(remaining.left(now), Some(Duration::from_secs(90)));
        let announced = remaining.announcement().expect("it is known");
        assert!(announced.contains("1 min 30 s") && announced.contains("3 runs"), "{announced}");
        remaining.heard_of("a", now);
        let later = now + Duration::from_secs(20);
        remaining.heard_of("a", later);
        assert_eq!(remaining.left(later), Some(Duration::from_secs(70)));
        assert_eq!(remaining.left(now + Duration::from_secs(600)), Some(Duration::from_secs(30)));
        assert_eq!(remaining.running().collect::<Vec<_>>(), ["a"]);
        remaining.ended("a");
        assert_eq!(remaining.words(later), "1 of 2 scenarios done, about 30.0 s left");
    }

    #[test]
    fn a_scenario_that_never_ran_here_makes_the_rest_unknown() {
        let mut remaining = two();
        remaining.expect(["new".to_owned()].iter());
        assert_eq!((remaining.left(Instant::now()), remaining.announcement()), (None, None));
        assert_eq!(remaining.words(Instant::now()), "0 of 3 scenarios done");
        remaining.ended("new");
        assert!(remaining.left(Instant::now()).is_some());
    }

    #[test]
    fn the_usual_time_of_a_step_is_that_of_its_scenario() {
        assert_eq!(two().usual_step("a", "failover · boot"), Some(Duration::from_secs(5)));
        assert_eq!(two().usual_step("b", "failover · boot"), None);
    }
}
