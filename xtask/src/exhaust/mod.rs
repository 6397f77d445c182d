//! The command `exhaust`: takes a resource away from a run, beside a foreign domain and foreign
//! directories that must survive, and looks at what the run says and leaves.

mod attempt;
mod cases;
mod condition;
mod judge;

use std::time::Instant;

use anyhow::Result;
use camino::Utf8Path;

use crate::checks::tools::{FAKETIME, require};
use crate::cli::ExhaustArgs;
use crate::error::{INFRASTRUCTURE, usage};
use crate::room::{self, own_libvirt};
use crate::setup::{self, daemon};
use crate::suite::Suite;
use crate::system::LiveSystem;
use crate::terminal::human;
use crate::torture::FOUND;
use crate::torture::foreign::Foreign;
use crate::torture::place::Place;
use crate::torture::remains::MEMORY;
use crate::torture::runs::Runs;
use cases::{CASES, Case};

/// How the cases ended.
#[derive(Default)]
struct Tally {
    runs: u64,
    found: usize,
    impossible: usize,
}

impl Tally {
    fn exit_code(&self) -> u8 {
        match self {
            Self { found: 1.., .. } => FOUND,
            Self { impossible: 1.., .. } => INFRASTRUCTURE,
            _ => 0,
        }
    }
}

/// Runs the campaign. Returns 0 if nothing was found, 3 if a case is not possible here.
pub fn command(root: &Utf8Path, arguments: &ExhaustArgs) -> Result<u8> {
    let chosen = chosen(arguments)?;
    if arguments.list {
        chosen.iter().for_each(|case| println!("{:<20} {}", case.name, case.title));
        return Ok(0);
    }
    if let Some(way) = room::way().filter(|_| !arguments.inside) {
        return room::again(way);
    }
    setup::ensure(root, arguments.consent.yes)?;
    require(&FAKETIME, root, arguments.consent.yes)?;
    let uri = arguments.connect.clone().unwrap_or_else(|| daemon::uri(&LiveSystem).to_owned());
    Suite::build(root, &uri)?;
    let mut place = Place::new("exhaust", arguments.out.as_deref())?;
    let (dir, name) = (place.dir.clone(), place.name.clone());
    let parents = [&dir.join("t"), Utf8Path::new(MEMORY)];
    let foreign = Foreign::begin(&uri, &name, &dir, &parents)?;
    let runs = Runs { root, dir: &dir, name: &name, uri: &uri, temporary: dir.join("t"), foreign: &foreign };
    let tally = run(&runs, &chosen, arguments)?;
    place.keep |= tally.found > 0;
    if tally.found > 0 {
        println!("The evidence is kept in {dir}.");
    }
    Ok(tally.exit_code())
}

/// The cases that the arguments choose.
fn chosen(arguments: &ExhaustArgs) -> Result<Vec<&'static Case>> {
    let unknown = |name: &&String| !CASES.iter().any(|case| case.name == **name);
    if let Some(name) = arguments.cases.iter().find(unknown) {
        let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        return Err(usage(format!("There is no case {name}; there are {}.", names.join(", "))));
    }
    let is_chosen = |case: &&Case| match arguments.cases.is_empty() {
        true => case.tier().is_in(arguments.tier) && (!arguments.short || case.short.is_some()),
        false => arguments.cases.iter().any(|name| name == case.name),
    };
    Ok(CASES.iter().filter(is_chosen).collect())
}

fn run(runs: &Runs<'_>, chosen: &[&Case], arguments: &ExhaustArgs) -> Result<Tally> {
    let began = Instant::now();
    let mut tally = Tally::default();
    for case in chosen {
        if let Some(why) = impossible(case, arguments.inside) {
            println!("? {}: not possible, because {why}: run it as root", case.name);
            tally.impossible += 1;
            continue;
        }
        run_case(runs, case, arguments.short, &mut tally)?;
    }
    let Tally { runs, found, impossible } = tally;
    println!(
        "{} cases, {runs} runs: {found} findings, {impossible} cases not possible; {}",
        chosen.len(),
        human(began.elapsed())
    );
    Ok(tally)
}

/// Why a case cannot be run here.
fn impossible(case: &Case, inside: bool) -> Option<&'static str> {
    if case.needs_mounts() && !inside {
        return Some(room::NO_MOUNTS);
    }
    own_libvirt::impossible().filter(|_| case.needs_own_libvirt())
}

fn run_case(runs: &Runs<'_>, case: &Case, short: bool, tally: &mut Tally) -> Result<()> {
    let amounts = case.amounts(short);
    for left in amounts {
        tally.runs += 1;
        let is_last = case.left.last().is_none_or(|most| *most == left);
        let attempt = attempt::run(runs, case, left, tally.runs, is_last)?;
        tally.found += attempt.wrong.len();
        let mark = if attempt.wrong.is_empty() { "✓" } else { "✗" };
        println!("{mark} {}{}: {}", case.name, case.amount(left), attempt.line);
        attempt.wrong.iter().for_each(|line| println!("    {line}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_outweighs_what_was_not_possible_and_that_is_no_pass() {
        let code = |found, impossible| Tally { runs: 1, found, impossible }.exit_code();
        assert_eq!([code(0, 0), code(0, 1), code(1, 1)], [0, INFRASTRUCTURE, FOUND]);
    }

    #[test]
    fn a_case_without_mounts_is_possible_for_everybody() {
        let case = |name: &str| CASES.iter().find(|case| case.name == name).expect("there is one");
        assert_eq!(impossible(case("libvirt-silent"), false), None);
        assert!(
            impossible(case("disk-full"), false).is_some() && impossible(case("disk-full"), true).is_none()
        );
        assert!(impossible(case("libvirt-stopped"), false).is_some());
    }
}
