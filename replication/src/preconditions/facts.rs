//! What the preconditions examine.

use contract::{
    Component, ComponentId, CoreError, FailoverRequest, MachineView, PlatformErrorKind, PlatformKind,
    ReprotectRequest, SiteId,
};

use crate::context::Context;
use crate::preconditions::way::Way;
use crate::state::Record;
use crate::table::Pair;

/// The request whose preconditions are checked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request<'a> {
    Reprotect(&'a ReprotectRequest),
    Failover(&'a FailoverRequest),
    /// A test failover, whose request no precondition examines.
    TestFailover,
}

/// Everything that the preconditions of an operation examine.
pub(crate) struct Facts {
    pub(super) record: Record,
    /// The reprotection request: the one being checked, or the one by which the item replicates.
    pub(super) route: Option<ReprotectRequest>,
    pub(super) failover: Option<FailoverRequest>,
    /// The site on the primary side: where the machine is, or where it is to fail back to.
    pub(super) site: SiteId,
    /// Kind of that site; `None` if it was not queried.
    pub(super) kind: Option<PlatformKind>,
    /// Components of that site.
    pub(super) here: Vec<Component>,
    /// Components of the site where the machine is registered; empty if that site does not answer.
    pub(super) registry: Vec<Component>,
    /// Components of the recovery side.
    pub(super) cloud: Vec<Component>,
    /// The machine of the item's name at the site; `None` if it does not exist or cannot be
    /// queried.
    pub(super) original: Option<MachineView>,
    /// Datastores of that machine's disks.
    pub(super) datastores: Vec<ComponentId>,
    /// The machine on the recovery side.
    pub(super) running: Option<MachineView>,
}

impl Facts {
    /// Queries only the sites that matter for the operation: during a failover the primary site may
    /// be lost.
    pub(super) async fn gather(
        ctx: &Context,
        record: &Record,
        request: Request<'_>,
        way: Way,
    ) -> Result<Self, CoreError> {
        let (route, failover) = match request {
            Request::Reprotect(request) => (Some(request.clone()), None),
            Request::Failover(request) => (record.route.clone(), Some(request.clone())),
            Request::TestFailover => (None, None),
        };
        let requested = route.as_ref().and_then(|route| route.failback_site.clone());
        let site =
            requested.filter(|_| way == Way::ReprotectBack).unwrap_or_else(|| record.primary.0.clone());
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
            facts.query_primary(ctx).await?;
        }
        if matches!(way, Way::ReprotectBack | Way::Back) {
            facts.query_both_sides(ctx).await?;
        }
        Ok(facts)
    }

    async fn query_primary(&mut self, ctx: &Context) -> Result<(), CoreError> {
        let platform = ctx.platform(&self.site)?;
        self.kind = Some(platform.site().await?.kind);
        self.here = platform.infrastructure().await?;
        Ok(())
    }

    async fn query_both_sides(&mut self, ctx: &Context) -> Result<(), CoreError> {
        let there = ctx.platform(&self.record.recovery.0)?;
        self.cloud = there.infrastructure().await?;
        self.running = match there.machine(&self.record.recovery.1).await {
            Ok(machine) => Some(machine),
            Err(error) if error.kind == PlatformErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let here = ctx.platform(&self.site)?;
        self.original = here.machine(&self.record.primary.1).await.ok();
        for disk in self.original.iter().flat_map(|machine| &machine.disks) {
            self.datastores.extend(here.volume(&disk.volume).await?.datastore);
        }
        if self.record.pair == Pair::Vmware {
            let registry = ctx.platform(&self.record.registered_at)?;
            self.registry = registry.infrastructure().await.unwrap_or_default();
        }
        Ok(())
    }

    /// Whether the machine fails back to its original location.
    pub(super) fn is_original_location(&self) -> bool {
        self.site == self.record.primary.0 && self.original.is_some()
    }

    /// A violation if the cloud machine does not exist.
    pub(super) fn cloud_machine_gone(&self) -> Option<String> {
        let (site, machine) = &self.record.recovery;
        self.running
            .is_none()
            .then(|| format!("{machine} no longer exists at {site}; there is nothing to fail back"))
    }

    /// The component that the reprotection request names, if it exists.
    pub(super) fn named<'a>(
        &'a self,
        components: &'a [Component],
        name: impl FnOnce(&ReprotectRequest) -> Option<&ComponentId>,
    ) -> Option<&'a Component> {
        Component::find(components, self.route.as_ref().and_then(name)?)
    }
}
