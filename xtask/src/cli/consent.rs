//! The argument by which a user agrees to changes of the machine.

use clap::Args;

/// Consent to changes of this machine.
#[derive(Debug, Clone, Default, Args)]
pub struct Consent {
    /// Do not ask before changing this machine (also: CI=true)
    #[arg(long, short)]
    pub yes: bool,
}
