//! How a run was requested: by environment variables, which the command line sets.

use anyhow::{Context as _, Result};
use camino::Utf8PathBuf;

use crate::kills::KillChoice;
use crate::rules::RuleId;
use crate::rules::profile::{Profile, VARIABLE};
use crate::wire_core::CoreChoice;

/// What the id of a run begins with that nobody gave one. Each test of such a run has its own.
pub(crate) const BY_HAND: &str = "by-hand-";

/// What a test needs to know about its run.
#[derive(Clone, Debug)]
pub struct RunContext {
    /// Directory of the run.
    pub dir: Utf8PathBuf,
    /// Id of the run.
    pub id: String,
    /// Name of the run, from which its seeds follow; without one they follow from its id.
    pub name: Option<String>,
    /// Keep the guests of a failed test.
    pub keep: bool,
    /// URI of libvirt, if it is not the default.
    pub connect: Option<String>,
    /// The mutant to test, as `NAME` or `NAME@EDGE`.
    pub mutant: Option<String>,
    /// The sound variant of the core to test, by name.
    pub variant: Option<String>,
    /// How many times to run a scenario that ends where it began, on the same machines.
    pub cycles: u32,
    /// How many simulated cycles to run, each with a seed of its own.
    pub seeds: u64,
    /// The rules of which the checks in memory run; none: of all.
    pub rules: Vec<RuleId>,
    /// The moments of each cycle at which the core is killed.
    pub kills: Option<KillChoice>,
}

/// Simulated cycles of a run that does not ask for another number.
const SEEDS: u64 = 64;
/// The same for a run that kills the core, in which each seed needs many cycles.
const SEEDS_WITH_KILLS: u64 = 1;

impl RunContext {
    /// Whether the core that the run opens is the built-in one as it is. Snapshots of the suite are
    /// those of this core, and say nothing about any other.
    #[must_use]
    pub fn opens_built_in_core(&self) -> bool {
        let built_in = matches!(CoreChoice::selected(), Ok(CoreChoice::BuiltIn));
        built_in && self.mutant.is_none() && self.variant.is_none()
    }

    /// A pseudo-random number that depends only on the run's name, or else its id, and on `what`.
    #[must_use]
    pub fn chance(&self, what: &str) -> u64 {
        let bytes = self.name.as_ref().unwrap_or(&self.id).bytes().chain(what.bytes());
        bytes
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// Reads the environment. Without a run directory there, makes one under `roundtrip-runs`.
    ///
    /// # Errors
    /// A variable is malformed, or the directory cannot be made.
    pub fn from_environment() -> Result<Self> {
        // Checks read the profile without a context; a wrong name must end the run before them.
        Profile::selected().context(VARIABLE)?;
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let id = text("ROUNDTRIP_RUN_ID")
            .unwrap_or_else(|| format!("{BY_HAND}{}", jiff::Timestamp::now().as_millisecond()));
        let dir = text("ROUNDTRIP_RUN_DIR").unwrap_or_else(|| format!("roundtrip-runs/{id}"));
        std::fs::create_dir_all(&dir).with_context(|| format!("make the run directory {dir}"))?;
        let dir = Utf8PathBuf::from(dir).canonicalize_utf8().context("find the run directory")?;
        let cycles = text("ROUNDTRIP_CYCLES").map_or(Ok(1), |n| n.parse());
        let kills = text("ROUNDTRIP_KILLS").map(|choice| choice.parse()).transpose();
        let kills: Option<KillChoice> = kills.context("ROUNDTRIP_KILLS")?;
        let seeds = if kills.is_some() { SEEDS_WITH_KILLS } else { SEEDS };
        let seeds = text("ROUNDTRIP_SEEDS").map_or(Ok(seeds), |n| n.parse());
        let rules = text("ROUNDTRIP_RULES").unwrap_or_default();
        let rule = |id| RuleId::find(id).with_context(|| format!("ROUNDTRIP_RULES: there is no rule {id}"));
        let rules = rules.split(',').filter(|id| !id.is_empty()).map(rule).collect::<Result<_>>()?;
        Ok(Self {
            dir,
            id,
            name: text("ROUNDTRIP_RUN_NAME"),
            keep: text("ROUNDTRIP_KEEP").is_some_and(|value| value != "0"),
            connect: text("ROUNDTRIP_CONNECT"),
            mutant: text("ROUNDTRIP_MUTANT"),
            variant: text("ROUNDTRIP_VARIANT"),
            cycles: cycles.context("ROUNDTRIP_CYCLES is not a number")?,
            seeds: seeds.context("ROUNDTRIP_SEEDS is not a number")?,
            rules,
            kills,
        })
    }
}
