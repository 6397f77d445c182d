//! The built-in core behind the protocol, in one process and one virtual time.

use std::sync::Arc;

use async_trait::async_trait;
use contract::{CoreError, ErrorCode, PointChoice, ReplicationCore, Timestamp};
use simulator::SimClock;
use simulator::testbed::{BOOT, CoreParts, Setup, Testbed};
use wire::client::{Client, Clock, Session};
use wire::protocol::Time;
use wire::server::{self, About};

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

/// Opens the built-in core behind a connection in memory.
fn open(parts: CoreParts) -> Result<Arc<dyn ReplicationCore>, CoreError> {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let session = Session {
        platforms: parts.platforms(),
        state_dir: parts.dir.clone(),
        run: "test".to_owned(),
        clock: Arc::new(VirtualClock(parts.clock.clone())),
        time: Time::Virtual,
        log: None,
        observer: None,
    };
    let clock = parts.clock;
    tokio::spawn(async move {
        let about = About { time: vec![Time::Virtual], ..About::system_time("built-in", "0") };
        let (from, to) = tokio::io::split(theirs);
        let open = |remote: server::CoreParts| {
            let (platforms, dir) = (remote.platforms, remote.dir);
            let clock = replication::Clock::new(move || clock.now());
            replication::Core::open(replication::Config { platforms, dir, fault_hook: None, clock })
        };
        server::serve_over(from, to, about, open).await.unwrap();
    });
    let (from, to) = tokio::io::split(ours);
    Ok(Arc::new(Client::over(from, to, session)))
}

#[test]
fn a_machine_goes_to_the_recovery_site_and_back() {
    simulator::run(5, async |world| {
        let testbed = Testbed::open(world, Setup::vmware(), open).unwrap();
        let unknown = testbed.core.item(&"nothing".into()).await.unwrap_err();
        assert_eq!(unknown.code, ErrorCode::UnknownId);
        let item = testbed.protect("web").await.unwrap();
        testbed.wait_for_points(&item, 4).await.unwrap();
        testbed.fail_over(&item, PointChoice::Latest).await.unwrap();
        testbed.advance(BOOT).await;
        testbed.recovered("web").unwrap();
        testbed.commit_and_reprotect(&item).await.unwrap();
        testbed.wait_for_points(&item, 3).await.unwrap();
        testbed.fail_back(&item).await.unwrap();
        assert!(testbed.came_back("web", &testbed.primary).unwrap());
        testbed.commit(&item).await.unwrap();
        testbed.close().await.unwrap();
    });
}

#[test]
fn a_core_continues_with_the_state_of_the_one_before() {
    simulator::run(6, async |world| {
        let mut testbed = Testbed::open(world, Setup::vmware(), open).unwrap();
        let item = testbed.protect("web").await.unwrap();
        testbed.wait_for_points(&item, 2).await.unwrap();
        testbed.reopen(open).await.unwrap();
        let view = testbed.wait_for_points(&item, 4).await.unwrap();
        assert_eq!(view.id, item);
        testbed.close().await.unwrap();
    });
}
