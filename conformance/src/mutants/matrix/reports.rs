//! Faults in what the core shows.

use super::super::class::MutantClass as Class;
use super::super::interface::InterfaceFault;
use super::super::mutant::{Kind, Mutant, guests};
use super::super::views;
use crate::rules::ids::*;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        Class::FalseReport,
        "forgets-test-failovers",
        "never records that a test failover took place",
        Kind::Interface(InterfaceFault::ForgetsTestFailovers),
        &[MO_02, TF_05],
    )
    .and_on_guests(&[guests("test-failover-vmware-azure", &[MO_02])]),
    Mutant::new(
        Class::FalseReport,
        "always-healthy",
        "reports every item as healthy",
        Kind::Interface(InterfaceFault::AlwaysHealthy),
        &[FO_13, IN_02, MO_01],
    )
    .and_on_guests(&[guests("faults", &[MO_01])]),
    Mutant::new(
        Class::FalseReport,
        "hides-issues",
        "reports no configuration issue",
        Kind::Interface(InterfaceFault::HidesIssues),
        &[MO_03],
    ),
    Mutant::new(
        Class::FalseReport,
        "reverses-job-direction",
        "reports the opposite direction of every job",
        Kind::Interface(InterfaceFault::ReversesJobDirection),
        &[FB_14, HF_28, LC_08, RE_01],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-test-failover-jobs",
        "leaves test failovers out of the list of jobs",
        Kind::Interface(InterfaceFault::HidesTestFailoverJobs),
        &[MO_04],
    )
    .and_on_guests(&[guests("test-failover-vmware-azure", &[MO_04])]),
    Mutant::new(
        Class::FalseReport,
        "oldest-point-is-newest",
        "shows the volumes of the newest point for the oldest one",
        Kind::Interface(InterfaceFault::OldestPointIsNewest),
        &[RP_20],
    ),
    Mutant::new(
        Class::FalseReport,
        "failed-is-completed",
        "reports failed jobs as completed",
        Kind::JobView(views::complete_failed),
        &[FO_18, PF_04, RE_14],
    ),
    Mutant::new(
        Class::FalseReport,
        "warning-is-completed",
        "reports jobs without their warnings",
        Kind::JobView(views::hide_warnings),
        &[FO_07, LC_10],
    ),
    Mutant::new(
        Class::FalseReport,
        "cancelled-is-completed",
        "reports cancelled jobs as completed",
        Kind::JobView(views::complete_cancelled),
        &[FO_12, JO_04],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-completion-action",
        "does not offer to complete a failback that waits for that",
        Kind::JobView(views::hide_completion),
        &[JO_02],
    )
    .and_on_guests(&[guests("hyperv-azure", &[JO_02])]),
    Mutant::new(
        Class::FalseReport,
        "offers-completion-always",
        "offers to complete every job",
        Kind::JobView(views::offer_completion),
        &[JO_02],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-cancel-action",
        "does not offer to cancel any job",
        Kind::JobView(views::hide_cancel),
        &[JO_04],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-retry-action",
        "does not offer to retry any job",
        Kind::JobView(views::hide_retry),
        &[JO_03],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-resume-action",
        "does not offer to resume a plan that waits for a person",
        Kind::JobView(views::hide_resume),
        &[PL_04],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-step-times",
        "does not say how long the steps of a job took",
        Kind::JobView(views::hide_step_times),
        &[FO_14, HY_09, JO_01],
    ),
    Mutant::new(
        Class::FalseReport,
        "false-job-times",
        "reports that every job began an hour before it was asked for",
        Kind::JobView(views::begin_earlier),
        &[JO_01],
    ),
    Mutant::new(
        Class::FalseReport,
        "false-plan-times",
        "counts the time of manual steps as the plan's own",
        Kind::JobView(views::swap_plan_times),
        &[PL_08],
    ),
    Mutant::new(
        Class::FalseReport,
        "plan-members-always-done",
        "reports every machine of a plan as done",
        Kind::JobView(views::finish_members),
        &[FO_15, PL_07],
    ),
    Mutant::new(
        Class::FalseReport,
        "wrong-job-kind",
        "reports planned failovers as unplanned, and the reverse",
        Kind::JobView(views::exchange_kinds),
        &[FB_14, FO_14, PL_07],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-processing-step",
        "does not show that received data was processed",
        Kind::JobView(views::hide_processing),
        &[RP_02],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-merge-step",
        "does not show that snapshots were merged",
        Kind::JobView(views::hide_merge),
        &[RE_09],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-creation-step",
        "does not show that a machine was made",
        Kind::JobView(views::hide_creation),
        &[RE_05],
    ),
    Mutant::new(
        Class::FalseReport,
        "false-bytes",
        "reports that every point needed no bytes",
        Kind::ItemView(views::report_no_bytes),
        &[MO_06],
    ),
    Mutant::new(
        Class::FalseReport,
        "false-active-side",
        "shows the other side as active while a commit is pending",
        Kind::ItemView(views::show_other_side),
        &[LC_04, LC_12],
    )
    .and_on_guests(&[guests("physical-azure", &[LC_04])]),
    Mutant::new(
        Class::FalseReport,
        "shows-committed-early",
        "shows a failover as committed when it is not",
        Kind::ItemView(views::show_committed),
        &[HF_15, LC_01, LC_07],
    )
    .and_on_guests(&[guests("physical-azure", &[LC_07])]),
    Mutant::new(
        Class::FalseReport,
        "shows-stopped-as-protected",
        "shows machines as protected whose replication has stopped",
        Kind::ItemView(views::show_protected),
        &[FO_12, LC_05, LC_06],
    ),
    Mutant::new(
        Class::FalseReport,
        "offers-everything",
        "offers every operation in every state",
        Kind::ItemView(views::offer_everything),
        &[FO_13, FO_21, HF_04, HF_17, LC_02],
    ),
    Mutant::new(
        Class::FalseReport,
        "offers-nothing",
        "offers no operation in any state",
        Kind::ItemView(views::offer_nothing),
        &[HF_16, HF_20, LC_02, LC_07],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-incomplete-synchronisation",
        "does not show that a synchronisation was interrupted",
        Kind::ItemView(views::hide_incomplete),
        &[HF_19],
    ),
    Mutant::new(
        Class::FalseReport,
        "synchronisation-stays-incomplete",
        "shows every machine as incompletely synchronised",
        Kind::ItemView(views::show_incomplete),
        &[HF_20],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-received-points",
        "does not show points before they are processed",
        Kind::ItemView(views::hide_received),
        &[RP_15],
    ),
    Mutant::new(
        Class::FalseReport,
        "wrong-machine-name",
        "shows another machine on the primary side",
        Kind::ItemView(views::rename_machine),
        &[MO_06],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-chosen-point",
        "does not show which point was failed over to",
        Kind::ItemView(views::hide_chosen),
        &[RP_17],
    ),
    Mutant::new(
        Class::FalseReport,
        "wrong-policy-in-force",
        "shows the outward policy in both directions",
        Kind::ItemView(views::show_outward_policy),
        &[RE_27],
    ),
];
