//! One transfer: changes of one machine, or of all machines of a group at one moment, into their landing logs.

use std::sync::Arc;

use contract::{
    Access, Acknowledge, Bytes, ChangeId, Consistency, CoreError, DiskSnapshot, ErrorCode, GroupPointId,
    MachineId, Platform, PlatformErrorKind, SnapshotRequest,
};

use crate::core::Inner;
use crate::exports::open_all;
use crate::item::{Item, Landed};
use crate::landing::Writer;
use crate::processor::{not_replicating, process_all};
use crate::resync;
use crate::transfer::{self, Source, blocking};

/// Where an item's changes come from.
struct Origin {
    platform: Arc<dyn Platform>,
    machine: MachineId,
    since: Option<ChangeId>,
}

impl Origin {
    async fn of(core: &Inner, item: &Item) -> Result<Self, CoreError> {
        let record = item.record.lock().await;
        let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
        let (site, machine) = record.on(replica.side.other()).clone();
        Ok(Self { platform: core.platform(&site)?, machine, since: replica.received.clone() })
    }
}

/// How a view was taken.
#[derive(Clone, Default)]
struct Taken {
    at_rest: bool,
    multi_vm: Option<GroupPointId>,
}

/// One transfer of one machine, as if its power had failed (RP-17). Returns its number.
pub(crate) async fn transfer_once(core: &Inner, item: &Item) -> Result<u64, CoreError> {
    let origin = Origin::of(core, item).await?;
    let view = origin.platform.open_snapshot(&origin.machine, origin.since.as_ref()).await?;
    land(core, item, &origin, &view, Taken::default()).await
}

/// One transfer of items that replicate from one site: of one moment if there are several, with the applications
/// at rest if asked and possible. Tells how it went for each.
pub(crate) async fn transfer_together(
    core: &Inner,
    items: &[Arc<Item>],
    consistency: Consistency,
) -> Result<Vec<Result<u64, CoreError>>, CoreError> {
    if let ([item], Consistency::Crash) = (items, consistency) {
        return Ok(vec![transfer_once(core, item).await]);
    }
    let mut origins = Vec::new();
    for item in items {
        origins.push(Origin::of(core, item).await?);
    }
    let Some(first) = origins.first() else { return Ok(Vec::new()) };
    let machines = origins.iter().map(|origin| (origin.machine.clone(), origin.since.clone())).collect();
    let mut request = SnapshotRequest { machines, consistency };
    let mut opened = first.platform.open_snapshots(&request).await;
    if consistency == Consistency::App {
        note_rest(core, items, opened.as_ref().err().map(ToString::to_string)).await?;
        if opened.as_ref().is_err_and(|error| error.kind == PlatformErrorKind::NotQuiesced) {
            // Better a point without rest than none.
            request.consistency = Consistency::Crash;
            opened = first.platform.open_snapshots(&request).await;
        }
    }
    let views = match opened {
        Ok(views) => views,
        // One machine that cannot be seen must not keep the others from their points.
        Err(_) if items.len() > 1 => return Ok(each_alone(core, items).await),
        Err(error) => return Err(error.into()),
    };
    let multi_vm = (items.len() > 1).then(|| views.first().map(name_moment)).flatten();
    let taken = Taken { at_rest: request.consistency == Consistency::App, multi_vm };
    let mut landed = Vec::new();
    for ((item, origin), view) in items.iter().zip(&origins).zip(&views) {
        landed.push(land(core, item, origin, view, taken.clone()).await);
    }
    Ok(landed)
}

async fn each_alone(core: &Inner, items: &[Arc<Item>]) -> Vec<Result<u64, CoreError>> {
    let mut landed = Vec::new();
    for item in items {
        landed.push(transfer_once(core, item).await);
    }
    landed
}

/// The moment that the views of a group share: named by one of them, so that no two moments share a name.
fn name_moment(view: &DiskSnapshot) -> GroupPointId {
    GroupPointId(format!("moment-{}-{}", view.taken_at.0, view.change_id))
}

/// Keeps in mind that rest was asked for, and whether it came.
async fn note_rest(core: &Inner, items: &[Arc<Item>], refused: Option<String>) -> Result<(), CoreError> {
    for item in items {
        let (now, warning) = (core.now(), refused.clone());
        core.update(item, |record| {
            record.rest_asked = Some(now);
            record.warning =
                warning.map(|why| format!("no application-consistent point could be taken: {why}"));
        })
        .await?;
    }
    Ok(())
}

/// Receives a view and closes it.
async fn land(
    core: &Inner,
    item: &Item,
    origin: &Origin,
    view: &DiskSnapshot,
    taken: Taken,
) -> Result<u64, CoreError> {
    let resync = resync::needed(origin.since.as_ref(), view);
    let received = async {
        resync::begin(core, item, resync).await?;
        receive_snapshot(core, item, view).await
    };
    let received = received.await;
    let acknowledge = if received.is_ok() { Acknowledge::Advance } else { Acknowledge::Keep };
    let closed = origin.platform.close_snapshot(&view.id, acknowledge).await;
    let (number, bytes) = match received.and_then(|received| closed.map(|()| received).map_err(Into::into)) {
        Ok(received) => received,
        Err(error) => {
            resync::break_off(core, item, resync).await;
            return Err(error);
        }
    };
    let landed = Landed {
        number,
        change: view.change_id.clone(),
        time: view.taken_at,
        bytes,
        consistency: if taken.at_rest { Consistency::App } else { Consistency::Crash },
        multi_vm: taken.multi_vm,
    };
    core.update(item, |record| {
        if let Some(replica) = &mut record.replica {
            replica.received = Some(landed.change.clone());
            replica.received_count = number;
            resync::note(replica, resync, view, Bytes(bytes));
            replica.landed.push(landed);
        }
    })
    .await?;
    item.landed.send_replace(number);
    Ok(number)
}

/// Writes what the replica lacks of a view into the landing log. Returns the transfer's number and the bytes that
/// travelled.
async fn receive_snapshot(core: &Inner, item: &Item, view: &DiskSnapshot) -> Result<(u64, u64), CoreError> {
    // Without a record of changes the newest content is needed for comparison: all that landed, processed.
    let compare = view.disks.iter().any(|disk| disk.changed.is_none());
    if compare {
        process_all(core, item).await?;
    }
    let (target, head, number) = {
        let record = item.record.lock().await;
        let replica = record.replica.as_ref().ok_or_else(not_replicating)?;
        (core.platform(&record.on(replica.side).0)?, replica.head().clone(), replica.received_count + 1)
    };
    let dir = core.landing_dir(&item.id);
    let mut writer = blocking(move || Writer::create(&dir, number).map_err(landing_failed)).await?;
    let opened = open_all(&target, &head, compare.then_some(Access::Read)).await?;
    for (index, (disk, against)) in view.disks.iter().zip(opened.uris()).enumerate() {
        if disk.changed.is_none() && core.tap().is_some_and(|tap| !tap.compares()) {
            continue;
        }
        let source = Source { uri: disk.uri.clone(), changed: disk.changed.clone(), against };
        let sent = blocking(move || {
            let mut sink =
                |offset: u64, data: &[u8]| writer.push(index, offset, data).map_err(landing_failed);
            transfer::send(&source, &mut sink, &|_| ()).map(|()| writer)
        })
        .await;
        match sent {
            Ok(more) => writer = more,
            Err(error) => return opened.close(Err(error)).await,
        }
    }
    opened.close(Ok(())).await?;
    let bytes = blocking(move || writer.seal().map_err(landing_failed)).await?;
    Ok((number, bytes))
}

fn landing_failed(error: std::io::Error) -> CoreError {
    let code =
        if error.kind() == std::io::ErrorKind::StorageFull { ErrorCode::Platform } else { ErrorCode::Store };
    CoreError::new(code, format!("the landing log cannot be written: {error}"))
}
