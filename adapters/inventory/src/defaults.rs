//! What each kind of platform has to begin with: everything that failback needs, in order.

use contract::{
    Access, AccountRole, AddressRange, AgentVersion, Bytes, Component, ComponentKind, ConfigurationServer,
    GuestOs, Host, HostEdition, MachineSize, MasterTarget, Mount, PlatformKind, PrivateLink, Subscription,
    Vcenter,
};

use super::network;

/// Datastores of a VMware site.
const DATASTORES: [&str; 2] = ["datastore-1", "datastore-2"];

pub(super) fn of(kind: PlatformKind, production: AddressRange) -> Vec<Component> {
    let named: Vec<(&str, ComponentKind)> = match kind {
        PlatformKind::Vmware => vec![
            ("configuration-server", configuration_server()),
            ("process-server", ComponentKind::ProcessServer),
            ("master-target", master_target()),
            ("vcenter", vcenter()),
            ("host-1", host("VM Network")),
            (DATASTORES[0], ComponentKind::Datastore),
            (DATASTORES[1], ComponentKind::Datastore),
        ],
        // Its configuration server is one that VMware sites beside it know as well.
        PlatformKind::Physical => vec![
            ("configuration-server", configuration_server()),
            ("process-server", ComponentKind::ProcessServer),
        ],
        PlatformKind::HyperV => vec![
            ("host-connection", ComponentKind::HostConnection),
            ("host-1", host("External")),
            ("host-2", host("External")),
        ],
        PlatformKind::Azure => vec![
            ("cloud-process-server", ComponentKind::ProcessServer),
            ("private-link", private_link()),
            ("subscription", subscription(production)),
        ],
    };
    let component = |(id, kind): (&str, _)| Component { id: id.into(), connected: true, kind };
    named.into_iter().map(component).collect()
}

fn configuration_server() -> ComponentKind {
    ComponentKind::ConfigurationServer(ConfigurationServer {
        machines: Vec::new(),
        agent: AgentVersion::default(),
    })
}

fn master_target() -> ComponentKind {
    let mount = |datastore: &str| Mount { datastore: datastore.into(), access: Access::Write };
    ComponentKind::MasterTarget(MasterTarget {
        built_in: true,
        configuration_server: "configuration-server".into(),
        os: GuestOs::Linux,
        uuid: "4d540000-0000-4000-8000-000000000001".to_owned(),
        snapshots: 0,
        retention_drives: vec!["/mnt/retention".to_owned()],
        mounts: DATASTORES.map(mount).to_vec(),
        disks: Vec::new(),
    })
}

fn vcenter() -> ComponentKind {
    ComponentKind::Vcenter(Vcenter {
        role: AccountRole::Full,
        discovered: true,
        datastores: DATASTORES.map(Into::into).to_vec(),
    })
}

fn host(switch: &str) -> ComponentKind {
    let switches = vec![switch.to_owned()];
    ComponentKind::Host(Host { edition: HostEdition::Full, prepared: true, switches })
}

fn private_link() -> ComponentKind {
    ComponentKind::PrivateLink(PrivateLink { open_ports: PrivateLink::NEEDED_PORTS.to_vec() })
}

fn subscription(production: AddressRange) -> ComponentKind {
    let size =
        |name: &str, cores, memory| MachineSize { name: name.to_owned(), cores, memory: Bytes(memory) };
    ComponentKind::Subscription(Subscription {
        resource_groups: vec!["recovery".to_owned(), "archive".to_owned()],
        subnets: network::subnets(production),
        availability_sets: vec!["set-1".to_owned()],
        sizes: vec![size("small", 1, 256 << 20), size("medium", 2, 512 << 20)],
        // Room for the largest plans that are tried.
        cores_left: 10_000,
    })
}
