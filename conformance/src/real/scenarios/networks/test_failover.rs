//! A test failover in the isolated network: the machine has an address of that network, and no
//! security rule lets anybody in (TF-04, ST-06).

use contract::{Decision, Network, Platform, PointChoice, TestFailoverRequest};
use inventory::Way;

use super::addresses::{ISOLATED, addresses_inside};
use super::ssh_probe::{SshProbe, rules};
use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::edge::recover::{RecoveryTarget, recover};
use crate::real::machine::Running;
use crate::real::scenarios::test_failover::{clean_up, test_machine_id};
use crate::rules::ids::*;
use crate::ssh::Key;

/// Name of this part in progress and trace. It is no edge: its disks are not judged.
const LABEL: &str = "test-failover";
/// The subnet of the isolated network.
const SUBNET: &str = "test-failovers";

pub(super) async fn run(context: &ScenarioContext, key: &Key) -> Result<(), ScenarioError> {
    let site = &context.recovery;
    let request = TestFailoverRequest {
        item: context.item.clone(),
        point: PointChoice::LatestProcessed,
        network: Network::Isolated,
    };
    let job = context.core.test_failover(&request).await?;
    let target = RecoveryTarget::new_machine(site, test_machine_id(context, &job).await?);
    let recovered = recover(context, LABEL, &target, &job).await?;
    let running =
        Running { site: site.clone(), boot: recovered.boot.clone(), initial_record: recovered.last_record() };
    let network = site.machine(&target.machine).await?.nic.network;
    let inside = addresses_inside(&running).await?;
    let in_range = |address: &String| address.parse().is_ok_and(|address| ISOLATED.contains(address));
    let isolated = network == Network::Isolated && !inside.is_empty() && inside.iter().all(in_range);
    context.check(TF_04, isolated, format!("{network:?}, addresses inside: {inside:?}"));
    if isolated {
        site.secure_machine(&target.machine, rules(Decision::Allow)).await?;
        site.secure_subnet(SUBNET, rules(Decision::Allow)).await?;
        let probe = SshProbe::to(context, site, &running, key).await?;
        probe.check_refused(Way::Private, "a test failover").await?;
    }
    clean_up(context, LABEL, &recovered).await
}
