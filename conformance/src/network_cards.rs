//! What both tiers know about machines with two network cards (FX-65).

/// The ability to recover more than one network card of a machine, as it is shown where the core
/// does not have it.
pub const CAPABILITY: &str = "several-nics";
