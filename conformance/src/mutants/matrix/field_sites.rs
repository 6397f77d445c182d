//! Faults that products had at the sites that they drive, each named with the public report of one.

use super::super::class::MutantClass as Class;
use super::super::data_path::{FullForEver, SkipResync};
use super::super::field::FieldFault;
use super::super::mutant::{Kind, Mutant};
use super::super::views;
use crate::rules::ids::*;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        Class::PointsKeptOrDeleted,
        "stuck-merge",
        "merges no volume any more once a merge has failed half-way (apache/cloudstack#14030)",
        Kind::Field(FieldFault::StuckMerge),
        &[FX_14, FX_15],
    ),
    Mutant::new(
        Class::TestFailoverLeaks,
        "ignores-deletion-errors",
        "takes what could not be deleted for deleted (adminsyspro/proxcenter-ui#929)",
        Kind::Field(FieldFault::IgnoresDeletionErrors),
        &[FX_16],
    ),
    Mutant::new(
        Class::NothingBooted,
        "ignores-start-errors",
        "takes a machine for started whose start was refused (PegaProx/project-pegaprox#413)",
        Kind::Field(FieldFault::IgnoresStartErrors),
        &[FX_17],
    ),
    Mutant::new(
        Class::QuiesceSkipped,
        "labels-unquiesced",
        "calls points application-consistent that could not be quiesced (kubevirt/kubevirt#14096)",
        Kind::Field(FieldFault::LabelsUnquiesced),
        &[FX_18],
    ),
    Mutant::new(
        Class::FalseReport,
        "remembers-machines",
        "commits a machine that is gone, by its memory of it (kubev2v/forklift-documentation#274)",
        Kind::Field(FieldFault::RemembersMachines),
        &[FX_19],
    ),
    Mutant::new(
        Class::TransferSkipped,
        "resumes-with-hole",
        "takes the first disk of an interrupted full copy for copied (ceph/ceph#39155)",
        Kind::Field(FieldFault::ResumesWithHole),
        &[FX_20],
    ),
    Mutant::new(
        Class::WrongTarget,
        "ends-with-the-machine",
        "removes the machine in the cloud when its protection ends (RamenDR/ramen#1473)",
        Kind::Field(FieldFault::EndsWithTheMachine),
        &[FX_22],
    ),
    Mutant::new(
        Class::WrongTarget,
        "clears-the-way",
        "removes a machine that has the name of one that it makes (PegaProx/project-pegaprox#413)",
        Kind::Field(FieldFault::ClearsTheWay),
        &[FX_24],
    ),
    Mutant::new(
        Class::FalseReport,
        "silence-is-success",
        "takes the silence of a site for success (longhorn/longhorn#11778)",
        Kind::Field(FieldFault::SilenceIsSuccess),
        &[FX_21],
    ),
    Mutant::new(
        Class::PointModified,
        "runs-on-the-point",
        "starts machines from the disks of a recovery point itself (adminsyspro/proxcenter-ui#943)",
        Kind::Field(FieldFault::RunsOnThePoint),
        &[FX_23],
    ),
    Mutant::new(
        Class::FalseReport,
        "hides-split-brain",
        "says nothing of an old machine that ran until the reprotection (PegaProx/project-pegaprox#806)",
        Kind::JobView(views::hide_warnings_of_reprotection),
        &[FX_25],
    ),
    Mutant::new(
        Class::DataAltered,
        "keeps-old-side",
        "takes the old machine's disks for the newer ones when it reprotects (LINBIT/drbd#145)",
        Kind::Field(FieldFault::KeepsOldSide),
        &[FX_26],
    ),
    Mutant::new(
        Class::DisksSwapped,
        "ignores-new-disk",
        "knows only the disks that a machine had at first (MicrosoftDocs/azure-docs#30516)",
        Kind::Field(FieldFault::IgnoresNewDisk),
        &[FX_27],
    ),
    Mutant::new(
        Class::TransferSkipped,
        "trusts-old-change-ids",
        "takes disks for unchanged that were put back to an earlier state (VMware KB on reverting a tracked machine)",
        Kind::DataPath(|| Box::new(SkipResync)),
        &[FX_28],
    ),
    Mutant::new(
        Class::FalseReport,
        "clock-never-goes-back",
        "reads a clock that stands still when the host's goes back (zrepl/zrepl#32)",
        Kind::Field(FieldFault::ClockNeverGoesBack),
        &[FX_29],
    ),
    Mutant::new(
        Class::PointsKeptOrDeleted,
        "drops-points-at-resync",
        "drops the points from before a resynchronisation (jimsalterjrs/sanoid#558)",
        Kind::ItemView(views::hide_points_before_resync),
        &[FX_32],
    ),
    Mutant::new(
        Class::TransferSkipped,
        "reads-top-only",
        "reads disks that have snapshots without what lies below (ceph/ceph#55892)",
        Kind::Field(FieldFault::ReadsTopOnly),
        &[FX_31],
    ),
    Mutant::new(
        Class::Hydration,
        "takes-hydration-back",
        "takes its edits of the system disk back once the machine is off (VeeamHub/moov#23)",
        Kind::Field(FieldFault::TakesHydrationBack),
        &[FX_33],
    ),
    Mutant::new(
        Class::SilentFullCopy,
        "full-for-ever",
        "transfers whole disks once a source has not known what had changed (vatesfr/xen-orchestra#8713)",
        Kind::DataPath(|| Box::new(FullForEver::default())),
        &[FX_34],
    ),
    Mutant::new(
        Class::FalseReport,
        "shows-earlier-times",
        "shows times of the way out for the points of the way back (RamenDR/ramen#2811)",
        Kind::ItemView(views::show_times_of_earlier_direction),
        &[FX_35],
    ),
];
