//! The names of owned directories.

use std::ffi::OsStr;

/// How the name of every owned directory begins.
pub(crate) const PREFIX: &str = "roundtrip-";
/// How its name ends once it is locked. One without it is being made at this moment.
pub(crate) const SUFFIX: &str = ".owned";

/// Whether a directory of this name is one that was locked.
pub(crate) fn is_owned(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}
