//! Network cards of machines.

use std::net::Ipv4Addr;

use contract::{AddressRange, Network, NicView, SecurityRules};

/// The address by which a client outside reaches a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The address in its network, reached through the private connection.
    Private,
    /// The public address.
    Public,
}

impl Way {
    /// Both ways.
    pub const ALL: [Self; 2] = [Self::Private, Self::Public];

    /// The loopback address that represents it on the host.
    #[must_use]
    pub fn loopback(self) -> Ipv4Addr {
        match self {
            Self::Private => Ipv4Addr::LOCALHOST,
            Self::Public => Ipv4Addr::new(127, 0, 0, 2),
        }
    }
}

/// A machine's network card.
#[derive(Clone, Debug)]
pub struct Nic {
    /// Its network.
    pub(crate) network: Network,
    /// Its subnet, in a cloud.
    pub(crate) subnet: Option<String>,
    /// Addresses of its network or subnet.
    pub range: AddressRange,
    /// Its address.
    pub address: Ipv4Addr,
    /// Whether the address was chosen, so that no other machine gets it.
    pub(crate) chosen: bool,
    pub(crate) public: bool,
    /// Its own security rules, in a cloud.
    pub(crate) security: Option<SecurityRules>,
}

impl Nic {
    pub(crate) fn view(&self) -> NicView {
        NicView {
            network: self.network,
            address: Some(self.address),
            public_address: self.public.then(|| Way::Public.loopback()),
            security: self.security.clone(),
            subnet: self.subnet.clone(),
        }
    }
}
