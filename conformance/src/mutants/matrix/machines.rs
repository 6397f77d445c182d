//! Faults in what is made, started, stopped, written and removed at the sites.

use super::super::class::MutantClass as Class;
use super::super::data_path::{ForgetAddress, SkipHydration};
use super::super::interface::InterfaceFault;
use super::super::mutant::{Kind, Mutant, guests};
use super::super::platform::PlatformFault;
use super::super::views;
use super::super::wrong_choices::{
    ConfusesCards, LosesLoader, leave_second_card_in_production, lose_second_card, swap_cards,
};
use crate::core_under_test::BootEntries;
use crate::rules::ids::*;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        Class::DisksSwapped,
        "short-disk",
        "makes machines whose last disk is empty and one byte short",
        Kind::Platform(PlatformFault::ShortDisk),
        &[FO_01],
    ),
    Mutant::new(
        Class::RequestIgnored,
        "shuts-source-down",
        "shuts the source down and sends its last data although the request does not ask for that",
        Kind::Interface(InterfaceFault::ShutsSourceDown),
        &[FO_06, RP_03],
    ),
    Mutant::new(
        Class::TestFailoverLeaks,
        "keeps-machines",
        "never deletes a machine, not even that of a test failover",
        Kind::Platform(PlatformFault::KeepsMachines),
        &[FB_11, HF_16, TF_06],
    )
    .and_on_guests(&[guests("test-failover-vmware-azure", &[TF_06])]),
    Mutant::new(
        Class::TestFailoverLeaks,
        "tests-in-production",
        "connects test failovers to the production network",
        Kind::Platform(PlatformFault::TestsInProduction),
        &[TF_04],
    ),
    Mutant::new(
        Class::BothSidesRun,
        "leaves-source-running",
        "does not shut down the source although the request asks for it",
        Kind::Interface(InterfaceFault::LeavesSourceRunning),
        &[FO_06, FO_07, LC_10],
    ),
    Mutant::new(
        Class::BothSidesRun,
        "cloud-source-runs",
        "does not shut down the cloud machine on failback, so that both sides run",
        Kind::Platform(PlatformFault::CloudSourceRuns),
        &[FB_06, LC_10],
    )
    .and_on_guests(&[guests("vmware-azure", &[FB_06, LC_10]), guests("hyperv-azure", &[FB_06, LC_10])]),
    Mutant::new(
        Class::Hydration,
        "skip-hydration",
        "boots target copies without the drivers that they lack",
        Kind::DataPath(|| Box::new(SkipHydration)),
        &[FO_09, FO_15, HY_08],
    )
    .and_on_guests(&[guests("hydration", &[FO_01, HY_08])]),
    Mutant::new(
        Class::Hydration,
        "leaves-the-loader",
        "leaves the boot loader where only the source's firmware variables look for it (vatesfr/xen-orchestra#6054)",
        Kind::DataPath(|| Box::new(LosesLoader(BootEntries::OnlyEntries))),
        &[FX_62],
    )
    .and_on_guests(&[guests("boot-entry-vmware-azure", &[FX_62])]),
    Mutant::new(
        Class::Hydration,
        "forgets-boot-entries",
        "gives machines that it makes no boot entry, and copies boot loaders in a cloud only",
        Kind::DataPath(|| Box::new(LosesLoader(BootEntries::OnlyInClouds))),
        &[FX_62],
    ),
    Mutant::new(
        Class::Hydration,
        "hides-hydration-step",
        "leaves the hydration step out of job records",
        Kind::Interface(InterfaceFault::HidesHydrationStep),
        &[HY_01, HY_02, HY_03, HY_05, HY_06, TF_09],
    ),
    Mutant::new(
        Class::CloudCopyKept,
        "skips-failback-commit",
        "answers the commit of a failback with an older job, and keeps the cloud machine",
        Kind::Interface(InterfaceFault::SkipsFailbackCommit),
        &[FB_11, HF_16],
    ),
    Mutant::new(
        Class::ReplicationAfterEnd,
        "replicates-forever",
        "goes on taking snapshots of a machine after its failover, its commit and its cancellation",
        Kind::Platform(PlatformFault::ReplicatesForever),
        &[FO_11, FO_12, LC_05, LC_06],
    ),
    Mutant::new(
        Class::WrongTarget,
        "forget-address",
        "makes target machines without the address that was chosen for them",
        Kind::DataPath(|| Box::new(ForgetAddress)),
        &[CN_10],
    ),
    Mutant::new(
        Class::WrongTarget,
        "loses-second-card",
        "makes machines with their first network card only",
        Kind::DataPath(|| Box::new(ConfusesCards(lose_second_card))),
        &[FX_65],
    )
    .and_on_guests(&[guests("two-nics-test-failover", &[FX_65])]),
    Mutant::new(
        Class::WrongTarget,
        "swaps-cards",
        "gives each of two network cards the network and the address of the other one (libguestfs/virt-v2v#99)",
        Kind::DataPath(|| Box::new(ConfusesCards(swap_cards))),
        &[FX_65],
    ),
    Mutant::new(
        Class::TestFailoverLeaks,
        "second-card-in-production",
        "leaves the second network card of a test failover in the production network",
        Kind::DataPath(|| Box::new(ConfusesCards(leave_second_card_in_production))),
        &[FX_65, TF_04],
    )
    .and_on_guests(&[guests("two-nics-test-failover", &[FX_65, TF_04])]),
    Mutant::new(
        Class::WrongTarget,
        "keeps-snapshots",
        "does not merge the snapshots of the machine that a reprotection writes to",
        Kind::Platform(PlatformFault::KeepsSnapshots),
        &[RE_09],
    ),
    Mutant::new(
        Class::BothSidesRun,
        "leaves-original-running",
        "does not switch off the original when it reprotects",
        Kind::Platform(PlatformFault::LeavesOriginalRunning),
        &[RE_02],
    )
    .and_on_guests(&[guests("vmware-uefi-azure", &[RE_02])]),
    Mutant::new(
        Class::NothingBooted,
        "needs-every-site",
        "starts no machine while another site does not answer",
        Kind::Platform(PlatformFault::NeedsEverySite),
        &[FO_09],
    )
    .and_on_guests(&[guests("vmware-azure", &[FO_09])]),
    Mutant::new(
        Class::WrongTarget,
        "opens-guest-firewall",
        "opens the firewall inside every target machine",
        Kind::Platform(PlatformFault::OpensGuestFirewall),
        &[],
    )
    .and_on_guests(&[guests("networks", &[CN_02])]),
    Mutant::new(
        Class::WrongTarget,
        "disables-guest-ssh",
        "disables the SSH server inside every target machine",
        Kind::Platform(PlatformFault::DisablesGuestSsh),
        &[],
    )
    .and_on_guests(&[guests("networks", &[CN_02, CN_03, CN_04])]),
    Mutant::new(
        Class::NothingBooted,
        "starts-nothing",
        "makes target machines and does not start them",
        Kind::Platform(PlatformFault::StartsNothing),
        &[FO_01],
    )
    .and_on_guests(&[guests("physical-azure", &[FO_01])]),
    Mutant::new(
        Class::BothSidesRun,
        "source-ends-late",
        "takes a shutdown for done some seconds before it is",
        Kind::Platform(PlatformFault::SourceEndsLate),
        &[FB_06, LC_10, PF_01],
    ),
    Mutant::new(
        Class::BootedTooEarly,
        "transfers-after-start",
        "goes on transferring after it has started the original",
        Kind::Platform(PlatformFault::TransfersAfterStart),
        &[FB_07],
    ),
    Mutant::new(
        Class::BootedTooEarly,
        "opens-disks-of-running-original",
        "opens the disks of the original while that still runs",
        Kind::Platform(PlatformFault::OpensDisksOfRunningOriginal),
        &[RE_02],
    ),
    Mutant::new(
        Class::RequestIgnored,
        "kills-source",
        "powers a machine off instead of shutting it down",
        Kind::Platform(PlatformFault::KillsSource),
        &[FO_06, PF_01],
    )
    // The first failover there must fail, because the guest refuses to shut down.
    .and_on_guests(&[guests("hyperv-azure", &[PF_04])]),
    Mutant::new(
        Class::CloudCopyKept,
        "skips-clean-up",
        "answers the clean-up of a test failover with an older job and does nothing",
        Kind::Interface(InterfaceFault::SkipsCleanUp),
        &[MO_02, TF_06],
    ),
    Mutant::new(
        Class::CloudCopyKept,
        "deletes-cloud-copy-early",
        "deletes the cloud machine before the failback is committed",
        Kind::Platform(PlatformFault::DeletesCloudCopyEarly),
        &[FB_12],
    ),
    Mutant::new(
        Class::WrongTarget,
        "makes-new-machine",
        "makes a new machine on failback although the original exists",
        Kind::Platform(PlatformFault::MakesNewMachine),
        &[FB_09, RE_04],
    ),
    Mutant::new(
        Class::ReplicationStops,
        "stops-in-test-failovers",
        "takes no snapshots while a test failover lasts",
        Kind::Platform(PlatformFault::StopsInTestFailovers),
        &[TF_01],
    ),
    Mutant::new(
        Class::StateForgotten,
        "stops-when-reopened",
        "does not replicate any more what it replicated before it was opened",
        Kind::Platform(PlatformFault::StopsWhenReopened),
        &[EX_C1],
    ),
    Mutant::new(
        Class::ReplicationStops,
        "stops-after-outage",
        "does not replicate any more once a snapshot has failed",
        Kind::Platform(PlatformFault::StopsAfterOutage),
        &[IN_01, IN_02, MO_01],
    ),
    Mutant::new(
        Class::SilentFullCopy,
        "transfers-everything",
        "destroys what the replica has before it synchronises, so that everything is transferred",
        Kind::Platform(PlatformFault::TransfersEverything),
        &[HF_07, HF_09, HF_18, RE_04],
    )
    .and_on_guests(&[guests("azure-azure", &[RE_04])]),
    Mutant::new(
        Class::SilentFullCopy,
        "downloads-differences",
        "synchronises differences where a full download was asked for",
        Kind::Interface(InterfaceFault::DownloadsDifferences),
        &[HF_10],
    ),
    Mutant::new(
        Class::Hydration,
        "hydrates-silently",
        "edits the system disk of every target machine and says nothing about it",
        Kind::Platform(PlatformFault::HydratesSilently),
        &[FO_10],
    )
    .and_on_guests(&[guests("azure-azure", &[FO_01, HY_08])]),
    Mutant::new(
        Class::Hydration,
        "shows-hydration-always",
        "shows a hydration step in every job",
        Kind::JobView(views::show_hydration),
        &[HY_04, HY_07],
    ),
    Mutant::new(
        Class::ForeignDiskWritten,
        "writes-foreign-disk",
        "writes the disks of another machine at its site when it fails back",
        Kind::Platform(PlatformFault::WritesForeignDisk),
        &[PL_02],
    ),
    Mutant::new(
        Class::WrongTarget,
        "ignores-datastore",
        "makes new disks in another datastore than the one that is named",
        Kind::Interface(InterfaceFault::DefaultDatastore),
        &[RE_26],
    ),
    Mutant::new(
        Class::WrongTarget,
        "ignores-master-target",
        "uses the first master target whichever is named",
        Kind::Interface(InterfaceFault::DefaultMasterTarget),
        &[IN_03],
    ),
    Mutant::new(
        Class::WrongTarget,
        "mixes-plan-settings",
        "reprotects each machine of a plan by the settings of another one",
        Kind::Interface(InterfaceFault::MixesPlanSettings),
        &[IN_03],
    ),
    Mutant::new(
        Class::RequestIgnored,
        "ignores-alternate-host",
        "ignores the host that a failback names",
        Kind::Interface(InterfaceFault::IgnoresAlternateHost),
        &[HF_22],
    ),
];
