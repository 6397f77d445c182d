//! The protocol with the agent inside a machine, over the machine's own network.

use std::time::Duration;

use agent::protocol::{Answer, CONTROL_PORT, Question};
use harness::lines::one_line;
use harness::machine::Guest;
use harness::{Error, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Time limit for any answer of an agent, which waits for writes in progress and for readers to
/// disconnect.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Time limit for an agent to answer after power-on.
const THERE_WITHIN: Duration = Duration::from_secs(120);
/// Time between two attempts to reach an agent. They are needed because nothing outside shows when
/// a guest's network is up.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Time limit of one attempt: one that began before the network was up is never answered.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(5);

/// Waits until the agent of `guest` answers.
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

/// Sends a question and waits for the answer, unless the guest dies first.
pub(crate) async fn ask(guest: &Guest, question: Question) -> Result<Answer> {
    let answered = async {
        let answer = exchange(port(guest)?, question.clone()).await;
        match answer.map_err(Error::file(format!("agent of {}", guest.name())))? {
            Answer::Refused { why } => Err(agent_error(guest, &format!("refused {question:?}: {why}"))),
            answer => Ok(answer),
        }
    };
    guest.race("an answer of its agent", ANSWER_WITHIN, answered).await
}

/// An error caused by an answer of the agent.
pub(crate) fn agent_error(guest: &Guest, what: &str) -> Error {
    Error::Witness { machine: guest.name().to_owned(), what: format!("its agent {what}") }
}

fn port(guest: &Guest) -> Result<u16> {
    guest
        .forward(CONTROL_PORT)
        .ok_or_else(|| agent_error(guest, "cannot be reached: its port is not forwarded"))
}

async fn exchange(port: u16, question: Question) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut line = serde_json::to_string(&question).map_err(std::io::Error::other)?;
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    serde_json::from_str(&one_line(stream).await?).map_err(std::io::Error::other)
}
