//! The core is killed at each of its calls, before and after the call's effect, and opened again
//! over the same directory: it must end in the same state as without the death.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use contract::DataSync;
use simulator::{SimProfile, run};

use crate::support::panic_text;
use crate::support::restart_fixture::Stage::{
    self, ChangePoint, CleanUp, Commit, Disable, Enable, FailBack, FailOver, PlannedFailBack,
    PlannedFailOver, Points, ReprotectBack, ReprotectOut, ReverseReplicate, TestFailover,
};
use crate::support::restart_fixture::{Death, Remains, RestartFixture};

const SEED: u64 = 7;

/// The stages that a machine goes through.
struct Cycle {
    primary: SimProfile,
    stages: &'static [Stage],
}

const VMWARE: Cycle = Cycle {
    primary: SimProfile::VMWARE,
    stages: &[
        Enable,
        // The fourth point makes a merge due.
        Points(4),
        TestFailover,
        CleanUp,
        FailOver,
        Commit,
        ReprotectBack,
        Points(4),
        FailBack,
        Commit,
        ReprotectOut,
        Points(2),
    ],
};

const HYPERV: Cycle = Cycle {
    primary: SimProfile::HYPERV,
    stages: &[
        Enable,
        Points(2),
        PlannedFailOver,
        Commit,
        PlannedFailBack(DataSync::BeforeFailover),
        Commit,
        ReverseReplicate,
        Points(2),
    ],
};

const HYPERV_DOWNLOAD: Cycle = Cycle {
    primary: SimProfile::HYPERV,
    stages: &[
        Enable,
        PlannedFailOver,
        Commit,
        PlannedFailBack(DataSync::DuringFailover),
        Commit,
        ReverseReplicate,
        Points(2),
    ],
};

const CHANGED_POINT: Cycle = Cycle {
    primary: SimProfile::VMWARE,
    stages: &[Enable, Points(3), FailOver, ChangePoint, Commit, ReprotectBack],
};

const ENDED: Cycle = Cycle { primary: SimProfile::VMWARE, stages: &[Enable, Points(4), Disable, Enable] };

const ENDED_IN_THE_CLOUD: Cycle = Cycle {
    primary: SimProfile::VMWARE,
    stages: &[Enable, FailOver, Commit, ReprotectBack, Points(4), Disable],
};

/// A stage without a death.
struct Undisturbed {
    remains: Remains,
    /// The names of the core's calls in it.
    calls: Vec<String>,
}

fn undisturbed(cycle: &Cycle) -> Vec<Undisturbed> {
    run(SEED, async |world| {
        let mut fixture = RestartFixture::new(world, cycle.primary.clone()).await;
        let mut all = Vec::new();
        for stage in cycle.stages {
            let from = fixture.calls();
            let (calls, remains) = fixture.take(*stage, None).await.unwrap();
            let calls = (1..=calls).map(|call| fixture.name(from + call)).collect();
            all.push(Undisturbed { remains, calls });
        }
        fixture.close().await;
        all
    })
}

/// Goes to a stage, lets the core die in it, and goes one stage further.
fn disturbed(cycle: &Cycle, at: usize, death: Death, undisturbed: &[Undisturbed]) -> Result<(), String> {
    run(SEED, async |world| {
        let mut fixture = RestartFixture::new(world, cycle.primary.clone()).await;
        for stage in &cycle.stages[..at] {
            fixture.take(*stage, None).await?;
        }
        let (_, remains) = fixture.take(cycle.stages[at], Some(death)).await?;
        let mut ended = same(&remains, &undisturbed[at].remains, true);
        if !matches!(cycle.stages.get(at + 1), Some(Disable)) {
            fixture.continues().await?;
            if matches!(cycle.stages[at], Points(_)) && ended.is_err() {
                // The next merge also removes what an interrupted merge left behind.
                fixture.continues().await?;
                ended = same(&fixture.remains().await, &undisturbed[at].remains, true);
            }
            ended?;
        }
        if let Some(stage) = cycle.stages.get(at + 1) {
            let in_next = |what: String| format!("then {stage:?}: {what}");
            let (_, remains) = fixture.take(*stage, None).await.map_err(in_next)?;
            same(&remains, &undisturbed[at + 1].remains, false).map_err(in_next)?;
        }
        fixture.close().await;
        Ok(())
    })
}

/// Compares what two runs left behind. `record`: including the record that was recovered, which
/// depends on time in a later stage.
fn same(remains: &Remains, undisturbed: &Remains, record: bool) -> Result<(), String> {
    let differs = |(what, was): (&&str, &String)| {
        let is = remains.get(*what)?;
        (is != was && (record || *what != "record")).then(|| format!("{what}: {is}, undisturbed {was}"))
    };
    let differences: Vec<_> = undisturbed.iter().filter_map(differs).collect();
    if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }
}

/// Kills the core at every call of one stage, before and after the call's effect, once or twice.
fn die_in(cycle: &Cycle, at: usize) {
    let began = Instant::now();
    let undisturbed = undisturbed(cycle);
    let stage = cycle.stages[at];
    let calls = &undisturbed[at].calls;
    assert!(!calls.is_empty(), "{stage:?} makes no call");
    let mut runs = 0;
    let mut wrong = Vec::new();
    for (call, name) in (1..).zip(calls) {
        for takes_effect in [false, true] {
            // The number of the first call decides how soon the second death comes.
            let again = 1 + (call * 5 + u64::from(takes_effect)) % 13;
            let once = Death::At { call, takes_effect };
            for death in [once, Death::Twice { call, takes_effect, again }] {
                runs += 1;
                let ended = catch_unwind(AssertUnwindSafe(|| disturbed(cycle, at, death, &undisturbed)));
                if let Err(what) = ended.unwrap_or_else(|panic| Err(panic_text(&*panic))) {
                    wrong.push(format!("seed {SEED}, {stage:?}, {death:?} {name}: {what}"));
                }
            }
        }
    }
    println!("{stage:?}: {runs} runs in {:.1} s, {} wrong", began.elapsed().as_secs_f32(), wrong.len());
    assert!(wrong.is_empty(), "{} of {runs} runs:\n{}", wrong.len(), wrong.join("\n"));
}

macro_rules! killed {
    ($($name:ident: $cycle:ident[$at:expr];)+) => {
        $(#[test]
        fn $name() {
            die_in(&$cycle, $at);
        })+
    };
}

killed! {
    vmware_enables_protection: VMWARE[0];
    vmware_processes_and_merges_points: VMWARE[1];
    vmware_has_a_test_failover: VMWARE[2];
    vmware_cleans_a_test_failover_up: VMWARE[3];
    vmware_fails_over_from_a_lost_site: VMWARE[4];
    vmware_commits_a_failover: VMWARE[5];
    vmware_reprotects_back: VMWARE[6];
    vmware_processes_points_on_the_primary_site: VMWARE[7];
    vmware_fails_back: VMWARE[8];
    vmware_commits_a_failback: VMWARE[9];
    vmware_reprotects_out: VMWARE[10];
    hyperv_has_a_planned_failover: HYPERV[2];
    hyperv_commits_a_failover: HYPERV[3];
    hyperv_synchronises_and_fails_back: HYPERV[4];
    hyperv_commits_a_failback: HYPERV[5];
    hyperv_replicates_again: HYPERV[6];
    hyperv_downloads_and_fails_back: HYPERV_DOWNLOAD[3];
    a_changed_point_is_built: CHANGED_POINT[3];
    a_changed_point_is_committed: CHANGED_POINT[4];
    protection_is_disabled: ENDED[2];
    protection_is_disabled_in_the_cloud: ENDED_IN_THE_CLOUD[5];
}

#[test]
fn points_are_merged_before_protection_is_disabled() {
    die_in(&ENDED, 1);
}

#[test]
fn a_core_that_is_killed_while_a_failback_waits_waits_again() {
    let undisturbed = undisturbed(&HYPERV);
    disturbed(&HYPERV, 4, Death::Waiting, &undisturbed).unwrap();
}

#[test]
fn cycles_without_a_death_succeed() {
    for cycle in [VMWARE, HYPERV, HYPERV_DOWNLOAD] {
        for stage in undisturbed(&cycle) {
            assert!(stage.calls.iter().all(|name| !name.is_empty()));
            assert_eq!([&stage.remains["primary open"], &stage.remains["recovery open"]], ["0", "0"]);
        }
    }
}
