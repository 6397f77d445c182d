//! The built-in core over simulated sites that fail. Whatever fails, and wherever: every job ends, trouble is
//! shown, and no machine is ever started on a disk that never existed.

use crate::support::{BACK, INTERVAL, OUT, Pair, dr, exact, failover, is_up, lost, reprotection};
use contract::{
    Bytes, CoreError, FailoverRequest, Health, ItemId, JobId, JobState, Millis, Platform,
    PlatformErrorKind as Kind, ReplicationCore,
};
use simulator::{
    Call, Cut, FailCall, Link, SimConfig, SimFault, SimInstall, SimProfile, SimSite, cut_of, run,
};

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

/// Goes through the cycle as far as it gets: a step that fails is tried once more with all faults healed. Returns
/// what went wrong on the way.
async fn go_round(pair: &Pair, fault: impl FnOnce(&Pair)) -> Vec<String> {
    pair.primary.install(&SimInstall::new(MACHINE)).unwrap();
    pair.primary.start(&MACHINE.into()).await.unwrap();
    fault(pair);
    let mut wrong = Vec::new();
    for step in CYCLE {
        let mut taken = take(pair, step).await;
        untouched(pair);
        if let Err(what) = taken {
            wrong.push(format!("{step:?}: {what}"));
            pair.world.heal();
            taken = take(pair, step).await;
            untouched(pair);
        }
        match taken {
            // Without new points there may still be an old one to go on with.
            Err(_) if step == Points => {}
            Err(what) => {
                wrong.push(format!("{step:?} again: {what}"));
                break;
            }
            Ok(()) => {}
        }
    }
    pair.core.close().await.unwrap();
    wrong
}

async fn take(pair: &Pair, step: Step) -> Result<(), String> {
    if step == Points {
        let seen = pair.points(&"item-web".into(), 3).await;
        pair.live(Millis(1234)).await;
        return seen.map(drop).map_err(|error| error.message);
    }
    let job = ask(pair, step).await.map_err(|error| error.message)?;
    let view = pair.ended(&job).await;
    if !matches!(view.state, JobState::Completed | JobState::CompletedWithWarning) {
        return Err(format!("{:?}", view.error));
    }
    judge(pair, step);
    Ok(())
}

async fn ask(pair: &Pair, step: Step) -> Result<JobId, CoreError> {
    let item: ItemId = "item-web".into();
    let reprotect = |direction| reprotection(&item, direction);
    let core = &pair.core;
    match step {
        Enable | Points => pair.ask_to_protect(&item, MACHINE).await,
        FailOver => core.failover(&FailoverRequest { shut_down_source: true, ..failover(&item, OUT) }).await,
        FailBack => core.failover(&failover(&item, BACK)).await,
        Commit => core.commit(&item).await,
        ReprotectBack => core.reprotect(&reprotect(BACK)).await,
        ReprotectOut => core.reprotect(&reprotect(OUT)).await,
    }
}

/// What was just started is an exact prefix of what ran before; on the way back it is all of it.
fn judge(pair: &Pair, step: Step) {
    let [here, there] = [(&pair.primary, MACHINE.into()), (&pair.recovery, dr(MACHINE))];
    let (from, to) = match step {
        FailOver => (here, there),
        FailBack => (there, here),
        _ => return,
    };
    let (source, target) = (from.0.last_boot(&from.1).unwrap(), to.0.last_boot(&to.1).unwrap());
    let (writes, _) = exact(&source, &target);
    assert!(target.up.is_ok(), "{:?}", target.up);
    if step == FailBack {
        assert_eq!(writes, source.log().len());
    }
}

/// A machine that runs has on its disks what its own guest wrote, whatever was done with the volumes below.
fn untouched(pair: &Pair) {
    for (site, machine) in [(&pair.primary, MACHINE.into()), (&pair.recovery, dr(MACHINE))] {
        let (Some(boot), Some(spec)) = (site.last_boot(&machine), site.spec(&machine)) else { continue };
        if boot.ended().is_none() {
            let now: Vec<_> = spec.disks.iter().map(|(_, volume)| site.snapshot(volume).unwrap()).collect();
            let log = boot.log();
            let cut = cut_of(&boot.bases(), &log, &now, &[]);
            assert!(matches!(&cut, Cut::Exact(range) if *range.end() == log.len()), "{machine}: {cut:?}");
        }
    }
}

fn sites(pair: &Pair) -> [&SimSite; 2] {
    [&pair.primary, &pair.recovery]
}

/// Runs the cycle with one fault at one site and returns what went wrong.
fn with_fault(site: usize, fault: SimFault) -> Vec<String> {
    run(SEED, async |world| {
        let pair = Pair::new(world);
        let went = go_round(&pair, |pair| {
            sites(pair)[site].inject(&fault);
        })
        .await;
        println!("site {site}, {fault:?}: {went:?}");
        went
    })
}

#[test]
fn any_one_call_may_fail_before_or_after_its_effect() {
    let calls = run(SEED, async |world| {
        let pair = Pair::new(world);
        assert_eq!(go_round(&pair, |_| {}).await, Vec::<String>::new());
        sites(&pair).map(|site| Call::ALL.map(|call| (call, site.calls(call))))
    });
    let all = calls.iter().enumerate().flat_map(|(site, calls)| calls.iter().map(move |call| (site, *call)));
    let mut tried = 0;
    for (site, (call, count)) in all {
        // The first start is the test's own.
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
            // Until it comes so late that nothing is left to fail.
            let failed = (1..).take_while(|nth| !with_fault(site, fault(*nth)).is_empty()).count();
            assert!(failed > 0, "site {site}");
        }
    }
}

#[test]
fn a_target_that_fills_up_is_trouble_and_no_wrong_disk() {
    for room in [0, 4096, 100_000, 300_000, 500_000] {
        let went = with_fault(1, SimFault::Full(Bytes(room)));
        assert!(!went.is_empty(), "room for {room} bytes was enough");
    }
}

#[test]
fn a_cut_link_is_trouble_and_what_arrived_can_be_failed_over_to() {
    run(SEED, async |world| {
        let pair = Pair::new(world);
        let item = pair.protect(MACHINE).await;
        pair.points(&item, 3).await.unwrap();
        let cut = pair.primary.inject(&SimFault::LinkCut);
        // Trouble comes with the next transfer and is shown.
        let error = pair.points(&item, 4).await.unwrap_err();
        assert!(error.message.contains("link"), "{error}");
        let view = pair.item(&item).await;
        assert_eq!(view.health, Health::Critical);
        assert!(view.trouble.contains("link"), "{}", view.trouble);
        assert!(pair.world.clock().now().since(cut) <= INTERVAL);
        pair.fail_over(&item, OUT).await;
        pair.live(Millis(10_000)).await;
        let source = pair.primary.last_boot(&MACHINE.into()).unwrap();
        let target = pair.recovery.last_boot(&dr(MACHINE)).unwrap();
        let (_, record) = exact(&source, &target);
        is_up(&pair.recovery, &target, record);
    });
}

#[test]
fn a_site_lost_in_the_midst_of_a_transfer_loses_no_more_than_interval_and_transfer() {
    let link = Link { latency: Millis(300), bytes_per_second: 64 * 1024, lose_every: 0 };
    for moment in (0..60).step_by(7) {
        run(SEED + moment, async |world| {
            let primary = world.site(SimConfig { link, ..SimConfig::new("primary", SimProfile::VMWARE) });
            let recovery = world.site(SimConfig::new("recovery", SimProfile::AZURE));
            let pair = Pair::of(world, primary, recovery);
            let item = pair.protect(MACHINE).await;
            pair.points(&item, 4).await.unwrap();
            pair.live(Millis(moment * 1000)).await;
            let struck = pair.primary.lose();
            pair.live(Millis(10)).await;
            pair.fail_over(&item, OUT).await;
            let source = pair.primary.last_boot(&MACHINE.into()).unwrap();
            let target = pair.recovery.last_boot(&dr(MACHINE)).unwrap();
            let (_, record) = exact(&source, &target);
            // What changed in an interval is at most both disks, and they take this long.
            let transfer = 2 * (1 << 20) / (64 * 1024) * 1000 + 600;
            let lost = lost(&source, record, struck);
            assert!(lost.0 <= INTERVAL.0 + transfer, "{lost} lost");
        });
    }
}

#[test]
fn a_source_that_refuses_to_shut_down_does_not_stop_a_failover_out_but_one_back() {
    run(SEED, async |world| {
        let pair = Pair::new(world);
        let item = pair.protect(MACHINE).await;
        pair.points(&item, 2).await.unwrap();
        pair.primary.inject(&SimFault::ShutdownRefused(MACHINE.into()));
        let request = FailoverRequest { shut_down_source: true, ..failover(&item, OUT) };
        let job = pair.core.failover(&request).await.unwrap();
        assert_eq!(pair.ended(&job).await.state, JobState::CompletedWithWarning);
        pair.commit(&item).await;
        pair.reprotect(&item, BACK).await;
        pair.points(&item, 2).await.unwrap();
        pair.recovery.inject(&SimFault::ShutdownRefused(dr(MACHINE)));
        let job = pair.core.failover(&failover(&item, BACK)).await.unwrap();
        assert_eq!(pair.ended(&job).await.state, JobState::Failed);
        let power = pair.primary.machine(&MACHINE.into()).await.unwrap().power;
        assert_eq!(power, contract::PowerState::Off, "both sides would run");
    });
}
