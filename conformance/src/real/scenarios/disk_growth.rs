//! A disk of the source grows while the machine is protected, and the guest writes to its new end.
//!
//! EX-R12: a core must notice. It may follow, with recovery points that contain the whole disk, or
//! report that it cannot. What it must not do is go on offering points that look complete and lack
//! the end of the disk: a machine recovered from one has lost data, and nobody was told.

use std::time::Duration;

use contract::{Bytes, DiskId, Health, ItemView, Platform, RecoveryPoint, Timestamp};
use harness::machine::Guest;
use serde_json::{Value, json};
use standins::SiteFault;
use tracing::Instrument as _;

use crate::blame::{KeptByCore, ScenarioError};
use crate::real::context::ScenarioContext;
use crate::real::edge::freshness::now;
use crate::real::edge::lifecycle::Edge;
use crate::real::edge::name::EdgeName;
use crate::real::edge::recover::wait_for_work;
use crate::real::edge::recovery_point::{POINTS_WITHIN, point_later_than};
use crate::real::edge::work::{AtWork, check_work};
use crate::real::machine::Running;
use crate::real::script::{Script, Start};
use crate::real::setup;
use crate::rules::ids::*;

/// The disk that grows: the last one, so that its volume holds no boot partition.
const DISK: &str = "data";
/// By how many bytes it grows.
const GROWTH: u64 = 32 << 20;
/// How many pieces the guest writes at its new end, and how long one is.
const WRITTEN: u64 = 16;
const PIECE: u64 = 64 << 10;
/// How long a command in the guest may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two questions whether a command in the guest has ended. The guest agent cannot
/// announce it.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Name in progress, trace and evidence.
const GROWTH_EDGE: EdgeName = EdgeName::new("disk-growth", 6);

pub(crate) const SCRIPT: Script = Script {
    edges: Vec::new,
    repeatable: false,
    needs: &[],
    start: Start::BetweenSites(|context| Box::pin(run(context))),
};

async fn run(context: &ScenarioContext) -> Result<(), ScenarioError> {
    let source = setup::boot_source(context).await?;
    setup::protect(context, &source).await?;
    let label = GROWTH_EDGE.as_str();
    wait_for_work(context, label, &source).await?;
    let step = context.evidence.step(label, "grow a disk");
    let (source, grown) = grow(context, source).await?;
    let at_work = AtWork::watch(&source);
    step.done();
    let step = context.evidence.step(label, "what the core makes of it");
    let edge = Edge::begin(context, GROWTH_EDGE, &source);
    let noticed = noticed(context, &source.boot.guest, grown).instrument(edge.span()).await?;
    step.done();
    let work = at_work.so_far().await;
    check_work(context, TF_02, &work, true, &format!("{label}: the source"));
    judge(edge, noticed, grown).instrument(edge.span()).await
}

/// What the core did about the grown disk.
enum Noticed {
    /// It made a recovery point of a later moment.
    Point(Box<RecoveryPoint>),
    /// It reported that it does not replicate any more.
    Reported(Box<ItemView>),
}

/// Grows the disk and lets the guest write to its new end. Returns the machine with the grown disk,
/// and the moment after which every recovery point has to contain what was written.
async fn grow(context: &ScenarioContext, source: Running) -> Result<(Running, Timestamp), ScenarioError> {
    let disk = source.boot.disks.iter().find(|disk| disk.id.0 == DISK);
    let before = disk.map(|disk| disk.bytes).ok_or_else(|| inconclusive("the source has no such disk"))?;
    let after = before + GROWTH;
    let grown = SiteFault::DiskGrown(context.machine.clone(), DiskId::from(DISK), Bytes(after));
    context.inject(&context.primary, &grown).await?;
    write_end(&source.boot.guest, before, after).await?;
    let moment = now();
    let boot = context.primary.last_boot(&context.machine).await;
    let boot = boot.ok_or_else(|| inconclusive("the source no longer exists"))?;
    context.trace(format!("the disk {DISK} grew by {}, and the guest wrote to its end", Bytes(GROWTH)));
    Ok((Running { boot, ..source }, moment))
}

/// Has the guest scan its disks again and write to the end of the one that grew.
async fn write_end(guest: &Guest, before: u64, after: u64) -> Result<(), ScenarioError> {
    let script = format!(
        "for disk in /sys/block/sd*; do \
         echo 1 > $disk/device/rescan; read -r sectors < $disk/size; \
         [ $sectors != {sectors} ] || exec /bin/busybox dd if=/dev/urandom of=/dev/${{disk##*/}} \
         bs={PIECE} count={WRITTEN} seek={first} conv=notrunc,fsync; done; exit 9",
        sectors = after / 512,
        first = before / PIECE,
    );
    let arguments = json!({"path": "/bin/busybox", "arg": ["sh", "-c", script], "capture-output": true});
    let started = ask_agent(guest, &json!({"execute": "guest-exec", "arguments": arguments})).await?;
    let status = json!({"execute": "guest-exec-status", "arguments": {"pid": started["pid"]}});
    let ended = async {
        loop {
            match ask_agent(guest, &status).await {
                Ok(answer) if answer["exited"] != json!(true) => tokio::time::sleep(ASK_AGAIN_AFTER).await,
                ended => return Ok(ended),
            }
        }
    };
    let ended = guest.race("the end of its write", COMMAND_WITHIN, ended).await??;
    if ended["exitcode"] == json!(0) {
        return Ok(());
    }
    Err(inconclusive(&format!("the guest could not write to the new end of its disk: {ended}")))
}

/// The answer of the guest agent to a command.
async fn ask_agent(guest: &Guest, command: &Value) -> Result<Value, ScenarioError> {
    let text = guest.agent(&command.to_string()).await?;
    let answer: Value = serde_json::from_str(&text).map_err(anyhow::Error::from)?;
    Ok(answer["return"].clone())
}

/// EX-R12: waits until the core has made a recovery point of a later moment, or has reported that
/// it does not replicate.
async fn noticed(
    context: &ScenarioContext,
    guest: &Guest,
    grown: Timestamp,
) -> Result<Noticed, ScenarioError> {
    let point = point_later_than(context, grown);
    let report = context.item_once(Health::Critical);
    let either = async {
        tokio::select! {
            (point, _) = point => Ok(Noticed::Point(Box::new(point))),
            item = report => Ok(Noticed::Reported(Box::new(item?))),
        }
    };
    let awaited = "recovery point of the grown disk, and no report that there is none,";
    let label = GROWTH_EDGE.as_str();
    context.expect_of_core(EX_R12, label, awaited, guest, POINTS_WITHIN, either).await
}

/// EX-R12: every point of a later moment has the whole disk, and its content is the guest's; or the
/// report says that something is wrong.
async fn judge(edge: Edge<'_>, noticed: Noticed, grown: Timestamp) -> Result<(), ScenarioError> {
    let context = edge.context();
    match noticed {
        Noticed::Reported(item) => {
            // It is critical by now, and has to say why.
            let found = format!("it reports {:?}: {}", item.health, item.trouble);
            context.check(EX_R12, !item.trouble.is_empty(), found);
            // A core that goes on all the same has made points by then.
            wait_for_work(context, GROWTH_EDGE.as_str(), edge.source()).await?;
        }
        Noticed::Point(point) => {
            let judged = edge.judge_point(&context.recovery, &point).await?;
            let objection = judged.machine.objection();
            let found = objection.clone().unwrap_or_else(|| "the grown disk is exact".to_owned());
            context.check(EX_R12, objection.is_none(), format!("{}: {found}", point.id));
        }
    }
    check_sizes(edge, grown).await?;
    context.trace(format!("{}: noticed, and no recovery point lacks the new end", GROWTH_EDGE));
    Ok(())
}

/// EX-R12: no recovery point of a later moment has a disk that is shorter than the source's.
async fn check_sizes(edge: Edge<'_>, grown: Timestamp) -> Result<(), ScenarioError> {
    let context = edge.context();
    let points = context.core.item(&context.item).await?.points;
    let later: Vec<_> = points.iter().filter(|point| point.processed && point.time > grown).collect();
    for point in &later {
        for disk in &edge.source().boot.disks {
            let volume = point.volumes.iter().find(|(id, _)| *id == disk.id).map(|(_, volume)| volume);
            let size = match volume {
                Some(volume) => context.recovery.volume(volume).await.kept_by_core("a point's volume")?.size,
                None => Bytes(0),
            };
            let found = format!("{} of {}: {size}, the source has {}", disk.id, point.id, Bytes(disk.bytes));
            context.check(EX_R12, size.0 >= disk.bytes, found);
        }
    }
    Ok(())
}

fn inconclusive(what: &str) -> ScenarioError {
    ScenarioError::Inconclusive(format!("{GROWTH_EDGE}: {what}"))
}
