//! What hydration changed: compares a recovered machine's disks with the recovery point they were
//! built from.

use std::ops::Range;

use camino::Utf8Path;
use contract::{JobView, Step};
use images::layout::VARIANT_ENV;
use standins::Boot;

use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::real::edge::disk_pairs::{first_difference, pair_disks};
use crate::real::edge::recovery_point::PointFiles;
use crate::rules::ids::*;

/// Boot loader configuration, which hydration may edit.
pub(crate) const BOOT_CONFIGURATION: [&str; 2] = [images::layout::SYSLINUX_CFG, images::layout::LOADER_ENTRY];

/// Sectors of the boot partition, in which hydration edits files of the target copy.
pub(crate) fn boot_partition() -> Range<u64> {
    use images::layout::{BOOT_BYTES, BOOT_OFFSET};
    BOOT_OFFSET / 512..(BOOT_OFFSET + BOOT_BYTES) / 512
}

/// The hydration step of a job, if it has one.
pub(crate) fn hydration_step(job: &JobView) -> Option<&Step> {
    job.steps.iter().find(|step| step.name == Step::HYDRATE)
}

/// Whether a job has a hydration step that is timed.
pub(crate) fn hydrated(job: &JobView) -> bool {
    hydration_step(job).is_some_and(|step| step.took.is_some())
}

/// FO-01, HY-08: the machine was booted from exactly the recovery point, except for the files that
/// hydration may edit. Returns the boot files that differ.
pub(crate) fn check_hydration(
    context: &ScenarioContext,
    booted: &Boot,
    point: &[PointFiles],
) -> Result<Vec<String>, ScenarioError> {
    let pairs = pair_disks("the machine that was booted from the recovery point", point, &booted.disks);
    let pairs = pairs.inspect_err(|error| context.check(FO_01, false, error.to_string()))?;
    for (index, (point, disk)) in pairs.into_iter().enumerate() {
        let ignored = if index == 0 { boot_partition() } else { 0..0 };
        let difference = difference_outside(&disk.base, &point.raw, ignored)?;
        let found = difference.map_or_else(
            || format!("disk {} was booted as the recovery point has it", point.disk),
            |sector| format!("disk {}: sector {sector} differs from the recovery point", point.disk),
        );
        context.check(FO_01, difference.is_none(), found.clone());
        context.check(HY_08, difference.is_none(), found);
    }
    let booted = &booted.disks[0].base;
    let point = &point[0].raw;
    let edited = edited_boot_files(booted, point)?;
    let dhcp_enabled = enables_dhcp(booted, point)?;
    let allowed =
        |file: &String| BOOT_CONFIGURATION.contains(&file.as_str()) || (file == VARIANT_ENV && dhcp_enabled);
    let found = format!("hydration edited {}", edited.join(", "));
    context.check(HY_08, edited.iter().all(allowed), found);
    Ok(edited)
}

/// HY-05: whether the guest's settings differ from the recovery point's only in that the DHCP
/// service starts.
fn enables_dhcp(booted: &Utf8Path, point: &Utf8Path) -> Result<bool, ScenarioError> {
    let settings = guest_settings(booted)?;
    let before = guest_settings(point)?;
    Ok(settings != before && settings == before.replace("DHCP=no\n", "DHCP=yes\n"))
}

/// The guest's settings file on a raw disk.
pub(crate) fn guest_settings(disk: &Utf8Path) -> Result<String, ScenarioError> {
    let bytes = images::read_boot_file(disk, VARIANT_ENV).map_err(harness::Error::from)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first sector outside `ignored` in which two raw disks differ.
fn difference_outside(a: &Utf8Path, b: &Utf8Path, ignored: Range<u64>) -> Result<Option<u64>, ScenarioError> {
    for compared in [0..ignored.start, ignored.end..u64::MAX] {
        if let Some(sector) = first_difference(a, b, compared)? {
            return Ok(Some(sector));
        }
    }
    Ok(None)
}

/// Boot files whose content differs between two raw disks.
pub(crate) fn edited_boot_files(a: &Utf8Path, b: &Utf8Path) -> Result<Vec<String>, ScenarioError> {
    use images::layout::{DRIVERS_DIR, EFI_LOADER, INITRD, KERNEL, LOADER_CONF, LOADER_ENTRY, SYSLINUX_CFG};
    let drivers = images::layout::BOOT_DRIVERS.iter().map(|driver| images::layout::driver_image(driver));
    let fixed = [KERNEL, INITRD, EFI_LOADER, LOADER_CONF, LOADER_ENTRY, SYSLINUX_CFG, VARIANT_ENV];
    let files = fixed.iter().map(ToString::to_string).chain(drivers.filter(|d| d.starts_with(DRIVERS_DIR)));
    let mut edited = Vec::new();
    for file in files {
        let read = |disk: &Utf8Path| images::read_boot_file(disk, &file).map_err(harness::Error::from);
        if read(a)? != read(b)? {
            edited.push(file);
        }
    }
    Ok(edited)
}
