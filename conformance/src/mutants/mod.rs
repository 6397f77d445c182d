//! Mutants: the core under test, made faulty on purpose. A suite that never fails a faulty core
//! proves nothing.
//!
//! - [`MUTANTS`]: every mutant, with the rules that it must break
//! - [`InjectedFault`]: a mutant that a run or a check has asked for
//! - `data_path`: faults below the core's interface
//! - `interface`, `faulty_interface`: faults at the core's interface
//! - `platform`, `faulty_platform`: faults between the core and its platforms
//! - `activation`: from when on a fault is at work

mod activation;
mod data_path;
mod faulty_interface;
mod faulty_platform;
mod injected;
mod interface;
mod matrix;
mod platform;

pub use self::injected::{InjectedFault, UnknownFault};
pub use self::interface::InterfaceFault;
pub use self::matrix::{MUTANTS, Mutant};
pub use self::platform::PlatformFault;
