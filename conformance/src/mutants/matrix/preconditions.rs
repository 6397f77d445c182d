//! Preconditions of requests: each ignored by one mutant, and most of them invented by another.

use contract::ErrorCode;

use super::super::class::MutantClass as Class;
use super::super::mutant::{Kind, Mutant};
use crate::rules::ids::*;

/// Makes a mutant for each precondition: the last part of its name, the code of the refusal, and
/// the rules that demand it.
macro_rules! mutants_of_preconditions {
    ($class:ident, $prefix:literal, $does:literal, $kind:ident, [$($name:literal $code:ident $breaks:expr;)*]) => {
        &[$(Mutant::new(
            Class::$class,
            concat!($prefix, $name),
            concat!($does, " `", $name, "`"),
            Kind::$kind(ErrorCode::$code),
            $breaks,
        )),*]
    };
}

/// Each accepts what has to be refused.
pub(super) const IGNORED: &[Mutant] = mutants_of_preconditions! {
    PreconditionIgnored, "ignores-", "accepts a request that has to be refused by", Ignores, [
        "not-allowed-in-state" NotAllowedInState &[FO_03, HF_03, HF_04, HF_17, LC_02, LC_06, LC_14, RE_24];
        "wrong-direction" WrongDirection &[LC_08];
        "already-protected" AlreadyProtected &[LC_02];
        "busy" Busy &[FB_01, LC_02, LC_03];
        "bad-request" BadRequest &[PF_05, RP_10, TF_04];
        "point-expired" PointExpired &[RP_14];
        "unknown-id" UnknownId &[RP_01];
        "app-consistency-disabled" AppConsistencyDisabled &[RP_06];
        "multi-vm-needs-group" MultiVmNeedsGroup &[RP_07];
        "illegal-name" IllegalName &[FO_18];
        "too-many-disks" TooManyDisks &[FO_18];
        "only-through-plan" OnlyThroughPlan &[LC_02];
        "group-mixes-os" GroupMixesOs &[RE_10];
        "group-mixes-master-targets" GroupMixesMasterTargets &[RE_12];
        "configuration-server-disconnected" ConfigurationServerDisconnected &[RE_06];
        "machine-not-registered" MachineNotRegistered &[RE_07];
        "process-server-not-given" ProcessServerNotGiven &[RE_25, RE_29];
        "process-server-unknown" ProcessServerUnknown &[IN_01];
        "process-server-disconnected" ProcessServerDisconnected &[IN_05];
        "private-link-down" PrivateLinkDown &[IN_02];
        "port-blocked" PortBlocked &[RE_13];
        "master-target-not-given" MasterTargetNotGiven &[RE_25];
        "master-target-unknown" MasterTargetUnknown &[PH_02];
        "master-target-disconnected" MasterTargetDisconnected &[IN_05];
        "master-target-foreign" MasterTargetForeign &[PO_05];
        "master-target-wrong-os" MasterTargetWrongOs &[RE_11];
        "retention-drive-not-given" RetentionDriveNotGiven &[RE_25];
        "retention-drive-unknown" RetentionDriveUnknown &[IN_04];
        "datastore-not-given" DatastoreNotGiven &[RE_26];
        "datastore-unknown" DatastoreUnknown &[RE_26];
        "datastore-not-mounted" DatastoreNotMounted &[RE_28];
        "vcenter-disconnected" VcenterDisconnected &[IN_05];
        "vcenter-not-discovered" VcenterNotDiscovered &[RE_18];
        "host-edition-free" HostEditionFree &[RE_19];
        "release-not-supported" ReleaseNotSupported &[RE_20];
        "machine-migrated" MachineMigrated &[RE_21];
        "machine-moved" MachineMoved &[RE_22];
        "cloud-machine-gone" CloudMachineGone &[RE_23];
        "failback-site-not-given" FailbackSiteNotGiven &[PH_02];
        "failback-site-unfit" FailbackSiteUnfit &[PH_01];
        "name-taken" NameTaken &[EX_B2];
        "host-disconnected" HostDisconnected &[HF_02];
        "host-unknown" HostUnknown &[HF_22];
        "host-not-prepared" HostNotPrepared &[HF_24];
        "switch-missing" SwitchMissing &[HF_23];
        "machine-missing" MachineMissing &[HF_22];
        "managed-disks" ManagedDisks &[HF_26];
        "certificate-not-given" CertificateNotGiven &[HF_14];
        "certificate-wrong" CertificateWrong &[HF_14];
    ]
};

/// Each refuses what has to be accepted.
pub(super) const INVENTED: &[Mutant] = mutants_of_preconditions! {
    PreconditionInvented, "invents-", "refuses every reprotection and failback by", Invents, [
        "configuration-server-disconnected" ConfigurationServerDisconnected &[RE_06];
        "machine-not-registered" MachineNotRegistered &[RE_07];
        "process-server-not-given" ProcessServerNotGiven &[RE_25];
        "process-server-unknown" ProcessServerUnknown &[IN_01];
        "process-server-disconnected" ProcessServerDisconnected &[IN_05];
        "private-link-down" PrivateLinkDown &[IN_02];
        "port-blocked" PortBlocked &[RE_13];
        "master-target-foreign" MasterTargetForeign &[PO_05];
        "master-target-wrong-os" MasterTargetWrongOs &[RE_11];
        "retention-drive-unknown" RetentionDriveUnknown &[IN_04];
        "datastore-not-given" DatastoreNotGiven &[RE_26];
        "datastore-not-mounted" DatastoreNotMounted &[RE_28];
        "vcenter-not-discovered" VcenterNotDiscovered &[RE_18];
        "host-edition-free" HostEditionFree &[RE_19];
        "machine-migrated" MachineMigrated &[RE_21];
        "machine-moved" MachineMoved &[RE_22];
        "cloud-machine-gone" CloudMachineGone &[RE_23];
        "failback-site-unfit" FailbackSiteUnfit &[PH_01];
        "host-disconnected" HostDisconnected &[HF_02];
        "host-not-prepared" HostNotPrepared &[HF_24];
        "switch-missing" SwitchMissing &[HF_23];
        "managed-disks" ManagedDisks &[HF_26];
        "certificate-wrong" CertificateWrong &[HF_14];
    ]
};
