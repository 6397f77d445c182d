//! What a core may change in the registry of a Windows machine, and what it has to.
//!
//! The suite decides that by what the platform and the agent say about the machine and by the
//! registry of the recovery point. It reads registries with another implementation than the
//! built-in core.

use contract::GuestFacts;
use windows_volume::{Difference, Registry, StartType};

/// The capability of a core that edits registries. Without it the rules that ask for edits are
/// skipped.
pub const CAPABILITY: &str = "windows-registry";

/// What happens to VMware Tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tools {
    /// They stay as they are.
    #[default]
    Stay,
    /// They are disabled, if they are not (FO-16).
    AreDisabled,
    /// They start again, if the failover disabled them (FB-15).
    StartAgain,
}

/// What is due on a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Whether hydration is.
    pub hydration: bool,
    /// What happens to VMware Tools.
    pub tools: Tools,
}

/// Services and how they have to start after hydration (FX-70).
pub fn ready() -> impl Iterator<Item = (&'static str, StartType)> {
    let drivers = GuestFacts::CLOUD_DRIVERS.into_iter().map(|driver| (driver, StartType::BOOT));
    drivers.chain([(GuestFacts::DHCP_SERVICE, StartType::AUTOMATIC)])
}

impl Due {
    /// Nothing.
    pub const NOTHING: Self = Self { hydration: false, tools: Tools::Stay };

    /// Whether something is due in the registry.
    #[must_use]
    pub fn anything(self) -> bool {
        self.hydration || self.tools != Tools::Stay
    }

    /// HY-10: the differences between the registry of a copy and that of what it was made from that
    /// nothing asked for. A core may treat the control sets that are not current as it treats the
    /// one that is.
    #[must_use]
    pub fn unexpected(self, before: &Registry, after: &Registry) -> Vec<Difference> {
        let mut differences = after.differences(before);
        differences.retain(|difference| !self.expects(difference));
        differences
    }

    fn expects(self, difference: &Difference) -> bool {
        let Difference::Start { service, before, after, .. } = difference else { return false };
        if service.eq_ignore_ascii_case(GuestFacts::VMWARE_TOOLS) {
            return match self.tools {
                Tools::Stay => false,
                Tools::AreDisabled => *after == StartType::DISABLED,
                Tools::StartAgain => *before == StartType::DISABLED,
            };
        }
        let is_ready =
            |(known, start): (&str, StartType)| service.eq_ignore_ascii_case(known) && *after == start;
        self.hydration && ready().any(is_ready)
    }
}

/// FX-70: the services of a registry that do not start as they have to after hydration.
#[must_use]
pub fn unready(registry: &Registry) -> Vec<String> {
    let wrong = |(service, wanted): (&str, StartType)| match registry.start(service) {
        Ok(start) if start == wanted => None,
        Ok(start) => Some(format!("{service}: {start}")),
        Err(error) => Some(format!("{service}: {error}")),
    };
    ready().filter_map(wrong).collect()
}

/// Whether VMware Tools start.
#[must_use]
pub fn tools_start(registry: &Registry) -> bool {
    registry.start(GuestFacts::VMWARE_TOOLS).is_ok_and(|start| start != StartType::DISABLED)
}

#[cfg(test)]
mod tests {
    use windows_volume::{SystemHive, WindowsVolume};

    use super::*;

    fn registry(starts: &[(&str, StartType)]) -> Registry {
        let starts = starts.iter().map(|(service, start)| ((*service).to_owned(), *start)).collect();
        let volume = WindowsVolume { starts, ..WindowsVolume::default() }.bytes().unwrap();
        Registry::read(&SystemHive::find(&volume).unwrap().bytes).unwrap()
    }

    const HYDRATION: Due = Due { hydration: true, tools: Tools::Stay };

    #[test]
    fn only_what_is_due_is_expected() {
        let lacking = registry(&[("vmbus", StartType::MANUAL), ("Dhcp", StartType::DISABLED)]);
        let usual = registry(&[]);
        assert_eq!(unready(&lacking), ["vmbus: manual", "Dhcp: disabled"]);
        assert_eq!(unready(&usual), [""; 0]);
        assert_eq!(HYDRATION.unexpected(&lacking, &usual), []);
        // Both control sets.
        assert_eq!(Due::NOTHING.unexpected(&lacking, &usual).len(), 4);
        assert_eq!(HYDRATION.unexpected(&usual, &lacking).len(), 4);
    }

    #[test]
    fn tools_are_expected_to_change_in_one_direction() {
        let tools = |tools| Due { hydration: true, tools };
        let (starts, disabled) = (registry(&[]), registry(&[("VMTools", StartType::DISABLED)]));
        assert!(tools_start(&starts) && !tools_start(&disabled));
        let expected = [
            (Tools::AreDisabled, &starts, &disabled, true),
            (Tools::AreDisabled, &disabled, &starts, false),
            (Tools::StartAgain, &disabled, &starts, true),
            (Tools::StartAgain, &starts, &disabled, false),
            (Tools::Stay, &starts, &disabled, false),
            (Tools::Stay, &disabled, &starts, false),
        ];
        for (due, before, after, expected) in expected {
            assert_eq!(tools(due).unexpected(before, after).is_empty(), expected, "{due:?}");
        }
    }

    #[test]
    fn another_service_is_never_expected_to_change() {
        let other = registry(&[("EventLog", StartType::DISABLED)]);
        let all = Due { hydration: true, tools: Tools::AreDisabled };
        assert_eq!(all.unexpected(&registry(&[]), &other).len(), 2);
    }
}
