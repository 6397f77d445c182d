//! The core: opens the store, recovers what is in it, and watches configurations.

use std::sync::Arc;

use contract::CoreError;

use crate::configuration;
use crate::context::{Config, Context};
use crate::jobs::recovery;
use crate::plan::runner;

/// The built-in core.
pub struct Core {
    pub(crate) ctx: Arc<Context>,
    /// The task of the regular configuration checks.
    pub(crate) configuration_checks: tokio::task::AbortHandle,
}

impl Core {
    /// Opens the store in the configured directory and recovers what is in it: items replicate
    /// again, and jobs resume in the background. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// The directory or the store cannot be used, or the store contains invalid data.
    pub fn open(config: Config) -> Result<Self, CoreError> {
        let ctx = Arc::new(Context::load(config)?);
        ctx.tasks.spawn(recover(Arc::clone(&ctx)));
        let checks = configuration::check_regularly(ctx.clock(), Arc::downgrade(&ctx));
        Ok(Self { configuration_checks: tokio::spawn(checks).abort_handle(), ctx })
    }
}

/// Recovers items before plans, because the jobs of plans start jobs of items.
async fn recover(ctx: Arc<Context>) {
    recovery::recover_items(&ctx).await;
    runner::recover(&ctx).await;
}
