//! One example of each method, made of the contract's own types. A test compares them with the
//! schemas.
//!
//! - `core`: the calls of the suite; `platform`: the calls of a core
//! - `views`: what cores report; `example`: what an example is

mod core;
mod example;
mod platform;
mod views;

use contract::Timestamp;

use crate::protocol::{Connect, Connected, Discover, Now, SleepUntil, Time, VERSION};
use example::NOW;

pub use example::Example;

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
        now: NOW,
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
