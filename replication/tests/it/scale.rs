//! How time and memory grow with the number of machines.

use std::time::{Duration, Instant};

use crate::support::{INTERVAL, OUT, Pair, dr, exact, is_up, lost};
use contract::{
    Bytes, FailoverKind, ItemId, JobId, Millis, PlanFailoverRequest, PlanGroup, PlanId, Platform,
    PointChoice, RecoveryPlan, ReplicationCore,
};
use simulator::{Load, SimInstall, run};

/// Quiet machines: what is measured is what a machine costs, not what its content does.
const LOAD: Load = Load { record_every: Millis(4000), churn_every: Millis(15_000), churn_bytes: 4096 };

/// Boot groups of a plan.
const GROUPS: usize = 4;

/// What so many machines took.
struct Taken {
    machines: u32,
    protect: Duration,
    replicate: Duration,
    fail_over: Duration,
    total: Duration,
    memory: Bytes,
}

fn take(machines: u32) -> Taken {
    forget_peak();
    let began = Instant::now();
    let (protect, replicate, fail_over) = run(u64::from(machines), async |world| {
        let pair = Pair::on_disk(world);
        let names: Vec<_> = (0..machines).map(|index| format!("m{index:04}")).collect();
        let items: Vec<_> = names.iter().map(|name| ItemId(format!("item-{name}"))).collect();
        let began = Instant::now();
        for name in &names {
            pair.primary.install(&SimInstall { load: LOAD, ..SimInstall::new(name.as_str()) }).unwrap();
            pair.primary.start(&name.as_str().into()).await.unwrap();
        }
        pair.live(INTERVAL).await;
        let mut jobs = Vec::new();
        for (item, name) in items.iter().zip(&names) {
            jobs.push(pair.ask_to_protect(item, name).await.unwrap());
        }
        all_completed(&pair, &jobs).await;
        let protected = began.elapsed();

        for item in &items {
            pair.points(item, 4).await.unwrap();
        }
        pair.live(Millis(INTERVAL.0 / 2)).await;
        let replicated = began.elapsed();

        let struck = pair.primary.lose();
        pair.live(Millis(1000)).await;
        let plans = plan(&pair, &items).await;
        let mut jobs = Vec::new();
        for plan in plans {
            jobs.push(pair.core.failover_plan(&fail_over(plan)).await.unwrap());
        }
        all_completed(&pair, &jobs).await;
        let failed_over = began.elapsed();
        pair.live(Millis(10_000)).await;
        for name in &names {
            let source = pair.primary.last_boot(&name.as_str().into()).unwrap();
            let target = pair.recovery.last_boot(&dr(name)).unwrap();
            let (_, record) = exact(&source, &target);
            is_up(&pair.recovery, &target, record);
            assert!(lost(&source, record, struck) <= INTERVAL);
        }
        pair.core.close().await.unwrap();
        (protected, replicated - protected, failed_over - replicated)
    });
    Taken { machines, protect, replicate, fail_over, total: began.elapsed(), memory: peak() }
}

/// Plans over all items, as few as the core's limits allow, in groups of their own.
async fn plan(pair: &Pair, items: &[ItemId]) -> Vec<PlanId> {
    let limits = pair.core.capabilities().await.unwrap().plans;
    let mut plans = Vec::new();
    for (number, items) in items.chunks(limits.items as usize).enumerate() {
        let size = items.len().div_ceil(GROUPS);
        let group = |items: &[ItemId]| PlanGroup { items: items.to_vec(), ..PlanGroup::default() };
        let id = PlanId(format!("plan-{number}"));
        let plan = RecoveryPlan { id: id.clone(), groups: items.chunks(size).map(group).collect() };
        pair.core.create_plan(&plan).await.unwrap();
        plans.push(id);
    }
    plans
}

fn fail_over(plan: PlanId) -> PlanFailoverRequest {
    PlanFailoverRequest {
        plan,
        kind: FailoverKind::Unplanned,
        direction: OUT,
        point: PointChoice::Latest,
        shut_down_source: false,
        shutdown_within: Millis(60_000),
        data_sync: None,
    }
}

async fn all_completed(pair: &Pair, jobs: &[JobId]) {
    for job in jobs {
        pair.completed(job).await;
    }
}

/// Takes out few machines and many, and prints how the cost of the many relates to that of the few.
fn compare(small: u32, large: u32) -> Taken {
    let (few, many) = (take(small), take(large));
    for taken in [&few, &many] {
        let Taken { machines, protect, replicate, fail_over, total, memory } = taken;
        println!(
            "{machines} machines: protect {protect:.1?}, replicate {replicate:.1?}, fail over {fail_over:.1?}, in \
             all {total:.1?}; {memory} at most"
        );
    }
    let factor = f64::from(large) / f64::from(small);
    println!(
        "{factor:.0} times the machines: {:.1} times the time",
        many.total.as_secs_f64() / few.total.as_secs_f64()
    );
    many
}

#[test]
fn a_plan_of_a_hundred_machines() {
    let taken = compare(10, 100);
    assert!(taken.memory < Bytes(1 << 30), "{}", taken.memory);
}

#[test]
#[ignore = "takes up to a minute; run it alone, on an idle machine"]
fn plans_of_a_thousand_machines_take_a_minute_and_two_gibibytes_at_most() {
    let taken = compare(100, 1000);
    assert!(taken.total < Duration::from_secs(60), "{:?}", taken.total);
    assert!(taken.memory < Bytes(2 << 30), "{}", taken.memory);
}

/// Begins to measure the most memory this process has had at once.
fn forget_peak() {
    // Where the kernel does not allow it, the peak is that of the whole process, which is no less.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The most memory this process has had at once.
fn peak() -> Bytes {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Bytes(kibibytes.expect("the kernel tells the peak of memory") * 1024)
}
