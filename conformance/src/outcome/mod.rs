//! The result of a run. These types are the schema of `results.json`, version [`SCHEMA`];
//! `conformance/RESULTS.md` explains every field.

mod division;
mod edge;
mod host;
mod older;
mod request;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::profile::Profile;
use crate::rules::{Class, RuleId, Score};
use crate::scenario::Tier;

pub use crate::verdict::Verdict;
pub use division::{DIVISION, Division, Merged, MergedShard, Shard, ShardState};
pub use edge::{
    DiskDigests, DiskEvidence, DiskOutcome, EdgeEvidence, EdgeOutcome, GUEST_BOOTS, Rpo, Rto, RtoStep, Sent,
};
pub use host::HostFacts;
pub use older::{StoredError, from_stored};
pub use request::Request;

/// Version of the schema. It rises when a field changes its meaning or is removed.
pub const SCHEMA: u32 = 2;

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name and version of the suite.
    pub suite: String,
    /// Id of the run.
    pub run: String,
    /// Name of the profile of external facts that the core was judged by.
    pub profile: String,
    /// When the first scenario began, UTC; empty if none did or in results of older suites.
    #[serde(default)]
    pub began: String,
    /// When the report was made, UTC.
    pub reported: String,
    /// What was asked for. Results of older suites lack it.
    #[serde(default)]
    pub request: Request,
    /// Whether these are results of a whole run, of one shard, or of shards that were merged.
    #[serde(default, skip_serializing_if = "Division::is_whole")]
    pub division: Division,
    /// The test host. Of a run that was merged from shards on several hosts: each fact of all of
    /// them, and the least favourable numbers.
    pub host: HostFacts,
    /// The worst verdict of all scenarios.
    pub verdict: Verdict,
    /// Every scenario that began or was asked for.
    pub scenarios: Vec<ScenarioOutcome>,
    /// What is worse than in earlier runs of the history, if the run was compared with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regressions: Vec<String>,
    /// Every rule that was judged, once for each tier that judged it, with its worst result.
    pub rules: Vec<RuleOutcome>,
    /// Every rule of the catalogue that this run did not judge.
    pub not_judged: Vec<NotJudged>,
}

impl Results {
    /// Every regression: what exceeded its time bound, over all scenarios, and what is worse than
    /// in earlier runs.
    pub fn slow(&self) -> impl Iterator<Item = &String> {
        self.scenarios.iter().flat_map(|scenario| &scenario.slow).chain(&self.regressions)
    }

    /// What the run says of the core that was tested, in a few words. A run of measurements alone
    /// tests none.
    #[must_use]
    pub fn conclusion(&self) -> &'static str {
        let tested = self.scenarios.iter().any(|scenario| !scenario.core.is_empty());
        let slower = self.slow().next().is_some();
        match self.verdict {
            Verdict::Pass if matches!(self.division, Division::Shard(_)) => {
                "passed, as one shard: only all shards together show whether the core conforms"
            }
            Verdict::Pass if tested && slower => "conforms, with a regression",
            Verdict::Pass if tested => "conforms",
            Verdict::Pass if slower => "passed, with a regression; no core was tested",
            Verdict::Pass => "passed; no core was tested",
            Verdict::Fail => "does not conform",
            Verdict::Unknown => "nothing can be said: this is not a pass",
            Verdict::Skipped => "nothing was judged: the core lacks what every scenario needs",
        }
    }
}

/// One scenario.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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
    /// The seeds of its simulated cycles, if it runs such.
    #[serde(default)]
    pub seeds: Option<Seeds>,
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
            seeds: None,
        }
    }

    /// Makes unknown what was found broken, because `why` may be the reason, and not the core. What
    /// the oracle found on disks stays, because it needs neither a clock nor a running guest.
    pub(crate) fn take_blame_back(&mut self, why: &str) {
        let not_by_its_disks = |edge: &&mut EdgeOutcome| edge.evidence.objection.is_none();
        let failed = self.edges.iter_mut().filter(|edge| edge.verdict == Verdict::Fail);
        for edge in failed.filter(not_by_its_disks) {
            edge.verdict = Verdict::Unknown;
            edge.why = format!("{}; {why}", edge.why);
        }
        for rule in self.rules.iter_mut().filter(|rule| rule.verdict == Verdict::Fail) {
            let found = format!("{}; {why}", rule.found);
            *rule = RuleOutcome::new(rule.id, rule.tier, Verdict::Unknown, found);
        }
    }
}

/// Consecutive seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seeds {
    /// The first one.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// How fast a guest wrote with the write log and replication on or off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// What was found out about a rule. Everything a reader needs stands here, so that a report can be
/// read without the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

    fn concluded(core: &str, verdict: Verdict, regressions: &[&str]) -> &'static str {
        let mut scenario = ScenarioOutcome::begun("identity", "A look at each stand-in", None);
        scenario.core = core.to_owned();
        let results = Results {
            schema: SCHEMA,
            suite: String::new(),
            run: String::new(),
            profile: String::new(),
            began: String::new(),
            reported: String::new(),
            request: Request::default(),
            division: Division::default(),
            host: HostFacts::default(),
            verdict,
            scenarios: vec![scenario],
            regressions: regressions.iter().map(ToString::to_string).collect(),
            not_judged: Vec::new(),
            rules: Vec::new(),
        };
        results.conclusion()
    }

    #[test]
    fn a_run_that_tested_no_core_does_not_say_that_a_core_conforms() {
        assert_eq!(concluded("built-in 0.1.0", Verdict::Pass, &[]), "conforms");
        assert_eq!(concluded("", Verdict::Pass, &[]), "passed; no core was tested");
        assert_eq!(concluded("", Verdict::Fail, &[]), "does not conform");
    }

    #[test]
    fn a_regression_is_part_of_what_a_pass_says() {
        for (core, wanted) in [("built-in 0.1.0", "conforms, with a"), ("", "passed, with a")] {
            let said = concluded(core, Verdict::Pass, &["recovery time"]);
            assert!(said.starts_with(wanted), "{said}");
        }
        assert_eq!(concluded("built-in 0.1.0", Verdict::Fail, &["recovery time"]), "does not conform");
    }
}
