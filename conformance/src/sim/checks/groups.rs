//! Replication groups: machines with recovery points of the same moment.

use contract::{GroupPointId, ItemId, Millis, PointChoice, PointId, Timestamp};
use simulator::testbed::{INTERVAL, Validity, low_write_machine};
use simulator::{Link, SimInstall};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::amounts::filling;
use crate::sim::check::{Check, against, check, missing};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

/// How much older than an interval the state of a group may be. A simulated transfer takes no time.
const TOLERANCE: Millis = Millis(5_000);

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "machines of a group share recovery points of one moment, a machine without a group does not",
        &[FO_10, RP_11],
        Setup::vmware,
        one_moment
    ),
    check!(
        "machines of a group share a moment also if one of them takes longer than an interval",
        &[RP_11],
        Setup::vmware,
        one_is_slow
    ),
];

async fn one_moment(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let names = ["app", "db", "web"];
    let mut items = Vec::new();
    for name in names {
        items.push(testbed.protect_in_group(&SimInstall::new(name), Some("shop")).await?);
        // Intervals of the machines' own would not coincide by chance.
        testbed.advance(Millis(7_000)).await;
    }
    let alone = testbed.protect("alone").await?;
    testbed.advance(Millis(5 * INTERVAL.0)).await;
    let shared = shared_points(testbed, &items[0]).await?;
    let (moment, _) = shared.last().cloned().ok_or_else(|| missing("a point that the group shares"))?;
    let shared = shared_points(testbed, &alone).await?.len();
    rules.check(RP_11, shared == 0, format!("a machine without a group shares {shared} points"));
    let disaster = testbed.primary.lose();
    let mut common = Validity::ALWAYS;
    for (name, item) in names.iter().zip(&items) {
        let own = shared_points(testbed, item).await?.into_iter().find(|(id, _)| *id == moment);
        let (_, point) = own.ok_or_else(|| missing(format!("the shared point of {name}")))?;
        // A machine that is in no state of its own is in no common one either.
        let failed_over = testbed.fail_over(item, PointChoice::Custom(point)).await;
        failed_over.map_err(|end| against(rules, RP_11, end))?;
        common = common.intersect(testbed.boots(name)?.validity()?);
    }
    let found = format!("all are in their state between {} and {} ms", common.from, common.until);
    rules.check(RP_11, common.is_possible(), found);
    // What the group lacks was written after this.
    let age = disaster.since(Timestamp(common.until));
    let found = format!("the newest point that the group shares lacks writes that were {age} old");
    rules.check(FO_10, age.0 <= INTERVAL.0 + TOLERANCE.0, found);
    Ok(())
}

/// The site is lost while the transfers of one machine lie behind those of the other.
async fn one_is_slow(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let names = ["large", "small"];
    let large = testbed.protect_in_group(&filling("large"), Some("shop")).await?;
    let small = testbed.protect_in_group(&low_write_machine("small"), Some("shop")).await?;
    testbed.advance(Millis(5 * INTERVAL.0)).await;
    testbed.primary.set_link(Link { bytes_per_second: 2048, ..Link::default() });
    testbed.advance(Millis(5 * INTERVAL.0 / 2)).await;
    testbed.primary.lose();
    testbed.primary.set_link(Link::default());
    let of_small = shared_points(testbed, &small).await?;
    let of_large = shared_points(testbed, &large).await?;
    let both = of_large.iter().rev().find(|(id, _)| of_small.iter().any(|(other, _)| other == id));
    let (moment, _) = both.cloned().ok_or_else(|| missing("a point that the group shares"))?;
    let mut common = Validity::ALWAYS;
    for (name, (item, points)) in names.iter().zip([(&large, of_large), (&small, of_small)]) {
        let own = points.into_iter().find(|(id, _)| *id == moment);
        let (_, point) = own.ok_or_else(|| missing(format!("the shared point of {name}")))?;
        let failed_over = testbed.fail_over(item, PointChoice::Custom(point)).await;
        failed_over.map_err(|end| against(rules, RP_11, end))?;
        common = common.intersect(testbed.boots(name)?.validity()?);
    }
    let found = format!("both are in their state between {} and {} ms", common.from, common.until);
    rules.check(RP_11, common.is_possible(), found);
    Ok(())
}

/// An item's processed points that other machines share.
async fn shared_points(testbed: &Testbed, item: &ItemId) -> Result<Vec<(GroupPointId, PointId)>, EarlyEnd> {
    let points = testbed.processed_points(item).await?.into_iter();
    Ok(points.filter_map(|point| Some((point.multi_vm?, point.id))).collect())
}
