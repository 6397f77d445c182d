//! What an example is.

use contract::Timestamp;
use serde_json::Value;

use crate::method::Method;

/// An example of a call.
#[derive(Clone, Debug)]
pub struct Example {
    /// Name of the method.
    pub method: &'static str,
    /// The parameters.
    pub params: Value,
    /// The result.
    pub result: Value,
}

impl Example {
    /// A method without an example; a test finds it.
    pub(crate) fn missing(method: &'static str) -> Self {
        Self { method, params: Value::Null, result: Value::Null }
    }

    pub(super) fn of<M: Method>(params: &M, result: &M::Result) -> Self {
        let value = |written: serde_json::Result<Value>| written.unwrap_or_default();
        Self {
            method: M::NAME,
            params: value(serde_json::to_value(params)),
            result: value(serde_json::to_value(result)),
        }
    }
}

/// The moment of the examples: 2030-01-01 00:10.
pub(super) const NOW: Timestamp = Timestamp(1_893_456_600_000);
