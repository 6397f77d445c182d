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

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use contract::{Platform, ReplicationCore, SiteId, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::runtime::Handle;

use crate::connection::{CallError, Connection, Options};
use crate::error::WireError;
use crate::lines::Lines;
use crate::protocol::{Connect, Connected, Now, SOCKET_VARIABLE, SleepUntil, Time, VERSION};
use crate::server::core::CoreService;
use crate::server::platform::RemotePlatform;

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
pub struct RemoteClock(Connection);

impl RemoteClock {
    /// The time.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn now(&self) -> Result<Timestamp, CallError> {
        self.0.call(&Now {}).await
    }

    /// Waits until that time has come.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn sleep_until(&self, time: Timestamp) -> Result<(), CallError> {
        self.0.call(&SleepUntil { time }).await
    }
}

/// Connects to the suite, opens a core and serves it until the suite closes the connection. This is
/// all that the `main` of a core needs to do.
pub fn run<C, E>(about: About, open: impl FnOnce(CoreParts) -> Result<C, E>) -> ExitCode
where
    C: ReplicationCore + 'static,
    E: std::fmt::Display,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let end = match runtime {
        Ok(runtime) => {
            let end = runtime.block_on(serve(about, open));
            // What a core does in the background does not keep the process alive.
            runtime.shutdown_background();
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

/// As [`run`], on the current runtime. It connects through the socket that the environment names,
/// or else through the standard streams.
///
/// # Errors
/// The connection cannot be made or breaks, or the core cannot be opened; one line says why.
pub async fn serve<C, E>(about: About, open: impl FnOnce(CoreParts) -> Result<C, E>) -> Result<(), String>
where
    C: ReplicationCore + 'static,
    E: std::fmt::Display,
{
    let said = |error: WireError| error.to_string();
    match std::env::var_os(SOCKET_VARIABLE) {
        None => serve_over(tokio::io::stdin(), tokio::io::stdout(), about, open).await,
        Some(path) => {
            let failed =
                |error| WireError::Connect { path: path.display().to_string(), error: Arc::new(error) };
            let stream = UnixStream::connect(&path).await.map_err(failed).map_err(said)?;
            let (from, to) = stream.into_split();
            serve_over(from, to, about, open).await
        }
    }
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
    let (service, opened) = CoreService::new();
    let options = Options { service, serve_on: Handle::current(), observer: None, why_closed: None };
    let connection = Connection::start(Lines::new(from), to, options);
    let connected = shake_hands(&connection, about).await.map_err(|error| error.to_string())?;
    let core = open(parts(&connection, &connected)).map_err(|error| format!("open the core: {error}"))?;
    opened.send_replace(Some(Arc::new(core)));
    match connection.ended().await {
        WireError::Closed { within_message: false } | WireError::Ended => Ok(()),
        error => Err(error.to_string()),
    }
}

async fn shake_hands(connection: &Connection, about: About) -> Result<Connected, CallError> {
    let About { name, version, time } = about;
    connection.call(&Connect { protocol: VERSION.to_owned(), name, version, time }).await
}

fn parts(connection: &Connection, connected: &Connected) -> CoreParts {
    let platform = |site: &SiteId| {
        let platform = RemotePlatform { connection: connection.clone(), site: site.clone() };
        (site.clone(), Arc::new(platform) as Arc<dyn Platform>)
    };
    CoreParts {
        platforms: connected.sites.iter().map(platform).collect(),
        dir: PathBuf::from(&connected.state_dir),
        time: connected.time,
        clock: RemoteClock(connection.clone()),
        run: connected.run.clone(),
    }
}
