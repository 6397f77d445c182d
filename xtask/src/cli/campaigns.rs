//! The arguments of the commands that put the suite itself to the test.

use camino::Utf8PathBuf;
use clap::{Args, value_parser};

use super::consent::Consent;
use crate::conformance::scenarios::TierChoice;
use crate::torture::Kind;

/// The arguments of `fuzz`.
#[derive(Debug, Clone, Args)]
pub struct FuzzArgs {
    /// Only these targets [default: all]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = value_parser!(u32).range(1..))]
    pub seconds: u32,
    #[command(flatten)]
    pub consent: Consent,
}

/// The arguments of `torture`.
#[derive(Debug, Clone, Args)]
pub struct TortureArgs {
    /// How many processes to kill, each in a run of its own
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u64).range(1..))]
    pub kills: u64,
    /// Seed of the moments and processes
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Kill runs in memory, or a cycle on guests
    #[arg(long, value_enum, default_value = "sim")]
    pub tier: TierChoice,
    /// Kill runs of this scenario; may be repeated [default: the whole tier in memory,
    /// `vmware-azure` on guests]
    #[arg(long, value_name = "NAME")]
    pub scenario: Vec<String>,
    /// Kill only this process of a run; may be repeated [default: each that there is]
    #[arg(long = "victim", value_name = "PROCESS", value_enum)]
    pub victims: Vec<Kind>,
    /// Kill nothing: run N suites at the same time, and clean up meanwhile
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(2..))]
    pub beside: Option<u64>,
    /// Let every second of these suites run from a clone of this work tree in DIR, which is made if
    /// it is missing
    #[arg(long, value_name = "DIR", requires = "beside")]
    pub checkout: Option<Utf8PathBuf>,
    /// Let the runs test this core, and kill it too
    #[arg(long, value_name = "CMD")]
    pub core: Option<String>,
    /// Directory for the evidence, with a short path [default: a temporary one, which is kept if
    /// something was found]
    #[arg(long, value_name = "DIR")]
    pub out: Option<Utf8PathBuf>,
    /// libvirt's URI [default: as for `conformance`]
    #[arg(long, value_name = "URI")]
    pub connect: Option<String>,
    /// This program runs in a name space of mounts
    #[arg(long, hide = true)]
    pub inside: bool,
    #[command(flatten)]
    pub consent: Consent,
}

/// The arguments of `soak`.
#[derive(Debug, Clone, Args)]
pub struct SoakArgs {
    /// Judge this run, which took place with --cycles: its directory, or its id under
    /// ./roundtrip-runs [default: run now]
    #[arg(
        value_name = "RUN",
        conflicts_with_all = ["scenario", "cycles", "core", "out", "connect"]
    )]
    pub run: Option<Utf8PathBuf>,
    /// The scenario, which must end in the state in which it began
    #[arg(long, value_name = "NAME", default_value = "sim-vmware-azure")]
    pub scenario: String,
    /// How many cycles
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(2..=4096))]
    pub cycles: u32,
    /// The first cycle of which growth is judged [default: after a tenth of them]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=4096))]
    pub from: Option<u32>,
    /// Test this core, as with `conformance`
    #[arg(long, value_name = "CMD|unix:PATH")]
    pub core: Option<String>,
    /// Directory for the evidence [default: a new one under ./roundtrip-runs]
    #[arg(long, value_name = "DIR")]
    pub out: Option<Utf8PathBuf>,
    /// libvirt's URI [default: as for `conformance`]
    #[arg(long, value_name = "URI")]
    pub connect: Option<String>,
    #[command(flatten)]
    pub consent: Consent,
}

/// The arguments of `exhaust`.
#[derive(Debug, Clone, Args)]
pub struct ExhaustArgs {
    /// Run only this case; may be repeated [default: all]
    #[arg(long = "case", value_name = "NAME")]
    pub cases: Vec<String>,
    /// List the cases instead of running them
    #[arg(long)]
    pub list: bool,
    /// Cases in memory, or cases on guests
    #[arg(long, value_enum, default_value = "sim")]
    pub tier: TierChoice,
    /// Run only some amounts of some cases, within a minute
    #[arg(long)]
    pub short: bool,
    /// Directory for the evidence, with a short path [default: a temporary one, which is kept if
    /// something was found]
    #[arg(long, value_name = "DIR")]
    pub out: Option<Utf8PathBuf>,
    /// libvirt's URI [default: as for `conformance`]
    #[arg(long, value_name = "URI")]
    pub connect: Option<String>,
    /// This program runs in a name space of mounts
    #[arg(long, hide = true)]
    pub inside: bool,
    #[command(flatten)]
    pub consent: Consent,
}

/// What `mutants` is told.
#[derive(Debug, Clone, Args)]
pub struct MutantsArgs {
    /// Only these mutants of the matrix; with --generated, those whose name contains one of these
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Judge them by the checks in memory, or a selection by scenarios on real guests
    #[arg(long, value_enum, default_value = "sim", conflicts_with = "generated")]
    pub tier: TierChoice,
    /// Directory for the evidence of scenarios on guests [default: new ones under ./roundtrip-runs]
    #[arg(long, value_name = "DIR", conflicts_with = "generated")]
    pub out: Option<Utf8PathBuf>,
    /// Mutants of the built-in core's source that cargo-mutants generates, judged by the simulated
    /// tier
    #[arg(long)]
    pub generated: bool,
    /// How many generated ones, chosen at random
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = value_parser!(u32).range(1..))]
    pub sample: u32,
    /// Seed of the choice
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub consent: Consent,
}

/// What `variants` is told.
#[derive(Debug, Clone, Args)]
pub struct VariantsArgs {
    /// Only variants with these names
    pub names: Vec<String>,
    /// Only the checks that judge this rule
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,
    #[command(flatten)]
    pub consent: Consent,
}
