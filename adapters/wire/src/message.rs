//! Messages of JSON-RPC 2.0: one JSON object a line.

use std::borrow::Cow;

use serde::de::Deserializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::code;
use crate::id::Id;

/// A line that is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// It is not UTF-8.
    #[error("a line is not UTF-8")]
    NotUtf8,
    /// It is not JSON.
    #[error("a line is not JSON ({why}): {start}")]
    NotJson {
        /// What the parser says.
        why: String,
        /// The start of the line.
        start: String,
    },
    /// It is JSON, but no message of JSON-RPC 2.0; batches are none either.
    #[error("a line is not a message of JSON-RPC 2.0: {start}")]
    NotAMessage {
        /// The start of the line.
        start: String,
    },
}

/// The error of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorObject {
    /// One of [`code`], or any other number.
    pub code: i64,
    /// What went wrong.
    pub message: String,
    /// Details, for the codes that have some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl ErrorObject {
    /// An error without details.
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// An error with details.
    pub(crate) fn with_data(code: i64, message: impl Into<String>, data: &impl Serialize) -> Self {
        Self { data: serde_json::to_value(data).ok(), ..Self::new(code, message) }
    }

    /// There is no such method.
    pub(crate) fn no_method(method: &str) -> Self {
        Self::new(code::NO_METHOD, format!("there is no method {}", shortened(method)))
    }
}

/// The result of a request, or its error.
pub type Answer = Result<Box<RawValue>, ErrorObject>;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its id.
    pub id: Id,
    /// The method.
    pub method: String,
    /// The parameters.
    pub params: Option<Box<RawValue>>,
}

/// A message that was received.
#[derive(Debug)]
pub(crate) enum Message {
    Request(Request),
    Notification {
        method: String,
        params: Option<Box<RawValue>>,
    },
    /// An answer; the id is missing if the peer could not read ours.
    Answer {
        id: Option<Id>,
        answer: Answer,
    },
}

/// Every member that a message can have.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    id: Option<Id>,
    method: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    error: Option<ErrorObject>,
}

/// `null` is a value of its own and not the same as a missing member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Message {
    /// Reads a line.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, BadMessage> {
        let text = std::str::from_utf8(line).map_err(|_| BadMessage::NotUtf8)?;
        let envelope: Envelope<'_> = match serde_json::from_str(text) {
            // serde would also read the members of a struct from an array.
            Ok(envelope) if text.trim_start().starts_with('{') => envelope,
            Err(error) if !error.is_data() => {
                return Err(BadMessage::NotJson { why: error.to_string(), start: shortened(text) });
            }
            _ => return Err(BadMessage::NotAMessage { start: shortened(text) }),
        };
        let own = |raw: Option<&RawValue>| raw.map(ToOwned::to_owned);
        let Envelope { jsonrpc, id, method, params, result, error } = envelope;
        match (jsonrpc.as_deref(), method, id, result, error) {
            (Some("2.0"), Some(method), Some(id), None, None) => {
                Ok(Self::Request(Request { id, method, params: own(params) }))
            }
            (Some("2.0"), Some(method), None, None, None) => {
                Ok(Self::Notification { method, params: own(params) })
            }
            (Some("2.0"), None, id @ Some(_), Some(result), None) => {
                Ok(Self::Answer { id, answer: Ok(result.to_owned()) })
            }
            (Some("2.0"), None, id, None, Some(error)) => Ok(Self::Answer { id, answer: Err(error) }),
            _ => Err(BadMessage::NotAMessage { start: shortened(text) }),
        }
    }
}

/// The first part of a text, for error messages of one line.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    let visible = |char: char| if char.is_control() { '\u{fffd}' } else { char };
    let mut start: String = text.chars().take(MOST).map(visible).collect();
    if text.chars().nth(MOST).is_some() {
        start.push('…');
    }
    start
}

#[derive(Serialize)]
struct Call<'a, P> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    method: &'a str,
    params: P,
}

#[derive(Serialize)]
struct Reply<'a> {
    jsonrpc: &'static str,
    id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ErrorObject>,
}

/// The line of a request, or of a notification if there is no id.
pub(crate) fn call_line(
    id: Option<u64>,
    method: &str,
    params: &impl Serialize,
) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Call { jsonrpc: "2.0", id, method, params })
}

/// The line of an answer.
pub(crate) fn answer_line(id: &Id, answer: &Answer) -> Result<String, serde_json::Error> {
    let result = answer.as_ref().ok().map(|raw| &**raw);
    serde_json::to_string(&Reply { jsonrpc: "2.0", id, result, error: answer.as_ref().err() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> String {
        match Message::parse(text.as_bytes()) {
            Ok(Message::Request(request)) => format!("request {} {}", request.id, request.method),
            Ok(Message::Notification { method, .. }) => format!("notification {method}"),
            Ok(Message::Answer { id, answer: Ok(result) }) => format!("{id:?} {}", result.get()),
            Ok(Message::Answer { answer: Err(error), .. }) => format!("error {}", error.code),
            Err(BadMessage::NotJson { .. }) => "not JSON".to_owned(),
            Err(_) => "no message".to_owned(),
        }
    }

    #[test]
    fn each_kind_of_message_is_recognised() {
        for (text, kind) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#, "request 1 a"),
            (r#"{"jsonrpc":"2.0","id":"x","method":"a","params":{"b":1}}"#, "request \"x\" a"),
            (r#"{"jsonrpc":"2.0","method":"a","params":{}}"#, "notification a"),
            (r#"{"jsonrpc":"2.0","id":1.5,"result":null}"#, "Some(Number(Number(1.5))) null"),
            (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":""}}"#, "error -1"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "no message"),
            (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":""}}"#, "no message"),
            (r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#, "no message"),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"a"}]"#, "no message"),
            (r#"["2.0",1,"a"]"#, "no message"),
            ("", "not JSON"),
            (r#"{"jsonrpc":"2.0","id":"#, "not JSON"),
        ] {
            assert_eq!(parse(text), kind, "{text}");
        }
    }
}
