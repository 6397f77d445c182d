//! Faults at the simulated sites: whatever fails, and wherever, every job ends, the item shows the
//! trouble, and no machine is started from disks that its source never had.

use contract::{
    Bytes, CoreError, FailoverRequest, Health, JobId, JobState, Millis, Platform, PlatformErrorKind as Kind,
    PointChoice, PowerState,
};
use simulator::testbed::{
    BACK, BOOT, INTERVAL, OUT, Testbed, cloud_machine, enable_request, failover_with_shutdown, item_of,
};
use simulator::{Call, FailCall, Link, SimFault, SimInstall, SimSite, run};

use crate::support::{assert_prefix, assert_recovered, running_disks_untouched, vmware_testbed};

const SEED: u64 = 5;
const MACHINE: &str = "web";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Enable,
    Points,
    FailOver,
    Commit,
    ReprotectBack,
    FailBack,
    ReprotectOut,
}

use Step::{Commit, Enable, FailBack, FailOver, Points, ReprotectBack, ReprotectOut};

const CYCLE: [Step; 10] =
    [Enable, Points, FailOver, Commit, ReprotectBack, Points, FailBack, Commit, ReprotectOut, Points];

/// Goes through the cycle as far as possible: a step that fails is tried once more with all faults
/// healed. Returns what went wrong.
async fn go_round(testbed: &Testbed, inject: impl FnOnce(&Testbed)) -> Vec<String> {
    testbed.primary.install(&SimInstall::new(MACHINE)).unwrap();
    testbed.primary.start(&MACHINE.into()).await.unwrap();
    inject(testbed);
    let mut wrong = Vec::new();
    for step in CYCLE {
        let mut taken = take(testbed, step).await;
        running_disks_untouched(testbed, MACHINE).unwrap();
        if let Err(what) = taken {
            wrong.push(format!("{step:?}: {what}"));
            testbed.world.heal();
            taken = take(testbed, step).await;
            running_disks_untouched(testbed, MACHINE).unwrap();
        }
        match taken {
            // Without new points there may still be an old one to continue with.
            Err(_) if step == Points => {}
            Err(what) => {
                wrong.push(format!("{step:?} again: {what}"));
                break;
            }
            Ok(()) => {}
        }
    }
    testbed.core.close().await.unwrap();
    wrong
}

async fn take(testbed: &Testbed, step: Step) -> Result<(), String> {
    if step == Points {
        let points = testbed.wait_for_points(&item_of(MACHINE), 3).await;
        testbed.advance(Millis(1234)).await;
        return points.map(drop).map_err(|error| error.to_string());
    }
    let job = ask(testbed, step).await.map_err(|error| error.message)?;
    let view = testbed.ended(&job).await.unwrap();
    if !matches!(view.state, JobState::Completed | JobState::CompletedWithWarning) {
        return Err(format!("{:?}", view.error));
    }
    judge(testbed, step);
    Ok(())
}

async fn ask(testbed: &Testbed, step: Step) -> Result<JobId, CoreError> {
    let item = item_of(MACHINE);
    let core = &testbed.core;
    match step {
        Enable | Points => {
            testbed.make_policy().await.unwrap();
            core.enable_protection(&enable_request(MACHINE)).await
        }
        FailOver => core.failover(&failover_with_shutdown(&item)).await,
        FailBack => core.failover(&FailoverRequest::unplanned(&item, BACK)).await,
        Commit => core.commit(&item).await,
        ReprotectBack => core.reprotect(&testbed.reprotection(&item, BACK)).await,
        ReprotectOut => core.reprotect(&testbed.reprotection(&item, OUT)).await,
    }
}

/// A machine that was just started has an exact prefix of what its source wrote, and everything
/// after a failback.
fn judge(testbed: &Testbed, step: Step) {
    let boots = match step {
        FailOver => testbed.boots(MACHINE).unwrap(),
        FailBack => testbed.failback_boots(MACHINE, &testbed.primary).unwrap(),
        _ => return,
    };
    let writes = assert_prefix(&boots.source, &boots.target).writes;
    assert!(boots.target.up.is_ok(), "{:?}", boots.target.up);
    if step == FailBack {
        assert_eq!(writes, boots.source.log().len());
    }
}

fn sites(testbed: &Testbed) -> [&SimSite; 2] {
    [&testbed.primary, &testbed.recovery]
}

/// Runs the cycle with one fault at one site and returns what went wrong.
fn with_fault(site: usize, fault: SimFault) -> Vec<String> {
    run(SEED, async |world| {
        let testbed = vmware_testbed(world);
        let inject = |testbed: &Testbed| {
            sites(testbed)[site].inject(&fault);
        };
        let wrong = go_round(&testbed, inject).await;
        println!("site {site}, {fault:?}: {wrong:?}");
        wrong
    })
}

#[test]
fn any_one_call_may_fail_before_or_after_its_effect() {
    let calls = run(SEED, async |world| {
        let testbed = vmware_testbed(world);
        assert_eq!(go_round(&testbed, |_| {}).await, Vec::<String>::new());
        sites(&testbed).map(|site| Call::ALL.map(|call| (call, site.calls(call))))
    });
    let all = calls.iter().enumerate().flat_map(|(site, calls)| calls.iter().map(move |call| (site, *call)));
    let mut tried = 0;
    for (site, (call, count)) in all {
        // The test itself makes the first call that starts a machine.
        let first = if (site, call) == (0, Call::Start) { 2 } else { 1 };
        for nth in first..=count {
            let fault = FailCall::at(call, nth, Kind::Unreachable);
            for fault in [fault, fault.after_its_effect()] {
                with_fault(site, SimFault::Call(fault));
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried} calls were made to fail");
}

#[test]
fn any_one_read_or_write_may_fail() {
    for fault in [SimFault::ReadError, SimFault::WriteError] {
        for site in 0..2 {
            // Until the fault is due after the last read or write of the cycle.
            let failed = (1..).take_while(|nth| !with_fault(site, fault(*nth)).is_empty()).count();
            assert!(failed > 0, "site {site}");
        }
    }
}

#[test]
fn a_target_that_fills_up_causes_trouble_and_no_wrong_disk() {
    for room in [0, 4096, 100_000, 300_000, 500_000] {
        let wrong = with_fault(1, SimFault::Full(Bytes(room)));
        assert!(!wrong.is_empty(), "room for {room} bytes was enough");
    }
}

#[test]
fn a_cut_link_is_shown_and_what_was_received_can_be_failed_over_to() {
    run(SEED, async |world| {
        let testbed = vmware_testbed(world);
        let item = testbed.protect(MACHINE).await.unwrap();
        testbed.wait_for_points(&item, 3).await.unwrap();
        let cut = testbed.primary.inject(&SimFault::LinkCut);
        let error = testbed.wait_for_points(&item, 4).await.unwrap_err().to_string();
        assert!(error.contains("link"), "{error}");
        let view = testbed.item(&item).await.unwrap();
        assert_eq!(view.health, Health::Critical);
        assert!(view.trouble.contains("link"), "{}", view.trouble);
        assert!(testbed.world.clock().now().since(cut) <= INTERVAL);
        testbed.fail_over(&item, PointChoice::Latest).await.unwrap();
        testbed.advance(BOOT).await;
        assert_recovered(&testbed, MACHINE);
    });
}

#[test]
fn a_site_lost_during_a_transfer_loses_no_more_than_an_interval_and_a_transfer() {
    let link = Link { latency: Millis(300), bytes_per_second: 64 * 1024, lose_every: 0 };
    for moment in (0..60).step_by(7) {
        run(SEED + moment, async |world| {
            let testbed = vmware_testbed(world);
            testbed.primary.set_link(link);
            let item = testbed.protect(MACHINE).await.unwrap();
            testbed.wait_for_points(&item, 4).await.unwrap();
            testbed.advance(Millis(moment * 1000)).await;
            let disaster = testbed.primary.lose();
            testbed.advance(Millis(10)).await;
            testbed.fail_over(&item, PointChoice::Latest).await.unwrap();
            let boots = testbed.boots(MACHINE).unwrap();
            let record = boots.contained().unwrap().last_record;
            // An interval changes both disks at most, and this is how long they take.
            let transfer = 2 * (1 << 20) / (64 * 1024) * 1000 + 600;
            let lost = boots.lost(record, disaster);
            assert!(lost.0 <= INTERVAL.0 + transfer, "{lost} lost");
        });
    }
}

#[test]
fn a_source_that_does_not_shut_down_stops_a_failback_and_not_a_failover() {
    run(SEED, async |world| {
        let testbed = vmware_testbed(world);
        let item = testbed.protect(MACHINE).await.unwrap();
        testbed.wait_for_points(&item, 2).await.unwrap();
        testbed.primary.inject(&SimFault::ShutdownRefused(MACHINE.into()));
        let job = testbed.core.failover(&failover_with_shutdown(&item)).await;
        assert_eq!(testbed.ended(job).await.unwrap().state, JobState::CompletedWithWarning);
        testbed.commit_and_reprotect(&item).await.unwrap();
        testbed.wait_for_points(&item, 2).await.unwrap();
        testbed.recovery.inject(&SimFault::ShutdownRefused(cloud_machine(MACHINE)));
        let job = testbed.core.failover(&FailoverRequest::unplanned(&item, BACK)).await;
        assert_eq!(testbed.ended(job).await.unwrap().state, JobState::Failed);
        let power = testbed.primary.machine(&MACHINE.into()).await.unwrap().power;
        assert_eq!(power, PowerState::Off, "both sides would run");
    });
}
