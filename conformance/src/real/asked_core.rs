//! The core as scenarios on guests ask it: each of its errors comes with the failure of a stand-in
//! itself that can be the cause.

use std::sync::Arc;

use contract::*;

use crate::blame::CoreFailure;
use crate::real::edge::freshness::now;
use crate::real::stand_in_failures::StandInFailures;

/// The core under test, and the stand-ins that it works with.
#[derive(Clone)]
pub(crate) struct AskedCore {
    core: Arc<dyn ReplicationCore>,
    failures: StandInFailures,
}

impl AskedCore {
    /// The core `core` on stand-ins whose own failures are `failures`.
    pub(crate) fn new(core: Arc<dyn ReplicationCore>, failures: &StandInFailures) -> Self {
        Self { core, failures: failures.clone() }
    }
}

macro_rules! ask {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        #[expect(dead_code, reason = "the list names every method of a core, and scenarios use some")]
        impl AskedCore {$(
            /// The method of [`ReplicationCore`].
            pub(crate) async fn $name(&self, $($argument: $($type)+),*) -> Result<$($result)+, CoreFailure> {
                let asked = now();
                let answer = self.core.$name($($argument),*).await;
                answer.map_err(|error| CoreFailure::new(error, || self.failures.first_since(asked)))
            }
        )+}
    };
}
wire::core_methods!(ask);

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::VecDeque;
    use std::sync::{Mutex, PoisonError};

    use async_trait::async_trait;
    use standins::OwnFailure;

    use super::*;
    use crate::blame::ScenarioError;

    /// A core that fails, each time by the next of these codes.
    struct Failing(Mutex<VecDeque<ErrorCode>>);

    impl Failing {
        fn fail<T>(&self) -> Result<T, CoreError> {
            let code = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            Err(CoreError::new(code.unwrap(), "QEMU did not answer"))
        }
    }

    #[async_trait]
    impl ReplicationCore for Failing {
        async fn capabilities(&self) -> Result<Capabilities, CoreError> {
            self.fail()
        }

        async fn enable_protection(&self, _: &EnableProtection) -> Result<JobId, CoreError> {
            self.fail()
        }

        async fn item(&self, _: &ItemId) -> Result<ItemView, CoreError> {
            self.fail()
        }

        async fn watch_points(&self, _: &ItemId, _: u64) -> Result<ItemView, CoreError> {
            self.fail()
        }

        async fn failover(&self, _: &FailoverRequest) -> Result<JobId, CoreError> {
            self.fail()
        }

        async fn commit(&self, _: &ItemId) -> Result<JobId, CoreError> {
            self.fail()
        }

        async fn job(&self, _: &JobId) -> Result<JobView, CoreError> {
            self.fail()
        }

        async fn watch_job(&self, _: &JobId, _: u64) -> Result<JobView, CoreError> {
            self.fail()
        }

        async fn close(&self) -> Result<(), CoreError> {
            self.fail()
        }
    }

    /// A core that fails by each of `codes` in turn. One of its stand-ins failed at `failed_at`.
    pub(crate) fn failing(codes: &[ErrorCode], failed_at: Option<Timestamp>) -> AskedCore {
        let core = Failing(Mutex::new(codes.iter().copied().collect()));
        let failure = failed_at.map(|at| {
            let (site, kind) = ("vmware".to_owned(), PlatformErrorKind::Failed);
            let error = PlatformError { site, kind, message: "no answer within 60s".to_owned() };
            OwnFailure { at, error }
        });
        AskedCore::new(Arc::new(core), &StandInFailures::told_by(move || failure.iter().cloned().collect()))
    }

    #[tokio::test]
    async fn a_request_that_a_platform_made_fail_is_excused_if_a_stand_in_failed_since_it_was_made() {
        let blame = async |code, failed_at| {
            let refused = failing(&[code], failed_at).commit(&ItemId::from("shop")).await;
            ScenarioError::from(refused.unwrap_err())
        };
        let later = Some(Timestamp(u64::MAX));
        assert!(matches!(blame(ErrorCode::Platform, later).await, ScenarioError::Inconclusive(_)));
        let by_core = [
            blame(ErrorCode::Platform, None).await,
            blame(ErrorCode::Platform, Some(Timestamp(1))).await,
            blame(ErrorCode::NoRecoveryPoint, later).await,
        ];
        for error in by_core {
            assert_eq!(error, ScenarioError::core("the core: QEMU did not answer"));
        }
    }
}
