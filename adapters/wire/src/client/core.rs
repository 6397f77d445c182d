//! A connection to a core as a `ReplicationCore`.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use contract::*;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::client::address::CoreAddress;
use crate::client::opening::{self, OpenCore};
use crate::client::process::CoreProcess;
use crate::client::runtime;
use crate::client::session::Session;
use crate::connection::CallError;
use crate::error::WireError;
use crate::message::ErrorObject;
use crate::method::Method;
use crate::methods::{self, Argument, core_methods};
use crate::protocol::{Connect, Connected, code};

/// A core behind a connection. When it is dropped, the connection is closed and the process that
/// was started for it is killed, with its whole process group.
pub struct Client {
    opening: watch::Receiver<Option<Result<OpenCore, WireError>>>,
    process: Mutex<ProcessHandle>,
}

/// The process of a core, once it is known.
#[derive(Default)]
struct ProcessHandle {
    starting: Option<oneshot::Receiver<CoreProcess>>,
    process: Option<CoreProcess>,
}

impl Client {
    /// Starts to open a core and returns at once; calls wait until it is open. The work for the
    /// core's requests runs on the current runtime.
    ///
    /// # Panics
    /// There is no tokio runtime.
    #[must_use]
    pub fn open(address: CoreAddress, session: Session) -> Self {
        let serve_on = Handle::current();
        let (open, opening) = watch::channel(None);
        let (start, starting) = oneshot::channel();
        let observer = session.observer.clone();
        let never_made = move || {
            if let Some(observer) = observer {
                observer.ended();
            }
        };
        match runtime::handle() {
            Ok(runtime) => drop(runtime.spawn(async move {
                // A client that is dropped ends the opening, and with it the process.
                let unwanted = open.clone();
                tokio::select! {
                    core = opening::open(&address, session, serve_on, start) => {
                        let failed = core.is_err();
                        open.send_replace(Some(core));
                        if failed {
                            never_made();
                        }
                    }
                    () = unwanted.closed() => never_made(),
                }
            })),
            Err(error) => {
                open.send_replace(Some(Err(error)));
                never_made();
            }
        }
        let process = ProcessHandle { starting: Some(starting), ..ProcessHandle::default() };
        Self { opening, process: Mutex::new(process) }
    }

    /// Starts to open a core at the other end of two streams, all on the current runtime.
    ///
    /// # Panics
    /// There is no tokio runtime.
    #[must_use]
    pub fn over(
        from: impl AsyncRead + Send + Unpin + 'static,
        to: impl AsyncWrite + Send + Unpin + 'static,
        session: Session,
    ) -> Self {
        let (open, opening) = watch::channel(None);
        tokio::spawn(async move {
            let core = opening::over(from, to, session).await;
            open.send_replace(Some(core));
        });
        Self { opening, process: Mutex::default() }
    }

    /// Waits until the core is open, and returns the two messages of the handshake.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn handshake(&self) -> Result<(Connect, Connected), WireError> {
        let open = self.opened().await?;
        Ok((open.connect, open.connected))
    }

    /// Kills the core's process group with SIGKILL and waits until it is gone. A core that was not
    /// started by the suite only loses its connection.
    pub async fn kill(&self) {
        let process = self.process();
        if let Some(process) = process {
            process.kill();
            process.ended().await;
        }
        if let Ok(open) = self.opened().await {
            open.connection.end(WireError::Ended);
        }
    }

    /// Why the connection has ended or was never made, if so.
    #[must_use]
    pub fn failure(&self) -> Option<WireError> {
        match &*self.opening.borrow() {
            None => None,
            Some(Ok(open)) => open.connection.has_ended(),
            Some(Err(error)) => Some(error.clone()),
        }
    }

    fn process(&self) -> Option<CoreProcess> {
        let mut handle = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(starting) = &mut handle.starting
            && let Ok(process) = starting.try_recv()
        {
            handle.process = Some(process);
        }
        handle.process.clone()
    }

    async fn opened(&self) -> Result<OpenCore, WireError> {
        let mut opening = self.opening.clone();
        let opened = opening.wait_for(Option::is_some).await;
        opened.ok().and_then(|core| core.clone()).unwrap_or(Err(WireError::Ended))
    }

    async fn call<M: Method>(&self, params: &M) -> Result<M::Result, CoreError> {
        let broken = |error: WireError| CoreError::new(ErrorCode::Protocol, format!("{}: {error}", M::NAME));
        let open = self.opened().await.map_err(broken)?;
        open.connection.call(params).await.map_err(|error| match error {
            CallError::Connection(error) => broken(error),
            CallError::Refused(error) => refusal(M::NAME, error),
            CallError::BadResult { .. } => CoreError::new(ErrorCode::Protocol, error.to_string()),
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(process) = self.process() {
            process.kill();
        }
    }
}

/// The error of the contract that an answer carries. A method that a core does not have is one that
/// it does not support.
fn refusal(method: &str, error: ErrorObject) -> CoreError {
    let ErrorObject { code, message, data } = error;
    let bad = |why: String| CoreError::new(ErrorCode::Protocol, format!("{method}: {why}"));
    match code {
        code::CORE => match serde_json::from_value(data.unwrap_or_default()) {
            Ok(error) => error,
            Err(why) => bad(format!("the data of the error {message:?} is no CoreError: {why}")),
        },
        code::NO_METHOD => CoreError::new(ErrorCode::NotSupported, format!("{method}: {message}")),
        code::BAD_PARAMS => CoreError::new(ErrorCode::BadRequest, format!("{method}: {message}")),
        _ => bad(format!("the core answered with error {code}: {message}")),
    }
}

macro_rules! client {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        #[async_trait]
        impl ReplicationCore for Client {$(
            async fn $name(&self, $($argument: $($type)+),*) -> Result<$($result)+, CoreError> {
                let params = methods::core::$name::Params { $($argument: Argument::own($argument)),* };
                self.call(&params).await.map(Into::into)
            }
        )+}
    };
}
core_methods!(client);
