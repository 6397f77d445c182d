//! When a recovered machine is hydrated before it starts, in failovers and test failovers alike
//! (HY).

use contract::{AgentVersion, GuestFacts, GuestOs, PointChoice, Step, TestFailoverRequest};
use simulator::testbed::BOOT;
use simulator::{SimInstall, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::{Check, check, step};
use crate::sim::disks::{booted_from, same_content};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[
    check!(
        "a VMware machine is hydrated for each single reason, and not without one",
        &[HY_01, HY_03, HY_05, HY_06, HY_07, HY_08, HY_09, TF_09],
        Setup::vmware,
        table(vmware())
    ),
    check!(
        "every physical server is hydrated",
        &[HY_02, HY_08, HY_09, TF_09],
        || Setup::of(SimProfile::PHYSICAL),
        table(physical())
    ),
    check!(
        "no Hyper-V machine is hydrated, however old its agent",
        &[HY_04, HY_07, TF_09],
        || Setup::of(SimProfile::HYPERV),
        table(never(HY_04))
    ),
    check!(
        "no machine of a cloud region is hydrated, however old its agent",
        &[HY_07, TF_09],
        || Setup::of(SimProfile::AZURE),
        table(never(HY_07))
    ),
];

/// A machine, and whether it has to be hydrated.
struct Row {
    /// The rule that says so.
    rule: RuleId,
    what: String,
    install: SimInstall,
    due: bool,
}

impl Row {
    fn new(rule: RuleId, what: &str, install: SimInstall, due: bool) -> Self {
        Self { rule, what: what.to_owned(), install, due }
    }
}

/// A Windows machine that starts everywhere without hydration, because it loads its own driver and
/// the cloud's.
fn windows(name: &str, guest: GuestFacts) -> SimInstall {
    let loads = Some(["vmw_pvscsi", "ahci", "ata_piix"].map(ToOwned::to_owned).to_vec());
    SimInstall { os: GuestOs::Windows, guest, loads, ..SimInstall::new(name) }
}

fn vmware() -> Vec<Row> {
    let current = GuestFacts::default;
    let agent = |agent| GuestFacts { agent, ..current() };
    let no_dhcp = GuestFacts { dhcp_service: false, ..current() };
    let newer = agent(AgentVersion::WITHOUT_HYDRATION);
    let mut rows = vec![
        Row::new(HY_07, "a current machine", windows("current", current()), false),
        Row::new(HY_01, "agent 9.7", windows("older", agent(AgentVersion(9, 7))), true),
        Row::new(HY_01, "agent 9.8", windows("newer", newer), false),
        Row::new(HY_03, "Linux", SimInstall::new("linux"), true),
        Row::new(
            HY_03,
            "Linux, with a boot partition that ends with the disk",
            SimInstall { boots_at_end: true, ..SimInstall::new("at-end") },
            true,
        ),
        Row::new(
            HY_03,
            "Linux, on a disk with sectors of 4096 bytes and a GPT",
            SimInstall { has_gpt: true, ..SimInstall::new("gpt") },
            true,
        ),
        Row::new(HY_05, "no DHCP service", windows("static", no_dhcp), true),
    ];
    for driver in GuestFacts::CLOUD_DRIVERS {
        let mut guest = current();
        guest.boot_drivers.retain(|other| other != driver);
        let install = windows(&format!("no-{driver}"), guest);
        rows.push(Row::new(HY_06, &format!("without {driver}"), install, true));
    }
    rows
}

fn physical() -> Vec<Row> {
    vec![
        Row::new(HY_02, "a current Windows machine", windows("windows", GuestFacts::default()), true),
        Row::new(HY_02, "Linux", SimInstall::new("linux"), true),
    ]
}

/// A machine with every reason for hydration, which this rule exempts from it.
fn never(rule: RuleId) -> Vec<Row> {
    let guest = GuestFacts { agent: AgentVersion(9, 1), dhcp_service: false, ..GuestFacts::default() };
    let install = SimInstall { guest, ..SimInstall::new("old") };
    vec![Row::new(rule, "agent 9.1, no DHCP service", install, false)]
}

async fn table(testbed: &Testbed, rules: &mut RuleLog, rows: Vec<Row>) -> Result<(), EarlyEnd> {
    for Row { rule, what, install, due } in rows {
        let item = testbed.protect_machine(&install).await?;
        testbed.wait_for_points(&item, 2).await?;
        let test = TestFailoverRequest::isolated(&item, PointChoice::LatestProcessed);
        let test = testbed.completed(testbed.core.test_failover(&test).await).await?;
        let in_test = step(&test, Step::HYDRATE).is_some();
        testbed.completed(testbed.core.clean_up_test_failover(&item).await).await?;
        let point = testbed.newest_point(&item).await?;
        let before = testbed.point_content(&testbed.recovery, &point)?;
        let job = testbed.fail_over(&item, PointChoice::Custom(point.id.clone())).await?;
        testbed.advance(BOOT).await;
        let hydration = step(&job, Step::HYDRATE);
        let right = hydration.is_some() == due;
        let found = format!("{what}: hydrated: {}, due: {due}", hydration.is_some());
        rules.check(rule, right, found.clone());
        let found_in_test = format!("{what}: hydrated in a test failover: {in_test}, due: {due}");
        rules.check(TF_09, in_test == due, found_in_test);
        if !due {
            rules.check(HY_07, right, found);
            let boot = testbed.boots(&install.machine.0)?.target;
            let as_they_were = same_content(&boot.bases(), &before);
            rules.check(
                HY_07,
                as_they_were,
                format!("{what}: started from the point as it is: {as_they_were}"),
            );
            continue;
        }
        let timed = hydration.is_some_and(|step| step.took.is_some());
        rules.check(HY_09, timed, format!("{what}: the job shows how long hydration took: {timed}"));
        let boot = testbed.boots(&install.machine.0)?.target;
        let after = testbed.point_content(&testbed.recovery, &point)?;
        let unchanged = same_content(&before, &after);
        let found = format!("{what}: up: {:?}; the point is unchanged: {unchanged}", boot.up);
        rules.check(HY_08, boot.up.is_ok() && unchanged && booted_from(&boot, &after), found);
    }
    Ok(())
}
