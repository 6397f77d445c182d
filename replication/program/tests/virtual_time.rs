//! The built-in core as a process, between simulated sites in virtual time.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use contract::{CoreError, Millis, PointChoice, ReplicationCore, Timestamp};
use simulator::testbed::{BOOT, CoreParts, HOUR, Setup, Testbed};
use simulator::{Event, SimClock, SimWorld};
use wire::client::{Client, Clock, CoreAddress, IdleGate, Session};
use wire::connection::Observer;
use wire::protocol::Time;

struct VirtualClock(SimClock);

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    async fn sleep_until(&self, time: Timestamp) {
        self.0.sleep(time.since(self.0.now())).await;
    }
}

/// Starts the core as a process.
fn open(parts: CoreParts) -> Result<Arc<dyn ReplicationCore>, CoreError> {
    let clock = parts.clock.clone();
    let gate: Arc<dyn Observer> = Arc::new(IdleGate::close(move || clock.now()));
    let session = Session {
        platforms: parts.platforms(),
        state_dir: parts.dir.clone(),
        run: "test".to_owned(),
        clock: Arc::new(VirtualClock(parts.clock)),
        time: Time::Virtual,
        log: None,
        observer: Some(gate),
    };
    let words = vec![env!("CARGO_BIN_EXE_roundtrip-core").to_owned()];
    Ok(Arc::new(Client::open(CoreAddress::Program { words, dir: None }, session)))
}

fn testbed(mut world: SimWorld) -> Testbed {
    world.serve_disks_at_socket().unwrap();
    Testbed::open(world, Setup::vmware(), open).unwrap()
}

/// What a run left behind.
#[derive(PartialEq, Eq)]
struct Traces {
    /// Everything that happened at the sites, in order.
    sites: Vec<Vec<Event>>,
    /// The times of the recovery points.
    points: Vec<Timestamp>,
}

/// Protects a machine, lets it replicate for an hour, and fails over.
fn cycle(seed: u64) -> Traces {
    simulator::run(seed, async |world| {
        let testbed = testbed(world);
        let began = testbed.world.clock().now();
        let item = testbed.protect("web").await.unwrap();
        testbed.advance(HOUR).await;
        assert!(testbed.world.clock().now().since(began) >= HOUR);
        let view = testbed.core.item(&item).await.unwrap();
        let points = view.points.iter().map(|point| point.time).collect();
        testbed.fail_over(&item, PointChoice::Latest).await.unwrap();
        testbed.advance(BOOT).await;
        testbed.close().await.unwrap();
        Traces { sites: testbed.sites().map(|site| site.trace()).into(), points }
    })
}

#[test]
fn hours_pass_while_the_core_replicates() {
    let times = cycle(11).points;
    assert!(times.len() >= 20, "{times:?}");
    let near_a_minute = Millis(59_000)..=Millis(61_000);
    let gaps: Vec<_> = times.windows(2).map(|two| two[1].since(two[0])).collect();
    assert!(gaps.iter().all(|gap| near_a_minute.contains(gap)), "a transfer a minute: {gaps:?}");
}

#[test]
fn a_seed_repeats_everything_that_happens_at_the_sites() {
    let (first, second) = (cycle(11), cycle(11));
    assert_eq!(first.points, second.points);
    for (first, second) in first.sites.iter().zip(&second.sites) {
        let differ = first.iter().zip(second).position(|(one, other)| one != other);
        let around =
            differ.map(|at| (&first[at..(at + 3).min(first.len())], &second[at..(at + 3).min(second.len())]));
        assert_eq!(around, None, "the runs differ from event {differ:?} on");
        assert_eq!(first.len(), second.len());
    }
}

#[test]
fn the_cost_of_a_call_is_printed() {
    const CALLS: u32 = 500;
    simulator::run(3, async |world| {
        let testbed = testbed(world);
        testbed.core.capabilities().await.unwrap();
        let began = Instant::now();
        for _ in 0..CALLS {
            testbed.core.capabilities().await.unwrap();
        }
        // Printed, not asserted: it depends on what else the machine does.
        println!("{} us for each call", (began.elapsed() / CALLS).as_micros());
        testbed.close().await.unwrap();
    });
}
