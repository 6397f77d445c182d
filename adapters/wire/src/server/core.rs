//! Calls of the suite to a core.

use std::sync::Arc;

use contract::ReplicationCore;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::connection::Service;
use crate::message::{Answer, ErrorObject, Request};
use crate::method::Method;
use crate::methods::{Argument, core_methods};
use crate::protocol::{Discover, code};
use crate::serving::{params, result};

type Core = Arc<dyn ReplicationCore>;

/// Serves a core, once it is open.
pub(super) struct CoreService {
    core: watch::Receiver<Option<Core>>,
}

impl CoreService {
    /// A service, and where to put the core.
    pub(super) fn new() -> (Arc<Self>, watch::Sender<Option<Core>>) {
        let (open, core) = watch::channel(None);
        (Arc::new(Self { core }), open)
    }
}

impl Service for CoreService {
    fn serve(&self, request: Request) -> BoxFuture<'static, Answer> {
        let mut core = self.core.clone();
        async move {
            let core = core.wait_for(Option::is_some).await.ok().and_then(|core| core.clone());
            let core = core.ok_or_else(|| ErrorObject::new(code::INTERNAL, "the core was not opened"))?;
            let raw = request.params.as_deref();
            match request.method.as_str() {
                Discover::NAME => result(&crate::openrpc::document()),
                method => {
                    let answer = call_core(&*core, method, raw).await;
                    answer.unwrap_or_else(|| Err(ErrorObject::no_method(method)))
                }
            }
        }
        .boxed()
    }

    fn finishes_cancelled_work(&self) -> bool {
        // A call of a core returns at once or waits; what it started goes on as a job.
        false
    }
}

macro_rules! call_core {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        /// Calls a method of a core; `None`: there is no such method.
        async fn call_core(core: &dyn ReplicationCore, method: &str, raw: Option<&RawValue>) -> Option<Answer> {
            use crate::methods::core as calls;
            let answer = match method {
                $(<calls::$name::Params as Method>::NAME => async {
                    let params: calls::$name::Params = params(raw)?;
                    // Some methods have no parameters.
                    let _ = &params;
                    let value = core.$name($(Argument::lend(&params.$argument)),*).await?;
                    result(&<calls::$name::Params as Method>::Result::from(value))
                }.await,)+
                _ => return None,
            };
            Some(answer)
        }
    };
}
core_methods!(call_core);
