//! A site at rest: what its volumes are while nobody has one open.

use std::time::Duration;

use camino::Utf8PathBuf;
use contract::{PlatformError, PlatformErrorKind as Kind, VolumeId};
use harness::tools::Format;
use tokio::sync::MutexGuard;

use crate::StandInSite;
use crate::state::State;

/// How long a site may take to have no export open.
const REST_WITHIN: Duration = Duration::from_secs(60);

/// A volume that nobody writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleVolume {
    /// Its name.
    pub id: VolumeId,
    /// Its own image file.
    pub path: Utf8PathBuf,
    /// The format that the file should have.
    pub format: Format,
    /// Size the guest sees, in bytes.
    pub bytes: u64,
}

impl StandInSite {
    /// Runs `work` on the volumes that no running machine stands on, once no export of the site is open; until it ends,
    /// nothing is opened, merged or deleted here.
    ///
    /// # Errors
    /// Exports stay open.
    pub async fn with_idle_volumes<T>(
        &self,
        work: impl AsyncFnOnce(Vec<IdleVolume>) -> T,
    ) -> Result<T, PlatformError> {
        let (_no_merge, state) =
            tokio::time::timeout(REST_WITHIN, self.until_rest()).await.map_err(|_| {
                self.refuse(Kind::TimedOut, format!("exports are still open after {REST_WITHIN:?}"))
            })?;
        let still = state.volumes.iter().filter(|(id, _)| state.running_on(id).is_none());
        let still = still.map(|(id, volume)| IdleVolume {
            id: id.clone(),
            path: volume.path.clone(),
            format: volume.format,
            bytes: volume.bytes,
        });
        Ok(work(still.collect()).await)
    }

    async fn until_rest(&self) -> (MutexGuard<'_, ()>, MutexGuard<'_, State>) {
        let mut closed = self.closed.subscribe();
        loop {
            closed.borrow_and_update();
            let merging = self.merging.lock().await;
            let state = self.state.lock().await;
            if state.exports.is_empty() {
                return (merging, state);
            }
            drop((merging, state));
            if closed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
