//! Exports that this process serves, and their registration.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::extent::{ALLOCATION, Extent};

/// Error numbers that an export may return, as in the NBD protocol.
pub mod errno {
    /// The export is read-only.
    pub const EPERM: i32 = 1;
    /// There is no such export.
    pub const ENOENT: i32 = 2;
    /// The medium failed.
    pub const EIO: i32 = 5;
    /// The range is outside the export, or the context was not negotiated.
    pub const EINVAL: i32 = 22;
    /// There is no space left.
    pub const ENOSPC: i32 = 28;
    /// The connection is closed.
    pub const ENOTCONN: i32 = 107;
}

/// Why an export refused a request; the client adds operation and URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The message.
    pub message: String,
    /// One of [`errno`].
    pub errno: i32,
}

impl Refusal {
    /// A refusal with this message and error number.
    pub fn new(message: impl Into<String>, errno: i32) -> Self {
        Self { message: message.into(), errno }
    }
}

/// A disk served by this process. The range of a request is checked before the export is called.
pub trait Export: Send + Sync {
    /// Size in bytes; must not change.
    fn size(&self) -> u64;

    /// The export as one more client sees it, so that a flush by one client says nothing about the
    /// writes of another. `None`: all clients see this export itself.
    fn connect(&self) -> Option<Arc<dyn Export>> {
        None
    }

    /// Whether several connections are safe: see
    /// [`Client::can_multi_conn`](crate::Client::can_multi_conn). If they are not, requests are
    /// sent one after another, in a reproducible order.
    fn can_multi_conn(&self) -> bool {
        false
    }

    /// Whether the export can be written.
    fn writable(&self) -> bool {
        true
    }

    /// Names of the meta contexts that are offered.
    fn contexts(&self) -> Vec<String> {
        vec![ALLOCATION.to_owned()]
    }

    /// Fills `buffer` from byte `offset`.
    ///
    /// # Errors
    /// The content cannot be read.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Refusal>;

    /// Writes `data` at byte `offset`.
    ///
    /// # Errors
    /// The export is read-only or full, or the medium failed; then nothing was written.
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Refusal>;

    /// Makes `length` bytes at `offset` read as zeroes.
    ///
    /// # Errors
    /// As [`Export::write`].
    fn zero(&self, offset: u64, length: u64) -> Result<(), Refusal>;

    /// Makes everything written durable.
    ///
    /// # Errors
    /// The medium failed.
    fn flush(&self) -> Result<(), Refusal>;

    /// All extents in a meta context, in order and without gaps. `None`: the context is not
    /// offered.
    ///
    /// # Errors
    /// The content cannot be read.
    fn extents(&self, context: &str) -> Result<Option<Vec<Extent>>, Refusal>;

    /// The most extents that one answer tells a client of another process, at least 1. Such a
    /// client asks on where an answer ends; one of this process gets all extents at once.
    fn extents_at_once(&self) -> usize {
        usize::MAX
    }
}

/// Shared by an export and its clients; emptied when the export is closed.
pub(crate) struct Slot {
    export: RwLock<Option<Arc<dyn Export>>>,
}

impl Slot {
    /// Calls the export, keeping it open for the duration of the request.
    fn ask<T>(&self, request: impl FnOnce(&dyn Export) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let export = self.export.read().unwrap_or_else(PoisonError::into_inner);
        let export = export.as_ref().ok_or_else(|| Refusal::new("export closed", errno::ENOTCONN))?;
        request(export.as_ref())
    }

    /// Connects a client.
    pub(crate) fn connect(self: Arc<Self>) -> Result<Connected, Refusal> {
        let own = self.ask(|export| Ok(export.connect()))?;
        Ok(Connected { slot: self, own })
    }
}

/// An export as one client opened it.
pub(crate) struct Connected {
    slot: Arc<Slot>,
    /// What this client sees, if not all see the same.
    own: Option<Arc<dyn Export>>,
}

impl Connected {
    /// Calls the export, keeping it open for the duration of the request.
    pub(crate) fn ask<T>(
        &self,
        request: impl FnOnce(&dyn Export) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.slot.ask(|export| request(self.own.as_deref().unwrap_or(export)))
    }
}

/// The exports that one kind of client can find, by name.
#[derive(Default)]
pub(crate) struct Registry(Mutex<BTreeMap<String, Arc<Slot>>>);

impl Registry {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Slot>> {
        self.slots().get(name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.slots().keys().cloned().collect()
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Slot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a registered export is registered.
pub(crate) enum Place {
    Process(&'static Registry),
    Socket(Arc<Registry>),
}

impl Place {
    fn registry(&self) -> &Registry {
        match self {
            Self::Process(registry) => registry,
            Self::Socket(registry) => registry,
        }
    }
}

static COUNT: AtomicU64 = AtomicU64::new(0);

/// A registered export. Dropping it closes the export: the drop waits for requests in progress, and
/// later requests fail. A request must therefore not drop it.
#[must_use = "dropping it closes the export"]
pub struct Served {
    name: String,
    uri: String,
    slot: Arc<Slot>,
    place: Place,
}

impl Served {
    /// The URI to connect to.
    #[must_use]
    pub fn uri(&self) -> String {
        self.uri.clone()
    }

    /// Registers an export under `name` with a number appended that is unique in this process.
    /// `uri` makes the URI of a name.
    pub(crate) fn new(
        name: &str,
        export: Arc<dyn Export>,
        place: Place,
        uri: impl FnOnce(&str) -> String,
    ) -> Self {
        let name = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let slot = Arc::new(Slot { export: RwLock::new(Some(export)) });
        place.registry().slots().insert(name.clone(), Arc::clone(&slot));
        Self { uri: uri(&name), name, slot, place }
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Served").field(&self.name).finish()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.place.registry().slots().remove(&self.name);
        *self.slot.export.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
