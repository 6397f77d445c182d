//! Refusals: whether a core refuses a request by the right code, and leaves no side effects.

use std::sync::Arc;

use contract::{
    CoreError, ErrorCode, ItemId, ItemView, JobFilter, JobView, PointChoice, PolicyView, RecoveryPlan,
};
use simulator::testbed::failover_to;
use simulator::{Event, SimSite};

use crate::rules::ids::LC_02;
use crate::rules::{RuleId, RuleLog};
use crate::sim::early_end::EarlyEnd;
use crate::sim::testbed::Testbed;

/// Calls that change nothing at a site, as the site's trace names them.
const READS: [&str; 5] = ["Site:", "Infrastructure:", "Machine:", "Machines:", "Volume:"];

/// Everything that the core shows, and everything that was changed at the sites.
#[derive(PartialEq)]
struct ObservableState {
    items: Vec<ItemView>,
    jobs: Vec<JobView>,
    plans: Vec<RecoveryPlan>,
    policies: Vec<PolicyView>,
    /// Calls of the core that change something.
    changes: Vec<Event>,
    /// Components and volumes of each site.
    sites: Vec<String>,
}

fn shown<T>(answer: Result<Vec<T>, CoreError>) -> Result<Vec<T>, CoreError> {
    match answer {
        Err(error) if error.code == ErrorCode::NotSupported => Ok(Vec::new()),
        answer => answer,
    }
}

impl ObservableState {
    async fn of(testbed: &Testbed) -> Result<Self, CoreError> {
        let events = testbed.sites().into_iter().flat_map(|site| site.trace());
        let is_read = |event: &Event| READS.iter().any(|read| event.what.starts_with(read));
        let show = |site: &Arc<SimSite>| format!("{:?} {:?}", site.components().all(), site.volumes());
        // What a core cannot show is not compared.
        let core = testbed.opened();
        Ok(Self {
            items: shown(core.items().await)?,
            jobs: shown(core.jobs(&JobFilter::default()).await)?,
            plans: shown(core.plans().await)?,
            policies: shown(core.policies().await)?,
            changes: events.filter(|event| !is_read(event)).collect(),
            sites: testbed.sites().into_iter().map(show).collect(),
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
            (self.sites != now.sites, "a site's components or volumes"),
        ];
        kinds.into_iter().find_map(|(differs, kind)| differs.then_some(kind))
    }
}

/// Makes a request and returns the code with which the core refuses it; `None` if the core accepts
/// it. `what` names the request.
///
/// # Errors
/// The core refuses the request and changes something all the same.
pub(crate) async fn refused<T>(
    testbed: &Testbed,
    what: &str,
    request: impl Future<Output = Result<T, CoreError>>,
) -> Result<Option<ErrorCode>, EarlyEnd> {
    testbed.wait_until_idle().await?;
    let before = ObservableState::of(testbed).await?;
    let Err(refusal) = request.await else { return Ok(None) };
    match before.difference(&ObservableState::of(testbed).await?) {
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
pub(crate) async fn forbids<T>(
    testbed: &Testbed,
    rules: &mut RuleLog,
    (rule, what): (RuleId, &str),
    codes: &[ErrorCode],
    request: impl Future<Output = Result<T, CoreError>>,
) -> Result<(), EarlyEnd> {
    // A refusal that changes something is no refusal as this rule demands it.
    let found = refused(testbed, what, request).await.map_err(|end| EarlyEnd { rule, ..end })?;
    let by_right_code = found.is_some_and(|code| codes.contains(&code));
    let answer = found.map_or("accepted".to_owned(), |code| format!("refused by {code:?}"));
    rules.check(rule, by_right_code, format!("{what}: {answer}"));
    Ok(())
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
