//! What is done with the messages of the peer.

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::WireError;
use crate::id::Id;
use crate::message::{self, Answer, ErrorObject, Message, Request};
use crate::peer::Service;
use crate::pending::Caller;
use crate::protocol::{
    CANCEL, Cancel, IDLE, Idle, MOST_OPEN_REQUESTS, MOST_UNKNOWN_NOTIFICATIONS, TIME, TimeIs, code,
};
use crate::shared::Shared;

/// Handles the messages of the peer.
pub(crate) struct Handler {
    pub(crate) shared: Arc<Shared>,
    pub(crate) service: Arc<dyn Service>,
    /// The runtime for the work.
    pub(crate) serve_on: Handle,
    pub(crate) received: u64,
    /// Number of unknown notifications.
    pub(crate) unknown: u64,
}

/// What a message asks for. The message itself is in order.
pub(crate) enum Work {
    /// To serve a request.
    Serve { request: Request, cancelled: oneshot::Receiver<()> },
    /// To pass an answer on.
    Deliver { caller: Option<Caller>, answer: Answer },
}

impl Handler {
    /// Handles a message at once.
    pub(crate) fn handle(&mut self, message: Message) -> Result<(), WireError> {
        if let Some(work) = self.accept(message)? {
            self.perform(work);
        }
        if let Some(observer) = &self.shared.observer {
            observer.received(self.received);
        }
        Ok(())
    }

    /// Checks a message and counts it, and returns what there is to do.
    pub(crate) fn accept(&mut self, message: Message) -> Result<Option<Work>, WireError> {
        self.received += 1;
        match message {
            Message::Request(request) => self.admit(request).map(Some),
            Message::Notification { method, params } => {
                self.notified(&method, params.as_deref())?;
                Ok(None)
            }
            Message::Answer { id: Some(id), answer } => {
                let caller = self.shared.state().calls.claim(id)?;
                Ok(Some(Work::Deliver { caller, answer }))
            }
            Message::Answer { id: None, answer } => {
                let why = answer.map_or_else(|error| error.message, |_| String::new());
                Err(WireError::Unreadable(message::shortened(&why)))
            }
        }
    }

    /// Gives a request a place among those that are served.
    fn admit(&self, request: Request) -> Result<Work, WireError> {
        let (cancel, cancelled) = oneshot::channel();
        let mut state = self.shared.state();
        if state.serving.len() >= MOST_OPEN_REQUESTS {
            return Err(WireError::TooManyRequests);
        }
        if !state.admit(&request.id, cancel) {
            return Err(WireError::IdInUse(request.id));
        }
        drop(state);
        Ok(Work::Serve { request, cancelled })
    }

    /// Does what a message asks for, or starts it.
    pub(crate) fn perform(&self, work: Work) {
        match work {
            Work::Serve { request, cancelled } => self.serve(request, cancelled),
            Work::Deliver { caller: Some(caller), answer } => {
                // The caller may have gone at this moment.
                let _ = caller.send(Ok(answer));
            }
            Work::Deliver { caller: None, .. } => {}
        }
    }

    /// Starts the work for a request.
    fn serve(&self, request: Request, mut cancelled: oneshot::Receiver<()>) {
        let mut place = Place { shared: Arc::clone(&self.shared), id: request.id.clone(), answered: false };
        let mut work = self.service.serve(request);
        let finishes = self.service.finishes_cancelled_work();
        self.serve_on.spawn(async move {
            let answer = tokio::select! {
                biased;
                answer = &mut work => answer,
                _ = &mut cancelled => {
                    if finishes {
                        tokio::spawn(work);
                    }
                    Err(ErrorObject::new(code::CANCELLED, "the request was cancelled"))
                }
            };
            place.answer(&answer);
        });
    }

    fn notified(&mut self, method: &str, params: Option<&RawValue>) -> Result<(), WireError> {
        let text = params.map_or("{}", RawValue::get);
        if method == CANCEL {
            if let Ok(Cancel { id }) = serde_json::from_str(text)
                && let Some(serving) = self.shared.state().serving.get_mut(&id)
            {
                // The place stays taken until the request is answered.
                drop(std::mem::replace(serving, oneshot::channel().0));
            }
            return Ok(());
        }
        let observer = self.shared.observer.as_ref();
        if let (IDLE, Some(observer), Ok(Idle { received })) = (method, observer, serde_json::from_str(text))
        {
            observer.idle(received);
            return Ok(());
        }
        if let (TIME, Some(observer), Ok(TimeIs { time })) = (method, observer, serde_json::from_str(text)) {
            observer.told(time);
            return Ok(());
        }
        self.unknown += 1;
        if self.unknown > MOST_UNKNOWN_NOTIFICATIONS {
            return Err(WireError::TooManyNotifications(message::shortened(method)));
        }
        Ok(())
    }
}

/// The place of a request of the peer. It is answered also if the work ends without an answer,
/// because it panicked.
struct Place {
    shared: Arc<Shared>,
    id: Id,
    answered: bool,
}

impl Place {
    fn answer(&mut self, answer: &Answer) {
        self.answered = true;
        self.shared.answer(&self.id, answer);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.answered {
            let why = "the work for this request ended without an answer";
            self.answer(&Err(ErrorObject::new(code::INTERNAL, why)));
        }
    }
}
