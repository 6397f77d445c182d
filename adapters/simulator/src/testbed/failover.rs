//! Failover, failback and reprotection on a testbed, and what they lead to.

use contract::{Direction, FailoverRequest, ItemId, JobView, PointChoice, ReprotectRequest, Timestamp};

use super::{BACK, BOOT, Boots, Contained, INTERVAL, OUT, Testbed, TestbedError, cloud_machine, failover_to};
use crate::SimSite;

impl Testbed {
    /// Fails over to a point, without a shutdown of the source.
    ///
    /// # Errors
    /// The failover does not succeed, uses another point, or starts a machine that has not what
    /// the point must have.
    pub async fn fail_over(&self, item: &ItemId, point: PointChoice) -> Result<JobView, TestbedError> {
        self.fail_over_as(&failover_to(item, point)).await
    }

    /// Fails over out of the primary site.
    ///
    /// # Errors
    /// The failover does not succeed, uses another point, or starts a machine that has not what
    /// the point must have.
    pub async fn fail_over_as(&self, request: &FailoverRequest) -> Result<JobView, TestbedError> {
        let before = self.item(&request.item).await?;
        let job = self.completed(self.core.failover(request).await).await?;
        self.check_recovery(&before, &request.point).await?;
        Ok(job)
    }

    /// Fails back to the latest point, and lets the machine boot.
    ///
    /// # Errors
    /// The failback does not succeed.
    pub async fn fail_back(&self, item: &ItemId) -> Result<JobView, TestbedError> {
        let request = FailoverRequest::unplanned(item, BACK);
        let job = self.completed(self.core.failover(&request).await).await?;
        self.advance(BOOT).await;
        Ok(job)
    }

    /// Commits a failover.
    ///
    /// # Errors
    /// The commit does not succeed.
    pub async fn commit(&self, item: &ItemId) -> Result<JobView, TestbedError> {
        self.completed(self.core.commit(item).await).await
    }

    /// Loses the primary site, fails over and commits, and restores the site an interval before it
    /// returns.
    ///
    /// # Errors
    /// Failover or commit do not succeed.
    pub async fn fail_over_from_lost_site(&self, item: &ItemId) -> Result<(), TestbedError> {
        self.primary.lose();
        self.fail_over(item, PointChoice::Latest).await?;
        self.commit(item).await?;
        self.primary.restore();
        self.advance(INTERVAL).await;
        Ok(())
    }

    /// Commits a failover, and replicates back to the primary site.
    ///
    /// # Errors
    /// Commit or reprotection do not succeed.
    pub async fn commit_and_reprotect(&self, item: &ItemId) -> Result<(), TestbedError> {
        self.commit(item).await?;
        self.reprotect(&self.reprotection(item, BACK)).await.map(drop)
    }

    /// Reprotects.
    ///
    /// # Errors
    /// The reprotection does not succeed.
    pub async fn reprotect(&self, request: &ReprotectRequest) -> Result<JobView, TestbedError> {
        self.completed(self.core.reprotect(request).await).await
    }

    /// The request to replicate between recovery and primary site in this direction, with the
    /// components that the sites offer first.
    #[must_use]
    pub fn reprotection(&self, item: &ItemId, direction: Direction) -> ReprotectRequest {
        match direction {
            Direction::PrimaryToRecovery => self.reprotection_from(item, &self.primary),
            Direction::RecoveryToPrimary => self.reprotection_to(item, &self.primary),
        }
    }

    /// The request to replicate from the recovery site back to `site`, with the components that the
    /// sites offer first.
    #[must_use]
    pub fn reprotection_to(&self, item: &ItemId, site: &SimSite) -> ReprotectRequest {
        ReprotectRequest::new(item, BACK)
            .with_defaults(&self.recovery.components().all(), &site.components().all())
    }

    /// The request to replicate from `site` to the recovery site, with the components that the
    /// sites offer first.
    #[must_use]
    pub fn reprotection_from(&self, item: &ItemId, site: &SimSite) -> ReprotectRequest {
        ReprotectRequest::new(item, OUT)
            .with_defaults(&site.components().all(), &self.recovery.components().all())
    }

    /// The last boot of a machine on the primary site and of its copy at the recovery site.
    ///
    /// # Errors
    /// One of them was never started.
    pub fn boots(&self, machine: &str) -> Result<Boots, TestbedError> {
        let source = self.primary.last_boot(&machine.into());
        let target = self.recovery.last_boot(&cloud_machine(machine));
        Ok(Boots {
            source: source.ok_or_else(|| TestbedError::NotStarted { machine: machine.to_owned() })?,
            target: target
                .ok_or_else(|| TestbedError::NotStarted { machine: format!("the copy of {machine}") })?,
        })
    }

    /// The last boot of a machine's copy at the recovery site, and of the machine that came back
    /// from it to `site`.
    ///
    /// # Errors
    /// One of them was never started.
    pub fn failback_boots(&self, machine: &str, site: &SimSite) -> Result<Boots, TestbedError> {
        let source = self.recovery.last_boot(&cloud_machine(machine));
        let target = site.last_boot(&machine.into());
        Ok(Boots {
            source: source
                .ok_or_else(|| TestbedError::NotStarted { machine: format!("the copy of {machine}") })?,
            target: target.ok_or_else(|| TestbedError::NotStarted { machine: machine.to_owned() })?,
        })
    }

    /// How many of a machine's writes its copy at the recovery site was started with.
    ///
    /// # Errors
    /// It was not started, or from disks that the machine never had.
    pub fn recovered(&self, machine: &str) -> Result<Contained, TestbedError> {
        self.boots(machine)?.contained()
    }

    /// Checks that a machine that came back to `site` was started with every write of its copy, and
    /// with no other.
    ///
    /// # Errors
    /// [`TestbedError::NotFresh`] or [`TestbedError::NotAPrefix`] if that is not so;
    /// [`TestbedError::NotStarted`] if it was not started.
    pub fn check_returned(&self, machine: &str, site: &SimSite) -> Result<(), TestbedError> {
        let boots = self.failback_boots(machine, site)?;
        let end = boots.source.ended().map_or(self.world.clock().now(), |(at, _)| at);
        // A write of the last moment counts as written before the end.
        boots.check_freshness(Timestamp(end.0 + 1), end)
    }

    /// Whether a machine that came back to `site` has exactly what its copy wrote, and is up.
    ///
    /// # Errors
    /// It was not started.
    pub fn came_back(&self, machine: &str, site: &SimSite) -> Result<bool, TestbedError> {
        let boots = self.failback_boots(machine, site)?;
        Ok(boots.is_complete() && boots.target.up.is_ok() && boots.target.ended().is_none())
    }
}
