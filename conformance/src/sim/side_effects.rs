//! Refusals: whether a core refuses a request by the right code, and leaves no side effects.
//!
//! A core may also accept the request and let its job fail by that code, without side effects.

use contract::{
    CoreError, ErrorCode, Health, ItemId, ItemView, JobFilter, JobId, JobState, JobView, PointChoice,
    PolicyView, RecoveryPlan,
};
use simulator::Event;
use simulator::testbed::failover_to;

use crate::refusal::MayStartJob;
use crate::rules::ids::{JO_03, LC_02};
use crate::rules::{RuleId, RuleLog};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::Testbed;

/// Calls that change nothing at a site, as the site's trace names them.
const READS: [&str; 5] = ["Site:", "Infrastructure:", "Machine:", "Machines:", "Volume:"];

/// Calls of a transfer and of what follows it, as the site's trace names them.
const TRANSFERS: [&str; 8] = [
    "OpenSnapshot",
    "CloseSnapshot:",
    "ExportVolume:",
    "CloseExport:",
    "CreateVolume:",
    "DeriveVolume:",
    "MergeVolumes:",
    "DeleteVolume:",
];

fn is_one_of(event: &Event, calls: &[&str]) -> bool {
    calls.iter().any(|call| event.what.starts_with(call))
}

/// Everything that the core shows, and everything that was changed at the sites.
#[derive(Clone, PartialEq)]
struct ObservableState {
    items: Vec<ItemView>,
    jobs: Vec<JobView>,
    plans: Vec<RecoveryPlan>,
    policies: Vec<PolicyView>,
    /// Calls of the core that change something.
    changes: Vec<Event>,
    /// Components of each site.
    components: Vec<String>,
    /// Volumes of each site.
    volumes: Vec<String>,
    /// Whether a transfer is under way.
    transfers: bool,
}

/// What a core shows, or nothing if it does not show such things.
fn if_supported<T>(shown: Result<Vec<T>, CoreError>) -> Result<Vec<T>, CoreError> {
    match shown {
        Err(error) if error.code == ErrorCode::NotSupported => Ok(Vec::new()),
        other => other,
    }
}

impl ObservableState {
    async fn of(testbed: &Testbed) -> Result<Self, CoreError> {
        let sites = testbed.sites();
        // What a core cannot show is not compared.
        let core = testbed.opened();
        let events = sites.iter().flat_map(|site| site.trace());
        Ok(Self {
            items: if_supported(core.items().await)?,
            jobs: if_supported(core.jobs(&JobFilter::default()).await)?,
            plans: if_supported(core.plans().await)?,
            policies: if_supported(core.policies().await)?,
            changes: events.filter(|event| !is_one_of(event, &READS)).collect(),
            components: sites.iter().map(|site| format!("{:?}", site.components().all())).collect(),
            volumes: sites.iter().map(|site| format!("{:?}", site.volumes())).collect(),
            transfers: sites.iter().any(|site| site.left_open() > 0),
        })
    }

    /// The kind of thing that differs; `None` if nothing does.
    fn difference(&self, now: &Self) -> Option<&'static str> {
        let kinds = [
            (self.items != now.items, "an item"),
            (self.jobs != now.jobs, "a job"),
            (self.plans != now.plans, "a plan"),
            (self.policies != now.policies, "a policy"),
            (self.changes != now.changes, "a site, by a call"),
            (self.components != now.components, "a site's components"),
            (self.volumes != now.volumes, "a site's volumes"),
        ];
        kinds.into_iter().find_map(|(differs, kind)| differs.then_some(kind))
    }

    /// Whether a transfer may have changed something between this state and a later one.
    fn transfers_until(&self, now: &Self) -> bool {
        let snapshots =
            |state: &Self| state.changes.iter().filter(|event| is_one_of(event, &TRANSFERS[..1])).count();
        self.transfers || now.transfers || snapshots(self) != snapshots(now)
    }

    /// The state without anything that transfers change, and without a job.
    fn beside_transfers(mut self, without: Option<&JobId>) -> Self {
        for item in &mut self.items {
            item.points.clear();
            item.resynchronisations.clear();
            item.health = Health::Healthy;
            item.trouble.clear();
        }
        self.jobs.retain(|job| Some(&job.id) != without);
        self.changes.retain(|event| !is_one_of(event, &TRANSFERS));
        self.volumes.clear();
        self.transfers = false;
        self
    }
}

/// The error of a job that this request has started and that failed.
async fn failure(
    testbed: &Testbed,
    before: &ObservableState,
    job: Option<&JobId>,
) -> Result<Option<(JobId, CoreError)>, EarlyEnd> {
    let Some(job) = job.filter(|job| before.jobs.iter().all(|known| known.id != **job)) else {
        return Ok(None);
    };
    let view = testbed.until(job, |view| view.state != JobState::InProgress).await?;
    Ok(view.error.filter(|_| view.state == JobState::Failed).map(|error| (view.id, error)))
}

/// Makes a request and returns the code with which the core refuses it, or with which the job fails
/// that it starts; `None` if the core accepts it. `what` names the request.
///
/// # Errors
/// The core refuses the request and changes something all the same.
pub(crate) async fn refused<T: MayStartJob>(
    testbed: &Testbed,
    what: &str,
    request: impl Future<Output = Result<T, CoreError>>,
) -> Result<Option<ErrorCode>, EarlyEnd> {
    testbed.wait_until_idle().await?;
    let before = ObservableState::of(testbed).await?;
    let (job, refusal) = match request.await {
        Err(refusal) => (None, refusal),
        Ok(answer) => match failure(testbed, &before, answer.job()).await? {
            Some((job, error)) => (Some(job), error),
            None => return Ok(None),
        },
    };
    let now = ObservableState::of(testbed).await?;
    // A job may need a while until it fails, and what replicates goes on replicating.
    let changed = if job.is_some() || before.transfers_until(&now) {
        before.beside_transfers(None).difference(&now.beside_transfers(job.as_ref()))
    } else {
        before.difference(&now)
    };
    match changed {
        None => Ok(Some(refusal.code)),
        Some(changed) => {
            let found = format!("the core refused {what} ({refusal}) and changed {changed} all the same");
            Err(EarlyEnd::core(LC_02, found))
        }
    }
}

/// Makes a request that a rule forbids, and records whether the core refuses it by one of these
/// codes.
///
/// # Errors
/// The core refuses the request and changes something all the same.
pub(crate) async fn forbids<T: MayStartJob>(
    testbed: &Testbed,
    rules: &mut RuleLog,
    (rule, what): (RuleId, &str),
    codes: &[ErrorCode],
    request: impl Future<Output = Result<T, CoreError>>,
) -> Result<(), EarlyEnd> {
    // A refusal that changes something is no refusal as this rule demands it.
    let found = refused(testbed, what, request).await.map_err(|end| EarlyEnd { rule, ..end })?;
    if found == Some(ErrorCode::NotSupported) && !codes.contains(&ErrorCode::NotSupported) {
        return Err(EarlyEnd::unsupported(rule, what));
    }
    let by_right_code = found.is_some_and(|code| codes.contains(&code));
    let answer = found.map_or("accepted".to_owned(), |code| format!("refused by {code:?}"));
    rules.check(rule, by_right_code, format!("{what}: {answer}"));
    Ok(())
}

/// Retries a job whose cause was repaired, and records whether the core does so (JO-03).
///
/// # Errors
/// The core refuses the retry.
pub(crate) async fn retries(testbed: &Testbed, rules: &mut RuleLog, job: &JobId) -> Result<(), EarlyEnd> {
    let retry = testbed.core.retry_job(job).await;
    if retry.as_ref().is_err_and(|error| error.code == ErrorCode::NotSupported) {
        return Err(EarlyEnd::unsupported(JO_03, "a retry"));
    }
    rules.check(JO_03, retry.is_ok(), format!("retry: {retry:?}"));
    Ok(retry?)
}

/// Asks for a failover to a point and returns the code with which the core refuses it; `None` if
/// the core accepts it.
///
/// # Errors
/// The core refuses the failover and changes something all the same.
pub(crate) async fn failover_refusal(
    testbed: &Testbed,
    item: &ItemId,
    point: PointChoice,
) -> Result<Option<ErrorCode>, EarlyEnd> {
    let request = failover_to(item, point);
    refused(testbed, "a failover", testbed.core.failover(&request)).await
}
