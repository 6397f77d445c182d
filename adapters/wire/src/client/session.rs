//! What the suite serves to a core: the handshake, the platforms and the clock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use contract::{Millis, Platform, PlatformError, PlatformErrorKind, SiteId, Timestamp};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::connection::{Observer, Service};
use crate::error::WireError;
use crate::message::{Answer, ErrorObject, Request, shortened};
use crate::method::Method;
use crate::methods::{Argument, platform_methods};
use crate::protocol::{Connect, Connected, Discover, Now, SleepUntil, Time, VERSION, code, is_compatible};
use crate::serving::{params, result};

/// The clock that the suite serves to cores.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Timestamp;

    /// Waits until that time has come.
    async fn sleep_until(&self, time: Timestamp);
}

/// The host's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    async fn sleep_until(&self, time: Timestamp) {
        tokio::time::sleep(Millis(time.0.saturating_sub(self.now().0)).into()).await;
    }
}

/// What a core is opened with.
#[derive(Clone)]
pub struct Session {
    /// The sites that it replicates between.
    pub platforms: BTreeMap<SiteId, Arc<dyn Platform>>,
    /// Directory for its state. A core that is opened again on the same directory continues.
    pub state_dir: PathBuf,
    /// Id of the suite's run.
    pub run: String,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Which clock that is. A core that cannot use a virtual clock is told to use the host's.
    pub time: Time,
    /// File for what the core writes to its standard error; `None`: it is dropped.
    pub log: Option<PathBuf>,
    /// Sees the messages.
    pub observer: Option<Arc<dyn Observer>>,
}

/// How a handshake ended.
pub(crate) type Greeting = Result<(Connect, Connected), WireError>;

/// Serves a session to a core.
pub(crate) struct SuiteService {
    session: Session,
    greeting: Mutex<Option<oneshot::Sender<Greeting>>>,
}

impl SuiteService {
    pub(crate) fn new(session: Session) -> (Arc<Self>, oneshot::Receiver<Greeting>) {
        let (greeting, greeted) = oneshot::channel();
        (Arc::new(Self { session, greeting: Mutex::new(Some(greeting)) }), greeted)
    }

    /// The answer to a core's first request, and how the handshake ended.
    fn greet(&self, request: &Request) -> (Greeting, Answer) {
        let refused = |error: WireError, answer| (Err(error), Err(answer));
        if request.method != Connect::NAME {
            let text = "the first message must be suite.connect";
            let error = WireError::NotConnect { method: shortened(&request.method) };
            return refused(error, ErrorObject::new(code::NOT_CONNECTED, text));
        }
        let connect: Connect = match params(request.params.as_deref()) {
            Ok(connect) => connect,
            Err(error) => return refused(WireError::BadConnect { why: error.message.clone() }, error),
        };
        if !is_compatible(&connect.protocol) {
            let error = WireError::Version { theirs: shortened(&connect.protocol) };
            let text = format!("this suite speaks version {VERSION} of the protocol");
            return refused(error, ErrorObject::with_data(code::VERSION, text, &VERSION));
        }
        let time = if connect.time.contains(&self.session.time) { self.session.time } else { Time::System };
        let connected = Connected {
            protocol: VERSION.to_owned(),
            time,
            now: self.session.clock.now(),
            state_dir: self.session.state_dir.display().to_string(),
            sites: self.session.platforms.keys().cloned().collect(),
            run: self.session.run.clone(),
        };
        if let Some(observer) = &self.session.observer {
            observer.connected(&connected);
        }
        let answer = result(&connected);
        (Ok((connect, connected)), answer)
    }
}

impl Service for SuiteService {
    fn serve(&self, request: Request) -> BoxFuture<'static, Answer> {
        let greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(greeting) = greeting {
            let (greeted, answer) = self.greet(&request);
            // Nobody waits for it if the connection has ended.
            let _ = greeting.send(greeted);
            return std::future::ready(answer).boxed();
        }
        let session = self.session.clone();
        async move { serve(&session, &request).await }.boxed()
    }

    fn finishes_cancelled_work(&self) -> bool {
        true
    }
}

async fn serve(session: &Session, request: &Request) -> Answer {
    let raw = request.params.as_deref();
    match request.method.as_str() {
        Connect::NAME => Err(ErrorObject::new(code::NOT_CONNECTED, "the connection is open already")),
        Now::NAME => result(&session.clock.now()),
        SleepUntil::NAME => {
            session.clock.sleep_until(params::<SleepUntil>(raw)?.time).await;
            result(&())
        }
        Discover::NAME => result(&crate::openrpc::document()),
        method => {
            call_platform(session, method, raw).await.unwrap_or_else(|| Err(ErrorObject::no_method(method)))
        }
    }
}

fn site<'a>(session: &'a Session, id: &SiteId) -> Result<&'a Arc<dyn Platform>, PlatformError> {
    session.platforms.get(id).ok_or_else(|| PlatformError {
        site: id.to_string(),
        kind: PlatformErrorKind::NotFound,
        message: "there is no such site".to_owned(),
    })
}

macro_rules! call_platform {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        /// Calls a method of a platform; `None`: there is no such method.
        async fn call_platform(session: &Session, method: &str, raw: Option<&RawValue>) -> Option<Answer> {
            use crate::methods::platform;
            let answer = match method {
                $(<platform::$name::Params as Method>::NAME => async {
                    let params: platform::$name::Params = params(raw)?;
                    let site = site(session, &params.site)?;
                    let value = site.$name($(Argument::lend(&params.$argument)),*).await?;
                    result(&<platform::$name::Params as Method>::Result::from(value))
                }.await,)+
                _ => return None,
            };
            Some(answer)
        }
    };
}
platform_methods!(call_platform);
