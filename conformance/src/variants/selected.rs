//! A variant that was asked for by name.

use std::sync::Arc;

use contract::{Platform, ReplicationCore};
use simulator::Capture;

use super::activity::Activity;
use super::core::VariantCore;
use super::difference::Difference;
use super::platform::VariantPlatform;
use super::table::{VARIANTS, Variant};
use crate::core_under_test::{FaultHook, FaultInjection, MayLack};

/// There is no variant of this name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no variant {name}; known: {}", names())]
pub struct UnknownVariant {
    /// The name that was given.
    name: String,
}

fn names() -> String {
    VARIANTS.iter().map(|variant| variant.name).collect::<Vec<_>>().join(", ")
}

/// A sound core that does something differently from the built-in one. Clones share their state, so
/// that each core that is opened needs [`CoreVariant::another`] one.
#[derive(Clone)]
pub struct CoreVariant {
    make: fn() -> Box<dyn Difference>,
    differs: Arc<dyn Difference>,
    activity: Arc<Activity>,
    /// Whether what it does differently is below its interface, where nothing notes it.
    is_below: bool,
}

impl CoreVariant {
    /// Finds a variant by its name.
    ///
    /// # Errors
    /// There is no such variant.
    pub fn find(name: &str) -> Result<Self, UnknownVariant> {
        let variant = Variant::find(name).ok_or_else(|| UnknownVariant { name: name.to_owned() })?;
        Ok(Self::of(variant))
    }

    /// A core that is this variant.
    #[must_use]
    pub fn of(variant: &Variant) -> Self {
        let differs: Arc<dyn Difference> = Arc::from((variant.make)());
        let is_below = differs.hook().is_some();
        Self { make: variant.make, differs, activity: Arc::default(), is_below }
    }

    /// The same variant for another core. Both count as one when it is asked whether the variant
    /// did something differently.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { differs: Arc::from((self.make)()), ..self.clone() }
    }

    /// Whether it has done nothing differently so far. What a run says about such a core, it says
    /// about the built-in one.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.is_below && !self.activity.has_differed()
    }
}

impl FaultInjection for CoreVariant {
    fn hook(&self) -> Option<Arc<dyn FaultHook>> {
        self.differs.hook().map(Arc::from)
    }

    fn wrap(&self, core: Arc<dyn ReplicationCore>) -> Arc<dyn ReplicationCore> {
        Arc::new(VariantCore::new(core, Arc::clone(&self.differs), Arc::clone(&self.activity)))
    }

    fn capture(&self) -> Option<(Capture, MayLack)> {
        let activity = Arc::clone(&self.activity);
        let note = move || {
            activity.note(true);
            true
        };
        self.differs.capture().map(|capture| (capture, Arc::new(note) as MayLack))
    }

    fn wrap_platform(&self, platform: Arc<dyn Platform>) -> Arc<dyn Platform> {
        Arc::new(VariantPlatform::new(platform, Arc::clone(&self.differs), Arc::clone(&self.activity)))
    }
}
