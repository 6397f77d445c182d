//! Reprotection and failback of VMware and physical machines, of machines of a cloud region and of
//! KVM machines.

use contract::{
    AccountRole, Component, ComponentId, ComponentKind, ErrorCode, GuestFacts, HostEdition, MasterTarget,
    PlatformKind, PlatformProfile, PowerState, PrivateLink, ReprotectRequest, Side, Vcenter,
};

use crate::preconditions::facts::Facts;
use crate::preconditions::row::Row;
use crate::preconditions::way::Way::{Back, ReprotectBack, ReprotectOut};
use crate::preconditions::way::{Way, When};
use crate::table::Pair;

const VMWARE: &[Pair] = &[Pair::Vmware];
const REPROTECTING: &[Pair] = &[Pair::Vmware, Pair::Regions, Pair::Kvm];
const REPROTECT_BACK: &[Way] = &[ReprotectBack];
const BOTH: &[Way] = &[ReprotectBack, Back];

/// A row that is checked before a job exists.
const fn before(
    rule: &'static str,
    code: ErrorCode,
    ways: &'static [Way],
    pairs: &'static [Pair],
    looks_at: &'static str,
    violation: fn(&Facts) -> Option<String>,
) -> Row {
    Row { rule, code, when: When::Before, ways, pairs, looks_at, violation }
}

/// A row that is checked in the reprotection's job.
const fn in_job(
    rule: &'static str,
    code: ErrorCode,
    looks_at: &'static str,
    violation: fn(&Facts) -> Option<String>,
) -> Row {
    Row { rule, code, when: When::InJob, ways: REPROTECT_BACK, pairs: VMWARE, looks_at, violation }
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // The failback location.
    before("PH-02", ErrorCode::FailbackSiteNotGiven, REPROTECT_BACK, REPROTECTING, "the requested site", site_not_given),
    before("PH-01", ErrorCode::FailbackSiteUnfit, REPROTECT_BACK, REPROTECTING, "the requested site", site_unfit),
    // The machine in the cloud.
    before("RE-23", ErrorCode::CloudMachineGone, BOTH, REPROTECTING, "the cloud machine", Facts::cloud_machine_gone),
    before("RE-21", ErrorCode::MachineMigrated, BOTH, REPROTECTING, "the cloud machine", migrated),
    before("RE-22", ErrorCode::MachineMoved, BOTH, REPROTECTING, "the cloud machine's resource group", moved),
    before("EX-B1", ErrorCode::CloudMachineOff, REPROTECT_BACK, VMWARE, "the cloud machine", cloud_machine_off),
    before("RE-20", ErrorCode::ReleaseNotSupported, REPROTECT_BACK, VMWARE, "the operating system", release),
    // What the request names.
    before("RE-25", ErrorCode::ProcessServerNotGiven, &[ReprotectBack, ReprotectOut], VMWARE, "the request", no_process_server),
    before("RE-25", ErrorCode::MasterTargetNotGiven, REPROTECT_BACK, VMWARE, "the request", no_master_target),
    before("RE-25", ErrorCode::RetentionDriveNotGiven, REPROTECT_BACK, VMWARE, "the request", no_retention_drive),
    before("RE-26", ErrorCode::DatastoreNotGiven, REPROTECT_BACK, VMWARE, "the request", no_datastore),
    // Components.
    before("RE-06", ErrorCode::ConfigurationServerDisconnected, BOTH, VMWARE, "the configuration server", configuration_server),
    before("RE-07", ErrorCode::MachineNotRegistered, &[Back], VMWARE, "the configuration server's database", not_registered),
    before("IN-01", ErrorCode::ProcessServerUnknown, &[ReprotectBack, Back, ReprotectOut], VMWARE, "the process server", process_server_unknown),
    before("IN-05", ErrorCode::ProcessServerDisconnected, &[ReprotectBack, Back, ReprotectOut], VMWARE, "the process server", process_server_down),
    before("IN-02", ErrorCode::PrivateLinkDown, BOTH, VMWARE, "the private connection", private_link_down),
    before("RE-13", ErrorCode::PortBlocked, BOTH, VMWARE, "the private connection's ports", port_blocked),
    before("IN-05", ErrorCode::VcenterDisconnected, REPROTECT_BACK, VMWARE, "vCenter", vcenter_down),
    before("RE-18", ErrorCode::VcenterNotDiscovered, REPROTECT_BACK, VMWARE, "vCenter", vcenter_unknown),
    before("EX-B2", ErrorCode::NameTaken, REPROTECT_BACK, REPROTECTING, "machines at the requested site", name_taken),
    before("PH-02", ErrorCode::MasterTargetUnknown, BOTH, VMWARE, "the master target", master_target_unknown),
    before("IN-05", ErrorCode::MasterTargetDisconnected, BOTH, VMWARE, "the master target", master_target_down),
    before("PO-05", ErrorCode::MasterTargetForeign, REPROTECT_BACK, VMWARE, "the master target's configuration server", registered_elsewhere),
    before("RE-11", ErrorCode::MasterTargetWrongOs, REPROTECT_BACK, VMWARE, "the master target's operating system", other_os),
    before("IN-04", ErrorCode::RetentionDriveUnknown, REPROTECT_BACK, VMWARE, "the master target's retention drives", drive_unknown),
    before("EX-B3", ErrorCode::MasterTargetFull, REPROTECT_BACK, VMWARE, "disks on the master target", full),
    before("RE-19", ErrorCode::HostEditionFree, BOTH, VMWARE, "the host's licence", free_edition),
    before("RE-26", ErrorCode::DatastoreUnknown, REPROTECT_BACK, VMWARE, "the datastore, if disks have to be created", datastore_unknown),
    before("RE-28", ErrorCode::DatastoreNotMounted, REPROTECT_BACK, VMWARE, "datastores mounted on the master target's host", not_mounted),
    // These fail the job.
    in_job("RE-08", ErrorCode::MasterTargetHasSnapshots, "snapshots of the master target", snapshots),
    in_job("RE-15", ErrorCode::DatastoresNotListed, "datastores that the account can list", not_listed),
    in_job("RE-17", ErrorCode::UuidClash, "UUIDs of machine and master target", uuid_clash),
];

/// Whether machines of the item's pair can fail back to the requested site.
fn is_suitable(facts: &Facts) -> bool {
    let Some(site) = facts.kind.map(PlatformKind::profile) else { return false };
    match facts.record.pair {
        Pair::Vmware => site.master_target,
        Pair::HyperV => site.hosts_replicate,
        Pair::Regions => site.is_cloud && facts.site != facts.record.recovery.0,
        Pair::Kvm => is_kvm(site) && facts.site != facts.record.recovery.0,
    }
}

/// Whether a site has hosts that need no manager, which is what KVM hosts are.
fn is_kvm(site: &PlatformProfile) -> bool {
    site.hypervisor && !site.is_cloud && site.manager.is_none()
}

fn names_site(facts: &Facts) -> bool {
    facts.route.as_ref().is_some_and(|route| route.failback_site.is_some())
}

fn site_not_given(facts: &Facts) -> Option<String> {
    let (home, machine) = &facts.record.primary;
    (!is_suitable(facts) && !names_site(facts)).then(|| {
        format!(
            "{machine} came from {home}, which cannot be failed back to; name a VMware site to create it at"
        )
    })
}

fn site_unfit(facts: &Facts) -> Option<String> {
    let kind = facts.kind.map(|kind| format!("{kind:?}")).unwrap_or_default();
    let machine = &facts.record.primary.1;
    (!is_suitable(facts))
        .then(|| format!("{machine} cannot fail back to {}, which is a site of kind {kind}", facts.site))
}

fn name_taken(facts: &Facts) -> Option<String> {
    let name = &facts.record.primary.1;
    let ours = facts.record.created_target.as_ref().is_some_and(|target| target.at.0 == facts.site);
    let conflicts = facts.site != facts.record.primary.0 && facts.original.is_some() && !ours;
    conflicts.then(|| format!("there is already a machine {name} at {}; rename or remove it", facts.site))
}

fn cloud_machine_off(facts: &Facts) -> Option<String> {
    let off = facts.running.as_ref()?.power == PowerState::Off;
    off.then(|| format!("{} is off, so its agent cannot send; start it", facts.record.recovery.1))
}

fn migrated(facts: &Facts) -> Option<String> {
    let migrated = facts.running.as_ref()?.migrated;
    migrated.then(|| {
        format!("the migration of {} is complete; it cannot leave the cloud", facts.record.recovery.1)
    })
}

fn moved(facts: &Facts) -> Option<String> {
    let now = facts.running.as_ref()?.placement.resource_group.as_ref()?;
    let then = facts.record.recovery_resource_group.as_ref()?;
    (now != then).then(|| {
        format!("{} was moved from resource group {then} to {now}; move it back", facts.record.recovery.1)
    })
}

fn release(facts: &Facts) -> Option<String> {
    let source = &facts.record.source_identity;
    let unsupported =
        !source.kind.profile().hypervisor && source.guest.release == GuestFacts::WINDOWS_2008_R2_SP1;
    unsupported.then(|| format!("a physical server with {} cannot fail back", source.guest.release))
}

/// A violation if the request does not name a component.
fn lacking(facts: &Facts, what: &str, given: fn(&ReprotectRequest) -> bool) -> Option<String> {
    let has = facts.route.as_ref().is_some_and(given);
    (!has).then(|| format!("the request names no {what}; choose one"))
}

fn no_process_server(facts: &Facts) -> Option<String> {
    lacking(facts, "process server", |route| route.process_server.is_some())
}

fn no_master_target(facts: &Facts) -> Option<String> {
    lacking(facts, "master target", |route| route.master_target.is_some())
}

fn no_retention_drive(facts: &Facts) -> Option<String> {
    lacking(facts, "retention drive", |route| route.retention_drive.is_some())
}

fn no_datastore(facts: &Facts) -> Option<String> {
    lacking(facts, "datastore", |route| route.datastore.is_some())
}

/// A violation if a component is disconnected.
fn down(component: &Component) -> Option<String> {
    (!component.connected).then(|| format!("{} does not answer; restore its connection", component.id))
}

fn configuration_server(facts: &Facts) -> Option<String> {
    match facts.registry.iter().find(|part| part.configuration_server().is_some()) {
        Some(server) => down(server),
        None => Some(format!("no configuration server answers at {}", facts.record.registered_at)),
    }
}

fn not_registered(facts: &Facts) -> Option<String> {
    let machine = &facts.record.primary.1;
    let server = facts.registry.iter().find_map(Component::configuration_server)?;
    let known = server.machines.contains(machine);
    (!known).then(|| format!("{machine} is not in the configuration server's database"))
}

/// The process server, which is at the site where the machine runs.
fn process_server(facts: &Facts) -> Option<&Component> {
    let parts = match facts.record.protection.active {
        Side::Primary => &facts.here,
        Side::Recovery => &facts.cloud,
    };
    facts
        .named(parts, |route| route.process_server.as_ref())
        .filter(|part| part.kind == ComponentKind::ProcessServer)
}

fn process_server_unknown(facts: &Facts) -> Option<String> {
    let name = facts.route.as_ref()?.process_server.as_ref()?;
    process_server(facts)
        .is_none()
        .then(|| format!("there is no process server {name} at the site where the machine runs"))
}

fn process_server_down(facts: &Facts) -> Option<String> {
    process_server(facts).and_then(down)
}

fn private_link(facts: &Facts) -> Option<(&Component, &PrivateLink)> {
    facts.cloud.iter().find_map(|part| Some((part, part.private_link()?)))
}

fn private_link_down(facts: &Facts) -> Option<String> {
    match private_link(facts) {
        Some((part, _)) => down(part),
        None => {
            Some(format!("{} has no private connection to the premises; create one", facts.record.recovery.0))
        }
    }
}

fn port_blocked(facts: &Facts) -> Option<String> {
    let (part, link) = private_link(facts)?;
    let blocked = PrivateLink::NEEDED_PORTS.into_iter().find(|port| !link.open_ports.contains(port))?;
    Some(format!("port {blocked} is blocked on {}; open it", part.id))
}

fn vcenter(facts: &Facts) -> Option<(&Component, &Vcenter)> {
    facts.here.iter().find_map(|part| Some((part, part.vcenter()?)))
}

fn vcenter_down(facts: &Facts) -> Option<String> {
    vcenter(facts).and_then(|(part, _)| down(part))
}

fn vcenter_unknown(facts: &Facts) -> Option<String> {
    match vcenter(facts) {
        Some((_, vcenter)) if vcenter.discovered => None,
        Some((part, _)) => {
            Some(format!("{} has not been discovered, so its datastores are unknown", part.id))
        }
        None => Some(format!("{} has no vCenter", facts.site)),
    }
}

fn master_target(facts: &Facts) -> Option<(&Component, &MasterTarget)> {
    let part = facts.named(&facts.here, |route| route.master_target.as_ref())?;
    Some((part, part.master_target()?))
}

fn master_target_unknown(facts: &Facts) -> Option<String> {
    let name = facts.route.as_ref()?.master_target.as_ref()?;
    master_target(facts).is_none().then(|| format!("there is no master target {name} at {}", facts.site))
}

fn master_target_down(facts: &Facts) -> Option<String> {
    master_target(facts).and_then(|(part, _)| down(part))
}

fn registered_elsewhere(facts: &Facts) -> Option<String> {
    let (part, target) = master_target(facts)?;
    let own = facts.registry.iter().find(|part| part.configuration_server().is_some())?;
    (target.configuration_server != own.id).then(|| {
        format!(
            "{} is registered with {}, but machines fail back only through {}",
            part.id, target.configuration_server, own.id
        )
    })
}

fn other_os(facts: &Facts) -> Option<String> {
    let (part, target) = master_target(facts)?;
    let os = facts.record.source_identity.os;
    (target.os != os).then(|| format!("{} runs {:?}, but the machine runs {os:?}", part.id, target.os))
}

fn drive_unknown(facts: &Facts) -> Option<String> {
    let (part, target) = master_target(facts)?;
    let drive = facts.route.as_ref()?.retention_drive.as_ref()?;
    let known = target.retention_drives.contains(drive);
    (!known).then(|| format!("{} has no retention drive {drive}; add one, or choose another", part.id))
}

fn full(facts: &Facts) -> Option<String> {
    let (part, target) = master_target(facts)?;
    let own = facts.original.iter().flat_map(|machine| &machine.disks);
    let attached = own.filter(|disk| target.disks.contains(&disk.volume)).count();
    let all = target.disks.len() - attached + facts.running.as_ref()?.disks.len();
    (all > MasterTarget::MOST_DISKS).then(|| {
        format!(
            "{} would have {all} disks, but at most {} are possible; add another master target",
            part.id,
            MasterTarget::MOST_DISKS
        )
    })
}

fn free_edition(facts: &Facts) -> Option<String> {
    let named = facts.original.as_ref().and_then(|machine| machine.placement.host.as_ref());
    let mut hosts = facts.here.iter().filter_map(|part| Some((&part.id, part.host()?)));
    let (id, host) = match named {
        Some(name) => hosts.find(|(id, _)| *id == name)?,
        None => hosts.next()?,
    };
    let free = host.edition == HostEdition::Free;
    free.then(|| format!("{id} has a free licence, which does not allow failback"))
}

/// The requested datastore, if disks have to be created. Otherwise it is ignored.
fn datastore_to_use(facts: &Facts) -> Option<&ComponentId> {
    let name = facts.route.as_ref()?.datastore.as_ref()?;
    (!facts.is_original_location()).then_some(name)
}

fn datastore_unknown(facts: &Facts) -> Option<String> {
    let name = datastore_to_use(facts)?;
    let found = Component::find(&facts.here, name).filter(|part| part.kind == ComponentKind::Datastore);
    found.is_none().then(|| format!("there is no datastore {name} at {}", facts.site))
}

fn not_mounted(facts: &Facts) -> Option<String> {
    let (part, target) = master_target(facts)?;
    let mut used =
        facts.datastores.iter().filter(|_| facts.is_original_location()).chain(datastore_to_use(facts));
    let lacking = used.find(|datastore| !target.can_write(datastore))?;
    Some(format!("{lacking} is not mounted for reading and writing on the host of {}", part.id))
}

fn snapshots(facts: &Facts) -> Option<String> {
    let (part, target) = master_target(facts)?;
    (target.snapshots > 0)
        .then(|| format!("{} snapshots of {} exist; delete them", target.snapshots, part.id))
}

fn not_listed(facts: &Facts) -> Option<String> {
    let (part, vcenter) = vcenter(facts)?;
    let nothing = vcenter.datastores.is_empty() || vcenter.role == AccountRole::ReadOnly;
    nothing.then(|| format!("the account of {} cannot list datastores; assign it the failback role", part.id))
}

fn uuid_clash(facts: &Facts) -> Option<String> {
    let (part, target) = master_target(facts)?;
    let machine = facts.original.as_ref().filter(|_| facts.is_original_location())?;
    (machine.uuid == target.uuid).then(|| {
        format!(
            "{} and {} have the same UUID {}; create the master target from another template",
            machine.id, part.id, target.uuid
        )
    })
}
