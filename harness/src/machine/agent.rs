//! The guest agent of QEMU inside a guest: whether it is connected, and commands to it.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::{broadcast, watch};
use virt::domain::Domain;

use crate::Result;
use crate::host::blocking;
use crate::qmp::Monitor;

/// Alias of the agent's channel, by which QEMU's events name it.
pub(crate) const CHANNEL: &str = "ua-guest-agent";
/// How long libvirt waits for an answer of the agent, in seconds.
const ANSWER_WITHIN: i32 = 10;
/// Pause between two questions to an agent that has connected. libvirt notices the connection by
/// itself, announces it to nobody who runs no event loop of libvirt, and refuses until then.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The guest agent of one guest.
#[derive(Debug)]
pub(crate) struct GuestAgent {
    domain: Domain,
    connected: watch::Receiver<bool>,
}

impl GuestAgent {
    /// Follows the connection of the agent from now on. Call this before the guest has booted.
    pub(crate) fn follow(domain: Domain, monitor: &Monitor) -> Self {
        let (sender, connected) = watch::channel(false);
        let mut events = monitor.events();
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => {
                        if let Some(open) = opened(&event) {
                            sender.send_replace(open);
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        Self { domain, connected }
    }

    /// Returns once the agent has connected and answers.
    ///
    /// # Errors
    /// Nobody can ask it any more: libvirt has ended.
    pub(crate) async fn until_it_answers(&self) -> Result<()> {
        let mut connected = self.connected.clone();
        if connected.wait_for(|connected| *connected).await.is_err() {
            // The guest has ended, of which the caller learns elsewhere.
            std::future::pending::<()>().await;
        }
        while self.ask(r#"{"execute":"guest-ping"}"#).await.is_err() {
            // libvirt answers this of any guest, also of one whose agent it does not reach.
            let domain = self.domain.clone();
            blocking("ask for a domain's state", move || domain.is_active()).await?;
            tokio::time::sleep(ASK_AGAIN_AFTER).await;
        }
        Ok(())
    }

    /// Runs a command and returns its answer as JSON text.
    pub(crate) async fn ask(&self, command: &str) -> Result<String> {
        let (domain, text) = (self.domain.clone(), command.to_owned());
        let ask = move || domain.qemu_agent_command(&text, ANSWER_WITHIN, 0);
        blocking(format!("guest agent: {command}"), ask).await
    }
}

/// Whether the event says that the agent has opened its port, or closed it.
fn opened(event: &Value) -> Option<bool> {
    let of_agent = event["event"] == "VSERPORT_CHANGE" && event["data"]["id"] == CHANNEL;
    of_agent.then(|| event["data"]["open"] == true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_events_of_its_own_port_concern_the_agent() {
        let event = |id: &str, open| json!({"event": "VSERPORT_CHANGE", "data": {"id": id, "open": open}});
        assert_eq!(opened(&event(CHANNEL, true)), Some(true));
        assert_eq!(opened(&event(CHANNEL, false)), Some(false));
        assert_eq!(opened(&event("channel0", true)), None);
        assert_eq!(opened(&json!({"event": "RESUME"})), None);
    }
}
