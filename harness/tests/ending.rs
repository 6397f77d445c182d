//! The end of a QEMU or a storage daemon is explained only if the suite asked for it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;

use harness::host::Host;
use harness::machine::{Accelerator, Guest, Machine};
use harness::scratch::Scratch;
use harness::storage::StorageDaemon;
use rustix::process::{Pid, Signal, kill_process};

#[tokio::test]
async fn the_end_of_a_guest_is_unexplained_only_if_somebody_else_killed_it() {
    let host = Host::connect(None).await.unwrap();
    let scratch = Scratch::new("ending").unwrap();
    for signal in [Signal::KILL, Signal::TERM] {
        let (machine, guest) = start(&host, &scratch).await;
        assert_eq!(guest.monitor().ending().unexplained(), None, "it runs");
        kill_process(guest.monitor().pid().and_then(Pid::from_raw).unwrap(), signal).unwrap();
        guest.until_gone().await;
        // What the suite asks for now comes too late to explain it.
        machine.remove().await.unwrap();
        assert!(guest.monitor().ending().unexplained().is_some(), "{signal:?}");
    }

    let (machine, guest) = start(&host, &scratch).await;
    guest.power_cut().await.unwrap();
    machine.remove().await.unwrap();
    assert_eq!(guest.monitor().ending().unexplained(), None, "its power was cut");

    let (machine, guest) = start(&host, &scratch).await;
    machine.remove().await.unwrap();
    guest.until_gone().await;
    assert_eq!(guest.monitor().ending().unexplained(), None, "it was removed");
}

async fn start(host: &Host, scratch: &Scratch) -> (Machine, Arc<Guest>) {
    let spec = support::empty_machine(scratch.path(), "ending").await;
    let machine = Machine::define(host, Accelerator::Tcg, scratch, spec).await.unwrap();
    let guest = machine.start().await.unwrap();
    (machine, guest)
}

#[tokio::test]
async fn the_end_of_a_storage_daemon_is_unexplained_only_if_somebody_else_killed_it() {
    let scratch = Scratch::new("ending").unwrap();
    let dir = scratch.path();
    let daemon = StorageDaemon::start("storage", dir, dir).await.unwrap();
    daemon.kill().await.unwrap();
    daemon.revive().await.unwrap();
    let file = dir.join("storage.pid");
    let id = std::fs::read_to_string(&file).unwrap().trim().parse().ok().and_then(Pid::from_raw);
    kill_process(id.unwrap(), Signal::KILL).unwrap();
    daemon.until_gone().await;
    daemon.revive().await.unwrap();
    daemon.stop().await.unwrap();

    let endings = daemon.endings();
    let unexplained: Vec<_> = endings.iter().map(|ending| ending.unexplained().is_some()).collect();
    assert_eq!(unexplained, [false, true, false], "only the second was killed by somebody else");
}
