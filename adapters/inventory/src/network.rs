//! Networks: which address a machine has, and what of the outside reaches it (CN-03, CN-04, CN-10).
//!
//! In a cloud the rules of a machine and of its subnet have to let traffic in both; elsewhere there are no such rules.
//! Every list begins with a rule for the port on which the suite itself asks a guest's service: without it no recovery
//! could be measured. It is an ordinary rule, shown and changed like others; an isolated network lets nothing else in.

use std::net::Ipv4Addr;

use contract::{
    AddressRange, ComponentKind, Decision, MachineId, MachineSpec, Network, NicView,
    PlatformErrorKind as Kind, PlatformKind, Protocol, SecurityRule, SecurityRules, Subnet,
};
use witness::protocol::SERVICE_PORT;

use super::admission::subscription;
use super::{Denial, Infrastructure, State};

/// Addresses of the network of test failovers, used for nothing else.
const ISOLATED: AddressRange = AddressRange::TEST_NET_3;
/// Priority of the rule for the suite's own port.
const SUITES_PRIORITY: u16 = 100;

/// By which address somebody outside comes to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By its address in its network, as through the private connection.
    Private,
    /// By its public address.
    Public,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Private, Self::Public];

    /// The loopback address that stands for it.
    #[must_use]
    pub fn loopback(self) -> Ipv4Addr {
        match self {
            Self::Private => Ipv4Addr::LOCALHOST,
            Self::Public => Ipv4Addr::new(127, 0, 0, 2),
        }
    }
}

/// Whose security rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityList {
    /// A machine's.
    Machine(MachineId),
    /// A subnet's, by its name.
    Subnet(String),
}

impl std::fmt::Display for SecurityList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Machine(id) => write!(f, "machine {id}"),
            Self::Subnet(name) => write!(f, "subnet {name}"),
        }
    }
}

/// Why something from outside does not come in to a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No network has such a machine.
    #[error("no network has a machine {0}")]
    NoMachine(MachineId),
    /// It has no public address (CN-04).
    #[error("machine {0} has no public address")]
    NoPublicAddress(MachineId),
    /// Its network is isolated (TF-04).
    #[error("machine {0} is in an isolated network")]
    Isolated(MachineId),
    /// A rule denies it (CN-03).
    #[error("rule {rule} of {list} denies TCP port {port}")]
    Denied {
        /// Whose rules.
        list: SecurityList,
        /// The rule's name.
        rule: String,
        /// The port that was asked for.
        port: u16,
    },
    /// No rule allows it (CN-03).
    #[error("no rule of {list} allows TCP port {port}")]
    NotAllowed {
        /// Whose rules.
        list: SecurityList,
        /// The port that was asked for.
        port: u16,
    },
}

/// A machine's network card.
#[derive(Clone, Debug)]
pub struct Nic {
    /// Where it is.
    network: Network,
    /// By name, in a cloud.
    subnet: Option<String>,
    /// Addresses that it can have.
    pub range: AddressRange,
    /// The one it has.
    pub address: Ipv4Addr,
    /// Whether that one was chosen, so that nobody else gets it.
    chosen: bool,
    public: bool,
    /// Rules of its own, in a cloud.
    security: Option<SecurityRules>,
}

impl Infrastructure {
    /// Gives a machine in a cloud these security rules; those that are asked from now on hold to them.
    ///
    /// # Panics
    /// There is no such machine with rules of its own: a test that changes nothing proves nothing.
    pub fn secure_machine(&self, machine: &MachineId, rules: SecurityRules) {
        let mut state = self.state();
        let nic = state.machines.get_mut(machine).and_then(|extra| extra.nic.as_mut());
        let held = nic.and_then(|nic| nic.security.as_mut());
        *held.unwrap_or_else(|| panic!("{} has no machine {machine} with rules", self.site)) = rules;
    }

    /// Gives a subnet these security rules.
    ///
    /// # Panics
    /// There is no such subnet.
    pub fn secure_subnet(&self, name: &str, rules: SecurityRules) {
        let mut state = self.state();
        let subnets = state.components.iter_mut().filter_map(|component| match &mut component.kind {
            ComponentKind::Subscription(subscription) => Some(&mut subscription.subnets),
            _ => None,
        });
        let found = subnets.flatten().find(|subnet| subnet.name == name);
        found.unwrap_or_else(|| panic!("{} has no subnet {name}", self.site)).security = rules;
    }

    /// Gives a machine a public address or takes it away (CN-04).
    ///
    /// # Panics
    /// There is no such machine.
    pub fn set_public_address(&self, machine: &MachineId, public: bool) {
        let mut state = self.state();
        let nic = state.machines.get_mut(machine).and_then(|extra| extra.nic.as_mut());
        nic.unwrap_or_else(|| panic!("{} has no machine {machine}", self.site)).public = public;
    }

    /// Whether somebody outside reaches a TCP port of a machine, as far as networks decide.
    ///
    /// # Errors
    /// What is in the way. The rules of the subnet are asked first, as they stand before the machine.
    pub fn lets_in(&self, machine: &MachineId, way: Way, port: u16) -> Result<(), Refusal> {
        let state = self.state();
        let nic = state.machines.get(machine).and_then(|extra| extra.nic.as_ref());
        let nic = nic.ok_or_else(|| Refusal::NoMachine(machine.clone()))?;
        if way == Way::Public && !nic.public {
            return Err(Refusal::NoPublicAddress(machine.clone()));
        }
        if nic.network == Network::Isolated && port != SERVICE_PORT {
            return Err(Refusal::Isolated(machine.clone()));
        }
        if let Some(subnet) = nic.subnet.as_deref().and_then(|name| state.subnet(nic.network, name)) {
            admits(&subnet.security, || SecurityList::Subnet(subnet.name.clone()), port)?;
        }
        match &nic.security {
            Some(rules) => admits(rules, || SecurityList::Machine(machine.clone()), port),
            None => Ok(()),
        }
    }

    /// The network card of a machine.
    pub fn nic(&self, machine: &MachineId) -> Option<Nic> {
        self.state().machines.get(machine)?.nic.clone()
    }
}

impl Nic {
    pub(super) fn view(&self) -> NicView {
        NicView {
            network: self.network,
            address: Some(self.address),
            public_address: self.public.then(|| Way::Public.loopback()),
            security: self.security.clone(),
        }
    }
}

impl State {
    fn subnet(&self, network: Network, name: &str) -> Option<&Subnet> {
        self.kinds().find_map(subscription)?.subnet(network, Some(name))
    }

    /// Puts a machine into its network. One that was there before under its name keeps nothing.
    pub(super) fn connect(&mut self, spec: &MachineSpec, production: AddressRange) -> Result<(), Denial> {
        let subnet = spec.placement.subnet.as_deref().and_then(|name| self.subnet(spec.network, name));
        let (name, range) = match (subnet, spec.network) {
            (Some(subnet), _) => (Some(subnet.name.clone()), subnet.range),
            (None, Network::Production) => (None, production),
            (None, Network::Isolated) => (None, ISOLATED),
        };
        let chosen = spec.placement.address;
        if let Some(address) = chosen {
            self.check_address(spec, range, address)?;
        }
        let security = name.as_ref().map(|_| suites_own());
        let address = chosen.unwrap_or_else(|| range.dynamic());
        let nic = Nic {
            network: spec.network,
            subnet: name,
            range,
            address,
            chosen: chosen.is_some(),
            public: false,
            security,
        };
        self.extra(&spec.id).nic = Some(nic);
        Ok(())
    }

    /// Whether a machine can have the address that was chosen for it.
    fn check_address(
        &self,
        spec: &MachineSpec,
        range: AddressRange,
        address: Ipv4Addr,
    ) -> Result<(), Denial> {
        if !range.can_give(address) {
            let text = format!("machine {}: a network of {range} has no address {address} to give", spec.id);
            return Err(Denial::new(Kind::NotFound, text));
        }
        let has_it = |nic: &Nic| nic.chosen && nic.network == spec.network && nic.address == address;
        let mut others = self.machines.iter().filter(|(id, _)| **id != spec.id);
        match others.find(|(_, extra)| extra.nic.as_ref().is_some_and(has_it)) {
            Some((other, _)) => {
                let text = format!("machine {}: {address} is machine {other}'s already", spec.id);
                Err(Denial::new(Kind::Exists, text))
            }
            None => Ok(()),
        }
    }
}

/// The addresses that the machines of a platform have where nothing else is said.
pub(super) fn usual_range(kind: PlatformKind) -> AddressRange {
    match kind {
        PlatformKind::Azure => AddressRange::TEST_NET_2,
        PlatformKind::Vmware | PlatformKind::Physical | PlatformKind::HyperV => AddressRange::TEST_NET_1,
    }
}

/// What a cloud's networks consist of to begin with: two halves of the one that serves, and one for test failovers.
pub(super) fn subnets(production: AddressRange) -> Vec<Subnet> {
    let [lower, upper] = production.halves();
    let rows = [
        ("default", Network::Production, lower),
        ("backend", Network::Production, upper),
        ("test-failovers", Network::Isolated, ISOLATED),
    ];
    let subnet = |(name, network, range): (&str, _, _)| Subnet {
        name: name.to_owned(),
        network,
        range,
        security: suites_own(),
    };
    rows.map(subnet).into()
}

/// Nothing comes in but the suite's own questions to the guest's service.
fn suites_own() -> SecurityRules {
    let rule = SecurityRule::tcp("suite-asks-the-service", SUITES_PRIORITY, SERVICE_PORT, Decision::Allow);
    SecurityRules(vec![rule])
}

fn admits(rules: &SecurityRules, list: impl Fn() -> SecurityList, port: u16) -> Result<(), Refusal> {
    match rules.ruling(Protocol::Tcp, port) {
        Some(rule) if rule.decision == Decision::Allow => Ok(()),
        Some(rule) => Err(Refusal::Denied { list: list(), rule: rule.name.clone(), port }),
        None => Err(Refusal::NotAllowed { list: list(), port }),
    }
}

#[cfg(test)]
mod tests {
    use contract::{Bytes, Firmware, GuestFacts, GuestOs, Placement};

    use super::*;

    const SSH: u16 = 22;

    fn cloud() -> Infrastructure {
        Infrastructure::of("azure", PlatformKind::Azure)
    }

    fn spec(name: &str, network: Network, subnet: Option<&str>, address: Option<&str>) -> MachineSpec {
        let address = address.map(|text| text.parse().unwrap_or_else(|error| panic!("{text}: {error}")));
        MachineSpec {
            id: name.into(),
            firmware: Firmware::Bios,
            os: GuestOs::Linux,
            memory: Bytes(1),
            disks: Vec::new(),
            network,
            guest: GuestFacts::default(),
            placement: Placement { subnet: subnet.map(ToOwned::to_owned), address, ..Placement::default() },
        }
    }

    fn rules(decision: Decision) -> SecurityRules {
        let mut rules = suites_own();
        rules.0.push(SecurityRule::tcp("ssh", 200, SSH, decision));
        rules
    }

    #[test]
    fn ssh_comes_in_only_where_machine_and_subnet_both_allow_it() {
        let (cloud, web) = (cloud(), MachineId::from("web"));
        cloud
            .admit(&spec("web", Network::Production, Some("backend"), None))
            .unwrap_or_else(|e| panic!("{e:?}"));
        for (machine, subnet) in [
            (Decision::Allow, Decision::Allow),
            (Decision::Allow, Decision::Deny),
            (Decision::Deny, Decision::Allow),
            (Decision::Deny, Decision::Deny),
        ] {
            cloud.secure_machine(&web, rules(machine));
            cloud.secure_subnet("backend", rules(subnet));
            let denied = |list| Err(Refusal::Denied { list, rule: "ssh".to_owned(), port: SSH });
            let expected = match (subnet, machine) {
                (Decision::Deny, _) => denied(SecurityList::Subnet("backend".to_owned())),
                (_, Decision::Deny) => denied(SecurityList::Machine(web.clone())),
                (Decision::Allow, Decision::Allow) => Ok(()),
            };
            assert_eq!(cloud.lets_in(&web, Way::Private, SSH), expected);
            assert_eq!(cloud.lets_in(&web, Way::Private, SERVICE_PORT), Ok(()));
        }
    }

    #[test]
    fn nothing_but_the_suite_comes_in_unless_somebody_allows_it() {
        let (cloud, web) = (cloud(), MachineId::from("web"));
        cloud.admit(&spec("web", Network::Production, None, None)).unwrap_or_else(|e| panic!("{e:?}"));
        let list = SecurityList::Subnet("default".to_owned());
        assert_eq!(cloud.lets_in(&web, Way::Private, SSH), Err(Refusal::NotAllowed { list, port: SSH }));
        let premises = Infrastructure::of("vmware", PlatformKind::Vmware);
        premises.admit(&spec("web", Network::Production, None, None)).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(premises.lets_in(&web, Way::Private, SSH), Ok(()));
        assert_eq!(premises.lets_in(&"db".into(), Way::Private, SSH), Err(Refusal::NoMachine("db".into())));
    }

    #[test]
    fn a_public_address_is_there_once_it_was_added_and_passes_the_same_rules() {
        let (cloud, web) = (cloud(), MachineId::from("web"));
        cloud.admit(&spec("web", Network::Production, None, None)).unwrap_or_else(|e| panic!("{e:?}"));
        let none = Err(Refusal::NoPublicAddress(web.clone()));
        assert_eq!(cloud.lets_in(&web, Way::Public, SERVICE_PORT), none);
        cloud.set_public_address(&web, true);
        assert_eq!(cloud.lets_in(&web, Way::Public, SERVICE_PORT), Ok(()));
        assert!(cloud.lets_in(&web, Way::Public, SSH).is_err());
    }

    #[test]
    fn an_isolated_network_lets_nothing_in_whatever_its_rules_say() {
        let (cloud, web) = (cloud(), MachineId::from("web"));
        cloud.admit(&spec("web", Network::Isolated, None, None)).unwrap_or_else(|e| panic!("{e:?}"));
        cloud.secure_machine(&web, rules(Decision::Allow));
        cloud.secure_subnet("test-failovers", rules(Decision::Allow));
        assert_eq!(cloud.lets_in(&web, Way::Private, SSH), Err(Refusal::Isolated(web)));
    }

    #[test]
    fn an_address_is_given_where_it_lies_in_the_subnet_and_is_free() {
        let cloud = cloud();
        let ask = |name: &str, subnet, address: &str| {
            let asked = cloud.admit(&spec(name, Network::Production, Some(subnet), Some(address)));
            asked.map(drop).map_err(|denial| denial.kind)
        };
        assert_eq!(ask("web", "backend", "198.51.100.7"), Err(Kind::NotFound));
        assert_eq!(ask("web", "backend", "198.51.100.130"), Err(Kind::NotFound));
        assert_eq!(ask("web", "backend", "198.51.100.140"), Ok(()));
        assert_eq!(ask("db", "backend", "198.51.100.140"), Err(Kind::Exists));
        assert_eq!(ask("db", "default", "198.51.100.7"), Ok(()));
        assert_eq!(
            ask("web", "test-failovers", "203.0.113.7"),
            Err(Kind::NotFound),
            "a subnet of another network"
        );
        cloud.forget_machine(&"web".into(), &[]);
        assert_eq!(ask("app", "backend", "198.51.100.140"), Ok(()));
    }
}
