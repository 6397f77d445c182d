//! The side of a core that is written in Rust.
//!
//! The `main` of a core is one line:
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     wire::server::run(wire::server::About::system_time("my-core", "1.0"), MyCore::open)
//! }
//! ```

mod core;
mod platform;
mod virtual_time;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use contract::{Platform, ReplicationCore, SiteId, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{oneshot, watch};

use crate::connection::{CallError, Connection, Observer, Options};
use crate::error::WireError;
use crate::lines::Lines;
use crate::protocol::{Connect, Connected, Now, SOCKET_VARIABLE, SleepUntil, Time, VERSION};
use crate::server::core::CoreService;
use crate::server::platform::RemotePlatform;
use crate::server::virtual_time::{Incoming, report_idle};

/// What a core says about itself when it connects.
#[derive(Clone, Debug)]
pub struct About {
    /// Its name, for reports.
    pub name: String,
    /// Its version, for reports.
    pub version: String,
    /// The sources of time that it can use.
    pub time: Vec<Time>,
}

impl About {
    /// A core that can use both the host's clock and the suite's virtual one: see [`run`].
    #[must_use]
    pub fn any_time(name: &str, version: &str) -> Self {
        Self { time: vec![Time::System, Time::Virtual], ..Self::system_time(name, version) }
    }

    /// A core that uses only the host's clock.
    #[must_use]
    pub fn system_time(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), version: version.to_owned(), time: vec![Time::System] }
    }
}

/// What a core is opened with.
pub struct CoreParts {
    /// The sites that it replicates between.
    pub platforms: BTreeMap<SiteId, Arc<dyn Platform>>,
    /// Directory for its state. If an earlier core left its state there, this one continues.
    pub dir: PathBuf,
    /// Source of its timestamps.
    pub time: Time,
    /// The suite's clock.
    pub clock: RemoteClock,
    /// Id of the suite's run.
    pub run: String,
}

/// The suite's clock.
#[derive(Clone)]
pub struct RemoteClock {
    connection: Connection,
    incoming: Arc<Incoming>,
}

impl RemoteClock {
    /// The time.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn now(&self) -> Result<Timestamp, CallError> {
        self.connection.call(&Now {}).await
    }

    /// The virtual time, which the suite has told. If time is not virtual, this is the time of the
    /// handshake.
    #[must_use]
    pub fn virtual_now(&self) -> Timestamp {
        self.incoming.time()
    }

    /// Waits until that time has come.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn sleep_until(&self, time: Timestamp) -> Result<(), CallError> {
        self.connection.call(&SleepUntil { time }).await
    }
}

/// Connects to the suite, opens a core and serves it until the suite closes the connection. This is
/// all that the `main` of a core needs to do. It connects through the socket that the environment
/// names, or else through the standard streams.
///
/// The core runs on a tokio runtime. If time is virtual, that has one thread, one more for blocking
/// work, and a paused clock, and the core is reported as idle whenever it only waits for answers.
/// Such a core must wait by [`RemoteClock::sleep_until`], not by timers of tokio, and its blocking
/// work must not wait for other blocking work, nor for answers of the suite.
pub fn run<C, E>(about: About, open: impl FnOnce(CoreParts) -> Result<C, E>) -> ExitCode
where
    C: ReplicationCore + 'static,
    E: std::fmt::Display,
{
    // The connection has a thread of its own, which keeps the host's time.
    let connections = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let end = match connections {
        Ok(connections) => {
            let end = run_beside(&connections, about, open);
            connections.shutdown_background();
            end
        }
        Err(error) => Err(format!("start the threads: {error}")),
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a core on a runtime of its own, with its connection on another one.
fn run_beside<C, E>(
    connections: &Runtime,
    about: About,
    open: impl FnOnce(CoreParts) -> Result<C, E>,
) -> Result<(), String>
where
    C: ReplicationCore + 'static,
    E: std::fmt::Display,
{
    let (start_work, then_serve_on) = oneshot::channel();
    let link = connections.block_on(async {
        let streams = streams().await?;
        Link::start(streams, about, Some(then_serve_on)).await
    })?;
    let time = link.connected.time;
    let runtime = match time {
        Time::System => Builder::new_multi_thread().enable_all().build(),
        Time::Virtual => {
            Builder::new_current_thread().enable_all().start_paused(true).max_blocking_threads(1).build()
        }
    };
    let runtime = runtime.map_err(|error| format!("start the threads: {error}"))?;
    let end = runtime.block_on(async {
        // Fails if the connection has ended, which the link notices.
        let _ = start_work.send(Handle::current());
        if time == Time::Virtual {
            tokio::spawn(report_idle(link.connection.clone(), link.incoming.received()));
        }
        link.serve(open).await
    });
    // What a core does in the background does not keep the process alive.
    runtime.shutdown_background();
    end
}

/// As [`run`], on the current runtime and by the host's clock.
///
/// # Errors
/// The connection cannot be made or breaks, or the core cannot be opened; one line says why.
pub async fn serve<C, E>(about: About, open: impl FnOnce(CoreParts) -> Result<C, E>) -> Result<(), String>
where
    C: ReplicationCore + 'static,
    E: std::fmt::Display,
{
    let (from, to) = streams().await?;
    serve_over(from, to, about, open).await
}

/// As [`serve`], over two streams.
///
/// # Errors
/// As [`serve`].
pub async fn serve_over<C, E>(
    from: impl AsyncRead + Send + Unpin + 'static,
    to: impl AsyncWrite + Send + Unpin + 'static,
    about: About,
    open: impl FnOnce(CoreParts) -> Result<C, E>,
) -> Result<(), String>
where
    C: ReplicationCore + 'static,
    E: std::fmt::Display,
{
    Link::start((Box::new(from), Box::new(to)), about, None).await?.serve(open).await
}

/// The two directions of a connection.
type Streams = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

/// Connects through the socket that the environment names, or else through the standard streams.
async fn streams() -> Result<Streams, String> {
    let Some(path) = std::env::var_os(SOCKET_VARIABLE) else {
        return Ok((Box::new(tokio::io::stdin()), Box::new(tokio::io::stdout())));
    };
    let stream = UnixStream::connect(&path).await.map_err(|error| {
        WireError::Connect { path: path.display().to_string(), error: Arc::new(error) }.to_string()
    })?;
    let (from, to) = stream.into_split();
    Ok((Box::new(from), Box::new(to)))
}

/// A connection to the suite after the handshake.
struct Link {
    connection: Connection,
    connected: Connected,
    incoming: Arc<Incoming>,
    opened: watch::Sender<Option<Arc<dyn ReplicationCore>>>,
}

impl Link {
    /// Starts a connection on the current runtime.
    async fn start(
        (from, to): Streams,
        about: About,
        then_serve_on: Option<oneshot::Receiver<Handle>>,
    ) -> Result<Self, String> {
        let (service, opened) = CoreService::new();
        let incoming = Arc::new(Incoming::new());
        let observer: Arc<dyn Observer> = Arc::clone(&incoming) as _;
        let options = Options {
            service,
            serve_on: Handle::current(),
            then_serve_on,
            in_turn: false,
            observer: Some(observer),
            why_closed: None,
        };
        let connection = Connection::start(Lines::new(from), to, options);
        let connected = shake_hands(&connection, about).await.map_err(|error| error.to_string())?;
        incoming.told(connected.now);
        Ok(Self { connection, connected, incoming, opened })
    }

    /// Opens a core and serves it until the connection ends.
    async fn serve<C, E>(self, open: impl FnOnce(CoreParts) -> Result<C, E>) -> Result<(), String>
    where
        C: ReplicationCore + 'static,
        E: std::fmt::Display,
    {
        let core = open(self.parts()).map_err(|error| format!("open the core: {error}"))?;
        self.opened.send_replace(Some(Arc::new(core)));
        match self.connection.ended().await {
            WireError::Closed { within_message: false } | WireError::Ended => Ok(()),
            error => Err(error.to_string()),
        }
    }

    fn parts(&self) -> CoreParts {
        let platform = |site: &SiteId| {
            let platform = RemotePlatform { connection: self.connection.clone(), site: site.clone() };
            (site.clone(), Arc::new(platform) as Arc<dyn Platform>)
        };
        CoreParts {
            platforms: self.connected.sites.iter().map(platform).collect(),
            dir: PathBuf::from(&self.connected.state_dir),
            time: self.connected.time,
            clock: RemoteClock { connection: self.connection.clone(), incoming: Arc::clone(&self.incoming) },
            run: self.connected.run.clone(),
        }
    }
}

async fn shake_hands(connection: &Connection, about: About) -> Result<Connected, CallError> {
    let About { name, version, time } = about;
    connection.call(&Connect { protocol: VERSION.to_owned(), name, version, time }).await
}
