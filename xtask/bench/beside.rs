//! Measures something of ours and its peer, in one group of Criterion, and prints the ratio. The
//! crates that have benches include this file.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};

/// One of the two that are compared: its name, and work that says how long it took.
pub type Contestant<'a> = (&'a str, &'a mut dyn FnMut() -> Duration);

/// How long some work takes. What it returns is dropped after that.
pub fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    let result = black_box(work());
    let took = began.elapsed();
    drop(result);
    took
}

/// Measures ours and its peer on `bytes` bytes, and prints how many times as long ours takes.
/// Nothing is printed if only one of them was selected.
pub fn beside(
    criterion: &mut Criterion,
    group: &str,
    bytes: u64,
    ours: Contestant<'_>,
    peer: Contestant<'_>,
) {
    let names = [ours.0, peer.0];
    let mut group_of_both = criterion.benchmark_group(group);
    group_of_both.throughput(Throughput::Bytes(bytes));
    let medians = (measure(&mut group_of_both, ours), measure(&mut group_of_both, peer));
    group_of_both.finish();
    if let (Some(ours), Some(peer)) = medians {
        println!("{group}: {} takes {:.2} times as long as {}\n", names[0], ours / peer, names[1]);
    }
}

/// The median time in seconds; `None` if it was not selected.
fn measure(group: &mut BenchmarkGroup<'_, WallTime>, (name, work): Contestant<'_>) -> Option<f64> {
    let mut each = Vec::new();
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let took: Duration = (0..times).map(|_| work()).sum();
            each.push(took.as_secs_f64() / times.max(1) as f64);
            took
        });
    });
    each.sort_by(f64::total_cmp);
    each.get(each.len() / 2).copied()
}
