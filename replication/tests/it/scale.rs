//! How time and memory grow with the number of machines.

use std::time::{Duration, Instant};

use contract::{
    Bytes, ItemId, JobId, Millis, PlanFailoverRequest, PlanGroup, PlanId, Platform, RecoveryPlan,
};
use simulator::testbed::{
    BOOT, INTERVAL, OUT, Setup, Testbed, enable_request, failover_plan_request, item_of,
};
use simulator::{Load, SimInstall, run};

use crate::support::{assert_recovered, setup, testbed_with};

/// Machines that write little: the measurement is about the cost of a machine, not of its content.
const LOAD: Load = Load { record_every: Millis(4000), churn_every: Millis(15_000), ..Load::USUAL };

/// Boot groups of a plan.
const GROUPS: usize = 4;

/// The cost of so many machines.
struct Taken {
    machines: u32,
    protect: Duration,
    replicate: Duration,
    fail_over: Duration,
    total: Duration,
    memory: Bytes,
}

fn take(machines: u32) -> Taken {
    reset_peak();
    let began = Instant::now();
    let (protect, replicate, fail_over) = run(u64::from(machines), async |world| {
        // So many machines need more room than a small file system in memory has.
        let testbed = testbed_with(world, Setup { on_disk: true, ..setup() });
        testbed.make_policy().await.unwrap();
        let names: Vec<_> = (0..machines).map(|index| format!("m{index:05}")).collect();
        let items: Vec<_> = names.iter().map(|name| item_of(name)).collect();
        let began = Instant::now();
        for name in &names {
            testbed.primary.install(&SimInstall { load: LOAD, ..SimInstall::new(name.as_str()) }).unwrap();
            testbed.primary.start(&name.as_str().into()).await.unwrap();
        }
        testbed.advance(INTERVAL).await;
        let mut jobs = Vec::new();
        for name in &names {
            jobs.push(testbed.core.enable_protection(&enable_request(name)).await.unwrap());
        }
        all_completed(&testbed, &jobs).await;
        let protected = began.elapsed();

        for item in &items {
            testbed.wait_for_points(item, 4).await.unwrap();
        }
        testbed.advance(Millis(INTERVAL.0 / 2)).await;
        let replicated = began.elapsed();

        let disaster = testbed.primary.lose();
        testbed.advance(Millis(1000)).await;
        let mut jobs = Vec::new();
        for plan in create_plans(&testbed, &items).await {
            let request = PlanFailoverRequest { plan, ..failover_plan_request(OUT) };
            jobs.push(testbed.core.failover_plan(&request).await.unwrap());
        }
        all_completed(&testbed, &jobs).await;
        let failed_over = began.elapsed();
        testbed.advance(BOOT).await;
        for name in &names {
            let record = assert_recovered(&testbed, name).last_record;
            assert!(testbed.boots(name).unwrap().lost(record, disaster) <= INTERVAL);
        }
        testbed.core.close().await.unwrap();
        (protected, replicated - protected, failed_over - replicated)
    });
    Taken { machines, protect, replicate, fail_over, total: began.elapsed(), memory: peak() }
}

/// Creates plans over all items, as few as the core's limits allow.
async fn create_plans(testbed: &Testbed, items: &[ItemId]) -> Vec<PlanId> {
    let limits = testbed.core.capabilities().await.unwrap().plans;
    let mut plans = Vec::new();
    for (number, items) in items.chunks(limits.items as usize).enumerate() {
        let size = items.len().div_ceil(GROUPS);
        let group = |items: &[ItemId]| PlanGroup { items: items.to_vec(), ..PlanGroup::default() };
        let id = PlanId(format!("plan-{number}"));
        let plan = RecoveryPlan { id: id.clone(), groups: items.chunks(size).map(group).collect() };
        testbed.core.create_plan(&plan).await.unwrap();
        plans.push(id);
    }
    plans
}

async fn all_completed(testbed: &Testbed, jobs: &[JobId]) {
    for job in jobs {
        testbed.completed(job).await.unwrap();
    }
}

impl Taken {
    fn per_machine(&self) -> f64 {
        self.total.as_secs_f64() / f64::from(self.machines)
    }
}

/// Fails over so many machines, and prints what that costs.
fn measure(machines: u32) -> Taken {
    let taken = take(machines);
    let Taken { protect, replicate, fail_over, total, memory, .. } = &taken;
    println!(
        "{machines} machines: protect {protect:.1?}, replicate {replicate:.1?}, fail over {fail_over:.1?}, in all \
         {total:.1?}, {:.1} ms each; {memory} at most",
        taken.per_machine() * 1000.0
    );
    taken
}

#[test]
fn a_plan_of_a_hundred_machines() {
    let (few, many) = (measure(10), measure(100));
    assert!(many.memory < Bytes(1 << 30), "{}", many.memory);
    assert!(many.per_machine() < 3.0 * few.per_machine(), "the cost of a machine grows with their number");
}

#[test]
#[ignore = "takes minutes; run it alone, on an idle machine"]
fn plans_of_ten_thousand_machines_fit_six_gibibytes_at_a_constant_cost_for_each() {
    let [hundred, _, many] = [100, 1000, 10_000].map(measure);
    assert!(many.memory < Bytes(6 << 30), "{}", many.memory);
    let factor = many.per_machine() / hundred.per_machine();
    println!("A machine of ten thousand costs {factor:.2} times as much as one of a hundred");
    assert!(factor < 2.0, "the cost of a machine grows with their number");
}

/// Resets the peak of memory of this process.
fn reset_peak() {
    // Where the kernel does not allow it, the peak counts from the start of the process and is no
    // lower.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The peak of memory of this process.
fn peak() -> Bytes {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Bytes(kibibytes.expect("the kernel shows the peak of memory") * 1024)
}
