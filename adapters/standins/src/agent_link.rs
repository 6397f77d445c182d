//! The conversation with the agent inside a machine, over the machine's own network.

use std::time::Duration;

use agent::protocol::{Answer, CONTROL_PORT, Question};
use harness::machine::Guest;
use harness::{Error, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long an agent may take to answer anything: it waits for writes under way and for readers to let go.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long an agent may take to be there after power-on.
const THERE_WITHIN: Duration = Duration::from_secs(120);
/// Time between two attempts to reach an agent. Nothing outside tells when a guest's network is up, so it is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long one attempt waits: one that was begun before the network was up never gets an answer.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(5);

/// Returns once the agent of `guest` answers.
pub(crate) async fn reach(guest: &Guest) -> Result<()> {
    let attempts = async {
        let mut attempts: JoinSet<Option<Answer>> = JoinSet::new();
        let port = port(guest)?;
        let mut clock = tokio::time::interval(ASK_EVERY);
        loop {
            tokio::select! {
                Some(Ok(Some(_))) = attempts.join_next() => return Ok(()),
                _ = clock.tick() => {
                    let attempt = tokio::time::timeout(ATTEMPT_WITHIN, exchange(port, Question::Hello));
                    attempts.spawn(async { attempt.await.ok()?.ok() });
                }
            }
        }
    };
    guest.race("an answer of its agent", THERE_WITHIN, attempts).await
}

/// Asks one question. Races the guest's death.
pub(crate) async fn ask(guest: &Guest, question: Question) -> Result<Answer> {
    let answered = async {
        let answer = exchange(port(guest)?, question.clone()).await;
        match answer.map_err(Error::file(format!("agent of {}", guest.name())))? {
            Answer::Refused { why } => Err(trouble(guest, &format!("refused {question:?}: {why}"))),
            answer => Ok(answer),
        }
    };
    guest.race("an answer of its agent", ANSWER_WITHIN, answered).await
}

/// Something that an agent should not have said.
pub(crate) fn trouble(guest: &Guest, what: &str) -> Error {
    Error::Witness { machine: guest.name().to_owned(), what: format!("its agent {what}") }
}

fn port(guest: &Guest) -> Result<u16> {
    guest.forward(CONTROL_PORT).ok_or_else(|| trouble(guest, "has no loopback port that leads to it"))
}

async fn exchange(port: u16, question: Question) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut line = serde_json::to_string(&question).map_err(std::io::Error::other)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    line.clear();
    BufReader::new(stream).read_line(&mut line).await?;
    serde_json::from_str(&line).map_err(std::io::Error::other)
}
