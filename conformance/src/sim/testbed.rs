//! The simulated tier's testbed: the core under test between two simulated sites.

use std::sync::Arc;

use contract::{CoreError, ReplicationCore};
use simulator::SimWorld;
use simulator::testbed::{CoreParts, TestbedError};

use crate::mutants::InjectedFault;

pub(crate) use simulator::testbed::{Setup, Testbed};

/// Makes the sites and opens the core under test with this fault.
pub(crate) fn open(world: SimWorld, setup: Setup, fault: &InjectedFault) -> Result<Testbed, TestbedError> {
    Testbed::open(world, setup, |parts| open_core(parts, fault))
}

/// Opens the core under test: the only place in the simulated tier that knows which core that is.
fn open_core(parts: CoreParts, fault: &InjectedFault) -> Result<Arc<dyn ReplicationCore>, CoreError> {
    let platforms = parts.platforms();
    let CoreParts { dir, clock, .. } = parts;
    let clock = replication::Clock::new(move || clock.now());
    let core = replication::Core::open(replication::Config { platforms, dir, tap: fault.tap(), clock })?;
    Ok(fault.around(Arc::new(core)))
}
