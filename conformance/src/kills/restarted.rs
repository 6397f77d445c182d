//! A core that is killed and started again, as the suite uses it.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use contract::*;
use futures_util::future::BoxFuture;
use futures_util::poll;
use tokio::sync::{mpsc, oneshot, watch};
use wire::client::{Client, CoreAddress};

use super::moments::{DOWN, Kills};
use super::platform::CountedPlatform;
use super::requests::{About, Ask, Requests};
use super::shown::{Answer, Shown};
use crate::wire_core::{self, WireParts};

/// How often other tasks run before a call that was made is sent.
const SENT_AFTER: u32 = 4;

/// A core that is killed by a schedule. Calls wait while it is down.
pub(crate) struct RestartedCore(Arc<Shared>);

struct Shared {
    address: CoreAddress,
    parts: WireParts,
    kills: Arc<Kills>,
    life: watch::Sender<Life>,
    requests: Requests,
    shown: Shown,
}

/// A process of the core.
#[derive(Clone)]
struct Life {
    /// Its number.
    number: u64,
    /// `None` from its death to the start of the next one.
    client: Option<Arc<Client>>,
}

impl RestartedCore {
    /// Opens a core.
    pub(crate) fn open(address: CoreAddress, mut parts: WireParts, kills: &Arc<Kills>) -> Arc<Self> {
        for platform in parts.platforms.values_mut() {
            let counted = CountedPlatform { platform: Arc::clone(platform), kills: Arc::clone(kills) };
            *platform = Arc::new(counted);
        }
        let first = Arc::new(wire_core::connect(&address, &parts));
        let shared = Arc::new(Shared {
            address,
            parts,
            kills: Arc::clone(kills),
            life: watch::Sender::new(Life { number: 1, client: Some(first) }),
            requests: Requests::default(),
            shown: Shown::default(),
        });
        tokio::spawn(restart(Arc::downgrade(&shared), kills.reaper()));
        Arc::new(Self(shared))
    }

    /// The core with the number of its process, once it runs.
    async fn running(&self) -> (u64, Arc<Client>) {
        let mut lives = self.0.life.subscribe();
        loop {
            let life = lives.borrow_and_update().clone();
            match life.client {
                Some(client) => return (life.number, client),
                // The sender lives as long as `self`.
                None => drop(lives.changed().await),
            }
        }
    }

    /// Waits for the answer to a call; `None`: the core was killed before.
    async fn answer<T: Answer>(
        &self,
        life: u64,
        client: &Client,
        mut call: BoxFuture<'_, Result<T, CoreError>>,
    ) -> Option<Result<T, CoreError>> {
        // Until then nothing is sent.
        let _ = client.handshake().await;
        let ready = poll!(&mut call);
        for _ in 0..SENT_AFTER {
            tokio::task::yield_now().await;
        }
        self.0.kills.moment().await;
        let answer = match ready {
            std::task::Poll::Ready(answer) => answer,
            std::task::Poll::Pending => call.await,
        };
        if answer.as_ref().is_err_and(|error| error.code == ErrorCode::Protocol) && !self.is_current(life) {
            return None;
        }
        if self.0.kills.moment().await {
            // The core has done it, and the answer is lost.
            return None;
        }
        if let Ok(answer) = &answer {
            answer.note(&self.0.shown);
        }
        Some(answer)
    }

    fn is_current(&self, life: u64) -> bool {
        let now = self.0.life.borrow();
        now.number == life && now.client.is_some()
    }

    /// Asks for a job. If the answer is lost, the job is looked for, and only if there is none the
    /// request is sent again.
    async fn start_job(&self, subject: JobSubject, ask: Ask) -> Result<JobId, CoreError> {
        let mut cannot_look = None;
        loop {
            let (life, client) = self.running().await;
            if let Some(answer) = self.answer(life, &client, ask(Arc::clone(&client))).await {
                if let (Err(error), Some(why)) = (&answer, &cannot_look) {
                    let undecided = format!(
                        "the answer to a request about {subject} was lost, {why}, and the same request is \
                         refused: {error}"
                    );
                    self.0.kills.cannot_tell(undecided);
                }
                return answer.inspect(|job| self.0.requests.started(job, ask));
            }
            match self.look_for(&subject).await {
                Ok(Some(job)) => {
                    self.0.requests.started(&job, ask);
                    // It was at work when the core was killed.
                    self.0.requests.interrupt();
                    return Ok(job);
                }
                Ok(None) => {}
                Err(error) if error.code == ErrorCode::NotSupported => {
                    cannot_look = Some("the core lists no jobs");
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn look_for(&self, subject: &JobSubject) -> Result<Option<JobId>, CoreError> {
        loop {
            let (life, client) = self.running().await;
            let found = self.0.requests.accepted(&client, subject).await;
            if found.is_ok() || self.is_current(life) {
                return found;
            }
        }
    }

    /// The view of a job, or of the one that replaces it because a kill made it fail.
    async fn job_view(
        &self,
        job: &JobId,
        view: impl for<'a> Fn(&'a Client, &'a JobId) -> BoxFuture<'a, Result<JobView, CoreError>> + Send + Sync,
    ) -> Result<JobView, CoreError> {
        loop {
            let job = self.0.requests.current(job);
            let (life, client) = self.running().await;
            let Some(answer) = self.answer(life, &client, view(&client, &job)).await else { continue };
            let shown = answer?;
            let Some(ask) = self.0.requests.to_repeat(&shown) else {
                if shown.state.ended() {
                    self.0.requests.has_ended(&job);
                }
                return Ok(shown);
            };
            self.0.requests.has_ended(&job);
            self.0.kills.repeats_a_job();
            let again = self.start_job(shown.subject.clone(), Arc::clone(&ask)).await?;
            self.0.requests.replace(&job, &again, ask);
        }
    }
}

/// Kills and restarts the core whenever it is asked to.
async fn restart(shared: Weak<Shared>, mut strikes: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    while let Some(dead) = strikes.recv().await {
        let Some(shared) = shared.upgrade() else { return };
        let Life { number, client } = shared.life.borrow().clone();
        shared.life.send_replace(Life { number, client: None });
        let clock = wire_core::clock(&shared.parts);
        if let Some(client) = client {
            let hold = wire_core::hold_time(&shared.parts);
            shared.requests.interrupt();
            client.kill().await;
            drop(hold);
        }
        // Nobody may be left who waits for it.
        let _ = dead.send(());
        let now = clock.now();
        clock.sleep_until(Timestamp(now.0 + DOWN.0)).await;
        let next = Arc::new(wire_core::connect(&shared.address, &shared.parts));
        shared.shown.compare(&next, &shared.requests, &shared.kills).await;
        shared.life.send_replace(Life { number: number + 1, client: Some(next) });
    }
}

macro_rules! asks {
    ($self:ident, [JobId] $name:ident($first:ident $(, $other:ident)*)) => {{
        let subject = $first.subject();
        let arguments = ($first.clone(), $($other.clone()),*);
        let ask: Ask = Arc::new(move |client: Arc<Client>| {
            let ($first, $($other),*) = arguments.clone();
            Box::pin(async move { client.$name(&$first $(, &$other)*).await })
        });
        $self.start_job(subject, ask).await
    }};
    ($self:ident, [JobView] $name:ident($job:ident $(, $after:ident)?)) => {
        $self.job_view($job, move |client, job| client.$name(job $(, $after)?)).await
    };
    // A change that was made before its answer was lost is refused when it is asked for again.
    ($self:ident, [()] $name:ident($($argument:ident),*)) => {{
        let mut repeated = false;
        loop {
            let (life, client) = $self.running().await;
            match $self.answer(life, &client, client.$name($($argument),*)).await {
                Some(Err(error)) if repeated && error.code != ErrorCode::Protocol => break Ok(()),
                Some(answer) => break answer,
                None => repeated = true,
            }
        }
    }};
    ($self:ident, [$($result:tt)+] $name:ident($($argument:ident),*)) => {
        loop {
            let (life, client) = $self.running().await;
            if let Some(answer) = $self.answer(life, &client, client.$name($($argument),*)).await {
                break answer;
            }
        }
    };
}

macro_rules! restarted {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        #[async_trait]
        impl ReplicationCore for RestartedCore {$(
            async fn $name(&self, $($argument: $($type)+),*) -> Result<$($result)+, CoreError> {
                asks!(self, [$($result)+] $name($($argument),*))
            }
        )+}
    };
}
wire::core_methods!(restarted);
