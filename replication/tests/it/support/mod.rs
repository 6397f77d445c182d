//! What the tests of this crate share beside the simulator's testbed.

mod named_calls;
mod observable;
pub mod restart_fixture;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use contract::{CoreError, MachineId, Platform, ReplicationCore, SiteId};
use replication::{Clock, Config, Core};
use simulator::testbed::{Boots, Contained, CoreParts, Setup, Testbed, cloud_machine, contained};
use simulator::{Cut, SimBoot, SimProfile, SimSite, SimWorld, cut_of};

pub use observable::ObservableState;
pub use replication::fault_hook::{Extent, FaultHook};

/// VMware machines whose policy keeps three points, so that merges are due soon.
pub fn setup() -> Setup {
    Setup::vmware().keeping(3)
}

/// Opens the built-in core.
pub fn open_core(
    parts: CoreParts,
    hook: Option<Arc<dyn FaultHook>>,
) -> Result<Arc<dyn ReplicationCore>, CoreError> {
    let platforms = parts.platforms();
    open_core_over(platforms, parts, hook)
}

/// Opens the built-in core over other platforms than the sites themselves.
pub fn open_core_over(
    platforms: BTreeMap<SiteId, Arc<dyn Platform>>,
    parts: CoreParts,
    hook: Option<Arc<dyn FaultHook>>,
) -> Result<Arc<dyn ReplicationCore>, CoreError> {
    let CoreParts { dir, clock, .. } = parts;
    let clock = Clock::new(move || clock.now());
    Ok(Arc::new(Core::open(Config { platforms, dir, fault_hook: hook, clock })?))
}

/// A testbed with the built-in core.
pub fn testbed_with(world: SimWorld, setup: Setup) -> Testbed {
    Testbed::open(world, setup, |parts| open_core(parts, None)).unwrap()
}

/// A testbed with VMware machines.
pub fn vmware_testbed(world: SimWorld) -> Testbed {
    testbed_with(world, setup())
}

/// A testbed with machines of any platform.
pub fn testbed_of(world: SimWorld, profile: SimProfile) -> Testbed {
    testbed_with(world, Setup::of(profile).keeping(3))
}

/// A testbed with Hyper-V machines.
pub fn hyperv_testbed(world: SimWorld) -> Testbed {
    testbed_of(world, SimProfile::HYPERV)
}

/// A testbed with VMware machines and a core that a hook makes faulty.
pub fn faulty_testbed(world: SimWorld, hook: Arc<dyn FaultHook>) -> Testbed {
    Testbed::open(world, setup(), |parts| open_core(parts, Some(hook))).unwrap()
}

/// Closes the core and opens another one over the same directory and sites.
pub async fn reopen(testbed: &mut Testbed) {
    testbed.reopen(|parts| open_core(parts, None)).await.unwrap();
}

/// Asserts that a machine was started with an exact prefix of what its source wrote. Returns how
/// much of it.
pub fn assert_prefix(source: &SimBoot, target: &SimBoot) -> Contained {
    contained(source, target).unwrap_or_else(|error| panic!("{error}"))
}

/// Asserts that a guest is up, with the ledger up to `record` and nothing of a later record.
pub fn assert_up(site: &SimSite, boot: &SimBoot, record: u64) {
    let up = boot.up.as_ref().expect("it comes up");
    assert!(*up <= site.clock().now() && boot.ended().is_none(), "{boot:?}");
    let found = boot.found.as_ref().expect("a ledger");
    assert_eq!((found.contiguous, found.highest), (record, record));
    assert!(found.torn.is_empty());
}

/// Asserts that a machine's copy runs at the recovery site, with an exact prefix of what the
/// machine wrote.
pub fn assert_recovered(testbed: &Testbed, machine: &str) -> Contained {
    let boots = testbed.boots(machine).unwrap();
    let contained = boots.contained().unwrap();
    assert_up(&testbed.recovery, &boots.target, contained.last_record);
    contained
}

/// Asserts that a machine runs at `site` with everything that its copy at the recovery site wrote.
pub fn assert_came_back(testbed: &Testbed, machine: &str, site: &SimSite) {
    let boots: Boots = testbed.failback_boots(machine, site).unwrap();
    let contained = boots.contained().unwrap();
    assert_eq!(contained.writes, boots.source.log().len());
    assert_up(site, &boots.target, contained.last_record);
}

/// Checks that the disks of a machine that runs contain what its own guest wrote and nothing else,
/// whatever the core did with the volumes below. A machine that does not run passes.
pub fn disks_untouched(site: &SimSite, machine: &MachineId) -> Result<(), String> {
    let (Some(boot), Some(spec)) = (site.last_boot(machine), site.spec(machine)) else { return Ok(()) };
    if boot.ended().is_some() {
        return Ok(());
    }
    let volumes: Vec<_> = spec.disks.iter().map(|(_, volume)| volume.clone()).collect();
    let disks: Option<Vec<_>> = volumes.iter().map(|volume| site.snapshot(volume)).collect();
    let disks = disks.ok_or_else(|| format!("{machine} runs on disks that are gone: {volumes:?}"))?;
    let log = boot.log();
    match cut_of(&boot.bases(), &log, &disks, &[]) {
        Cut::Exact(range) if *range.end() == log.len() => Ok(()),
        cut => Err(format!("the disks of the running machine {machine} were changed: {cut:?}")),
    }
}

/// Checks the disks of a machine on the primary site and of its copy with [`disks_untouched`].
pub fn running_disks_untouched(testbed: &Testbed, machine: &str) -> Result<(), String> {
    disks_untouched(&testbed.primary, &machine.into())?;
    disks_untouched(&testbed.recovery, &cloud_machine(machine))
}

/// The text of a caught panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
