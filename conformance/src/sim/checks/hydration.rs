//! When a copy is processed before it starts, in failovers and test failovers alike (HY).

use contract::{AgentVersion, GuestFacts, GuestOs, PointChoice, Step};
use simulator::{SimInstall, SimProfile};

use crate::rules::RuleLog;
use crate::rules::ids::*;
use crate::sim::check::Check;
use crate::sim::side_effects::{same, shows, step};
use crate::sim::testbed::{BOOT, Setup, Testbed, test_failover_request};

pub(crate) const CHECKS: &[Check] = &[
    Check {
        name: "each single fact makes the extra step of a VMware machine due, and without any it is absent",
        rules: &[HY_01, HY_03, HY_05, HY_06, HY_07, HY_08, HY_09, TF_09],
        setup: Setup::vmware,
        body: |lab, rules| Box::pin(table(lab, rules, vmware())),
    },
    Check {
        name: "every physical server is processed",
        rules: &[HY_02, HY_08, HY_09, TF_09],
        setup: || Setup::of(SimProfile::PHYSICAL),
        body: |lab, rules| Box::pin(table(lab, rules, physical())),
    },
    Check {
        name: "no Hyper-V machine is processed, however old its agent",
        rules: &[HY_04, HY_07],
        setup: || Setup::of(SimProfile::HYPERV),
        body: |lab, rules| Box::pin(table(lab, rules, never(HY_04))),
    },
    Check {
        name: "no machine of a region is processed, however old its agent",
        rules: &[HY_07],
        setup: || Setup::of(SimProfile::AZURE),
        body: |lab, rules| Box::pin(table(lab, rules, never(HY_07))),
    },
];

/// A machine, whether the step is due for it, and the rule that says so.
struct Row {
    rule: RuleId,
    what: String,
    install: SimInstall,
    due: bool,
}

/// A Windows machine to which nothing is to be added: it starts with its own driver and the cloud's.
fn windows(name: &str, guest: GuestFacts) -> SimInstall {
    let loads = Some(["vmw_pvscsi", "ahci", "ata_piix"].map(ToOwned::to_owned).to_vec());
    SimInstall { os: GuestOs::Windows, guest, loads, ..SimInstall::new(name) }
}

fn vmware() -> Vec<Row> {
    let current = GuestFacts::default;
    let agent = |agent| GuestFacts { agent, ..current() };
    let row = |rule, what: &str, install, due| Row { rule, what: what.to_owned(), install, due };
    let no_dhcp = GuestFacts { dhcp_service: false, ..current() };
    let mut rows = vec![
        row(HY_07, "current, with all in order", windows("current", current()), false),
        row(HY_01, "agent 9.7", windows("older", agent(AgentVersion(9, 7))), true),
        row(HY_01, "agent 9.8", windows("newer", agent(AgentVersion::WITHOUT_HYDRATION)), false),
        row(HY_03, "Linux", SimInstall::new("linux"), true),
        row(HY_05, "no DHCP service", windows("static", no_dhcp), true),
    ];
    for driver in GuestFacts::CLOUD_DRIVERS {
        let mut guest = current();
        guest.boot_drivers.retain(|other| other != driver);
        rows.push(row(HY_06, &format!("without {driver}"), windows(&format!("no-{driver}"), guest), true));
    }
    rows
}

fn physical() -> Vec<Row> {
    let row = |what: &str, install| Row { rule: HY_02, what: what.to_owned(), install, due: true };
    vec![
        row("Windows, current", windows("windows", GuestFacts::default())),
        row("Linux", SimInstall::new("linux")),
    ]
}

fn never(rule: RuleId) -> Vec<Row> {
    let old = GuestFacts { agent: AgentVersion(9, 1), dhcp_service: false, ..GuestFacts::default() };
    let install = SimInstall { guest: old, ..SimInstall::new("old") };
    let row = |rule| Row {
        rule,
        what: "agent 9.1, no DHCP service".to_owned(),
        install: install.clone(),
        due: false,
    };
    // Two rules, of which the general one holds here as well.
    vec![row(rule)]
}

async fn table(lab: &Testbed, rules: &mut RuleLog, rows: Vec<Row>) -> Result<(), String> {
    for Row { rule, what, install, due } in rows {
        let name = install.machine.0.clone();
        let item = lab.protect_as(install, None).await?;
        lab.points(&item, 2).await?;
        let test = test_failover_request(&item, PointChoice::LatestProcessed);
        let test = lab.completed(lab.core.test_failover(&test).await).await?;
        let tested = step(&test, Step::HYDRATE).is_some();
        lab.completed(lab.core.clean_up_test_failover(&item).await).await?;
        let point = lab.processed(&item).await?.last().ok_or("there is no point")?.clone();
        let before = lab.content(&lab.recovery, &point)?;
        let job = lab.fail_over(&item, PointChoice::Custom(point.id.clone())).await?;
        lab.live(BOOT).await;
        let extra = step(&job, Step::HYDRATE);
        let right = extra.is_some() == due;
        rules.check(rule, right, format!("{what}: the extra step is there: {}", extra.is_some()));
        if !due {
            rules.check(HY_07, right, format!("{what}: the extra step is absent: {right}"));
            continue;
        }
        rules.check(TF_09, tested, format!("{what}: it is there in a test failover too: {tested}"));
        let timed = extra.is_some_and(|step| step.took.is_some());
        rules.check(HY_09, timed, format!("{what}: its time is told: {timed}"));
        let (_, boot) = lab.boots(&name)?;
        let after = lab.content(&lab.recovery, &point)?;
        let found = format!("{what}: up: {:?}; the point is as it was", boot.up);
        rules.check(HY_08, boot.up.is_ok() && same(&before, &after) && shows(&boot, &after), found);
    }
    Ok(())
}
