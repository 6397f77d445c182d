//! Networks: addresses, and the security rules for incoming traffic (CN-03, CN-04, CN-10).

use std::net::Ipv4Addr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The network of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The production network.
    #[default]
    Production,
    /// A network used only for test failovers (TF-04).
    Isolated,
}

/// The addresses of a network or of a part of it, such as `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub struct AddressRange {
    first: u32,
    prefix: u8,
}

/// The text is not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses such as 192.0.2.0/24")]
pub struct NoAddressRange(String);

impl AddressRange {
    /// The first range reserved for documentation (RFC 5737).
    pub const TEST_NET_1: Self = Self { first: 0xc000_0200, prefix: 24 };
    /// The second range reserved for documentation (RFC 5737).
    pub const TEST_NET_2: Self = Self { first: 0xc633_6400, prefix: 24 };
    /// The third range reserved for documentation (RFC 5737).
    pub const TEST_NET_3: Self = Self { first: 0xcb00_7100, prefix: 24 };

    /// Number of addresses at the beginning that a network reserves for itself and its services.
    const RESERVED: u32 = 4;
    /// Offset of the address that is assigned if none was chosen.
    const DYNAMIC: u32 = 15;

    /// The lower and the upper half of the range.
    #[must_use]
    pub fn halves(self) -> [Self; 2] {
        let prefix = (self.prefix + 1).min(32);
        let upper = self.first | (self.size() / 2) as u32;
        [Self { prefix, ..self }, Self { first: upper, prefix }]
    }

    /// Whether an address is in the range.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u64::from(u32::from(address).wrapping_sub(self.first)) < self.size()
    }

    /// Whether a machine can have this address: it is in the range, and is neither one of the
    /// reserved addresses at the beginning nor the last one.
    #[must_use]
    pub fn can_give(self, address: Ipv4Addr) -> bool {
        let place = u64::from(u32::from(address).wrapping_sub(self.first));
        (u64::from(Self::RESERVED)..self.size().saturating_sub(1)).contains(&place)
    }

    /// The address of a machine for which none was chosen.
    #[must_use]
    pub fn dynamic(self) -> Ipv4Addr {
        Ipv4Addr::from(self.first + Self::DYNAMIC.min((self.size() - 1) as u32))
    }

    fn size(self) -> u64 {
        1 << (32 - u32::from(self.prefix))
    }
}

impl FromStr for AddressRange {
    type Err = NoAddressRange;

    fn from_str(text: &str) -> Result<Self, NoAddressRange> {
        let parse = || {
            let (first, prefix) = text.split_once('/')?;
            let first = u32::from(Ipv4Addr::from_str(first).ok()?);
            let prefix = prefix.parse().ok().filter(|prefix| (1..=32).contains(prefix))?;
            let range = Self { first, prefix };
            (u64::from(first) % range.size() == 0).then_some(range)
        };
        parse().ok_or_else(|| NoAddressRange(text.to_owned()))
    }
}

impl TryFrom<String> for AddressRange {
    type Error = NoAddressRange;

    fn try_from(text: String) -> Result<Self, NoAddressRange> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

impl std::fmt::Display for AddressRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.prefix)
    }
}

/// A subnet of a cloud network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subnet {
    /// Its name.
    pub name: String,
    /// The network it is part of.
    pub network: Network,
    /// Its addresses.
    pub range: AddressRange,
    /// Rules for traffic to any machine in it, which the machine's own rules must allow as well
    /// (CN-03).
    pub security: SecurityRules,
}

/// A machine's network card as reported by its platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NicView {
    /// Its network.
    pub network: Network,
    /// Its address: the one that was chosen, or the one that the platform assigned (CN-10).
    pub address: Option<Ipv4Addr>,
    /// Its public address; there is none until one is added (CN-04).
    pub public_address: Option<Ipv4Addr>,
    /// Rules for incoming traffic. `None`: the platform has no such rules and allows everything.
    pub security: Option<SecurityRules>,
    /// Its subnet, in a cloud. A platform may leave it out for a machine's first card, whose subnet
    /// is that of [`MachineView::placement`](crate::MachineView::placement).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
}

/// A further network card of a machine, beside its first one (FX-65). The platform gives it a
/// hardware address of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NicSpec {
    /// Its network.
    #[serde(default)]
    pub network: Network,
    /// Its subnet; `None`: one that none of the machine's other cards is in, as the platform
    /// chooses.
    #[serde(default)]
    pub subnet: Option<String>,
    /// Its address, which the platform's DHCP assigns to it; `None`: any.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
}

impl From<&NicView> for NicSpec {
    /// A card like this one: in its network and its subnet, at its address.
    fn from(nic: &NicView) -> Self {
        Self { network: nic.network, subnet: nic.subnet.clone(), address: nic.address }
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Effect of a security rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Traffic is allowed.
    Allow,
    /// Traffic is denied.
    Deny,
}

/// A rule for incoming traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecurityRule {
    /// Its name.
    pub name: String,
    /// Priority; the matching rule with the lowest number decides.
    pub priority: u16,
    /// The protocol to which it applies; `None`: any.
    pub protocol: Option<Protocol>,
    /// First and last port to which it applies; `None`: any.
    pub ports: Option<(u16, u16)>,
    /// Its effect.
    pub decision: Decision,
}

impl SecurityRule {
    /// A rule for one TCP port.
    #[must_use]
    pub fn tcp(name: &str, priority: u16, port: u16, decision: Decision) -> Self {
        let (protocol, ports) = (Some(Protocol::Tcp), Some((port, port)));
        Self { name: name.to_owned(), priority, protocol, ports, decision }
    }

    fn matches(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol.is_none_or(|wanted| wanted == protocol)
            && self.ports.is_none_or(|(first, last)| (first..=last).contains(&port))
    }
}

/// The rules of a machine or of a subnet. The first matching rule decides; traffic that matches no
/// rule is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SecurityRules(pub Vec<SecurityRule>);

impl SecurityRules {
    /// The rule that decides; among rules of equal priority, the one listed first. `None`: no rule
    /// matches, so traffic is denied.
    #[must_use]
    pub fn ruling(&self, protocol: Protocol, port: u16) -> Option<&SecurityRule> {
        self.0.iter().filter(|rule| rule.matches(protocol, port)).min_by_key(|rule| rule.priority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Ipv4Addr {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_range_is_printed_as_it_is_parsed() {
        let known = [
            ("192.0.2.0/24", AddressRange::TEST_NET_1),
            ("198.51.100.0/24", AddressRange::TEST_NET_2),
            ("203.0.113.0/24", AddressRange::TEST_NET_3),
        ];
        for (text, range) in known {
            assert_eq!((text.parse(), range.to_string().as_str()), (Ok(range), text));
        }
        for odd in ["", "192.0.2.0", "192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/0", "192.0.2/24"] {
            assert_eq!(odd.parse::<AddressRange>(), Err(NoAddressRange(odd.to_owned())));
        }
    }

    #[test]
    fn the_halves_are_disjoint_and_complete() {
        let [lower, upper] = AddressRange::TEST_NET_2.halves();
        assert_eq!([lower, upper].map(|half| half.to_string()), ["198.51.100.0/25", "198.51.100.128/25"]);
        for last in 0..=255 {
            let one = Ipv4Addr::new(198, 51, 100, last);
            assert!(lower.contains(one) != upper.contains(one), "{one}");
        }
    }

    #[test]
    fn reserved_addresses_are_not_assigned() {
        let range = AddressRange::TEST_NET_2.halves()[1];
        for (one, given) in [
            ("198.51.100.127", false),
            ("198.51.100.128", false),
            ("198.51.100.131", false),
            ("198.51.100.132", true),
            ("198.51.100.254", true),
            ("198.51.100.255", false),
        ] {
            assert_eq!(range.can_give(address(one)), given, "{one}");
        }
        assert!(range.can_give(range.dynamic()));
    }

    #[test]
    fn the_matching_rule_with_the_lowest_priority_number_decides() {
        let rules = SecurityRules(vec![
            SecurityRule { ports: None, ..SecurityRule::tcp("rest", 400, 0, Decision::Deny) },
            SecurityRule { ports: Some((20, 30)), ..SecurityRule::tcp("some", 200, 0, Decision::Allow) },
            SecurityRule::tcp("one", 100, 23, Decision::Deny),
            SecurityRule::tcp("late", 100, 23, Decision::Allow),
        ]);
        let name = |protocol, port| rules.ruling(protocol, port).map(|rule| rule.name.as_str());
        assert_eq!(name(Protocol::Tcp, 22), Some("some"));
        assert_eq!(name(Protocol::Tcp, 23), Some("one"));
        assert_eq!(name(Protocol::Tcp, 31), Some("rest"));
        assert_eq!(name(Protocol::Udp, 22), None);
    }
}
