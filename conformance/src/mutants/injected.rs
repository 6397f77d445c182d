//! A fault that was asked for by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use contract::{Platform, ReplicationCore, Timestamp};
use simulator::Capture;

use super::across_sites::AcrossSites;
use super::activation::Activation;
use super::data_path::ActivatedFault;
use super::faulty_interface::FaultyInterface;
use super::faulty_platform::FaultyPlatform;
use super::field::FieldFault;
use super::field_platform::FieldPlatform;
use super::matrix::{find, mutants};
use super::mutant::Kind;
use super::platform::PlatformFault;
use crate::core_under_test::{CoreClock, FaultHook, FaultInjection, MayLack};

/// Why a fault cannot be injected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownFault {
    /// There is no such mutant.
    #[error("there is no mutant {name}; known: {}", names())]
    Mutant {
        /// The name that was given.
        name: String,
    },
    /// The mutant is to be activated at an edge that does not exist.
    #[error("there is no edge {edge}; known: {}", known.join(", "))]
    Edge {
        /// The edge that was given.
        edge: String,
        /// The edges that exist.
        known: Vec<String>,
    },
}

fn names() -> String {
    mutants().map(|mutant| mutant.name).collect::<Vec<_>>().join(", ")
}

/// The fault that a core is opened with; by default none. Clones share when it is activated and
/// what it has done so far.
#[derive(Clone, Default)]
pub struct InjectedFault {
    hook: Option<Arc<dyn FaultHook>>,
    interface: Option<Kind>,
    platform: Option<PlatformFault>,
    field: Option<FieldFault>,
    capture: Option<Capture>,
    across: Arc<AcrossSites>,
    activation: Arc<Activation>,
}

impl InjectedFault {
    /// Parses `NAME`, a mutant that is active from the beginning, or `NAME@EDGE`, one that is
    /// activated when that edge begins.
    ///
    /// # Errors
    /// There is no such mutant.
    pub fn parse(text: &str) -> Result<Self, UnknownFault> {
        let (name, edge) = match text.split_once('@') {
            Some((name, edge)) => (name, Some(edge.to_owned())),
            None => (text, None),
        };
        let mutant = find(name).ok_or_else(|| UnknownFault::Mutant { name: name.to_owned() })?;
        let activation = Arc::new(Activation::at(edge));
        Ok(match &mutant.kind {
            Kind::DataPath(make) => {
                let hook = ActivatedFault { activation: Arc::clone(&activation), fault: make() };
                Self { hook: Some(Arc::new(hook)), activation, ..Self::default() }
            }
            Kind::Platform(fault) => Self { platform: Some(*fault), activation, ..Self::default() },
            Kind::Field(fault) => Self { field: Some(*fault), activation, ..Self::default() },
            Kind::Capture(capture) => Self { capture: Some(*capture), activation, ..Self::default() },
            kind => Self { interface: Some(*kind), activation, ..Self::default() },
        })
    }

    /// Parses what `--mutant` says for a scenario with these edges; without it there is no fault.
    ///
    /// # Errors
    /// There is no such mutant, or it waits for an edge that the scenario does not have.
    pub fn for_edges(text: Option<&str>, edges: &[String]) -> Result<Self, UnknownFault> {
        let Some(text) = text else { return Ok(Self::default()) };
        let fault = Self::parse(text)?;
        match fault.edge().filter(|edge| !edges.iter().any(|known| known == edge)) {
            Some(edge) => Err(UnknownFault::Edge { edge: edge.to_owned(), known: edges.to_vec() }),
            None => Ok(fault),
        }
    }

    /// Parses what `--mutant` says for checks in memory. These have no edges, so a fault that
    /// waits for one is active from the beginning.
    ///
    /// # Errors
    /// There is no such mutant.
    pub fn for_checks(text: Option<&str>) -> Result<Self, UnknownFault> {
        let Some(text) = text else { return Ok(Self::default()) };
        Self::parse(text.split_once('@').map_or(text, |(name, _)| name))
    }

    /// Whether there is a fault that has not altered anything so far. What a run says about such a
    /// core it says about a sound one.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let at_sites = self.platform.is_some() || self.field.is_some() || self.capture.is_some();
        let is_fault = self.hook.is_some() || self.interface.is_some() || at_sites;
        is_fault && !self.activation.has_acted()
    }

    /// The edge at which the fault is activated, if it waits for one.
    #[must_use]
    pub fn edge(&self) -> Option<&str> {
        self.activation.edge()
    }

    /// Activates the fault if it waits for this edge.
    pub fn begin_edge(&self, edge: &str) {
        self.activation.begin_edge(edge);
    }
}

impl FaultInjection for InjectedFault {
    fn hook(&self) -> Option<Arc<dyn FaultHook>> {
        self.hook.clone()
    }

    fn wrap(&self, core: Arc<dyn ReplicationCore>) -> Arc<dyn ReplicationCore> {
        match self.interface {
            Some(fault) => Arc::new(FaultyInterface::new(core, fault, Arc::clone(&self.activation))),
            None => core,
        }
    }

    fn capture(&self) -> Option<(Capture, MayLack)> {
        let activation = Arc::clone(&self.activation);
        let may_lack = move || {
            let is_active = activation.is_active();
            if is_active {
                activation.note_act();
            }
            is_active
        };
        Some((self.capture?, Arc::new(may_lack)))
    }

    fn wrap_clock(&self, clock: CoreClock) -> CoreClock {
        match (self.field, clock) {
            (Some(FieldFault::ClockNeverGoesBack), CoreClock::Virtual(now)) => {
                never_back(now, Arc::clone(&self.activation))
            }
            (_, clock) => clock,
        }
    }

    fn wrap_platform(&self, platform: Arc<dyn Platform>) -> Arc<dyn Platform> {
        let activation = Arc::clone(&self.activation);
        match (self.platform, self.field) {
            (Some(fault), _) => {
                Arc::new(FaultyPlatform::new(platform, fault, activation, Arc::clone(&self.across)))
            }
            (None, Some(fault)) => {
                Arc::new(FieldPlatform::new(platform, fault, activation, Arc::clone(&self.across)))
            }
            (None, None) => platform,
        }
    }
}

/// A clock that stands still where another one goes back.
fn never_back(now: Arc<dyn Fn() -> Timestamp + Send + Sync>, activation: Arc<Activation>) -> CoreClock {
    let latest = AtomicU64::new(0);
    CoreClock::from_fn(move || {
        let now = now();
        let before = latest.fetch_max(now.0, Ordering::SeqCst);
        if before <= now.0 || !activation.is_active() {
            return now;
        }
        activation.note_act();
        Timestamp(before)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_known_by_name_and_can_wait_for_an_edge() {
        let edges = ["failover".to_owned(), "failback".to_owned()];
        for name in ["drop-extent", "accepts-all"] {
            let waiting = format!("{name}@failback");
            let fault = InjectedFault::for_edges(Some(&waiting), &edges).expect("it is known");
            assert!(!fault.activation.is_active());
            fault.begin_edge("failback");
            assert!(fault.activation.is_active());
            let fault = InjectedFault::for_checks(Some(&waiting)).expect("it is known");
            assert!(fault.activation.is_active() && fault.edge().is_none());
        }
    }

    #[test]
    fn unknown_mutants_and_edges_are_refused() {
        let edges = ["failover".to_owned()];
        let refused = |text| InjectedFault::for_edges(Some(text), &edges).err();
        assert!(matches!(refused("no-such-fault@failover"), Some(UnknownFault::Mutant { .. })));
        assert!(matches!(refused("drop-extent@moon"), Some(UnknownFault::Edge { .. })));
        assert!(refused("drop-extent@failover").is_none());
    }
}
