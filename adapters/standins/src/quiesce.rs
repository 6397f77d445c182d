//! Access to a site's volumes while no export is open.

use std::time::Duration;

use camino::Utf8PathBuf;
use contract::{PlatformError, PlatformErrorKind as Kind, VolumeId};
use harness::tools::Format;
use tokio::sync::MutexGuard;

use crate::StandInSite;
use crate::state::State;

/// Time limit for all exports of a site to be closed.
const IDLE_WITHIN: Duration = Duration::from_secs(60);

/// A volume that is not being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleVolume {
    /// Its name.
    pub id: VolumeId,
    /// Its image file.
    pub path: Utf8PathBuf,
    /// The format that the file must have.
    pub format: Format,
    /// Size as the guest sees it, in bytes.
    pub bytes: u64,
}

impl StandInSite {
    /// Waits until no export of the site is open, then runs `work` on the volumes below no running
    /// machine. Until it ends, no volume is opened, merged or deleted.
    ///
    /// # Errors
    /// Exports stay open.
    pub async fn with_idle_volumes<T>(
        &self,
        work: impl AsyncFnOnce(Vec<IdleVolume>) -> T,
    ) -> Result<T, PlatformError> {
        let (_no_merge, state) =
            tokio::time::timeout(IDLE_WITHIN, self.until_idle()).await.map_err(|_| {
                self.refuse(Kind::TimedOut, format!("exports are still open after {IDLE_WITHIN:?}"))
            })?;
        let idle = state.volumes.iter().filter(|(id, _)| state.running_on(id).is_none());
        let idle = idle.map(|(id, volume)| IdleVolume {
            id: id.clone(),
            path: volume.path.clone(),
            format: volume.format,
            bytes: volume.bytes,
        });
        Ok(work(idle.collect()).await)
    }

    async fn until_idle(&self) -> (MutexGuard<'_, ()>, MutexGuard<'_, State>) {
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
