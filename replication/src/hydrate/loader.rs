//! Boot loader configurations: their paths, and how a driver is added.

/// A boot loader.
pub(super) struct Loader {
    /// Path of its configuration on the boot partition.
    pub(super) path: &'static str,
    /// Returns the configuration with an additional initial RAM disk; `None` if it is listed
    /// already.
    pub(super) add: fn(&str, &str) -> Option<String>,
}

/// Every boot loader that a machine may use.
pub(super) const ALL: [Loader; 2] = [
    // BIOS
    Loader { path: "syslinux.cfg", add: add_to_syslinux },
    // UEFI
    Loader { path: "loader/entries/roundtrip.conf", add: add_to_entry },
];

/// Path of a driver's initial RAM disk on the boot partition.
pub(super) fn driver_image(driver: &str) -> String {
    format!("/drivers/{driver}.img")
}

/// SYSLINUX lists initial RAM disks on one line, separated by commas.
fn add_to_syslinux(text: &str, image: &str) -> Option<String> {
    let is_initrd =
        |line: &str| line.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("initrd"));
    let lines = text.lines().map(|line| {
        let listed = line.split([',', ' ', '\t']).any(|word| word == image);
        if is_initrd(line) && !listed { format!("{},{image}", line.trim_end()) } else { line.to_owned() }
    });
    changed(text, lines)
}

/// A boot loader entry has one line for each initial RAM disk.
fn add_to_entry(text: &str, image: &str) -> Option<String> {
    let listed = text.lines().any(|line| line.split_whitespace().eq(["initrd", image]));
    if listed {
        return None;
    }
    let is_initrd = |line: &str| line.split_whitespace().next() == Some("initrd");
    let last = text.lines().enumerate().filter(|(_, line)| is_initrd(line)).last()?.0;
    let lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| if index == last { format!("{line}\ninitrd {image}") } else { line.to_owned() });
    changed(text, lines)
}

fn changed(text: &str, lines: impl Iterator<Item = String>) -> Option<String> {
    let new: String = lines.map(|line| line + "\n").collect();
    (new != text).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSLINUX: &str = "DEFAULT r\nLABEL r\n  KERNEL /vmlinuz\n  INITRD /initrd.img,/drivers/a.img\n";
    const ENTRY: &str = "title r\nlinux /vmlinuz\ninitrd /initrd.img\ninitrd /drivers/a.img\noptions quiet\n";

    #[test]
    fn a_missing_driver_is_added_once() {
        for (loader, text) in ALL.iter().zip([SYSLINUX, ENTRY]) {
            let added = (loader.add)(text, "/drivers/b.img");
            let added = added.as_deref().unwrap_or_default();
            assert_eq!(added.matches("/drivers/b.img").count(), 1, "{added}");
            assert_eq!((loader.add)(added, "/drivers/b.img"), None);
            assert_eq!(added.lines().filter(|line| !text.contains(line)).count(), 1, "{added}");
        }
    }

    #[test]
    fn a_driver_that_is_listed_changes_nothing() {
        for (loader, text) in ALL.iter().zip([SYSLINUX, ENTRY]) {
            assert_eq!((loader.add)(text, "/drivers/a.img"), None);
        }
    }
}
