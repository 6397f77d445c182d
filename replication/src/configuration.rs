//! Settings of the target machine (FO-17), and checks that find what would prevent it from working
//! (MO-03).

use std::sync::{Arc, Weak};

use contract::{
    Component, ConfigurationIssue, CoreError, ErrorCode, GuestOs, IssueClass, ItemId, ItemView, Millis,
    NicSpec, Phase, Side, Subnet, Subscription, TargetSettings,
};

use crate::clock::Clock;
use crate::context::Context;
use crate::item::Item;
use crate::item_view;
use crate::preconditions::check_target_name;
use crate::state::Record;

/// Interval of the regular configuration checks (EX-M3).
const CHECK_EVERY: Millis = Millis(12 * 3600 * 1000);

/// Changes an item's target settings and checks the configuration.
pub(crate) async fn update_target(
    ctx: &Context,
    item: &ItemId,
    target: &TargetSettings,
) -> Result<ItemView, CoreError> {
    let item = ctx.find(item).await?;
    let at = (item.record.lock().await.recovery.0.clone(), target.machine.clone());
    for other in ctx.all_items().await {
        if other.id != item.id && other.record.lock().await.recovery == at {
            let text = format!("machine {} is already the target of item {}", at.1, other.id);
            return Err(CoreError::new(ErrorCode::AlreadyProtected, text));
        }
    }
    ctx.try_update(&item, |record| {
        item.ensure_idle()?;
        let before_failover = record.protection.active == Side::Primary
            && matches!(record.protection.phase, Phase::InitialReplication | Phase::Protected);
        if !before_failover {
            let text = format!("{} has failed over; its target settings can no longer change", record.id);
            return Err(CoreError::new(ErrorCode::NotAllowedInState, text));
        }
        check_target_name(&target.machine)?;
        record.recovery.1 = target.machine.clone();
        record.target = target.clone();
        Ok(())
    })
    .await?;
    check(ctx, &item).await?;
    item_view::show(ctx, &item).await
}

/// Checks an item's configuration on request.
pub(crate) async fn check_now(ctx: &Context, item: &ItemId) -> Result<ItemView, CoreError> {
    let item = ctx.find(item).await?;
    check(ctx, &item).await?;
    item_view::show(ctx, &item).await
}

/// Checks every item's configuration at regular intervals, as long as the core exists.
pub(crate) async fn check_regularly(clock: Clock, ctx: Weak<Context>) {
    loop {
        clock.sleep(CHECK_EVERY).await;
        let Some(ctx) = ctx.upgrade() else { return };
        for item in ctx.all_items().await {
            if let Err(error) = check(&ctx, &item).await {
                tracing::warn!(item = %item.id, %error, "the configuration check failed");
            }
        }
    }
}

/// Checks an item's configuration and records the findings.
pub(crate) async fn check(ctx: &Context, item: &Arc<Item>) -> Result<(), CoreError> {
    let record = item.record.lock().await.clone();
    let there = ctx.platform(&record.recovery.0)?.infrastructure().await?;
    // If the primary site is lost, only the checks that need it are left out.
    let here = ctx.platform(&record.primary.0)?.infrastructure().await.unwrap_or_default();
    let issues = issues(&record, &here, &there);
    if issues == record.issues {
        return Ok(());
    }
    ctx.update(item, |record| record.issues = issues).await
}

fn issues(record: &Record, here: &[Component], there: &[Component]) -> Vec<ConfigurationIssue> {
    let mut found = Vec::new();
    let mut add = |class, what: String| found.push(ConfigurationIssue { class, what });
    if record.target.network.is_none() {
        add(IssueClass::MissingConfiguration, "no network is chosen for the target; choose one".to_owned());
    }
    if let Some(subscription) = there.iter().find_map(Component::subscription) {
        for (what, name) in missing(&record.target, subscription) {
            let text = format!("{what} {name} no longer exists; create it again or choose another");
            add(IssueClass::MissingResource, text);
        }
        for text in stray_addresses(&record.target, subscription) {
            add(IssueClass::MissingResource, text);
        }
        let cores = cores(&record.target, subscription);
        if record.protection.active == Side::Primary && cores > subscription.cores_left {
            let left = subscription.cores_left;
            let text =
                format!("the target needs {cores} cores and the quota leaves {left}; request a higher quota");
            add(IssueClass::SubscriptionQuota, text);
        }
    }
    if record.source_identity.os == GuestOs::Linux && !record.source_identity.guest.ssh_at_boot {
        // CN-01: the target would boot, but nobody could log in.
        let text = "the SSH server does not start at boot, so nobody could log in to the target; enable it";
        add(IssueClass::MissingConfiguration, text.to_owned());
    }
    let newest = here.iter().find_map(|component| Some(component.configuration_server()?.agent));
    let installed = record.source_identity.guest.agent;
    if let Some(newest) = newest.filter(|newest| installed < *newest) {
        let text = format!("the agent is version {installed}; version {newest} is available");
        add(IssueClass::SoftwareUpdate, text);
    }
    found
}

/// Resources that the settings name and the subscription does not have: kind and name.
fn missing<'a>(target: &'a TargetSettings, has: &Subscription) -> Vec<(&'static str, &'a String)> {
    let place = &target.placement;
    let network = target.network.unwrap_or_default();
    let subnets = has.subnets.iter().filter(|subnet| subnet.network == network);
    let subnets: Vec<_> = subnets.map(|subnet| subnet.name.clone()).collect();
    let named_by_nics = target.more_nics.iter().filter_map(|nic| nic.subnet.as_ref().zip(Some(nic.network)));
    let missing_by_nics = named_by_nics.filter(|(name, network)| has.subnet(*network, Some(name)).is_none());
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
    let of_nics = missing_by_nics.map(|(name, _)| ("subnet", name));
    named.into_iter().filter_map(lacks).chain(of_nics).collect()
}

/// An issue for each card whose chosen subnet cannot assign the chosen address (CN-10).
fn stray_addresses(target: &TargetSettings, has: &Subscription) -> Vec<String> {
    let first = NicSpec {
        network: target.network.unwrap_or_default(),
        subnet: target.placement.subnet.clone(),
        address: target.placement.address,
    };
    let stray = |nic: &NicSpec| {
        let address = nic.address?;
        let Subnet { name, range, .. } = has.subnet(nic.network, nic.subnet.as_deref())?;
        let text = || format!("subnet {name} ({range}) cannot assign address {address}; choose another");
        (!range.can_give(address)).then(text)
    };
    std::iter::once(&first).chain(&target.more_nics).filter_map(stray).collect()
}

/// Number of cores of the target's size.
fn cores(target: &TargetSettings, has: &Subscription) -> u32 {
    let named = target.placement.size.as_ref();
    let size = named.and_then(|name| has.sizes.iter().find(|size| size.name == *name));
    size.map_or(1, |size| size.cores)
}
