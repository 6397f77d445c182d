//! Every variant, what it does differently, and what allows that.

use super::answers::{
    ChecksNamesEarly, ChecksSettingsLater, FailsJobs, MinimumCore, OtherReasons, RefusesEarly,
};
use super::data::{
    ComparesOften, CopiesLoaders, EpochConsistent, EveryControlSet, LargeGrains, MergesAtOnce, NeverMerges,
    OneNic, QuiescesAlways, QuiescesLater,
};
use super::difference::Difference;
use super::health::WarnsFirst;
use super::names::{OtherJobIds, OtherTestMachines, OtherVolumeNames};
use super::pace::{
    LateEvents, LooksOften, MorePoints, MoreSnapshots, RepeatsCalls, ShortWaits, SlowAnswers, SlowJobs,
    SlowStart,
};
use super::views::{
    CancelOffered, DefaultPolicies, FewSteps, JumpingRevisions, MoreSteps, NoHistory, OtherName, OtherOrder,
    OtherStepNames, OtherWords, SmallPlans,
};

/// A sound core that does something differently from the built-in one.
pub struct Variant {
    /// Name on the command line.
    pub name: &'static str,
    /// What it does differently, as the end of a sentence that begins with its name.
    pub does: &'static str,
    /// What allows that: a place in the contract, or a rule.
    pub allowed_by: &'static str,
    pub(super) make: fn() -> Box<dyn Difference>,
}

impl Variant {
    /// The variant of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        VARIANTS.iter().find(|variant| variant.name == name)
    }
}

/// Makes a [`Variant`].
macro_rules! variant {
    ($name:expr, $does:expr, $allowed_by:expr, $differs:expr $(,)?) => {
        Variant { name: $name, does: $does, allowed_by: $allowed_by, make: || Box::new($differs) }
    };
}

/// Every variant.
pub const VARIANTS: &[Variant] = &[
    variant!(
        "other-step-names",
        "gives other names to all steps of jobs that the contract does not name",
        "Step::name: only the steps that the rules ask for have fixed names",
        OtherStepNames,
    ),
    variant!(
        "few-steps",
        "shows only the steps of jobs that the contract names, and one for the whole job",
        "JobView::steps: which steps there are besides is up to the core",
        FewSteps,
    ),
    variant!(
        "more-steps",
        "shows further steps of jobs, before and after those of the built-in core",
        "JobView::steps: which steps there are besides is up to the core",
        MoreSteps,
    ),
    variant!(
        "other-words",
        "words every message and note differently",
        "ErrorCode: tests and callers match on the code, never on the message",
        OtherWords,
    ),
    variant!(
        "other-order",
        "lists items, policies, issues, and what is allowed in another order",
        "ReplicationCore::items, policies; ItemView::allowed, issues; JobView::actions: in any order",
        OtherOrder,
    ),
    variant!(
        "jumping-revisions",
        "raises a job's revision by seven with each change",
        "JobView::revision: raised at every change, by one or more",
        JumpingRevisions,
    ),
    variant!(
        "no-history",
        "shows no progress of steps, and only the last of all resynchronisations",
        "Step::progress: if it is known; ItemView::resynchronisations: a core may drop old ones",
        NoHistory,
    ),
    variant!(
        "cancel-offered",
        "offers the cancellation of a failover while the failover runs",
        "ItemView::allowed: while a job works on the item, what can be asked of that job",
        CancelOffered,
    ),
    variant!(
        "small-plans",
        "allows four groups and twenty items in a plan",
        "PlanLimits: the core's own",
        SmallPlans,
    ),
    variant!(
        "default-policies",
        "has a pair of policies of its own before any is created",
        "ReplicationCore::policies: all policies; only a created one has fixed names (PO-01)",
        DefaultPolicies,
    ),
    variant!(
        "other-name",
        "calls itself by another name and version",
        "Capabilities::name: for reports only",
        OtherName,
    ),
    variant!(
        "slow-answers",
        "answers each request after 0.3 s",
        "ReplicationCore: no method has a time limit but that of the suite",
        SlowAnswers,
    ),
    variant!(
        "late-events",
        "notices each event two seconds late",
        "ReplicationCore::watch_job, watch_points, watch_health: soon after the event",
        LateEvents,
    ),
    variant!(
        "short-waits",
        "ends each wait after five seconds, with an unchanged view",
        "ReplicationCore::watch_job, watch_health: may return earlier, with an unchanged view",
        ShortWaits,
    ),
    variant!(
        "slow-jobs",
        "takes 0.15 s longer for each call to a platform",
        "ReplicationCore: no method has a time limit but that of the suite",
        SlowJobs,
    ),
    variant!(
        "slow-start",
        "waits before it starts a machine: 1 s, or what ROUNDTRIP_SLOW_START_MS says",
        "ReplicationCore: no method has a time limit but that of the suite",
        SlowStart,
    ),
    variant!(
        "repeats-calls",
        "repeats a call to a platform once if it failed",
        "Platform: calls can be repeated",
        RepeatsCalls,
    ),
    variant!(
        "looks-often",
        "looks at machines and infrastructure before each call to a platform",
        "Platform: reading changes nothing",
        LooksOften,
    ),
    variant!(
        "more-snapshots",
        "takes a snapshot that it does not use before each one that it does, and closes it",
        "Platform::open_snapshot: as often as a core wants",
        MoreSnapshots,
    ),
    variant!(
        "more-points",
        "transfers changes twice as often as the policy says",
        "Policy::interval: the longest time between two transfers",
        MorePoints,
    ),
    variant!(
        "other-job-ids",
        "gives ids of another shape to jobs",
        "JobId and all ids: any text",
        OtherJobIds,
    ),
    variant!(
        "other-volume-names",
        "gives other names to the volumes that it creates",
        "Platform::create_volume: names of volumes are the core's own",
        OtherVolumeNames::default(),
    ),
    variant!(
        "other-test-machines",
        "gives other names to the machines of test failovers",
        "ItemView::test_failover: the name is the core's own",
        OtherTestMachines,
    ),
    variant!(
        "large-grains",
        "transfers changes in pieces of 256 KiB once replication has begun",
        "RecoveryPoint::LARGEST_PIECE: bounds only transfers of which a rule asks for differences alone",
        LargeGrains,
    ),
    variant!(
        "compares-often",
        "compares the disks of every fourth transfer instead of asking what has changed",
        "RE-04, HF-18: only the first transfer after a failover has to be one of differences",
        ComparesOften::default(),
    ),
    variant!(
        "epoch-consistent",
        "keeps the order of writes only at the guest's flushes",
        "Crash consistency: any of the writes after the last flush",
        EpochConsistent,
    ),
    variant!(
        "never-merges",
        "merges points only when there are more than the policy keeps",
        "RP-12, RP-13: how long a point can be chosen; when it is merged away is up to the core",
        NeverMerges,
    ),
    variant!(
        "merges-at-once",
        "merges each point as soon as it has expired",
        "RP-12, RP-13: how long a point can be chosen; when it is merged away is up to the core",
        MergesAtOnce,
    ),
    variant!(
        "quiesces-later",
        "takes the first application-consistent point only after the policy's time between two",
        "Policy::app_consistent_every: the first one within this time",
        QuiescesLater,
    ),
    variant!(
        "quiesces-always",
        "makes every point application-consistent if the policy asks for such points",
        "Policy::app_consistent_every: the longest time between two application-consistent points",
        QuiescesAlways,
    ),
    variant!(
        "every-control-set",
        "edits every control set in the registry of a Windows machine",
        "FX-70, HY-10: the control set that the machine starts with; the others may be changed alike",
        EveryControlSet,
    ),
    variant!(
        "copies-loaders",
        "copies boot loaders to where firmware looks for them, and gives no machine a boot entry",
        "MachineSpec::boot_entry: a boot entry, or a copy of the boot loader at the usual path",
        CopiesLoaders,
    ),
    variant!(
        "one-nic",
        "recovers the first network card of a machine only, and does not claim more",
        "Capabilities::several_nics: left out, no rule judges what becomes of further cards",
        OneNic,
    ),
    variant!(
        "warns-first",
        "shows replication that failed as a warning for a minute before it is critical",
        "MO-01: health may pass through Warning on the way to Critical",
        WarnsFirst::default(),
    ),
    variant!(
        "fails-jobs",
        "accepts requests that the built-in core refuses, and lets their jobs fail at once",
        "ReplicationCore: a request that is not allowed is refused, or its job fails and changes nothing",
        FailsJobs::default(),
    ),
    variant!(
        "refuses-early",
        "refuses reprotections whose job fails in the built-in core",
        "ReplicationCore: a request that is not allowed is refused, or its job fails and changes nothing",
        RefusesEarly::default(),
    ),
    variant!(
        "other-reasons",
        "refuses for want of a recovery point, or of a failover that has ended, where that is true as well",
        "ErrorCode: what a code means; a rule names none of several that are true",
        OtherReasons,
    ),
    variant!(
        "checks-names-early",
        "refuses to protect a machine under a name that the target does not allow",
        "FO-18: before it fails over",
        ChecksNamesEarly,
    ),
    variant!(
        "checks-settings-later",
        "takes new target settings and checks them only with the next check of the configuration",
        "ItemView::issues: found by the last check of the configuration",
        ChecksSettingsLater,
    ),
    variant!(
        "minimum",
        "implements protection, test failover, failover and commit, and nothing else",
        "ReplicationCore: every other method may be left out",
        MinimumCore,
    ),
];
