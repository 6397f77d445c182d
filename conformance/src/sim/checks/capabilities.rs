//! What a core says that it does not have.

use contract::{
    CoreError, DataSync, ErrorCode, FailoverRequest, ItemId, Operation, PointChoice, ReplicationCore,
    ReprotectRequest, TestFailoverRequest,
};
use simulator::testbed::{BACK, OUT};

use crate::capability_gate::operation_name;
use crate::rules::RuleLog;
use crate::rules::ids::LC_02;
use crate::sim::check::{Check, check};
use crate::sim::early_end::EarlyEnd;
use crate::sim::side_effects::refused;
use crate::sim::testbed::{Setup, Testbed};

pub(crate) const CHECKS: &[Check] = &[check!(
    "an operation that the core does not list is refused as not supported and changes nothing",
    &[LC_02],
    Setup::vmware,
    missing_operations
)];

async fn missing_operations(testbed: &Testbed, rules: &mut RuleLog) -> Result<(), EarlyEnd> {
    let core = testbed.opened();
    let listed = core.capabilities().await?.operations;
    let missing: Vec<_> = Operation::ALL.into_iter().filter(|one| !listed.contains(one)).collect();
    if missing.is_empty() {
        rules.check(LC_02, true, "the core lists every operation");
        return Ok(());
    }
    let item = testbed.protect("web").await?;
    testbed.wait_for_points(&item, 1).await?;
    for operation in missing {
        let name = operation_name(operation);
        let code = refused(testbed, &name, ask(&**core, &item, operation)).await?;
        let held = code == Some(ErrorCode::NotSupported);
        rules.check(LC_02, held, format!("`{name}`, which the core does not list: {code:?}"));
    }
    Ok(())
}

/// Asks a core for an operation.
async fn ask(core: &dyn ReplicationCore, item: &ItemId, operation: Operation) -> Result<(), CoreError> {
    match operation {
        Operation::UnplannedFailover => core.failover(&FailoverRequest::unplanned(item, OUT)).await.map(drop),
        Operation::PlannedFailover => {
            let data_sync = Some(DataSync::DuringFailover);
            let request = FailoverRequest { data_sync, ..FailoverRequest::planned(item, OUT) };
            core.failover(&request).await.map(drop)
        }
        Operation::TestFailover => {
            let request = TestFailoverRequest::isolated(item, PointChoice::LatestProcessed);
            core.test_failover(&request).await.map(drop)
        }
        Operation::TestFailoverCleanup => core.clean_up_test_failover(item).await.map(drop),
        Operation::CompleteFailover => core.complete_failover(item).await,
        Operation::CancelFailover => core.cancel_failover(item).await,
        Operation::ChangePoint => core.change_point(item, &PointChoice::LatestProcessed).await.map(drop),
        Operation::Commit => core.commit(item).await.map(drop),
        Operation::Reprotect => core.reprotect(&ReprotectRequest::new(item, BACK)).await.map(drop),
        Operation::ReverseReplicate => core.reverse_replicate(item).await.map(drop),
        Operation::DisableProtection => core.disable_protection(item).await.map(drop),
        Operation::Verify => core.verify(item).await.map(drop),
    }
}
