//! Cores behind the wire protocol: which one a run tests, how it is opened, and what it says about
//! itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use contract::*;
use tempdirs::OwnedDir;
use wire::WireError;
use wire::client::{BadAddress, Client, Clock, CoreAddress, IdleGate, Session, SystemClock};
use wire::connection::Observer;
use wire::protocol::Time;

/// Environment variable that names the core to test, as `--core` does.
pub const VARIABLE: &str = "ROUNDTRIP_CORE";

/// Environment variable with the directory from which relative paths in [`VARIABLE`] are meant: a
/// test runs in the directory of its crate.
const DIR_VARIABLE: &str = "ROUNDTRIP_CORE_DIR";

/// Reads what `--core` names, as it was meant where the run was started.
///
/// # Errors
/// It is malformed.
pub fn parse(text: &str) -> Result<CoreAddress, BadAddress> {
    let address: CoreAddress = text.parse()?;
    Ok(match std::env::var_os(DIR_VARIABLE) {
        Some(dir) => address.seen_from(Path::new(&dir)),
        None => address,
    })
}

/// The core that a run tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreChoice {
    /// The built-in core, in the suite's own process.
    BuiltIn,
    /// A core behind the wire protocol.
    Wire(CoreAddress),
}

impl CoreChoice {
    /// The core that the environment names; without a name the built-in one.
    ///
    /// # Errors
    /// The name is malformed.
    pub fn selected() -> Result<Self, BadAddress> {
        match std::env::var(VARIABLE).ok().filter(|text| !text.is_empty()) {
            Some(text) => parse(&text).map(Self::Wire),
            None => Ok(Self::BuiltIn),
        }
    }
}

/// What a core behind the protocol is opened with.
#[derive(Clone)]
pub(crate) struct WireParts {
    pub(crate) platforms: BTreeMap<SiteId, Arc<dyn Platform>>,
    pub(crate) dir: PathBuf,
    /// File for the core's log.
    pub(crate) log: Option<PathBuf>,
    /// Reads a virtual clock; `None`: the host's clock.
    pub(crate) now: Option<Arc<dyn Fn() -> Timestamp + Send + Sync>>,
}

/// The clock that a core gets.
pub(crate) fn clock(parts: &WireParts) -> Arc<dyn Clock> {
    match &parts.now {
        Some(now) => Arc::new(VirtualClock(Arc::clone(now))),
        None => Arc::new(SystemClock),
    }
}

fn gate(parts: &WireParts) -> Option<Arc<IdleGate>> {
    let now = parts.now.clone()?;
    Some(IdleGate::close(move || now()))
}

/// Virtual time stands still until it is dropped.
pub(crate) struct TimeHold(Option<Arc<IdleGate>>);

impl Drop for TimeHold {
    fn drop(&mut self) {
        if let Some(gate) = &self.0 {
            gate.ended();
        }
    }
}

/// Holds the virtual time, if time is virtual.
pub(crate) fn hold_time(parts: &WireParts) -> TimeHold {
    TimeHold(gate(parts))
}

/// Starts to open a core behind the protocol. Calls wait until it is open.
pub(crate) fn connect(address: &CoreAddress, parts: &WireParts) -> Client {
    let observer = gate(parts).map(|gate| Arc::new(gate) as Arc<dyn Observer>);
    let session = Session {
        platforms: parts.platforms.clone(),
        state_dir: parts.dir.clone(),
        run: std::env::var("ROUNDTRIP_RUN_ID").unwrap_or_default(),
        clock: clock(parts),
        time: if parts.now.is_some() { Time::Virtual } else { Time::System },
        log: parts.log.clone(),
        observer,
    };
    Client::open(address.clone(), session)
}

/// Starts to open a core behind the protocol, whose process ends when it is closed. Calls wait
/// until it is open.
pub(crate) fn open(address: &CoreAddress, parts: &WireParts) -> Arc<dyn ReplicationCore> {
    Arc::new(OneProcess(connect(address, parts)))
}

/// A core behind the protocol, whose process ends when it is closed: a core that is opened again on
/// the same directory must not meet it.
struct OneProcess(Client);

macro_rules! one_process {
    (ends close $client:expr) => {
        $client.kill().await
    };
    (ends $name:ident $client:expr) => {};
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        #[async_trait]
        impl ReplicationCore for OneProcess {$(
            async fn $name(&self, $($argument: $($type)+),*) -> Result<$($result)+, CoreError> {
                let answer = self.0.$name($($argument),*).await;
                one_process!(ends $name self.0);
                answer
            }
        )+}
    };
}
wire::core_methods!(one_process);

/// A clock on the current runtime, whose time is the virtual one.
struct VirtualClock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        (self.0)()
    }

    async fn sleep_until(&self, time: Timestamp) {
        tokio::time::sleep(time.since(self.now()).into()).await;
    }
}

/// What a core says when it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreIdentity {
    /// Name and version.
    pub name: String,
    /// The sources of time that it can use.
    pub time: Vec<Time>,
    /// How it was opened.
    pub opened: String,
}

impl std::fmt::Display for CoreIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, opened with `{}`", self.name, self.opened)
    }
}

/// Opens a core between no sites, asks for its name, and ends it.
///
/// # Errors
/// The core cannot be opened.
pub async fn identify(address: &CoreAddress, log: Option<&Path>) -> Result<CoreIdentity, WireError> {
    let dir = OwnedDir::new("state");
    let dir = dir
        .map_err(|error| WireError::Host { what: "make a directory for the core", error: Arc::new(error) })?;
    let session = Session {
        platforms: BTreeMap::new(),
        state_dir: dir.path().to_owned(),
        run: std::env::var("ROUNDTRIP_RUN_ID").unwrap_or_default(),
        clock: Arc::new(SystemClock),
        time: Time::System,
        log: log.map(Path::to_owned),
        observer: None,
    };
    let client = Client::open(address.clone(), session);
    let (connect, _) = client.handshake().await?;
    let name = format!("{} {}", connect.name, connect.version);
    Ok(CoreIdentity { name, time: connect.time, opened: address.to_string() })
}

/// What a report calls the core under test: of a core behind the protocol also how it was opened.
pub(crate) async fn report_name(name: String) -> String {
    match CoreChoice::selected() {
        Ok(CoreChoice::Wire(address)) => {
            identify(&address, None).await.map_or(name, |identity| identity.to_string())
        }
        _ => name,
    }
}
