//! The runtime of all connections of the suite. It keeps the host's time: the runtime that calls a
//! core may have a virtual clock, by which a core that hangs would never be late.

use std::sync::{Arc, LazyLock};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::WireError;

static RUNTIME: LazyLock<Result<Runtime, Arc<std::io::Error>>> = LazyLock::new(|| {
    let threads =
        Builder::new_multi_thread().worker_threads(1).thread_name("core-connections").enable_all().build();
    threads.map_err(Arc::new)
});

/// The runtime of the connections.
pub(crate) fn handle() -> Result<&'static Handle, WireError> {
    let failed = |error: &Arc<std::io::Error>| WireError::Host {
        what: "start the threads for the connections to cores",
        error: Arc::clone(error),
    };
    RUNTIME.as_ref().map(Runtime::handle).map_err(failed)
}
