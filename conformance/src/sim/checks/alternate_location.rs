//! Failback to another machine than the one that was protected, or to another site (RE-05, FB-10,
//! PH).

use contract::{
    ErrorCode, ItemId, Millis, Platform, PointChoice, Policy, PowerState, ReprotectRequest, Side, Step,
    TestFailoverRequest,
};
use simulator::testbed::preconditions::{master_target, vcenter};
use simulator::testbed::{BACK, BOOT, INTERVAL, item_of, kept, volume_content};
use simulator::{SimInstall, SimProfile, SimSite};

use crate::rules::ids::*;
use crate::rules::{RuleId, RuleLog};
use crate::sim::check::{Check, check, check_that, step, succeeds};
use crate::sim::disks::nonzero_bytes;
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::forbids;
use crate::sim::testbed::{Setup, Testbed};

/// Granularity of simulated storage, in bytes.
const CHUNK: u64 = 4096;

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a deleted machine is created again by its reprotection, and all its content is transferred",
        &[FB_10, RE_05, RE_26, RE_28],
        Setup::vmware,
        deleted_machine
    ),
    check!(
        "a machine fails back to another VMware site and is protected there from then on",
        &[FB_10, RE_05, RE_18],
        Setup::vmware,
        another_site
    ),
    check!(
        "a machine does not fail back to a site where another one has its name, until that is gone",
        &[EX_B2],
        Setup::vmware,
        name_taken
    ),
    check!(
        "a physical server fails back to a VMware site and to no other",
        &[FB_10, PH_01, PH_02, PH_03, PH_04, RE_05],
        || {
            let app_consistent_every = Some(Millis(3 * INTERVAL.0));
            Setup::of(SimProfile::PHYSICAL).with_policy(|policy| Policy { app_consistent_every, ..policy })
        },
        physical
    ),
    check!(
        "a machine of a cloud region is not reprotected to the region in which it runs",
        &[LC_02],
        || Setup::of(SimProfile::AZURE),
        runs_there
    ),
    check!(
        "a machine of a KVM host is not reprotected to the site on which it runs",
        &[LC_02],
        || Setup::of(SimProfile::KVM),
        runs_there
    ),
];

/// How much of the cloud machine's disks is not zero, in bytes.
async fn nonzero_content(testbed: &Testbed) -> Result<u64, EarlyEnd> {
    let mut bytes = 0;
    for disk in testbed.copy_of("web").await?.disks {
        bytes += nonzero_bytes(&volume_content(&testbed.recovery, &disk.volume)?, CHUNK);
    }
    Ok(bytes)
}

/// Reprotects to a site without the machine: the core creates the machine, leaves it off, and
/// transfers everything.
async fn creates_machine(
    testbed: &Testbed,
    (rules, about): (&mut RuleLog, &[RuleId]),
    request: &ReprotectRequest,
    site: &SimSite,
) -> Result<(), EarlyEnd> {
    let before = site.machines().await?.len();
    let written = site.written().0;
    let content = nonzero_content(testbed).await?;
    let job = testbed.reprotect(request).await?;
    let created = step(&job, Step::CREATE_MACHINE).is_some();
    let power = testbed.machine_at(site, "web").await?.power;
    let made = created && before == 0 && power == PowerState::Off;
    testbed.wait_for_points(&request.item, 1).await?;
    let arrived = site.written().0 - written;
    let found = format!(
        "the job shows that it created the machine: {created}; the machine is {power:?}; {arrived} bytes \
         arrived, {content} have content"
    );
    for rule in about {
        rules.check(*rule, made && arrived >= content && content > 0, found.clone());
    }
    Ok(())
}

/// Fails back to a site and returns whether nothing was lost.
async fn fails_back(testbed: &Testbed, item: &ItemId, site: &SimSite) -> Result<bool, EarlyEnd> {
    testbed.wait_for_points(item, 3).await?;
    testbed.fail_back(item).await?;
    Ok(testbed.came_back("web", site)?)
}

async fn deleted_machine(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    let original = testbed.machine_at(&testbed.primary, "web").await?;
    testbed.primary.delete_machine(&original.id).await?;
    for disk in &original.disks {
        testbed.primary.delete_volume(&disk.volume).await?;
    }
    let good = testbed.reprotection(&item, BACK);
    let to = |datastore: &str| ReprotectRequest { datastore: Some(datastore.into()), ..good.clone() };
    let what = (RE_26, "disks in a datastore that does not exist");
    let unknown = [ErrorCode::DatastoreUnknown];
    forbids(testbed, rules, what, &unknown, testbed.core.reprotect(&to("nowhere"))).await?;
    master_target(&testbed.primary, |target| {
        target.mounts.retain(|mount| mount.datastore.0 == "datastore-2")
    });
    let what = (RE_28, "disks in a datastore that is not mounted");
    let unmounted = [ErrorCode::DatastoreNotMounted];
    forbids(testbed, rules, what, &unmounted, testbed.core.reprotect(&to("datastore-1"))).await?;
    creates_machine(testbed, (rules, &[RE_05]), &to("datastore-2"), &testbed.primary).await?;
    for disk in testbed.machine_at(&testbed.primary, "web").await?.disks {
        let volume = kept("a disk of the new machine", testbed.primary.volume(&disk.volume).await)?;
        let right = volume.datastore == Some("datastore-2".into());
        rules.check(RE_26, right, format!("{} is in {:?}", disk.volume, volume.datastore));
    }
    let complete = fails_back(testbed, &item, &testbed.primary).await?;
    check_that(rules, FB_10, complete, "the failback is complete although the original was deleted");
    Ok(())
}

async fn another_site(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    let request = testbed.reprotection_to(&item, &testbed.other);
    let request = ReprotectRequest { failback_site: Some("other".into()), ..request };
    vcenter(&testbed.other, |vcenter| vcenter.discovered = false);
    let what = (RE_18, "a reprotection to a vCenter that was not discovered");
    let codes = [ErrorCode::VcenterNotDiscovered];
    forbids(testbed, rules, what, &codes, testbed.core.reprotect(&request)).await?;
    vcenter(&testbed.other, |vcenter| vcenter.discovered = true);
    creates_machine(testbed, (rules, &[RE_05, RE_18]), &request, &testbed.other).await?;
    let complete = fails_back(testbed, &item, &testbed.other).await?;
    let original = testbed.machine_at(&testbed.primary, "web").await?.power;
    let found = format!("complete at the other site: {complete}; the original is {original:?}");
    rules.check(FB_10, complete && original == PowerState::Off, found);
    testbed.commit(&item).await?;
    testbed.reprotect(&testbed.reprotection_from(&item, &testbed.other)).await?;
    testbed.wait_for_points(&item, 2).await?;
    let view = testbed.item(&item).await?;
    let protected_there = view.primary.0.0 == "other" && view.protection.active == Side::Primary;
    rules.check(FB_10, protected_there, format!("after reprotection it replicates from {}", view.primary.0));
    Ok(())
}

async fn name_taken(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    // Nobody asks the original to shut down.
    testbed.fail_over(&item, PointChoice::Latest).await?;
    testbed.commit(&item).await?;
    let foreign = testbed.other.install(&SimInstall::new("web"))?;
    testbed.other.start(&foreign.id).await?;
    let request = testbed.reprotection_to(&item, &testbed.other);
    let request = ReprotectRequest { failback_site: Some("other".into()), ..request };
    let what = (EX_B2, "a reprotection to a site where another machine has the name");
    // A core may leave it to the platform to object.
    let codes = [ErrorCode::NameTaken, ErrorCode::Platform];
    forbids(testbed, rules, what, &codes, testbed.core.reprotect(&request)).await?;
    let runs = |site: &SimSite| site.last_boot(&"web".into()).is_some_and(|boot| boot.ended().is_none());
    let both = (runs(&testbed.other), runs(&testbed.primary));
    rules.check(EX_B2, both == (true, true), format!("the other machine and the original run: {both:?}"));
    testbed.other.power_off(&foreign.id).await?;
    testbed.other.delete_machine(&foreign.id).await?;
    for disk in &foreign.disks {
        testbed.other.delete_volume(&disk.volume).await?;
    }
    creates_machine(testbed, (rules, &[EX_B2]), &request, &testbed.other).await
}

async fn physical(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 4).await?;
    offers_all_points(testbed, rules).await?;
    testbed.fail_over_from_lost_site(&item).await?;
    check_that(rules, PH_02, testbed.recovered("web")?.writes > 0, "it fails over without any VMware site");
    let good = testbed.reprotection_to(&item, &testbed.other);
    let to = |site: &str| ReprotectRequest { failback_site: Some(site.into()), ..good.clone() };
    let what = (PH_02, "a reprotection that names no VMware site");
    let codes = [ErrorCode::FailbackSiteNotGiven];
    forbids(testbed, rules, what, &codes, testbed.core.reprotect(&good)).await?;
    for site in ["primary", "recovery"] {
        let what = format!("a reprotection to {site}, which is not a VMware site");
        let codes = [ErrorCode::FailbackSiteUnfit];
        forbids(testbed, rules, (PH_01, &what), &codes, testbed.core.reprotect(&to(site))).await?;
    }
    creates_machine(testbed, (rules, &[PH_03, RE_05]), &to("other"), &testbed.other).await?;
    let complete = fails_back(testbed, &item, &testbed.other).await?;
    check_that(rules, PH_01, complete, "the failback to a VMware site is complete");
    check_that(rules, FB_10, complete, "the failback to another site is complete");
    testbed.advance(BOOT).await;
    Ok(())
}

/// PH-04: a physical server can fail over to every kind of point. Test failovers show it without
/// leaving the site.
async fn offers_all_points(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    use PointChoice::{Custom, Latest, LatestAppConsistent, LatestProcessed};
    let item = item_of("web");
    let oldest = testbed.oldest_point(&item).await?.id;
    for choice in [Latest, LatestProcessed, LatestAppConsistent, Custom(oldest)] {
        let request = TestFailoverRequest::isolated(&item, choice.clone());
        let tested = testbed.completed(testbed.core.test_failover(&request).await).await;
        succeeds(rules, (PH_04, &format!("a test failover to {choice:?}")), tested)?;
        testbed.completed(testbed.core.clean_up_test_failover(&item).await).await?;
    }
    Ok(())
}

async fn runs_there(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 3).await?;
    testbed.fail_over(&item, PointChoice::LatestProcessed).await?;
    testbed.commit(&item).await?;
    let home = testbed.reprotection_to(&item, &testbed.primary);
    let there = ReprotectRequest { failback_site: Some("recovery".into()), ..home.clone() };
    let codes = [ErrorCode::FailbackSiteUnfit, ErrorCode::BadRequest, ErrorCode::NotAllowedInState];
    let what = (LC_02, "a reprotection to the site on which the machine runs");
    forbids(testbed, rules, what, &codes, testbed.core.reprotect(&there)).await?;
    succeeds(
        rules,
        (LC_02, "a reprotection to the site from which it came"),
        testbed.reprotect(&home).await,
    )?;
    Ok(())
}
