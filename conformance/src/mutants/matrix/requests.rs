//! Faults in how requests are answered and carried out.

use super::super::class::MutantClass as Class;
use super::super::interface::InterfaceFault;
use super::super::mutant::{Kind, Mutant, guests};
use super::super::platform::PlatformFault;
use crate::rules::ids::*;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        Class::PreconditionIgnored,
        "accepts-all",
        "answers a request that it refuses with an older job that has ended",
        Kind::Interface(InterfaceFault::AcceptsAll),
        &[FB_02, HF_14, LC_08, LC_14, PH_01, RE_06, RE_10, RE_25, RP_07, TF_04],
    ),
    Mutant::new(
        Class::PreconditionIgnored,
        "fills-in-reprotection",
        "fills in what a reprotection request leaves out",
        Kind::Interface(InterfaceFault::FillsInReprotection),
        &[RE_25, RE_26],
    ),
    Mutant::new(
        Class::UnsoundRefusal,
        "refusal-leaves-trace",
        "adds a note to every item once it has refused a request",
        Kind::Interface(InterfaceFault::RefusalLeavesTrace),
        &[LC_02, RE_12],
    ),
    Mutant::new(
        Class::UnsoundRefusal,
        "wrong-error-code",
        "refuses with an error code that says nothing about the reason",
        Kind::Interface(InterfaceFault::WrongErrorCode),
        &[FB_01, HF_26, PH_02, RE_28, RP_10],
    ),
    Mutant::new(
        Class::RequestIgnored,
        "planned-becomes-unplanned",
        "runs a planned failover from the primary side as an unplanned one",
        Kind::Interface(InterfaceFault::PlannedBecomesUnplanned),
        &[PF_04, PL_07],
    ),
    Mutant::new(
        Class::RequestIgnored,
        "refuses-retry",
        "refuses to retry any job",
        Kind::Interface(InterfaceFault::RefusesRetry),
        &[JO_03, RE_16],
    ),
    Mutant::new(
        Class::RequestIgnored,
        "skips-commit",
        "answers a commit with an older job and does nothing",
        Kind::Interface(InterfaceFault::SkipsCommit),
        &[FO_03, FO_04, LC_05, PF_06],
    ),
    Mutant::new(
        Class::RequestIgnored,
        "skips-change-point",
        "answers a change of recovery point with an older job and does nothing",
        Kind::Interface(InterfaceFault::SkipsChangePoint),
        &[FO_02],
    ),
    Mutant::new(
        Class::RequestIgnored,
        "ignores-cancel",
        "accepts a cancellation and ignores it",
        Kind::Interface(InterfaceFault::IgnoresCancel),
        &[FO_12, JO_04],
    ),
    Mutant::new(
        Class::RequestIgnored,
        "never-waits-for-completion",
        "completes a failback to Hyper-V without waiting for the operator",
        Kind::Interface(InterfaceFault::NeverWaitsForCompletion),
        &[HF_08],
    )
    .and_on_guests(&[guests("hyperv-azure", &[HF_08])]),
    Mutant::new(
        Class::RequestIgnored,
        "powers-source-off",
        "powers a machine off before it takes a snapshot of it",
        Kind::Platform(PlatformFault::PowersSourceOff),
        &[HF_06, HF_21, RE_03, TF_02],
    ),
    Mutant::new(
        Class::PlanNotFollowed,
        "merges-plan-groups",
        "runs all groups of a recovery plan as one",
        Kind::Interface(InterfaceFault::MergesPlanGroups),
        &[PL_01],
    ),
    Mutant::new(
        Class::PlanNotFollowed,
        "skips-plan-actions",
        "leaves out the actions of recovery plans",
        Kind::Interface(InterfaceFault::SkipsPlanActions),
        &[PL_03, PL_04, TF_10],
    ),
    Mutant::new(
        Class::PlanNotFollowed,
        "skips-plans",
        "answers failovers and test failovers of plans with an older job and does nothing",
        Kind::Interface(InterfaceFault::SkipsPlans),
        &[FO_15, PL_05, PL_07],
    ),
    Mutant::new(
        Class::SettingsIgnored,
        "ignores-target-update",
        "accepts new target settings and ignores them",
        Kind::Interface(InterfaceFault::IgnoresTargetUpdate),
        &[CN_10, FO_17],
    ),
    Mutant::new(
        Class::SettingsIgnored,
        "hides-failback-policy",
        "leaves failback policies out of the list of policies",
        Kind::Interface(InterfaceFault::HidesFailbackPolicy),
        &[PO_01],
    ),
    Mutant::new(
        Class::SettingsIgnored,
        "loose-failback-policy",
        "gives failback policies the longest retention and no server, and accepts changes to them",
        Kind::Interface(InterfaceFault::LooseFailbackPolicy),
        &[PO_02, PO_03, PO_04, PO_06],
    ),
    Mutant::new(
        Class::PreconditionInvented,
        "refuses-test-points",
        "refuses test failovers to other points than the newest one",
        Kind::Interface(InterfaceFault::RefusesTestPoints),
        &[PH_04],
    ),
    Mutant::new(
        Class::PreconditionInvented,
        "demands-test-failover",
        "refuses to fail a machine over that had no test failover",
        Kind::Interface(InterfaceFault::DemandsTestFailover),
        &[FO_19],
    ),
    Mutant::new(
        Class::PreconditionInvented,
        "demands-reprotection",
        "refuses to fail a Hyper-V machine back without a reprotection",
        Kind::Interface(InterfaceFault::DemandsReprotection),
        &[HF_01, HF_27],
    ),
    Mutant::new(
        Class::RequestIgnored,
        "fails-over-by-itself",
        "fails machines over whose replication is critical",
        Kind::Interface(InterfaceFault::FailsOverByItself),
        &[LC_11],
    ),
    Mutant::new(
        Class::PlanNotFollowed,
        "drops-plan-member",
        "leaves the last machine of a recovery plan out",
        Kind::Interface(InterfaceFault::DropsPlanMember),
        &[FO_15],
    ),
    Mutant::new(
        Class::PlanNotFollowed,
        "reverses-plan",
        "runs the groups of a recovery plan in reverse order",
        Kind::Interface(InterfaceFault::ReversesPlan),
        &[PL_01, PL_05],
    ),
    Mutant::new(
        Class::PlanNotFollowed,
        "skips-manual-steps",
        "leaves out the manual steps of recovery plans",
        Kind::Interface(InterfaceFault::SkipsManualSteps),
        &[PL_04],
    ),
];
