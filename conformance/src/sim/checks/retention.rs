//! Retention beside a failover or a test failover and on its own, and the end of protection (FX-09
//! to FX-11, FX-40, FX-64).

use contract::{
    ErrorCode, FailoverRequest, ItemId, Millis, Platform, PlatformErrorKind, PointChoice, Policy,
    TestFailoverRequest,
};
use simulator::testbed::{
    BACK, BOOT, HOUR, INTERVAL, cloud_machine, fail_calls, failover_to, low_write_machine,
};
use simulator::{Call, SimFault, SimSite};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::rules::profile::Profile;
use crate::sim::check::{Check, against, check, missing, succeeds};
use crate::sim::checks::variety::check_exact;
use crate::sim::disks::strays;
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a point does not expire while its failover waits for the source to shut down",
        &[FX_09],
        one_hour,
        point_expires_meanwhile
    ),
    check!(
        "points expire again once a test failover is cleaned up",
        &[FX_10],
        || Setup::vmware().keeping(KEPT),
        long_test_failover
    ),
    check!("points of thirty hours are thinned out without gaps", &[FX_64], thirty_hours, no_gaps),
    check!("protection ends without the recovery site", &[FX_11], Setup::vmware, ends_without_site),
    check!(
        "protection that has ended leaves machines and their disks alone",
        &[FX_40],
        Setup::vmware,
        leaves_nothing
    ),
    check!(
        "protection that ends while volumes cannot be deleted leaves none once they can be",
        &[FX_40],
        Setup::vmware,
        ends_while_deletion_fails
    ),
];

/// How many points the policy of [`long_test_failover`] keeps.
const KEPT: u32 = 3;

fn one_hour() -> Setup {
    Setup::vmware().with_policy(|policy| Policy { retention: HOUR, most_points: None, ..policy })
}

async fn point_expires_meanwhile(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 1).await?;
    testbed.advance(HOUR).await;
    testbed.wait_until_idle().await?;
    let now = testbed.world.clock().now();
    // It expires within a few intervals, and not before the request is answered.
    let lasts = |age: Millis| age.0 + INTERVAL.0 / 2 <= HOUR.0;
    let points = testbed.processed_points(&item).await?;
    let oldest = points.into_iter().find(|point| lasts(now.since(point.time)));
    let oldest = oldest.ok_or_else(|| missing("a processed point"))?;
    testbed.primary.inject(&SimFault::ShutdownRefused("web".into()));
    let request = FailoverRequest {
        shut_down_source: true,
        shutdown_within: Millis(10 * INTERVAL.0),
        ..failover_to(&item, PointChoice::Custom(oldest.id))
    };
    let failed_over = testbed.fail_over_as(&request).await.map_err(|end| against(rules, FX_09, end));
    succeeds(rules, (FX_09, "the failover to a point that expired meanwhile"), failed_over)?;
    testbed.advance(BOOT).await;
    check_exact(rules, FX_09, &testbed.boots("web")?)
}

async fn long_test_failover(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    let oldest = testbed.oldest_point(&item).await?;
    let request = TestFailoverRequest::isolated(&item, PointChoice::Custom(oldest.id));
    testbed.completed(testbed.core.test_failover(&request).await).await?;
    testbed.advance(Millis(40 * INTERVAL.0)).await;
    testbed.completed(testbed.core.clean_up_test_failover(&item).await).await?;
    testbed.advance(Millis(10 * INTERVAL.0)).await;
    testbed.wait_until_idle().await?;
    let points = testbed.processed_points(&item).await?.len();
    let found = format!("ten intervals after the clean-up there are {points} points; {KEPT} are kept");
    // A point may have come since retention was last applied.
    rules.check(FX_10, points <= 2 * KEPT as usize + 1, found);
    Ok(())
}

/// Time between two transfers in [`no_gaps`]: no period of EX-R4 is a multiple of it.
const ODD_INTERVAL: Millis = Millis(13 * 60_000);

/// Points are kept as densely as the longest retention keeps them.
fn thirty_hours() -> Setup {
    Setup::vmware().with_policy(|policy| Policy {
        most_points: None,
        ..Policy::for_machines_of(policy.source, ODD_INTERVAL)
    })
}

async fn no_gaps(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect_machine(&low_write_machine("web")).await?;
    testbed.wait_for_points(&item, 1).await?;
    let began = testbed.world.clock().now();
    testbed.advance(Millis(30 * HOUR.0)).await;
    for minutes in [0, 41, 83] {
        testbed.advance(Millis(minutes * 60_000)).await;
        testbed.wait_until_idle().await?;
        let now = testbed.world.clock().now();
        let mut times = vec![began];
        times.extend(testbed.processed_points(&item).await?.into_iter().map(|point| point.time));
        times.push(now);
        times.sort();
        let gaps = times.windows(2).map(|pair| (pair[1].since(pair[0]), now.since(pair[0])));
        let too_long = gaps.into_iter().find(|(gap, age)| gap.0 > longest_gap(*age).0);
        let found = match too_long {
            Some((gap, age)) => format!("nothing is offered for {gap}, beginning {age} ago"),
            None => format!("{} points of {} without a gap", times.len() - 2, now.since(began)),
        };
        rules.check(FX_64, too_long.is_none(), found);
    }
    Ok(())
}

/// The longest time between two points of which the older one has this age: one and a half of the
/// period that one point is kept of. Where all points are kept, the first period is allowed.
fn longest_gap(age: Millis) -> Millis {
    let tiers = Profile::active().thinning_tiers_hours();
    let mut tiers = tiers.iter().filter_map(|tier| Some((*tier.first()?, *tier.last()?)));
    let first = tiers.clone().next();
    let reached = tiers.rfind(|(older, _)| age.0 > older * HOUR.0);
    reached.or(first).map_or(Millis(0), |(_, period)| Millis(period * HOUR.0 / 2 * 3))
}

async fn ends_without_site(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.recovery.lose();
    testbed.advance(Millis(5 * INTERVAL.0)).await;
    let ended = testbed.completed(testbed.core.disable_protection(&item).await).await;
    let is_over = ended.is_ok();
    let runs = testbed.primary.last_boot(&"web".into()).is_some_and(|boot| boot.ended().is_none());
    let words = ended.map_or_else(|end| end.to_string(), |job| format!("{:?}", job.state));
    rules.check(FX_11, is_over && runs, format!("protection without its site: {words}; web runs: {runs}"));
    testbed.recovery.restore();
    Ok(())
}

/// Ends the protection of three machines: one has a test failover and a failover that failed, one
/// has failed over, and one replicates back.
async fn leaves_nothing(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let tested = testbed.protect("tested").await?;
    let away = testbed.protect("away").await?;
    let back = testbed.protect("back").await?;
    testbed.wait_for_points(&back, 3).await?;
    for item in [&away, &back] {
        testbed.fail_over(item, PointChoice::Latest).await?;
        testbed.commit(item).await?;
    }
    testbed.reprotect(&testbed.reprotection(&back, BACK)).await?;
    testbed.wait_for_points(&back, 3).await?;
    fail_calls(&testbed.recovery, Call::CreateMachine, PlatformErrorKind::Failed);
    testbed.ended(testbed.core.failover(&failover_to(&tested, PointChoice::Latest)).await).await?;
    testbed.recovery.heal();
    testbed.wait_for_points(&tested, 1).await?;
    let request = TestFailoverRequest::isolated(&tested, PointChoice::LatestProcessed);
    testbed.completed(testbed.core.test_failover(&request).await).await?;
    end_with_test_failover(testbed, &tested).await?;
    for item in [&away, &back] {
        testbed.completed(testbed.core.disable_protection(item).await).await?;
    }
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    for (what, site) in [("primary", &testbed.primary), ("recovery", &testbed.recovery)] {
        let strays = strays(site).await.map_err(|end| against(rules, FX_40, end))?;
        rules.check(
            FX_40,
            strays.is_empty(),
            format!("volumes of no machine at the {what} site: {strays:?}"),
        );
    }
    let copies = testbed.recovery.machines().await?.len();
    let run =
        |site: &SimSite, name: &str| site.last_boot(&name.into()).is_some_and(|it| it.ended().is_none());
    let running = [
        run(&testbed.primary, "tested"),
        run(&testbed.recovery, &cloud_machine("away").0),
        run(&testbed.recovery, &cloud_machine("back").0),
    ];
    let found = format!("{copies} machines at the recovery site; those that ran before run: {running:?}");
    rules.check(FX_40, copies == 2 && running == [true; 3], found);
    Ok(())
}

/// The site answers, and every deletion fails. A core may fail the job, end it and delete the
/// volumes later, or wait, but must not forget them.
async fn ends_while_deletion_fails(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    fail_calls(&testbed.recovery, Call::DeleteVolume, PlatformErrorKind::Failed);
    let first = testbed.core.disable_protection(&item).await;
    testbed.advance(Millis(2 * INTERVAL.0)).await;
    testbed.recovery.heal();
    let first = testbed.ended(first).await?;
    if testbed.core.item(&item).await.is_ok() {
        let again = testbed.completed(testbed.core.disable_protection(&item).await).await;
        succeeds(rules, (FX_40, "to end protection once volumes can be deleted"), again)?;
    }
    testbed.advance(Millis(3 * INTERVAL.0)).await;
    let strays = strays(&testbed.recovery).await.map_err(|end| against(rules, FX_40, end))?;
    let found = format!("the first job ended {:?}; volumes of no machine: {strays:?}", first.state);
    rules.check(FX_40, strays.is_empty(), found);
    Ok(())
}

/// Ends the protection of a machine that has a test failover, which a core may want cleaned up
/// first.
async fn end_with_test_failover(testbed: &Testbed, item: &ItemId) -> Result<(), EarlyEnd> {
    let mut asked = testbed.core.disable_protection(item).await;
    if asked.as_ref().is_err_and(|refusal| refusal.code == ErrorCode::NotAllowedInState) {
        testbed.completed(testbed.core.clean_up_test_failover(item).await).await?;
        asked = testbed.core.disable_protection(item).await;
    }
    testbed.completed(asked).await?;
    Ok(())
}
