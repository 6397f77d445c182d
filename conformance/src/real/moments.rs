//! Notes the moments of a scenario that its report draws.

use std::time::Instant;

use contract::{ItemView, Timestamp};
use harness::witness_link::Ack;
use standins::{Boot, SiteFault, StandInSite};
use witness::ledger::RecordNumber;

use crate::blame::ScenarioError;
use crate::real::context::ScenarioContext;
use crate::timeline::Happening;

impl ScenarioContext {
    /// Notes when a machine was powered on and when its witness said hello.
    pub(crate) fn note_boot(&self, boot: &Boot, hello: Instant) {
        let machine = boot.machine.to_string();
        let power_on =
            Happening::PowerOn { machine: machine.clone(), boot: self.evidence.relative(&boot.dir) };
        self.evidence.note_at(boot.guest.powered_on(), power_on);
        self.evidence.note_at(hello, Happening::Hello { machine });
    }

    /// Notes the recovery points that an item lists. Their times are those that the core states.
    pub(crate) fn note_points(&self, item: &ItemView) {
        for point in &item.points {
            let Timestamp(time) = point.time;
            self.evidence.note_point(&self.machine.0, &point.id.0, time);
        }
    }

    /// Notes where the disks of an edge are cut, by the last record that survived, and the moment
    /// by which loss is measured.
    pub(crate) fn note_cut(&self, edge: &str, acks: &[Ack], survived: RecordNumber, stopped: Instant) {
        let (edge, machine) = (edge.to_owned(), self.machine.to_string());
        if let Some(last) = acks.iter().rfind(|ack| ack.number <= survived) {
            let cut = Happening::Cut { edge: edge.clone(), machine: machine.clone() };
            self.evidence.note_at(last.heard, cut);
        }
        self.evidence.note_at(stopped, Happening::Stopped { edge, machine });
    }

    /// Loses the primary site, and notes when. Returns the moment from which it was unreachable.
    ///
    /// # Errors
    /// The site could not be cut off.
    pub(crate) async fn lose_primary(&self) -> Result<Instant, ScenarioError> {
        let lost = self.primary.lose().await?;
        self.evidence.note_at(lost, Happening::SiteLost { site: self.primary.label().to_owned() });
        Ok(lost)
    }

    /// Injects a fault into a site, and notes it.
    ///
    /// # Errors
    /// The stand-in cannot inject it.
    pub(crate) async fn inject(&self, site: &StandInSite, fault: &SiteFault) -> Result<(), ScenarioError> {
        let (label, fault_words) = (site.label().to_owned(), words(fault).to_owned());
        self.evidence.note(Happening::Fault { site: label, fault: fault_words });
        Ok(site.inject(fault).await?)
    }

    /// Heals every fault of a site, and notes it.
    ///
    /// # Errors
    /// A fault could not be healed.
    pub(crate) async fn heal(&self, site: &StandInSite) -> Result<(), ScenarioError> {
        let healed = site.heal().await;
        self.evidence.note(Happening::Healed { site: site.label().to_owned() });
        Ok(healed?)
    }
}

/// The fault for people.
fn words(fault: &SiteFault) -> &'static str {
    match fault {
        SiteFault::PowerCut(_) => "power cut",
        SiteFault::GuestFrozen(_) => "guest frozen",
        SiteFault::ShutdownRefused(_) => "shutdown refused",
        SiteFault::DiskGrown(..) => "disk grown",
        SiteFault::Link(_) => "link impaired",
        SiteFault::Writes(_) => "writes fail",
        SiteFault::ComponentDown(_) => "component down",
        SiteFault::StorageKilled => "storage daemon killed",
    }
}
