//! The service a user of the machine would reach: asked from outside, and believed only when its answer adds up.

use std::time::Duration;

use harness::machine::Guest;
use harness::{Error, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use witness::protocol::{SERVICE_PORT, ServiceAnswer};

/// Time between two questions of the outside poller. Nothing outside tells when a guest's network is up, so it is
/// asked; this is also the grain of a measured recovery time.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long one question may wait for its answer. One that was asked before the network was up never gets one, so
/// later questions do not wait for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Asks until the guest's bank answers and its balances add up; races the guest's death.
///
/// # Errors
/// The guest died, or no sound answer came within `bound`.
pub async fn first_sound_answer(guest: &Guest, bound: Duration) -> Result<ServiceAnswer> {
    let port = guest.forward(SERVICE_PORT).ok_or_else(|| Error::Witness {
        machine: guest.name().to_owned(),
        what: "no loopback port leads to its service".to_owned(),
    })?;
    let poll = async {
        let mut questions: JoinSet<Result<std::io::Result<ServiceAnswer>, Elapsed>> = JoinSet::new();
        let mut clock = tokio::time::interval(ASK_EVERY);
        loop {
            tokio::select! {
                Some(Ok(Ok(Ok(answer)))) = questions.join_next() => {
                    if answer.bank.sound() {
                        return Ok(answer);
                    }
                }
                _ = clock.tick() => {
                    questions.spawn(tokio::time::timeout(ANSWER_WITHIN, ask(port)));
                }
            }
        }
    };
    guest.race("a sound answer of its service", bound, poll).await
}

async fn ask(port: u16) -> std::io::Result<ServiceAnswer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"status\n").await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    serde_json::from_str(&line).map_err(std::io::Error::other)
}
