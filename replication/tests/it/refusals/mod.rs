//! Everything that a core has to refuse: each operation in each state that does not allow it, each
//! operation while a job holds the item, and each kind of malformed request. A refusal has its code
//! and changes nothing, and what is allowed is accepted, so that a core that refuses everything
//! does not pass (LC-02).

mod bad_input;
mod fixture;

use std::cell::Cell;

use contract::{CoreError, ErrorCode, Operation, Phase};
use simulator::testbed::{INTERVAL, enable_request};
use simulator::{SimWorld, run};
use tokio::task::unconstrained;

use crate::support::ObservableState;
use fixture::{BEGINNING, HALF_LATENCY, KINDS, Kind, MACHINE, StateFixture, item};

const SEED: u64 = 17;

/// Asserts that an answer is a refusal with this code and a sentence.
fn assert_refused<T: std::fmt::Debug>(
    answer: Result<T, CoreError>,
    code: ErrorCode,
    asked: &str,
) -> CoreError {
    let error = answer.expect_err(asked);
    assert_eq!(error.code, code, "{asked}: {error}");
    assert!(error.message.contains(' '), "{asked}: {error:?} is not a sentence");
    error
}

/// Calls `work` in each state of each table that an item can stay in, with and without a test
/// failover. Returns in how many.
fn in_every_state(work: impl AsyncFn(&StateFixture, &str, bool)) -> usize {
    let mut states = 0;
    for kind in KINDS {
        for (state, path) in kind.states() {
            let Some(path) = path else { continue };
            for has_test_failover in [false, true] {
                if has_test_failover && !kind.accepts(state, false, Operation::TestFailover) {
                    continue;
                }
                let state_name = format!("{:?}, {state:?}, test failover: {has_test_failover}", kind.table);
                run(SEED, async |world| {
                    let fixture = at(world, &kind, &path, has_test_failover).await;
                    assert_eq!(fixture.at().await, state, "{state_name}");
                    work(&fixture, &state_name, has_test_failover).await;
                    fixture.testbed.core.close().await.unwrap();
                });
                states += 1;
            }
        }
    }
    states
}

async fn at(world: SimWorld, kind: &Kind, path: &[Operation], has_test_failover: bool) -> StateFixture {
    let fixture = StateFixture::after(world, kind, path).await;
    if has_test_failover {
        fixture.perform(Operation::TestFailover).await;
        fixture.until_between_transfers().await;
    }
    fixture
}

async fn operations(fixture: &StateFixture) -> Vec<Operation> {
    fixture.testbed.core.capabilities().await.unwrap().operations
}

#[test]
fn initial_replication_is_the_only_state_that_an_item_cannot_stay_in() {
    for kind in KINDS {
        for (state, path) in kind.states() {
            assert_eq!(
                path.is_none(),
                state.phase == Phase::InitialReplication,
                "{:?} {state:?}",
                kind.table
            );
        }
    }
}

#[test]
fn an_operation_that_a_state_does_not_allow_is_refused_and_changes_nothing() {
    let count = Cell::new(0);
    let states = in_every_state(async |fixture, state_name, has_test_failover| {
        let state = fixture.at().await;
        let before = ObservableState::of(&fixture.testbed).await;
        for operation in operations(fixture).await {
            let asked = format!("{state_name}: {operation:?}");
            let allowed = fixture.kind.accepts(state, has_test_failover, operation);
            if !allowed {
                assert_refused(fixture.request(operation).await, ErrorCode::NotAllowedInState, &asked);
                before.assert_unchanged(&fixture.testbed, &asked).await;
                count.set(count.get() + 1);
            }
            let wrong_direction = format!("{asked} in the wrong direction");
            let code = if allowed { ErrorCode::WrongDirection } else { ErrorCode::NotAllowedInState };
            if let Some(answer) = fixture.request_wrong_direction(operation).await {
                assert_refused(answer, code, &wrong_direction);
                before.assert_unchanged(&fixture.testbed, &wrong_direction).await;
                count.set(count.get() + 1);
            }
        }
        let again = fixture.testbed.core.enable_protection(&enable_request(MACHINE)).await;
        assert_refused(again, ErrorCode::AlreadyProtected, state_name);
        before.assert_unchanged(&fixture.testbed, state_name).await;
        // An interval later the refused requests have not changed anything either.
        fixture.testbed.advance(INTERVAL).await;
        assert_eq!(fixture.at().await, state, "{state_name}");
        assert_eq!(ObservableState::of(&fixture.testbed).await.jobs(), before.jobs(), "{state_name}");
    });
    println!("{} refusals in {states} states", count.get());
    assert!(count.get() > 200, "{}", count.get());
}

#[test]
fn an_operation_that_a_state_allows_is_shown_accepted_and_leads_to_the_tables_state() {
    let mut count = 0;
    for kind in KINDS {
        for (state, path) in kind.states() {
            let Some(path) = path else { continue };
            for row in kind.table.rows().iter().filter(|row| row.from == state) {
                run(SEED, async |world| {
                    let has_test_failover = row.operation == Operation::TestFailoverCleanup;
                    let fixture = at(world, &kind, &path, has_test_failover).await;
                    assert_shows_what_it_accepts(&fixture, has_test_failover).await;
                    fixture.perform(row.operation).await;
                    let after = fixture.testbed.core.item(&item()).await;
                    assert_eq!(after.ok().map(|view| view.protection), row.to, "{:?} {row:?}", kind.table);
                    fixture.testbed.core.close().await.unwrap();
                });
                count += 1;
            }
        }
    }
    println!("{count} operations accepted");
}

async fn assert_shows_what_it_accepts(fixture: &StateFixture, has_test_failover: bool) {
    let view = fixture.testbed.item(&item()).await.unwrap();
    let accepted = operations(fixture).await;
    let accepted =
        accepted.into_iter().filter(|op| fixture.kind.accepts(view.protection, has_test_failover, *op));
    let sorted = |mut operations: Vec<Operation>| {
        operations.sort();
        operations
    };
    assert_eq!(sorted(view.allowed), sorted(accepted.collect()));
}

/// Asserts that an item that a job holds refuses every operation that would start a job as busy,
/// and every operation that acts on a failover, unless the job is one, as not allowed. Returns how
/// many.
async fn assert_busy(fixture: &StateFixture, state_name: &str, holder: Option<Operation>) -> usize {
    let before = ObservableState::of(&fixture.testbed).await;
    let mut count = 0;
    for operation in operations(fixture).await {
        let is_failover = matches!(holder, Some(Operation::UnplannedFailover | Operation::PlannedFailover));
        let code = match operation {
            Operation::CancelFailover if is_failover => continue,
            Operation::CancelFailover | Operation::CompleteFailover => ErrorCode::NotAllowedInState,
            _ => ErrorCode::Busy,
        };
        let asked = format!("{state_name}, while {holder:?} runs: {operation:?}");
        assert_refused(fixture.request(operation).await, code, &asked);
        before.assert_unchanged(&fixture.testbed, &asked).await;
        count += 1;
    }
    let again = fixture.testbed.core.enable_protection(&enable_request(MACHINE)).await;
    assert_refused(again, ErrorCode::AlreadyProtected, state_name);
    before.assert_unchanged(&fixture.testbed, state_name).await;
    assert!(fixture.testbed.item(&item()).await.unwrap().allowed.is_empty(), "{state_name}");
    count
}

#[test]
fn while_a_job_holds_the_item_every_operation_is_refused_as_busy() {
    let mut count = 0;
    let mut running = 0;
    for kind in KINDS {
        for (state, path) in kind.states() {
            let Some(path) = path else { continue };
            for row in kind.table.rows().iter().filter(|row| row.from == state) {
                if matches!(row.operation, Operation::CompleteFailover | Operation::CancelFailover) {
                    continue;
                }
                run(SEED, async |world| {
                    let has_test_failover = row.operation == Operation::TestFailoverCleanup;
                    let fixture = at(world, &kind, &path, has_test_failover).await;
                    let job = fixture.request(row.operation).await.unwrap().unwrap();
                    let state_name = format!("{:?}, {state:?}", kind.table);
                    // At once after the job is accepted, and once more while it runs, if it takes
                    // time.
                    count += unconstrained(assert_busy(&fixture, &state_name, Some(row.operation))).await;
                    fixture.testbed.advance(HALF_LATENCY).await;
                    if !fixture.testbed.core.job(&job).await.unwrap().state.ended() {
                        count += unconstrained(assert_busy(&fixture, &state_name, Some(row.operation))).await;
                        running += 1;
                    }
                    // The job ends as if there had been no other request.
                    let ended = fixture.testbed.completed(&job).await;
                    assert!(ended.is_ok(), "{state_name}: {ended:?}");
                    let after = fixture.testbed.core.item(&item()).await;
                    assert_eq!(after.ok().map(|view| view.protection), row.to, "{state_name} {row:?}");
                    fixture.testbed.core.close().await.unwrap();
                });
            }
        }
    }
    println!("{count} refusals, {running} jobs were met while they ran");
    assert!(running >= KINDS.len() * 3, "{running}");
}

#[test]
fn an_item_in_initial_replication_is_busy_and_then_protected() {
    for kind in KINDS {
        run(SEED, async |world| {
            let fixture = StateFixture::unprotected(world, &kind).await;
            let job = fixture.testbed.core.enable_protection(&enable_request(MACHINE)).await.unwrap();
            for _ in 0..2 {
                assert_eq!(fixture.at().await.phase, Phase::InitialReplication);
                unconstrained(assert_busy(&fixture, "initial replication", None)).await;
                fixture.testbed.advance(HALF_LATENCY).await;
            }
            fixture.testbed.completed(&job).await.unwrap();
            assert_eq!(fixture.at().await, BEGINNING);
        });
    }
}
