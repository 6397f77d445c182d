//! Faults in recovery points: which one is used, and what becomes of it.

use super::super::class::MutantClass as Class;
use super::super::interface::InterfaceFault;
use super::super::mutant::{Kind, Mutant, guests};
use super::super::platform::PlatformFault;
use super::super::views;
use super::super::wrong_choices::DriftingPeriods;
use crate::rules::ids::*;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        Class::WrongPoint,
        "latest-is-latest-processed",
        "takes latest for latest processed",
        Kind::Interface(InterfaceFault::LatestIsLatestProcessed),
        &[RP_02],
    ),
    Mutant::new(
        Class::WrongPoint,
        "tests-newest-point",
        "runs every test failover from the newest point",
        Kind::Interface(InterfaceFault::TestsNewestPoint),
        &[TF_03],
    ),
    Mutant::new(
        Class::WrongPoint,
        "ignores-shared-points",
        "takes each machine's own newest point instead of the one that several machines share",
        Kind::Interface(InterfaceFault::IgnoresSharedPoints),
        &[RP_07, RP_08, RP_09],
    ),
    Mutant::new(
        Class::WrongPoint,
        "drifting-periods",
        "thins points out by periods that move with the present, so that none grows old (jollyjinx/ZFS-TimeMachine#16)",
        Kind::DataPath(|| Box::new(DriftingPeriods)),
        &[FX_64],
    ),
    Mutant::new(
        Class::WrongGroupMember,
        "group-not-together",
        "takes the shared points of a group one machine after another",
        Kind::Platform(PlatformFault::GroupNotTogether),
        &[FB_05, RP_11],
    ),
    Mutant::new(
        Class::QuiesceSkipped,
        "skips-quiesce",
        "takes application-consistent points without quiescing the applications",
        Kind::Platform(PlatformFault::SkipsQuiesce),
        &[RP_19, FB_04],
    )
    .and_on_guests(&[guests("test-failover-at-rest-vmware-azure", &[RP_19])]),
    Mutant::new(
        Class::PointsKeptOrDeleted,
        "test-failover-deletes-points",
        "drops the oldest points when a test failover is cleaned up",
        Kind::Interface(InterfaceFault::TestFailoverDeletesPoints),
        &[TF_08],
    ),
    Mutant::new(
        Class::PointsKeptOrDeleted,
        "keeps-volumes",
        "never deletes the volume of a recovery point",
        Kind::Platform(PlatformFault::KeepsVolumes),
        &[FO_04, FX_40],
    ),
    Mutant::new(
        Class::WrongPoint,
        "custom-is-newest",
        "uses the newest processed point instead of the one that is named",
        Kind::Interface(InterfaceFault::CustomIsNewest),
        &[FO_01, FO_02, RP_01, TF_03],
    ),
    Mutant::new(
        Class::WrongPoint,
        "processed-is-latest",
        "takes latest processed for latest",
        Kind::Interface(InterfaceFault::ProcessedIsLatest),
        &[RP_04],
    ),
    Mutant::new(
        Class::WrongPoint,
        "app-consistent-is-newest",
        "uses the newest processed point instead of the newest application-consistent one",
        Kind::Interface(InterfaceFault::AppConsistentIsNewest),
        &[FB_04, RP_06],
    )
    .and_on_guests(&[guests("test-failover-at-rest-vmware-azure", &[RP_06])]),
    Mutant::new(
        Class::WrongPoint,
        "latest-is-oldest",
        "fails over to the oldest point when asked for the latest",
        Kind::Interface(InterfaceFault::LatestIsOldest),
        &[FO_08, RP_02, RP_05],
    ),
    Mutant::new(
        Class::WrongGroupMember,
        "swaps-group-members",
        "replicates the disks of the first two machines of a group as each other's",
        Kind::Platform(PlatformFault::SwapsGroupMembers),
        &[RP_11],
    ),
    Mutant::new(
        Class::WrongGroupMember,
        "shares-every-point",
        "shows every point as shared with other machines",
        Kind::ItemView(views::share_every_point),
        &[RP_11],
    ),
    Mutant::new(
        Class::WrongGroupMember,
        "groups-share-one-moment",
        "shows the same moment for the points of all groups",
        Kind::ItemView(views::share_one_moment),
        &[PL_06],
    ),
    Mutant::new(
        Class::PointModified,
        "writes-into-older-point",
        "writes the changes of a point into the point before it",
        Kind::Platform(PlatformFault::WritesIntoOlderPoint),
        &[RP_20],
    ),
    Mutant::new(
        Class::PointModified,
        "loses-merged-sector",
        "loses a sector of a point's changes when it merges the point into an older one",
        Kind::Platform(PlatformFault::LosesMergedSector),
        &[FX_30],
    ),
    Mutant::new(
        Class::PointModified,
        "tests-on-the-point",
        "starts test failovers from the disks of the point itself, not from copies of them",
        Kind::Platform(PlatformFault::TestsOnThePoint),
        &[TF_07],
    )
    // Where hydration is due, the machine would lack it and not come up.
    .and_on_guests(&[guests("test-failover-kvm-kvm", &[TF_07])]),
    Mutant::new(
        Class::PointsKeptOrDeleted,
        "halves-retention",
        "deletes points after half of their retention",
        Kind::Interface(InterfaceFault::HalvesRetention),
        &[RP_12, RP_13],
    ),
    Mutant::new(
        Class::SettingsIgnored,
        "doubles-interval",
        "makes points half as often as the policy says",
        Kind::Interface(InterfaceFault::DoublesInterval),
        &[TF_01, RP_15],
    ),
    Mutant::new(
        Class::PointsKeptOrDeleted,
        "hides-points-after-failover",
        "shows no other point than the chosen one until commit",
        Kind::ItemView(views::hide_other_points),
        &[FO_05],
    ),
    Mutant::new(
        Class::RpoUnderstated,
        "understates-rpo",
        "shows its newest points half a minute newer than they are",
        Kind::ItemView(views::date_points_later),
        &[FO_10],
    )
    .and_on_guests(&[guests("physical-azure", &[FO_10])]),
    Mutant::new(
        Class::RpoUnderstated,
        "misdates-received-points",
        "shows received points two minutes older than they are until they are processed",
        Kind::ItemView(views::date_received_points_earlier),
        &[RP_15],
    ),
    Mutant::new(
        Class::RpoUnderstated,
        "overstates-rpo",
        "shows its points two minutes older than they are",
        Kind::ItemView(views::date_points_earlier),
        &[FO_08, FO_10, PF_02, RP_18],
    ),
    Mutant::new(
        Class::WrongPoint,
        "fails-back-to-app-consistent",
        "fails back to the newest application-consistent point instead of the latest one",
        Kind::Interface(InterfaceFault::FailsBackToAppConsistent),
        &[RP_17],
    ),
    Mutant::new(
        Class::WrongGroupMember,
        "stops-sharing",
        "takes no more points of a group at one moment after the first few",
        Kind::Platform(PlatformFault::StopsSharing),
        &[FO_10],
    ),
];
