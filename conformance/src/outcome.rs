//! What a run found. These types are the schema of `results.json`, version [`SCHEMA`].

use serde::{Deserialize, Serialize};

use crate::rules::RuleId;

/// Version of the schema; raised when a field changes its meaning or goes.
pub const SCHEMA: u32 = 2;

/// A verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything held.
    Pass,
    /// Nothing can be said: the test host or a guest failed, or evidence is missing. Never a pass.
    Unknown,
    /// A rule was broken.
    Fail,
}

impl ScenarioOutcome {
    /// A scenario that has begun: unknown until it has ended.
    #[must_use]
    pub fn begun(name: &str, title: &str, mutant: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            verdict: Verdict::Unknown,
            why: String::new(),
            core: String::new(),
            mutant,
            ms: 0,
            boots_ms: Vec::new(),
            edges: Vec::new(),
            rules: Vec::new(),
            trace: Vec::new(),
            slow: Vec::new(),
            disks_left: Vec::new(),
            remarks: Vec::new(),
            speeds: Vec::new(),
        }
    }
}

impl Results {
    /// What took longer than its bound, over all scenarios.
    pub fn slow(&self) -> impl Iterator<Item = &String> {
        self.scenarios.iter().flat_map(|scenario| &scenario.slow)
    }
}

impl Verdict {
    /// The worse of two: what failed has failed, whatever else is unknown.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.max(other)
    }
}

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name and version of the suite.
    pub suite: String,
    /// Id of the run.
    pub run: String,
    /// When the report was made, UTC.
    pub reported: String,
    /// The test host.
    pub host: HostFacts,
    /// The worst verdict of all scenarios.
    pub verdict: Verdict,
    /// Every scenario that was asked for.
    pub scenarios: Vec<ScenarioOutcome>,
    /// Every rule that was looked at, over all scenarios.
    pub rules: Vec<RuleOutcome>,
}

/// The test host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Host kernel.
    pub kernel: String,
    /// Processor cores.
    pub cores: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// QEMU's version.
    pub qemu: String,
    /// libvirt's version.
    pub libvirt: String,
    /// The accelerator that boots guests here.
    pub accelerator: String,
    /// Why the faster one does not; empty if it is in use.
    pub accelerator_why: String,
    /// Milliseconds of the trial boot under it.
    pub boot_ms: u64,
    /// Hash of the guest image.
    pub image: String,
}

/// One scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScenarioOutcome {
    /// Name.
    pub name: String,
    /// Title.
    pub title: String,
    /// Verdict: the worst of its edges and rules.
    pub verdict: Verdict,
    /// The first thing that went wrong; empty if nothing did.
    pub why: String,
    /// The core that was tested, by its own words.
    pub core: String,
    /// The fault that was put into the core on purpose.
    pub mutant: Option<String>,
    /// Milliseconds from first to last step.
    pub ms: u64,
    /// Milliseconds of each cold boot of its guests, in order.
    pub boots_ms: Vec<u64>,
    /// Every transition, in order.
    pub edges: Vec<EdgeOutcome>,
    /// Every rule that was looked at.
    pub rules: Vec<RuleOutcome>,
    /// Stages, states and job steps in order, without times.
    pub trace: Vec<String>,
    /// What took longer than its bound: a regression, which is not a broken rule.
    #[serde(default)]
    pub slow: Vec<String>,
    /// Every volume of both sites, looked at when nobody wrote to it any more.
    #[serde(default)]
    pub disks_left: Vec<LeftDisk>,
    /// In what the stand-ins fall short of their description on this host.
    #[serde(default)]
    pub remarks: Vec<String>,
    /// How fast a guest wrote, where a scenario measures that.
    #[serde(default)]
    pub speeds: Vec<Speed>,
}

/// How fast a guest wrote with log and replication on or off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Writes under way at a time.
    pub depth: u32,
    /// Whether the oracle's log was on.
    pub log: bool,
    /// Whether the machine was being replicated.
    pub replication: bool,
    /// Writes a second, of each round.
    pub per_second: Vec<f64>,
    /// The median of what each round's speed is, divided by the same round's with neither on.
    pub ratio: f64,
}

/// A volume as a file: whether it is whole and what it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftDisk {
    /// The stand-in that holds it.
    pub site: String,
    /// The volume.
    pub volume: String,
    /// When it was looked at: `before protection ended` or `left`.
    pub when: String,
    /// The format that it should have.
    pub format: String,
    /// What `qemu-img check` found: `clean`, its complaint, or that the format has nothing to check.
    pub check: String,
    /// Whether that is a pass.
    pub checked: Verdict,
    /// Format and size that `qemu-img info` found in the file.
    pub info: String,
    /// Whether these are the right ones.
    pub readable: Verdict,
}

/// One transition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EdgeOutcome {
    /// `failover`, `reprotect`, `failback`, `reprotect-forward`.
    pub name: String,
    /// Verdict.
    pub verdict: Verdict,
    /// What went wrong; empty if nothing did.
    pub why: String,
    /// The recovered disks before the oracle.
    pub disks: Vec<DiskOutcome>,
    /// What was lost, measured. On an edge that begins replication: what would be lost if the source died now.
    pub rpo: Rpo,
    /// How long it took, measured.
    pub rto: Rto,
    /// The altered sector to which the oracle had to object, and did; `None`: not reached.
    pub flip: Option<String>,
}

/// One recovered disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiskOutcome {
    /// `system`, `data`, …
    pub name: String,
    /// The oracle's class: `exact`, `epoch-consistent`, `torn`, `reordered`, `foreign`, `unknown`.
    pub oracle: String,
    /// The earliest cut that fits: the disk holds the first so many writes.
    pub cut: Option<u64>,
    /// Writes in the log.
    pub of: u64,
    /// Bytes compared.
    pub compared: u64,
    /// The oracle's sentence, with sector and log entry where it objects.
    pub words: String,
    /// What a second, independent reader made of the same disk: `agrees`, or why it was not asked.
    pub second_reader: String,
    /// Files to judge it again, relative to the scenario's directory.
    pub evidence: DiskEvidence,
}

/// Files by which a disk can be judged again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskEvidence {
    /// What the source disk held before the log began.
    pub base: String,
    /// Every write since.
    pub log: String,
    /// The recovered disk.
    pub recovered: String,
    /// Sectors that were not compared, as ranges: first sector and number of sectors.
    pub ignored_sectors: Vec<(u64, u64)>,
}

/// What was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rpo {
    /// Milliseconds from the first lost acknowledgement to the disaster; 0 if nothing was lost.
    pub ms: u64,
    /// Acknowledged records lost.
    pub records: u64,
    /// Writes after the cut, over all disks, acknowledged or not.
    pub writes: u64,
    /// Bytes of those writes.
    pub bytes: u64,
}

/// How long it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rto {
    /// Milliseconds from the trigger to the first verified answer of the service; on an edge that begins
    /// replication: to the first recovery point. What the suite itself cost in between is taken off.
    pub ms: u64,
    /// The same in cold boots of this guest, measured in this run on this host.
    pub boots: f64,
    /// Where the time went.
    pub steps: Vec<RtoStep>,
}

/// A part of a recovery time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtoStep {
    /// What was done.
    pub name: String,
    /// Milliseconds.
    pub ms: u64,
}

/// A rule that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleOutcome {
    /// Id in the catalogue, such as `FO-04`.
    pub id: RuleId,
    /// `real` or `sim`.
    pub tier: String,
    /// Verdict.
    pub verdict: Verdict,
    /// What was found; what was expected is in the catalogue.
    pub found: String,
}
