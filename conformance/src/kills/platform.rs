//! Counts what a core asks of a platform.

use std::sync::Arc;

use async_trait::async_trait;
use contract::*;

use super::moments::Kills;

/// A site as a core sees that can be killed at each of its calls.
pub(super) struct CountedPlatform {
    pub(super) platform: Arc<dyn Platform>,
    pub(super) kills: Arc<Kills>,
}

impl CountedPlatform {
    /// Makes a call, unless the core is killed before. Nobody receives the answer to a dead core.
    async fn call<T>(
        &self,
        work: impl Future<Output = Result<T, PlatformError>> + Send,
    ) -> Result<T, PlatformError> {
        if self.kills.moment().await {
            return Err(PlatformError {
                site: String::new(),
                kind: PlatformErrorKind::Failed,
                message: "the core was killed before this call".to_owned(),
            });
        }
        let answer = work.await;
        self.kills.moment().await;
        answer
    }
}

macro_rules! counted {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        #[async_trait]
        impl Platform for CountedPlatform {$(
            async fn $name(&self, $($argument: $($type)+),*) -> Result<$($result)+, PlatformError> {
                self.call(self.platform.$name($($argument),*)).await
            }
        )+}
    };
}
wire::platform_methods!(counted);
