//! Coming back to another place than the one a machine came from (RE-05, FB-10, PH).

use contract::{
    ErrorCode, ItemId, Millis, Platform, PointChoice, Policy, PowerState, ReprotectRequest, Side, Step,
};
use simulator::{SimProfile, SimSite};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::side_effects::step;
use crate::sim::testbed::{BOOT, INTERVAL, Setup, Testbed, broken};

/// Granularity of simulated storage, in bytes.
const CHUNK: u64 = 4096;

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "a machine that is gone is made when its replication home begins, and replicated in full",
        rules: &[FB_10, RE_05, RE_26, RE_28],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(made_again(lab, rules)),
    },
    Check {
        name: "a machine comes back to another VMware site and is at home there",
        rules: &[FB_10, RE_05, RE_18],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(another_site(lab, rules)),
    },
    Check {
        name: "a physical server comes back to VMware and to nothing else",
        rules: &[FB_10, PH_01, PH_02, PH_03, PH_04, RE_05],
        setup: || {
            let rest = Some(Millis(3 * INTERVAL.0));
            Setup::of(SimProfile::PHYSICAL).under(|policy| Policy { app_consistent_every: rest, ..policy })
        },
        body: |lab, rules| Box::pin(physical(lab, rules)),
    },
];

/// What has content on the copy's disks, in bytes.
async fn allocated(lab: &Testbed) -> Result<u64, String> {
    let mut chunks = 0;
    for disk in lab.copy_of("web").await?.disks {
        let disk = lab.recovery.snapshot(&disk.volume).ok_or("a disk of the copy cannot be read")?;
        let holds = |chunk: &u64| disk.bytes(chunk * CHUNK, CHUNK as usize).iter().any(|byte| *byte != 0);
        chunks += (0..disk.size() / CHUNK).filter(holds).count() as u64;
    }
    Ok(chunks * CHUNK)
}

/// Reprotects; the machine is made then, off, and all of it travels.
async fn in_full(
    lab: &Testbed,
    rules: &mut RuleLog,
    wanted: &ReprotectRequest,
    to: &SimSite,
) -> Result<(), String> {
    let before = to.machines().await.map_err(broken)?.len();
    let job = lab.reprotect(wanted).await?;
    let made = step(&job, Step::CREATE_MACHINE).is_some();
    let machine = to.machine(&"web".into()).await.map_err(broken)?;
    let new = made && before == 0 && machine.power == PowerState::Off;
    rules.check(RE_05, new, format!("made at reprotection: {made}, {:?}", machine.power));
    let least = allocated(lab).await?;
    let points = lab.points(&wanted.item, 1).await?.points;
    let first = points.first().ok_or("there is no point")?.transferred.0;
    rules.check(
        RE_05,
        first >= least && least > 0,
        format!("{first} bytes travelled of {least} with content"),
    );
    Ok(())
}

async fn home_whole(lab: &Testbed, item: &ItemId, to: &SimSite) -> Result<bool, String> {
    lab.points(item, 3).await?;
    lab.fail_back(item).await?;
    lab.came_back("web", to)
}

async fn made_again(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    lab.go_out(&item).await?;
    let original = lab.primary.machine(&"web".into()).await.map_err(broken)?;
    lab.primary.delete_machine(&original.id).await.map_err(broken)?;
    for disk in &original.disks {
        lab.primary.delete_volume(&disk.volume).await.map_err(broken)?;
    }
    let good = lab.way_back(&item, &lab.primary);
    let to = |datastore: &str| ReprotectRequest { datastore: Some(datastore.into()), ..good.clone() };
    let asked = (RE_26, "disks in a datastore that there is not");
    let unknown = [ErrorCode::DatastoreUnknown];
    lab.forbids(rules, asked, &unknown, lab.core.reprotect(&to("nowhere"))).await?;
    lab.primary.components().alter("master-target", |part| {
        if let contract::ComponentKind::MasterTarget(target) = &mut part.kind {
            target.mounts.retain(|mount| mount.datastore.0 == "datastore-2");
        }
    });
    let asked = (RE_28, "disks in a datastore that is not mounted");
    let unmounted = [ErrorCode::DatastoreNotMounted];
    lab.forbids(rules, asked, &unmounted, lab.core.reprotect(&to("datastore-1"))).await?;
    in_full(lab, rules, &to("datastore-2"), &lab.primary).await?;
    for disk in lab.primary.machine(&"web".into()).await.map_err(broken)?.disks {
        let at = lab.primary.volume(&disk.volume).await.map_err(broken)?.datastore;
        rules.check(RE_26, at == Some("datastore-2".into()), format!("{} is in {at:?}", disk.volume));
    }
    let back = home_whole(lab, &item, &lab.primary).await?;
    rules.check(FB_10, back, "it came back though the original was gone");
    Ok(())
}

async fn another_site(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 3).await?;
    lab.go_out(&item).await?;
    let wanted = ReprotectRequest { failback_site: Some("other".into()), ..lab.way_back(&item, &lab.other) };
    let discovered = |is| {
        lab.other.components().alter("vcenter", |part| {
            if let contract::ComponentKind::Vcenter(vcenter) = &mut part.kind {
                vcenter.discovered = is;
            }
        });
    };
    discovered(false);
    let asked = (RE_18, "a way back to a vCenter that was not discovered");
    let codes = [ErrorCode::VcenterNotDiscovered];
    lab.forbids(rules, asked, &codes, lab.core.reprotect(&wanted)).await?;
    discovered(true);
    in_full(lab, rules, &wanted, &lab.other).await?;
    rules.check(RE_18, true, "once it is discovered, the same request goes well");
    let back = home_whole(lab, &item, &lab.other).await?;
    let left = lab.primary.machine(&"web".into()).await.map_err(broken)?.power;
    rules.check(
        FB_10,
        back && left == PowerState::Off,
        format!("it came back whole; the old one is {left:?}"),
    );
    lab.commit(&item).await?;
    lab.reprotect(&lab.way_out(&item, &lab.other)).await?;
    lab.points(&item, 2).await?;
    let view = lab.item(&item).await?;
    let home = view.primary.0.0 == "other" && view.protection.active == Side::Primary;
    rules.check(FB_10, home, format!("it replicates from {}", view.primary.0));
    Ok(())
}

async fn physical(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = lab.protect("web").await?;
    lab.points(&item, 4).await?;
    choices(lab, rules).await?;
    lab.go_out(&item).await?;
    rules.check(PH_02, lab.recovered("web")?.0 > 0, "without any VMware site it fails over");
    let good = lab.way_back(&item, &lab.other);
    let to = |site: &str| ReprotectRequest { failback_site: Some(site.into()), ..good.clone() };
    let asked = (PH_02, "a way back without a VMware site");
    lab.forbids(rules, asked, &[ErrorCode::FailbackSiteNotGiven], lab.core.reprotect(&good)).await?;
    for site in ["primary", "recovery"] {
        let asked = format!("a way back to {site}, which is not VMware");
        let codes = [ErrorCode::FailbackSiteUnfit];
        lab.forbids(rules, (PH_01, &asked), &codes, lab.core.reprotect(&to(site))).await?;
    }
    in_full(lab, rules, &to("other"), &lab.other).await?;
    rules.check(PH_03, true, "it took the way of a machine that is made anew");
    let back = home_whole(lab, &item, &lab.other).await?;
    rules.check(PH_01, back, "as a machine of VMware's it comes back");
    rules.check(FB_10, back, "it came back to another place");
    lab.live(BOOT).await;
    Ok(())
}

/// PH-04: what a physical server can be failed over to. A test failover tells without leaving.
async fn choices(lab: &Testbed, rules: &mut RuleLog) -> Result<(), String> {
    let item = ItemId::from("item-web");
    let point = lab.processed(&item).await?.first().ok_or("there is no point")?.id.clone();
    use PointChoice::{Custom, Latest, LatestAppConsistent, LatestProcessed};
    for choice in [Latest, LatestProcessed, LatestAppConsistent, Custom(point)] {
        lab.completed(
            lab.core.test_failover(&crate::sim::testbed::test_failover_request(&item, choice.clone())).await,
        )
        .await?;
        lab.completed(lab.core.clean_up_test_failover(&item).await).await?;
        rules.check(PH_04, true, format!("{choice:?} can be chosen"));
    }
    Ok(())
}
