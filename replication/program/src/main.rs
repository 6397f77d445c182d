//! The built-in core as a program: `cargo xtask conformance --core target/debug/roundtrip-core`.

mod suite_time;

use std::process::ExitCode;
use std::sync::Arc;

use contract::CoreError;
use replication::{Clock, Config, Core};
use wire::protocol::Time;
use wire::server::{About, CoreParts};

use crate::suite_time::SuiteTime;

fn main() -> ExitCode {
    wire::server::run(About::any_time("built-in", env!("CARGO_PKG_VERSION")), open)
}

fn open(parts: CoreParts) -> Result<Core, CoreError> {
    let clock = match parts.time {
        Time::System => Clock::system(),
        Time::Virtual => Clock::from_source(Arc::new(SuiteTime(parts.clock))),
    };
    Core::open(Config { platforms: parts.platforms, dir: parts.dir, fault_hook: None, clock })
}
