//! The core under test.
//!
//! This is the only file of the suite that knows which core is tested: everything else speaks to
//! it through [`ReplicationCore`]. It is the core behind the wire protocol that
//! [`CoreChoice::selected`] names, or else the built-in one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use contract::{Capabilities, CoreError, ErrorCode, Operation, Platform, ReplicationCore, SiteId, Timestamp};
use simulator::Capture;
use wire::client::BadAddress;

use crate::kills::{Kills, RestartedCore};
use crate::wire_core::{self, CoreChoice, WireParts};

/// A content change on its way into a recovery point, and the hook by which mutants alter it. Only
/// a core that offers such a hook can be given faults below its interface.
pub use replication::fault_hook::{
    BootEntries, Extent, FaultHook, Flushes, Merging, Periods, Quiescing, RegistryEdits, Verifying,
};

/// What a core is opened with.
pub struct CoreParts {
    /// The sites that it replicates between.
    pub platforms: BTreeMap<SiteId, Arc<dyn Platform>>,
    /// Directory for its state. A core that is opened again on the same directory continues.
    pub dir: PathBuf,
    /// Source of its timestamps.
    pub clock: CoreClock,
    /// File for what a core with a process of its own writes to its standard error.
    pub log: Option<PathBuf>,
}

/// Where a core takes the time from.
#[derive(Clone)]
pub enum CoreClock {
    /// The host's clock.
    System,
    /// A clock that the suite moves.
    Virtual(Arc<dyn Fn() -> Timestamp + Send + Sync>),
}

impl CoreClock {
    /// A clock that reads the time from a function.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self::Virtual(Arc::new(now))
    }
}

/// Asked each time that a snapshot is about to lack writes: whether it may.
pub type MayLack = Arc<dyn Fn() -> bool + Send + Sync>;

/// A change of the core under test: a fault, a sound variant, or none. Every default is to change
/// nothing.
pub trait FaultInjection: Send + Sync {
    /// The fault below the core's interface, if it is one of these.
    fn hook(&self) -> Option<Arc<dyn FaultHook>> {
        None
    }

    /// Puts the fault at the core's interface, if it is one of these, in front of an open core.
    fn wrap(&self, core: Arc<dyn ReplicationCore>) -> Arc<dyn ReplicationCore> {
        core
    }

    /// Puts the fault between the core and a platform, if it is one of these.
    fn wrap_platform(&self, platform: Arc<dyn Platform>) -> Arc<dyn Platform> {
        platform
    }

    /// The clock that the core reads instead of this one.
    fn wrap_clock(&self, clock: CoreClock) -> CoreClock {
        clock
    }

    /// What snapshots of simulated machines hold, if not the first writes of a guest, and a
    /// function that is asked whether one may lack writes. It stands for a core that captures
    /// writes in another way.
    fn capture(&self) -> Option<(Capture, MayLack)> {
        None
    }

    /// The core that is changed.
    ///
    /// # Errors
    /// The environment names it and is malformed.
    fn core(&self) -> Result<CoreChoice, BadAddress> {
        CoreChoice::selected()
    }

    /// When the core is killed and started again, if it has a process of its own.
    fn kills(&self) -> Option<Arc<Kills>> {
        None
    }
}

/// Opens the core under test, with a fault injected into it if `fault` is one.
///
/// # Errors
/// The built-in core cannot read its state; the name of another core is malformed; or the fault
/// lies below the interface of a core that is not the built-in one.
pub fn open(
    parts: CoreParts,
    fault: &(impl FaultInjection + ?Sized),
) -> Result<Arc<dyn ReplicationCore>, CoreError> {
    let parts = CoreParts { clock: fault.wrap_clock(parts.clock), ..parts };
    let bad = |error: &dyn std::fmt::Display| CoreError::new(ErrorCode::BadRequest, error.to_string());
    match fault.core().map_err(|error| bad(&error))? {
        CoreChoice::BuiltIn => open_built_in(parts, fault),
        CoreChoice::Wire(_) if fault.hook().is_some() => Err(bad(&NEEDS_BUILT_IN)),
        CoreChoice::Wire(address) => {
            let CoreParts { platforms, dir, clock, log } = parts;
            let platforms = with_faults(platforms, fault);
            let now = match clock {
                CoreClock::System => None,
                CoreClock::Virtual(now) => Some(now),
            };
            let parts = WireParts { platforms, dir, log, now };
            Ok(fault.wrap(match fault.kills() {
                Some(kills) => RestartedCore::open(address, parts, &kills),
                None => wire_core::open(&address, &parts),
            }))
        }
    }
}

/// Why a fault below the interface cannot be injected into another core.
pub const NEEDS_BUILT_IN: &str = "this mutant alters data inside the core, which needs the built-in one";

fn open_built_in(
    parts: CoreParts,
    fault: &(impl FaultInjection + ?Sized),
) -> Result<Arc<dyn ReplicationCore>, CoreError> {
    let CoreParts { platforms, dir, clock, log: _ } = parts;
    let platforms = with_faults(platforms, fault);
    let clock = match clock {
        CoreClock::System => replication::Clock::system(),
        CoreClock::Virtual(now) => replication::Clock::new(move || now()),
    };
    let config = replication::Config { platforms, dir, fault_hook: fault.hook(), clock };
    Ok(fault.wrap(Arc::new(replication::Core::open(config)?)))
}

type Platforms = BTreeMap<SiteId, Arc<dyn Platform>>;

fn with_faults(platforms: Platforms, fault: &(impl FaultInjection + ?Sized)) -> Platforms {
    platforms.into_iter().map(|(id, site)| (id, fault.wrap_platform(site))).collect()
}

/// The built-in core's state machines as a page of diagrams, for `docs/states.md`.
#[must_use]
pub fn state_diagrams() -> String {
    replication::table::page()
}

/// An open core, and what it says that it can do.
#[derive(Clone)]
pub struct CoreUnderTest {
    /// The core.
    pub core: Arc<dyn ReplicationCore>,
    /// What it can do.
    pub capabilities: Capabilities,
}

impl CoreUnderTest {
    /// Asks an open core for its capabilities.
    ///
    /// # Errors
    /// The core does not answer.
    pub async fn query(core: Arc<dyn ReplicationCore>) -> Result<Self, CoreError> {
        let capabilities = core.capabilities().await?;
        Ok(Self { core, capabilities })
    }

    /// Whether the core has an operation.
    #[must_use]
    pub fn supports(&self, operation: Operation) -> bool {
        self.capabilities.operations.contains(&operation)
    }

    /// The first of the operations that the core lacks. What needs it is skipped under its name.
    #[must_use]
    pub fn lacks(&self, needed: &[Operation]) -> Option<Operation> {
        needed.iter().copied().find(|operation| !self.supports(*operation))
    }
}
