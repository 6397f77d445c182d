//! Reading the parameters of requests and writing their results.

use contract::{CoreError, PlatformError};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::message::{Answer, ErrorObject};
use crate::method::Method;
use crate::protocol::code;

/// Reads the parameters of a method.
pub(crate) fn params<M: Method>(raw: Option<&RawValue>) -> Result<M, ErrorObject> {
    serde_json::from_str(raw.map_or("{}", RawValue::get))
        .map_err(|error| ErrorObject::new(code::BAD_PARAMS, format!("{}: {error}", M::NAME)))
}

/// Writes a result.
pub(crate) fn result(value: &impl Serialize) -> Answer {
    serde_json::value::to_raw_value(value)
        .map_err(|error| ErrorObject::new(code::INTERNAL, format!("the result cannot be written: {error}")))
}

impl From<CoreError> for ErrorObject {
    fn from(error: CoreError) -> Self {
        Self::with_data(code::CORE, error.message.clone(), &error)
    }
}

impl From<PlatformError> for ErrorObject {
    fn from(error: PlatformError) -> Self {
        Self::with_data(code::PLATFORM, error.to_string(), &error)
    }
}
