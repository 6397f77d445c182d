//! Replication groups: machines whose points share moments.

use contract::{GroupId, GroupPointId, ItemId, Millis, PointChoice, PointId};
use simulator::SimInstall;

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::side_effects::stood;
use crate::sim::testbed::{INTERVAL, Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[Check {
    name: "machines of a group can go back to one moment, machines of none cannot",
    rules: &[RP_11],
    setup: Setup::vmware,
    body: |lab, rules| Box::pin(one_moment(lab, rules)),
}];

async fn one_moment(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let names = ["app", "db", "web"];
    let mut items = Vec::new();
    for name in names {
        items.push(lab.protect_as(SimInstall::new(name), Some(GroupId::from("shop"))).await?);
        // So that their own intervals do not fall together by chance.
        lab.live(Millis(7_000)).await;
    }
    let alone = lab.protect("alone").await?;
    lab.live(Millis(5 * INTERVAL.0)).await;
    let shared = moments(lab, &items[0]).await?;
    let (moment, _) = shared.last().cloned().ok_or("the group has no point in common")?;
    rules.check(RP_11, moments(lab, &alone).await?.is_empty(), "a machine of no group shares no moment");
    lab.primary.lose();
    let mut between = (0, u64::MAX);
    for (name, item) in names.iter().zip(&items) {
        let own = moments(lab, item).await?.into_iter().find(|(id, _)| *id == moment);
        let (_, point) = own.ok_or_else(|| format!("{name} lacks the moment of the others"))?;
        lab.fail_over(item, PointChoice::Custom(point)).await?;
        let (source, target) = lab.boots(name)?;
        let (from, to) = stood(&source, &target)?;
        between = (between.0.max(from), between.1.min(to));
    }
    let found = format!("all were exactly so between {} and {}", between.0, between.1);
    rules.check(RP_11, between.0 <= between.1, found);
    Ok(())
}

/// The shared moments of an item's processed points.
async fn moments(lab: &Testbed, item: &ItemId) -> Result<Vec<(GroupPointId, PointId)>, String> {
    let points = lab.processed(item).await?.into_iter();
    Ok(points.filter_map(|point| Some((point.multi_vm?, point.id))).collect())
}
