//! A drill in the isolated network: an address of that network, and no way in whatever the rules say (TF-04).

use contract::{Decision, MachineId, Network, Platform, PointChoice, TestFailoverRequest};
use standins::Way;

use super::super::world::World;
use super::super::{Halt, Running, drill, edge};
use super::login::{Visitor, rules};
use super::{ISOLATED, address_inside};
use crate::ssh::Key;

const EDGE: &str = "test-failover";
/// The subnet of the isolated network.
const SUBNET: &str = "drills";

pub(super) async fn hold(world: &World, key: &Key) -> Result<(), Halt> {
    let (item, point, network) = (world.item.clone(), PointChoice::LatestProcessed, Network::Isolated);
    let job = world.core.test_failover(&TestFailoverRequest { item, point, network }).await?;
    let machine = MachineId(format!("{}-test", world.machine));
    let recovered = edge::recover(world, EDGE, &world.recovery, &machine, 0, &job).await?;
    let already = recovered.findings.ledger.contiguous;
    let running = Running { site: world.recovery.clone(), boot: recovered.boot.clone(), already };
    let nic = world.recovery.machine(&machine).await?.nic;
    let inside = address_inside(&running).await?;
    let apart = |address: &String| address.parse().is_ok_and(|address| ISOLATED.contains(address));
    let isolated = nic.network == Network::Isolated && !inside.is_empty() && inside.iter().all(apart);
    world.expect("TF-04", isolated, format!("{:?}, addresses inside: {inside:?}", nic.network)).await;
    world.recovery.secure_machine(&machine, rules(Decision::Allow)).await?;
    world.recovery.secure_subnet(SUBNET, rules(Decision::Allow)).await?;
    let visitor = Visitor::of(world, &running, key).await?;
    visitor.is_shut_out("TF-04", Way::Private, "a drill").await?;
    drill::clean_up(world, EDGE, &recovered).await
}
