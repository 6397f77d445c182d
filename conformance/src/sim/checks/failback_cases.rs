//! What must hold before a machine comes back to VMware: refused with a code and without a trace, then put right.

use contract::{
    Access, AccountRole, Component, ComponentKind, ErrorCode, GuestOs, HostEdition, MasterTarget,
    ReprotectRequest, Vcenter,
};
use inventory::Infrastructure;
use simulator::SimSite;

use crate::rules::ids::*;
use crate::sim::testbed::{Testbed, cloud};

/// One thing that is wrong, and how it is put right.
pub(crate) struct Case {
    pub(crate) rule: RuleId,
    pub(crate) code: ErrorCode,
    pub(crate) spoil: fn(&Testbed, &mut ReprotectRequest),
    /// Puts right what was spoilt at the sites; the request is then the good one.
    pub(crate) cure: fn(&Testbed),
}

const fn case(
    rule: RuleId,
    code: ErrorCode,
    spoil: fn(&Testbed, &mut ReprotectRequest),
    cure: fn(&Testbed),
) -> Case {
    Case { rule, code, spoil, cure }
}

/// Nothing at the sites was spoilt.
fn nothing(_: &Testbed) {}

fn master_target(lab: &Testbed, change: impl FnOnce(&mut MasterTarget)) {
    lab.primary.components().alter("master-target", |part| {
        if let ComponentKind::MasterTarget(target) = &mut part.kind {
            change(target);
        }
    });
}

pub(crate) fn vcenter(lab: &Testbed, change: impl FnOnce(&mut Vcenter)) {
    lab.primary.components().alter("vcenter", |part| {
        if let ComponentKind::Vcenter(vcenter) = &mut part.kind {
            change(vcenter);
        }
    });
}

pub(crate) fn mount(lab: &Testbed, access: Access) {
    master_target(lab, |target| target.mounts.iter_mut().for_each(|mount| mount.access = access));
}

fn role(lab: &Testbed, role: AccountRole) {
    vcenter(lab, |vcenter| vcenter.role = role);
}

fn edition(lab: &Testbed, edition: HostEdition) {
    lab.primary.components().alter("host-1", |part| {
        if let ComponentKind::Host(host) = &mut part.kind {
            host.edition = edition;
        }
    });
}

fn ports(lab: &Testbed, open: &[u16]) {
    lab.recovery.components().alter("private-link", |part| {
        if let ComponentKind::PrivateLink(link) = &mut part.kind {
            link.open_ports = open.to_vec();
        }
    });
}

/// Puts a component back as it was at the beginning.
fn put_back(site: &SimSite, id: &str) {
    let parts = Infrastructure::of("", site.profile().kind).all();
    parts.into_iter().filter(|part| part.id.0 == id).for_each(|part| site.components().add(part));
}

fn disconnect(site: &SimSite, id: &str) {
    site.components().disconnect(id);
}

fn connect(site: &SimSite, id: &str) {
    site.components().connect(id);
}

/// Another master target beside the built-in one.
pub(crate) fn add_master_target(lab: &Testbed, id: &str, os: GuestOs) {
    let parts = lab.primary.components().all();
    if let Some(target) = parts.iter().find_map(Component::master_target) {
        let uuid = format!("4d540000-0000-4000-8000-0000000001{:02}", parts.len());
        let target = MasterTarget { built_in: false, os, uuid, disks: Vec::new(), ..target.clone() };
        let kind = ComponentKind::MasterTarget(target);
        lab.primary.components().add(Component { id: id.into(), connected: true, kind });
    }
}

const MASTER_TARGETS_UUID: &str = "4d540000-0000-4000-8000-000000000001";

/// With these a reprotection is refused.
#[rustfmt::skip]
pub(crate) const REPROTECTION: &[Case] = &[
    case(RE_25, ErrorCode::ProcessServerNotGiven, |_, ask| ask.process_server = None, nothing),
    case(RE_25, ErrorCode::MasterTargetNotGiven, |_, ask| ask.master_target = None, nothing),
    case(RE_25, ErrorCode::RetentionDriveNotGiven, |_, ask| ask.retention_drive = None, nothing),
    case(RE_26, ErrorCode::DatastoreNotGiven, |_, ask| ask.datastore = None, nothing),
    case(RE_06, ErrorCode::ConfigurationServerDisconnected,
        |at, _| disconnect(&at.primary, "configuration-server"), |at| connect(&at.primary, "configuration-server")),
    case(IN_01, ErrorCode::ProcessServerUnknown,
        |at, _| drop(at.recovery.components().remove("cloud-process-server")), |at| put_back(&at.recovery, "cloud-process-server")),
    // The one on premises is of no use on the way back.
    case(IN_01, ErrorCode::ProcessServerUnknown, |_, ask| ask.process_server = Some("process-server".into()), nothing),
    case(IN_05, ErrorCode::ProcessServerDisconnected,
        |at, _| disconnect(&at.recovery, "cloud-process-server"), |at| connect(&at.recovery, "cloud-process-server")),
    case(IN_02, ErrorCode::PrivateLinkDown,
        |at, _| disconnect(&at.recovery, "private-link"), |at| connect(&at.recovery, "private-link")),
    case(IN_02, ErrorCode::PrivateLinkDown,
        |at, _| drop(at.recovery.components().remove("private-link")), |at| put_back(&at.recovery, "private-link")),
    case(RE_13, ErrorCode::PortBlocked, |at, _| ports(at, &[443]), |at| ports(at, &[443, 9443])),
    case(RE_13, ErrorCode::PortBlocked, |at, _| ports(at, &[9443]), |at| ports(at, &[443, 9443])),
    case(IN_05, ErrorCode::VcenterDisconnected,
        |at, _| disconnect(&at.primary, "vcenter"), |at| connect(&at.primary, "vcenter")),
    case(RE_18, ErrorCode::VcenterNotDiscovered,
        |at, _| vcenter(at, |it| it.discovered = false), |at| vcenter(at, |it| it.discovered = true)),
    case(PH_02, ErrorCode::MasterTargetUnknown, |_, ask| ask.master_target = Some("nobody".into()), nothing),
    case(IN_05, ErrorCode::MasterTargetDisconnected,
        |at, _| disconnect(&at.primary, "master-target"), |at| connect(&at.primary, "master-target")),
    case(PO_05, ErrorCode::MasterTargetForeign,
        |at, _| master_target(at, |it| it.configuration_server = "another".into()), |at| put_back(&at.primary, "master-target")),
    case(RE_11, ErrorCode::MasterTargetWrongOs,
        |at, _| master_target(at, |it| it.os = GuestOs::Windows), |at| master_target(at, |it| it.os = GuestOs::Linux)),
    case(IN_04, ErrorCode::RetentionDriveUnknown,
        |at, _| master_target(at, |it| it.retention_drives.clear()), |at| put_back(&at.primary, "master-target")),
    case(RE_19, ErrorCode::HostEditionFree,
        |at, _| edition(at, HostEdition::Free), |at| edition(at, HostEdition::Full)),
    case(RE_28, ErrorCode::DatastoreNotMounted, |at, _| mount(at, Access::Read), |at| mount(at, Access::Write)),
    case(RE_28, ErrorCode::DatastoreNotMounted,
        |at, _| master_target(at, |it| it.mounts.clear()), |at| put_back(&at.primary, "master-target")),
    case(RE_22, ErrorCode::MachineMoved,
        |at, _| at.recovery.components().move_to_group(&cloud(&"web".into()), "archive"),
        |at| at.recovery.components().move_to_group(&cloud(&"web".into()), "recovery")),
];

/// With these the reprotection's job fails, and can be tried again.
#[rustfmt::skip]
pub(crate) const IN_JOB: &[Case] = &[
    case(RE_08, ErrorCode::MasterTargetHasSnapshots,
        |at, _| master_target(at, |it| it.snapshots = 1), |at| master_target(at, |it| it.snapshots = 0)),
    case(RE_15, ErrorCode::DatastoresNotListed,
        |at, _| role(at, AccountRole::ReadOnly), |at| role(at, AccountRole::Full)),
    case(RE_17, ErrorCode::UuidClash,
        |at, _| at.primary.components().set_uuid(&"web".into(), MASTER_TARGETS_UUID),
        |at| master_target(at, |it| it.uuid = "4d540000-0000-4000-8000-000000000002".to_owned())),
];

/// With these a failback is refused.
#[rustfmt::skip]
pub(crate) const FAILBACK: &[Case] = &[
    case(RE_22, ErrorCode::MachineMoved,
        |at, _| at.recovery.components().move_to_group(&cloud(&"web".into()), "archive"),
        |at| at.recovery.components().move_to_group(&cloud(&"web".into()), "recovery")),
    case(RE_06, ErrorCode::ConfigurationServerDisconnected,
        |at, _| disconnect(&at.primary, "configuration-server"), |at| connect(&at.primary, "configuration-server")),
    case(RE_07, ErrorCode::MachineNotRegistered,
        |at, _| { at.primary.components().unregister(&"web".into()); }, |at| at.primary.components().register(&"web".into())),
    case(IN_01, ErrorCode::ProcessServerUnknown,
        |at, _| drop(at.recovery.components().remove("cloud-process-server")), |at| put_back(&at.recovery, "cloud-process-server")),
    case(IN_05, ErrorCode::ProcessServerDisconnected,
        |at, _| disconnect(&at.recovery, "cloud-process-server"), |at| connect(&at.recovery, "cloud-process-server")),
    case(IN_02, ErrorCode::PrivateLinkDown,
        |at, _| disconnect(&at.recovery, "private-link"), |at| connect(&at.recovery, "private-link")),
    case(RE_13, ErrorCode::PortBlocked, |at, _| ports(at, &[]), |at| ports(at, &[443, 9443])),
    case(IN_05, ErrorCode::MasterTargetDisconnected,
        |at, _| disconnect(&at.primary, "master-target"), |at| connect(&at.primary, "master-target")),
    case(RE_19, ErrorCode::HostEditionFree,
        |at, _| edition(at, HostEdition::Free), |at| edition(at, HostEdition::Full)),
];
