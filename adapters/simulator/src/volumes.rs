//! Volumes: creating, deriving, exporting, merging and deleting them, with the refusals of the real
//! stand-ins.

use std::sync::Arc;
use std::time::Duration;

use contract::{
    Access, Bytes, ComponentId, Export, ExportId, PlatformError, PlatformErrorKind as Kind, VolumeId,
    VolumeView,
};

use inventory::{Volumes, merged_into};

use crate::SimSite;
use crate::exports::VolumeExport;
use crate::state::{ExportRecord, State};

/// Time limit of a merge for exports to be closed.
const MERGE_WITHIN: Duration = Duration::from_secs(600);

impl SimSite {
    pub(crate) fn show_volume(&self, id: &VolumeId) -> Result<VolumeView, PlatformError> {
        let now = self.clock().micros();
        self.with(|state| {
            state.catch_up_on(id, now);
            self.view_of(state, id)
        })
    }

    fn view_of(&self, state: &State, id: &VolumeId) -> Result<VolumeView, PlatformError> {
        let volume = state.store.get(id).ok_or_else(|| self.unknown("volume", id))?;
        Ok(VolumeView {
            id: id.clone(),
            size: Bytes(volume.size),
            parent: volume.parent.clone(),
            allocated: Bytes(state.store.allocated(id)),
            datastore: self.components().datastore_of(id),
        })
    }

    pub(crate) fn add_volume(
        &self,
        id: &VolumeId,
        bytes: u64,
        datastore: Option<&ComponentId>,
    ) -> Result<VolumeView, PlatformError> {
        self.with(|state| {
            self.must_be_new(state, id)?;
            self.components().new_volume(id, datastore).map_err(self.denied())?;
            state.store.insert(id, bytes, None);
            self.view_of(state, id)
        })
    }

    pub(crate) fn add_delta(&self, id: &VolumeId, parent: &VolumeId) -> Result<VolumeView, PlatformError> {
        self.with(|state| {
            self.must_be_new(state, id)?;
            let size = state.store.get(parent).ok_or_else(|| self.unknown("volume", parent))?.size;
            self.components().new_delta(id, parent).map_err(self.denied())?;
            state.store.insert(id, size, Some(parent));
            self.view_of(state, id)
        })
    }

    fn must_be_new(&self, state: &State, id: &VolumeId) -> Result<(), PlatformError> {
        if state.store.get(id).is_some() {
            return Err(self.refuse(Kind::Exists, format!("volume {id} exists already")));
        }
        if self.faults().is_full() {
            return Err(self.refuse(Kind::Full, format!("no space left for volume {id}")));
        }
        Ok(())
    }

    pub(crate) fn remove_volume(&self, id: &VolumeId) -> Result<(), PlatformError> {
        self.with(|state| {
            let user = state.users.get(id).and_then(|users| users.first());
            let text = match (state.store.first_child(id), user) {
                (Some(child), _) => format!("volume {id} is the parent of volume {child}; delete that first"),
                (None, Some(machine)) => {
                    format!("volume {id} is a disk of machine {machine}; delete that first")
                }
                (None, None) => {
                    state.store.remove(id);
                    self.components().forget_volume(id);
                    return Ok(());
                }
            };
            Err(self.refuse(Kind::WrongPowerState, text))
        })
    }

    pub(crate) async fn open_export(&self, id: &VolumeId, access: Access) -> Result<Export, PlatformError> {
        let _no_merge = self.merging().lock().await;
        let now = self.clock().micros();
        self.with(|state| {
            state.finish_shutdowns(now);
            let size = state.store.get(id).ok_or_else(|| self.unknown("volume", id))?.size;
            self.components().check_export(&state.store.chain(id), access).map_err(self.denied())?;
            let writable = access == Access::Write;
            if writable && state.running_on(id).is_some() {
                let text = format!("volume {id} is in use by a running machine");
                return Err(self.refuse(Kind::WrongPowerState, text));
            }
            state.exported += 1;
            let export = ExportId(format!("export-{}", state.exported));
            let disk = VolumeExport::new(self.weak(), id.clone(), size, writable, self.division(&id.0));
            let served = self.serve_disk(&format!("{}-{id}", self.config().id), Arc::new(disk));
            let uri = served.uri();
            state.exports.insert(export.clone(), ExportRecord { volume: id.clone(), writable, served });
            Ok(Export { id: export, uri })
        })
    }

    pub(crate) fn shut_export(&self, id: &ExportId) {
        self.with(|state| {
            let closed = state.exports.remove(id).map(|export| export.served);
            state.to_close.extend(closed);
        });
        self.announce_closed();
    }

    pub(crate) async fn merge(&self, top: &VolumeId, base: &VolumeId) -> Result<(), PlatformError> {
        let _alone = self.merging().lock().await;
        self.until_closed(base).await?;
        let now = self.clock().micros();
        self.with(|state| {
            state.finish_shutdowns(now);
            let merged = merged_into(&state.store, top, base).map_err(self.denied())?;
            if merged.is_empty() {
                return Ok(());
            }
            if let Some(missing) = state.store.chain(top).iter().find(|id| state.store.get(id).is_none()) {
                return Err(self.unknown("volume", missing));
            }
            // A machine may run on the base only if its own chain is being merged.
            if state.running_on(top).is_none()
                && let Some(machine) = state.running_on(base)
            {
                let text = format!("merge: volume {base} is in use by machine {machine}");
                return Err(self.refuse(Kind::Failed, text));
            }
            state.catch_up_on(top, now);
            state.store.merge(&merged, base);
            merged.iter().for_each(|volume| self.components().forget_volume(volume));
            Ok(())
        })
    }

    /// Waits until no export depends on `base`, which is about to be overwritten.
    async fn until_closed(&self, base: &VolumeId) -> Result<(), PlatformError> {
        let mut closed = self.closed();
        let wait = async {
            loop {
                closed.borrow_and_update();
                let open = self.with(|state| {
                    let above = state.store.above(base);
                    state.exports.values().any(|export| above.contains(&export.volume))
                });
                if !open || closed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(MERGE_WITHIN, wait).await.map_err(|_| {
            self.refuse(Kind::TimedOut, format!("volume {base} stays open, so nothing can be merged into it"))
        })
    }
}
