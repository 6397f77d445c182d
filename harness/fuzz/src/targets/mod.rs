//! The targets: functions of bytes that panic if a property does not hold.

pub mod independent_log;
pub mod oracle;
pub mod qcow2;
pub mod write_log;
