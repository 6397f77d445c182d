//! Names of edges.

use std::fmt;

/// Name of an edge, together with the bound on its recovery time.
///
/// The name is the key of the edge in the evidence folder, the trace, `results.json` and
/// `--mutant NAME@EDGE`. A script lists the names of its edges as values of this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EdgeName {
    text: &'static str,
    bound_in_boots: u32,
}

impl EdgeName {
    /// An edge whose recovery time should not exceed `bound_in_boots` cold boots of the guest. The
    /// bound reveals regressions; it is not a target.
    pub(crate) const fn new(text: &'static str, bound_in_boots: u32) -> Self {
        Self { text, bound_in_boots }
    }

    /// The name alone.
    pub(crate) const fn as_str(self) -> &'static str {
        self.text
    }

    /// The longest acceptable recovery time, in cold boots.
    pub(crate) const fn bound_in_boots(self) -> u32 {
        self.bound_in_boots
    }
}

impl fmt::Display for EdgeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}
