//! Exports of this process for other processes, at a Unix socket: `nbd+unix:///NAME?socket=PATH`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nbd_server::{Disk, Disks, Features, Refused, Run};
use tempdirs::OwnedDir;

use crate::export::{Connected, Export, Place, Refusal, Registry, Served, errno};
use crate::extent::Extent;

/// An NBD server of exports of this process. Its socket is in a directory that only this user can
/// enter. Dropping it disconnects all clients and removes the socket.
pub struct DiskServer {
    dir: OwnedDir,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    exports: Arc<Registry>,
    clients: Mutex<Clients>,
}

/// The connections, so that they can be ended.
#[derive(Default)]
struct Clients {
    ended: bool,
    next: u64,
    streams: BTreeMap<u64, UnixStream>,
}

impl DiskServer {
    /// Starts a server without exports.
    ///
    /// # Errors
    /// The host allows no directory, socket or thread.
    pub fn start() -> io::Result<Self> {
        let dir = OwnedDir::new("disks")?;
        let socket = dir.path().join("nbd.sock");
        let listener = UnixListener::bind(&socket)?;
        std::fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        let shared = Arc::new(Shared::default());
        let accept = {
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        };
        let accepting = std::thread::Builder::new().name("disk server".into()).spawn(accept)?;
        Ok(Self { dir, shared, accepting: Some(accepting) })
    }

    /// Serves an export under `name` with a number appended that is unique in this process.
    pub fn serve(&self, name: &str, export: Arc<dyn Export>) -> Served {
        let socket = escape(&self.socket().to_string_lossy());
        let uri = |name: &str| format!("nbd+unix:///{}?socket={socket}", escape(name));
        Served::new(name, export, Place::Socket(Arc::clone(&self.shared.exports)), uri)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("nbd.sock")
    }

    /// Disconnects all clients, accepts no more, and removes the socket with its directory, also
    /// while exports are still held. Returns whether the thread that accepts connections ends.
    pub fn close(&self) -> bool {
        let streams = {
            let mut clients = self.shared.clients();
            clients.ended = true;
            std::mem::take(&mut clients.streams)
        };
        for stream in streams.values() {
            // Fails if the client has already gone.
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts connections, which then ends.
        let woken = UnixStream::connect(self.socket()).is_ok();
        // What cannot be removed now is stale when this process has ended.
        let _ = self.dir.remove();
        woken
    }
}

impl Drop for DiskServer {
    fn drop(&mut self) {
        if let (true, Some(accepting)) = (self.close(), self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &UnixListener) {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let Ok(kept) = stream.try_clone() else { continue };
            let number = {
                let mut clients = self.clients();
                if clients.ended {
                    return;
                }
                clients.next += 1;
                let number = clients.next;
                clients.streams.insert(number, kept);
                number
            };
            let shared = Arc::clone(self);
            let client = move || {
                // An error ends the connection; the client sees that.
                let _ = nbd_server::serve(&stream, &stream, &*shared.exports);
                shared.clients().streams.remove(&number);
                // The other copy of the descriptor may be in the hands of a server that ends.
                let _ = stream.shutdown(Shutdown::Both);
            };
            // Without a thread the connection is dropped, which the client sees.
            if std::thread::Builder::new().name("disk client".into()).spawn(client).is_err() {
                self.clients().streams.remove(&number);
            }
        }
    }
}

impl Disks for Registry {
    fn names(&self) -> Vec<String> {
        Self::names(self)
    }

    fn open(&self, name: &str) -> Option<Box<dyn Disk + '_>> {
        let connected = self.find(name)?.connect().ok()?;
        let features = connected.ask(|export| {
            Ok(Features {
                size: export.size(),
                writable: export.writable(),
                multi_conn: export.can_multi_conn(),
                contexts: export.contexts(),
            })
        });
        Some(Box::new(SocketDisk { connected, features: features.ok()?, told: None }))
    }
}

/// An export as one client opened it.
struct SocketDisk {
    connected: Connected,
    features: Features,
    /// The extents of the last answer.
    told: Option<Told>,
}

/// What a client was told a part of. If it asks on where that ended it gets the next part of the
/// same, as a client in this process gets all at once.
struct Told {
    context: String,
    extents: Vec<Extent>,
    /// Where the answer ended, in bytes.
    end: u64,
}

impl SocketDisk {
    /// The extents of which an answer tells a part from `offset` on.
    fn extents(&mut self, context: &str, offset: u64) -> Result<Told, Refused> {
        let asks_on = |told: &Told| told.context == context && told.end == offset;
        if let Some(told) = self.told.take().filter(asks_on) {
            return Ok(told);
        }
        let gone = || Refused::new(nbd_server::errno::EINVAL, format!("{context} is no longer offered"));
        let extents = self.ask(|export| export.extents(context))?.ok_or_else(gone)?;
        Ok(Told { context: context.to_owned(), extents, end: offset })
    }

    fn ask<T>(&self, request: impl FnOnce(&dyn Export) -> Result<T, Refusal>) -> Result<T, Refused> {
        self.connected.ask(request).map_err(|refusal| Refused::new(number(refusal.errno), refusal.message))
    }
}

impl Disk for SocketDisk {
    fn features(&self) -> Features {
        self.features.clone()
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), Refused> {
        self.ask(|export| export.read(offset, buffer))
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Refused> {
        self.told = None;
        self.ask(|export| export.write(offset, data))
    }

    fn zero(&mut self, offset: u64, length: u64) -> Result<(), Refused> {
        self.told = None;
        self.ask(|export| export.zero(offset, length))
    }

    fn flush(&mut self) -> Result<(), Refused> {
        self.ask(|export| export.flush())
    }

    fn status(&mut self, context: &str, offset: u64, length: u64) -> Result<Vec<Run>, Refused> {
        let mut told = self.extents(context, offset)?;
        let most = self.ask(|export| Ok(export.extents_at_once()))?.max(1);
        let first = told.extents.partition_point(|extent| extent.offset + extent.length <= offset);
        let parts = told.extents[first..].iter().map_while(|extent| part(extent, offset, length));
        let runs: Vec<Run> = parts.take(most).collect();
        if runs.is_empty() {
            let missing = format!("no extent of {context} at {offset}");
            return Err(Refused::new(nbd_server::errno::EIO, missing));
        }
        told.end = offset + runs.iter().map(|(length, _)| length).sum::<u64>();
        self.told = Some(told);
        Ok(runs)
    }
}

/// The part of an extent inside a range.
fn part(extent: &Extent, offset: u64, length: u64) -> Option<Run> {
    let begin = extent.offset.max(offset);
    let end = (extent.offset + extent.length).min(offset + length);
    (begin < end).then(|| (end - begin, extent.flags as u32))
}

/// The error number that the protocol has for one of an export's.
fn number(errno: i32) -> u32 {
    match errno {
        errno::EPERM => nbd_server::errno::EPERM,
        errno::ENOSPC => nbd_server::errno::ENOSPC,
        errno::ENOTCONN | errno::ENOENT => nbd_server::errno::ESHUTDOWN,
        errno::EINVAL => nbd_server::errno::EINVAL,
        _ => nbd_server::errno::EIO,
    }
}

/// Escapes everything in a part of a URI that could mean something there.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
