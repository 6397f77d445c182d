//! Everything that a core has to refuse: each operation in each state where it is not allowed, each one while a job
//! holds the item, and each kind of bad request. A refusal has its code and leaves nothing behind; what is allowed
//! is accepted, so that a core which refuses everything does not pass (LC-02).

mod bad_input;
mod house;
mod seen;

use crate::support::{INTERVAL, enable};
use contract::{CoreError, ErrorCode, JobState, Operation, Phase, ReplicationCore};
use house::{House, KINDS, Kind, item};
use seen::Seen;
use simulator::{SimWorld, run};
use tokio::task::unconstrained;

const SEED: u64 = 17;

/// Asserts that an answer is a refusal with this code and a sentence.
fn refused<T: std::fmt::Debug>(answer: Result<T, CoreError>, code: ErrorCode, asked: &str) -> CoreError {
    let error = answer.expect_err(asked);
    assert_eq!(error.code, code, "{asked}: {error}");
    assert!(error.message.contains(' '), "{asked}: {error:?} is no sentence");
    error
}

/// Calls `work` in each state of each table that an item can rest in, with and without a test failover.
fn everywhere(work: impl AsyncFn(&House, &str, bool)) -> usize {
    let mut places = 0;
    for kind in KINDS {
        for (state, way) in kind.states() {
            let Some(way) = way else { continue };
            for has_test_failover in [false, true] {
                if has_test_failover && !kind.accepts(state, false, Operation::TestFailover) {
                    continue;
                }
                let place = format!("{:?}, {state:?}, test failover: {has_test_failover}", kind.table);
                run(SEED, async |world| {
                    let house = at(world, &kind, &way, has_test_failover).await;
                    assert_eq!(house.at().await, state, "{place}");
                    work(&house, &place, has_test_failover).await;
                    house.pair.core.close().await.unwrap();
                });
                places += 1;
            }
        }
    }
    places
}

async fn at(world: SimWorld, kind: &Kind, way: &[Operation], has_test_failover: bool) -> House {
    let house = House::reached(world, kind, way).await;
    if has_test_failover {
        house.perform(Operation::TestFailover).await;
        house.at_rest().await;
    }
    house
}

async fn operations(house: &House) -> Vec<Operation> {
    house.pair.core.capabilities().await.unwrap().operations
}

#[test]
fn only_initial_replication_is_a_state_that_no_item_rests_in() {
    for kind in KINDS {
        for (state, way) in kind.states() {
            assert_eq!(way.is_none(), state.phase == Phase::InitialReplication, "{:?} {state:?}", kind.table);
        }
    }
}

#[test]
fn whatever_is_not_allowed_in_a_state_is_refused_and_leaves_no_trace() {
    let count = std::cell::Cell::new(0);
    let places = everywhere(async |house, place, has_test_failover| {
        let state = house.at().await;
        let before = Seen::of(&house.pair).await;
        for operation in operations(house).await {
            let asked = format!("{place}: {operation:?}");
            let allowed = house.kind.accepts(state, has_test_failover, operation);
            if !allowed {
                refused(house.ask(operation).await, ErrorCode::NotAllowedInState, &asked);
                before.unchanged(&house.pair, &asked).await;
                count.set(count.get() + 1);
            }
            let astray = format!("{asked} astray");
            let code = if allowed { ErrorCode::WrongDirection } else { ErrorCode::NotAllowedInState };
            if let Some(answer) = house.ask_astray(operation).await {
                refused(answer, code, &astray);
                before.unchanged(&house.pair, &astray).await;
                count.set(count.get() + 1);
            }
        }
        let again = house.pair.core.enable_protection(&enable(&item(), house::MACHINE)).await;
        refused(again, ErrorCode::AlreadyProtected, place);
        before.unchanged(&house.pair, place).await;
        // Nothing comes of it later either.
        house.pair.live(INTERVAL).await;
        assert_eq!(house.at().await, state, "{place}");
        assert_eq!(Seen::of(&house.pair).await.jobs(), before.jobs(), "{place}");
    });
    println!("{} refusals in {places} states", count.get());
    assert!(count.get() > 200, "{}", count.get());
}

#[test]
fn whatever_is_allowed_in_a_state_is_shown_accepted_and_leads_where_the_table_says() {
    let mut count = 0;
    for kind in KINDS {
        for (state, way) in kind.states() {
            let Some(way) = way else { continue };
            for row in kind.table.rows().iter().filter(|row| row.from == state) {
                run(SEED, async |world| {
                    let has_test_failover = row.operation == Operation::TestFailoverCleanup;
                    let house = at(world, &kind, &way, has_test_failover).await;
                    shows_what_it_accepts(&house, has_test_failover).await;
                    house.perform(row.operation).await;
                    let after = house.pair.core.item(&item()).await;
                    assert_eq!(after.ok().map(|view| view.protection), row.to, "{:?} {row:?}", kind.table);
                    house.pair.core.close().await.unwrap();
                });
                count += 1;
            }
        }
    }
    println!("{count} operations accepted");
}

async fn shows_what_it_accepts(house: &House, has_test_failover: bool) {
    let view = house.pair.item(&item()).await;
    let accepted = operations(house).await;
    let accepted =
        accepted.into_iter().filter(|op| house.kind.accepts(view.protection, has_test_failover, *op));
    let sorted = |mut operations: Vec<Operation>| {
        operations.sort();
        operations
    };
    assert_eq!(sorted(view.allowed), sorted(accepted.collect()));
}

/// What a held item answers: busy to all that would be a job, and to what only a failover hears, that there is none.
async fn busy(house: &House, place: &str, holder: Option<Operation>) -> usize {
    let before = Seen::of(&house.pair).await;
    let mut count = 0;
    for operation in operations(house).await {
        let is_failover = matches!(holder, Some(Operation::UnplannedFailover | Operation::PlannedFailover));
        let code = match operation {
            Operation::CancelFailover if is_failover => continue,
            Operation::CancelFailover | Operation::CompleteFailover => ErrorCode::NotAllowedInState,
            _ => ErrorCode::Busy,
        };
        let asked = format!("{place}, {holder:?} at work: {operation:?}");
        refused(house.ask(operation).await, code, &asked);
        before.unchanged(&house.pair, &asked).await;
        count += 1;
    }
    let again = house.pair.core.enable_protection(&enable(&item(), house::MACHINE)).await;
    refused(again, ErrorCode::AlreadyProtected, place);
    before.unchanged(&house.pair, place).await;
    assert!(house.pair.item(&item()).await.allowed.is_empty(), "{place}");
    count
}

#[test]
fn while_a_job_holds_the_item_every_operation_is_refused_as_busy() {
    let (mut count, mut at_work) = (0, 0);
    for kind in KINDS {
        for (state, way) in kind.states() {
            let Some(way) = way else { continue };
            for row in kind.table.rows().iter().filter(|row| row.from == state) {
                if matches!(row.operation, Operation::CompleteFailover | Operation::CancelFailover) {
                    continue;
                }
                run(SEED, async |world| {
                    let has_test_failover = row.operation == Operation::TestFailoverCleanup;
                    let house = at(world, &kind, &way, has_test_failover).await;
                    let job = house.ask(row.operation).await.unwrap().unwrap();
                    let place = format!("{:?}, {state:?}", kind.table);
                    // As soon as it is accepted, and where it takes time, in its midst.
                    count += unconstrained(busy(&house, &place, Some(row.operation))).await;
                    house.pair.live(house::LATENCY_HALF).await;
                    if !house.pair.core.job(&job).await.unwrap().state.ended() {
                        count += unconstrained(busy(&house, &place, Some(row.operation))).await;
                        at_work += 1;
                    }
                    // It ends as if nobody had asked for anything else.
                    assert_eq!(house.pair.completed(&job).await.state, JobState::Completed, "{place}");
                    let after = house.pair.core.item(&item()).await;
                    assert_eq!(after.ok().map(|view| view.protection), row.to, "{place} {row:?}");
                    house.pair.core.close().await.unwrap();
                });
            }
        }
    }
    println!("{count} refusals, {at_work} jobs met in their midst");
    assert!(at_work >= KINDS.len() * 3, "{at_work}");
}

#[test]
fn an_item_in_initial_replication_is_busy_and_protected_when_that_is_over() {
    for kind in KINDS {
        run(SEED, async |world| {
            let house = House::bare(world, &kind).await;
            let job = house.pair.core.enable_protection(&enable(&item(), house::MACHINE)).await.unwrap();
            for _ in 0..2 {
                assert_eq!(house.at().await.phase, Phase::InitialReplication);
                unconstrained(busy(&house, "initial replication", None)).await;
                house.pair.live(house::LATENCY_HALF).await;
            }
            house.pair.completed(&job).await;
            assert_eq!(house.at().await, house::BEGINNING);
        });
    }
}
