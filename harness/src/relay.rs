//! A simulated link between sites that can be slow, lossy or down: a relay in front of an NBD
//! server's socket.
//!
//! A client that reads a disk over the link connects to the relay, which connects to the server and
//! forwards bytes in both directions as the current [`LinkCondition`] allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::scratch;
use crate::{Error, Result};

/// Bytes forwarded at a time.
const PIECE: usize = 64 * 1024;

/// Condition of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkCondition {
    /// Everything passes without delay.
    #[default]
    Healthy,
    /// Passes this many bytes a second, over all connections together.
    Throttled(u64),
    /// Connections break, however many a transfer needs, until the link has broken `breaks` of them
    /// since it exists. All others pass.
    Lossy {
        /// Bytes that a connection carries before it breaks.
        after: u64,
        /// Connections that break, those that broke before included.
        breaks: u64,
    },
    /// Nothing passes: connections break, new ones are closed at once.
    Down,
}

/// Counts of what a link did to its traffic.
#[derive(Debug, Default)]
pub struct Tally {
    slowed: AtomicU64,
    broken: AtomicU64,
}

impl Tally {
    /// Bytes that had to wait on a slow link.
    pub fn slowed(&self) -> u64 {
        self.slowed.load(Ordering::Relaxed)
    }

    /// Connections that a lossy link broke.
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }

    /// Counts one more connection that breaks, unless so many have broken. Returns whether it did.
    fn breaks_one_of(&self, breaks: u64) -> bool {
        let one_more = |broken| (broken < breaks).then_some(broken + 1);
        self.broken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }
}

/// The server behind a relay.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Upstream {
    /// A socket in the file system.
    Unix(Utf8PathBuf),
    /// Address and port, as `127.0.0.1:10809`.
    Tcp(String),
}

/// A running relay. It ends when dropped.
#[derive(Debug)]
pub struct Relay {
    socket: Utf8PathBuf,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens at `socket` and forwards each connection to `upstream`.
    ///
    /// # Errors
    /// The socket cannot be created.
    pub fn start(
        socket: &Utf8Path,
        upstream: Upstream,
        condition: watch::Receiver<LinkCondition>,
        tally: Arc<Tally>,
    ) -> Result<Self> {
        let listener = UnixListener::bind(socket).map_err(Error::file(socket))?;
        scratch::only_for_this_user(socket)?;
        let link =
            Arc::new(SharedLink { upstream, condition, tally, busy_until: Mutex::new(Instant::now()) });
        let task = tokio::spawn(listen(listener, link));
        Ok(Self { socket: socket.to_owned(), task })
    }

    /// The socket it listens on.
    #[must_use]
    pub fn socket(&self) -> &Utf8Path {
        &self.socket
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        // Scratch is removed with everything in it, so a socket that stays until then does no harm.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// State shared by the connections of one relay.
struct SharedLink {
    upstream: Upstream,
    condition: watch::Receiver<LinkCondition>,
    tally: Arc<Tally>,
    /// Until when a throttled link is busy with bytes already accepted.
    busy_until: Mutex<Instant>,
}

async fn listen(listener: UnixListener, link: Arc<SharedLink>) {
    let mut carried = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        carried.spawn(Arc::clone(&link).carry(client));
        while carried.try_join_next().is_some() {}
    }
}

impl SharedLink {
    /// Forwards one connection until either end closes it or the link breaks it.
    async fn carry(self: Arc<Self>, client: UnixStream) {
        let (from_client, to_client) = client.into_split();
        let ended = async {
            match &self.upstream {
                Upstream::Unix(path) => {
                    let Ok(server) = UnixStream::connect(path).await else { return };
                    let (from_server, to_server) = server.into_split();
                    self.both((from_client, to_server), (from_server, to_client)).await;
                }
                Upstream::Tcp(address) => {
                    let Ok(server) = TcpStream::connect(address).await else { return };
                    let (from_server, to_server) = server.into_split();
                    self.both((from_client, to_server), (from_server, to_client)).await;
                }
            }
        };
        let mut condition = self.condition.clone();
        tokio::select! {
            () = ended => {}
            _ = condition.wait_for(|condition| *condition == LinkCondition::Down) => {}
        }
    }

    async fn both(
        &self,
        up: (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
        down: (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    ) {
        let carried = AtomicU64::new(0);
        tokio::select! {
            _ = self.pump(&carried, up) => {}
            _ = self.pump(&carried, down) => {}
        }
    }

    /// Forwards one direction until it ends.
    async fn pump(
        &self,
        carried: &AtomicU64,
        (mut from, mut to): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    ) -> std::io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let length = from.read(&mut piece).await?;
            if length == 0 {
                return to.shutdown().await;
            }
            let sum = carried.fetch_add(length as u64, Ordering::Relaxed) + length as u64;
            let now = *self.condition.borrow();
            match now {
                LinkCondition::Lossy { after, breaks } if sum > after && self.tally.breaks_one_of(breaks) => {
                    return Ok(());
                }
                LinkCondition::Throttled(rate) => {
                    self.tally.slowed.fetch_add(length as u64, Ordering::Relaxed);
                    self.wait_for_link(length as u64, rate).await;
                }
                LinkCondition::Healthy | LinkCondition::Lossy { .. } | LinkCondition::Down => {}
            }
            to.write_all(&piece[..length]).await?;
        }
    }

    /// Reserves the throttled link for as long as this many bytes need, and waits until then.
    async fn wait_for_link(&self, bytes: u64, rate: u64) {
        let until = {
            let mut busy = self.busy_until.lock().await;
            let needs = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            *busy = (*busy).max(Instant::now()) + needs;
            *busy
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A relay to an echo server.
    struct Bench {
        relay: Relay,
        condition: watch::Sender<LinkCondition>,
        _dir: tempfile::TempDir,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| Utf8PathBuf::from_path_buf(dir.path().join(name)).unwrap();
        let echo = UnixListener::bind(path("echo")).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = echo.accept().await {
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            }
        });
        let (condition, receiver) = watch::channel(LinkCondition::Healthy);
        let relay =
            Relay::start(&path("relay"), Upstream::Unix(path("echo")), receiver, Arc::default()).unwrap();
        Bench { relay, condition, _dir: dir }
    }

    /// Whether this many bytes come back.
    async fn comes_back(stream: &mut UnixStream, bytes: usize) -> bool {
        let (mut from, mut to) = stream.split();
        let sent = vec![7; bytes];
        let mut back = vec![0; bytes];
        let (wrote, read) = tokio::join!(to.write_all(&sent), from.read_exact(&mut back));
        wrote.is_ok() && read.is_ok() && back == sent
    }

    #[tokio::test]
    async fn a_healthy_link_passes_everything() {
        let bench = bench();
        let mut stream = UnixStream::connect(bench.relay.socket()).await.unwrap();
        assert!(comes_back(&mut stream, 3 * PIECE + 1).await);
    }

    #[tokio::test]
    async fn a_link_that_goes_down_breaks_open_connections_and_refuses_new_ones_until_it_is_up() {
        let bench = bench();
        let mut open = UnixStream::connect(bench.relay.socket()).await.unwrap();
        assert!(comes_back(&mut open, 100).await);
        bench.condition.send(LinkCondition::Down).unwrap();
        assert!(!comes_back(&mut open, 100).await);
        let mut new = UnixStream::connect(bench.relay.socket()).await.unwrap();
        assert!(!comes_back(&mut new, 100).await);
        bench.condition.send(LinkCondition::Healthy).unwrap();
        let mut new = UnixStream::connect(bench.relay.socket()).await.unwrap();
        assert!(comes_back(&mut new, 100).await);
    }

    #[tokio::test]
    async fn a_lossy_link_breaks_so_many_connections_as_it_was_told_and_no_more() {
        let bench = bench();
        let mut passed = Vec::new();
        for breaks in [1, 2] {
            bench.condition.send(LinkCondition::Lossy { after: 1000, breaks }).unwrap();
            for bytes in [400, 4000, 4000, 4000] {
                let mut stream = UnixStream::connect(bench.relay.socket()).await.unwrap();
                passed.push(comes_back(&mut stream, bytes).await);
            }
        }
        assert_eq!(passed, [true, false, true, true, true, false, true, true]);
    }

    #[tokio::test]
    async fn a_throttled_link_takes_the_time_that_its_rate_implies() {
        let bench = bench();
        bench.condition.send(LinkCondition::Throttled(50_000)).unwrap();
        let began = Instant::now();
        let mut stream = UnixStream::connect(bench.relay.socket()).await.unwrap();
        assert!(comes_back(&mut stream, 5000).await);
        // Both directions count; a fast machine cannot exceed the rate.
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    }
}
