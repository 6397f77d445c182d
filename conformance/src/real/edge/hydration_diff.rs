//! What hydration changed: compares a recovered machine's disks with the recovery point they were
//! built from.

use std::ops::Range;

use camino::Utf8Path;
use contract::{JobView, PlatformKind, Step};
use fatdiff::Damage;
use harness::oracle::SECTOR_BYTES;
use images::layout::{BOOT_BYTES, BOOT_OFFSET, EFI_LOADER, VARIANT_ENV};
use standins::{Boot, Profile};

use crate::blame::ScenarioError;
use crate::hydration::{self, LOADERS, Need};
use crate::real::context::ScenarioContext;
use crate::real::edge::disk_pairs::{first_difference, pair_disks};
use crate::real::edge::recovery_point::PointFiles;
use crate::registry::{self, Tools};
use crate::rules::ids::*;
use crate::windows_disk;

/// How many wrong sectors a finding lists.
const LISTED: usize = 5;

/// Sectors of the boot partition on the first disk.
pub(crate) fn boot_partition() -> Range<u64> {
    BOOT_OFFSET / SECTOR_BYTES..(BOOT_OFFSET + BOOT_BYTES) / SECTOR_BYTES
}

/// The hydration step of a job, if it has one.
pub(crate) fn hydration_step(job: &JobView) -> Option<&Step> {
    job.steps.iter().find(|step| step.name == Step::HYDRATE)
}

/// Whether a job has a hydration step that is timed.
pub(crate) fn hydrated(job: &JobView) -> bool {
    hydration_step(job).is_some_and(|step| step.took.is_some())
}

/// What hydration has to do to a copy of the context's machine. The machine ran on a platform of
/// kind `source` with the first disk `before`, raw, and its copy is for `target`.
///
/// # Errors
/// The disk's boot configuration cannot be read.
pub(crate) fn need_of(
    context: &ScenarioContext,
    source: PlatformKind,
    before: &Utf8Path,
    target: &Profile,
) -> Result<Need, ScenarioError> {
    let platforms = (source, target.kind);
    Ok(Need::of(platforms, context.guest(), before, &target.hardware.disk_drivers())?)
}

/// FO-01, HY-07, HY-08: the machine was booted from exactly the recovery point, except for what
/// hydration had to edit. `source` is the kind of platform that the machine ran on. Returns the
/// boot files that differ.
pub(crate) fn check_hydration(
    context: &ScenarioContext,
    source: PlatformKind,
    booted: &Boot,
    point: &[PointFiles],
) -> Result<Vec<String>, ScenarioError> {
    let pairs = pair_disks("the machine that was booted from the recovery point", point, &booted.disks);
    let pairs = pairs.inspect_err(|error| context.check(FO_01, false, error.to_string()))?;
    let need = need_of(context, source, &point[0].raw, &booted.profile)?;
    for (index, (point, disk)) in pairs.into_iter().enumerate() {
        // The boot partition of the first disk and its registry are judged below.
        let mut ignored = Vec::new();
        if index == 0 {
            ignored.push(boot_partition());
            if need.registry.anything() {
                ignored.extend(windows_disk::hive_sectors(&point.raw, &disk.base));
            }
        }
        let difference = difference_outside(&disk.base, &point.raw, &ignored)?;
        let found = difference.map_or_else(
            || format!("disk {} was booted as the recovery point has it", point.disk),
            |sector| format!("disk {}: sector {sector} differs from the recovery point", point.disk),
        );
        context.check(FO_01, difference.is_none(), found.clone());
        context.check(HY_08, difference.is_none(), found);
    }
    check_registry(context, &need, &point[0].raw, &booted.disks[0].base)?;
    check_boot_partition(context, &need, &point[0].raw, &booted.disks[0].base)
}

/// FB-15, FO-16, FX-70, HY-10: the registry of a Windows machine's copy differs in what is due from
/// that of what it was made from, and in nothing else. `before` and `after` are raw disks.
pub(crate) fn check_registry(
    context: &ScenarioContext,
    need: &Need,
    before: &Utf8Path,
    after: &Utf8Path,
) -> Result<(), ScenarioError> {
    let Some(was) = windows_disk::registry(before)? else { return Ok(()) };
    let is = match windows_disk::registry(after) {
        Ok(Some(is)) => is,
        unreadable => {
            let why = unreadable.err().map_or_else(|| "no Windows volume".to_owned(), |e| format!("{e:#}"));
            context.check(HY_10, false, format!("the copy's registry: {why}"));
            return Ok(());
        }
    };
    let unexpected: Vec<_> = need.registry.unexpected(&was, &is).iter().map(ToString::to_string).collect();
    context.check(HY_10, unexpected.is_empty(), format!("unexpected in the registry: {unexpected:?}"));
    if need.by_rule {
        let unready = registry::unready(&is);
        context.check_edit(FX_70, unready.is_empty(), format!("not as they have to be: {unready:?}"));
    }
    let start = registry::tools_start(&is);
    match need.registry.tools {
        Tools::AreDisabled => context.check_edit(FO_16, !start, format!("VMware Tools start: {start}")),
        Tools::StartAgain => context.check_edit(FB_15, start, format!("VMware Tools start again: {start}")),
        Tools::Stay => {}
    }
    Ok(())
}

/// FO-01, HY-07, HY-08: every sector of the boot partition is the same before and after, except for
/// those that edits of the needed files explain. `before` and `after` are raw disks. Returns the
/// boot files that differ.
pub(crate) fn check_boot_partition(
    context: &ScenarioContext,
    need: &Need,
    before: &Utf8Path,
    after: &Utf8Path,
) -> Result<Vec<String>, ScenarioError> {
    let damage = match hydration::boot_differences(before, after, &need.editable()) {
        Ok(found) => found.damage,
        Err(error) => {
            let found = format!("the boot partition cannot be judged: {error:#}");
            // The copy's own file system may be what is damaged; a plain comparison decides.
            let difference = first_difference(before, after, boot_partition())?;
            context.check(HY_08, difference.is_none(), found.clone());
            context.check(FO_01, difference.is_none(), found);
            return Ok(Vec::new());
        }
    };
    let found = describe(&damage);
    context.check(FO_01, damage.is_empty(), found.clone());
    context.check(HY_08, damage.is_empty(), found);
    if !need.due {
        let found =
            format!("hydration is not due, and {} sectors of the boot partition differ", damage.len());
        context.check(HY_07, damage.is_empty(), found);
    }
    let edited = edited_boot_files(after, before)?;
    let dhcp_enabled = need.dhcp && enables_dhcp(after, before)?;
    let needed = |file: &String| match file.as_str() {
        VARIANT_ENV => dhcp_enabled,
        EFI_LOADER => need.loader,
        path => !need.drivers.is_empty() && LOADERS.contains(&path),
    };
    let Need { drivers, dhcp, loader, .. } = need;
    let lacked = format!(
        "lacking were the drivers [{}], DHCP: {dhcp}, a boot loader at the usual path: {loader}",
        drivers.join(", ")
    );
    let found = format!("hydration changed [{}]; {lacked}", edited.join(", "));
    context.check(HY_08, edited.iter().all(needed), found);
    Ok(edited)
}

/// The sectors that differ and must not.
fn describe(damage: &[Damage]) -> String {
    let listed: Vec<_> = damage.iter().take(LISTED).map(ToString::to_string).collect();
    match damage.len() {
        0 => "nothing but what hydration had to edit differs on the boot partition".to_owned(),
        count if count <= LISTED => format!("the boot partition differs at {}", listed.join(", ")),
        count => format!("the boot partition differs at {} and {} more", listed.join(", "), count - LISTED),
    }
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

/// The first sector outside `ignored`, which is in order, in which two raw disks differ.
fn difference_outside(
    a: &Utf8Path,
    b: &Utf8Path,
    ignored: &[Range<u64>],
) -> Result<Option<u64>, ScenarioError> {
    let ends = ignored.iter().map(|range| range.end);
    let starts = ignored.iter().map(|range| range.start);
    let compared = std::iter::once(0).chain(ends).zip(starts.chain([u64::MAX]));
    for (start, end) in compared {
        if let Some(sector) = first_difference(a, b, start..end)? {
            return Ok(Some(sector));
        }
    }
    Ok(None)
}

/// Boot files whose content differs between two raw disks.
pub(crate) fn edited_boot_files(a: &Utf8Path, b: &Utf8Path) -> Result<Vec<String>, ScenarioError> {
    use images::layout::{DRIVERS_DIR, INITRD, KERNEL, LOADER_CONF, LOADER_ENTRY, SYSLINUX_CFG};
    let drivers = images::layout::BOOT_DRIVERS.iter().map(|driver| images::layout::driver_image(driver));
    let fixed = [KERNEL, INITRD, EFI_LOADER, LOADER_CONF, LOADER_ENTRY, SYSLINUX_CFG, VARIANT_ENV];
    let files = fixed.iter().map(ToString::to_string).chain(drivers.filter(|d| d.starts_with(DRIVERS_DIR)));
    let mut edited = Vec::new();
    for file in files {
        let read = |disk: &Utf8Path| match images::has_boot_file(disk, &file)? {
            true => images::read_boot_file(disk, &file).map(Some),
            false => Ok(None),
        };
        if read(a).map_err(harness::Error::from)? != read(b).map_err(harness::Error::from)? {
            edited.push(file);
        }
    }
    Ok(edited)
}
