//! Testbeds with a machine in the states that tests of components and preconditions begin with.

use contract::{
    Bytes, EnableProtection, ItemId, JobView, MachineId, Millis, ReprotectRequest, TargetSettings,
};
use simulator::testbed::{INTERVAL, Testbed, cloud_machine, item_of};
use simulator::{SimInstall, SimProfile, SimSite, SimWorld};

use crate::support::{assert_came_back, testbed_of};

pub const MACHINE: &str = "web";

pub fn item() -> ItemId {
    item_of(MACHINE)
}

pub fn machine() -> MachineId {
    MACHINE.into()
}

/// The target settings that a machine usually has.
pub fn target() -> TargetSettings {
    TargetSettings::new(cloud_machine(MACHINE), Bytes(1 << 30))
}

/// Installs and protects a machine, and waits for three points.
pub async fn protect(testbed: &Testbed, install: &SimInstall, target: TargetSettings) {
    testbed.protect_as(install, |request| EnableProtection { target, ..request }).await.unwrap();
    testbed.wait_for_points(&item(), 3).await.unwrap();
}

/// A testbed with a protected machine.
pub async fn protected(world: SimWorld, profile: SimProfile) -> Testbed {
    let testbed = testbed_of(world, profile);
    protect(&testbed, &SimInstall::new(MACHINE), target()).await;
    testbed
}

/// A testbed with a machine that was failed over from its lost site and committed.
pub async fn committed_in_cloud(world: SimWorld, profile: SimProfile) -> Testbed {
    let testbed = protected(world, profile).await;
    testbed.fail_over_from_lost_site(&item()).await.unwrap();
    testbed
}

/// Fails back to a site and asserts that nothing was lost.
pub async fn fail_back(testbed: &Testbed, site: &SimSite) {
    testbed.fail_back(&item()).await.unwrap();
    assert_came_back(testbed, MACHINE, site);
}

/// Reprotects, waits for points, fails back to a site and asserts that nothing was lost.
pub async fn reprotect_and_fail_back(testbed: &Testbed, request: &ReprotectRequest, site: &SimSite) {
    testbed.reprotect(request).await.unwrap();
    testbed.wait_for_points(&item(), 3).await.unwrap();
    testbed.advance(Millis(INTERVAL.0 / 5)).await;
    fail_back(testbed, site).await;
}

/// The names of a job's steps.
pub fn steps(job: &JobView) -> Vec<&str> {
    job.steps.iter().map(|step| step.name.as_str()).collect()
}
