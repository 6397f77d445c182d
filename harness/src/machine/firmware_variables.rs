//! The firmware variables of a machine with UEFI: a copy of OVMF's empty store, with a boot entry.
//!
//! The store is a firmware volume with a list of variables. An entry of `BootOrder` names a
//! variable such as `Boot0000`, which holds the path of a boot loader. The path here has no device
//! in front of it, so the firmware looks for the file on every disk.

use std::io::{self, ErrorKind};

use camino::Utf8PathBuf;

use super::{Firmware, GuestSpec};
use crate::error::{Error, Result};

/// The empty store that comes with OVMF.
pub(super) const VARIABLES_TEMPLATE: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Offset of the length of a firmware volume's header, in that header.
const VOLUME_HEADER_LENGTH_AT: usize = 48;
/// Identifies a store of variables with timestamps: AAF32C78-947B-439A-A180-2E144EC37792.
const STORE: [u8; 16] =
    [0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92];
/// Length of the store's header.
const STORE_HEADER: usize = 28;
/// Vendor of the variables that UEFI itself defines: 8BE4DF61-93CA-11D2-AA0D-00E098032B8C.
const GLOBAL: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// Begins a variable.
const BEGINS: [u8; 2] = [0xaa, 0x55];
/// State of a variable that was added as a whole.
const ADDED: u8 = 0x3f;
/// Kept over restarts, and visible before and after the start of the operating system.
const ATTRIBUTES: u32 = 7;
/// An entry that is tried.
const ACTIVE: u32 = 1;
/// Number of the entry.
const ENTRY: u16 = 0;
/// Name of the entry, which the firmware shows on the console.
const DESCRIPTION: &str = "Roundtrip";

/// Where the variables of a machine's next boot are.
pub(super) fn variables_file(spec: &GuestSpec) -> Utf8PathBuf {
    spec.dir.join("nvram.fd")
}

/// Writes the variables of a machine whose boot loader they name. libvirt copies the template for
/// every other machine.
pub(super) fn write(spec: &GuestSpec) -> Result<()> {
    let (Some(loader), Firmware::Uefi) = (&spec.boot_entry, spec.hardware.firmware) else { return Ok(()) };
    let mut store = std::fs::read(VARIABLES_TEMPLATE).map_err(Error::file(VARIABLES_TEMPLATE))?;
    add_boot_entry(&mut store, loader).map_err(Error::file(VARIABLES_TEMPLATE))?;
    let file = variables_file(spec);
    std::fs::write(&file, store).map_err(Error::file(&file))
}

/// Adds an entry for the boot loader at this path to an empty store.
fn add_boot_entry(store: &mut [u8], loader: &str) -> io::Result<()> {
    let wrong = |what| io::Error::new(ErrorKind::InvalidData, what);
    let length = store.get(VOLUME_HEADER_LENGTH_AT..VOLUME_HEADER_LENGTH_AT + 2);
    let start = length.map_or(0, |bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    if store.get(start..start + STORE.len()) != Some(&STORE) {
        return Err(wrong("this is no store of firmware variables"));
    }
    let at = start + STORE_HEADER;
    let mut variables = variable(&format!("Boot{ENTRY:04X}"), &load_option(loader));
    variables.extend(variable("BootOrder", &ENTRY.to_le_bytes()));
    let place = store.get_mut(at..at + variables.len()).ok_or_else(|| wrong("the store is too small"))?;
    if place.iter().any(|byte| *byte != 0xff) {
        return Err(wrong("the store has variables already"));
    }
    place.copy_from_slice(&variables);
    Ok(())
}

/// A variable, aligned to four bytes.
fn variable(name: &str, data: &[u8]) -> Vec<u8> {
    let name = utf16(name);
    let mut bytes = [&BEGINS[..], &[ADDED, 0], &ATTRIBUTES.to_le_bytes()].concat();
    // No count, no time and no key: only variables that are signed have them.
    bytes.extend([0; 8 + 16 + 4]);
    for length in [name.len(), data.len()] {
        bytes.extend((length as u32).to_le_bytes());
    }
    bytes.extend(GLOBAL);
    bytes.extend(name);
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0xff);
    bytes
}

/// The data of a boot entry.
fn load_option(loader: &str) -> Vec<u8> {
    const END_OF_PATH: [u8; 4] = [0x7f, 0xff, 4, 0];
    const FILE: [u8; 2] = [4, 4];
    let loader = utf16(loader);
    let mut path = FILE.to_vec();
    path.extend((4 + loader.len() as u16).to_le_bytes());
    path.extend(loader);
    path.extend(END_OF_PATH);
    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend((path.len() as u16).to_le_bytes());
    option.extend(utf16(DESCRIPTION));
    option.extend(path);
    option
}

/// UCS-2 with a final zero.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: usize = 72;

    fn empty_store() -> Vec<u8> {
        let mut store = vec![0xff; 4096];
        store[VOLUME_HEADER_LENGTH_AT..VOLUME_HEADER_LENGTH_AT + 2]
            .copy_from_slice(&(HEADER as u16).to_le_bytes());
        store[HEADER..HEADER + STORE.len()].copy_from_slice(&STORE);
        store
    }

    #[test]
    fn an_entry_and_the_order_are_added_behind_the_headers() {
        let mut store = empty_store();
        add_boot_entry(&mut store, r"\EFI\a.efi").unwrap();
        let first = &store[HEADER + STORE_HEADER..];
        assert_eq!(first[..4], [0xaa, 0x55, 0x3f, 0]);
        assert_eq!(first[36..44], [18, 0, 0, 0, 56, 0, 0, 0], "lengths of name and data");
        let data = &first[60 + 18..][..56];
        assert_eq!(data[..6], [1, 0, 0, 0, 30, 0], "active, length of the path");
        assert_eq!(data[26..30], [4, 4, 26, 0], "a file");
        let second = &first[(60 + 18 + 56_usize).next_multiple_of(4)..];
        assert_eq!(second[..2], BEGINS);
        assert_eq!(second[36..44], [20, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(second[60 + 20 + 2..], vec![0xff; second.len() - 82], "nothing else is added");
    }

    #[test]
    fn what_is_no_empty_store_is_refused() {
        let mut store = empty_store();
        add_boot_entry(&mut store, "a").unwrap();
        assert!(add_boot_entry(&mut store, "a").is_err());
        assert!(add_boot_entry(&mut [0; 64], "a").is_err());
        assert!(add_boot_entry(&mut [], "a").is_err());
        assert!(add_boot_entry(&mut empty_store()[..HEADER + STORE_HEADER + 8], "a").is_err());
    }
}
