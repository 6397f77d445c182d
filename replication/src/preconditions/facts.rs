//! What preconditions look at.

use contract::{
    Component, ComponentId, CoreError, FailoverRequest, MachineView, PlatformErrorKind, PlatformKind,
    ReprotectRequest, SiteId,
};

use super::Way;
use crate::core::Inner;
use crate::item::Record;
use crate::table::Pair;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    Reprotect(&'a ReprotectRequest),
    Failover(&'a FailoverRequest),
    /// A test failover, or anything else whose request does not matter.
    Other,
}

/// All that an operation's preconditions look at.
pub(crate) struct Facts {
    pub(super) record: Record,
    /// What replication goes through: as asked for, or as it was set up.
    pub(super) route: Option<ReprotectRequest>,
    pub(super) failover: Option<FailoverRequest>,
    /// The site on the primary side: where the machine is, or is to come back to.
    pub(super) site: SiteId,
    /// What it stands in for; `None` where nobody asks.
    pub(super) kind: Option<PlatformKind>,
    /// Its components.
    pub(super) here: Vec<Component>,
    /// Components of the site where the machine is registered; none if that does not answer.
    pub(super) registry: Vec<Component>,
    /// Components of the recovery side.
    pub(super) cloud: Vec<Component>,
    /// A machine of the item's name at the site; `None` if there is none or nobody can tell.
    pub(super) original: Option<MachineView>,
    /// Where its disks lie.
    pub(super) datastores: Vec<ComponentId>,
    /// The machine on the recovery side.
    pub(super) running: Option<MachineView>,
}

impl Facts {
    /// Looks at no more than what matters on this way: on the way out the primary site may be gone.
    pub(super) async fn gather(
        core: &Inner,
        record: &Record,
        asked: Asked<'_>,
        way: Way,
    ) -> Result<Self, CoreError> {
        let (route, failover) = match asked {
            Asked::Reprotect(request) => (Some(request.clone()), None),
            Asked::Failover(request) => (record.route.clone(), Some(request.clone())),
            Asked::Other => (None, None),
        };
        let wanted = route.as_ref().and_then(|route| route.failback_site.clone());
        let site = wanted.filter(|_| way == Way::ReprotectBack).unwrap_or_else(|| record.primary.0.clone());
        let mut facts = Self {
            record: record.clone(),
            route,
            failover,
            site,
            kind: None,
            here: Vec::new(),
            registry: Vec::new(),
            cloud: Vec::new(),
            original: None,
            datastores: Vec::new(),
            running: None,
        };
        if way != Way::Out {
            facts.look_here(core).await?;
        }
        if matches!(way, Way::ReprotectBack | Way::Back) {
            facts.look_across(core).await?;
        }
        Ok(facts)
    }

    async fn look_here(&mut self, core: &Inner) -> Result<(), CoreError> {
        let platform = core.platform(&self.site)?;
        self.kind = Some(platform.site().await?.kind);
        self.here = platform.infrastructure().await?;
        Ok(())
    }

    async fn look_across(&mut self, core: &Inner) -> Result<(), CoreError> {
        let there = core.platform(&self.record.recovery.0)?;
        self.cloud = there.infrastructure().await?;
        self.running = match there.machine(&self.record.recovery.1).await {
            Ok(machine) => Some(machine),
            Err(error) if error.kind == PlatformErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let here = core.platform(&self.site)?;
        self.original = here.machine(&self.record.primary.1).await.ok();
        for disk in self.original.iter().flat_map(|machine| &machine.disks) {
            self.datastores.extend(here.volume(&disk.volume).await?.datastore);
        }
        if self.record.pair == Pair::Vmware {
            let registry = core.platform(&self.record.registered_at)?;
            self.registry = registry.infrastructure().await.unwrap_or_default();
        }
        Ok(())
    }

    /// Whether the machine comes back to where it was.
    pub(super) fn is_original_location(&self) -> bool {
        self.site == self.record.primary.0 && self.original.is_some()
    }

    /// What the route names, if it names it and it is there.
    pub(super) fn named<'a>(
        &'a self,
        parts: &'a [Component],
        name: impl FnOnce(&ReprotectRequest) -> Option<&ComponentId>,
    ) -> Option<&'a Component> {
        Component::find(parts, self.route.as_ref().and_then(name)?)
    }
}
