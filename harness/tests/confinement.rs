//! What a guest of ours may do to its host: QEMU runs in its seccomp sandbox, nothing listens
//! beyond loopback, and no other user can reach its sockets.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use harness::confinement;
use harness::host::Host;
use harness::machine::{Accelerator, Machine};
use harness::scratch::Scratch;
use harness::storage::StorageDaemon;

#[tokio::test]
async fn a_guest_is_confined() {
    let host = Host::connect(None).await.unwrap();
    let scratch = Scratch::new("confinement").unwrap();
    let dir = scratch.path().to_owned();
    let mut spec = support::empty_machine(&dir, "confined").await;
    spec.forwards = vec![22];
    let daemon = StorageDaemon::start("storage", &dir, &dir).await.unwrap();
    let machine = Machine::define(&host, Accelerator::Tcg, &scratch, spec).await.unwrap();
    let guest = machine.start().await.unwrap();
    let pid = guest.monitor().pid().unwrap();

    let found = confinement::of(pid).unwrap();
    assert!(found.seccomp, "{found:?}");
    let listening = confinement::listening(pid).unwrap();
    assert_eq!(listening.len(), 1, "the forwarded port: {listening:?}");
    assert!(listening.iter().all(|address| address.ip().is_loopback()), "{listening:?}");
    let sockets = sockets(&dir);
    assert!(sockets.len() >= 5, "{sockets:?}");
    for socket in &sockets {
        let mode = std::fs::metadata(socket).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{socket} has the mode {mode:o}");
    }
    machine.remove().await.unwrap();
    daemon.stop().await.unwrap();
}

fn sockets(dir: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut found = Vec::new();
    for entry in dir.read_dir_utf8().unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        match (kind.is_socket(), kind.is_dir()) {
            (true, _) => found.push(entry.path().to_owned()),
            (_, true) => found.extend(sockets(entry.path())),
            _ => {}
        }
    }
    found
}
