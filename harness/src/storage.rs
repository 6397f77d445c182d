//! A QEMU storage daemon: opens images of machines that are off and serves them over NBD.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::qmp::Monitor;
use crate::tools::Format;
use crate::{Error, Result};

/// Keeps the buffers of requests from being mapped, cleared and unmapped for every single one, which costs more than
/// copying what is in them.
const ALLOCATOR: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=268435456");
/// How long the daemon may take to start or stop.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A running daemon. Ends with its owner.
#[derive(Debug)]
pub struct StorageDaemon {
    name: String,
    monitor: Arc<Monitor>,
    socket: Utf8PathBuf,
    child: Mutex<Child>,
}

/// How an image is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For reading. Others may read it too.
    Read,
    /// For reading and writing, alone.
    Write,
}

impl StorageDaemon {
    /// Starts a daemon with its sockets in `scratch` (short path) and its logs in `logs`.
    ///
    /// # Errors
    /// The program is missing or does not come up; its words are in `logs`.
    pub async fn start(name: &str, scratch: &Utf8Path, logs: &Utf8Path) -> Result<Self> {
        let control = scratch.join(format!("{name}.qmp"));
        let socket = scratch.join(format!("{name}.nbd"));
        let listener = UnixListener::bind(&control).map_err(Error::file(&control))?;
        let errors_path = logs.join(format!("{name}.stderr.log"));
        let errors = std::fs::File::create(&errors_path).map_err(Error::file(&errors_path))?;
        let mut child = Command::new("qemu-storage-daemon")
            .args(["--chardev", &format!("socket,id=control,path={control}")])
            .args(["--monitor", "chardev=control"])
            .args(["--nbd-server", &format!("addr.type=unix,addr.path={socket},max-connections=0")])
            .args(["--pidfile", scratch.join(format!("{name}.pid")).as_str()])
            .env(ALLOCATOR.0, ALLOCATOR.1)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Error::Missing {
                what: "qemu-storage-daemon".to_owned(),
                found: error.to_string(),
            })?;
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map_err(Error::file(&control))?.0,
            _ = child.wait() => {
                let last_words = std::fs::read_to_string(&errors_path).unwrap_or_default();
                return Err(Error::Died { who: name.to_owned(), awaited: "its monitor".to_owned(), last_words });
            }
            () = tokio::time::sleep(START_WITHIN) => {
                return Err(Error::TimedOut {
                    awaited: format!("{name}: its monitor"),
                    bound: START_WITHIN,
                    seen: "a process without a word".to_owned(),
                });
            }
        };
        let monitor = Monitor::greet(name, stream, &logs.join(format!("{name}.qmp.log"))).await?;
        Ok(Self { name: name.to_owned(), monitor, socket, child: Mutex::new(child) })
    }

    /// Opens `image` and exports it as `export`; returns its NBD URI. `bitmap`: also offer this dirty bitmap.
    ///
    /// # Errors
    /// The image is damaged, locked by another process, or lacks the bitmap.
    pub async fn export(
        &self,
        export: &str,
        image: &Utf8Path,
        format: Format,
        mode: Mode,
        bitmap: Option<&str>,
    ) -> Result<String> {
        let writable = mode == Mode::Write;
        self.monitor.execute("blockdev-add", image_node(export, image, format, writable)).await?;
        let mut arguments = json!({
            "type": "nbd", "id": export, "node-name": export, "name": export, "writable": writable,
        });
        if let Some(bitmap) = bitmap {
            arguments["bitmaps"] = json!([bitmap]);
        }
        if let Err(error) = self.monitor.execute("block-export-add", arguments).await {
            self.monitor.execute("blockdev-del", json!({"node-name": export})).await?;
            return Err(error);
        }
        Ok(format!("nbd+unix:///{export}?socket={}", self.socket))
    }

    /// Names of the dirty bitmaps stored in a qcow2 image that are whole and can be used.
    ///
    /// # Errors
    /// The image cannot be opened.
    pub async fn bitmaps(&self, image: &Utf8Path) -> Result<Vec<String>> {
        let node = "bitmap-query";
        self.monitor.execute("blockdev-add", image_node(node, image, Format::Qcow2, false)).await?;
        let nodes = self.monitor.execute("query-named-block-nodes", json!({"flat": true})).await;
        self.monitor.execute("blockdev-del", json!({"node-name": node})).await?;
        let nodes = nodes?;
        let found = nodes.as_array().into_iter().flatten().filter(|n| n["node-name"] == node);
        let bitmaps = found.flat_map(|n| n["dirty-bitmaps"].as_array().cloned().unwrap_or_default());
        let whole = bitmaps.filter(|b| b["inconsistent"] != json!(true));
        Ok(whole.filter_map(|b| b["name"].as_str().map(ToOwned::to_owned)).collect())
    }

    /// Closes an export and its image; everything written is durable afterwards. Closing what is closed
    /// succeeds.
    ///
    /// # Errors
    /// The daemon died, or a client does not let go.
    pub async fn close_export(&self, export: &str) -> Result<()> {
        let mut events = self.monitor.events();
        let open = self.monitor.execute("query-block-exports", json!({})).await?;
        if open.as_array().is_some_and(|all| all.iter().any(|e| e["id"] == export)) {
            self.monitor.execute("block-export-del", json!({"id": export, "mode": "hard"})).await?;
            self.monitor
                .await_event(&mut events, "an export to close", START_WITHIN, |e| {
                    e["event"] == "BLOCK_EXPORT_DELETED" && e["data"]["id"] == export
                })
                .await?;
            self.monitor.execute("blockdev-del", json!({"node-name": export})).await?;
        }
        Ok(())
    }

    /// Ends the daemon in order.
    ///
    /// # Errors
    /// It does not end within its bound; it is killed then.
    pub async fn stop(&self) -> Result<()> {
        // The answer may be lost to the end itself.
        let _ = self.monitor.execute("quit", json!({})).await;
        let mut child = self.child.lock().await;
        match tokio::time::timeout(START_WITHIN, child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => {
                child.kill().await.map_err(Error::file(&self.name))?;
                Err(Error::TimedOut {
                    awaited: format!("{}: end", self.name),
                    bound: START_WITHIN,
                    seen: "still running; killed".to_owned(),
                })
            }
        }
    }
}

/// Description of an image for `blockdev-add`.
fn image_node(name: &str, image: &Utf8Path, format: Format, writable: bool) -> Value {
    json!({
        "driver": format.name(),
        "node-name": name,
        "read-only": !writable,
        "discard": "unmap",
        "file": {"driver": "file", "filename": image, "read-only": !writable, "discard": "unmap"},
    })
}
