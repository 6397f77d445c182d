//! What is run on guests: one file a scenario.

pub(crate) mod change_tracking_limits;
pub(crate) mod cycle;
pub(crate) mod faults;
pub(crate) mod hydration;
pub(crate) mod hyperv;
pub(crate) mod identity;
pub(crate) mod iops;
pub(crate) mod networks;
pub(crate) mod one_way;
pub(crate) mod replication_group;
pub(crate) mod test_failover;
