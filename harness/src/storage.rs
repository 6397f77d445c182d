//! A QEMU storage daemon: serves the images of machines that are off over NBD.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::sync::RwLock;

use crate::qmp::{Monitor, lock};
use crate::scratch;
use crate::tools::Format;
use crate::{Ending, Error, Result};

/// Keeps glibc from mapping, clearing and unmapping a buffer for every request, which costs more
/// than copying the data.
const ALLOCATOR: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=268435456");
/// Time limit for the daemon to start or stop.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A running daemon. It ends when dropped.
#[derive(Debug)]
pub struct StorageDaemon {
    name: String,
    scratch: Utf8PathBuf,
    logs: Utf8PathBuf,
    socket: Utf8PathBuf,
    process: RwLock<Process>,
    /// The ends of all processes so far, the oldest first.
    endings: std::sync::Mutex<Vec<Arc<Ending>>>,
}

/// The daemon's process; [`StorageDaemon::revive`] replaces it.
#[derive(Debug)]
struct Process {
    monitor: Arc<Monitor>,
    child: Child,
}

/// A fault injected into every write to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFault {
    /// An I/O error.
    Broken,
    /// No space is left.
    Full,
}

impl WriteFault {
    /// The errno of this fault.
    fn errno(self) -> i32 {
        match self {
            Self::Broken => 5,
            Self::Full => 28,
        }
    }
}

/// How an image is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For reading. Others may read it too.
    Read,
    /// For reading and writing, exclusively. With a fault, every write fails as if the file system
    /// below had failed.
    Write(Option<WriteFault>),
}

/// An image file.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The file.
    pub path: &'a Utf8Path,
    /// Its format.
    pub format: Format,
}

impl StorageDaemon {
    /// Starts a daemon with its sockets in `scratch` (a short path) and its logs in `logs`.
    ///
    /// # Errors
    /// The program is missing or does not start; its error output is in `logs`.
    pub async fn start(name: &str, scratch: &Utf8Path, logs: &Utf8Path) -> Result<Self> {
        let socket = scratch.join(format!("{name}.nbd"));
        let process = Process::start(name, scratch, logs, &socket).await?;
        let endings = std::sync::Mutex::new(vec![Arc::clone(process.monitor.ending())]);
        let process = RwLock::new(process);
        let (name, scratch, logs) = (name.to_owned(), scratch.to_owned(), logs.to_owned());
        Ok(Self { name, scratch, logs, socket, process, endings })
    }

    /// The socket on which its NBD server listens.
    #[must_use]
    pub fn socket(&self) -> &Utf8Path {
        &self.socket
    }

    /// The ends of its processes so far, the oldest first.
    #[must_use]
    pub fn endings(&self) -> Vec<Arc<Ending>> {
        lock(&self.endings).clone()
    }

    /// Returns once the daemon is gone.
    pub async fn until_gone(&self) {
        self.monitor().await.until_gone().await;
    }

    async fn monitor(&self) -> Arc<Monitor> {
        Arc::clone(&self.process.read().await.monitor)
    }

    /// Kills the daemon. All its exports break, and no request is answered until [`Self::revive`].
    ///
    /// # Errors
    /// The process does not end.
    pub async fn kill(&self) -> Result<()> {
        let mut process = self.process.write().await;
        process.monitor.ending().explain();
        process.child.kill().await.map_err(Error::file(&self.name))?;
        process.monitor.until_gone().await;
        Ok(())
    }

    /// Starts a new daemon if the old one has ended; exports have to be opened again.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn revive(&self) -> Result<()> {
        let mut process = self.process.write().await;
        if process.monitor.is_gone() {
            *process = Process::start(&self.name, &self.scratch, &self.logs, &self.socket).await?;
            lock(&self.endings).push(Arc::clone(process.monitor.ending()));
        }
        Ok(())
    }
}

impl Process {
    async fn start(name: &str, dir: &Utf8Path, logs: &Utf8Path, socket: &Utf8Path) -> Result<Self> {
        let control = dir.join(format!("{name}.qmp"));
        for left in [control.as_path(), socket] {
            // Left by a daemon that was killed.
            let _ = std::fs::remove_file(left);
        }
        let listener = UnixListener::bind(&control).map_err(Error::file(&control))?;
        scratch::only_for_this_user(&control)?;
        let errors_path = logs.join(format!("{name}.stderr.log"));
        let errors = std::fs::File::create(&errors_path).map_err(Error::file(&errors_path))?;
        let mut child = Command::new("qemu-storage-daemon")
            .args(["--chardev", &format!("socket,id=control,path={control}")])
            .args(["--monitor", "chardev=control"])
            .args(["--nbd-server", &format!("addr.type=unix,addr.path={socket},max-connections=0")])
            .args(["--pidfile", dir.join(format!("{name}.pid")).as_str()])
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
                return Err(Error::HostTimedOut {
                    awaited: format!("{name}: its monitor"),
                    bound: START_WITHIN,
                    seen: "a running process that did not connect".to_owned(),
                });
            }
        };
        let monitor = Monitor::greet(name, stream, &logs.join(format!("{name}.qmp.log"))).await?;
        // The daemon has made it before it answers.
        scratch::only_for_this_user(socket)?;
        Ok(Self { monitor, child })
    }
}

impl StorageDaemon {
    /// Opens `image` and exports it as `export`; returns its NBD URI. With `bitmap`, also offers
    /// this dirty bitmap.
    ///
    /// # Errors
    /// The image is damaged, locked by another process, or lacks the bitmap.
    pub async fn export(
        &self,
        export: &str,
        image: Image<'_>,
        mode: Mode,
        bitmap: Option<&str>,
    ) -> Result<String> {
        let monitor = self.monitor().await;
        let writable = mode != Mode::Read;
        monitor.execute("blockdev-add", image_node(export, image, mode)).await?;
        let mut arguments = json!({
            "type": "nbd", "id": export, "node-name": export, "name": export, "writable": writable,
        });
        if let Some(bitmap) = bitmap {
            arguments["bitmaps"] = json!([bitmap]);
        }
        if let Err(error) = monitor.execute("block-export-add", arguments).await {
            monitor.execute("blockdev-del", json!({"node-name": export})).await?;
            return Err(error);
        }
        Ok(format!("nbd+unix:///{export}?socket={}", self.socket))
    }

    /// Names of the dirty bitmaps in a qcow2 image that are consistent.
    ///
    /// # Errors
    /// The image cannot be opened.
    pub async fn bitmaps(&self, image: &Utf8Path) -> Result<Vec<String>> {
        let monitor = self.monitor().await;
        let node = "bitmap-query";
        monitor
            .execute(
                "blockdev-add",
                image_node(node, Image { path: image, format: Format::Qcow2 }, Mode::Read),
            )
            .await?;
        let nodes = monitor.execute("query-named-block-nodes", json!({"flat": true})).await;
        monitor.execute("blockdev-del", json!({"node-name": node})).await?;
        let nodes = nodes?;
        let found = nodes.as_array().into_iter().flatten().filter(|n| n["node-name"] == node);
        let bitmaps = found.flat_map(|n| n["dirty-bitmaps"].as_array().cloned().unwrap_or_default());
        let usable = bitmaps.filter(|b| b["inconsistent"] != json!(true));
        Ok(usable.filter_map(|b| b["name"].as_str().map(ToOwned::to_owned)).collect())
    }

    /// Closes an export and its image; everything written is durable afterwards. Succeeds if it is
    /// already closed.
    ///
    /// # Errors
    /// The daemon ended, or a client does not disconnect.
    pub async fn close_export(&self, export: &str) -> Result<()> {
        let monitor = self.monitor().await;
        let mut events = monitor.events();
        let open = monitor.execute("query-block-exports", json!({})).await?;
        if open.as_array().is_some_and(|all| all.iter().any(|e| e["id"] == export)) {
            monitor.execute("block-export-del", json!({"id": export, "mode": "hard"})).await?;
            monitor
                .await_event(&mut events, "an export to close", START_WITHIN, |e| {
                    e["event"] == "BLOCK_EXPORT_DELETED" && e["data"]["id"] == export
                })
                .await?;
            monitor.execute("blockdev-del", json!({"node-name": export})).await?;
        }
        Ok(())
    }

    /// Bytes that the daemon has written to its files so far, by the kernel's own count: the
    /// content that clients wrote, with the image formats' own data, and without zeroing.
    ///
    /// # Errors
    /// The kernel keeps no such count.
    pub async fn written(&self) -> Result<u64> {
        let pid = self.process.read().await.child.id().unwrap_or_default();
        let path = format!("/proc/{pid}/io");
        let text = std::fs::read_to_string(&path).map_err(Error::file(&path))?;
        parse_written(&text).ok_or_else(|| Error::file(path)(std::io::ErrorKind::InvalidData.into()))
    }

    /// Asks the daemon to end.
    ///
    /// # Errors
    /// It does not end within the time limit; it is then killed.
    pub async fn stop(&self) -> Result<()> {
        let mut process = self.process.write().await;
        process.monitor.ending().explain();
        // The daemon may end before its answer arrives.
        let _ = process.monitor.execute("quit", json!({})).await;
        match tokio::time::timeout(START_WITHIN, process.child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => {
                process.child.kill().await.map_err(Error::file(&self.name))?;
                Err(Error::HostTimedOut {
                    awaited: format!("{}: end", self.name),
                    bound: START_WITHIN,
                    seen: "still running; killed".to_owned(),
                })
            }
        }
    }
}

/// The bytes that a process has written, by `/proc/PID/io`.
fn parse_written(io: &str) -> Option<u64> {
    let mut counts = io.lines().filter_map(|line| line.split_once(": "));
    counts.find(|(name, _)| *name == "wchar").and_then(|(_, count)| count.trim().parse().ok())
}

/// Arguments of `blockdev-add` for an image.
fn image_node(name: &str, image: Image<'_>, mode: Mode) -> Value {
    let Image { path, format } = image;
    let read_only = mode == Mode::Read;
    let file = json!({"driver": "file", "filename": path, "read-only": read_only, "discard": "unmap"});
    let below = match mode {
        Mode::Read | Mode::Write(None) => file,
        Mode::Write(Some(fault)) => json!({
            "driver": "blkdebug",
            "image": file,
            "inject-error": WRITES.map(|iotype| json!({
                "event": "none", "iotype": iotype, "errno": fault.errno(), "immediately": false, "once": false,
            })),
        }),
    };
    json!({
        "driver": format.name(),
        "node-name": name,
        "read-only": read_only,
        "discard": "unmap",
        "file": below,
    })
}

/// QEMU's names of the request types that change an image.
const WRITES: [&str; 3] = ["write", "write-zeroes", "discard"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_wrote_is_counted_by_the_kernel() {
        assert_eq!(parse_written("rchar: 10\nwchar: 4096\nsyscr: 1\nwrite_bytes: 8192\n"), Some(4096));
        assert_eq!(parse_written("rchar: 10\n"), None);
        let dir = tempfile::tempdir().unwrap();
        let counted = || parse_written(&std::fs::read_to_string("/proc/self/io").ok()?);
        let before = counted();
        std::fs::write(dir.path().join("file"), vec![7; 1 << 20]).unwrap();
        let written = counted().zip(before).map(|(now, before)| now - before);
        assert!(written.is_none_or(|written| written >= 1 << 20), "{written:?}");
    }
}
