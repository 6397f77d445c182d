//! All disks of one machine.

use images::shape::Shape;
use witness::ledger_scan;
use witness::protocol::LedgerFinding;

use super::disk_copies::data_bytes;
use super::{CheckError, Damage, DiskCopies, DiskLayout, Part, read_contents, recover};
use crate::oracle::SectorSource;

/// Checks copies of the disks of a machine, each with its name in results. `None`: the machine
/// would boot and find its ledger complete up to its last record, and its bank sound. Disks that
/// the workload does not know are not checked, nor are file systems other than ext4, which only the
/// guest itself reads.
///
/// # Errors
/// A disk cannot be checked here.
pub fn check_machine(
    disks: &[(&str, &dyn SectorSource)],
    shape: &Shape,
) -> Result<Option<Damage>, CheckError> {
    let mut ledgers = Vec::new();
    for (name, disk) in disks {
        let Some(layout) = DiskLayout::named(name, shape) else { continue };
        if disk.bytes() < layout.file_system.end {
            let words = format!("disk {name} ends before its file system does");
            return Ok(Some(Damage::new(Part::FileSystem, words)));
        }
        let named = |mut damage: Damage| {
            damage.words = format!("disk {name}: {}", damage.words);
            damage
        };
        let failed = |error: std::io::Error| CheckError::Suite(format!("disk {name}: {error}"));
        let copies = DiskCopies::new(data_bytes(*disk, &layout.file_system).map_err(failed)?)?;
        let image = copies.copy(name, *disk, &layout.file_system)?;
        if let Some(damage) = recover(&image, None)?.damage {
            return Ok(Some(named(damage)));
        }
        match read_contents(&copies, &image, &layout)? {
            Ok(contents) => ledgers.push(contents.ledger),
            Err(damage) => return Ok(Some(named(damage))),
        }
    }
    let finding = ledger_scan::finding(&ledgers);
    let whole = ledgers.len() == ledger_scan::DISKS;
    Ok(ledger_damage(&finding, whole).map(|words| Damage::new(Part::Ledger, words)))
}

/// What is wrong with the ledger. If a disk was not read, half of its records are missing.
fn ledger_damage(ledger: &LedgerFinding, whole: bool) -> Option<String> {
    if !ledger.torn.is_empty() {
        return Some(format!("records {:?} are torn", ledger.torn));
    }
    let gap = whole && ledger.contiguous != ledger.highest;
    gap.then(|| format!("record {} is there, and {:?} are missing", ledger.highest, ledger.missing))
}
