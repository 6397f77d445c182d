//! Mutants that cargo-mutants makes of the built-in core's source.
//!
//! Each changes one expression and is judged by the simulated tier alone: cargo-mutants itself
//! would run the mutated crate's own tests, which say nothing about the suite.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use camino::Utf8Path;

use super::equivalent::{self, Equivalent};
use super::mutant::Mutant;
use super::mutated_core::{Judgement, MutatedCore};
use crate::error::infrastructure;
use crate::setup::daemon;
use crate::suite::Suite;
use crate::system::LiveSystem;
use crate::terminal::{human, say};

/// Share of viable mutants that the suite has to catch, in percent.
const WANTED_PERCENT: usize = 85;
/// The longest that the simulated tier may take on a mutant, as a multiple of what it takes on the
/// unchanged core.
const LONGEST: u32 = 10;
/// The bound is not shorter than this, whatever the unchanged core takes: a mutant that hangs is
/// found out by the suite itself, which may wait for it several times.
const AT_LEAST: Duration = Duration::from_secs(600);
/// The longest that the simulated tier may take on the unchanged core, on any machine.
const UNCHANGED_WITHIN: Duration = Duration::from_secs(3600);

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// The simulated tier found this rule broken.
    Caught(String),
    /// The simulated tier came to no end within a generous limit.
    TimedOut,
    /// The simulated tier accepted it, and the list says why that is right.
    Equivalent,
    /// The simulated tier accepted it, or could not say.
    Missed(String),
    /// It does not compile.
    Unviable,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caught(rule) => write!(f, "caught by {rule:6}"),
            Self::TimedOut => f.write_str("caught by time  "),
            Self::Equivalent => f.write_str("equivalent      "),
            Self::Missed(verdict) => write!(f, "MISSED: {verdict:8}"),
            Self::Unviable => f.write_str("not viable      "),
        }
    }
}

/// How many mutants met which fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Score {
    caught: usize,
    timed_out: usize,
    equivalent: usize,
    missed: usize,
    unviable: usize,
}

impl Score {
    fn count(&mut self, fate: &Fate) {
        *match fate {
            Fate::Caught(_) => &mut self.caught,
            Fate::TimedOut => &mut self.timed_out,
            Fate::Equivalent => &mut self.equivalent,
            Fate::Missed(_) => &mut self.missed,
            Fate::Unviable => &mut self.unviable,
        } += 1;
    }

    /// Mutants that compile and are not equivalent to the original.
    fn viable(&self) -> usize {
        self.caught + self.timed_out + self.missed
    }

    /// Percent of the viable mutants that a rule or a time limit caught.
    fn percent(&self) -> usize {
        ((self.caught + self.timed_out) * 100).checked_div(self.viable()).unwrap_or(0)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} viable mutants caught ({} %, wanted {WANTED_PERCENT} %): {} by a rule, {} by a time limit; \
             {} missed; {} equivalent, {} do not compile",
            self.caught + self.timed_out,
            self.viable(),
            self.percent(),
            self.caught,
            self.timed_out,
            self.missed,
            self.equivalent,
            self.unviable
        )
    }
}

/// Which mutants are judged.
pub struct Sample<'a> {
    /// Only those whose name contains one of these texts; all if there is none.
    pub names: &'a [String],
    /// How many at most.
    pub size: usize,
    /// Seed of the choice.
    pub seed: u64,
}

/// Judges a random sample of mutants. Returns 0 if enough were caught, 1 otherwise.
///
/// # Errors
/// git, cargo or cargo-mutants fail, or the unchanged core does not pass.
pub fn judge_sample(root: &Utf8Path, sample: &Sample<'_>) -> Result<u8> {
    let equivalent = Equivalent::load(root)?;
    let suite = Suite::build_binary(root, daemon::uri(&LiveSystem))?;
    let core = MutatedCore::clone_of(root, suite)?;
    let mutants = choose(core.list()?, sample);
    let began = Instant::now();
    let why = match core.judge(None, UNCHANGED_WITHIN)? {
        Judgement::Judged { noted: Some(noted), .. } => Some(format!("{}: {}", noted.rule, noted.found)),
        Judgement::Judged { verdict, .. } if verdict == "pass" => None,
        Judgement::Judged { verdict, found, .. } => Some(format!("{verdict}: {found}")),
        Judgement::NotBuilt => Some("it does not compile".to_owned()),
        Judgement::Endless => Some("the tier came to no end".to_owned()),
    };
    if let Some(why) = why {
        return Err(infrastructure(format!(
            "The simulated tier does not accept the unchanged core ({why}), so it cannot judge mutants."
        )));
    }
    let limit = AT_LEAST.max(LONGEST * began.elapsed());
    let (count, seed) = (mutants.len(), sample.seed);
    let took = human(began.elapsed());
    say(format!("{count} mutants by seed {seed}; the unchanged core is built and judged in {took}"));
    let mut score = Score::default();
    for mutant in &mutants {
        let began = Instant::now();
        let (fate, found) = fate(core.judge(Some(mutant), limit)?, &equivalent, mutant);
        score.count(&fate);
        println!("{fate}  {}  [{}]", mutant.name, human(began.elapsed()));
        if !found.is_empty() {
            println!("    {found}");
        }
    }
    println!("{score}");
    if score.missed > 0 {
        println!(
            "Give each missed mutant a check that catches it, or list it in {} with the reason.",
            equivalent::FILE
        );
    }
    Ok(u8::from(score.viable() == 0 || score.percent() < WANTED_PERCENT))
}

/// What a judgement means for a mutant, and what was found.
fn fate(judgement: Judgement, equivalent: &Equivalent, mutant: &Mutant) -> (Fate, String) {
    match judgement {
        Judgement::NotBuilt => (Fate::Unviable, String::new()),
        Judgement::Endless => (Fate::TimedOut, String::new()),
        Judgement::Judged { verdict, rule, found, noted } => match (verdict.as_str(), rule, noted) {
            ("fail", Some(rule), _) => (Fate::Caught(rule), found),
            // The unchanged core follows all advice and has every documented limit.
            ("pass", _, Some(noted)) => (Fate::Caught(noted.rule), noted.found),
            _ if equivalent.reason(mutant).is_some() => (Fate::Equivalent, String::new()),
            _ => (Fate::Missed(verdict), found),
        },
    }
}

/// The sample of `all`, in an order that the seed decides, so that a larger sample begins with a
/// smaller one and what a run has judged when it is interrupted is a sample, too.
fn choose(all: Vec<Mutant>, sample: &Sample<'_>) -> Vec<Mutant> {
    let named = |mutant: &Mutant| {
        sample.names.is_empty() || sample.names.iter().any(|name| mutant.name.contains(name))
    };
    let mut keyed: Vec<_> = all
        .into_iter()
        .enumerate()
        .map(|(at, mutant)| (mix(sample.seed, at as u64), at, mutant))
        .filter(|(_, _, mutant)| named(mutant))
        .collect();
    keyed.sort_by_key(|(key, at, _)| (*key, *at));
    keyed.truncate(sample.size);
    keyed.into_iter().map(|(_, _, mutant)| mutant).collect()
}

/// A number that looks random and follows from `seed` and `at` (SplitMix64).
fn mix(seed: u64, at: u64) -> u64 {
    let mut z = seed.wrapping_add(at.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutants(count: usize) -> Vec<Mutant> {
        let mutant = |at| Mutant { name: format!("m{at}"), file: "a.rs".into(), diff: String::new() };
        (0..count).map(mutant).collect()
    }

    fn names(mutants: Vec<Mutant>) -> Vec<String> {
        mutants.into_iter().map(|mutant| mutant.name).collect()
    }

    fn of(size: usize, seed: u64) -> Sample<'static> {
        Sample { names: &[], size, seed }
    }

    #[test]
    fn a_seed_chooses_the_same_sample_again_and_another_seed_another() {
        let sample = |seed| names(choose(mutants(100), &of(10, seed)));
        assert_eq!(sample(1), sample(1));
        assert_ne!(sample(1), sample(2));
        assert_eq!(sample(3).len(), 10);
    }

    #[test]
    fn a_larger_sample_begins_with_a_smaller_one() {
        let sample = |size| names(choose(mutants(100), &of(size, 1)));
        assert_eq!(sample(30)[..10], sample(10));
    }

    #[test]
    fn a_sample_larger_than_the_list_is_the_list_and_names_narrow_it() {
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        assert_eq!(sorted(names(choose(mutants(3), &of(10, 1)))), ["m0", "m1", "m2"]);
        let named = Sample { names: &["m1".to_owned()], ..of(20, 1) };
        assert_eq!(sorted(names(choose(mutants(12), &named))), ["m1", "m10", "m11"]);
    }

    #[test]
    fn a_mutant_that_a_time_limit_caught_counts_and_one_of_which_nothing_is_known_does_not() {
        let mut score = Score::default();
        let (caught, missed) = (Fate::Caught("FO-10".to_owned()), Fate::Missed("unknown".to_owned()));
        for fate in [caught.clone(), caught, Fate::TimedOut, missed, Fate::Equivalent, Fate::Unviable] {
            score.count(&fate);
        }
        assert_eq!((score.viable(), score.percent()), (4, 75));
        assert!(score.to_string().contains("2 by a rule, 1 by a time limit"));
    }
}
