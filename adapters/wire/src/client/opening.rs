//! Opens a core: from its address to the end of the handshake.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use tempdirs::OwnedDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::client::address::CoreAddress;
use crate::client::log::{self, LastLine};
use crate::client::process::{CoreProcess, Started};
use crate::client::session::{Greeting, Session, SuiteService};
use crate::connection::{Connection, Options};
use crate::error::WireError;
use crate::lines::Lines;
use crate::protocol::{Connect, Connected, HANDSHAKE_WITHIN, Time};

/// An open core.
#[derive(Clone)]
pub(crate) struct OpenCore {
    pub(crate) connection: Connection,
    pub(crate) connect: Connect,
    pub(crate) connected: Connected,
}

/// Where the messages of a core come from and go to.
struct Streams {
    from: Lines,
    to: Box<dyn AsyncWrite + Send + Unpin>,
}

/// The socket at which the suite listens for one core.
struct Listener {
    listener: UnixListener,
    dir: OwnedDir,
}

const SOCKET: &str = "core.sock";

impl Listener {
    fn new() -> Result<Self, WireError> {
        let what = "make a socket for the core";
        let dir = OwnedDir::new("core").map_err(WireError::host(what))?;
        let path = dir.path().join(SOCKET);
        let listener = UnixListener::bind(&path).map_err(WireError::host(what))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .map_err(WireError::host(what))?;
        Ok(Self { listener, dir })
    }
}

/// Opens a core. The work for its requests runs on `serve_on`. A program that is started is
/// handed to `process` at once.
pub(crate) async fn open(
    address: &CoreAddress,
    session: Session,
    serve_on: Handle,
    process: oneshot::Sender<CoreProcess>,
) -> Result<OpenCore, WireError> {
    let deadline = Instant::now() + HANDSHAKE_WITHIN;
    match address {
        CoreAddress::Socket { path } => {
            let failed =
                |error| WireError::Connect { path: path.display().to_string(), error: Arc::new(error) };
            let (from, to) = UnixStream::connect(path).await.map_err(failed)?.into_split();
            let streams = Streams { from: Lines::new(from), to: Box::new(to) };
            shake_hands(streams, session, serve_on, deadline, None).await
        }
        CoreAddress::Program { words, dir } => {
            let listener = Listener::new()?;
            let socket = listener.dir.path().join(SOCKET);
            let log = session.log.clone();
            let started =
                CoreProcess::start(words, dir.as_deref(), &socket, &session.state_dir, log.as_deref())?;
            let Started { process: running, stdin, stdout } = started;
            // Nobody waits for it any more if the core is not wanted any more.
            let _ = process.send(running.clone());
            let speaking = first_message(listener, stdin, stdout, log.as_deref());
            let streams = tokio::select! {
                streams = timeout_at(deadline, speaking) => {
                    streams.map_err(|_| WireError::Silent(HANDSHAKE_WITHIN))??
                }
                Some(status) = running.ended() => return Err(running.exited(status)),
            };
            shake_hands(streams, session, serve_on, deadline, Some(running)).await
        }
    }
}

/// Opens a core at the other end of two streams.
pub(crate) async fn over(
    from: impl AsyncRead + Send + Unpin + 'static,
    to: impl AsyncWrite + Send + Unpin + 'static,
    session: Session,
) -> Result<OpenCore, WireError> {
    let deadline = Instant::now() + HANDSHAKE_WITHIN;
    let streams = Streams { from: Lines::new(from), to: Box::new(to) };
    shake_hands(streams, session, Handle::current(), deadline, None).await
}

/// Waits for the first message of a program, on its standard output or through the socket.
async fn first_message(
    listener: Listener,
    stdin: ChildStdin,
    stdout: ChildStdout,
    log: Option<&Path>,
) -> Result<Streams, WireError> {
    let Listener { listener, dir } = listener;
    let mut printed = Lines::new(stdout);
    let accepted = async {
        let (stream, _) = listener.accept().await.map_err(WireError::host("accept the core's connection"))?;
        let (from, to) = stream.into_split();
        let mut from = Lines::new(from);
        from.peek().await?;
        Ok(Streams { from, to: Box::new(to) })
    };
    let streams = tokio::select! {
        streams = accepted => {
            // What the core prints from now on belongs to its log.
            let log = log.map(Path::to_owned);
            tokio::spawn(async move { log::keep(printed.into_inner(), log.as_deref(), LastLine::default()).await });
            streams
        }
        line = message_on(&mut printed) => {
            line.map(|()| Streams { from: printed, to: Box::new(stdin) })
        }
    };
    // The socket is needed no more.
    drop(dir);
    streams
}

/// Waits for a line that can be a message. A program that speaks through the socket may print
/// anything else.
async fn message_on(printed: &mut Lines) -> Result<(), WireError> {
    loop {
        match printed.peek().await {
            Ok(line) if line.starts_with(b"{") => return Ok(()),
            Ok(_) => drop(printed.next().await?),
            // Its standard output may be closed while it speaks through the socket.
            Err(WireError::Closed { within_message: false }) => std::future::pending().await,
            Err(error) => return Err(error),
        }
    }
}

async fn shake_hands(
    streams: Streams,
    session: Session,
    serve_on: Handle,
    deadline: Instant,
    process: Option<CoreProcess>,
) -> Result<OpenCore, WireError> {
    let observer = session.observer.clone();
    let in_turn = session.time == Time::Virtual;
    let (service, greeted) = SuiteService::new(session);
    let why_closed = process.map(|process| {
        let why: futures_util::future::BoxFuture<'static, _> = Box::pin(process.why_closed());
        why
    });
    let connection = Connection::start(
        streams.from,
        streams.to,
        Options { service, serve_on, then_serve_on: None, in_turn, observer, why_closed },
    );
    let greeting: Greeting = tokio::select! {
        greeting = timeout_at(deadline, greeted) => match greeting {
            Ok(Ok(greeting)) => greeting,
            Ok(Err(_)) => Err(connection.ended().await),
            Err(_) => Err(WireError::Silent(HANDSHAKE_WITHIN)),
        },
        error = connection.ended() => Err(error),
    };
    // The answer is the first message that the core gets, also if it says why there is no other. A
    // core may ask more meanwhile, and its requests may stay open.
    let _ = timeout_at(deadline, connection.first_answer()).await;
    match greeting {
        Ok((connect, connected)) => Ok(OpenCore { connection, connect, connected }),
        Err(error) => {
            connection.end(error.clone());
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use async_trait::async_trait;
    use contract::Timestamp;
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::client::session::Clock;

    /// A clock whose times never come.
    struct Stopped;

    #[async_trait]
    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }

        async fn sleep_until(&self, _: Timestamp) {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_core_is_open_while_it_waits_for_a_time() {
        let (core, suite) = tokio::io::duplex(4096);
        let (core_from, mut core_to) = tokio::io::split(core);
        let (from, to) = tokio::io::split(suite);
        let connect = r#"{"jsonrpc":"2.0","id":1,"method":"suite.connect","params":
            {"protocol":"1.0","name":"test","version":"1","time":["system"]}}"#;
        let sleep = r#"{"jsonrpc":"2.0","id":2,"method":"clock.sleep_until","params":{"time":9}}"#;
        let asked = format!("{}\n{sleep}\n", connect.replace('\n', ""));
        core_to.write_all(asked.as_bytes()).await.unwrap();
        let session = Session {
            platforms: BTreeMap::new(),
            state_dir: PathBuf::new(),
            run: String::new(),
            clock: Arc::new(Stopped),
            time: Time::System,
            log: None,
            observer: None,
        };
        let started = Instant::now();
        let open = over(from, to, session).await.unwrap();
        assert_eq!(open.connect.name, "test");
        assert!(started.elapsed() < HANDSHAKE_WITHIN, "it waits for an answer that never comes");
        drop(core_from);
    }
}
