//! Faults of a core that decides wrongly where the built-in core asks its hook.

use contract::{MachineSpec, Network, NicSpec};

use crate::core_under_test::{BootEntries, Extent, FaultHook, Merging, Periods};

/// Gives new machines less than they need to find their boot loader.
pub(super) struct LosesLoader(pub(super) BootEntries);

impl FaultHook for LosesLoader {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn boot_entries(&self) -> BootEntries {
        self.0
    }
}

/// Thins points out by periods that move with the present.
pub(super) struct DriftingPeriods;

impl FaultHook for DriftingPeriods {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn merging(&self) -> Merging {
        Merging { batch: 1, periods: Periods::FromNow, ..Merging::default() }
    }
}

/// Makes machines with other network cards than they are to have.
pub(super) struct ConfusesCards(pub(super) fn(&mut MachineSpec));

impl FaultHook for ConfusesCards {
    fn pass(&self, _batch: u64, _extent: &mut Extent) -> bool {
        true
    }

    fn shape(&self, spec: &mut MachineSpec) {
        (self.0)(spec);
    }
}

/// Makes machines with their first network card only.
pub(super) fn lose_second_card(spec: &mut MachineSpec) {
    spec.more_nics.clear();
}

/// Puts each of two network cards where the other one belongs.
pub(super) fn swap_cards(spec: &mut MachineSpec) {
    if let [second] = spec.more_nics.as_mut_slice() {
        std::mem::swap(&mut spec.network, &mut second.network);
        std::mem::swap(&mut spec.placement.subnet, &mut second.subnet);
        std::mem::swap(&mut spec.placement.address, &mut second.address);
    }
}

/// Puts further network cards into the production network, wherever the first one is.
pub(super) fn leave_second_card_in_production(spec: &mut MachineSpec) {
    for nic in spec.more_nics.iter_mut().filter(|nic| nic.network == Network::Isolated) {
        *nic = NicSpec::default();
    }
}
