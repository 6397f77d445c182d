//! What a method of the protocol is.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The parameters of a method, which name it and its result.
pub trait Method: Serialize + DeserializeOwned + JsonSchema + Send + Sync {
    /// Name on the wire.
    const NAME: &'static str;
    /// Whether the call may wait for something without a limit of its own.
    const WAITS: bool = false;
    /// What it returns.
    type Result: Serialize + DeserializeOwned + JsonSchema + Send;
}
