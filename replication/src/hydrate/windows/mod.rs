//! A Windows system disk: the registry hive SYSTEM on its NTFS volume says which drivers and
//! services start. A change is an edit of four bytes in place, so that nothing else of the volume
//! changes.
//!
//! - `volume`: finds the hive on the disk and maps it to the disk's bytes
//! - `hive`: finds a service's start type in the hive

mod hive;
#[cfg(test)]
mod tests;
mod volume;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use contract::{CoreError, GuestFacts};
use nbd::Client;

use super::{failed, partition};
use crate::fault_hook::RegistryEdits;
use hive::{Hive, StartType};
use volume::Volume;

/// What is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The cloud's drivers start at boot, and the DHCP service starts (HY-05, HY-06).
    MakeReady,
    /// VMware Tools do not start (FO-16).
    DisableTools,
    /// VMware Tools start as they did before [`Change::DisableTools`]; this was their start type.
    EnableTools(u32),
}

/// A service whose start type was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) service: String,
    /// The start type before.
    pub(crate) before: u32,
}

/// Changes the registry of the Windows disk at `uri`. Returns what was changed: nothing if the disk
/// has no Windows volume.
///
/// # Errors
/// The volume or the hive is damaged, or in a state in which it must not be written. Nothing was
/// written then.
pub(crate) fn edit(uri: &str, change: Change, edits: RegistryEdits) -> Result<Vec<Changed>, CoreError> {
    // The reader of NTFS panics on some damaged volumes.
    let edit = AssertUnwindSafe(|| try_edit(uri, change, edits));
    catch_unwind(edit).unwrap_or_else(|_| Err(failed("the NTFS volume is damaged".to_owned())))
}

fn try_edit(uri: &str, change: Change, edits: RegistryEdits) -> Result<Vec<Changed>, CoreError> {
    let client = Client::connect(uri).map_err(crate::transfer::nbd_error)?;
    let client = Rc::new(RefCell::new(client));
    let partitions = partition::ntfs_partitions(&mut client.borrow_mut()).map_err(failed)?;
    for partition in partitions {
        let careful = edits != RegistryEdits::AnyState;
        let Some(volume) = Volume::open(&client, partition, careful).map_err(failed)? else { continue };
        let mut hive = Hive::parse(volume.read(&client)?).map_err(failed)?;
        let changed = apply(&mut hive, change, edits).map_err(failed)?;
        volume.write(&client, &hive)?;
        return Ok(changed);
    }
    Ok(Vec::new())
}

fn apply(hive: &mut Hive, change: Change, edits: RegistryEdits) -> Result<Vec<Changed>, String> {
    let sets = match edits {
        RegistryEdits::EverySet => hive.control_sets()?,
        RegistryEdits::FirstSet => vec![1],
        _ => vec![hive.current_set()?],
    };
    let wanted = wanted(change, edits);
    let mut changed = Vec::new();
    for set in sets {
        for (service, start) in &wanted {
            let before = hive.start(set, service)?;
            let keeps = match change {
                Change::EnableTools(_) => before != StartType::DISABLED,
                Change::MakeReady | Change::DisableTools => before == *start,
            };
            if keeps {
                continue;
            }
            hive.set_start(set, service, *start)?;
            changed.push(Changed { service: (*service).to_owned(), before: before.0 });
        }
    }
    Ok(changed)
}

/// Services and their start types after a change.
fn wanted(change: Change, edits: RegistryEdits) -> Vec<(&'static str, StartType)> {
    let mut wanted: Vec<_> = match (change, edits) {
        (_, RegistryEdits::None)
        | (Change::DisableTools, RegistryEdits::ToolsStart)
        | (Change::EnableTools(_), RegistryEdits::ToolsStayDisabled) => Vec::new(),
        (Change::DisableTools, _) => vec![(GuestFacts::VMWARE_TOOLS, StartType::DISABLED)],
        (Change::EnableTools(start), _) => vec![(GuestFacts::VMWARE_TOOLS, StartType(start))],
        (Change::MakeReady, _) => {
            let drivers = GuestFacts::CLOUD_DRIVERS.map(|driver| (driver, StartType::BOOT));
            drivers.into_iter().chain([(GuestFacts::DHCP_SERVICE, StartType::AUTOMATIC)]).collect()
        }
    };
    match edits {
        RegistryEdits::AllButOne => wanted.retain(|(service, _)| *service != "storvsc"),
        RegistryEdits::OneMore => wanted.push(("EventLog", StartType::DISABLED)),
        _ => {}
    }
    wanted
}
