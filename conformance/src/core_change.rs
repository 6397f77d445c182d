//! What a run asks to be changed about the core under test: nothing, a fault, or a correct
//! difference.

use std::sync::Arc;

use contract::{Platform, ReplicationCore};
use simulator::Capture;

use crate::context::RunContext;
use crate::core_under_test::{CoreClock, FaultHook, FaultInjection, MayLack};
use crate::kills::Kills;
use crate::mutants::{InjectedFault, UnknownFault};
use crate::variants::{CoreVariant, UnknownVariant};

/// Why the core cannot be changed as the run asks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownChange {
    /// The fault cannot be injected.
    #[error(transparent)]
    Fault(#[from] UnknownFault),
    /// There is no such variant.
    #[error(transparent)]
    Variant(#[from] UnknownVariant),
    /// The run asks for both.
    #[error("a core is either a mutant or a variant")]
    Both,
}

/// The change of the core that a run asks for; by default none. Clones share their state.
#[derive(Clone, Default)]
pub struct AskedChange {
    fault: InjectedFault,
    variant: Option<CoreVariant>,
    kills: Option<Arc<Kills>>,
}

impl AskedChange {
    /// What a run asks for, for checks in memory.
    ///
    /// # Errors
    /// There is no such mutant or variant.
    pub fn for_checks(run: &RunContext) -> Result<Self, UnknownChange> {
        Self::of(run, InjectedFault::for_checks(run.mutant.as_deref())?)
    }

    /// What a run asks for, for a scenario with these edges. If the core is to be killed, it is
    /// killed again and again while the scenario runs.
    ///
    /// # Errors
    /// There is no such mutant or variant, or the mutant waits for an edge that the scenario does
    /// not have.
    pub fn for_edges(run: &RunContext, edges: &[String]) -> Result<Self, UnknownChange> {
        let change = Self::of(run, InjectedFault::for_edges(run.mutant.as_deref(), edges)?)?;
        let kills = run.kills.map(|choice| Kills::new(choice.within_one_run()));
        Ok(Self { kills, ..change })
    }

    fn of(run: &RunContext, fault: InjectedFault) -> Result<Self, UnknownChange> {
        let variant = run.variant.as_deref().map(CoreVariant::find).transpose()?;
        match variant {
            Some(_) if run.mutant.is_some() => Err(UnknownChange::Both),
            variant => Ok(Self { fault, variant, kills: None }),
        }
    }

    /// The same change for another core. What both have done counts together.
    #[must_use]
    pub fn another(&self) -> Self {
        let variant = self.variant.as_ref().map(CoreVariant::another);
        Self { fault: self.fault.clone(), variant, kills: self.kills.clone() }
    }

    /// Activates the fault if it waits for this edge.
    pub fn begin_edge(&self, edge: &str) {
        self.fault.begin_edge(edge);
    }

    /// Says so, if the run asks for a change that has not done anything so far: what a run says
    /// about such a core it says about the unchanged one.
    #[must_use]
    pub fn idle(&self) -> Option<&'static str> {
        let variant_is_idle = self.variant.as_ref().is_some_and(CoreVariant::is_idle);
        match self.fault.is_idle() {
            true => Some("the mutant was never activated"),
            false => variant_is_idle.then_some("the variant did nothing differently"),
        }
    }
}

impl FaultInjection for AskedChange {
    fn hook(&self) -> Option<Arc<dyn FaultHook>> {
        self.variant.as_ref().map_or_else(|| self.fault.hook(), FaultInjection::hook)
    }

    fn wrap(&self, core: Arc<dyn ReplicationCore>) -> Arc<dyn ReplicationCore> {
        match &self.variant {
            Some(variant) => variant.wrap(core),
            None => self.fault.wrap(core),
        }
    }

    fn wrap_platform(&self, platform: Arc<dyn Platform>) -> Arc<dyn Platform> {
        match &self.variant {
            Some(variant) => variant.wrap_platform(platform),
            None => self.fault.wrap_platform(platform),
        }
    }

    fn capture(&self) -> Option<(Capture, MayLack)> {
        self.variant.as_ref().map_or_else(|| self.fault.capture(), FaultInjection::capture)
    }

    fn wrap_clock(&self, clock: CoreClock) -> CoreClock {
        match &self.variant {
            Some(_) => clock,
            None => self.fault.wrap_clock(clock),
        }
    }

    fn kills(&self) -> Option<Arc<Kills>> {
        self.kills.clone()
    }
}
