//! Every recovery point that an item lists, and not only the one that a failover uses.

use camino::Utf8PathBuf;
use contract::{ItemView, RecoveryPoint};
use harness::oracle::{RawSource, SectorSource};
use harness::recovered::check_machine;
use images::shape::Shape;

use crate::blame::ScenarioError;
use crate::judge::{self, DiskUnderTest, JudgedMachine};
use crate::real::edge::freshness::{HostClock, content_objection};
use crate::real::edge::lifecycle::Edge;
use crate::real::edge::recovery_point::{PointFiles, with_point};
use crate::rules::ids::FX_30;

/// FX-30: reads every recovery point that the item lists below the core, and judges it by the
/// source's write order, by its time, and by what a machine would find on its disks.
///
/// A point that cannot be read or judged makes the rule unknown and hides nothing else that the
/// edge found.
///
/// # Errors
/// Evidence cannot be stored.
pub(crate) async fn judge_every_point(edge: Edge<'_>, item: &ItemView) -> Result<(), ScenarioError> {
    let context = edge.context();
    let label = edge.name().as_str();
    let step = context.evidence.step(label, "judge every recovery point");
    // What the source wrote before its last start is in an earlier log.
    let started = HostClock::read().time_of(edge.source().boot.guest.powered_on());
    let is_logged = |point: &&RecoveryPoint| point.processed && point.time > started;
    let points: Vec<_> = item.points.iter().filter(is_logged).collect();
    for (done, point) in (1..).zip(&points) {
        judge_one(edge, done, point).await?;
        let count = points.len() as u64;
        context.evidence.progress(label, "judge every recovery point", done, count, "points");
    }
    step.done();
    Ok(())
}

async fn judge_one(edge: Edge<'_>, number: u64, point: &RecoveryPoint) -> Result<(), ScenarioError> {
    let context = edge.context();
    let dir = context.edge_dir(edge.name().as_str())?.join(format!("point-{number}"));
    std::fs::create_dir_all(&dir).map_err(harness::Error::file(&dir))?;
    let read = async |files: Vec<PointFiles>| {
        let disks = pair(edge, point, &files)?;
        let images = disks.iter().map(|disk| (disk.name.clone(), disk.recovered.clone())).collect();
        let machine = place(edge, disks).await?;
        // What the guest never wrote needs no further reason, and a checker may fail on it.
        let damage = match machine.objection() {
            None => damage(images, context.shape).await?,
            Some(_) => None,
        };
        Ok((machine, damage))
    };
    let objection = match with_point(&context.recovery, point, &dir, read).await {
        Ok((machine, damage)) => {
            let objection = machine.objection().or_else(|| {
                let acks = edge.source().boot.guest.witness().acks();
                content_objection(&acks, HostClock::read(), point.time, machine.contiguous()?)
            });
            // The core is not to blame for damage in a state that the guest itself wrote.
            let damage = damage.filter(|_| objection.is_none());
            if let Some(why) = machine.unknown().or(damage) {
                context.unknown(FX_30, format!("recovery point {}: {why}", point.id));
                return Ok(());
            }
            objection
        }
        Err(ScenarioError::CoreViolation(why)) => {
            let item = context.core.item(&context.item).await?;
            if !item.points.iter().any(|listed| listed.id == point.id) {
                // It expired since the item was read.
                return Ok(());
            }
            Some(why)
        }
        Err(ScenarioError::Inconclusive(why)) => {
            context.unknown(FX_30, format!("recovery point {}: {why}", point.id));
            return Ok(());
        }
        Err(other) => return Err(other),
    };
    let found = match &objection {
        None => format!("recovery point {} holds what its source had written at its time", point.id),
        Some(why) => format!("recovery point {}: {why}", point.id),
    };
    context.check(FX_30, objection.is_none(), found);
    if objection.is_none() {
        // The point can be read again as long as the run goes on; its files are large.
        std::fs::remove_dir_all(&dir).map_err(harness::Error::file(&dir))?;
    }
    Ok(())
}

/// The disks of a point beside the logs of their source.
fn pair(
    edge: Edge<'_>,
    point: &RecoveryPoint,
    files: &[PointFiles],
) -> Result<Vec<DiskUnderTest>, ScenarioError> {
    let pairs = edge.pair_disks(&format!("recovery point {}", point.id), files)?;
    let disks = pairs.into_iter().map(|(source, file)| DiskUnderTest {
        name: source.id.0.clone(),
        initial_image: source.base.clone(),
        log: source.log.clone(),
        recovered: file.raw.clone(),
        editable_files: vec![],
        second_reader: Err("read by QEMU alone, as one of many points".to_owned()),
    });
    Ok(disks.collect())
}

/// Places the disks of a point in the write order of their source.
async fn place(edge: Edge<'_>, disks: Vec<DiskUnderTest>) -> Result<JudgedMachine, ScenarioError> {
    let source = edge.source();
    Ok(judge::judge(disks, source.initial_record, edge.context().evidence.dir()).await?)
}

/// What a machine that is started from a point would find damaged: its file systems, the ledger or
/// the bank. It is checked on copies, without booting.
async fn damage(
    images: Vec<(String, Utf8PathBuf)>,
    shape: &'static Shape,
) -> Result<Option<String>, ScenarioError> {
    let check = move || {
        let opened: Result<Vec<_>, _> = images
            .iter()
            .map(|(name, raw)| RawSource::open(raw.as_std_path()).map(|disk| (name.as_str(), disk)))
            .collect();
        let opened = opened?;
        let disks: Vec<_> = opened.iter().map(|(name, disk)| (*name, disk as &dyn SectorSource)).collect();
        Ok::<_, anyhow::Error>(check_machine(&disks, shape)?.map(|damage| damage.to_string()))
    };
    let checked = tokio::task::spawn_blocking(check).await;
    Ok(checked.map_err(anyhow::Error::from)??)
}
