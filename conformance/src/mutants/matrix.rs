//! Every mutant, and the rules that it must break.

use super::data_path::{AlterSector, DropExtent, ForgetAddress, SkipHydration, SkipResync, SwapInTime};
use super::interface::InterfaceFault;
use crate::core_under_test::FaultHook;
use crate::rules::ids::*;

/// A core that is faulty on purpose.
#[derive(Debug)]
pub struct Mutant {
    /// Name on the command line.
    pub name: &'static str,
    /// What it does wrong, as the end of a sentence that begins with its name.
    pub does: &'static str,
    /// The rules that checks in memory must find broken. Empty if the fault shows on real guests
    /// only.
    pub breaks: &'static [RuleId],
    pub(super) kind: Kind,
}

/// Where a fault sits.
#[derive(Debug)]
pub(super) enum Kind {
    /// Below the core's interface.
    DataPath(fn() -> Box<dyn FaultHook>),
    /// At the core's interface.
    Interface(InterfaceFault),
}

impl Mutant {
    const fn data_path(
        name: &'static str,
        does: &'static str,
        make: fn() -> Box<dyn FaultHook>,
        breaks: &'static [RuleId],
    ) -> Self {
        Self { name, does, breaks, kind: Kind::DataPath(make) }
    }

    const fn interface(
        fault: InterfaceFault,
        name: &'static str,
        does: &'static str,
        breaks: &'static [RuleId],
    ) -> Self {
        Self { name, does, breaks, kind: Kind::Interface(fault) }
    }

    /// The mutant of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        MUTANTS.iter().find(|mutant| mutant.name == name)
    }

    /// Whether the fault sits at the core's interface, and not below it.
    #[must_use]
    pub fn is_at_interface(&self) -> bool {
        matches!(self.kind, Kind::Interface(_))
    }
}

/// Every mutant.
pub const MUTANTS: &[Mutant] = &[
    Mutant::data_path(
        "drop-extent",
        "leaves one changed extent out of every recovery point",
        || Box::new(DropExtent::default()),
        &[FO_10, HF_05, LC_09, PF_03, RE_09, RP_11],
    ),
    Mutant::data_path(
        "swap-in-time",
        "gives one extent of every recovery point the content that it had one point earlier",
        || Box::new(SwapInTime::default()),
        &[FO_10, LC_09, RP_11],
    ),
    Mutant::data_path(
        "skip-hydration",
        "boots target copies without the drivers that they lack",
        || Box::new(SkipHydration),
        &[HY_08],
    ),
    Mutant::data_path(
        "skip-resync",
        "takes a disk for unchanged whose changes the source can no longer list",
        || Box::new(SkipResync),
        &[],
    ),
    Mutant::data_path(
        "alter-sector",
        "alters one sector of every recovery point",
        || Box::new(AlterSector::default()),
        &[FO_10, LC_09, PF_03],
    ),
    Mutant::data_path(
        "forget-address",
        "makes target machines without the address that was chosen for them",
        || Box::new(ForgetAddress),
        &[],
    ),
    Mutant::interface(
        InterfaceFault::AcceptsAll,
        "accepts-all",
        "answers a request that it refuses with an older job that has ended",
        &[FB_02, HF_14, LC_08, LC_14, PH_01, RE_06, RE_10, RE_25, RP_07, TF_04],
    ),
    Mutant::interface(
        InterfaceFault::RefusalLeavesTrace,
        "refusal-leaves-trace",
        "adds a note to every item once it has refused a request",
        &[FO_18, LC_02, RE_12],
    ),
    Mutant::interface(
        InterfaceFault::WrongErrorCode,
        "wrong-error-code",
        "refuses with an error code that says nothing about the reason",
        &[FB_01, HF_26, PH_02, RE_28, RP_10],
    ),
    Mutant::interface(
        InterfaceFault::TestFailoverDeletesPoints,
        "test-failover-deletes-points",
        "drops the oldest points when a test failover is cleaned up",
        &[TF_08],
    ),
    Mutant::interface(
        InterfaceFault::ForgetsTestFailovers,
        "forgets-test-failovers",
        "never records that a test failover took place",
        &[MO_02, TF_05],
    ),
    Mutant::interface(
        InterfaceFault::MergesPlanGroups,
        "merges-plan-groups",
        "runs all groups of a recovery plan as one",
        &[PL_01],
    ),
    Mutant::interface(
        InterfaceFault::SkipsPlanActions,
        "skips-plan-actions",
        "leaves out the actions of recovery plans",
        &[PL_03, PL_04, TF_10],
    ),
    Mutant::interface(
        InterfaceFault::PlannedBecomesUnplanned,
        "planned-becomes-unplanned",
        "runs a planned failover from the primary side as an unplanned one",
        &[PF_04, PL_07],
    ),
    Mutant::interface(
        InterfaceFault::LeavesSourceRunning,
        "leaves-source-running",
        "does not shut down the source although the request asks for it",
        &[FO_06, FO_07, LC_10],
    ),
    Mutant::interface(
        InterfaceFault::LatestIsLatestProcessed,
        "latest-is-latest-processed",
        "takes latest for latest processed",
        &[RP_02],
    ),
    Mutant::interface(
        InterfaceFault::AlwaysHealthy,
        "always-healthy",
        "reports every item as healthy",
        &[FO_13, IN_02, MO_01],
    ),
    Mutant::interface(
        InterfaceFault::HidesIssues,
        "hides-issues",
        "reports no configuration issue",
        &[MO_03],
    ),
    Mutant::interface(
        InterfaceFault::HidesHydrationStep,
        "hides-hydration-step",
        "leaves the hydration step out of job records",
        &[HY_01, HY_02, HY_03, HY_05, HY_06, TF_09],
    ),
    Mutant::interface(
        InterfaceFault::ReversesJobDirection,
        "reverses-job-direction",
        "reports the opposite direction of every job",
        &[FB_14, LC_08, RE_01],
    ),
    Mutant::interface(
        InterfaceFault::RefusesRetry,
        "refuses-retry",
        "refuses to retry any job",
        &[JO_03, RE_16],
    ),
    Mutant::interface(
        InterfaceFault::HidesTestFailoverJobs,
        "hides-test-failover-jobs",
        "leaves test failovers out of the list of jobs",
        &[MO_04],
    ),
    Mutant::interface(
        InterfaceFault::IgnoresTargetUpdate,
        "ignores-target-update",
        "accepts new target settings and ignores them",
        &[CN_10, FO_17],
    ),
    Mutant::interface(
        InterfaceFault::SkipsCommit,
        "skips-commit",
        "answers a commit with an older job and does nothing",
        &[FB_11, FO_03, FO_04, HF_16, LC_05, PF_06],
    ),
    Mutant::interface(
        InterfaceFault::SkipsChangePoint,
        "skips-change-point",
        "answers a change of recovery point with an older job and does nothing",
        &[FO_02],
    ),
    Mutant::interface(
        InterfaceFault::IgnoresCancel,
        "ignores-cancel",
        "accepts a cancellation and ignores it",
        &[FO_12, HF_19, JO_04],
    ),
    Mutant::interface(
        InterfaceFault::NeverWaitsForCompletion,
        "never-waits-for-completion",
        "completes a failback to Hyper-V without waiting for the operator",
        &[HF_06, HF_08, JO_02],
    ),
    Mutant::interface(
        InterfaceFault::TestsNewestPoint,
        "tests-newest-point",
        "runs every test failover from the newest point",
        &[TF_03],
    ),
    Mutant::interface(
        InterfaceFault::FillsInReprotection,
        "fills-in-reprotection",
        "fills in what a reprotection request leaves out",
        &[RE_25, RE_26],
    ),
    Mutant::interface(
        InterfaceFault::IgnoresSharedPoints,
        "ignores-shared-points",
        "takes each machine's own newest point instead of the one that several machines share",
        &[RP_07, RP_08, RP_09],
    ),
    Mutant::interface(
        InterfaceFault::SkipsPlans,
        "skips-plans",
        "answers failovers and test failovers of plans with an older job and does nothing",
        &[FO_15, PL_05, PL_07],
    ),
    Mutant::interface(
        InterfaceFault::OldestPointIsNewest,
        "oldest-point-is-newest",
        "shows the volumes of the newest point for the oldest one",
        &[RP_20],
    ),
    Mutant::interface(
        InterfaceFault::HidesFailbackPolicy,
        "hides-failback-policy",
        "leaves failback policies out of the list of policies",
        &[PO_01],
    ),
    Mutant::interface(
        InterfaceFault::LooseFailbackPolicy,
        "loose-failback-policy",
        "gives failback policies the longest retention and no server, and accepts changes to them",
        &[PO_02, PO_03, PO_04],
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mutants::InjectedFault;
    use crate::outcome::Verdict;
    use crate::sim;

    /// Those rules of a mutant that no check in memory finds broken.
    fn missed(mutant: &Mutant) -> Vec<RuleId> {
        let fault = InjectedFault::parse(mutant.name).expect(mutant.name);
        let found = sim::run_checks_for(mutant.breaks, &fault, 7);
        let broken = |rule| found.iter().any(|found| found.id == rule && found.verdict == Verdict::Fail);
        mutant.breaks.iter().copied().filter(|rule| !broken(*rule)).collect()
    }

    fn every_one_is_caught(at_interface: bool) {
        for mutant in MUTANTS.iter().filter(|mutant| mutant.is_at_interface() == at_interface) {
            let missed = missed(mutant);
            assert!(missed.is_empty(), "{}: no check finds {missed:?} broken", mutant.name);
        }
    }

    #[test]
    fn every_mutant_at_the_interface_is_caught() {
        every_one_is_caught(true);
    }

    #[test]
    fn every_mutant_below_the_interface_is_caught() {
        every_one_is_caught(false);
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), MUTANTS.len());
    }

    #[test]
    fn every_mutant_at_the_interface_breaks_a_rule() {
        let idle = MUTANTS.iter().find(|mutant| mutant.is_at_interface() && mutant.breaks.is_empty());
        assert!(idle.is_none(), "{:?}", idle.map(|mutant| mutant.name));
    }
}
