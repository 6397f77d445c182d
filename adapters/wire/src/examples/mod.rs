//! One example of each method, made of the contract's own types. A test compares them with the
//! schemas.
//!
//! - `core`: the calls of the suite; `platform`: the calls of a core
//! - `views`: what cores report

mod core;
mod platform;
mod views;

use contract::Timestamp;
use serde_json::Value;

use crate::method::Method;
use crate::protocol::{Connect, Connected, Discover, Now, SleepUntil, Time, VERSION};

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

    fn of<M: Method>(params: &M, result: &M::Result) -> Self {
        let value = |written: serde_json::Result<Value>| written.unwrap_or_default();
        Self {
            method: M::NAME,
            params: value(serde_json::to_value(params)),
            result: value(serde_json::to_value(result)),
        }
    }
}

/// The moment of the examples: 2030-01-01 00:10.
const NOW: Timestamp = Timestamp(1_893_456_600_000);

/// One example of each method.
#[must_use]
pub fn all() -> Vec<Example> {
    let connect = Connect {
        protocol: VERSION.to_owned(),
        name: "my-core".to_owned(),
        version: "2.4".to_owned(),
        time: vec![Time::System],
    };
    let connected = Connected {
        protocol: VERSION.to_owned(),
        time: Time::System,
        state_dir: "/tmp/run/state".to_owned(),
        sites: ["primary", "recovery", "other"].map(Into::into).to_vec(),
        run: "tWBnj4t".to_owned(),
    };
    let mut all = vec![Example::of(&connect, &connected)];
    all.extend(core::all());
    all.extend(platform::all());
    all.push(Example::of(&Now {}, &NOW));
    all.push(Example::of(&SleepUntil { time: Timestamp(NOW.0 + 60_000) }, &()));
    all.push(Example::of(&Discover {}, &serde_json::json!({ "openrpc": "1.3.2" })));
    all
}
