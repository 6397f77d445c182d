//! Disks that another process reads and writes at a socket.

use contract::{Access, Acknowledge, Bytes, Platform};
use nbd::Client;
use simulator::{SimFault, SimProfile, run};

use super::{MINUTE, config, content, reports_all_changes, running, web};

#[test]
fn another_process_reads_and_writes_disks_at_a_socket() {
    run(23, async |mut world| {
        world.serve_disks_at_socket().unwrap();
        let site = running(&world, config(SimProfile::VMWARE)).await;
        let older = site.open_snapshot(&web(), None).await.unwrap();
        assert!(older.disks.iter().all(|disk| disk.uri.starts_with("nbd+unix:///")), "{older:?}");
        let old: Vec<_> = (0..older.disks.len()).map(|disk| content(&older, disk)).collect();
        site.close_snapshot(&older.id, Acknowledge::Advance).await.unwrap();
        world.clock().sleep(MINUTE).await;
        let newer = site.open_snapshot(&web(), Some(&older.change_id)).await.unwrap();
        assert!(reports_all_changes(&older, &newer, &old));
        site.create_volume(&"v".into(), Bytes(1 << 20), None).await.unwrap();
        let export = site.export_volume(&"v".into(), Access::Write).await.unwrap();
        let mut client = Client::connect(&export.uri).unwrap();
        client.write(4096, &[7; 4096]).unwrap();
        site.inject(&SimFault::WriteError(1));
        assert_eq!(client.write(0, &[1]).unwrap_err().errno, nbd::errno::EIO);
        site.close_export(&export.id).await.unwrap();
        assert!(client.read(0, &mut [0; 512]).is_err(), "the export is closed");
        assert_eq!(site.snapshot(&"v".into()).unwrap().bytes(4096, 4096), vec![7; 4096]);
    });
}
