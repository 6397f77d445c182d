//! Volumes: image files, served by the site's storage daemon while no machine runs on them.

use contract::{
    Access, Bytes, ComponentId, Export, ExportId, PlatformError, PlatformErrorKind as Kind, VolumeId,
    VolumeView,
};
use harness::storage::{Image, Mode, WriteFault};
use harness::tools::{self, Format};
use inventory::Volumes;

use crate::StandInSite;
use crate::state::VolumeRecord;

impl StandInSite {
    /// Bytes that were written to volumes through exports so far: the data that has arrived at the
    /// site, counted below the core.
    ///
    /// # Errors
    /// The host does not count them.
    pub async fn written(&self) -> harness::Result<Bytes> {
        self.storage.written().await.map(Bytes)
    }

    pub(crate) async fn volume_record(&self, id: &VolumeId) -> Result<VolumeRecord, PlatformError> {
        let state = self.state.lock().await;
        state.volumes.get(id).cloned().ok_or_else(|| self.unknown("volume", id))
    }

    pub(crate) async fn show_volume(&self, id: &VolumeId) -> Result<VolumeView, PlatformError> {
        let record = self.volume_record(id).await?;
        let allocated = std::fs::metadata(&record.path)
            .map(|meta| std::os::unix::fs::MetadataExt::blocks(&meta) * 512)
            .map_err(|error| self.refuse(Kind::Failed, format!("{}: {error}", record.path)))?;
        Ok(VolumeView {
            id: id.clone(),
            size: Bytes(record.bytes),
            parent: record.parent,
            allocated: Bytes(allocated),
            datastore: self.components.datastore_of(id),
        })
    }

    pub(crate) async fn add_volume(
        &self,
        id: &VolumeId,
        bytes: u64,
        datastore: Option<&ComponentId>,
    ) -> Result<VolumeView, PlatformError> {
        self.must_be_new(id).await?;
        self.must_have_room(id)?;
        self.components.new_volume(id, datastore).map_err(self.denied())?;
        let format = self.config.profile.format;
        let path = self.new_path(id, format)?;
        tools::create(&path, format, bytes).await.map_err(self.failed("create a volume"))?;
        self.insert(id, VolumeRecord { path, format, bytes, parent: None }).await
    }

    pub(crate) async fn add_delta(
        &self,
        id: &VolumeId,
        parent: &VolumeId,
    ) -> Result<VolumeView, PlatformError> {
        self.must_be_new(id).await?;
        let below = self.volume_record(parent).await?;
        self.must_have_room(id)?;
        self.components.new_delta(id, parent).map_err(self.denied())?;
        let path = self.new_path(id, Format::Qcow2)?;
        tools::create_delta(&path, &below.path, below.format)
            .await
            .map_err(self.failed("derive a volume"))?;
        let record =
            VolumeRecord { path, format: Format::Qcow2, bytes: below.bytes, parent: Some(parent.clone()) };
        self.insert(id, record).await
    }

    async fn must_be_new(&self, id: &VolumeId) -> Result<(), PlatformError> {
        if self.state.lock().await.volumes.contains_key(id) {
            return Err(self.refuse(Kind::Exists, format!("volume {id} exists already")));
        }
        Ok(())
    }

    fn must_have_room(&self, id: &VolumeId) -> Result<(), PlatformError> {
        match self.faults.writes() {
            Some(WriteFault::Full) => Err(self.refuse(Kind::Full, format!("no space left for volume {id}"))),
            Some(WriteFault::Broken) | None => Ok(()),
        }
    }

    async fn insert(&self, id: &VolumeId, record: VolumeRecord) -> Result<VolumeView, PlatformError> {
        self.state.lock().await.volumes.insert(id.clone(), record);
        self.show_volume(id).await
    }

    pub(crate) async fn remove_volume(&self, id: &VolumeId) -> Result<(), PlatformError> {
        let mut state = self.state.lock().await;
        if let Some((child, _)) = state.volumes.iter().find(|(_, v)| v.parent.as_ref() == Some(id)) {
            let text = format!("volume {id} is the parent of volume {child}; delete that first");
            return Err(self.refuse(Kind::WrongPowerState, text));
        }
        let user = state.machines.values().find(|m| m.spec.disks.iter().any(|(_, volume)| volume == id));
        if let Some(machine) = user {
            let text = format!("volume {id} is a disk of machine {}; delete that first", machine.spec.id);
            return Err(self.refuse(Kind::WrongPowerState, text));
        }
        let Some(record) = state.volumes.remove(id) else { return Ok(()) };
        self.components.forget_volume(id);
        self.unlink(&record)
    }

    /// Removes a volume's file. Succeeds if it is already gone.
    pub(crate) fn unlink(&self, record: &VolumeRecord) -> Result<(), PlatformError> {
        match std::fs::remove_file(&record.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(self.refuse(Kind::Failed, format!("{}: {error}", record.path)))
            }
            _ => Ok(()),
        }
    }

    pub(crate) async fn open_export(&self, id: &VolumeId, access: Access) -> Result<Export, PlatformError> {
        let _no_merge = self.merging.lock().await;
        let record = self.volume_record(id).await?;
        let number = {
            let mut state = self.state.lock().await;
            self.components.check_export(&state.chain(id), access).map_err(self.denied())?;
            if access == Access::Write && state.running_on(id).is_some() {
                let text = format!("volume {id} is in use by a running machine");
                return Err(self.refuse(Kind::WrongPowerState, text));
            }
            state.next()
        };
        let name = format!("export-{number}");
        let mode = match access {
            Access::Write => Mode::Write(self.faults.writes()),
            Access::Read => Mode::Read,
        };
        let image = Image { path: &record.path, format: record.format };
        let exported = self.storage.export(&name, image, mode, None).await;
        let uri = exported.map_err(self.failed("export a volume"))?;
        let export = ExportId(name);
        self.state.lock().await.exports.insert(export.clone(), id.clone());
        Ok(Export { id: export, uri })
    }

    pub(crate) async fn shut_export(&self, id: &ExportId) -> Result<(), PlatformError> {
        if !self.state.lock().await.exports.contains_key(id) {
            // Closed already, or ended with the daemon that served it.
            return Ok(());
        }
        self.storage.close_export(&id.0).await.map_err(self.failed("close an export"))?;
        self.state.lock().await.exports.remove(id);
        self.closed.send_modify(|count| *count += 1);
        Ok(())
    }
}
