//! Faults that products had, each named with the public report of one. The rules are those of the
//! area FX.

use super::super::class::MutantClass as Class;
use super::super::data_path::{
    ByExtent, FirstExtentOnly, SkipResync, Unflushed, round_down, swap_data_disks, wrap_offsets,
    zero_rest_of_block,
};
use super::super::interface::InterfaceFault;
use super::super::mutant::{Kind, Mutant};
use super::super::platform::PlatformFault;
use super::super::views;
use crate::core_under_test::Flushes;
use crate::rules::ids::*;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        Class::ZeroesSkipped,
        "skip-zeroes",
        "leaves extents of zeroes out of every transfer but the first (openzfs/zfs#4996)",
        Kind::DataPath(|| {
            Box::new(ByExtent(|batch, extent| batch < 2 || extent.data.iter().any(|byte| *byte != 0)))
        }),
        &[FX_01],
    ),
    Mutant::new(
        Class::ShortTail,
        "round-down",
        "leaves out what follows the last whole 64 KiB of a disk (vexxhost/migratekit#53)",
        Kind::DataPath(|| Box::new(ByExtent(round_down))),
        &[FX_02],
    ),
    Mutant::new(
        Class::DisksSwapped,
        "swap-data-disks",
        "exchanges the second and the third disk after the first transfer (apache/cloudstack#13922)",
        Kind::DataPath(|| Box::new(ByExtent(swap_data_disks))),
        &[FX_03],
    ),
    Mutant::new(
        Class::DataAltered,
        "zero-rest-of-block",
        "writes zeroes over the part of a block of 128 KiB before a change (vatesfr/xen-orchestra#10164)",
        Kind::DataPath(|| Box::new(ByExtent(zero_rest_of_block))),
        &[FX_04],
    ),
    Mutant::new(
        Class::TransferSkipped,
        "first-extent-only",
        "transfers only the first changed extent of each disk (vmware/pyvmomi#224)",
        Kind::DataPath(|| Box::new(FirstExtentOnly::default())),
        &[FX_05],
    ),
    Mutant::new(
        Class::FalseReport,
        "hide-empty-points",
        "shows no point of a transfer without changes (vatesfr/xen-orchestra#2635)",
        Kind::ItemView(views::hide_points_without_changes),
        &[FX_06],
    ),
    Mutant::new(
        Class::DataMisplaced,
        "wrap-at-2-tib",
        "takes offsets modulo 2 TiB (bareos/bareos#2009)",
        Kind::DataPath(|| Box::new(ByExtent(wrap_offsets))),
        &[FX_07],
    ),
    Mutant::new(
        Class::WriteCacheIgnored,
        "never-flush",
        "never flushes what it writes to a replica (cloud-hypervisor/cloud-hypervisor#8624)",
        Kind::DataPath(|| Box::new(Unflushed(Flushes::None))),
        &[FX_08],
    ),
    Mutant::new(
        Class::WriteCacheIgnored,
        "flush-one-of-four",
        "writes to each disk over four connections and flushes one (NetworkBlockDevice/nbd#43)",
        Kind::DataPath(|| Box::new(Unflushed(Flushes::FirstOfFour))),
        &[FX_08],
    ),
    Mutant::new(
        Class::WrongPoint,
        "uses-next-point",
        "takes the point after the one that is named, as if that had expired (longhorn/longhorn#6750)",
        Kind::Interface(InterfaceFault::UsesNextPoint),
        &[FX_09],
    ),
    Mutant::new(
        Class::PointsKeptOrDeleted,
        "pins-tested-chains",
        "merges no points any more once a test failover was made (zrepl/zrepl#288)",
        Kind::Platform(PlatformFault::PinsTestedChains),
        &[FX_10],
    ),
    Mutant::new(
        Class::TransferSkipped,
        "trusts-one-tracker",
        "takes disks for unchanged of which the source names no changes (abbbi/virtnbdbackup#240)",
        Kind::DataPath(|| Box::new(SkipResync)),
        &[FX_12],
    ),
    Mutant::new(
        Class::WrongPoint,
        "latest-by-date",
        "takes the point with the latest date for the latest one (jimsalterjrs/sanoid#155)",
        Kind::Interface(InterfaceFault::LatestByDate),
        &[FX_13],
    ),
    Mutant::new(
        Class::RequestIgnored,
        "ends-healthy-only",
        "ends protection only while replication works (PegaProx/project-pegaprox#563)",
        Kind::Interface(InterfaceFault::EndsHealthyOnly),
        &[FX_11],
    ),
];
