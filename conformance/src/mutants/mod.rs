//! Mutants: the core under test, made faulty on purpose. A suite that never fails a faulty core
//! proves nothing.
//!
//! - [`mutants`]: every mutant, of which [`MutantClass`], with the rules that it must break
//! - [`InjectedFault`]: a mutant that a run or a check has asked for
//! - `data_path`, `wrong_choices`: faults below the core's interface
//! - `interface`, `faulty_interface`, `answers`, `views`: faults at the core's interface
//! - `platform`, `faulty_platform`, `site_acts`: faults between the core and its platforms
//! - `field`, `field_platform`, `blank`: such faults as products had
//! - `across_sites`: what the faulty platforms of one core know together
//! - `activation`: from when on a fault is at work

mod across_sites;
mod activation;
mod answers;
mod blank;
mod class;
mod data_path;
mod faulty_interface;
mod faulty_platform;
mod field;
mod field_platform;
mod injected;
mod interface;
mod matrix;
mod mutant;
mod platform;
mod site_acts;
mod views;
mod wrong_choices;

pub use self::class::MutantClass;
pub use self::field::FieldFault;
pub use self::injected::{InjectedFault, UnknownFault};
pub use self::interface::InterfaceFault;
pub use self::matrix::{find, mutants};
pub use self::mutant::{GuestRun, Mutant};
pub use self::platform::PlatformFault;
