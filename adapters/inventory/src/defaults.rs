//! The components of a new site: everything that failback needs, connected and configured.

use contract::{
    Access, AccountRole, AddressRange, AgentVersion, Bytes, Component, ComponentKind, ConfigurationServer,
    Decision, GuestOs, Host, HostEdition, HostManager, MachineSize, MasterTarget, Mount, Network,
    PlatformProfile, PrivateLink, ProcessServerUse, SecurityRule, SecurityRules, Subnet, Subscription,
    Vcenter,
};
use witness::protocol::SERVICE_PORT;

/// Datastores of a VMware site.
const DATASTORES: [&str; 2] = ["datastore-1", "datastore-2"];

/// Address range of the network for test failovers.
pub(crate) const ISOLATED: AddressRange = AddressRange::TEST_NET_3;
/// Priority of the rule for the port of the guest's service.
const SERVICE_PORT_PRIORITY: u16 = 100;

/// Address range of a new site's production network.
pub(crate) fn production_range(profile: &PlatformProfile) -> AddressRange {
    if profile.is_cloud { AddressRange::TEST_NET_2 } else { AddressRange::TEST_NET_1 }
}

/// The components of a new site of this kind.
pub(crate) fn of(profile: &PlatformProfile, production: AddressRange) -> Vec<Component> {
    let mut all: Vec<(&str, ComponentKind)> = Vec::new();
    if profile.configuration_server {
        all.push(("configuration-server", configuration_server()));
    }
    match profile.process_server {
        ProcessServerUse::FirstByDefault => all.push(("process-server", ComponentKind::ProcessServer)),
        ProcessServerUse::OnlyIfSelected => all.push(("cloud-process-server", ComponentKind::ProcessServer)),
        ProcessServerUse::None => {}
    }
    if profile.master_target {
        all.push(("master-target", master_target()));
    }
    match profile.manager {
        Some(HostManager::Vcenter) => all.extend([("vcenter", vcenter()), ("host-1", host("VM Network"))]),
        Some(HostManager::HostConnection) => all.extend([
            ("host-connection", ComponentKind::HostConnection),
            ("host-1", host("External")),
            ("host-2", host("External")),
        ]),
        None => {}
    }
    if profile.datastores {
        all.extend(DATASTORES.map(|name| (name, ComponentKind::Datastore)));
    }
    if profile.private_link {
        all.push(("private-link", private_link()));
    }
    if profile.is_cloud {
        all.push(("subscription", subscription(production)));
    }
    let component = |(id, kind): (&str, _)| Component { id: id.into(), connected: true, kind };
    all.into_iter().map(component).collect()
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
        subnets: subnets(production),
        availability_sets: vec!["set-1".to_owned()],
        sizes: vec![size("small", 1, 256 << 20), size("medium", 2, 512 << 20)],
        // Enough for the largest plans in the tests.
        cores_left: 10_000,
    })
}

/// The subnets of a new cloud: the two halves of the production network, and of the one for test
/// failovers.
fn subnets(production: AddressRange) -> Vec<Subnet> {
    let [lower, upper] = production.halves();
    let [tests, more_tests] = ISOLATED.halves();
    let rows = [
        ("default", Network::Production, lower),
        ("backend", Network::Production, upper),
        ("test-failovers", Network::Isolated, tests),
        ("more-test-failovers", Network::Isolated, more_tests),
    ];
    let subnet = |(name, network, range): (&str, _, _)| Subnet {
        name: name.to_owned(),
        network,
        range,
        security: rules_for_service(),
    };
    rows.map(subnet).into()
}

/// Rules that allow only the suite's requests to the guest's service.
pub(crate) fn rules_for_service() -> SecurityRules {
    let rule =
        SecurityRule::tcp("suite-asks-the-service", SERVICE_PORT_PRIORITY, SERVICE_PORT, Decision::Allow);
    SecurityRules(vec![rule])
}
