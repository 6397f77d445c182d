//! Exports of several volumes at once, all of which are closed again whatever happens in between.

use std::sync::Arc;

use contract::{Access, CoreError, Export, ExportId, Platform, PlatformError};

use crate::item::Volumes;

/// Open doors to the volumes of a machine's disks.
pub(crate) struct Opened {
    platform: Arc<dyn Platform>,
    exports: Vec<Export>,
    disks: usize,
}

/// Closes a door. One that is left open is in the way of every merge, so it is tried twice; closing what is closed does
/// no harm.
pub(crate) async fn close(platform: &Arc<dyn Platform>, export: &ExportId) -> Result<(), PlatformError> {
    if platform.close_export(export).await.is_ok() {
        return Ok(());
    }
    platform.close_export(export).await
}

/// Opens every volume; `None` opens nothing. If one cannot be opened, those before it are closed again.
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
    /// Where to connect, in the order of the disks; empty words where nothing was opened.
    pub(crate) fn uris(&self) -> Vec<String> {
        let mut uris: Vec<_> = self.exports.iter().map(|export| export.uri.clone()).collect();
        uris.resize(self.disks, String::new());
        uris
    }

    /// Closes all of them, then says how the work between went. A door that does not close is a failure too, but
    /// not one that hides an earlier one.
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
