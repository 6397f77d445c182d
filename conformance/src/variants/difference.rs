//! What a variant does differently from the core that it wraps.

use async_trait::async_trait;
use contract::{
    Capabilities, CoreError, Direction, DiskSnapshot, EnableProtection, ItemView, JobId, JobKind, JobSubject,
    JobView, Millis, Platform, PlatformError, Policy, PolicyView, ReplicationCore, VolumeId,
};
use simulator::Capture;

use crate::core_under_test::FaultHook;

/// A request that starts a job.
#[derive(Clone, Debug)]
pub(super) struct JobRequest {
    pub(super) kind: JobKind,
    pub(super) subject: JobSubject,
    pub(super) direction: Direction,
}

/// How long a variant takes for things, beside what the wrapped core takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Before it answers a request.
    pub(super) request: Millis,
    /// Between an event and the answer of the call that waits for it.
    pub(super) event: Millis,
    /// The longest wait for an event: after it the call answers with an unchanged view.
    pub(super) longest_wait: Option<Millis>,
    /// Before each call to a platform.
    pub(super) call: Millis,
    /// Before it starts a machine, beside that.
    pub(super) start: Millis,
}

/// What a variant does differently. Every default is to do what the wrapped core does.
#[async_trait]
pub(super) trait Difference: Send + Sync {
    /// How long things take.
    fn pace(&self) -> Pace {
        Pace::default()
    }

    /// The hook in the built-in core, if the variant needs one.
    fn hook(&self) -> Option<Box<dyn FaultHook>> {
        None
    }

    /// What its snapshots of machines hold, if not the first writes of a guest.
    fn capture(&self) -> Option<Capture> {
        None
    }

    /// Whether it implements a method of the interface, by the method's name.
    fn implements(&self, _method: &str) -> bool {
        true
    }

    /// What it says that it can do.
    fn capabilities(&self, all: Capabilities) -> Capabilities {
        all
    }

    /// How it shows an item.
    async fn item(&self, _core: &dyn ReplicationCore, view: ItemView) -> ItemView {
        view
    }

    /// The order in which it lists items.
    fn items(&self, views: Vec<ItemView>) -> Vec<ItemView> {
        views
    }

    /// How it shows a job.
    fn job(&self, view: JobView) -> JobView {
        view
    }

    /// The id that it gives to a job.
    fn job_id(&self, id: JobId) -> JobId {
        id
    }

    /// The wrapped core's id of a job.
    fn inner_job_id(&self, id: &JobId) -> JobId {
        id.clone()
    }

    /// The wrapped core's number of a job's revision.
    fn inner_revision(&self, revision: u64) -> u64 {
        revision
    }

    /// The policy that the wrapped core works by.
    fn inner_policy(&self, policy: &Policy) -> Policy {
        *policy
    }

    /// The policy that it shows for one by which the wrapped core works.
    fn policy(&self, policy: Policy) -> Policy {
        policy
    }

    /// The order in which it lists policies.
    fn policies(&self, views: Vec<PolicyView>) -> Vec<PolicyView> {
        views
    }

    /// How it words a refusal.
    fn error(&self, error: CoreError) -> CoreError {
        error
    }

    /// With which error it refuses to protect a machine that the wrapped core would protect.
    fn refuses_protection(&self, _request: &EnableProtection) -> Option<CoreError> {
        None
    }

    /// How it starts to protect a machine.
    async fn protect(
        &self,
        core: &dyn ReplicationCore,
        request: &EnableProtection,
    ) -> Result<JobId, CoreError> {
        core.enable_protection(request).await
    }

    /// Whether new target settings are checked at once, and not only with the next check.
    fn checks_new_settings(&self) -> bool {
        true
    }

    /// Its answer to a request that starts a job.
    async fn started(
        &self,
        _core: &dyn ReplicationCore,
        _request: JobRequest,
        answer: Result<JobId, CoreError>,
    ) -> Result<JobId, CoreError> {
        answer
    }

    /// Jobs that the wrapped core does not know, each under its own id.
    fn own_jobs(&self) -> Vec<JobView> {
        Vec::new()
    }

    /// Whether it never shows a job of the wrapped core.
    fn hides_job(&self, _id: &JobId) -> bool {
        false
    }

    /// The name that it gives to a volume.
    fn volume_id(&self, id: &VolumeId) -> VolumeId {
        id.clone()
    }

    /// The wrapped core's name of a volume.
    fn inner_volume_id(&self, id: &VolumeId) -> VolumeId {
        id.clone()
    }

    /// A volume of this name is about to be created by the wrapped core.
    fn new_volume(&self, _id: &VolumeId) {}

    /// What it does before each call to a platform. Returns whether it did anything.
    async fn before_call(&self, _platform: &dyn Platform) -> bool {
        false
    }

    /// What it does before it takes a snapshot of a machine. Returns whether it did anything.
    async fn before_snapshot(&self, _platform: &dyn Platform, _machine: &contract::MachineId) -> bool {
        false
    }

    /// What it makes of a snapshot.
    fn snapshot(&self, snapshot: DiskSnapshot) -> DiskSnapshot {
        snapshot
    }

    /// After which pause it repeats a call that failed.
    fn repeats(&self, _error: &PlatformError) -> Option<Millis> {
        None
    }
}
