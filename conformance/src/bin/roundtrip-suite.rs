//! The suite's own commands. They are a binary apart from `cargo xtask`, which links no libvirt.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use camino::{Utf8Path, Utf8PathBuf};
use clap::{Parser, Subcommand};
use conformance::core_under_test::FaultInjection as _;
use conformance::history_command::{self, HistoryCommand};
use conformance::merge::{self, MergeError};
use conformance::mutants::InjectedFault;
use conformance::mutation::{self, Checks};
use conformance::regressions::{Against, USUAL_LAST};
use conformance::report::Detail;
use conformance::report_command::{self, Comparing};
use conformance::rules::RuleId;
use conformance::rules::profile::Profile;
use conformance::variants::CoreVariant;
use conformance::{
    acceptance, bench, core_under_test, crash_states_command, evidence_command, generated_pages, real,
    report, runtime, sim, soak, wire_core,
};
use contract::Bytes;
use harness::accel::{self, Probe};
use harness::crash_states::Sampling;
use harness::host::Host;
use harness::reaper;

/// Exit code: no verdict could be reached, because this host or the suite failed.
const INFRASTRUCTURE: u8 = 3;
/// Exit code: wrong usage (`EX_USAGE` of `sysexits.h`). It is no code of a verdict.
const WRONG_USAGE: u8 = 64;

#[derive(Parser)]
#[command(about = "The suite's own commands, which `cargo xtask` runs.")]
struct Arguments {
    /// libvirt's URI, if not the default.
    #[arg(long, global = true, env = "ROUNDTRIP_CONNECT")]
    connect: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Finds the accelerator that works here, by a trial boot.
    Probe {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Checks whether a run with these arguments can start here.
    Preflight {
        /// The core that the run tests, if not the built-in one.
        #[arg(long)]
        core: Option<String>,
        /// The fault that the run injects into the core: NAME or NAME@EDGE.
        #[arg(long)]
        mutant: Option<String>,
        /// The sound variant of the core that the run judges.
        #[arg(long)]
        variant: Option<String>,
        /// The profile of external facts that the run is judged by.
        #[arg(long)]
        profile: Option<String>,
    },
    /// Removes what dead runs left behind.
    Reap {
        /// Also removes what `--keep` kept.
        #[arg(long)]
        kept: bool,
    },
    /// Writes the reports of a run and prints its summary.
    Report {
        /// The directory of the run.
        dir: Utf8PathBuf,
        /// Also prints every edge and every rule.
        #[arg(long)]
        verbose: bool,
        /// The history to which the run is added [default: beside the run's directory].
        #[arg(long)]
        history: Option<Utf8PathBuf>,
        /// Also compares the run with earlier runs of the history.
        #[arg(long)]
        compare: bool,
        /// Compares with this run, or with the runs in this file, whatever was accepted.
        #[arg(long, requires = "compare")]
        against: Option<String>,
        /// How many values of each series to look at.
        #[arg(long, requires = "compare")]
        last: Option<usize>,
        /// Also plots each series.
        #[arg(long, requires = "compare")]
        trend: bool,
    },
    /// Puts the evidence of a run's shards into one directory.
    Merge {
        /// The directory, which exists and is empty.
        #[arg(long)]
        out: Utf8PathBuf,
        /// The directories of the shards.
        #[arg(required = true)]
        dirs: Vec<Utf8PathBuf>,
    },
    /// Reads or shortens a history.
    History {
        /// The file.
        #[arg(long)]
        file: Utf8PathBuf,
        #[command(subcommand)]
        what: HistoryCommand,
    },
    /// Writes the generated pages under docs, and adapters/wire/openrpc.json.
    Docs {
        /// The repository.
        root: Utf8PathBuf,
        /// Repeats the experiments behind docs/regressions.md.
        #[arg(long)]
        experiments: bool,
    },
    /// Measures the built-in core and other programs on the same disk.
    Bench {
        /// Directory for disks; the files made in it are removed.
        #[arg(long)]
        dir: Utf8PathBuf,
        /// Rounds of each measurement.
        #[arg(long)]
        rounds: u32,
        /// Prints the figures as JSON.
        #[arg(long)]
        json: bool,
        /// Writes the page on performance into this file.
        #[arg(long)]
        page: Option<Utf8PathBuf>,
        /// The history to which the figures are added.
        #[arg(long)]
        history: Utf8PathBuf,
        /// Their name in the history.
        #[arg(long)]
        id: String,
        /// The command as it was typed, which the history keeps.
        #[arg(long, allow_hyphen_values = true)]
        typed: String,
    },
    /// Judges sound variants of the core by the checks in memory.
    Variants {
        /// Only variants with these names.
        names: Vec<String>,
        /// Only the checks that judge this rule.
        #[arg(long)]
        rule: Option<String>,
    },
    /// Judges mutants by the checks in memory.
    Mutants {
        /// Only mutants with these names.
        names: Vec<String>,
        /// Runs every check, not only those that judge a rule which a mutant names.
        #[arg(long)]
        every_check: bool,
    },
    /// Judges the core that the environment names by the simulated tier, up to the first broken
    /// rule, and prints that as JSON.
    FirstFailure {
        /// Seed of the checks and of the first cycle.
        #[arg(long)]
        seed: u64,
        /// Cycles of each scenario.
        #[arg(long)]
        seeds: u64,
    },
    /// Lists the mutants that scenarios on guests have to find, as JSON.
    GuestMutants,
    /// Packs the evidence of the scenarios of a run that passed.
    Pack {
        /// The directory of the run.
        dir: Utf8PathBuf,
    },
    /// Judges stored evidence again.
    Recheck {
        /// The directory of a run or of one scenario.
        dir: Utf8PathBuf,
        /// Also verifies this certificate with the run.
        #[arg(long)]
        certificate: Option<Utf8PathBuf>,
    },
    /// Examines the states in which a power loss may have left the disks of a run's guests.
    CrashStates {
        /// The directory of a run or of one scenario.
        dir: Utf8PathBuf,
        /// Most states between two flushes.
        #[arg(long)]
        samples: usize,
        /// Seed of the choice.
        #[arg(long)]
        seed: u64,
    },
    /// Judges whether the cycles of a run kept everything flat.
    Soak {
        /// The directory of a run or of one scenario.
        dir: Utf8PathBuf,
        /// The first cycle of which growth is judged.
        #[arg(long)]
        from: Option<u32>,
    },
    /// Writes the certificate of a run and verifies it.
    Certificate {
        /// The directory of the run.
        dir: Utf8PathBuf,
        /// The certificate.
        #[arg(long)]
        out: Utf8PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Nothing can be done if the terminal is gone.
            let _ = answer.print();
            // Help and version are answers and no errors.
            return ExitCode::from(if answer.use_stderr() { WRONG_USAGE } else { 0 });
        }
    };
    match runtime::block_on(run(&arguments)).unwrap_or_else(|error| Err(error.into())) {
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
        Command::Preflight { core, mutant, variant, profile } => {
            let complaint = variant.as_deref().and_then(unknown_variant);
            let (core, mutant) = (core.as_deref(), mutant.as_deref());
            preflight(arguments, core, mutant, profile.as_deref(), complaint).await
        }
        Command::Reap { kept } => reap(arguments, *kept).await,
        Command::Docs { root, experiments } => generated_pages::write(root, *experiments),
        Command::Report { dir, verbose, history, compare, against, last, trend } => {
            let detail = if *verbose { Detail::Tables } else { Detail::Lines };
            let last = last.unwrap_or(USUAL_LAST);
            let against = against.as_deref().map_or(Against::EarlierRuns, Against::named);
            let ask = || Comparing { against, last, trend: *trend };
            let comparing = compare.then(ask);
            report_command::run(dir, detail, history.as_deref(), comparing.as_ref())
        }
        Command::Merge { out, dirs } => merge_shards(dirs, out),
        Command::History { file, what } => history_command::run(file, what),
        Command::Bench { dir, rounds, json, page, history, id, typed } => {
            let wanted = bench::Wanted {
                json: *json,
                page: page.clone(),
                history: history.clone(),
                id: id.clone(),
                command: typed.clone(),
            };
            measure(arguments, dir, *rounds, &wanted).await
        }
        Command::Recheck { dir, certificate } => {
            evidence_command::judge_again(dir, certificate.as_deref()).await
        }
        Command::Certificate { dir, out } => evidence_command::certify(dir, out).await,
        Command::CrashStates { dir, samples, seed } => {
            crash_states_command::run(dir, Sampling { most: *samples, seed: *seed })
        }
        Command::Soak { dir, from } => soak::run(dir, *from),
        Command::Pack { dir } => evidence_command::pack(dir),
        Command::Variants { names, rule } => judge_variants(names, rule.as_deref()),
        Command::GuestMutants => {
            println!("{}", serde_json::to_string(&mutation::rows())?);
            Ok(0)
        }
        Command::FirstFailure { seed, seeds } => find_first_failure(*seed, *seeds),
        Command::Mutants { names, every_check } => Ok(judge_mutants(names, *every_check)),
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

async fn preflight(
    arguments: &Arguments,
    core: Option<&str>,
    mutant: Option<&str>,
    profile: Option<&str>,
    complaint: Option<String>,
) -> Result<u8> {
    let core = match core.map(wire_core::parse).transpose() {
        Ok(core) => core,
        Err(error) => {
            eprintln!("--core: {error}");
            return Ok(WRONG_USAGE);
        }
    };
    let unknown_profile = profile.and_then(|name| Profile::find(name).err()).map(|error| error.to_string());
    let needs_built_in = core.is_some() && mutant.is_some_and(needs_built_in);
    let needs_built_in = needs_built_in.then(|| core_under_test::NEEDS_BUILT_IN.to_owned());
    let complaint = complaint.or_else(|| mutant.and_then(unknown_mutant)).or(unknown_profile);
    if let Some(complaint) = complaint.or(needs_built_in) {
        eprintln!("{complaint}");
        return Ok(WRONG_USAGE);
    }
    if let Some(core) = core {
        // A core that cannot be opened is found before a guest starts.
        let opened = wire_core::identify(&core, None).await;
        let identity = opened.with_context(|| format!("the core `{core}` cannot be opened"))?;
        println!("Testing {identity}.");
    }
    find_accelerator(arguments).await?;
    Ok(0)
}

/// Whether the fault lies inside the core.
fn needs_built_in(mutant: &str) -> bool {
    InjectedFault::for_checks(Some(mutant)).is_ok_and(|fault| fault.hook().is_some())
}

/// What is wrong with the value of `--mutant`, if anything.
fn unknown_mutant(mutant: &str) -> Option<String> {
    let scenarios = real::scenarios().unwrap_or_default();
    let edges: BTreeSet<_> = scenarios.into_iter().flat_map(|scenario| scenario.edges).collect();
    let edges: Vec<_> = edges.into_iter().collect();
    InjectedFault::for_edges(Some(mutant), &edges).err().map(|error| error.to_string())
}

/// What is wrong with the value of `--variant`, if anything.
fn unknown_variant(variant: &str) -> Option<String> {
    CoreVariant::find(variant).err().map(|error| error.to_string())
}

/// Judges sound variants of the core. Returns 1 if one is not accepted.
fn judge_variants(names: &[String], rule: Option<&str>) -> Result<u8> {
    let only = rule.and_then(RuleId::find);
    let unknown_rule = rule.filter(|_| only.is_none()).map(|rule| format!("there is no rule {rule}"));
    let complaint = names.iter().find_map(|name| unknown_variant(name)).or(unknown_rule);
    if let Some(complaint) = complaint {
        eprintln!("{complaint}");
        return Ok(WRONG_USAGE);
    }
    // The checks have runtimes of their own, which cannot run inside this one.
    let judge = || acceptance::run(names, only);
    let judged = std::thread::scope(|scope| scope.spawn(judge).join());
    let accepted = judged.map_err(|_| anyhow::anyhow!("the suite itself failed"))??;
    Ok(u8::from(!accepted))
}

async fn reap(arguments: &Arguments, kept: bool) -> Result<u8> {
    let host = Host::connect(arguments.connect.as_deref()).await?;
    let reaped = reaper::reap(&host, kept).await?;
    for domain in &reaped.domains {
        println!("removed domain {domain} of a dead run");
    }
    for process in &reaped.processes {
        println!("ended storage daemon {process} of a dead run");
    }
    for (directory, bytes) in &reaped.directories {
        println!("removed {directory} of a dead run, {}", Bytes(*bytes));
    }
    for parent in [&std::env::temp_dir(), Path::new(simulator::testbed::MEMORY)] {
        // A host without such a directory has none of ours in it.
        for directory in tempdirs::remove_stale(parent).unwrap_or_default() {
            println!("removed {} of a dead run", directory.display());
        }
    }
    Ok(0)
}

/// Merges shards. What keeps the whole run from a verdict is printed.
fn merge_shards(dirs: &[Utf8PathBuf], out: &Utf8Path) -> Result<u8> {
    match merge::merge(dirs, out) {
        Ok(complaints) => {
            complaints.iter().for_each(|line| println!("{line}"));
            Ok(0)
        }
        Err(MergeError::Refused(line)) => {
            eprintln!("{line}");
            Ok(WRONG_USAGE)
        }
        Err(MergeError::Failed(error)) => Err(error),
    }
}

async fn measure(arguments: &Arguments, dir: &Utf8Path, rounds: u32, wanted: &bench::Wanted) -> Result<u8> {
    let host = Host::connect(arguments.connect.as_deref()).await?;
    bench::run(&host, dir, rounds, wanted).await
}

/// Judges a core up to the first broken rule.
fn find_first_failure(seed: u64, seeds: u64) -> Result<u8> {
    // The checks have runtimes of their own, which cannot run inside this one.
    let judge = || sim::first_failure(seed, seeds);
    let found = std::thread::scope(|scope| scope.spawn(judge).join());
    let found = found.map_err(|_| anyhow::anyhow!("the suite itself failed"))??;
    println!("{}", serde_json::to_string(&found)?);
    Ok(report::exit_code(found.verdict, false))
}

/// Judges mutants by the checks in memory.
fn judge_mutants(names: &[String], every_check: bool) -> u8 {
    let checks = if every_check { Checks::Every } else { Checks::Named };
    // The checks have runtimes of their own, which cannot run inside this one.
    let judge = || mutation::run(names, checks);
    let all_right = std::thread::scope(|scope| scope.spawn(judge).join().unwrap_or(false));
    u8::from(!all_right)
}
