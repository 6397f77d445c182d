//! Addresses of the scenario, and those that a guest has.

use std::net::Ipv4Addr;

use contract::AddressRange;

use crate::blame::ScenarioError;
use crate::real::edge::recover::describe_again;
use crate::real::machine::Running;

/// The subnet in which the machine is to come up; not the first one.
pub(super) const SUBNET: &str = "backend";
/// The address at which it is to come up; not the one that it would get by itself.
pub(super) const CHOSEN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 140);
/// An address of another subnet.
pub(super) const STRAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 40);
/// The source's address, which is set inside the guest.
pub(super) const STATIC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
/// Addresses of test failovers.
pub(super) const ISOLATED: AddressRange = AddressRange::TEST_NET_3;

/// The addresses of a guest's network cards, as the guest sees them.
pub(super) async fn addresses_inside(machine: &Running) -> Result<Vec<String>, ScenarioError> {
    let hello = describe_again(&machine.boot.guest).await?;
    Ok(hello.nics.into_iter().map(|nic| nic.address).collect())
}
