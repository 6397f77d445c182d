//! The words of the command line.

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, value_parser};

use crate::conformance::scenarios::TierChoice;

/// Roundtrip: proves on real guests what disaster-recovery replication kept.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
#[command(
    after_help = "Exit codes: 0 conforms · 1 a rule failed · 2 a regression, or wrong usage · 3 infrastructure, verdict unknown"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install what is missing on this machine; says first what it will do
    Setup(Consent),
    /// Tell what this machine can do; changes nothing
    Doctor {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run scenarios and report what was proven
    Conformance(ConformanceArgs),
    /// Check formatting, lints, unit tests and one short real cycle
    Test(Consent),
    /// Build guest images, or list those that are built
    Images {
        /// Which of the two
        #[command(subcommand)]
        what: Option<Images>,
    },
    /// Take down what dead runs left behind, and old run directories
    Clean {
        /// Also delete run directories under ./roundtrip-runs older than so many days
        #[arg(long, value_name = "DAYS", value_parser = value_parser!(u32).range(1..))]
        runs: Option<u32>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Measure the built-in core beside qemu-img and nbdcopy, on the same disk in the same run
    Bench(BenchArgs),
    /// Judge deliberately faulty cores, each of which the suite must reject
    Mutants(MutantsArgs),
    /// Draw the core's state machines into docs/states.md
    Diagrams,
    /// Judge the stored evidence of a run again
    Recheck {
        /// The run's directory
        dir: Utf8PathBuf,
    },
}

/// What to do with images.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Images {
    /// Build the image unless it is built
    Build,
    /// List the images that are built
    List,
}

/// Consent given beforehand.
#[derive(Debug, Clone, Default, Args)]
pub struct Consent {
    /// Do not ask before changing this machine (also: CI=true)
    #[arg(long, short)]
    pub yes: bool,
}

/// What `conformance` is told.
#[derive(Debug, Clone, Args)]
pub struct ConformanceArgs {
    /// Only this scenario; may be repeated
    #[arg(long, value_name = "NAME")]
    pub scenario: Vec<String>,
    /// All scenarios of this tier; without it, one representative of each kind
    #[arg(long, value_enum)]
    pub tier: Option<TierChoice>,
    /// Only scenarios that also match this nextest expression
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,
    /// List the scenarios and end
    #[arg(long)]
    pub list: bool,
    /// Scenarios at a time [default: 1 on real guests, one per core in memory]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// Where the evidence goes [default: a new directory under ./roundtrip-runs]
    #[arg(long, value_name = "DIR")]
    pub out: Option<Utf8PathBuf>,
    /// Keep the guests of failed scenarios, and say how to enter them
    #[arg(long)]
    pub keep: bool,
    /// Another libvirt [default: qemu:///system for root, qemu:///session for others]
    #[arg(long, value_name = "URI")]
    pub connect: Option<String>,
    /// Test the suite: run it against this deliberately faulty core
    #[arg(long, value_name = "NAME")]
    pub mutant: Option<String>,
    /// Rounds over the same machines, of scenarios that end where they began
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub cycles: Option<u32>,
    #[command(flatten)]
    pub consent: Consent,
}

/// What `bench` is told.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Rounds of each measurement
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Directory on the disk to measure on; what is made in it is removed
    #[arg(long, value_name = "DIR", default_value = "roundtrip-runs")]
    pub dir: Utf8PathBuf,
    /// Also show how time and memory grow from a hundred simulated machines to a thousand
    #[arg(long)]
    pub plans: bool,
    #[command(flatten)]
    pub consent: Consent,
}

/// What `mutants` is told.
#[derive(Debug, Clone, Args)]
pub struct MutantsArgs {
    /// Mutants of the built-in core's source that cargo-mutants generates, judged by the simulated tier
    #[arg(long, required = true)]
    pub generated: bool,
    /// How many of them, chosen at random
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = value_parser!(u32).range(1..))]
    pub sample: u32,
    /// Seed of the choice
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub consent: Consent,
}

impl ConformanceArgs {
    /// One scenario, everything else as by default.
    pub fn only(scenario: &str, consent: Consent) -> Self {
        Self {
            scenario: vec![scenario.to_owned()],
            tier: None,
            filter: None,
            list: false,
            jobs: None,
            out: None,
            keep: false,
            connect: None,
            mutant: None,
            cycles: None,
            consent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_words_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_words_are_wrong_usage() {
        for words in [
            &["xtask", "conformance", "--tier", "moon"][..],
            &["xtask", "conformance", "--cycles", "0"],
            &["xtask", "clean", "--runs", "0"],
            &["xtask", "bench", "--rounds", "0"],
            &["xtask", "dance"],
        ] {
            let error = Cli::try_parse_from(words).expect_err("not a word of ours");
            assert_eq!(error.exit_code(), i32::from(crate::error::USAGE), "{words:?}");
        }
    }
}
