//! Merging deltas into their base, of a machine that is off or running.

use std::time::Duration;

use contract::{DiskId, PlatformError, PlatformErrorKind as Kind, VolumeId};
use harness::tools;
use inventory::{Volumes, merged_into};
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use crate::boot::role;
use crate::state::VolumeRecord;
use crate::{Boot, StandInSite};

/// Time limit of a merge.
const MERGE_WITHIN: Duration = Duration::from_secs(600);

impl StandInSite {
    pub(crate) async fn merge(&self, top: &VolumeId, base: &VolumeId) -> Result<(), PlatformError> {
        let _no_other_merge = self.until_closed(base).await?;
        let (merged, top_record, base_record, running) = {
            let state = self.state.lock().await;
            let merged = merged_into(&*state, top, base).map_err(self.denied())?;
            if merged.is_empty() {
                return Ok(());
            }
            let record = |id| state.volumes.get(id).cloned().ok_or_else(|| self.unknown("volume", id));
            (merged, record(top)?, record(base)?, state.running_on(top))
        };
        match running {
            Some((boot, disk)) => {
                merge_live(&boot, &disk, &top_record, &base_record)
                    .await
                    .map_err(self.failed("merge under a running machine"))?;
            }
            None => merge_offline(&top_record, &base_record).await.map_err(self.failed("merge"))?,
        }
        self.reparent(&merged, base, &base_record).await
    }

    /// Waits until no export depends on `base`, which is about to be overwritten. Until the guard
    /// is dropped, none is opened and nothing else is merged. While it waits, others may open
    /// exports: whoever reads a disk of the chain may need another one before it closes the first.
    async fn until_closed(&self, base: &VolumeId) -> Result<MutexGuard<'_, ()>, PlatformError> {
        let mut closed = self.closed.subscribe();
        let wait = async {
            loop {
                closed.borrow_and_update();
                let merging = self.merging.lock().await;
                let state = self.state.lock().await;
                if !state.exports.values().any(|volume| state.chain(volume).contains(base)) {
                    return merging;
                }
                drop((state, merging));
                if closed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(MERGE_WITHIN, wait).await.map_err(|_| {
            self.refuse(Kind::TimedOut, format!("volume {base} stays open, so nothing can be merged into it"))
        })
    }

    /// Makes the base the parent of the deltas over the merged volumes, and deletes the merged
    /// ones.
    async fn reparent(
        &self,
        merged: &[VolumeId],
        base: &VolumeId,
        base_record: &VolumeRecord,
    ) -> Result<(), PlatformError> {
        let mut state = self.state.lock().await;
        let top = &merged[0];
        let on_top: Vec<_> = state
            .volumes
            .iter()
            .filter(|(_, record)| record.parent.as_ref() == Some(top))
            .map(|(id, record)| (id.clone(), record.path.clone()))
            .collect();
        for (id, path) in on_top {
            if state.running_on(&id).is_none() {
                let arguments = [
                    "rebase",
                    "-u",
                    "-f",
                    "qcow2",
                    "-b",
                    base_record.path.as_str(),
                    "-F",
                    base_record.format.name(),
                    path.as_str(),
                ];
                tools::run("qemu-img", &arguments).await.map_err(self.failed("re-parent a volume"))?;
            }
            if let Some(record) = state.volumes.get_mut(&id) {
                record.parent = Some(base.clone());
            }
        }
        for id in merged {
            if let Some(record) = state.volumes.remove(id) {
                self.components.forget_volume(id);
                self.unlink(&record)?;
            }
        }
        Ok(())
    }
}

async fn merge_offline(top: &VolumeRecord, base: &VolumeRecord) -> harness::Result<()> {
    let arguments = ["commit", "-q", "-d", "-f", "qcow2", "-b", base.path.as_str(), top.path.as_str()];
    tools::run("qemu-img", &arguments).await.map(drop)
}

/// Merges with a block job of the running QEMU, which also re-parents the delta above.
async fn merge_live(
    boot: &Boot,
    disk: &DiskId,
    top: &VolumeRecord,
    base: &VolumeRecord,
) -> harness::Result<()> {
    let monitor = boot.guest.monitor();
    let nodes = monitor.execute("query-named-block-nodes", json!({"flat": true})).await?;
    let node = |record: &VolumeRecord| node_of(&nodes, record).unwrap_or_default();
    let job = format!("merge-{}", role(disk));
    let arguments = json!({
        "job-id": job,
        "device": root_node(&nodes, boot, disk),
        "top-node": node(top),
        "base-node": node(base),
        "auto-dismiss": false,
    });
    monitor.run_job(&job, "block-commit", arguments, MERGE_WITHIN).await
}

/// The node on which a block job must be started: the topmost one of the disk.
fn root_node(nodes: &Value, boot: &Boot, disk: &DiskId) -> String {
    let logged = format!("logged-{}", role(disk));
    let all = nodes.as_array().map(Vec::as_slice).unwrap_or_default();
    if all.iter().any(|node| node["node-name"] == logged.as_str()) {
        logged
    } else {
        boot.format_node(disk).to_owned()
    }
}

/// Whether QEMU's description of what a format node reads names the image at `path`: the path
/// itself, or JSON if the node's backing file was chosen by hand.
fn names(description: &str, path: &str) -> bool {
    match description.strip_prefix("json:").map(serde_json::from_str::<Value>) {
        Some(Ok(node)) => node["file"]["filename"] == path,
        _ => description == path,
    }
}

/// QEMU's name of the format node of an image.
fn node_of(nodes: &Value, record: &VolumeRecord) -> Option<String> {
    let wanted = |node: &&Value| {
        let is_file = node["file"].as_str().is_some_and(|file| names(file, record.path.as_str()));
        is_file && node["drv"] == record.format.name()
    };
    let found = nodes.as_array()?.iter().find(wanted)?;
    found["node-name"].as_str().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_of_a_node_is_found_in_both_ways_in_which_qemu_describes_it() {
        let json = r#"json:{"backing": {"file": {"filename": "/a"}}, "driver": "qcow2",
            "file": {"driver": "file", "filename": "/b"}}"#;
        assert!(names("/b", "/b") && names(json, "/b"));
        assert!(!names("/a", "/b") && !names(json, "/a"));
    }
}
