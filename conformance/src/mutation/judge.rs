//! Runs the checks in memory that have to find a mutant.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::mutants::{InjectedFault, Mutant};
use crate::rules::RuleId;
use crate::sim::{self, CheckedRules};

/// The seed of every check.
const SEED: u64 = 7;

/// Which checks judge a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// Those that judge a rule which the mutant names.
    Named,
    /// Every check.
    Every,
}

/// What the checks found out about a mutant.
#[derive(Debug)]
pub struct Judged {
    /// The mutant.
    pub mutant: &'static Mutant,
    /// The rules that an assertion of their own found broken.
    pub broken: BTreeSet<RuleId>,
    /// The rules that are broken only because a check ended early.
    pub ended_early: BTreeSet<RuleId>,
    /// Whether the mutant altered nothing.
    pub idle: bool,
    /// The check that came to no end, if one did.
    pub abandoned: Option<&'static str>,
}

impl Judged {
    /// The rules that the mutant names and no assertion found broken.
    fn missed(&self) -> Vec<RuleId> {
        self.mutant.breaks.iter().filter(|rule| !self.broken.contains(rule)).copied().collect()
    }

    /// Whether the mutant altered something, and an assertion of each rule that it names found
    /// that.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        !self.idle && self.missed().is_empty()
    }

    /// What is not as it has to be, if anything.
    #[must_use]
    pub fn objection(&self) -> Option<String> {
        let Mutant { name, .. } = self.mutant;
        let missed = self.missed();
        if self.idle {
            return Some(format!("{name}: the mutant altered nothing"));
        }
        (!missed.is_empty()).then(|| {
            let endless = self.abandoned.map(|check| format!("; \"{check}\" came to no end"));
            format!(
                "{name}: no assertion finds {} broken; ended early: {}{}",
                list(&missed),
                list(&self.ended_early),
                endless.unwrap_or_default()
            )
        })
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mutant { class, name, breaks, .. } = self.mutant;
        let fate = match (self.idle, self.is_killed()) {
            (true, _) => "IDLE",
            (false, true) => "killed",
            (false, false) => "SURVIVES",
        };
        write!(
            f,
            "{fate:8}  {class:24}  {name:32}  must break {}; broken: {}",
            list(*breaks),
            list(&self.broken)
        )
    }
}

/// Ids of rules, as a list to read.
fn list<'a>(rules: impl IntoIterator<Item = &'a RuleId>) -> String {
    let ids: Vec<_> = rules.into_iter().map(|rule| rule.as_str()).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(" ") }
}

/// Runs the checks on a core with this fault.
///
/// # Panics
/// The matrix does not hold the mutant.
#[must_use]
pub fn judge(mutant: &'static Mutant, checks: Checks) -> Judged {
    let fault = InjectedFault::parse(mutant.name).expect("the matrix holds the mutant");
    let every: Vec<_>;
    let rules = match checks {
        Checks::Named => mutant.breaks,
        Checks::Every => {
            every = sim::checks().flat_map(|check| check.rules).copied().collect();
            &every
        }
    };
    let found = sim::run_checks_for(rules, &fault, SEED);
    let CheckedRules { broken, ended_early, abandoned } = found;
    Judged { mutant, broken, ended_early, idle: fault.is_idle(), abandoned }
}

/// Judges mutants on all processor cores, and calls `each` as soon as one is judged. Returns them
/// in the order of the matrix.
pub(super) fn judge_all(
    mutants: &[&'static Mutant],
    checks: Checks,
    each: impl Fn(&Judged) + Sync,
) -> Vec<Judged> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let judged = judge(mutant, checks);
                    each(&judged);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(judged);
                }
            });
        }
    });
    let mut judged = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    judged.sort_by_key(|judged| mutants.iter().position(|mutant| mutant.name == judged.mutant.name));
    judged
}
