//! Reading the messages of earlier versions.

use serde_json::Value;

use crate::method::Method;
use crate::methods::{self, core_methods, platform_methods};
use crate::protocol::{Connect, Discover, Now, SleepUntil};

/// Reads the parameters and the result of a call as both sides do; `None`: there is no such method.
///
/// # Errors
/// They do not fit the method.
#[must_use]
pub fn read(method: &str, params: &Value, result: &Value) -> Option<Result<(), serde_json::Error>> {
    match method {
        Connect::NAME => Some(read_as::<Connect>(params, result)),
        Discover::NAME => Some(read_as::<Discover>(params, result)),
        Now::NAME => Some(read_as::<Now>(params, result)),
        SleepUntil::NAME => Some(read_as::<SleepUntil>(params, result)),
        method => read_core(method, params, result).or_else(|| read_platform(method, params, result)),
    }
}

fn read_as<M: Method>(params: &Value, result: &Value) -> Result<(), serde_json::Error> {
    serde_json::from_value::<M>(params.clone())?;
    serde_json::from_value::<M::Result>(result.clone()).map(drop)
}

macro_rules! read_core {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        fn read_core(method: &str, params: &Value, result: &Value) -> Option<Result<(), serde_json::Error>> {
            match method {
                $(<methods::core::$name::Params as Method>::NAME => {
                    Some(read_as::<methods::core::$name::Params>(params, result))
                })+
                _ => None,
            }
        }
    };
}
core_methods!(read_core);

macro_rules! read_platform {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        fn read_platform(method: &str, params: &Value, result: &Value) -> Option<Result<(), serde_json::Error>> {
            match method {
                $(<methods::platform::$name::Params as Method>::NAME => {
                    Some(read_as::<methods::platform::$name::Params>(params, result))
                })+
                _ => None,
            }
        }
    };
}
platform_methods!(read_platform);
