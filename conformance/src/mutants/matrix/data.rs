//! Faults in what arrives: data that is lost, altered or at the wrong place.

use simulator::Capture;

use super::super::class::MutantClass as Class;
use super::super::data_path::{
    AlterSector, ByExtent, DropExtent, IgnoreGrowth, OncePerTransfer, SkipResync, SwapInTime, duplicate,
    flip_bit, halve, in_small_sectors, misplace, shorten, swap_disks, zero,
};
use super::super::mutant::{Kind, Mutant, guests, guests_from};
use super::super::platform::PlatformFault;
use crate::rules::ids::*;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        Class::ReplicationStops,
        "stop-replicating",
        "leaves out everything from the fourth transfer on",
        Kind::DataPath(|| Box::new(ByExtent(|batch, _| batch < 4))),
        &[FB_10, FO_10],
    )
    .and_on_guests(&[guests("physical-azure", &[FO_10]), guests("test-failover-vmware-azure", &[FO_10])]),
    Mutant::new(
        Class::TransferSkipped,
        "drop-extent",
        "leaves one changed extent out of every recovery point",
        Kind::DataPath(|| Box::new(DropExtent::default())),
        &[FO_10, LC_09, PF_03],
    )
    .and_on_guests(&[guests_from("vmware-azure", "failback", &[FO_10, LC_09])]),
    Mutant::new(
        Class::TransferSkipped,
        "skip-resync",
        "takes a disk for unchanged whose changes the source can no longer list",
        Kind::DataPath(|| Box::new(SkipResync)),
        &[EX_R9],
    )
    .and_on_guests(&[guests("qemu-killed", &[EX_R9])]),
    Mutant::new(
        Class::ShortTail,
        "ignore-growth",
        "makes recovery points without the new end of a disk that has grown",
        Kind::DataPath(|| Box::new(IgnoreGrowth)),
        &[EX_R12],
    )
    .and_on_guests(&[guests("disk-growth", &[EX_R12])]),
    Mutant::new(
        Class::TransferSkipped,
        "drop-every-fifth-transfer",
        "leaves out every fifth transfer",
        Kind::DataPath(|| Box::new(ByExtent(|batch, _| !batch.is_multiple_of(5)))),
        &[FO_10],
    )
    .and_on_guests(&[
        guests("physical-azure", &[FO_10, FX_30]),
        guests("test-failover-vmware-azure", &[FO_10]),
    ]),
    Mutant::new(
        Class::TransferSkipped,
        "drop-second-disk",
        "leaves the changes of the second disk out of every recovery point",
        Kind::DataPath(|| Box::new(ByExtent(|_, extent| extent.disk != 1))),
        &[FO_10],
    ),
    Mutant::new(
        Class::TransferSkipped,
        "drop-first-disk",
        "leaves the changes of the first disk out of every recovery point",
        Kind::DataPath(|| Box::new(ByExtent(|_, extent| extent.disk != 0))),
        &[FO_10],
    ),
    Mutant::new(
        Class::TransferSkipped,
        "drop-every-second-transfer",
        "leaves out every second transfer",
        Kind::DataPath(|| Box::new(ByExtent(|batch, _| !batch.is_multiple_of(2)))),
        &[FO_10],
    ),
    Mutant::new(
        Class::LastTransferLost,
        "loses-last-transfer",
        "loses the transfer that follows the shutdown of a source",
        Kind::Platform(PlatformFault::LosesLastTransfer),
        &[FB_10, FO_06, HF_05, HF_11, LC_09, LC_13, PF_03],
    )
    .and_on_guests(&[guests("hyperv-azure", &[FO_10])]),
    Mutant::new(
        Class::ZeroesSkipped,
        "drop-zeroes",
        "leaves extents of zeroes out of every recovery point",
        Kind::DataPath(|| Box::new(ByExtent(|_, extent| extent.data.iter().any(|byte| *byte != 0)))),
        &[FO_10],
    )
    .and_on_guests(&[guests("vmware-azure", &[FO_10])]),
    Mutant::new(
        Class::ShortTail,
        "short-tail",
        "cuts the last sector off every extent",
        Kind::DataPath(|| Box::new(ByExtent(shorten))),
        &[FO_10],
    ),
    Mutant::new(
        Class::DataMisplaced,
        "counts-in-512",
        "takes numbers of sectors of 4096 bytes on the second disk for numbers of sectors of 512 bytes",
        Kind::DataPath(|| Box::new(ByExtent(in_small_sectors))),
        &[FO_10],
    )
    .and_on_guests(&[guests("btrfs-4k-vmware-azure", &[FX_61])]),
    Mutant::new(
        Class::ShortTail,
        "loses-second-table",
        "makes machines whose first disk lacks its last sector, where a GPT has its second copy",
        Kind::Platform(PlatformFault::LosesSecondTable),
        &[],
    )
    .and_on_guests(&[guests("gpt-lvm-vmware-azure", &[FX_60])]),
    Mutant::new(
        Class::DataAltered,
        "swap-in-time",
        "gives one extent of every recovery point the content that it had one point earlier",
        Kind::DataPath(|| Box::new(SwapInTime::default())),
        &[FO_10, LC_09],
    ),
    Mutant::new(
        Class::DataAltered,
        "alter-sector",
        "alters one sector of every recovery point",
        Kind::DataPath(|| Box::new(AlterSector::default())),
        &[FO_10, LC_09, PF_03],
    )
    .and_on_guests(&[guests("test-failover-vmware-azure", &[FO_10, TF_03])]),
    Mutant::new(
        Class::DataAltered,
        "tear-extent",
        "writes only the first half of one extent of every transfer",
        Kind::DataPath(|| Box::new(OncePerTransfer::new(halve))),
        &[FO_10],
    ),
    Mutant::new(
        Class::DataAltered,
        "write-zeroes",
        "writes zeroes instead of the data of one extent of every transfer",
        Kind::DataPath(|| Box::new(OncePerTransfer::new(zero))),
        &[FO_10],
    ),
    Mutant::new(
        Class::DataAltered,
        "flip-bit",
        "inverts one bit of one extent of every transfer",
        Kind::DataPath(|| Box::new(OncePerTransfer::new(flip_bit))),
        &[FO_10],
    )
    .and_on_guests(&[guests("kvm-kvm", &[FO_10])]),
    Mutant::new(
        Class::DataAltered,
        "ignores-flushes",
        "takes points that lack writes which the guest has flushed, and hold later ones",
        Kind::Capture(Capture::Unordered),
        &[FO_10],
    ),
    Mutant::new(
        Class::DataMisplaced,
        "misplace-extent",
        "writes extents a sector below their place",
        Kind::DataPath(|| Box::new(ByExtent(misplace))),
        &[FO_10],
    ),
    Mutant::new(
        Class::DataMisplaced,
        "duplicate-sector",
        "repeats the first sector of every extent in its second sector",
        Kind::DataPath(|| Box::new(ByExtent(duplicate))),
        &[FO_10],
    ),
    Mutant::new(
        Class::DisksSwapped,
        "swap-disks-in-deltas",
        "writes the changes of the first disk to the second, and the reverse",
        Kind::DataPath(|| Box::new(ByExtent(swap_disks))),
        &[FO_10],
    )
    .and_on_guests(&[guests_from("physical-azure", "failover", &[FO_10])]),
    Mutant::new(
        Class::DisksSwapped,
        "swaps-disks",
        "makes target machines with their first two disks exchanged",
        Kind::Platform(PlatformFault::SwapsDisks),
        &[FO_01],
    ),
    Mutant::new(
        Class::DisksSwapped,
        "loses-disk",
        "makes target machines without their last disk",
        Kind::Platform(PlatformFault::LosesDisk),
        &[FO_01],
    ),
];
