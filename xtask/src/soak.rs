//! The command `soak`: whether many cycles over the same machines keep memory, open files, disk use
//! and the time of a cycle flat, and every edge exact.

use anyhow::Result;
use camino::{Utf8Path, Utf8PathBuf, absolute_utf8};

use crate::cli::{ConformanceArgs, SoakArgs};
use crate::conformance::rundir::{RUNS, new_id};
use crate::conformance::scenarios::{self, TierChoice};
use crate::error::{RULE_BROKEN, SLOW};
use crate::suite::Suite;
use crate::{conformance, report};

/// Judges a run that took place, or runs cycles first and, of guests, judges their evidence again
/// as well. Returns the exit code.
pub fn command(root: &Utf8Path, arguments: &SoakArgs) -> Result<u8> {
    if let Some(run) = &arguments.run {
        return judge(root, &report::find(run)?, arguments.from);
    }
    let dir = place(arguments.out.as_deref())?;
    let run = ConformanceArgs {
        out: Some(dir.clone()),
        core: arguments.core.clone(),
        connect: arguments.connect.clone(),
        cycles: Some(arguments.cycles),
        // Many cycles of one machine, and not of many machines a few.
        seeds: Some(1),
        ..ConformanceArgs::only(&arguments.scenario, arguments.consent.clone())
    };
    let code = conformance::command(root, &run)?;
    // A run that broke a rule has cycles that can be judged; one that did not take place has none.
    if code > SLOW {
        return Ok(code);
    }
    let judged = judge(root, &dir, arguments.from)?;
    // Each cycle has to leave its own evidence, whatever its machines are called. Simulated ones
    // store no disks.
    let on_guests = scenarios::of(&scenarios::all()?, TierChoice::Real);
    let again = match on_guests.iter().any(|scenario| scenario.name == arguments.scenario) {
        true => Suite::without_guests(root)?.verdict(&["recheck", dir.as_str()])?,
        false => 0,
    };
    Ok(worst([judged, again, code]))
}

/// The code that says most against a run: a broken rule, then no verdict, then growth.
fn worst(codes: [u8; 3]) -> u8 {
    let weight = |code: &u8| match *code {
        0 => 0,
        SLOW => 1,
        RULE_BROKEN => 3,
        _ => 2,
    };
    codes.into_iter().max_by_key(weight).unwrap_or_default()
}

fn judge(root: &Utf8Path, dir: &Utf8Path, from: Option<u32>) -> Result<u8> {
    let from = from.map(|cycle| format!("--from={cycle}"));
    let arguments: Vec<_> = ["soak", dir.as_str()].into_iter().chain(from.as_deref()).collect();
    Suite::without_guests(root)?.verdict(&arguments)
}

/// The directory of a run that is made now.
fn place(out: Option<&Utf8Path>) -> Result<Utf8PathBuf> {
    Ok(match out {
        Some(out) => absolute_utf8(out)?,
        None => absolute_utf8(RUNS)?.join(format!("soak-{}", new_id()?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::INFRASTRUCTURE;

    #[test]
    fn nothing_hides_a_code_that_says_more_against_a_run() {
        for (codes, wanted) in [
            ([0, 0, 0], 0),
            ([SLOW, 0, 0], SLOW),
            ([SLOW, INFRASTRUCTURE, 0], INFRASTRUCTURE),
            ([INFRASTRUCTURE, SLOW, SLOW], INFRASTRUCTURE),
            ([SLOW, RULE_BROKEN, 0], RULE_BROKEN),
            ([INFRASTRUCTURE, RULE_BROKEN, SLOW], RULE_BROKEN),
            ([INFRASTRUCTURE, 0, RULE_BROKEN], RULE_BROKEN),
        ] {
            assert_eq!(worst(codes), wanted, "{codes:?}");
        }
    }
}
