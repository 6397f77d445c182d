//! State machines as tables, one for each kind of platform pair (LC-01, LC-02).
//!
//! A failback is a failover that leaves the recovery side (LC-08), so a table lists failover once
//! for each side. An operation that is not in the table is refused with `not-allowed-in-state` and
//! changes nothing.

mod diagram;
mod hyperv;
mod pair;
mod reprotecting;
mod row;

pub use diagram::page;
pub use pair::Pair;
pub use row::Row;
