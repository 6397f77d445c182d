//! The core of a testbed while none is open.

use async_trait::async_trait;
use contract::{
    Capabilities, CoreError, EnableProtection, ErrorCode, FailoverRequest, ItemId, ItemView, JobId, JobView,
    ReplicationCore,
};

/// Stands where a core was closed. It refuses everything but to be closed.
pub(super) struct ClosedCore;

fn closed<T>() -> Result<T, CoreError> {
    Err(CoreError::new(ErrorCode::NotSupported, "no core is open"))
}

#[async_trait]
impl ReplicationCore for ClosedCore {
    async fn capabilities(&self) -> Result<Capabilities, CoreError> {
        closed()
    }

    async fn enable_protection(&self, _: &EnableProtection) -> Result<JobId, CoreError> {
        closed()
    }

    async fn item(&self, _: &ItemId) -> Result<ItemView, CoreError> {
        closed()
    }

    async fn failover(&self, _: &FailoverRequest) -> Result<JobId, CoreError> {
        closed()
    }

    async fn commit(&self, _: &ItemId) -> Result<JobId, CoreError> {
        closed()
    }

    async fn job(&self, _: &JobId) -> Result<JobView, CoreError> {
        closed()
    }

    async fn watch_job(&self, _: &JobId, _: u64) -> Result<JobView, CoreError> {
        closed()
    }
}
