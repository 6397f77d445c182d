//! Snapshots of several machines at one moment, with quiesced applications if requested.
//!
//! A machine's own QEMU freezes all its disks at one moment. For several machines, all are paused
//! first: no machine executes while the disks of another are being frozen, so it cannot learn of a
//! write that is missing in the other's snapshot.

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
            return Err(self.refuse(Kind::NotQuiesced, "a machine is off, so its guest cannot be quiesced"));
        }
        let mut locks = Vec::new();
        // Always in the same order, so that no two snapshots wait for each other.
        let mut in_order: Vec<_> = boots.iter().collect();
        in_order.sort_by_key(|(machine, _)| machine);
        for (_, boot) in in_order {
            locks.push(boot.guest.quiesce_lock().await);
        }
        let quiesced = self.quiesce(&boots).await;
        let snapshots = match quiesced {
            Ok(()) => self.pause_and_snapshot(request, &boots).await,
            Err(error) => Err(error),
        };
        // In every case, so that no guest stays frozen; thawing a guest that is not frozen does no
        // harm.
        for (_, boot) in &boots {
            if let Err(error) = boot.guest.agent(r#"{"execute":"guest-fsfreeze-thaw"}"#).await {
                tracing::warn!(%error, "a guest could not be thawed");
            }
        }
        drop(locks);
        snapshots
    }

    /// Quiesces the applications through the guest's hook and freezes its file systems, in all
    /// machines.
    async fn quiesce(&self, boots: &[(MachineId, Arc<Boot>)]) -> Result<(), PlatformError> {
        for (machine, boot) in boots {
            let frozen = boot.guest.agent(r#"{"execute":"guest-fsfreeze-freeze"}"#).await;
            frozen.map_err(|error| {
                let text = format!("the applications in {machine} cannot be quiesced: {error}");
                let error = self.refuse(Kind::NotQuiesced, text);
                self.note_failure(&error);
                error
            })?;
        }
        Ok(())
    }

    async fn pause_and_snapshot(
        &self,
        request: &SnapshotRequest,
        boots: &[(MachineId, Arc<Boot>)],
    ) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let pause = request.machines.len() > 1;
        let mut paused = Ok(());
        let mut locks = Vec::new();
        if pause {
            for (_, boot) in boots {
                locks.push(boot.guest.pause_lock().await);
            }
            for (_, boot) in boots {
                let stopped = boot.guest.monitor().execute("stop", json!({})).await;
                paused = paused.and(stopped.map(drop).map_err(self.failed("pause a machine")));
            }
        }
        let snapshots = match paused {
            Ok(()) => self.snapshot_each(request).await,
            Err(error) => Err(error),
        };
        if pause {
            for (_, boot) in boots {
                boot.guest
                    .monitor()
                    .execute("cont", json!({}))
                    .await
                    .map_err(self.failed("resume a machine"))?;
            }
        }
        drop(locks);
        snapshots
    }

    /// Takes all snapshots, or none if one fails.
    async fn snapshot_each(&self, request: &SnapshotRequest) -> Result<Vec<DiskSnapshot>, PlatformError> {
        let mut snapshots: Vec<DiskSnapshot> = Vec::new();
        for (machine, since) in &request.machines {
            match self.take_snapshot(machine, since.as_ref()).await {
                Ok(snapshot) => snapshots.push(snapshot),
                Err(error) => {
                    for snapshot in &snapshots {
                        self.drop_snapshot(&snapshot.id, Acknowledge::Keep).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(snapshots)
    }
}
