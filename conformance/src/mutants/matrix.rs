//! Every mutant, and the rules that it must break.

use super::data_path::{
    AlterSector, ByExtent, DropExtent, ForgetAddress, IgnoreGrowth, OncePerTransfer, SkipHydration,
    SkipResync, SwapInTime, duplicate, flip_bit, halve, misplace, shorten, swap_disks, zero,
};
use super::interface::InterfaceFault;
use super::platform::PlatformFault;
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
    /// Between the core and its platforms.
    Platform(PlatformFault),
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

    const fn platform(
        fault: PlatformFault,
        name: &'static str,
        does: &'static str,
        breaks: &'static [RuleId],
    ) -> Self {
        Self { name, does, breaks, kind: Kind::Platform(fault) }
    }

    /// The mutant of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        MUTANTS.iter().find(|mutant| mutant.name == name)
    }

    /// Whether the fault needs the built-in core's hook.
    #[must_use]
    pub fn needs_hook(&self) -> bool {
        matches!(self.kind, Kind::DataPath(_))
    }
}

/// Every mutant.
pub const MUTANTS: &[Mutant] = &[
    Mutant::data_path(
        "drop-extent",
        "leaves one changed extent out of every recovery point",
        || Box::new(DropExtent::default()),
        &[FO_10, LC_09, PF_03],
    ),
    Mutant::data_path(
        "swap-in-time",
        "gives one extent of every recovery point the content that it had one point earlier",
        || Box::new(SwapInTime::default()),
        &[FO_10, LC_09],
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
        "ignore-growth",
        "makes recovery points without the new end of a disk that has grown",
        || Box::new(IgnoreGrowth),
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
        &[LC_02, RE_12],
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
        &[FO_03, FO_04, LC_05, PF_06],
    ),
    Mutant::interface(
        InterfaceFault::SkipsFailbackCommit,
        "skips-failback-commit",
        "answers the commit of a failback with an older job, and keeps the cloud machine",
        &[FB_11, HF_16],
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
        &[FO_12, JO_04],
    ),
    Mutant::interface(
        InterfaceFault::NeverWaitsForCompletion,
        "never-waits-for-completion",
        "completes a failback to Hyper-V without waiting for the operator",
        &[HF_08],
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
    Mutant::data_path(
        "stop-replicating",
        "leaves out everything from the fourth transfer on",
        || Box::new(ByExtent(|batch, _| batch < 4)),
        &[FO_10],
    ),
    Mutant::data_path(
        "drop-every-fifth-transfer",
        "leaves out every fifth transfer",
        || Box::new(ByExtent(|batch, _| !batch.is_multiple_of(5))),
        &[FO_10],
    ),
    Mutant::data_path(
        "drop-zeroes",
        "leaves extents of zeroes out of every recovery point",
        || Box::new(ByExtent(|_, extent| extent.data.iter().any(|byte| *byte != 0))),
        &[FO_10],
    ),
    Mutant::data_path(
        "short-tail",
        "cuts the last sector off every extent",
        || Box::new(ByExtent(shorten)),
        &[FO_10],
    ),
    Mutant::data_path(
        "tear-extent",
        "writes only the first half of one extent of every transfer",
        || Box::new(OncePerTransfer::new(halve)),
        &[FO_10],
    ),
    Mutant::data_path(
        "misplace-extent",
        "writes extents a sector below their place",
        || Box::new(ByExtent(misplace)),
        &[FO_10],
    ),
    Mutant::data_path(
        "duplicate-sector",
        "repeats the first sector of every extent in its second sector",
        || Box::new(ByExtent(duplicate)),
        &[FO_10],
    ),
    Mutant::data_path(
        "swap-disks-in-deltas",
        "writes the changes of the first disk to the second, and the reverse",
        || Box::new(ByExtent(swap_disks)),
        &[FO_10],
    ),
    Mutant::data_path(
        "drop-second-disk",
        "leaves the changes of the second disk out of every recovery point",
        || Box::new(ByExtent(|_, extent| extent.disk != 1)),
        &[FO_10],
    ),
    Mutant::data_path(
        "drop-first-disk",
        "leaves the changes of the first disk out of every recovery point",
        || Box::new(ByExtent(|_, extent| extent.disk != 0)),
        &[FO_10],
    ),
    Mutant::data_path(
        "drop-every-second-transfer",
        "leaves out every second transfer",
        || Box::new(ByExtent(|batch, _| !batch.is_multiple_of(2))),
        &[FO_10],
    ),
    Mutant::data_path(
        "write-zeroes",
        "writes zeroes instead of the data of one extent of every transfer",
        || Box::new(OncePerTransfer::new(zero)),
        &[FO_10],
    ),
    Mutant::data_path(
        "flip-bit",
        "inverts one bit of one extent of every transfer",
        || Box::new(OncePerTransfer::new(flip_bit)),
        &[FO_10],
    ),
    Mutant::platform(
        PlatformFault::CloudSourceRuns,
        "cloud-source-runs",
        "does not shut down the cloud machine on failback, so that both sides run",
        &[FB_06, LC_10],
    ),
    Mutant::platform(
        PlatformFault::SkipsQuiesce,
        "skips-quiesce",
        "takes application-consistent points without quiescing the applications",
        &[RP_19, FB_04],
    ),
    Mutant::platform(
        PlatformFault::KeepsVolumes,
        "keeps-volumes",
        "never deletes the volume of a recovery point",
        &[FO_04],
    ),
    Mutant::platform(
        PlatformFault::KeepsMachines,
        "keeps-machines",
        "never deletes a machine, not even that of a test failover",
        &[TF_06],
    ),
    Mutant::platform(
        PlatformFault::SwapsDisks,
        "swaps-disks",
        "makes target machines with their first two disks exchanged",
        &[FO_01],
    ),
    Mutant::platform(
        PlatformFault::LosesDisk,
        "loses-disk",
        "makes target machines without their last disk",
        &[FO_01],
    ),
    Mutant::platform(
        PlatformFault::TestsInProduction,
        "tests-in-production",
        "connects test failovers to the production network",
        &[TF_04],
    ),
    Mutant::platform(
        PlatformFault::GroupNotTogether,
        "group-not-together",
        "takes the shared points of a group one machine after another",
        &[RP_11],
    ),
    Mutant::platform(
        PlatformFault::KeepsSnapshots,
        "keeps-snapshots",
        "does not merge the snapshots of the machine that a reprotection writes to",
        &[RE_09],
    ),
    Mutant::platform(
        PlatformFault::LosesLastTransfer,
        "loses-last-transfer",
        "loses the transfer that follows the shutdown of a source",
        &[FO_06, HF_05, LC_09, PF_03],
    ),
    Mutant::platform(
        PlatformFault::ReplicatesForever,
        "replicates-forever",
        "goes on taking snapshots of a machine after its failover, its commit and its cancellation",
        &[FO_11, FO_12, LC_05, LC_06],
    ),
    Mutant::platform(
        PlatformFault::PowersSourceOff,
        "powers-source-off",
        "powers a machine off before it takes a snapshot of it",
        &[HF_06, RE_03, TF_02],
    ),
];

#[cfg(test)]
mod tests;
