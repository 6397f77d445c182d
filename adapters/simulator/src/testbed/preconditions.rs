//! Preconditions of a failback, each with a way to break it and a way to repair it.
//!
//! The simulated tier breaks them to see that a core refuses by the right code, and the built-in
//! core's tests compare the list with the core's own. Every entry is for a machine called
//! [`MACHINE`].

use contract::{
    Access, AccountRole, AlternateHost, Component, ComponentKind, ErrorCode, FailoverRequest, GuestOs, Host,
    HostEdition, MasterTarget, ReprotectRequest, Subscription, Vcenter, VolumeId,
};
use inventory::Infrastructure;

use super::{Testbed, cloud_machine};
use crate::SimSite;

/// Name of the machine that the entries break something for.
pub const MACHINE: &str = "web";

/// The certificate with which [`HYPERV_FAILBACK`] expects data in the cloud to be encrypted.
pub const CERTIFICATE: &str = "3f2a";

/// UUID of the master target that every VMware site has from the beginning.
const MASTER_TARGET_UUID: &str = "4d540000-0000-4000-8000-000000000001";

/// Something that must hold before an operation, with the request for that operation.
pub struct Precondition<Request> {
    /// The rule that demands it, such as `RE-08`.
    pub rule: &'static str,
    /// The code with which a core objects if it does not hold.
    pub code: ErrorCode,
    /// Breaks it: at the sites, or in a request that is good otherwise.
    pub break_it: fn(&Testbed, &mut Request),
    /// Repairs what was broken at the sites. The good request succeeds after it.
    pub repair: fn(&Testbed),
}

const fn row<Request>(
    rule: &'static str,
    code: ErrorCode,
    break_it: fn(&Testbed, &mut Request),
    repair: fn(&Testbed),
) -> Precondition<Request> {
    Precondition { rule, code, break_it, repair }
}

/// The repair where only the request was broken.
fn nothing(_: &Testbed) {}

/// Without these a core refuses to reprotect a VMware machine back to its site.
#[rustfmt::skip]
pub const REPROTECTION: &[Precondition<ReprotectRequest>] = &[
    row("RE-22", ErrorCode::MachineMoved,
        |at, _| move_copy(at, "archive"), |at| move_copy(at, "recovery")),
    row("RE-25", ErrorCode::ProcessServerNotGiven, |_, request| request.process_server = None, nothing),
    row("RE-25", ErrorCode::MasterTargetNotGiven, |_, request| request.master_target = None, nothing),
    row("RE-25", ErrorCode::RetentionDriveNotGiven, |_, request| request.retention_drive = None, nothing),
    row("RE-26", ErrorCode::DatastoreNotGiven, |_, request| request.datastore = None, nothing),
    row("RE-06", ErrorCode::ConfigurationServerDisconnected,
        |at, _| disconnect(&at.primary, "configuration-server"), |at| connect(&at.primary, "configuration-server")),
    row("IN-01", ErrorCode::ProcessServerUnknown,
        |at, _| remove(&at.recovery, "cloud-process-server"), |at| restore(&at.recovery, "cloud-process-server")),
    // A process server on premises does not help a machine that runs in the cloud.
    row("IN-01", ErrorCode::ProcessServerUnknown,
        |_, request| request.process_server = Some("process-server".into()), nothing),
    row("IN-05", ErrorCode::ProcessServerDisconnected,
        |at, _| disconnect(&at.recovery, "cloud-process-server"), |at| connect(&at.recovery, "cloud-process-server")),
    row("IN-02", ErrorCode::PrivateLinkDown,
        |at, _| disconnect(&at.recovery, "private-link"), |at| connect(&at.recovery, "private-link")),
    row("IN-02", ErrorCode::PrivateLinkDown,
        |at, _| remove(&at.recovery, "private-link"), |at| restore(&at.recovery, "private-link")),
    row("RE-13", ErrorCode::PortBlocked, |at, _| open_ports(at, &[443]), |at| open_ports(at, &[443, 9443])),
    row("RE-13", ErrorCode::PortBlocked, |at, _| open_ports(at, &[9443]), |at| open_ports(at, &[443, 9443])),
    row("IN-05", ErrorCode::VcenterDisconnected,
        |at, _| disconnect(&at.primary, "vcenter"), |at| connect(&at.primary, "vcenter")),
    row("RE-18", ErrorCode::VcenterNotDiscovered,
        |at, _| vcenter(&at.primary, |it| it.discovered = false), |at| vcenter(&at.primary, |it| it.discovered = true)),
    row("PH-02", ErrorCode::MasterTargetUnknown,
        |_, request| request.master_target = Some("no-such-master-target".into()), nothing),
    row("IN-05", ErrorCode::MasterTargetDisconnected,
        |at, _| disconnect(&at.primary, "master-target"), |at| connect(&at.primary, "master-target")),
    row("PO-05", ErrorCode::MasterTargetForeign,
        |at, _| master_target(&at.primary, |it| it.configuration_server = "another".into()),
        |at| restore(&at.primary, "master-target")),
    row("RE-11", ErrorCode::MasterTargetWrongOs,
        |at, _| master_target(&at.primary, |it| it.os = GuestOs::Windows),
        |at| master_target(&at.primary, |it| it.os = GuestOs::Linux)),
    row("IN-04", ErrorCode::RetentionDriveUnknown,
        |at, _| master_target(&at.primary, |it| it.retention_drives.clear()),
        |at| restore(&at.primary, "master-target")),
    row("EX-B3", ErrorCode::MasterTargetFull, |at, _| attach_disks(at, MasterTarget::MOST_DISKS - 1),
        |at| attach_disks(at, MasterTarget::MOST_DISKS - 2)),
    row("RE-19", ErrorCode::HostEditionFree,
        |at, _| host_edition(at, HostEdition::Free), |at| host_edition(at, HostEdition::Full)),
    row("RE-28", ErrorCode::DatastoreNotMounted, |at, _| mount(at, Access::Read), |at| mount(at, Access::Write)),
    row("RE-28", ErrorCode::DatastoreNotMounted,
        |at, _| master_target(&at.primary, |it| it.mounts.clear()), |at| restore(&at.primary, "master-target")),
];

/// Without these the job of a reprotection fails in its first step; once they are repaired, a retry
/// succeeds (RE-16).
#[rustfmt::skip]
pub const REPROTECTION_JOB: &[Precondition<ReprotectRequest>] = &[MASTER_TARGET_SNAPSHOTS, READ_ONLY_ACCOUNT, UUID_CLASH];

/// Snapshots of the master target fail a reprotection.
pub const MASTER_TARGET_SNAPSHOTS: Precondition<ReprotectRequest> = row(
    "RE-08",
    ErrorCode::MasterTargetHasSnapshots,
    |at, _| master_target(&at.primary, |it| it.snapshots = 1),
    |at| master_target(&at.primary, |it| it.snapshots = 0),
);

/// An account that cannot list datastores fails a reprotection.
pub const READ_ONLY_ACCOUNT: Precondition<ReprotectRequest> = row(
    "RE-15",
    ErrorCode::DatastoresNotListed,
    |at, _| account_role(at, AccountRole::ReadOnly),
    |at| account_role(at, AccountRole::Full),
);

/// A machine with the master target's own UUID fails its reprotection; another UUID of the master
/// target repairs it.
pub const UUID_CLASH: Precondition<ReprotectRequest> = row(
    "RE-17",
    ErrorCode::UuidClash,
    |at, _| at.primary.components().set_uuid(&MACHINE.into(), MASTER_TARGET_UUID),
    |at| master_target(&at.primary, |it| it.uuid = "4d540000-0000-4000-8000-000000000002".to_owned()),
);

/// Without these a core refuses to fail a VMware machine back.
#[rustfmt::skip]
pub const FAILBACK: &[Precondition<FailoverRequest>] = &[
    row("RE-22", ErrorCode::MachineMoved,
        |at, _| move_copy(at, "archive"), |at| move_copy(at, "recovery")),
    row("RE-06", ErrorCode::ConfigurationServerDisconnected,
        |at, _| disconnect(&at.primary, "configuration-server"), |at| connect(&at.primary, "configuration-server")),
    row("RE-07", ErrorCode::MachineNotRegistered,
        |at, _| {
            at.primary.components().unregister(&MACHINE.into());
        },
        |at| at.primary.components().register(&MACHINE.into())),
    row("IN-01", ErrorCode::ProcessServerUnknown,
        |at, _| remove(&at.recovery, "cloud-process-server"), |at| restore(&at.recovery, "cloud-process-server")),
    row("IN-05", ErrorCode::ProcessServerDisconnected,
        |at, _| disconnect(&at.recovery, "cloud-process-server"), |at| connect(&at.recovery, "cloud-process-server")),
    row("IN-02", ErrorCode::PrivateLinkDown,
        |at, _| disconnect(&at.recovery, "private-link"), |at| connect(&at.recovery, "private-link")),
    row("RE-13", ErrorCode::PortBlocked, |at, _| open_ports(at, &[]), |at| open_ports(at, &[443, 9443])),
    row("IN-05", ErrorCode::MasterTargetDisconnected,
        |at, _| disconnect(&at.primary, "master-target"), |at| connect(&at.primary, "master-target")),
    row("RE-19", ErrorCode::HostEditionFree,
        |at, _| host_edition(at, HostEdition::Free), |at| host_edition(at, HostEdition::Full)),
];

/// Without these a core refuses to fail a Hyper-V machine back that was deleted, is to be made on
/// `host-2`, and whose data in the cloud is encrypted with [`CERTIFICATE`].
#[rustfmt::skip]
pub const HYPERV_FAILBACK: &[Precondition<FailoverRequest>] = &[
    row("HF-14", ErrorCode::CertificateNotGiven, |_, request| request.certificate = None, nothing),
    row("HF-14", ErrorCode::CertificateWrong, |_, request| request.certificate = Some("another".to_owned()), nothing),
    row("HF-02", ErrorCode::HostDisconnected,
        |at, _| disconnect(&at.primary, "host-connection"), |at| connect(&at.primary, "host-connection")),
    row("HF-22", ErrorCode::HostUnknown, |_, request| request.alternate = alternate_host("host-9", true), nothing),
    row("HF-24", ErrorCode::HostNotPrepared,
        |at, _| host(&at.primary, "host-2", |it| it.prepared = false),
        |at| host(&at.primary, "host-2", |it| it.prepared = true)),
    row("HF-23", ErrorCode::SwitchMissing,
        |at, _| host(&at.primary, "host-2", |it| it.switches = vec!["Internal".to_owned()]),
        |at| host(&at.primary, "host-2", |it| it.switches.push("External".to_owned()))),
    row("HF-22", ErrorCode::MachineMissing, |_, request| request.alternate = alternate_host("host-2", false), nothing),
    // At its original place only a full download makes the machine (HF-11).
    row("HF-22", ErrorCode::MachineMissing, |_, request| request.alternate = None, nothing),
];

/// Asks for another host; `create_machine`: and for the machine to be made there.
#[must_use]
pub fn alternate_host(host: &str, create_machine: bool) -> Option<AlternateHost> {
    Some(AlternateHost { host: host.into(), create_machine })
}

/// Changes the master target that a VMware site has from the beginning.
pub fn master_target(site: &SimSite, change: impl FnOnce(&mut MasterTarget)) {
    site.components().alter("master-target", |component| {
        if let ComponentKind::MasterTarget(target) = &mut component.kind {
            change(target);
        }
    });
}

/// Changes a site's vCenter.
pub fn vcenter(site: &SimSite, change: impl FnOnce(&mut Vcenter)) {
    site.components().alter("vcenter", |component| {
        if let ComponentKind::Vcenter(vcenter) = &mut component.kind {
            change(vcenter);
        }
    });
}

/// Changes a host of a site.
pub fn host(site: &SimSite, id: &str, change: impl FnOnce(&mut Host)) {
    site.components().alter(id, |component| {
        if let ComponentKind::Host(host) = &mut component.kind {
            change(host);
        }
    });
}

/// Changes a cloud's subscription.
pub fn subscription(site: &SimSite, change: impl FnOnce(&mut Subscription)) {
    site.components().alter("subscription", |component| {
        if let ComponentKind::Subscription(subscription) = &mut component.kind {
            change(subscription);
        }
    });
}

/// Sets what the vCenter account of the primary site may do.
pub fn account_role(testbed: &Testbed, role: AccountRole) {
    vcenter(&testbed.primary, |vcenter| vcenter.role = role);
}

/// Mounts all datastores of the primary site on its master target with this access.
pub fn mount(testbed: &Testbed, access: Access) {
    master_target(&testbed.primary, |target| {
        target.mounts.iter_mut().for_each(|mount| mount.access = access);
    });
}

/// Lets these ports of the private connection pass, and no others.
pub fn open_ports(testbed: &Testbed, ports: &[u16]) {
    testbed.recovery.components().alter("private-link", |component| {
        if let ComponentKind::PrivateLink(link) = &mut component.kind {
            link.open_ports = ports.to_vec();
        }
    });
}

/// Adds another master target to the primary site, a copy of the first one but for its operating
/// system and UUID.
pub fn add_master_target(testbed: &Testbed, id: &str, os: GuestOs) {
    let components = testbed.primary.components().all();
    if let Some(first) = components.iter().find_map(Component::master_target) {
        let uuid = format!("4d540000-0000-4000-8000-0000000001{:02}", components.len());
        let target = MasterTarget { built_in: false, os, uuid, disks: Vec::new(), ..first.clone() };
        let kind = ComponentKind::MasterTarget(target);
        testbed.primary.components().add(Component { id: id.into(), connected: true, kind });
    }
}

/// Puts a component back into the state that it had at the beginning.
pub fn restore(site: &SimSite, id: &str) {
    let initial = Infrastructure::of("", site.profile().kind).all();
    let component = initial.into_iter().filter(|component| component.id.0 == id);
    component.for_each(|component| site.components().add(component));
}

fn disconnect(site: &SimSite, id: &str) {
    site.components().disconnect(id);
}

fn connect(site: &SimSite, id: &str) {
    site.components().connect(id);
}

fn remove(site: &SimSite, id: &str) {
    drop(site.components().remove(id));
}

fn host_edition(testbed: &Testbed, edition: HostEdition) {
    host(&testbed.primary, "host-1", |host| host.edition = edition);
}

fn move_copy(testbed: &Testbed, resource_group: &str) {
    testbed.recovery.components().move_to_group(&cloud_machine(MACHINE), resource_group);
}

/// Attaches so many disks of other machines to the master target.
fn attach_disks(testbed: &Testbed, count: usize) {
    let disk = |number| VolumeId(format!("disk-{number}"));
    master_target(&testbed.primary, |target| target.disks = (0..count).map(disk).collect());
}
