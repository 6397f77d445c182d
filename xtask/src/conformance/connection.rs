//! The libvirt that a run uses: it must be the one of this machine.

use anyhow::Result;

use crate::error::usage;

/// Transports of a libvirt URI that stay on this machine; the first is that of a URI that names
/// none.
const LOCAL: [&str; 2] = ["", "unix"];

/// Refuses the URI of a libvirt on another machine.
pub fn require_local(uri: &str) -> Result<()> {
    if is_local(uri) {
        return Ok(());
    }
    Err(usage(format!(
        "--connect {uri} names a libvirt on another machine. The suite reads write logs, disks and the sockets of \
         NBD and of the guests as files of this machine: run it over there, with --connect qemu:///system."
    )))
}

/// Whether a libvirt URI has neither a host nor a transport to one.
fn is_local(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else { return true };
    let transport = scheme.split_once('+').map_or("", |(_, transport)| transport);
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    host.is_empty() && LOCAL.contains(&transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_libvirt_on_another_machine_is_refused_in_one_line_that_says_why() {
        for uri in [
            "qemu+ssh://root@there/system",
            "qemu+ssh:///system",
            "qemu+libssh2://there/system",
            "qemu+tls://there/system",
            "qemu+tcp://there:16509/system",
            "qemu+ext:///system?command=/bin/nc",
            "qemu://there/system",
        ] {
            let error = require_local(uri).expect_err(uri);
            let line = error.to_string();
            assert_eq!(crate::error::code_of(&error), crate::error::USAGE, "{uri}");
            assert!(line.contains(uri) && line.contains("write logs") && line.lines().count() == 1, "{line}");
        }
    }

    #[test]
    fn every_way_to_name_the_libvirt_of_this_machine_is_accepted() {
        for uri in [
            "qemu:///system",
            "qemu:///session",
            "qemu+unix:///system",
            "qemu+unix:///system?socket=/run/libvirt/libvirt-sock",
            "qemu:///system?socket=/run/user/1000/libvirt/libvirt-sock",
            "test:///default",
            "",
        ] {
            assert!(require_local(uri).is_ok(), "{uri}");
        }
    }
}
