//! What a machine shall look like on the recovery side (FO-17), and what would keep it from coming up there as it is
//! configured (MO-03).

use std::sync::{Arc, Weak};
use std::time::Duration;

use contract::{
    Component, ConfigurationIssue, CoreError, ErrorCode, GuestOs, IssueClass, ItemId, ItemView, Phase, Side,
    Subnet, Subscription, TargetSettings,
};

use crate::core::Inner;
use crate::item::{Item, Record};
use crate::preconditions::target as conforms;
use crate::run::free;

/// How often every item's configuration is looked at (EX-M3).
const LOOK_EVERY: Duration = Duration::from_secs(12 * 3600);

/// Changes an item's target settings.
pub(crate) async fn update_target(
    core: &Inner,
    item: &ItemId,
    target: &TargetSettings,
) -> Result<ItemView, CoreError> {
    let item = core.find(item).await?;
    let at = (item.record.lock().await.recovery.0.clone(), target.machine.clone());
    for other in core.all_items().await {
        if other.id != item.id && other.record.lock().await.recovery == at {
            let text = format!("machine {} is the target of item {} already", at.1, other.id);
            return Err(CoreError::new(ErrorCode::AlreadyProtected, text));
        }
    }
    core.try_update(&item, |record| {
        free(&item)?;
        let before_failover = record.protection.active == Side::Primary
            && matches!(record.protection.phase, Phase::InitialReplication | Phase::Protected);
        if !before_failover {
            let text = format!("{} has failed over; its target is what it is", record.id);
            return Err(CoreError::new(ErrorCode::NotAllowedInState, text));
        }
        conforms::check_name(&target.machine)?;
        record.recovery.1 = target.machine.clone();
        record.target = target.clone();
        Ok(())
    })
    .await?;
    look(core, &item).await?;
    core.view(&item).await
}

/// Looks at an item's configuration now.
pub(crate) async fn check(core: &Inner, item: &ItemId) -> Result<ItemView, CoreError> {
    let item = core.find(item).await?;
    look(core, &item).await?;
    core.view(&item).await
}

/// Looks at every item's configuration at regular times, as long as there is a core.
pub(crate) async fn look_regularly(core: Weak<Inner>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(core) = core.upgrade() else { return };
        for item in core.all_items().await {
            if let Err(error) = look(&core, &item).await {
                tracing::warn!(item = %item.id, %error, "the configuration could not be looked at");
            }
        }
    }
}

pub(crate) async fn look(core: &Inner, item: &Arc<Item>) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let there = core.platform(&record.recovery.0)?.infrastructure().await?;
    // A site that is lost has other troubles than its agents' versions.
    let here = core.platform(&record.primary.0)?.infrastructure().await.unwrap_or_default();
    let issues = issues(&record, &here, &there);
    if issues == record.issues {
        return Ok(());
    }
    core.update(item, |record| record.issues = issues).await
}

fn issues(record: &Record, here: &[Component], there: &[Component]) -> Vec<ConfigurationIssue> {
    let mut found = Vec::new();
    let mut add = |class, what: String| found.push(ConfigurationIssue { class, what });
    if record.target.network.is_none() {
        add(IssueClass::MissingConfiguration, "no network is chosen for the target; choose one".to_owned());
    }
    if let Some(subscription) = there.iter().find_map(Component::subscription) {
        for (what, name) in missing(&record.target, subscription) {
            let text = format!("{what} {name} is not there any more; make it again or choose another");
            add(IssueClass::MissingResource, text);
        }
        if let Some(text) = stray_address(&record.target, subscription) {
            add(IssueClass::MissingResource, text);
        }
        let cores = cores(&record.target, subscription);
        if record.protection.active == Side::Primary && cores > subscription.cores_left {
            let left = subscription.cores_left;
            let text = format!("the target needs {cores} cores and the quota leaves {left}; have it raised");
            add(IssueClass::SubscriptionQuota, text);
        }
    }
    if record.origin.os == GuestOs::Linux && !record.origin.guest.ssh_at_boot {
        // CN-01: it comes up, and nobody can log in to see to it.
        let text =
            "the SSH server does not start at boot, and nobody could log in to the target; let it start";
        add(IssueClass::MissingConfiguration, text.to_owned());
    }
    let newest = here.iter().find_map(|component| Some(component.configuration_server()?.agent));
    let installed = record.origin.guest.agent;
    if let Some(newest) = newest.filter(|newest| installed < *newest) {
        let text = format!("the agent is version {installed}; {newest} is there to be installed");
        add(IssueClass::SoftwareUpdate, text);
    }
    found
}

/// Names in the settings of which the subscription has nothing.
fn missing<'a>(target: &'a TargetSettings, has: &Subscription) -> Vec<(&'static str, &'a String)> {
    let place = &target.placement;
    let network = target.network.unwrap_or_default();
    let subnets = has.subnets.iter().filter(|subnet| subnet.network == network);
    let subnets: Vec<_> = subnets.map(|subnet| subnet.name.clone()).collect();
    let sizes: Vec<_> = has.sizes.iter().map(|size| size.name.clone()).collect();
    let named = [
        ("resource group", &place.resource_group, &has.resource_groups),
        ("subnet", &place.subnet, &subnets),
        ("availability set", &place.availability_set, &has.availability_sets),
        ("size", &place.size, &sizes),
    ];
    let lacks = |(what, name, all): (&'static str, &'a Option<String>, &Vec<String>)| {
        name.as_ref().filter(|name| !all.contains(name)).map(|name| (what, name))
    };
    named.into_iter().filter_map(lacks).collect()
}

/// An address that the chosen subnet does not have (CN-10).
fn stray_address(target: &TargetSettings, has: &Subscription) -> Option<String> {
    let address = target.placement.address?;
    let subnet = has.subnet(target.network.unwrap_or_default(), target.placement.subnet.as_deref())?;
    let text = || {
        let Subnet { name, range, .. } = subnet;
        format!("subnet {name} ({range}) has no address {address} to give; choose another")
    };
    (!subnet.range.can_give(address)).then(text)
}

fn cores(target: &TargetSettings, has: &Subscription) -> u32 {
    let named = target.placement.size.as_ref();
    let size = named.and_then(|name| has.sizes.iter().find(|size| size.name == *name));
    size.map_or(1, |size| size.cores)
}
