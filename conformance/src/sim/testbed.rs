//! The simulated tier's testbed: the core under test between two simulated sites.

use std::path::PathBuf;
use std::sync::Arc;

use contract::{CoreError, ReplicationCore};
use simulator::SimWorld;
use simulator::testbed::{CoreParts, TestbedError};

use crate::capability_gate::CapabilityGate;
use crate::core_under_test::{self, CoreClock, FaultInjection};
use crate::missing::Missing;
use crate::wire_core::CoreChoice;

pub(crate) use simulator::testbed::{Setup, Testbed};

/// Opens the core under test with a change.
pub(crate) struct Opener<'a> {
    pub(crate) change: &'a dyn FaultInjection,
    /// Where a capability is noted that is needed and that the core lacks.
    pub(crate) missing: &'a Missing,
}

impl Opener<'_> {
    /// Makes the sites and opens the core between them.
    pub(crate) fn open(&self, mut world: SimWorld, setup: Setup) -> Result<Testbed, TestbedError> {
        if matches!(self.change.core(), Ok(CoreChoice::Wire(_))) {
            let served = world.serve_disks_at_socket();
            served.map_err(|error| TestbedError::host("serve the disks at a socket", error))?;
        }
        let mut testbed = Testbed::open(world, setup, |parts| open_core(parts, self.change))?;
        if let Some((capture, may_lack)) = self.change.capture() {
            testbed.sites().iter().for_each(|site| site.set_capture(capture, Arc::clone(&may_lack)));
        }
        testbed.use_through(|core| CapabilityGate::wrap(core, self.missing));
        Ok(testbed)
    }

    /// Closes the core and opens it again on its state directory.
    pub(crate) async fn reopen(&self, testbed: &mut Testbed) -> Result<(), TestbedError> {
        testbed.reopen(|parts| open_core(parts, self.change)).await?;
        testbed.use_through(|core| CapabilityGate::wrap(core, self.missing));
        Ok(())
    }
}

/// Makes the sites and opens the core under test between them with this change. A capability that
/// is needed and that the core lacks is noted in `missing`.
pub(crate) fn open(
    world: SimWorld,
    setup: Setup,
    change: &dyn FaultInjection,
    missing: &Missing,
) -> Result<Testbed, TestbedError> {
    Opener { change, missing }.open(world, setup)
}

/// Opens the core under test on the simulator's clock.
fn open_core(parts: CoreParts, change: &dyn FaultInjection) -> Result<Arc<dyn ReplicationCore>, CoreError> {
    let platforms = parts.platforms();
    // All cores of a run share one log.
    let log = std::env::var_os("ROUNDTRIP_RUN_DIR").map(|dir| PathBuf::from(dir).join("core.log"));
    let dir = parts.dir.clone();
    let clock = CoreClock::from_fn(move || parts.now());
    core_under_test::open(core_under_test::CoreParts { platforms, dir, clock, log }, change)
}
