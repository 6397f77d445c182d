//! Faults in the registry of a Windows machine.

use super::super::class::MutantClass as Class;
use super::super::data_path::EditsRegistry;
use super::super::mutant::{Kind, Mutant};
use super::super::platform::PlatformFault;
use crate::core_under_test::RegistryEdits;
use crate::rules::ids::*;

/// Makes a mutant that changes other start types than it has to.
macro_rules! edits {
    ($name:expr, $does:expr, $edits:ident, $rules:expr) => {
        Mutant::new(
            Class::Hydration,
            $name,
            $does,
            Kind::DataPath(|| Box::new(EditsRegistry(RegistryEdits::$edits))),
            $rules,
        )
    };
}

pub(super) const MUTANTS: &[Mutant] = &[
    edits!(
        "leaves-the-registry",
        "hydrates Windows machines without a change to their registry (kubev2v/forklift#1029)",
        None,
        &[FO_16, FX_70]
    ),
    edits!(
        "forgets-a-driver",
        "sets four of the five drivers to boot start (Azure/SAP-on-Azure-Scripts-and-Utilities#147)",
        AllButOne,
        &[FX_70]
    ),
    edits!(
        "edits-first-control-set",
        "edits the first control set also of a machine that starts with the second",
        FirstSet,
        &[FX_70]
    ),
    edits!(
        "disables-another-service",
        "disables a service that has nothing to do with where a machine runs",
        OneMore,
        &[HY_10]
    ),
    edits!(
        "hydrates-every-registry",
        "makes the registry of machines ready that need no hydration",
        Everywhere,
        &[HY_07, HY_10]
    ),
    edits!(
        "writes-hibernated",
        "writes to Windows volumes that are hibernated or dirty (apache/cloudstack#11561)",
        AnyState,
        &[FX_71]
    ),
    edits!("tools-start", "lets VMware Tools start in the cloud", ToolsStart, &[FO_16]),
    edits!(
        "tools-stay-disabled",
        "does not enable VMware Tools again when a machine fails back",
        ToolsStayDisabled,
        &[FB_15]
    ),
    Mutant::new(
        Class::Hydration,
        "hydrates-the-point",
        "edits the recovery point, too, when it hydrates a target",
        Kind::Platform(PlatformFault::HydratesThePoint),
        &[HY_08],
    ),
];
