//! The result of a run. These types are the schema of `results.json`, version [`SCHEMA`];
//! `conformance/RESULTS.md` explains every field.

use contract::Millis;
use serde::{Deserialize, Serialize};
use witness::ledger::RecordNumber;

use crate::rules::profile::Profile;
use crate::rules::{Class, RuleId, Score};
use crate::scenario::Tier;

pub use crate::verdict::Verdict;

/// Version of the schema. It rises when a field changes its meaning or is removed.
pub const SCHEMA: u32 = 2;

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name and version of the suite.
    pub suite: String,
    /// Id of the run.
    pub run: String,
    /// Name of the profile of external facts that the core was judged by.
    pub profile: String,
    /// When the report was made, UTC.
    pub reported: String,
    /// The test host.
    pub host: HostFacts,
    /// The worst verdict of all scenarios.
    pub verdict: Verdict,
    /// Every scenario that began or was asked for.
    pub scenarios: Vec<ScenarioOutcome>,
    /// Every rule that was judged, once for each tier that judged it, with its worst result.
    pub rules: Vec<RuleOutcome>,
    /// Every rule of the catalogue that this run did not judge.
    pub not_judged: Vec<NotJudged>,
}

impl Results {
    /// Everything that exceeded its time bound, over all scenarios.
    pub fn slow(&self) -> impl Iterator<Item = &String> {
        self.scenarios.iter().flat_map(|scenario| &scenario.slow)
    }

    /// What the run says of the core that was tested, in a few words. A run of measurements alone
    /// tests none.
    #[must_use]
    pub fn conclusion(&self) -> &'static str {
        let tested = self.scenarios.iter().any(|scenario| !scenario.core.is_empty());
        match self.verdict {
            Verdict::Pass if tested => "conforms",
            Verdict::Pass => "passed; no core was tested",
            Verdict::Fail => "does not conform",
            Verdict::Unknown => "nothing can be said: this is not a pass",
            Verdict::Skipped => "nothing was judged: the core lacks what every scenario needs",
        }
    }
}

/// The test host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Host kernel.
    pub kernel: String,
    /// Number of processor cores.
    pub cores: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// QEMU's version.
    pub qemu: String,
    /// libvirt's version.
    pub libvirt: String,
    /// The accelerator that guests run under.
    pub accelerator: String,
    /// Why it is not KVM; empty if it is.
    pub accelerator_why: String,
    /// Milliseconds of the trial boot under this accelerator.
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
    /// The worst of its edges and of what its rules contribute.
    pub verdict: Verdict,
    /// Why the verdict is not a pass; empty if it is.
    pub why: String,
    /// Name and version of the core, as the core reports them.
    pub core: String,
    /// Name of the profile of external facts that the core was judged by.
    pub profile: String,
    /// The fault that was injected into the core on purpose.
    pub mutant: Option<String>,
    /// Milliseconds from the first step to the last.
    pub ms: u64,
    /// Milliseconds of each cold boot of its guests, in order.
    pub boots_ms: Vec<u64>,
    /// Every transition, in order.
    pub edges: Vec<EdgeOutcome>,
    /// Every rule that was judged.
    pub rules: Vec<RuleOutcome>,
    /// Stages, states and job steps in order, without times.
    pub trace: Vec<String>,
    /// What exceeded its time bound: a regression, but not a broken rule.
    #[serde(default)]
    pub slow: Vec<String>,
    /// Every volume of both sites, inspected once nothing wrote to it any more.
    #[serde(default)]
    pub disks_left: Vec<LeftDisk>,
    /// Where the stand-ins deviate from their description on this host.
    #[serde(default)]
    pub remarks: Vec<String>,
    /// How fast a guest wrote, if the scenario measures that.
    #[serde(default)]
    pub speeds: Vec<Speed>,
}

impl ScenarioOutcome {
    /// The outcome of a scenario that has begun. Its verdict is unknown until it has ended.
    #[must_use]
    pub fn begun(name: &str, title: &str, mutant: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            verdict: Verdict::Unknown,
            why: String::new(),
            core: String::new(),
            profile: Profile::active().name().to_owned(),
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

/// How fast a guest wrote with the write log and replication on or off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Writes in flight at a time.
    pub depth: u32,
    /// Whether the guest's writes were logged for the oracle.
    pub log: bool,
    /// Whether the machine was being replicated.
    pub replication: bool,
    /// Writes per second, for each round.
    pub per_second: Vec<f64>,
    /// The median over all rounds of this speed divided by the speed of the same round with
    /// neither log nor replication.
    pub ratio: f64,
}

/// A volume, inspected as an image file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftDisk {
    /// The stand-in that holds it.
    pub site: String,
    /// The volume.
    pub volume: String,
    /// When it was inspected: `before protection ended` or `left`.
    pub when: String,
    /// The format that it must have.
    pub format: String,
    /// What `qemu-img check` found: `clean`, its complaint, or that the format has nothing to
    /// check.
    pub check: String,
    /// Whether `check` is as required.
    pub checked: Verdict,
    /// Format and size that `qemu-img info` found in the file.
    pub info: String,
    /// Whether `info` is as required.
    pub readable: Verdict,
}

/// One transition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EdgeOutcome {
    /// `failover`, `reprotect`, `failback`, `reprotect-forward`.
    pub name: String,
    /// Verdict.
    pub verdict: Verdict,
    /// Why the verdict is not a pass; empty if it is.
    pub why: String,
    /// The oracle's verdict on each recovered disk.
    pub disks: Vec<DiskOutcome>,
    /// The data that was lost, as measured. On an edge that begins replication: what would be lost
    /// if the source failed at its end.
    pub rpo: Rpo,
    /// How long recovery took, as measured.
    pub rto: Rto,
    /// The sectors that were altered to test the oracle, which reported them; `None` if the edge
    /// failed before.
    pub flip: Option<String>,
    /// What was found about all disks together. Results of older suites lack it.
    #[serde(default)]
    pub evidence: EdgeEvidence,
}

impl EdgeOutcome {
    /// An edge that needs a capability that the core does not have.
    #[must_use]
    pub fn skipped(name: &str, why: &str) -> Self {
        Self {
            name: name.to_owned(),
            verdict: Verdict::Skipped,
            why: why.to_owned(),
            disks: Vec::new(),
            rpo: Rpo::default(),
            rto: Rto::default(),
            flip: None,
            evidence: EdgeEvidence::default(),
        }
    }
}

/// What the oracle found about the disks of an edge together, and what it takes to find that again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeEvidence {
    /// The last ledger record before the write logs began; `None` if no disk was stored, as in the
    /// simulated tier.
    pub initial_record: Option<RecordNumber>,
    /// Names of the disks that were judged, in boot order.
    pub disks: Vec<String>,
    /// The highest ledger record before which none is missing on the disks; `None` if a disk has no
    /// exact place in the write order.
    pub contiguous: Option<RecordNumber>,
    /// For a machine of a replication group: the highest record of its neighbour that it had seen.
    pub seen: Option<RecordNumber>,
    /// Whether the disks hold every write of their logs.
    pub complete: bool,
    /// Writes of the logs that the disks lack.
    pub lost_writes: u64,
    /// Bytes of those writes.
    pub lost_bytes: u64,
    /// The oracle's objection to the disks, if it has one.
    pub objection: Option<String>,
}

/// One recovered disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiskOutcome {
    /// `system`, `data`, …
    pub name: String,
    /// The oracle's class: `exact`, `epoch-consistent`, `torn`, `reordered`, `foreign`, `unknown`,
    /// or `wrong-size` for a disk that is not as large as the one that was replicated.
    pub oracle: String,
    /// The number of writes that the disk holds, counted from the first one of the log; the
    /// smallest number that fits. An epoch-consistent disk lacks some after its last flush.
    pub cut: Option<u64>,
    /// Writes in the log.
    pub of: u64,
    /// Bytes compared.
    pub compared: u64,
    /// The oracle's finding as a sentence. It names sector and write where the disk is wrong.
    pub words: String,
    /// Whether a second, independent reader `agrees`, or why it did not read the disk.
    pub second_reader: String,
    /// The files from which the disk can be judged again, relative to the scenario's directory.
    pub evidence: DiskEvidence,
}

/// The files from which a disk can be judged again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskEvidence {
    /// What the source disk held before the log began.
    pub base: String,
    /// The log of every write since then.
    pub log: String,
    /// The recovered disk.
    pub recovered: String,
    /// Files of the boot partition that hydration may have edited.
    #[serde(default)]
    pub editable_files: Vec<String>,
    /// Sectors that were not compared because edits of these files explain them, as ranges: first
    /// sector and number of sectors.
    pub ignored_sectors: Vec<(u64, u64)>,
    /// What the files held when they were judged. Results of older suites lack it.
    #[serde(default)]
    pub digests: Option<DiskDigests>,
}

/// BLAKE3 digests of the files that a disk was judged by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskDigests {
    /// The base.
    pub base: String,
    /// The writes that the log held at that time. The log may have grown since.
    pub log: String,
    /// The recovered disk.
    pub recovered: String,
}

/// The data that was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rpo {
    /// Milliseconds from the first lost acknowledgement to the disaster; 0 if nothing was lost.
    pub ms: u64,
    /// Acknowledged records that were lost.
    pub records: u64,
    /// Writes after the cut, over all disks, acknowledged or not.
    pub writes: u64,
    /// Bytes of those writes.
    pub bytes: u64,
    /// The last acknowledged record when the source stopped; `None` if that was not measured.
    #[serde(default)]
    pub acknowledged: Option<RecordNumber>,
    /// The last record that survived; `None` if that was not measured.
    #[serde(default)]
    pub survived: Option<RecordNumber>,
    /// Milliseconds from the moment of the recovery point, as the core states it, to the disaster:
    /// the loss that the core claims. 0 for a switchover, which claims to lose nothing; `None` if
    /// nothing was claimed.
    #[serde(default)]
    pub claimed_ms: Option<u64>,
}

impl Rpo {
    /// By how much the measured loss may exceed the claimed one. A core may read a clock of its own
    /// next to its snapshot, and clocks are converted.
    pub const TOLERANCE: Millis = Millis(500);

    /// FO-10: why the measured loss contradicts the claimed one; `None` if it does not.
    #[must_use]
    pub fn claim_objection(&self) -> Option<String> {
        let claimed = self.claimed_ms?;
        (self.ms > claimed + Self::TOLERANCE.0).then(|| {
            format!(
                "{} of acknowledged writes were lost, and the recovery point claims {}; {} more are tolerated",
                Millis(self.ms),
                Millis(claimed),
                Self::TOLERANCE
            )
        })
    }
}

/// How long a recovery took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rto {
    /// Milliseconds from the trigger to the first verified answer of the service; on an edge that
    /// begins replication: to the first recovery point. The time that the suite itself took in
    /// between is subtracted.
    pub ms: u64,
    /// The recovery time divided by the time of a cold boot of this guest in this run.
    pub boots: f64,
    /// How the time was spent.
    pub steps: Vec<RtoStep>,
}

/// One part of a recovery time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtoStep {
    /// What was done in that time.
    pub name: String,
    /// Milliseconds.
    pub ms: u64,
}

/// What was found out about a rule. Everything a reader needs stands here, so that a report can be
/// read without the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleOutcome {
    /// Id in the catalogue, such as `FO-04`.
    pub id: RuleId,
    /// What the rule demands, in one sentence.
    pub title: String,
    /// Guarantee, documented limitation, advice, or about the suite's own stand-ins.
    pub class: Class,
    /// The tier that judged it.
    pub tier: Tier,
    /// Whether the core did what the rule says.
    pub verdict: Verdict,
    /// What that means for a core: advice and limitations never fail a run.
    pub score: Score,
    /// What the check expected to find.
    pub expected: String,
    /// What the check found.
    pub found: String,
    /// The capability that the rule needs and the core does not have, if it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
}

impl RuleOutcome {
    /// An outcome that is scored by the rule's class. What was expected is the catalogue's
    /// evidence for the rule.
    #[must_use]
    pub fn new(id: RuleId, tier: Tier, verdict: Verdict, found: impl Into<String>) -> Self {
        let rule = id.rule();
        Self {
            id,
            title: rule.title.clone(),
            class: rule.class,
            tier,
            verdict,
            score: Score::of(rule.class, verdict),
            expected: rule.evidence.clone(),
            found: found.into(),
            needs: None,
        }
    }

    /// How bad the outcome is: first for the rule, so that what is known about it is never replaced
    /// by what is unknown; then for the run.
    pub(crate) fn severity(&self) -> (Verdict, Verdict) {
        (self.verdict, self.score.verdict())
    }
}

impl std::fmt::Display for RuleOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, title, expected, found, .. } = self;
        write!(f, "{id} {title} Expected: {expected} Found: {found}")
    }
}

/// A rule of the catalogue that a run did not judge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotJudged {
    /// Id in the catalogue.
    pub id: RuleId,
    /// What the rule demands, in one sentence.
    pub title: String,
    /// Why no check of the suite judges it; empty if a check does, which this run left out.
    pub unchecked: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concluded(core: &str, verdict: Verdict) -> &'static str {
        let mut scenario = ScenarioOutcome::begun("identity", "A look at each stand-in", None);
        scenario.core = core.to_owned();
        let results = Results {
            schema: SCHEMA,
            suite: String::new(),
            run: String::new(),
            profile: String::new(),
            reported: String::new(),
            host: HostFacts::default(),
            verdict,
            scenarios: vec![scenario],
            not_judged: Vec::new(),
            rules: Vec::new(),
        };
        results.conclusion()
    }

    #[test]
    fn a_loss_beyond_the_claimed_one_is_an_objection_outside_the_tolerance() {
        let objects = |ms, claimed_ms| Rpo { ms, claimed_ms, ..Rpo::default() }.claim_objection().is_some();
        assert!(!objects(1_500, Some(1_000)) && objects(1_501, Some(1_000)));
        assert!(objects(501, Some(0)) && !objects(0, Some(0)) && !objects(9_000, None));
    }

    #[test]
    fn a_run_that_tested_no_core_does_not_say_that_a_core_conforms() {
        assert_eq!(concluded("built-in 0.1.0", Verdict::Pass), "conforms");
        assert_eq!(concluded("", Verdict::Pass), "passed; no core was tested");
        assert_eq!(concluded("", Verdict::Fail), "does not conform");
    }
}
