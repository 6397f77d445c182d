//! Names of a disk's parts in QEMU, and the node of its write log.

use camino::Utf8Path;
use serde_json::{Value, json};

/// The block node that logs every write to `below`.
pub(super) fn write_log(name: &str, below: &str, log: &Utf8Path) -> Value {
    json!({
        "driver": "blklogwrites", "node-name": name, "file": below, "discard": "unmap",
        "log": {"driver": "file", "filename": log}, "log-sector-size": 512,
    })
}

/// Serial number of a disk as its guest sees it.
#[must_use]
pub fn disk_serial(role: &str) -> String {
    format!("RT-{role}")
}

/// Name of the block node that logs a disk's writes.
pub(super) fn logged_node(role: &str) -> String {
    format!("logged-{role}")
}

/// Name of the block node of the format of a disk that the suite attaches.
pub(super) fn format_node(role: &str) -> String {
    format!("format-{role}")
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;").replace('"', "&quot;")
}
