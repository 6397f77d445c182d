//! A test failover in the isolated network: an address of that network, and no way in whatever the rules say (TF-04).

use contract::{Decision, MachineId, Network, Platform, PointChoice, TestFailoverRequest};
use inventory::Way;

use super::ISOLATED;
use super::address_inside;
use super::ssh_probe::{Visitor, rules};
use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::edge;
use crate::real::machine::Running;
use crate::real::scenarios::test_failover;
use crate::rules::ids::*;
use crate::ssh::Key;

const EDGE: &str = "test-failover";
/// The subnet of the isolated network.
const SUBNET: &str = "test-failovers";

pub(crate) async fn hold(world: &ScenarioContext, key: &Key) -> Result<(), ScenarioError> {
    let (item, point, network) = (world.item.clone(), PointChoice::LatestProcessed, Network::Isolated);
    let job = world.core.test_failover(&TestFailoverRequest { item, point, network }).await?;
    let machine = MachineId(format!("{}-test", world.machine));
    let recovered = edge::recover(world, EDGE, &world.recovery, &machine, 0, &job).await?;
    let initial_record = recovered.findings.ledger.contiguous;
    let running = Running { site: world.recovery.clone(), boot: recovered.boot.clone(), initial_record };
    let nic = world.recovery.machine(&machine).await?.nic;
    let inside = address_inside(&running).await?;
    let apart = |address: &String| address.parse().is_ok_and(|address| ISOLATED.contains(address));
    let isolated = nic.network == Network::Isolated && !inside.is_empty() && inside.iter().all(apart);
    world.check(TF_04, isolated, format!("{:?}, addresses inside: {inside:?}", nic.network));
    world.recovery.secure_machine(&machine, rules(Decision::Allow)).await?;
    world.recovery.secure_subnet(SUBNET, rules(Decision::Allow)).await?;
    let visitor = Visitor::of(world, &running, key).await?;
    visitor.is_shut_out(TF_04, Way::Private, "a test failover").await?;
    test_failover::clean_up(world, EDGE, &recovered).await
}
