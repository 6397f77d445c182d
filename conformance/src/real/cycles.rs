//! Notes what each cycle of a script took that runs several over the same machines, and packs the
//! evidence of cycles that are over.

use crate::blame::ScenarioError;
use crate::outcome::{EdgeOutcome, Verdict};
use crate::packed::EarlierEdges;
use crate::real::context::ScenarioContext;
use crate::soak::{CycleLog, Edges};

/// The cycles of a script.
pub(crate) struct Cycles<'a> {
    context: &'a ScenarioContext,
    /// `None` if there is only one.
    several: Option<Several>,
}

struct Several {
    log: CycleLog,
    /// `None` while it packs, and once something was wrong.
    packed: Option<EarlierEdges>,
    /// How many edges of each machine were judged so far.
    judged: Vec<usize>,
}

impl<'a> Cycles<'a> {
    /// Call it as the first cycle begins.
    ///
    /// # Errors
    /// The evidence cannot be written.
    pub(crate) fn begin(context: &'a ScenarioContext) -> Result<Self, ScenarioError> {
        let log = CycleLog::begin(&context.evidence, context.run.cycles, None).map_err(unknown)?;
        let packed = || Some(EarlierEdges::none(context.evidence.dir().to_owned()));
        let several = log.map(|log| Several { log, packed: packed(), judged: Vec::new() });
        Ok(Self { context, several })
    }

    /// Notes the end of a cycle of the machines of these contexts, and packs the evidence of the
    /// cycle before it.
    ///
    /// # Errors
    /// The evidence cannot be written.
    pub(crate) async fn ended(&mut self, machines: &[&ScenarioContext]) -> Result<(), ScenarioError> {
        let Some(several) = &mut self.several else { return Ok(()) };
        let of = |machine: &&ScenarioContext| Edges::of(&machine.findings().edges);
        let edges = machines.iter().map(of).fold(Edges::default(), Edges::and);
        several.log.ends(edges, self.context.core_dir().as_std_path()).map_err(unknown)?;
        several.pack(machines).await?;
        several.log.next_begins();
        Ok(())
    }
}

impl Several {
    async fn pack(&mut self, machines: &[&ScenarioContext]) -> Result<(), ScenarioError> {
        let edges = self.since_last(machines);
        // Where something is wrong, the files stay as they are.
        let sound = machines.iter().all(|machine| machine.findings().rules.broken().is_none())
            && edges.iter().all(|edge| edge.verdict == Verdict::Pass);
        let Some(mut packed) = self.packed.take().filter(|_| sound) else { return Ok(()) };
        let pack = move || packed.cycle_ended(edges).map(|()| packed);
        match tokio::task::spawn_blocking(pack).await {
            Ok(Ok(packed)) => self.packed = Some(packed),
            Ok(Err(error)) => tracing::warn!("the cycle is not packed, and all of it is kept: {error:#}"),
            Err(panic) => return Err(unknown(anyhow::anyhow!("the suite failed as it packed: {panic}"))),
        }
        Ok(())
    }

    /// The edges that were judged since this was asked last.
    fn since_last(&mut self, machines: &[&ScenarioContext]) -> Vec<EdgeOutcome> {
        self.judged.resize(machines.len(), 0);
        let mut edges = Vec::new();
        for (machine, judged) in machines.iter().zip(&mut self.judged) {
            let findings = machine.findings();
            edges.extend_from_slice(&findings.edges[*judged..]);
            *judged = findings.edges.len();
        }
        edges
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn unknown(error: anyhow::Error) -> ScenarioError {
    ScenarioError::Inconclusive(format!("{error:#}"))
}
