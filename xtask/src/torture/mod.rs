//! The command `torture`: kills the suite's own processes at random moments, beside a foreign
//! domain and foreign directories that must survive, and looks at what is left.

mod beside;
mod chance;
pub mod foreign;
mod kill;
pub mod place;
pub mod processes;
pub mod remains;
pub mod results;
pub mod runs;
mod victims;

use std::time::{Duration, Instant};

use anyhow::Result;
use camino::Utf8Path;

use crate::cli::TortureArgs;
use crate::conformance::scenarios::TierChoice;
use crate::error::{SLOW, infrastructure, usage};
use crate::room;
use crate::room::own_libvirt::{Limit, OwnLibvirt};
use crate::setup::{self, daemon};
use crate::suite::Suite;
use crate::system::LiveSystem;
use crate::terminal::{human, say};
use chance::Chance;
use foreign::Foreign;
use kill::Campaign;
use place::Place;
pub use processes::Kind;
use runs::Runs;

/// The exit code of a campaign that found something.
pub const FOUND: u8 = 1;
/// The latest moment at which a run on guests is killed.
const LONGEST_ON_GUESTS: Duration = Duration::from_secs(90);
/// The most runs for each kill: a run may end before its moment comes.
const RUNS_PER_KILL: u64 = 3;

/// Runs the campaign. Returns 0 if nothing was found.
pub fn command(root: &Utf8Path, arguments: &TortureArgs) -> Result<u8> {
    let victims = if arguments.beside.is_none() { victims::chosen(arguments)? } else { Vec::new() };
    let own_libvirt = victims.contains(&Kind::Libvirtd);
    setup::ensure(root, arguments.consent.yes)?;
    if let Some(way) = room::way().filter(|_| own_libvirt && !arguments.inside) {
        return room::again(way);
    }
    let uri = arguments.connect.clone().unwrap_or_else(|| daemon::uri(&LiveSystem).to_owned());
    Suite::build(root, &uri)?;
    let mut place = Place::new("torture", arguments.out.as_deref())?;
    let (dir, name) = (place.dir.clone(), place.name.clone());
    let mut libvirt = own_libvirt.then(|| OwnLibvirt::start(&dir, &uri, Limit::None)).transpose()?;
    let parents = [&dir.join("t"), Utf8Path::new(remains::MEMORY)];
    let foreign = Foreign::begin(&uri, &name, &dir, &parents)?;
    if let Some(count) = arguments.beside {
        return beside(root, arguments, place, &foreign, &uri, count);
    }
    let mut campaign = Campaign {
        runs: Runs { root, dir: &dir, name: &name, uri: &uri, temporary: dir.join("t"), foreign: &foreign },
        options: options(arguments)?,
        victims,
        longest: LONGEST_ON_GUESTS,
        libvirt: libvirt.as_mut(),
    };
    if arguments.tier == TierChoice::Sim {
        campaign.longest = undisturbed(&campaign, 0)?;
    }
    let found = run(&mut campaign, arguments)?;
    place.keep |= found > 0;
    if found > 0 {
        println!("The evidence is kept in {dir}.");
    }
    Ok(if found > 0 { FOUND } else { 0 })
}

/// Runs suites beside each other. Returns 0 if nothing was found.
fn beside(
    root: &Utf8Path,
    arguments: &TortureArgs,
    mut place: Place,
    foreign: &Foreign,
    uri: &str,
    count: u64,
) -> Result<u8> {
    let other = arguments.checkout.as_deref().map(|dir| beside::clone(root, dir)).transpose()?;
    let (dir, name) = (place.dir.clone(), place.name.clone());
    let runs = Runs { root, dir: &dir, name: &name, uri, temporary: dir.join("t"), foreign };
    let wrong = beside::run(&runs, &options(arguments)?, other.as_deref(), count)?;
    place.keep |= !wrong.is_empty();
    let checkouts = if other.is_some() { "two checkouts" } else { "one checkout" };
    wrong.iter().for_each(|line| println!("✗ {line}"));
    println!("{count} runs beside each other, from {checkouts}: {} findings", wrong.len());
    Ok(if wrong.is_empty() { 0 } else { FOUND })
}

/// The options of every run.
fn options(arguments: &TortureArgs) -> Result<Vec<String>> {
    let chosen = arguments.scenario.iter().flat_map(|name| ["--scenario", name]);
    let all: &[&str] = match (arguments.tier, arguments.scenario.is_empty()) {
        (TierChoice::Sim, true) => &["--tier", "sim", "--seeds", "8"],
        (TierChoice::Sim, false) => &["--seeds", "8"],
        (TierChoice::Real, true) => &["--scenario", "vmware-azure"],
        (TierChoice::Real, false) => &[],
        (TierChoice::All, _) => {
            return Err(usage("A campaign is of one tier: add --tier sim or --tier real."));
        }
    };
    let core = arguments.core.iter().flat_map(|core| ["--core", core]);
    Ok(all.iter().copied().chain(chosen).chain(core).map(String::from).collect())
}

/// A run that nobody kills, and how long it took. Fails if it does not pass.
fn undisturbed(campaign: &Campaign<'_>, number: u64) -> Result<Duration> {
    let began = Instant::now();
    let code = campaign.undisturbed(number)?;
    if code != 0 && code != i32::from(SLOW) {
        let text = std::fs::read_to_string(campaign.runs.log(number)).unwrap_or_default();
        return Err(infrastructure(format!("A run that nobody kills ends with {code}:\n{}", text.trim())));
    }
    say(format!("  a run that nobody kills passes in {}", human(began.elapsed())));
    Ok(began.elapsed())
}

/// Kills as often as was asked for. Returns how much was found.
fn run(campaign: &mut Campaign<'_>, arguments: &TortureArgs) -> Result<usize> {
    let began = Instant::now();
    let (mut kills, mut found, mut number) = (0, 0, 0);
    while kills < arguments.kills && number < arguments.kills * RUNS_PER_KILL {
        number += 1;
        let mut chance = Chance::new(arguments.seed, number);
        let killed = campaign.kill(number, &mut chance)?;
        kills += u64::from(killed.victim.is_some());
        found += killed.wrong.len();
        let mark = if killed.wrong.is_empty() { "✓" } else { "✗" };
        println!("{mark} {kills}/{} run {number}: {}", arguments.kills, killed.line);
        killed.wrong.iter().for_each(|line| println!("    {line}"));
    }
    let last = undisturbed(campaign, number + 1);
    if let Err(error) = &last {
        println!("✗ after the last kill: {error}");
        found += 1;
    }
    println!(
        "{kills} kills, seed {}: {found} findings; the next run {}; {}",
        arguments.seed,
        if last.is_ok() { "passes" } else { "does not pass" },
        human(began.elapsed())
    );
    Ok(found)
}
