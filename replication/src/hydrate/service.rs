//! The guest's settings for its services.

/// Path of the settings on the boot partition: lines of `NAME=value`, of which the last one of a
/// name counts.
pub(super) const SETTINGS: &str = "roundtrip.env";
const DHCP: &str = "DHCP";
const STARTS: &str = "yes";

/// Returns the settings with the DHCP service enabled; `None` if it is already, which is the
/// default.
pub(super) fn with_dhcp(text: &str) -> Option<String> {
    let value =
        |line: &str| line.split_once('=').filter(|(name, _)| *name == DHCP).map(|(_, v)| v.trim() == STARTS);
    if text.lines().filter_map(value).next_back() != Some(false) {
        return None;
    }
    let line = |line: &str| match value(line) {
        Some(false) => format!("{DHCP}={STARTS}\n"),
        _ => format!("{line}\n"),
    };
    Some(text.lines().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disabled_service_is_enabled_and_nothing_else_changes() {
        let off = "DHCP=no\nSSH=yes\nAGENT_VERSION=9.8\n";
        assert_eq!(with_dhcp(off).as_deref(), Some("DHCP=yes\nSSH=yes\nAGENT_VERSION=9.8\n"));
        assert_eq!(with_dhcp("DHCP=yes\nDHCP=no").as_deref(), Some("DHCP=yes\nDHCP=yes\n"));
    }

    #[test]
    fn an_enabled_service_changes_nothing() {
        for text in ["DHCP=yes\nSSH=no\n", "DHCP=no\nDHCP=yes\n", "SSH=no\n", "", "DHCPD=no\n"] {
            assert_eq!(with_dhcp(text), None, "{text:?}");
        }
    }
}
