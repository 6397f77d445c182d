//! Faults that products had at the sites that they drive, each named with the public report of one.

use super::super::class::MutantClass as Class;
use super::super::field::FieldFault;
use super::super::mutant::{Kind, Mutant};
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
];
