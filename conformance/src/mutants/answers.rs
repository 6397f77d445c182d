//! How a faulty interface alters the answers of a sound core.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use contract::{
    CoreError, DataSync, Direction, ErrorCode, FailoverRequest, Health, ItemView, JobFilter, JobId, JobState,
    JobView, PointChoice, Side, Step, TestFailoverStatus,
};

use super::faulty_interface::FaultyInterface;
use super::interface::InterfaceFault;
use super::mutant::Kind;

impl FaultyInterface {
    /// Changes the answer to a request that starts a job or is refused.
    pub(super) async fn started(&self, answer: Result<JobId, CoreError>) -> Result<JobId, CoreError> {
        let Err(error) = answer else { return answer };
        if let Some(Kind::Ignores(code)) = self.active_kind()
            && error.code == code
        {
            self.note(true);
            return self.ended_job().await;
        }
        let altering = [InterfaceFault::AcceptsAll, InterfaceFault::WrongErrorCode];
        self.note(self.active().is_some_and(|fault| altering.contains(&fault)));
        self.triggered.store(self.has(InterfaceFault::RefusalLeavesTrace), Ordering::SeqCst);
        match self.active() {
            Some(InterfaceFault::AcceptsAll) => self.ended_job().await,
            Some(InterfaceFault::WrongErrorCode) => Err(CoreError { code: ErrorCode::Platform, ..error }),
            _ => Err(error),
        }
    }

    /// Refuses the failover of a machine that had no test failover, if that is the fault.
    pub(super) async fn demands_test_failover(&self, request: &FailoverRequest) -> Result<(), CoreError> {
        let is_out = request.direction == Direction::PrimaryToRecovery;
        if !is_out || !self.has(InterfaceFault::DemandsTestFailover) {
            return Ok(());
        }
        match self.core.item(&request.item).await?.test_failover_status {
            TestFailoverStatus::Recommended => {
                Err(CoreError::new(ErrorCode::NotAllowedInState, "a test failover has to come first"))
            }
            _ => Ok(()),
        }
    }

    /// The point of a failover as the core behind is asked for it.
    pub(super) async fn failover_point(&self, request: &FailoverRequest) -> PointChoice {
        let is_back = request.direction == Direction::RecoveryToPrimary;
        match &request.point {
            PointChoice::Latest if is_back && self.has(InterfaceFault::FailsBackToAppConsistent) => {
                PointChoice::LatestAppConsistent
            }
            point => self.point(Some(&request.item), point).await,
        }
    }

    /// Whether the core behind is asked to shut the source of a failover down.
    pub(super) fn shuts_down(&self, request: &FailoverRequest) -> bool {
        let always =
            request.direction == Direction::PrimaryToRecovery && self.has(InterfaceFault::ShutsSourceDown);
        always || (request.shut_down_source && !self.has(InterfaceFault::LeavesSourceRunning))
    }

    /// An older job that has nothing to do with the request.
    pub(super) async fn ended_job(&self) -> Result<JobId, CoreError> {
        let jobs = self.core.jobs(&JobFilter::default()).await?;
        let none = || CoreError::new(ErrorCode::UnknownId, "there is no earlier job");
        jobs.into_iter().next().map(|job| job.id).ok_or_else(none)
    }

    pub(super) fn item_view(&self, sound: ItemView) -> ItemView {
        let mut view = sound.clone();
        let triggered = self.triggered.load(Ordering::SeqCst);
        match self.active() {
            Some(InterfaceFault::RefusalLeavesTrace) if triggered => {
                view.trouble.push_str(" (something was refused)")
            }
            Some(InterfaceFault::TestFailoverDeletesPoints) if triggered => {
                drop(view.points.drain(..view.points.len().min(3)))
            }
            Some(InterfaceFault::OldestPointIsNewest) => {
                let newest =
                    view.points.iter().rfind(|point| point.processed).map(|point| point.volumes.clone());
                view.points
                    .iter_mut()
                    .take(1)
                    .for_each(|oldest| oldest.volumes = newest.clone().unwrap_or_default());
            }
            Some(InterfaceFault::ForgetsTestFailovers) => {
                view.test_failover_status = TestFailoverStatus::Recommended
            }
            Some(InterfaceFault::AlwaysHealthy) => view.health = Health::Healthy,
            Some(InterfaceFault::HidesIssues) => view.issues.clear(),
            _ => {}
        }
        if let Some(Kind::ItemView(alter)) = self.active_kind() {
            alter(&mut view);
        }
        self.note(view != sound);
        view
    }

    pub(super) fn job_view(&self, sound: JobView) -> JobView {
        let mut view = sound.clone();
        match self.active() {
            Some(InterfaceFault::HidesHydrationStep) => view.steps.retain(|step| step.name != Step::HYDRATE),
            Some(InterfaceFault::ReversesJobDirection) => {
                view.direction = match view.direction {
                    Direction::PrimaryToRecovery => Direction::RecoveryToPrimary,
                    Direction::RecoveryToPrimary => Direction::PrimaryToRecovery,
                }
            }
            _ => {}
        }
        if let Some(Kind::JobView(alter)) = self.active_kind() {
            alter(&mut view);
        }
        self.note(view != sound);
        view
    }

    /// Refuses the way back if the fault invents a precondition for it.
    pub(super) fn invented(&self, direction: Direction) -> Result<(), CoreError> {
        let code = match self.active_kind() {
            Some(Kind::Invents(code)) => code,
            Some(Kind::Interface(InterfaceFault::DemandsReprotection)) => ErrorCode::NotAllowedInState,
            _ => return Ok(()),
        };
        if direction == Direction::PrimaryToRecovery {
            return Ok(());
        }
        self.note(true);
        Err(CoreError::new(code, "a precondition that does not exist is not met"))
    }

    /// Whether a full download was asked for and the fault replaces it.
    pub(super) fn downloads_differences(&self, request: &FailoverRequest) -> bool {
        request.data_sync == Some(DataSync::DuringFailover) && self.has(InterfaceFault::DownloadsDifferences)
    }

    /// Synchronises before the failover, and completes that as soon as it waits.
    pub(super) async fn synchronise_first(&self, request: &FailoverRequest) -> Result<JobId, CoreError> {
        let changed = FailoverRequest { data_sync: Some(DataSync::BeforeFailover), ..request.clone() };
        let job = self.core.failover(&changed).await?;
        let (core, item, watched) = (Arc::clone(&self.core), request.item.clone(), job.clone());
        drop(tokio::spawn(async move {
            let mut revision = 0;
            while let Ok(view) = core.watch_job(&watched, revision).await {
                if view.state == JobState::WaitingForCompletion {
                    return drop(core.complete_failover(&item).await);
                }
                if view.state.ended() {
                    return;
                }
                revision = view.revision;
            }
        }));
        Ok(job)
    }

    /// Fails every machine over whose replication is critical, if that is the fault.
    pub(super) async fn fail_over_critical(&self) -> Result<(), CoreError> {
        if self.active() != Some(InterfaceFault::FailsOverByItself) {
            return Ok(());
        }
        for view in self.core.items().await? {
            let stands = view.protection.active == Side::Primary && view.job.is_none();
            if stands && view.health == Health::Critical {
                self.note(true);
                let request = FailoverRequest::unplanned(&view.id, Direction::PrimaryToRecovery);
                self.core.failover(&request).await?;
            }
        }
        Ok(())
    }
}
