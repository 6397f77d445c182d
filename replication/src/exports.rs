//! Exports of several volumes at once. All of them are closed again, whatever happens in between.

use std::sync::Arc;

use contract::{Access, CoreError, Export, ExportId, Platform, PlatformError};

use crate::state::Volumes;

/// Open exports of a machine's volumes.
pub(crate) struct Opened {
    platform: Arc<dyn Platform>,
    exports: Vec<Export>,
    disks: usize,
}

/// Closes an export. An export that stays open blocks every merge, so a failure is tried again
/// once; closing a closed export has no effect.
pub(crate) async fn close(platform: &Arc<dyn Platform>, export: &ExportId) -> Result<(), PlatformError> {
    if platform.close_export(export).await.is_ok() {
        return Ok(());
    }
    platform.close_export(export).await
}

/// Exports every volume; with `access` `None`, exports nothing. If a volume cannot be exported,
/// those before it are closed again.
pub(crate) async fn open_all(
    platform: &Arc<dyn Platform>,
    volumes: &Volumes,
    access: Option<Access>,
) -> Result<Opened, CoreError> {
    let mut opened = Opened { platform: Arc::clone(platform), exports: Vec::new(), disks: volumes.len() };
    let Some(access) = access else { return Ok(opened) };
    for (_, volume) in volumes {
        match platform.export_volume(volume, access).await {
            Ok(export) => opened.exports.push(export),
            Err(error) => return opened.close(Err(error.into())).await,
        }
    }
    Ok(opened)
}

impl Opened {
    /// The URI of each disk, in order; empty if nothing is exported.
    pub(crate) fn uris(&self) -> Vec<String> {
        let mut uris: Vec<_> = self.exports.iter().map(|export| export.uri.clone()).collect();
        uris.resize(self.disks, String::new());
        uris
    }

    /// Closes all exports and returns `work`, the result of the work done with them. An export that
    /// cannot be closed is an error too, but does not replace an earlier one.
    pub(crate) async fn close<T>(self, work: Result<T, CoreError>) -> Result<T, CoreError> {
        let mut closed = Ok(());
        for export in &self.exports {
            closed = closed.and(close(&self.platform, &export.id).await);
        }
        let done = work?;
        closed?;
        Ok(done)
    }
}
