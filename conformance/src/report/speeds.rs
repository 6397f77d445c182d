//! How fast a guest wrote, as reports print it.

use super::figures::grouped;
use crate::outcome::Speed;

/// The depths that were measured, in order.
pub(super) fn depths(speeds: &[Speed]) -> Vec<u32> {
    let mut depths: Vec<_> = speeds.iter().map(|speed| speed.depth).collect();
    depths.dedup();
    depths
}

/// `depth 1: 1,234 writes a second with neither · log 0.93 × · replication 0.85 × · both 0.80 ×`.
pub(super) fn speed_line(speeds: &[Speed], depth: u32) -> String {
    let parts = speeds.iter().filter(|speed| speed.depth == depth).map(|speed| {
        match (speed.log, speed.replication) {
            (false, false) => {
                let mean = speed.per_second.iter().sum::<f64>() / speed.per_second.len().max(1) as f64;
                format!("{} writes a second with neither", grouped(mean as u64))
            }
            (true, false) => format!("log {:.2} ×", speed.ratio),
            (false, true) => format!("replication {:.2} ×", speed.ratio),
            (true, true) => format!("both {:.2} ×", speed.ratio),
        }
    });
    format!("depth {depth}: {}", parts.collect::<Vec<_>>().join(" · "))
}
