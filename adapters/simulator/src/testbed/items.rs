//! Machines, items and recovery points of a testbed.

use std::collections::BTreeSet;

use contract::{
    CoreError, EnableProtection, ErrorCode, GroupId, ItemId, ItemView, MachineId, MachineView, Millis,
    Platform, PlatformErrorKind, RecoveryPoint, Timestamp, VolumeId,
};

use super::{INTERVAL, POLICY, Testbed, TestbedError, cloud_machine, enable_request, kept, patiently};
use crate::{Call, Event, FailCall, SimFault, SimInstall, SimSite, Snapshot};

/// How often a core is asked that cannot tell by itself.
pub(super) const LOOK_EVERY: Millis = Millis(1_000);

/// `None` if the core does not support what it was asked for.
fn supported<T>(answer: Result<T, CoreError>) -> Result<Option<T>, CoreError> {
    match answer {
        Err(error) if error.code == ErrorCode::NotSupported => Ok(None),
        answer => answer.map(Some),
    }
}

impl Testbed {
    /// Makes [`POLICY`], unless the core has it, or lists no policies and any policy will do.
    ///
    /// # Errors
    /// The core refuses it. A core that lists or makes no policies goes by its own.
    pub async fn make_policy(&self) -> Result<(), TestbedError> {
        match supported(self.opened().policies().await)? {
            // Whoever stands in front of the core learns what it lacks.
            None if self.needs_policy => self.core.policies().await.map(drop)?,
            Some(policies) if policies.iter().all(|view| view.id.0 != POLICY) => {}
            _ => return Ok(()),
        }
        supported(self.opened().create_policy(&POLICY.into(), &self.policy).await)?;
        Ok(())
    }

    /// Makes [`POLICY`] if there is none, installs and starts a machine, and lets it run for an
    /// interval.
    ///
    /// # Errors
    /// The core refuses the policy, or the site the machine.
    pub async fn install(&self, install: &SimInstall) -> Result<(), TestbedError> {
        self.make_policy().await?;
        self.primary.install(install)?;
        self.primary.start(&install.machine).await?;
        self.advance(INTERVAL).await;
        Ok(())
    }

    /// Installs and protects a machine.
    ///
    /// # Errors
    /// Protection does not begin.
    pub async fn protect(&self, machine: &str) -> Result<ItemId, TestbedError> {
        self.protect_machine(&SimInstall::new(machine)).await
    }

    /// Installs and protects a machine with properties of its own.
    ///
    /// # Errors
    /// Protection does not begin.
    pub async fn protect_machine(&self, install: &SimInstall) -> Result<ItemId, TestbedError> {
        self.protect_as(install, |request| request).await
    }

    /// Installs and protects a machine in a replication group; `None`: in none.
    ///
    /// # Errors
    /// Protection does not begin.
    pub async fn protect_in_group(
        &self,
        install: &SimInstall,
        group: Option<&str>,
    ) -> Result<ItemId, TestbedError> {
        let group = group.map(GroupId::from);
        self.protect_as(install, |request| EnableProtection { group, ..request }).await
    }

    /// Installs a machine and protects it with a changed request.
    ///
    /// # Errors
    /// Protection does not begin.
    pub async fn protect_as(
        &self,
        install: &SimInstall,
        change: impl FnOnce(EnableProtection) -> EnableProtection,
    ) -> Result<ItemId, TestbedError> {
        self.install(install).await?;
        let request = change(enable_request(&install.machine.0));
        self.completed(self.core.enable_protection(&request).await).await?;
        Ok(request.item)
    }

    /// An item as the core shows it.
    ///
    /// # Errors
    /// The core does not show it.
    pub async fn item(&self, item: &ItemId) -> Result<ItemView, TestbedError> {
        Ok(self.core.item(item).await?)
    }

    /// Waits until the item has processed so many points in its current direction.
    ///
    /// # Errors
    /// The core says that it will not, or says nothing.
    pub async fn wait_for_points(&self, item: &ItemId, count: u64) -> Result<ItemView, TestbedError> {
        let what = format!("point {count} of {item}");
        let waited = patiently(what.clone(), self.opened().watch_points(item, count)).await;
        if waited.as_ref().is_err_and(|error| error.code() == Some(ErrorCode::NotSupported)) {
            return patiently(what, self.look_for_points(item, count)).await;
        }
        waited
    }

    /// As [`Self::wait_for_points`], for a core that can only be asked again and again. It looks
    /// more often than a core can make points.
    async fn look_for_points(&self, item: &ItemId, count: u64) -> Result<ItemView, TestbedError> {
        let mut seen = BTreeSet::new();
        loop {
            let view = self.item(item).await?;
            seen.extend(view.points.iter().filter(|point| point.processed).map(|point| point.id.clone()));
            if seen.len() as u64 >= count {
                return Ok(view);
            }
            self.advance(LOOK_EVERY).await;
        }
    }

    /// The item's processed points, oldest first.
    ///
    /// # Errors
    /// The core does not show the item.
    pub async fn processed_points(&self, item: &ItemId) -> Result<Vec<RecoveryPoint>, TestbedError> {
        Ok(self.item(item).await?.points.into_iter().filter(|point| point.processed).collect())
    }

    /// The item's newest processed point.
    ///
    /// # Errors
    /// There is none.
    pub async fn newest_point(&self, item: &ItemId) -> Result<RecoveryPoint, TestbedError> {
        let newest = self.processed_points(item).await?.pop();
        newest.ok_or_else(|| TestbedError::missing(format!("a processed point of {item}")))
    }

    /// The item's oldest processed point.
    ///
    /// # Errors
    /// There is none.
    pub async fn oldest_point(&self, item: &ItemId) -> Result<RecoveryPoint, TestbedError> {
        let oldest = self.processed_points(item).await?.into_iter().next();
        oldest.ok_or_else(|| TestbedError::missing(format!("a processed point of {item}")))
    }

    /// Lets the core receive data and process none of it from now on, until the recovery site is
    /// healed.
    pub fn stall_processing(&self) {
        let next = self.recovery.calls(Call::DeriveVolume) + 1;
        let full = FailCall::at(Call::DeriveVolume, next, PlatformErrorKind::Full);
        self.recovery.inject(&SimFault::Call(full.from_then_on()));
    }
}

impl Testbed {
    /// A machine of a site that the core had to make or keep.
    ///
    /// # Errors
    /// [`TestbedError::Missing`] if the site has no such machine.
    pub async fn machine_at(&self, site: &SimSite, machine: &str) -> Result<MachineView, TestbedError> {
        kept(&format!("the machine {machine}"), site.machine(&machine.into()).await)
    }

    /// A machine's copy at the recovery site.
    ///
    /// # Errors
    /// [`TestbedError::Missing`] if there is none.
    pub async fn copy_of(&self, machine: &str) -> Result<MachineView, TestbedError> {
        self.machine_at(&self.recovery, &cloud_machine(machine).0).await
    }

    /// The disks of a processed point at `site`.
    ///
    /// # Errors
    /// The point names no volumes, or the site does not have them.
    pub fn point_content(
        &self,
        site: &SimSite,
        point: &RecoveryPoint,
    ) -> Result<Vec<Snapshot>, TestbedError> {
        if point.volumes.is_empty() {
            return Err(TestbedError::missing(format!("the list of volumes of {}", point.id)));
        }
        let volumes = point.volumes.iter().map(|(_, volume)| volume);
        volumes.map(|volume| volume_content(site, volume)).collect()
    }

    /// When snapshots of a machine were taken at a site, by the site's own record, oldest first:
    /// the moments of which a core can have recovery points.
    #[must_use]
    pub fn snapshot_times(&self, site: &SimSite, machine: &MachineId) -> Vec<Timestamp> {
        let of_machine = |event: &Event| event.subject.split(' ').any(|name| name == machine.0);
        let is_taken =
            |event: &Event| event.what.starts_with("OpenSnapshot") && event.what.ends_with(": done");
        let taken = site.trace().into_iter().filter(|event| is_taken(event) && of_machine(event));
        taken.map(|event| event.at).collect()
    }

    /// When the snapshots of a machine were taken that were received: closed as acknowledged, or,
    /// by a core that never acknowledges, closed. By the site's own record, oldest first.
    #[must_use]
    pub fn snapshots_received(&self, site: &SimSite, machine: &MachineId) -> Vec<Timestamp> {
        let closed = self.snapshots_closed(site, machine);
        let acknowledges = closed.iter().any(|(_, is_acknowledged)| *is_acknowledged);
        let received = closed.into_iter().filter(|(_, is_acknowledged)| *is_acknowledged || !acknowledges);
        received.map(|(taken, _)| taken).collect()
    }

    /// When the snapshots of a machine were taken that were closed, and whether each was closed as
    /// acknowledged. By the site's own record, oldest first.
    #[must_use]
    pub fn snapshots_closed(&self, site: &SimSite, machine: &MachineId) -> Vec<(Timestamp, bool)> {
        let is_of = |event: &Event| event.subject.split(' ').any(|name| name == machine.0);
        let (mut open, mut closed) = (None, Vec::new());
        // A core takes one snapshot of a machine after the other.
        for event in site.trace().into_iter().filter(is_of) {
            if event.what.starts_with("OpenSnapshot") && event.what.ends_with(": done") {
                open = Some(event.at);
            } else if event.what.ends_with(" bytes")
                && let Some(taken) = open.take()
            {
                closed.push((taken, event.what.contains("acknowledge: Advance")));
            }
        }
        closed
    }

    /// How many bytes were read from the snapshots of a machine at a site that were closed after
    /// `since`, by the site's own record.
    #[must_use]
    pub fn bytes_read(&self, site: &SimSite, machine: &MachineId, since: Timestamp) -> u64 {
        let bytes = |event: &Event| {
            let (_, read) = event.what.strip_suffix(" bytes")?.rsplit_once(", ")?;
            read.parse::<u64>().ok()
        };
        let of_machine = |event: &&Event| event.subject == machine.0 && event.at > since;
        site.trace().iter().filter(of_machine).filter_map(bytes).sum()
    }

    /// How many snapshots of a machine and of its copy were opened since each was started: zero
    /// more means that nothing replicates.
    #[must_use]
    pub fn snapshots_taken(&self, machine: &str) -> u64 {
        let copy = cloud_machine(machine);
        self.primary.snapshots_taken(&MachineId::from(machine)) + self.recovery.snapshots_taken(&copy)
    }
}

/// The content of a volume that the core had to make or keep.
///
/// # Errors
/// The site does not have it.
pub fn volume_content(site: &SimSite, volume: &VolumeId) -> Result<Snapshot, TestbedError> {
    site.snapshot(volume).ok_or_else(|| TestbedError::VolumeGone { volume: volume.clone() })
}
