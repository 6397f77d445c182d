//! The registry of Windows machines: what a core changes in that of a target, and what it leaves.

use contract::{
    AgentVersion, CoreError, ErrorCode, GuestFacts, GuestOs, JobState, Platform as _, PointChoice,
    PowerState, RecoveryPoint, Step, VolumeId,
};
use simulator::testbed::{BACK, BOOT, cloud_machine, failover_to, preconditions};
use simulator::{SimInstall, SimProfile, SimSite, Snapshot, system_hive, windows_place};
use windows_volume::{Registry, StartType, VolumeState, WindowsVolume};

use crate::registry::{CAPABILITY, Due, Tools, tools_start, unready};
use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, check, step, succeeds};
use crate::sim::disks::same_content;
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Opener, Setup, Testbed};

/// Granularity of comparisons, in bytes.
const SECTOR: usize = 512;

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "the registry of a VMware machine is made ready for each single reason, and VMware Tools are disabled",
        &[FO_16, FX_70, HY_07, HY_08, HY_10],
        Setup::vmware,
        reopening vmware
    ),
    check!(
        "the registry of a physical server is made ready, and nothing else is changed in it",
        &[FX_70, HY_08, HY_10],
        || Setup::of(SimProfile::PHYSICAL),
        reopening physical
    ),
    check!(
        "the registry of a Hyper-V machine is left as it is, whatever it lacks",
        &[HY_07, HY_10],
        || Setup::of(SimProfile::HYPERV),
        reopening hyperv
    ),
    check!(
        "VMware Tools start again after a failback, unless they were disabled before the failover",
        &[FB_15, FO_16, HY_10],
        Setup::vmware,
        reopening failback
    ),
    check!(
        "a Windows volume that must not be written is refused, and a clean one is not",
        &[FX_71],
        Setup::vmware,
        reopening refusals
    ),
];

/// A machine, and what is due on its copy.
struct Row {
    what: &'static str,
    install: SimInstall,
    due: Due,
}

/// A Windows machine that starts everywhere with the drivers of its RAM disks. Its agent reports
/// what its registry says.
fn windows(name: &str, starts: &[(&str, StartType)]) -> SimInstall {
    let lacks = |service: &str, start| starts.contains(&(service, start));
    let mut guest = GuestFacts::default();
    guest.boot_drivers.retain(|driver| !lacks(driver, StartType::MANUAL));
    guest.dhcp_service = !lacks(GuestFacts::DHCP_SERVICE, StartType::DISABLED);
    let starts = starts.iter().map(|(service, start)| ((*service).to_owned(), *start)).collect();
    let loads = Some(["vmw_pvscsi", "ahci", "ata_piix"].map(ToOwned::to_owned).to_vec());
    let install = SimInstall { guest, loads, ..SimInstall::new(name) };
    install.with_windows(WindowsVolume { starts, ..WindowsVolume::default() })
}

/// The machine with the second control set as its current one.
fn second_set(mut install: SimInstall) -> SimInstall {
    install.windows.iter_mut().for_each(|windows| windows.current = 2);
    install
}

/// Nothing is judged of a core that does not edit registries.
async fn needs_capability(testbed: &Testbed, opener: &Opener<'_>) -> Result<(), EarlyEnd> {
    if testbed.core.capabilities().await?.windows_registry {
        return Ok(());
    }
    opener.missing.note(CAPABILITY);
    Err(EarlyEnd::unsupported(HY_10, CAPABILITY))
}

async fn vmware(testbed: &mut Testbed, rules: &mut RuleLog, opener: &Opener<'_>) -> Result<(), EarlyEnd> {
    needs_capability(testbed, opener).await?;
    let due = |hydration| Due { hydration, tools: Tools::AreDisabled };
    let old = GuestFacts { agent: AgentVersion(9, 7), ..GuestFacts::default() };
    let no_dhcp = [(GuestFacts::DHCP_SERVICE, StartType::DISABLED)];
    let mut rows = vec![
        Row { what: "a current machine", install: windows("current", &[]), due: due(false) },
        Row {
            what: "agent 9.7",
            install: SimInstall { guest: old, ..windows("older", &[]) },
            due: due(true),
        },
        Row { what: "without DHCP", install: windows("static", &no_dhcp), due: due(true) },
        Row {
            what: "without DHCP, second control set",
            install: second_set(windows("second", &no_dhcp)),
            due: due(true),
        },
    ];
    for driver in GuestFacts::CLOUD_DRIVERS {
        let install = windows(&format!("no-{driver}"), &[(driver, StartType::MANUAL)]);
        rows.push(Row { what: driver, install, due: due(true) });
    }
    table(testbed, rules, rows).await
}

async fn physical(testbed: &mut Testbed, rules: &mut RuleLog, opener: &Opener<'_>) -> Result<(), EarlyEnd> {
    needs_capability(testbed, opener).await?;
    let due = Due { hydration: true, tools: Tools::Stay };
    let lacking = [("atapi", StartType::MANUAL), (GuestFacts::DHCP_SERVICE, StartType::DISABLED)];
    let rows = vec![
        Row { what: "nothing lacks", install: windows("ready", &[]), due },
        Row { what: "atapi and DHCP lack", install: windows("lacking", &lacking), due },
    ];
    table(testbed, rules, rows).await
}

async fn hyperv(testbed: &mut Testbed, rules: &mut RuleLog, opener: &Opener<'_>) -> Result<(), EarlyEnd> {
    needs_capability(testbed, opener).await?;
    let due = Due { hydration: false, tools: Tools::Stay };
    let lacking = [("storvsc", StartType::MANUAL), (GuestFacts::DHCP_SERVICE, StartType::DISABLED)];
    let rows = vec![Row { what: "storvsc and DHCP lack", install: windows("web", &lacking), due }];
    table(testbed, rules, rows).await
}

async fn table(testbed: &Testbed, rules: &mut RuleLog, rows: Vec<Row>) -> Result<(), EarlyEnd> {
    for Row { what, install, due } in rows {
        let item = testbed.protect_machine(&install).await?;
        testbed.wait_for_points(&item, 2).await?;
        let point = testbed.newest_point(&item).await?;
        let before = testbed.point_content(&testbed.recovery, &point)?;
        // The registry is compared here, so that an unexpected change breaks the rule about it.
        let request = failover_to(&item, PointChoice::Custom(point.id.clone()));
        let job = testbed.completed(testbed.core.failover(&request).await).await?;
        testbed.advance(BOOT).await;
        let target = testbed.boots(&install.machine.0)?.target;
        let unchanged = same_content(&before, &testbed.point_content(&testbed.recovery, &point)?);
        let after = target.bases();
        judge(rules, what, due, &before, &after)?;
        if due.hydration {
            let found = format!("{what}: up: {:?}; the point is unchanged: {unchanged}", target.up);
            rules.check(HY_08, target.up.is_ok() && unchanged, found);
            continue;
        }
        let hydrated = step(&job, Step::HYDRATE).is_some();
        let same = due.anything() || same_content(&before, &after);
        let found = format!("{what}: hydrated: {hydrated}; as the point where nothing is due: {same}");
        rules.check(HY_07, !hydrated && same, found);
    }
    Ok(())
}

/// The registry of a system disk.
fn registry(disks: &[Snapshot]) -> Result<Registry, String> {
    let hive = disks.first().and_then(system_hive).ok_or("there is no Windows volume")?;
    let hive = hive.map_err(|error| error.to_string())?;
    Registry::read(&hive.bytes).map_err(|error| error.to_string())
}

/// A registry that the suite made.
fn sound_registry(disks: &[Snapshot]) -> Result<Registry, EarlyEnd> {
    registry(disks).map_err(EarlyEnd::inconclusive)
}

/// Whether the Windows volumes of two disks differ outside of the hive.
fn differ_outside_hive(before: &[Snapshot], after: &[Snapshot]) -> bool {
    let [Some(before), Some(after)] = [before.first(), after.first()] else { return true };
    let Some(Ok(hive)) = system_hive(before) else { return true };
    let Some(place) = windows_place(before) else { return true };
    let in_hive = |at: u64| hive.extents.0.iter().any(|extent| extent.contains(&(at - place.start)));
    let differing = before.differences(after, SECTOR);
    before.size() != after.size() || differing.iter().any(|at| place.contains(at) && !in_hive(*at))
}

/// FO-16, FX-70, HY-10: the registry of a target differs from that of its point in what is due and
/// in nothing else.
fn judge(
    rules: &mut RuleLog,
    what: &str,
    due: Due,
    before: &[Snapshot],
    after: &[Snapshot],
) -> Result<(), EarlyEnd> {
    let was = sound_registry(before)?;
    let is = match registry(after) {
        Ok(is) => is,
        Err(error) => {
            rules.check(HY_10, false, format!("{what}: the target's registry: {error}"));
            return Ok(());
        }
    };
    let unexpected: Vec<_> = due.unexpected(&was, &is).iter().map(ToString::to_string).collect();
    let outside = differ_outside_hive(before, after);
    let found = format!("{what}: unexpected differences {unexpected:?}; outside of the hive: {outside}");
    rules.check(HY_10, unexpected.is_empty() && !outside, found);
    if due.hydration {
        let unready = unready(&is);
        rules.check(FX_70, unready.is_empty(), format!("{what}: not as they have to be: {unready:?}"));
    }
    if due.tools == Tools::AreDisabled {
        let start = tools_start(&is);
        rules.check(FO_16, !start, format!("{what}: VMware Tools start in the target: {start}"));
    }
    Ok(())
}

async fn failback(testbed: &mut Testbed, rules: &mut RuleLog, opener: &Opener<'_>) -> Result<(), EarlyEnd> {
    needs_capability(testbed, opener).await?;
    let starts = [
        ("usual", StartType::AUTOMATIC),
        ("on-demand", StartType::MANUAL),
        ("disabled", StartType::DISABLED),
    ];
    for (name, tools) in starts {
        let install = windows(name, &[(GuestFacts::VMWARE_TOOLS, tools)]);
        let item = testbed.protect_machine(&install).await?;
        testbed.wait_for_points(&item, 3).await?;
        preconditions::master_target(&testbed.primary, |target| target.os = GuestOs::Windows);
        let original = testbed.primary.last_boot(&install.machine);
        let original = original.ok_or_else(|| EarlyEnd::inconclusive("the machine was not started"))?.bases();
        testbed.fail_over_from_lost_site(&item).await?;
        let cloud = testbed.boots(name)?.target.bases();
        let due = Due { hydration: false, tools: Tools::AreDisabled };
        judge(rules, name, due, &original, &cloud)?;
        testbed.reprotect(&testbed.reprotection(&item, BACK)).await?;
        testbed.wait_for_points(&item, 2).await?;
        testbed.fail_back(&item).await?;
        let back = testbed.failback_boots(name, &testbed.primary)?.target;
        let due = Due { hydration: false, tools: Tools::StartAgain };
        let again = match tools {
            // Nothing of them is due.
            StartType::DISABLED => Due { hydration: false, tools: Tools::Stay },
            _ => due,
        };
        judge(rules, name, again, &cloud, &back.bases())?;
        let started = registry(&back.bases()).is_ok_and(|registry| tools_start(&registry));
        let right = started == (tools != StartType::DISABLED) && back.up.is_ok();
        let found = format!("{name}: before the failover {tools}; they start after the failback: {started}");
        rules.check(FB_15, right, found);
    }
    Ok(())
}

async fn refusals(testbed: &mut Testbed, rules: &mut RuleLog, opener: &Opener<'_>) -> Result<(), EarlyEnd> {
    needs_capability(testbed, opener).await?;
    let lacking = [("storvsc", StartType::MANUAL)];
    let states = [
        ("hibernated", VolumeState::Hibernated),
        ("dirty", VolumeState::Dirty),
        ("unfinished", VolumeState::Unfinished),
        ("damaged", VolumeState::Damaged),
    ];
    for (name, state) in states {
        let mut install = windows(name, &lacking);
        install.windows.iter_mut().for_each(|windows| windows.state = state);
        refused(testbed, rules, &install).await?;
    }
    let item = testbed.protect_machine(&windows("clean", &lacking)).await?;
    testbed.wait_for_points(&item, 2).await?;
    let request = failover_to(&item, PointChoice::LatestProcessed);
    let done = testbed.completed(testbed.core.failover(&request).await).await;
    succeeds(rules, (FX_71, "a failover with a clean volume"), done).map(drop)
}

async fn refused(testbed: &Testbed, rules: &mut RuleLog, install: &SimInstall) -> Result<(), EarlyEnd> {
    let name = &install.machine.0;
    let item = testbed.protect_machine(install).await?;
    testbed.wait_for_points(&item, 2).await?;
    let point = testbed.newest_point(&item).await?;
    let content = testbed.point_content(&testbed.recovery, &point)?;
    let request = failover_to(&item, PointChoice::Custom(point.id.clone()));
    let error = match testbed.core.failover(&request).await {
        Err(error) => Some(error),
        Ok(job) => {
            let view = testbed.ended(&job).await?;
            view.error.filter(|_| view.state == JobState::Failed)
        }
    };
    let code = error.as_ref().map(|CoreError { code, .. }| *code);
    let words = error.map_or_else(|| "the failover succeeded".to_owned(), |error| error.to_string());
    rules.check(FX_71, code == Some(ErrorCode::HydrationFailed), format!("{name}: {words}"));
    let started = testbed.recovery.last_boot(&cloud_machine(name)).is_some();
    let serves = testbed.machine_at(&testbed.primary, name).await?.power == PowerState::On;
    let found = format!("{name}: a target was started: {started}; the source runs: {serves}");
    rules.check(FX_71, !started && serves, found);
    let written = is_written(testbed, &point, &content).await?;
    rules.check(FX_71, !written, format!("{name}: something was written to the volume: {written}"));
    Ok(())
}

/// Whether a volume above or below the first one of a recovery point, which had this content,
/// differs from it in the Windows volume. Replication goes on, but no guest writes there.
async fn is_written(
    testbed: &Testbed,
    point: &RecoveryPoint,
    content: &[Snapshot],
) -> Result<bool, EarlyEnd> {
    let inconclusive = || EarlyEnd::inconclusive("the machine has no Windows volume");
    let (_, volume) = point.volumes.first().ok_or_else(inconclusive)?;
    let system = content.first().ok_or_else(inconclusive)?;
    let place = windows_place(system).ok_or_else(inconclusive)?;
    let site = &testbed.recovery;
    let base = lowest(site, volume).await;
    for other in site.volumes() {
        let Some(disk) = site.snapshot(&other) else { continue };
        if lowest(site, &other).await != base {
            continue;
        }
        if system.differences(&disk, SECTOR).iter().any(|at| place.contains(at)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The volume that this one was derived from in the end.
async fn lowest(site: &SimSite, volume: &VolumeId) -> VolumeId {
    let mut lowest = volume.clone();
    while let Some(parent) = site.volume(&lowest).await.ok().and_then(|view| view.parent) {
        lowest = parent;
    }
    lowest
}
