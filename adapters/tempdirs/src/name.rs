//! The names of owned directories.

use std::ffi::OsStr;

/// How the name of every owned directory begins.
pub(crate) const PREFIX: &str = "roundtrip-";
/// How its name ends once it is locked. One without it is being made at this moment.
pub(crate) const SUFFIX: &str = ".owned";

/// How its name ends until then.
pub(crate) const UNFINISHED: &str = ".new";

/// Whether a directory of this name is one that was locked.
pub(crate) fn is_owned(name: &OsStr) -> bool {
    is_named(name, SUFFIX)
}

/// Whether a directory of this name was made and not locked yet.
pub(crate) fn is_unfinished(name: &OsStr) -> bool {
    is_named(name, UNFINISHED)
}

fn is_named(name: &OsStr, suffix: &str) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(suffix))
}
