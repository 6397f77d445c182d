//! The reaper removes what a killed run left behind, and nothing that belongs to others.
#![expect(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use camino::Utf8PathBuf;
use harness::host::{self, Host};
use harness::machine::{Accelerator, Machine};
use harness::reaper;
use harness::scratch::Scratch;
use harness::storage::StorageDaemon;

/// Set in the child process that is to be killed.
const CHILD: &str = "ROUNDTRIP_TEST_CHILD";
const READY: &str = "ready in ";

#[test]
fn remains_of_a_killed_run_are_reaped_and_a_foreign_domain_is_not() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if std::env::var_os(CHILD).is_some() {
        return runtime.block_on(run_until_killed());
    }
    let (mut child, scratch) = start_child();
    runtime.block_on(async {
        let libvirt = Host::connect(None).await.unwrap();
        let foreign_name = format!("foreign-{}", std::process::id());
        let foreign = libvirt.define(foreign_domain(&foreign_name)).await.unwrap();

        let token = scratch.file_name().unwrap().to_owned();
        let ours = names(&libvirt).await.into_iter().find(|name| name.contains(&token)).unwrap();
        let early = reaper::reap(&libvirt, false).await.unwrap();
        assert!(!early.domains.contains(&ours), "its owner still lives");

        child.kill().unwrap();
        child.wait().unwrap();
        let reaped = reaper::reap(&libvirt, false).await.unwrap();
        assert!(reaped.domains.contains(&ours), "{reaped:?}");
        assert!(reaped.directories.iter().any(|(dir, _)| *dir == scratch), "{reaped:?}");
        assert_eq!(reaped.processes.len(), 1, "the storage daemon: {reaped:?}");

        let left = names(&libvirt).await;
        assert!(!left.contains(&ours) && left.contains(&foreign_name), "{left:?}");
        assert!(!scratch.exists());
        host::remove(foreign).await.unwrap();
    });
}

/// Runs this test in a child process until the child has a guest and a storage daemon.
fn start_child() -> (std::process::Child, Utf8PathBuf) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "remains_of_a_killed_run_are_reaped_and_a_foreign_domain_is_not", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once(READY).map(|(_, path)| Utf8PathBuf::from(path)));
    (child, ready.expect("the child ended before it was ready"))
}

async fn run_until_killed() {
    let libvirt = Host::connect(None).await.unwrap();
    let scratch = Arc::new(Scratch::new("reap-test").unwrap());
    let dir = scratch.path().to_owned();
    let _daemon = StorageDaemon::start("storage", &dir, &dir).await.unwrap();
    let spec = support::empty_machine(&dir, "doomed").await;
    let machine = Machine::define(&libvirt, Accelerator::Tcg, &scratch, spec).await.unwrap();
    let guest = machine.start().await.unwrap();
    println!("{READY}{dir}");
    guest.until_gone().await;
}

/// A domain that is not ours, although it resembles one.
fn foreign_domain(name: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><description>roundtrip</description>\
         <memory unit='MiB'>32</memory><os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
    )
}

async fn names(libvirt: &Host) -> Vec<String> {
    libvirt.domains().await.unwrap().into_iter().filter_map(|(domain, _)| domain.name().ok()).collect()
}
