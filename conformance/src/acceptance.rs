//! Whether the suite accepts every variant.

use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::outcome::RuleOutcome;
use crate::rules::RuleId;
use crate::sim::{self, Judged};
use crate::variants::{CoreVariant, UnknownVariant, VARIANTS, Variant};

/// The seed of the checks and of the cycle.
const SEED: u64 = 7;

/// What the checks in memory say about a variant.
pub struct Acceptance {
    /// The variant.
    pub variant: &'static Variant,
    /// What they say about the core.
    pub judged: Judged,
    /// Whether it did nothing differently in checks that it has to reach, so that its acceptance
    /// shows nothing. The checks of a single rule it need not reach.
    pub is_idle: bool,
    /// Whether only the checks of one rule ran. A variant may support none of them.
    pub of_one_rule: bool,
}

impl Acceptance {
    /// Runs every check and a cycle on a variant; with a rule, the checks that judge it alone.
    #[must_use]
    pub fn of(variant: &'static Variant, only: Option<RuleId>) -> Self {
        let core = CoreVariant::of(variant);
        let judged = sim::judge(&|| Box::new(core.another()), SEED, only);
        let of_one_rule = only.is_some();
        Self { variant, judged, is_idle: !of_one_rule && core.is_idle(), of_one_rule }
    }

    /// Whether the suite accepts the variant, for what it does differently.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        let Judged { rules, left_out, objections } = &self.judged;
        let is_judged = *rules > 0 || (self.of_one_rule && !left_out.is_empty());
        objections.is_empty() && !self.is_idle && is_judged
    }
}

impl fmt::Display for Acceptance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variant, judged, is_idle, .. } = self;
        let Judged { rules, left_out, objections } = judged;
        let verdict = if self.is_accepted() { "accepted" } else { "REJECTED" };
        write!(f, "{verdict} {:20} {}: {rules} rules", variant.name, variant.does)?;
        if !left_out.is_empty() {
            write!(f, ", {} checks left out as not supported", left_out.len())?;
        }
        if *is_idle {
            write!(f, "; it did nothing differently")?;
        }
        for RuleOutcome { id, verdict, found, .. } in objections {
            write!(f, "\n    {verdict:?} {id}: {found}")?;
        }
        Ok(())
    }
}

/// Judges the variants of these names, or all if there are none, and prints a line for each; with a
/// rule, by the checks that judge it alone, in which a variant need not do anything differently.
/// Returns whether all are accepted.
///
/// # Errors
/// There is no variant of one of the names.
pub fn run(names: &[String], only: Option<RuleId>) -> Result<bool, UnknownVariant> {
    for name in names {
        CoreVariant::find(name)?;
    }
    let chosen: Vec<_> = VARIANTS
        .iter()
        .filter(|variant| names.is_empty() || names.iter().any(|n| n == variant.name))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut all = true;
        while let Some(variant) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
            let acceptance = Acceptance::of(variant, only);
            println!("{acceptance}");
            all &= acceptance.is_accepted();
        }
        all
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(chosen.len());
    let accepted = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        // A worker that panicked has accepted nothing.
        workers.into_iter().map(|worker| worker.join().unwrap_or(false)).filter(|all| *all).count()
    });
    let all = accepted == workers;
    println!("{} variants: {}", chosen.len(), if all { "all accepted" } else { "NOT all accepted" });
    Ok(all)
}

#[cfg(test)]
mod tests;
