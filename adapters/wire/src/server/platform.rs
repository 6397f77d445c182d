//! A site of the suite as a `Platform`.

use async_trait::async_trait;
use contract::*;

use crate::connection::{CallError, Connection};
use crate::message::ErrorObject;
use crate::method::Method;
use crate::methods::{self, Argument, platform_methods};
use crate::protocol::code;

/// A site behind a connection.
pub(super) struct RemotePlatform {
    pub(super) connection: Connection,
    pub(super) site: SiteId,
}

impl RemotePlatform {
    async fn call<M: Method>(&self, params: &M) -> Result<M::Result, PlatformError> {
        self.connection.call(params).await.map_err(|error| match error {
            CallError::Refused(ErrorObject { code: code::PLATFORM, data: Some(data), message }) => {
                serde_json::from_value(data).unwrap_or_else(|_| self.failed::<M>(&message))
            }
            error => self.failed::<M>(&error.to_string()),
        })
    }

    fn failed<M: Method>(&self, why: &str) -> PlatformError {
        PlatformError {
            site: self.site.to_string(),
            kind: PlatformErrorKind::Failed,
            message: format!("{}: {why}", M::NAME),
        }
    }
}

macro_rules! remote_platform {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        #[async_trait]
        impl Platform for RemotePlatform {$(
            async fn $name(&self, $($argument: $($type)+),*) -> Result<$($result)+, PlatformError> {
                let site = self.site.clone();
                let params = methods::platform::$name::Params {
                    site,
                    $($argument: Argument::own($argument)),*
                };
                self.call(&params).await.map(Into::into)
            }
        )+}
    };
}
platform_methods!(remote_platform);
