//! The service a user of the machine would reach: asked from outside, and believed only when its answer adds up.

use std::time::Duration;

use harness::machine::Guest;
use harness::{Error, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use witness::protocol::{SERVICE_PORT, ServiceAnswer};

/// Pause between two questions of the outside poller. Nothing outside tells when a guest's network is up, so it
/// is asked for; this is also the grain of a measured recovery time.
const POLL_EVERY: Duration = Duration::from_millis(25);
/// How long one question may take.
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
        loop {
            if let Ok(Ok(answer)) = tokio::time::timeout(ANSWER_WITHIN, ask(port)).await
                && answer.bank.sound()
            {
                return Ok(answer);
            }
            tokio::time::sleep(POLL_EVERY).await;
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
