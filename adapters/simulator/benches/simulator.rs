//! What the simulator does for each machine, beside the same on plain bytes.

use contract::{Access, Bytes, Millis, Platform as _};
use criterion::{Criterion, criterion_group, criterion_main};
use nbd::Client;
use simulator::{Cut, SimBoot, SimConfig, SimInstall, SimProfile, SimSite, SimWorld, Snapshot, cut_of, run};

use beside::{beside, timed};

#[path = "../../../xtask/bench/beside.rs"]
mod beside;

const DISK: u64 = 16 << 20;
const MACHINE: &str = "m";
const SEED: u64 = 1;

/// A machine with one disk that has run for an hour, and that disk.
async fn an_hour(world: &SimWorld) -> (std::sync::Arc<SimSite>, Snapshot) {
    let site = world.site(SimConfig::new("site", SimProfile::VMWARE));
    let install = SimInstall { disks: vec![("system".into(), Bytes(DISK))], ..SimInstall::new(MACHINE) };
    site.install(&install).expect("a new machine");
    site.start(&MACHINE.into()).await.expect("it starts");
    world.clock().sleep(Millis(3_600_000)).await;
    let disk = site.snapshot(&install.volume(&"system".into())).expect("its disk");
    (site, disk)
}

/// Applies a boot's writes to plain bytes, and returns whether that makes the disk.
fn replay(boot: &SimBoot, disk: &[u8]) -> bool {
    let mut bytes = boot.disks[0].base.bytes(0, DISK as usize);
    for write in boot.log() {
        let (at, data) = (write.offset as usize, write.data());
        bytes[at..at + data.len()].copy_from_slice(&data);
    }
    bytes == disk
}

fn simulator(criterion: &mut Criterion) {
    run(SEED, async |world| {
        let (site, disk) = an_hour(&world).await;
        let boot = site.last_boot(&MACHINE.into()).expect("a boot");
        let (log, bytes) = (boot.log(), disk.bytes(0, DISK as usize));
        let recovered = [disk.clone()];
        beside(
            criterion,
            "simulator, place a disk among the writes of an hour",
            DISK,
            ("cut_of", &mut || {
                let found = |cut| matches!(cut, Cut::Exact(writes) if *writes.end() == log.len());
                timed(|| assert!(found(cut_of(&boot.bases(), &log, &recovered, &[]))))
            }),
            ("replay on bytes", &mut || timed(|| assert!(replay(&boot, &bytes)))),
        );
        beside(
            criterion,
            "simulator, read a disk",
            DISK,
            ("snapshot", &mut || timed(|| disk.bytes(0, DISK as usize))),
            ("copy", &mut || timed(|| bytes.clone())),
        );
        writes(criterion, &site, &bytes).await;
    });
    criterion.bench_function("simulator, an hour of a machine", |bencher| {
        bencher.iter(|| run(SEED, async |world| an_hour(&world).await.1.stored()));
    });
}

/// Writes a disk through an export, as a core does, each time with other content.
async fn writes(criterion: &mut Criterion, site: &SimSite, bytes: &[u8]) {
    site.create_volume(&"copy".into(), Bytes(DISK), None).await.expect("a new volume");
    let export = site.export_volume(&"copy".into(), Access::Write).await.expect("an export");
    let mut client = Client::connect(&export.uri).expect("a connection");
    let other: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    let (mut copy, mut turn) = (vec![0; bytes.len()], 0);
    beside(
        criterion,
        "simulator, write a disk",
        DISK,
        ("export", &mut || {
            turn += 1;
            let content = if turn % 2 == 0 { bytes } else { &other };
            timed(|| {
                for (index, part) in content.chunks(1 << 20).enumerate() {
                    client.write((index as u64) << 20, part).expect("it is written");
                }
                client.flush().expect("it is kept");
            })
        }),
        ("copy", &mut || timed(|| copy.copy_from_slice(bytes))),
    );
    drop(client);
    site.close_export(&export.id).await.expect("it is closed");
}

criterion_group!(benches, simulator);
criterion_main!(benches);
