//! What the command line asks of the suite, in a binary of its own because it links libvirt.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use clap::{Parser, Subcommand};
use conformance::mutants::InjectedFault;
use conformance::outcome::HostFacts;
use conformance::{bench, core_under_test, real, recheck, report};
use harness::accel::{self, Probe};
use harness::host::Host;
use harness::machine::Accelerator;
use harness::reaper;

/// Nothing can be said of this host.
const INFRASTRUCTURE: u8 = 3;
/// A word of the caller's is wrong.
const WRONG_USAGE: u8 = 2;

#[derive(Parser)]
#[command(about = "The suite's own tools; people use `cargo xtask`.")]
struct Arguments {
    /// libvirt's URI, if not the default.
    #[arg(long, global = true, env = "ROUNDTRIP_CONNECT")]
    connect: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Finds by trial boot which accelerator works.
    Probe {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Finds out whether scenarios can run here.
    Preflight {
        /// Fault that a run is to put into the core.
        #[arg(long)]
        mutant: Option<String>,
    },
    /// Removes what dead runs left behind.
    Reap {
        /// Also what was kept on purpose.
        #[arg(long)]
        kept: bool,
    },
    /// Writes the reports of a run and prints its summary.
    Report {
        /// Directory of the run.
        dir: Utf8PathBuf,
    },
    /// Prints the state machines as a page of diagrams.
    Diagrams,
    /// Measures the built-in core beside other programs.
    Bench {
        /// Directory for disks; what is made in it is removed.
        #[arg(long)]
        dir: Utf8PathBuf,
        /// Rounds of each measurement.
        #[arg(long)]
        rounds: u32,
    },
    /// Judges stored evidence again.
    Recheck {
        /// Directory of a run or of one scenario.
        dir: Utf8PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(INFRASTRUCTURE)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<u8> {
    match &arguments.command {
        Command::Probe { json } => probe(arguments, *json).await,
        Command::Preflight { mutant } => preflight(arguments, mutant.as_deref()).await,
        Command::Reap { kept } => reap(arguments, *kept).await,
        Command::Diagrams => {
            print!("{}", core_under_test::state_diagrams());
            Ok(0)
        }
        Command::Report { dir } => make_report(dir),
        Command::Bench { dir, rounds } => measure(arguments, dir, *rounds).await,
        Command::Recheck { dir } => judge_again(dir).await,
    }
}

async fn probe(arguments: &Arguments, json: bool) -> Result<u8> {
    let probe = find_accelerator(arguments).await?;
    if json {
        println!("{}", serde_json::to_string(&probe)?);
    } else {
        println!("{} boots a guest in {} ms", probe.accelerator, probe.boot_ms);
    }
    Ok(0)
}

async fn find_accelerator(arguments: &Arguments) -> Result<Probe> {
    let host = Host::connect(arguments.connect.as_deref()).await?;
    let cache = images::cache_dir();
    let image =
        images::find(&cache)?.context("there is no guest image; `cargo xtask images build` makes it")?;
    Ok(accel::choose(&host, &image, &cache).await?)
}

async fn preflight(arguments: &Arguments, mutant: Option<&str>) -> Result<u8> {
    if let Some(complaint) = mutant.and_then(misspelt) {
        eprintln!("{complaint}");
        return Ok(WRONG_USAGE);
    }
    find_accelerator(arguments).await?;
    Ok(0)
}

/// What is wrong with the value of `--mutant`, if anything.
fn misspelt(mutant: &str) -> Option<String> {
    let scenarios = real::scenarios().unwrap_or_default();
    let edges: BTreeSet<_> = scenarios.into_iter().flat_map(|scenario| scenario.edges).collect();
    let edges: Vec<_> = edges.into_iter().collect();
    InjectedFault::for_edges(Some(mutant), &edges).err().map(|error| error.to_string())
}

async fn reap(arguments: &Arguments, kept: bool) -> Result<u8> {
    let host = Host::connect(arguments.connect.as_deref()).await?;
    let reaped = reaper::reap(&host, kept).await?;
    for domain in &reaped.domains {
        println!("removed domain {domain}, whose run is dead");
    }
    for process in &reaped.processes {
        println!("ended storage daemon {process}, whose run is dead");
    }
    for directory in &reaped.directories {
        println!("removed {directory}, whose run is dead");
    }
    Ok(0)
}

fn make_report(dir: &Utf8Path) -> Result<u8> {
    let results = report::collect(dir, host_facts()?)?;
    print!("{}", report::write(dir, &results)?);
    Ok(report::exit_code(results.verdict, results.slow().next().is_some()))
}

/// What the probe found, and what the kernel says of the host.
fn host_facts() -> Result<HostFacts> {
    let kept = std::fs::read(images::cache_dir().join("accelerator.json"));
    let probe: Option<Probe> = kept.ok().and_then(|text| serde_json::from_slice(&text).ok());
    let memory = std::fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    let cores = std::thread::available_parallelism().map_or(0, usize::from) as u64;
    let mut facts = HostFacts { cores, memory: memory.unwrap_or(0_u64) * 1024, ..HostFacts::default() };
    if let Some(probe) = probe {
        let kvm = probe.trials.iter().find(|trial| trial.accelerator == Accelerator::Kvm && !trial.ok);
        facts.accelerator_why = kvm.and_then(|trial| trial.why.clone()).unwrap_or_default();
        facts.accelerator = probe.accelerator.to_string();
        facts.boot_ms = probe.boot_ms;
        (facts.kernel, facts.qemu, facts.libvirt, facts.image) =
            (probe.kernel, probe.qemu, probe.libvirt, probe.image);
    }
    Ok(facts)
}

async fn measure(arguments: &Arguments, dir: &Utf8Path, rounds: u32) -> Result<u8> {
    let host = Host::connect(arguments.connect.as_deref()).await?;
    bench::run(&host, dir, rounds).await
}

async fn judge_again(dir: &Utf8Path) -> Result<u8> {
    let recheck = recheck::recheck(dir).await?;
    for line in &recheck.lines {
        println!("{line}");
    }
    Ok(report::exit_code(recheck.verdict, false))
}
