//! The service of a guest, as its users reach it: over TCP from outside. An answer counts only if
//! the bank's balances in it add up.

use std::time::Duration;

use harness::lines::one_line;
use harness::machine::Guest;
use harness::{Error, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use witness::protocol::{SERVICE_PORT, ServiceAnswer};

/// Time between two requests. Nothing outside signals that a guest's network is up, so the service
/// is polled; this is also the resolution of a measured recovery time.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// How long one request may wait for its answer. A request that was sent before the network was up
/// never gets one, so later requests do not wait for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Polls the service until the bank's balances in an answer add up, or the guest dies.
///
/// # Errors
/// The guest died, or no sound answer came within `bound`.
pub async fn first_sound_answer(guest: &Guest, bound: Duration) -> Result<ServiceAnswer> {
    let port = guest.forward(SERVICE_PORT).ok_or_else(|| Error::Witness {
        machine: guest.name().to_owned(),
        what: "no loopback port is forwarded to its service".to_owned(),
    })?;
    let poll = async {
        let mut requests: JoinSet<Result<std::io::Result<ServiceAnswer>, Elapsed>> = JoinSet::new();
        let mut ticks = tokio::time::interval(POLL_EVERY);
        loop {
            tokio::select! {
                Some(Ok(Ok(Ok(answer)))) = requests.join_next() => {
                    if answer.bank.sound() {
                        return Ok(answer);
                    }
                }
                _ = ticks.tick() => {
                    requests.spawn(tokio::time::timeout(ANSWER_WITHIN, request(port)));
                }
            }
        }
    };
    guest.race("a sound answer of its service", bound, poll).await
}

async fn request(port: u16) -> std::io::Result<ServiceAnswer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"status\n").await?;
    serde_json::from_str(&one_line(stream).await?).map_err(std::io::Error::other)
}
