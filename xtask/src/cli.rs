//! The arguments of the command line.

mod campaigns;
mod consent;

use camino::Utf8PathBuf;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, value_parser};

use crate::conformance::scenarios::TierChoice;
use crate::conformance::shard::Choice;
use crate::error::USAGE;

pub use self::campaigns::{ExhaustArgs, FuzzArgs, MutantsArgs, SoakArgs, TortureArgs, VariantsArgs};
pub use self::consent::Consent;

/// Roundtrip: tests a disaster-recovery replication core on real guests
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
#[command(
    after_help = "Exit codes: 0 conforms · 1 a rule failed · 2 conforms, with a regression · 3 no verdict: this \
                  host or the suite failed · 64 wrong usage · 130 interrupted"
)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install what is missing on this machine, after saying what that is
    Setup {
        /// Leave out what does not stay in a container image: the libvirt daemon, and access to
        /// /dev/kvm
        #[arg(long)]
        image: bool,
        #[command(flatten)]
        consent: Consent,
    },
    /// Show what this machine can do, without changing anything
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run scenarios and report the verdict
    Conformance(Box<ConformanceArgs>),
    /// Run everything that must pass before a change is merged, up to one short real cycle
    Test(Consent),
    /// Give random inputs to everything that reads what others send or store
    Fuzz(FuzzArgs),
    /// Run the tests of the crates that have `unsafe` under a sanitizer of memory accesses
    Sanitize(Consent),
    /// Write the list of all crates that the suite is made of, in the format CycloneDX
    Sbom {
        /// The file [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<Utf8PathBuf>,
        /// Print instead which crates use `unsafe` in how many places
        #[arg(long, conflicts_with = "out")]
        unsafe_code: bool,
    },
    /// List the guest images, or build the current one
    Images {
        /// Without it: list
        #[command(subcommand)]
        what: Option<Images>,
    },
    /// Remove what dead runs left behind, and old run directories
    Clean(CleanArgs),
    /// Test the suite itself: kill its processes at random moments, and look at what is left
    Torture(TortureArgs),
    /// Run many cycles over the same machines, and judge whether anything grows
    Soak(SoakArgs),
    /// Test the suite itself: take disk, memory, time or libvirt away from a run, and look at what
    /// it says and leaves
    Exhaust(ExhaustArgs),
    /// Measure the built-in core beside qemu-img and nbdcopy, on the same disk in the same run
    Bench(BenchArgs),
    /// Judge deliberately faulty cores, each of which the suite must reject
    Mutants(MutantsArgs),
    /// Judge sound cores that do things differently, each of which the suite must accept
    Variants(VariantsArgs),
    /// Become a program that ends with its parent; for this program's own use
    #[command(hide = true)]
    Hold {
        /// Process id of the parent
        parent: i32,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<std::ffi::OsString>,
    },
    /// Write the generated pages of docs, and adapters/wire/openrpc.json
    #[command(alias = "diagrams")]
    Docs {
        /// Repeat the simulations behind docs/regressions.md first, which takes minutes
        #[arg(long)]
        experiments: bool,
    },
    /// Write the report of a run again, and compare the run with earlier ones of the history
    Report(ReportArgs),
    /// Show or shorten the history of runs
    History {
        /// The history
        #[arg(long, value_name = "PATH", default_value = "roundtrip-runs/history.sqlite", global = true)]
        history: Utf8PathBuf,
        /// What to do with it
        #[command(subcommand)]
        what: HistoryCommand,
    },
    /// Judge the stored evidence of a run again
    Recheck {
        /// The run's directory
        dir: Utf8PathBuf,
        /// Also verify this certificate with the run
        #[arg(long, value_name = "FILE")]
        certificate: Option<Utf8PathBuf>,
    },
    /// Examine the states in which a power loss may have left the disks of a run's guests
    CrashStates {
        /// The run's directory, or that of one scenario
        evidence: Utf8PathBuf,
        /// Most states between two flushes
        #[arg(long, value_name = "N", default_value_t = 8)]
        samples: usize,
        /// Seed of the choice of these states
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
    /// Write what may be published about a run and verified with its files, and verify it
    Certificate {
        /// The run: its directory, or its id under ./roundtrip-runs
        #[arg(value_name = "RUN", default_value = "latest")]
        run: Utf8PathBuf,
        /// The certificate; a text for people is written beside it [default: certificate.json in
        /// the run's directory]
        #[arg(long, value_name = "FILE")]
        out: Option<Utf8PathBuf>,
    },
}

/// What `history` does.
#[derive(Debug, Clone, Subcommand)]
pub enum HistoryCommand {
    /// List the runs, and then the benchmarks, the newest last
    List,
    /// Show what is kept of a run, or the figures of a benchmark
    Show {
        /// Its id
        run: String,
    },
    /// Delete all runs but the newest, and all benchmarks but the newest
    Prune {
        /// How many of each to keep
        #[arg(long, value_name = "N")]
        keep: u32,
    },
    /// Note that whatever changed up to a run, or up to a benchmark, is intended and no regression:
    /// on its host and for its core
    Accept {
        /// Its id
        run: String,
    },
    /// Print every run as a line of JSON; benchmarks are left out
    Export,
}

/// What `images` does.
#[derive(Debug, Clone, Subcommand)]
pub enum Images {
    /// Build the current image, unless the cache holds it
    Build,
    /// List the images in the cache
    List,
    /// Build the image twice, in two directories and on two dates, and compare every byte
    Verify(Consent),
    /// One of the builds of `verify`
    #[command(hide = true)]
    Make {
        /// The cache
        cache: Utf8PathBuf,
        /// The witness
        witness: Utf8PathBuf,
        /// The agent
        agent: Utf8PathBuf,
    },
}

/// The arguments of `conformance`.
#[derive(Debug, Clone, Args)]
pub struct ConformanceArgs {
    /// Run this scenario; may be repeated
    #[arg(long, value_name = "NAME")]
    pub scenario: Vec<String>,
    /// Run all scenarios of this tier [default: one representative of each kind]
    #[arg(long, value_enum)]
    pub tier: Option<TierChoice>,
    /// Run only the checks in memory that judge this rule, such as FO-04; may be repeated
    #[arg(long, value_name = "ID", conflicts_with_all = ["tier", "scenario", "filter", "shard"])]
    pub rule: Vec<String>,
    /// Run only scenarios that also match this nextest expression
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,
    /// List the scenarios instead of running them
    #[arg(long)]
    pub list: bool,
    /// Scenarios at a time [default: 1 on real guests, one per processor core in memory]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// Directory for the evidence [default: a new one under ./roundtrip-runs]
    #[arg(long, value_name = "DIR")]
    pub out: Option<Utf8PathBuf>,
    /// Keep the guests of failed scenarios running, and say how to log in to them
    #[arg(long)]
    pub keep: bool,
    /// libvirt's URI [default: qemu:///system for root, qemu:///session for others]
    #[arg(long, value_name = "URI")]
    pub connect: Option<String>,
    /// Test this core instead of the built-in one: a command that starts it, or unix:PATH of a
    /// socket at which it listens; see docs/protocol.md
    #[arg(long, value_name = "CMD|unix:PATH")]
    pub core: Option<String>,
    /// Kill the core with SIGKILL in each cycle and start it again: in one cycle for each of N
    /// moments, or for every moment, or at one moment that a report names
    #[arg(long, value_name = "N|all|@MOMENT", requires = "core", value_parser = kills)]
    pub kills: Option<String>,
    /// Test the suite itself: run it against a core with this fault
    #[arg(long, value_name = "NAME")]
    pub mutant: Option<String>,
    /// Test the suite itself: run it against a sound core that does something differently
    #[arg(long, value_name = "NAME", conflicts_with = "mutant")]
    pub variant: Option<String>,
    /// Judge by this profile of external facts, from conformance/profiles.toml [default: asr-2019]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Rounds over the same machines, for scenarios that end in the state in which they began, and
    /// for simulated cycles
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub cycles: Option<u32>,
    /// Simulated cycles, each with a seed of its own [default: 64]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub seeds: Option<u32>,
    /// Repeat the simulated cycle and the checks in memory with this one seed, which a failure
    /// names
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Print every edge and every rule at the end, instead of one line for each scenario
    #[arg(long)]
    pub verbose: bool,
    /// The history to which the run is added [default: history.sqlite beside the run's directory]
    #[arg(long, value_name = "PATH")]
    pub history: Option<Utf8PathBuf>,
    /// Run only the Kth of N shards, which take about the same time; `auto` takes K and N from
    /// GitLab's `parallel` or a Kubernetes Indexed Job
    #[arg(long, value_name = "K/N|auto")]
    pub shard: Option<Choice>,
    /// Name of the run, from which its seeds follow; its shards share it [default: the run's id; of
    /// a shard: what the engine of `auto` says, else the git commit]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub run_name: Option<String>,
    #[command(flatten)]
    pub consent: Consent,
}

/// The arguments of `report`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ReportArgs {
    /// Without it: write the report of one run again
    #[command(subcommand)]
    pub what: Option<ReportCommand>,
    /// The run: its directory, or its id under ./roundtrip-runs
    #[arg(value_name = "RUN", default_value = "latest")]
    pub run: Utf8PathBuf,
    /// Also print every edge and every rule
    #[arg(long)]
    pub verbose: bool,
    /// The history to which the run is added [default: history.sqlite beside the run's directory]
    #[arg(long, value_name = "PATH")]
    pub history: Option<Utf8PathBuf>,
    /// Also write a picture of the top of the page, with Chromium
    #[arg(long, value_name = "PNG")]
    pub picture: Option<Utf8PathBuf>,
    /// Compare the runs after this one with it and those before it, or with the runs in a file that
    /// `history export` wrote, whatever was accepted with `history accept` [default: search for
    /// changes]
    #[arg(long, value_name = "RUN|BASELINE")]
    pub against: Option<String>,
    /// How many values of each series to look at, the newest [default: 100]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub last: Option<u32>,
    /// Also plot each series over time, in trend.html beside the report
    #[arg(long)]
    pub trend: bool,
}

/// What `report` does apart from writing the report of one run again.
#[derive(Debug, Clone, Subcommand)]
pub enum ReportCommand {
    /// Make one report of the shards of a run
    Merge(MergeArgs),
}

/// The arguments of `report merge`.
#[derive(Debug, Clone, Args)]
pub struct MergeArgs {
    /// The directory of each shard, or one that holds those of several
    #[arg(value_name = "DIR", required = true)]
    pub dirs: Vec<Utf8PathBuf>,
    /// Directory for the merged run [default: a new one under ./roundtrip-runs]
    #[arg(long, value_name = "DIR")]
    pub out: Option<Utf8PathBuf>,
    /// Also print every edge and every rule
    #[arg(long)]
    pub verbose: bool,
    /// The history to which the run is added [default: history.sqlite beside the run's directory]
    #[arg(long, value_name = "PATH")]
    pub history: Option<Utf8PathBuf>,
}

/// The arguments of `bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Rounds of each measurement
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Directory on the disk to measure; the files made in it are removed
    #[arg(long, value_name = "DIR", default_value = "roundtrip-runs")]
    pub dir: Utf8PathBuf,
    /// Instead show how time and memory grow from a hundred simulated machines to ten thousand
    #[arg(long, conflicts_with_all = ["json", "page", "history"])]
    pub plans: bool,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
    /// Write docs/performance.md
    #[arg(long)]
    pub page: bool,
    /// The history to which the figures are added, unless the host is busy
    #[arg(long, value_name = "PATH", default_value = "roundtrip-runs/history.sqlite")]
    pub history: Utf8PathBuf,
    #[command(flatten)]
    pub consent: Consent,
}

/// The arguments of `clean`.
#[derive(Debug, Clone, Args)]
pub struct CleanArgs {
    /// Also delete run directories under ./roundtrip-runs that are older than this many days
    #[arg(long, value_name = "DAYS", value_parser = value_parser!(u32).range(1..))]
    pub runs: Option<u32>,
    /// Also pack the evidence of scenarios that passed, in runs under ./roundtrip-runs
    #[arg(long)]
    pub pack: bool,
    /// libvirt's URI [default: as for `conformance`]
    #[arg(long, value_name = "URI")]
    pub connect: Option<String>,
    #[command(flatten)]
    pub consent: Consent,
}

impl ConformanceArgs {
    /// One scenario, everything else at its default.
    pub fn only(scenario: &str, consent: Consent) -> Self {
        Self {
            scenario: vec![scenario.to_owned()],
            tier: None,
            rule: Vec::new(),
            filter: None,
            list: false,
            jobs: None,
            out: None,
            keep: false,
            connect: None,
            core: None,
            kills: None,
            mutant: None,
            variant: None,
            profile: None,
            cycles: None,
            seeds: None,
            seed: None,
            verbose: false,
            history: None,
            shard: None,
            run_name: None,
            consent,
        }
    }
}

/// A choice of moments: `all`, a number from 1, or such a number after `@`.
fn kills(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix('@').unwrap_or(text);
    let valid = text == "all" || digits.parse::<u64>().is_ok_and(|number| number > 0);
    if valid { Ok(text.to_owned()) } else { Err("a number from 1, `all`, or `@` and a number".to_owned()) }
}

/// The exit code for what the argument parser has to say: help and version are answers, the rest is
/// wrong usage.
pub fn exit_code(error: &clap::Error) -> u8 {
    if error.use_stderr() { USAGE } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_arguments_are_wrong_usage() {
        for arguments in [
            &["xtask", "conformance", "--tier", "moon"][..],
            &["xtask", "conformance", "--cycles", "0"],
            &["xtask", "conformance", "--seeds", "0"],
            &["xtask", "conformance", "--core", "true", "--kills", "0"],
            &["xtask", "conformance", "--core", "true", "--kills", "@"],
            &["xtask", "conformance", "--kills", "all"],
            &["xtask", "conformance", "--rule", "FO-04", "--tier", "sim"],
            &["xtask", "conformance", "--shard", "0/2"],
            &["xtask", "conformance", "--shard", "3/2"],
            &["xtask", "conformance", "--run-name", ""],
            &["xtask", "clean", "--runs", "0"],
            &["xtask", "report", "--last", "0"],
            &["xtask", "soak", "--cycles", "1"],
            &["xtask", "soak", "latest", "--cycles", "9"],
            &["xtask", "soak", "latest", "--from", "0"],
            &["xtask", "bench", "--rounds", "0"],
            &["xtask", "dance"],
        ] {
            let error = Cli::try_parse_from(arguments).expect_err("a wrong argument");
            assert_eq!(exit_code(&error), USAGE, "{arguments:?}");
        }
    }

    #[test]
    fn asking_for_help_is_no_error() {
        for arguments in [["xtask", "--help"], ["xtask", "--version"]] {
            let answer = Cli::try_parse_from(arguments).expect_err("clap answers by itself");
            assert_eq!(exit_code(&answer), 0, "{arguments:?}");
        }
    }
}
