//! Snapshots of several machines at one moment, with their applications at rest if asked.
//!
//! A machine's own QEMU freezes its disks at one moment. For several, all are held first: none executes while the
//! others' disks are frozen, so none can learn of a write that another's view lacks.

use std::sync::Arc;

use contract::{
    Acknowledge, Consistency, DiskSnapshot, MachineId, PlatformError, PlatformErrorKind as Kind,
    SnapshotRequest,
};
use serde_json::json;

use crate::{Boot, StandInSite, TrackingMechanism};

impl StandInSite {
    pub(crate) async fn take_snapshots(
        &self,
        request: &SnapshotRequest,
    ) -> Result<Vec<DiskSnapshot>, PlatformError> {
        if self.config.profile.tracking == TrackingMechanism::Agent {
            return self.request_snapshots(request).await;
        }
        let mut boots = Vec::new();
        for (machine, _) in &request.machines {
            boots.extend(self.running_boot(machine).await?.map(|boot| (machine.clone(), boot)));
        }
        if request.consistency == Consistency::Crash {
            return self.pause_and_snapshot(request, &boots).await;
        }
        if boots.len() < request.machines.len() {
            return Err(
                self.refuse(Kind::NotQuiesced, "a machine is off, and its guest cannot be asked to rest")
            );
        }
        let rested = self.rest(&boots).await;
        let views = match rested {
            Ok(()) => self.pause_and_snapshot(request, &boots).await,
            Err(error) => Err(error),
        };
        // Whatever happened, no guest stays frozen; one that was not frozen does not mind.
        for (_, boot) in &boots {
            if let Err(error) = boot.guest.agent(r#"{"execute":"guest-fsfreeze-thaw"}"#).await {
                tracing::warn!(%error, "a guest could not be thawed");
            }
        }
        views
    }

    /// Brings the applications to rest by the guest's hook and freezes its file systems, in all of them.
    async fn rest(&self, boots: &[(MachineId, Arc<Boot>)]) -> Result<(), PlatformError> {
        for (machine, boot) in boots {
            let frozen = boot.guest.agent(r#"{"execute":"guest-fsfreeze-freeze"}"#).await;
            frozen.map_err(|error| {
                let text = format!("the applications in {machine} cannot be brought to rest: {error}");
                self.refuse(Kind::NotQuiesced, text)
            })?;
        }
        Ok(())
    }

    async fn pause_and_snapshot(
        &self,
        request: &SnapshotRequest,
        boots: &[(MachineId, Arc<Boot>)],
    ) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let hold = request.machines.len() > 1;
        let mut held = Ok(());
        let mut unpaused = Vec::new();
        if hold {
            for (_, boot) in boots {
                unpaused.push(boot.guest.pause_lock().await);
            }
            for (_, boot) in boots {
                let stopped = boot.guest.monitor().execute("stop", json!({})).await;
                held = held.and(stopped.map(drop).map_err(self.failed("hold a machine")));
            }
        }
        let views = match held {
            Ok(()) => self.snapshot_each(request).await,
            Err(error) => Err(error),
        };
        if hold {
            for (_, boot) in boots {
                boot.guest
                    .monitor()
                    .execute("cont", json!({}))
                    .await
                    .map_err(self.failed("let a machine go on"))?;
            }
        }
        drop(unpaused);
        views
    }

    /// All of them or none.
    async fn snapshot_each(&self, request: &SnapshotRequest) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let mut views: Vec<DiskSnapshot> = Vec::new();
        for (machine, since) in &request.machines {
            match self.take_snapshot(machine, since.as_ref()).await {
                Ok(view) => views.push(view),
                Err(error) => {
                    for view in &views {
                        self.drop_snapshot(&view.id, Acknowledge::Keep).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(views)
    }
}
