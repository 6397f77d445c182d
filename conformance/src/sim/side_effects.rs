//! What can be seen of a core and its sites from outside, and what is made of it.

use contract::{
    CoreError, ErrorCode, ItemView, JobFilter, JobView, Millis, PolicyView, RecoveryPlan, RecoveryPoint, Step,
};
use simulator::{Cut, Event, SimBoot, SimSite, SimWrite, Snapshot, cut_of, last_record};

use crate::rules::RuleId;
use crate::rules::RuleLog;
use crate::sim::said;
use crate::sim::testbed::Testbed;

/// Calls that change nothing at a site, as its record names them.
const READS: [&str; 5] = ["Site:", "Infrastructure:", "Machine:", "Machines:", "Volume:"];
/// A transfer that is due within this time may come in between two looks.
const NEAR: Millis = Millis(1_000);
/// Looks for a quiet moment; with a few machines there is one long before.
const LOOKS: u32 = 60;

/// All that is shown, and all that was done at the sites.
#[derive(PartialEq)]
struct ObservableState {
    items: Vec<ItemView>,
    jobs: Vec<JobView>,
    plans: Vec<RecoveryPlan>,
    policies: Vec<PolicyView>,
    done: Vec<Event>,
    parts: Vec<String>,
}

impl ObservableState {
    async fn of(lab: &Testbed) -> Result<Self, CoreError> {
        let events = lab.sites().into_iter().flat_map(|site| site.trace());
        let part =
            |site: &std::sync::Arc<SimSite>| format!("{:?} {:?}", site.components().all(), site.volumes());
        Ok(Self {
            items: lab.core.items().await?,
            jobs: lab.core.jobs(&JobFilter::default()).await?,
            plans: lab.core.plans().await?,
            policies: lab.core.policies().await?,
            done: events.filter(|event| !READS.iter().any(|read| event.what.starts_with(read))).collect(),
            parts: lab.sites().into_iter().map(part).collect(),
        })
    }

    /// What differs, in a word; `None` if nothing does.
    fn difference(&self, now: &Self) -> Option<&'static str> {
        let parts = [
            (self.items != now.items, "an item"),
            (self.jobs != now.jobs, "a job"),
            (self.plans != now.plans, "a plan"),
            (self.policies != now.policies, "a policy"),
            (self.done != now.done, "a site was told to do something"),
            (self.parts != now.parts, "a site's components or volumes"),
        ];
        parts.into_iter().find_map(|(differs, what)| differs.then_some(what))
    }
}

impl Testbed {
    /// The code with which something is refused; `None` if it is accepted. What was refused must have changed nothing.
    pub(crate) async fn refused<T>(
        &self,
        what: &str,
        asked: impl Future<Output = Result<T, CoreError>>,
    ) -> Result<Option<ErrorCode>, String> {
        self.quiet().await?;
        let before = ObservableState::of(self).await.map_err(said)?;
        let Err(refused) = asked.await else { return Ok(None) };
        match before.difference(&ObservableState::of(self).await.map_err(said)?) {
            None => Ok(Some(refused.code)),
            Some(changed) => {
                Err(format!("{what} was refused ({refused}) and yet changed something: {changed}"))
            }
        }
    }

    /// Notes whether what a rule forbids is refused by one of these codes, and leaves no trace.
    pub(crate) async fn forbids<T>(
        &self,
        rules: &mut RuleLog,
        (rule, what): (RuleId, &str),
        codes: &[ErrorCode],
        asked: impl Future<Output = Result<T, CoreError>>,
    ) -> Result<(), String> {
        let found = self.refused(what, asked).await?;
        let held = found.is_some_and(|code| codes.contains(&code));
        rules.check(rule, held, format!("{what}: {found:?}"));
        Ok(())
    }

    /// Waits for a moment at which nothing is under way and no transfer is due: what changes then, somebody asked for.
    pub(crate) async fn quiet(&self) -> Result<(), String> {
        self.world.settle().await;
        for _ in 0..LOOKS {
            let now = self.world.clock().now();
            let near = |item: &ItemView| {
                let (interval, newest) = (item.policy.policy.interval.0, item.points.last());
                newest.is_some_and(|point| interval - now.since(point.time).0 % interval <= NEAR.0)
            };
            if !self.core.items().await.map_err(said)?.iter().any(near) {
                return Ok(());
            }
            self.live(Millis(NEAR.0 + 1)).await;
        }
        Err("no quiet moment was found".to_owned())
    }

    /// What a processed point holds, disk by disk.
    pub(crate) fn content(&self, site: &SimSite, point: &RecoveryPoint) -> Result<Vec<Snapshot>, String> {
        let volume = |(_, volume): &(_, _)| site.snapshot(volume).ok_or(format!("{volume} cannot be read"));
        match point.volumes.is_empty() {
            true => Err(format!("{} names no volumes", point.id)),
            false => point.volumes.iter().map(volume).collect(),
        }
    }
}

/// How many of a source's writes a machine was started with, and the last record among them. Anything but an exact
/// prefix is an error.
pub(crate) fn held(source: &SimBoot, target: &SimBoot) -> Result<(usize, u64), String> {
    let log = source.log();
    match cut_of(&source.bases(), &log, &target.bases(), &[SimSite::hydrated()]) {
        Cut::Exact(range) => Ok((*range.end(), last_record(&log, *range.end()))),
        other => Err(format!("{}: {other:?}", target.machine)),
    }
}

/// The least number of a source's writes that gives what a machine was started with: those after it changed nothing.
pub(crate) fn at_least(source: &SimBoot, target: &SimBoot) -> Result<usize, String> {
    match cut_of(&source.bases(), &source.log(), &target.bases(), &[SimSite::hydrated()]) {
        Cut::Exact(range) => Ok(*range.start()),
        other => Err(format!("{}: {other:?}", target.machine)),
    }
}

/// The moments, in milliseconds, between which a source held exactly what a machine was started with.
pub(crate) fn stood(source: &SimBoot, target: &SimBoot) -> Result<(u64, u64), String> {
    let log = source.log();
    match cut_of(&source.bases(), &log, &target.bases(), &[SimSite::hydrated()]) {
        Cut::Exact(range) => {
            let at = |index: usize| log.get(index).map_or(u64::MAX, |write| write.at.0);
            Ok((range.start().checked_sub(1).map_or(0, at), at(*range.end())))
        }
        other => Err(format!("{}: {other:?}", target.machine)),
    }
}

/// Whether a machine was started with all that its source ever wrote.
pub(crate) fn whole(source: &SimBoot, target: &SimBoot) -> Result<bool, String> {
    Ok(held(source, target)?.0 == source.log().len())
}

/// Whether a machine was started from a moment at which its source's applications were at rest: the last write is the mark
/// of it, but for writes that changed nothing.
pub(crate) fn rested(source: &SimBoot, target: &SimBoot) -> Result<bool, String> {
    let log = source.log();
    let mark = |write: &SimWrite| write.record().is_some_and(|record| record.quiesced);
    match cut_of(&source.bases(), &log, &target.bases(), &[SimSite::hydrated()]) {
        Cut::Exact(mut range) => Ok(range.any(|cut| cut.checked_sub(1).is_some_and(|last| mark(&log[last])))),
        other => Err(format!("{}: {other:?}", target.machine)),
    }
}

/// Whether disks are those of another moment, but for the boot partition, which hydration may edit.
pub(crate) fn shows(boot: &SimBoot, point: &[Snapshot]) -> bool {
    let hydrated = SimSite::hydrated();
    let same = |(disk, (base, point)): (usize, (&Snapshot, &Snapshot))| {
        let allowed = |offset: &u64| disk == hydrated.disk && hydrated.bytes.contains(offset);
        base.size() == point.size() && base.differences(point, 512).iter().all(allowed)
    };
    let bases = boot.bases();
    bases.len() == point.len() && bases.iter().zip(point).enumerate().all(same)
}

/// Whether disks hold the same.
pub(crate) fn same(one: &[Snapshot], other: &[Snapshot]) -> bool {
    let alike = |(one, other): (&Snapshot, &Snapshot)| {
        one.size() == other.size() && one.differences(other, 512).is_empty()
    };
    one.len() == other.len() && one.iter().zip(other).all(alike)
}

/// The step of these words, if a job has it.
pub(crate) fn step<'a>(job: &'a JobView, name: &str) -> Option<&'a Step> {
    job.steps.iter().find(|step| step.name == name)
}
