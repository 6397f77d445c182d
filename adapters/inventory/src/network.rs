//! Networks: the address of a machine, and which traffic reaches it (CN-03, CN-04, CN-10).
//!
//! In a cloud the rules of a machine and of its subnet must both allow traffic; elsewhere there are
//! no such rules. Every rule list begins with a rule for the port of the guest's service, which the
//! suite needs to measure a recovery. It is an ordinary rule, reported and changed like others. In
//! an isolated network only that port is reachable.

use std::net::Ipv4Addr;

use contract::{
    AddressRange, ComponentKind, Decision, MachineId, MachineSpec, Network, NicSpec,
    PlatformErrorKind as Kind, Protocol, SecurityRules, Subnet,
};
use witness::protocol::SERVICE_PORT;

use crate::defaults::{ISOLATED, rules_for_service};
use crate::nic::{Nic, Way};
use crate::site::{Denial, Infrastructure, State, subscription};

/// The most network cards of a machine.
const MOST_NICS: usize = 2;

/// Owner of a list of security rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityList {
    /// A machine.
    Machine(MachineId),
    /// A subnet, by name.
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

/// Why traffic does not reach a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such machine.
    #[error("there is no machine {0} in any network")]
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
        /// The owner of the rule.
        list: SecurityList,
        /// The rule's name.
        rule: String,
        /// The port.
        port: u16,
    },
    /// No rule allows it (CN-03).
    #[error("no rule of {list} allows TCP port {port}")]
    NotAllowed {
        /// The owner of the rules.
        list: SecurityList,
        /// The port.
        port: u16,
    },
}

impl Infrastructure {
    /// Replaces the security rules of a machine in a cloud.
    ///
    /// # Panics
    /// There is no such machine with security rules: a test that changes nothing proves nothing.
    pub fn secure_machine(&self, machine: &MachineId, rules: SecurityRules) {
        let mut state = self.state();
        let nic = state.machines.get_mut(machine).and_then(|facts| facts.nic.as_mut());
        let current = nic.and_then(|nic| nic.security.as_mut());
        *current.unwrap_or_else(|| panic!("{} has no machine {machine} with rules", self.site)) = rules;
    }

    /// Replaces the security rules of a subnet.
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

    /// Gives a machine a public address, or removes it (CN-04).
    ///
    /// # Panics
    /// There is no such machine.
    pub fn set_public_address(&self, machine: &MachineId, public: bool) {
        let mut state = self.state();
        let nic = state.machines.get_mut(machine).and_then(|facts| facts.nic.as_mut());
        nic.unwrap_or_else(|| panic!("{} has no machine {machine}", self.site)).public = public;
    }

    /// Whether the networks let a client outside reach a TCP port of a machine.
    ///
    /// # Errors
    /// The reason why not. The rules of the subnet are checked before those of the machine.
    pub fn lets_in(&self, machine: &MachineId, way: Way, port: u16) -> Result<(), Refusal> {
        let state = self.state();
        let nic = state.machines.get(machine).and_then(|facts| facts.nic.as_ref());
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

    /// The first network card of a machine, through which clients outside reach it.
    pub fn nic(&self, machine: &MachineId) -> Option<Nic> {
        self.state().machines.get(machine)?.nic.clone()
    }

    /// The further network cards of a machine.
    pub fn more_nics(&self, machine: &MachineId) -> Vec<Nic> {
        self.state().machines.get(machine).map(|facts| facts.more_nics.clone()).unwrap_or_default()
    }
}

impl State {
    fn subnet(&self, network: Network, name: &str) -> Option<&Subnet> {
        self.kinds().find_map(subscription)?.subnet(network, Some(name))
    }

    /// Puts a machine into its networks, replacing the network cards of an earlier machine of the
    /// same name.
    pub(crate) fn connect(&mut self, spec: &MachineSpec, production: AddressRange) -> Result<(), Denial> {
        let first = NicSpec {
            network: spec.network,
            subnet: spec.placement.subnet.clone(),
            address: spec.placement.address,
        };
        if spec.more_nics.len() > MOST_NICS - 1 {
            let text = format!("machine {}: a machine has up to {MOST_NICS} network cards here", spec.id);
            return Err(Denial::new(Kind::Full, text));
        }
        let mut nics: Vec<Nic> = Vec::new();
        for wanted in std::iter::once(&first).chain(&spec.more_nics) {
            let (subnet, range) = self.place(spec, wanted, &nics, production)?;
            if let Some(address) = wanted.address {
                self.check_address(&spec.id, (wanted.network, range), &nics, address)?;
            }
            nics.push(Nic {
                network: wanted.network,
                security: subnet.as_ref().map(|_| rules_for_service()),
                subnet,
                range,
                address: wanted.address.unwrap_or_else(|| self.free_address(range, &nics)),
                chosen: wanted.address.is_some(),
                public: false,
            });
        }
        let facts = self.facts(&spec.id);
        facts.more_nics = nics.split_off(1);
        facts.nic = nics.pop();
        Ok(())
    }

    /// The subnet of a card and its addresses. `others` are the machine's cards before it.
    fn place(
        &self,
        spec: &MachineSpec,
        wanted: &NicSpec,
        others: &[Nic],
        production: AddressRange,
    ) -> Result<(Option<String>, AddressRange), Denial> {
        let network = wanted.network;
        if let Some(subscription) = self.kinds().find_map(subscription) {
            let is_free =
                |subnet: &&Subnet| others.iter().all(|other| other.subnet.as_ref() != Some(&subnet.name));
            let mut there = subscription.subnets.iter().filter(|subnet| subnet.network == network);
            let found = match &wanted.subnet {
                Some(name) => there.find(|subnet| subnet.name == *name),
                None => there.find(is_free),
            };
            if let Some(subnet) = found {
                return Ok((Some(subnet.name.clone()), subnet.range));
            }
            let named = wanted.subnet.as_deref().unwrap_or("for another network card");
            let text = format!("machine {}: there is no subnet {named} in the {network:?} network", spec.id);
            return Err(Denial::new(Kind::NotFound, text));
        }
        let range = match network {
            Network::Production => production,
            Network::Isolated => ISOLATED,
        };
        // The cards of a machine are in separate networks, between which a guest can decide.
        let range = match spec.more_nics.is_empty() {
            true => range,
            false => range.halves()[others.len().min(1)],
        };
        Ok((None, range))
    }

    /// An address for a card for which none was chosen. Every machine has a network of its own, so
    /// that first cards may have the same; further cards have different ones, which they keep if a
    /// core asks for them when it makes a machine again.
    fn free_address(&self, range: AddressRange, others: &[Nic]) -> Ipv4Addr {
        let first = range.dynamic();
        if others.is_empty() {
            return first;
        }
        let taken: Vec<_> =
            self.machines.values().flat_map(|facts| &facts.more_nics).map(|nic| nic.address).collect();
        let following =
            (u32::from(first)..).map(Ipv4Addr::from).take_while(|address| range.can_give(*address));
        following.into_iter().find(|address| !taken.contains(address)).unwrap_or(first)
    }

    /// Checks whether a machine can have the address that was chosen for one of its cards.
    fn check_address(
        &self,
        machine: &MachineId,
        (network, range): (Network, AddressRange),
        others: &[Nic],
        address: Ipv4Addr,
    ) -> Result<(), Denial> {
        if !range.can_give(address) {
            let text =
                format!("machine {machine}: address {address} cannot be assigned in a network of {range}");
            return Err(Denial::new(Kind::NotFound, text));
        }
        let has_it = |nic: &Nic| nic.chosen && nic.network == network && nic.address == address;
        let mut machines = self.machines.iter().filter(|(id, _)| *id != machine);
        let taken_by = match others.iter().any(has_it) {
            true => Some(machine),
            false => machines
                .find(|(_, facts)| facts.nic.iter().chain(&facts.more_nics).any(has_it))
                .map(|(other, _)| other),
        };
        match taken_by {
            Some(other) => {
                let text = format!("machine {machine}: machine {other} already has address {address}");
                Err(Denial::new(Kind::Exists, text))
            }
            None => Ok(()),
        }
    }
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
    use contract::{Bytes, Firmware, GuestFacts, GuestOs, Placement, PlatformKind, SecurityRule};

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
            boot_entry: None,
            more_nics: Vec::new(),
        }
    }

    fn rules(decision: Decision) -> SecurityRules {
        let mut rules = rules_for_service();
        rules.0.push(SecurityRule::tcp("ssh", 200, SSH, decision));
        rules
    }

    #[test]
    fn ssh_is_reachable_only_if_machine_and_subnet_both_allow_it() {
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
    fn only_the_suites_port_is_reachable_by_default() {
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
    fn a_public_address_must_be_added_and_obeys_the_same_rules() {
        let (cloud, web) = (cloud(), MachineId::from("web"));
        cloud.admit(&spec("web", Network::Production, None, None)).unwrap_or_else(|e| panic!("{e:?}"));
        let none = Err(Refusal::NoPublicAddress(web.clone()));
        assert_eq!(cloud.lets_in(&web, Way::Public, SERVICE_PORT), none);
        cloud.set_public_address(&web, true);
        assert_eq!(cloud.lets_in(&web, Way::Public, SERVICE_PORT), Ok(()));
        assert!(cloud.lets_in(&web, Way::Public, SSH).is_err());
    }

    #[test]
    fn an_isolated_network_blocks_traffic_whatever_its_rules_say() {
        let (cloud, web) = (cloud(), MachineId::from("web"));
        cloud.admit(&spec("web", Network::Isolated, None, None)).unwrap_or_else(|e| panic!("{e:?}"));
        cloud.secure_machine(&web, rules(Decision::Allow));
        cloud.secure_subnet("test-failovers", rules(Decision::Allow));
        assert_eq!(cloud.lets_in(&web, Way::Private, SSH), Err(Refusal::Isolated(web)));
    }

    #[test]
    fn the_cards_of_a_machine_are_in_separate_networks() {
        for (site, network) in [
            (cloud(), Network::Production),
            (cloud(), Network::Isolated),
            (Infrastructure::of("vmware", PlatformKind::Vmware), Network::Production),
            (Infrastructure::of("vmware", PlatformKind::Vmware), Network::Isolated),
        ] {
            let two = |name: &str| {
                let more_nics = vec![NicSpec { network, ..NicSpec::default() }];
                MachineSpec { more_nics, ..spec(name, network, None, None) }
            };
            let addresses = ["web", "db"].map(|name| {
                site.admit(&two(name)).unwrap_or_else(|e| panic!("{e:?}"));
                let first = site.nic(&name.into()).unwrap_or_else(|| panic!("{name} has no card"));
                let [second] = <[Nic; 1]>::try_from(site.more_nics(&name.into()))
                    .unwrap_or_else(|all| panic!("{all:?}"));
                assert!(!first.range.contains(second.address) && !second.range.contains(first.address));
                second.address
            });
            assert_ne!(addresses[0], addresses[1]);
        }
    }

    #[test]
    fn a_further_card_is_where_it_was_asked_for() {
        let cloud = cloud();
        let ask = |name: &str, subnet: &str, address: &str| {
            let address = address.parse().unwrap_or_else(|error| panic!("{address}: {error}"));
            let card =
                NicSpec { subnet: Some(subnet.to_owned()), address: Some(address), ..NicSpec::default() };
            let wanted = spec(name, Network::Production, Some("backend"), Some("198.51.100.140"));
            let asked = cloud.admit(&MachineSpec { more_nics: vec![card], ..wanted });
            cloud.forget_machine(&"db".into(), &[]);
            asked.map(drop).map_err(|denial| denial.kind)
        };
        assert_eq!(ask("db", "none", "198.51.100.7"), Err(Kind::NotFound));
        assert_eq!(ask("db", "default", "198.51.100.130"), Err(Kind::NotFound));
        assert_eq!(ask("db", "backend", "198.51.100.140"), Err(Kind::Exists));
        assert_eq!(ask("web", "default", "198.51.100.7"), Ok(()));
        let shown = cloud.more_nics(&"web".into());
        assert_eq!(
            (shown[0].subnet.as_deref(), shown[0].address),
            (Some("default"), [198, 51, 100, 7].into())
        );
    }

    #[test]
    fn an_address_is_assigned_if_it_is_in_the_subnet_and_free() {
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
