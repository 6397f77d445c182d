//! Machines with two network cards: whether a recovered machine has both, each in its network and
//! at its address, as the site and as the guest see them (FX-65).
//!
//! The source's cards have names by where they are on the PCI bus, and static addresses by these
//! names. At the other site they are elsewhere on the bus, and found in the reverse order. Which
//! card is which shows in their hardware addresses. A guest gets an address only from the network
//! that a card is in.

use std::net::Ipv4Addr;

use contract::{JobKind, MachineView, Network, NicSpec, NicView, Placement, Platform as _, TargetSettings};
use standins::{Boot, StandInSite, mac_of};
use witness::protocol::GuestNic;

use crate::blame::ScenarioError;
use crate::network_cards::CAPABILITY;
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::rules::ids::FX_65;

/// The static addresses of the source's cards, and the names by which it has them.
const SOURCE: [(&str, Ipv4Addr); 2] =
    [("ens16", Ipv4Addr::new(192, 0, 2, 77)), ("ens19", Ipv4Addr::new(192, 0, 2, 200))];
/// Where the cards are to be in the cloud: not where they would be by themselves.
const CHOSEN: [(&str, Ipv4Addr); 2] =
    [("backend", Ipv4Addr::new(198, 51, 100, 140)), ("default", Ipv4Addr::new(198, 51, 100, 40))];

/// The guest's settings: names by the bus, and static addresses by these names.
pub(crate) fn set_up_guest(variant: &mut images::Variant) {
    variant.dhcp = false;
    variant.predictable_names = true;
    variant.addresses = SOURCE.map(|(name, address)| (name.to_owned(), address)).to_vec();
}

/// The source's first card, and the others.
pub(crate) fn source_cards() -> (Placement, Vec<NicSpec>) {
    let [(_, first), (_, second)] = SOURCE;
    let placement = Placement { address: Some(first), ..Placement::default() };
    (placement, vec![NicSpec { address: Some(second), ..NicSpec::default() }])
}

/// The settings with both cards where they are to be in the cloud.
pub(crate) fn choose(settings: TargetSettings) -> TargetSettings {
    let [(subnet, address), (second, second_address)] = CHOSEN;
    let placement =
        Placement { subnet: Some(subnet.to_owned()), address: Some(address), ..settings.placement };
    let second = NicSpec {
        network: Network::Production,
        subnet: Some(second.to_owned()),
        address: Some(second_address),
    };
    TargetSettings { placement, more_nics: vec![second], ..settings }
}

/// Makes sure that the source has both addresses on the right cards; otherwise nothing that is
/// found later proves anything.
///
/// # Errors
/// It has not.
pub(crate) async fn check_source(context: &ScenarioContext, boot: &Boot) -> Result<(), ScenarioError> {
    if !context.scenario.two_nics {
        return Ok(());
    }
    let cards = Cards::of(context, &context.primary, boot).await?;
    match cards.are_the_sources() {
        true => Ok(()),
        false => Err(ScenarioError::Inconclusive(format!("the source's network cards: {}", cards.show()))),
    }
}

/// FX-65: a recovered machine has both cards where they are to be. Nothing is judged of a core that
/// recovers one card only.
pub(crate) async fn check_recovered(
    context: &ScenarioContext,
    label: &str,
    (site, boot): (&StandInSite, &Boot),
    kind: JobKind,
) -> Result<(), ScenarioError> {
    if !context.scenario.two_nics {
        return Ok(());
    }
    if !context.recovers_all_nics {
        context.findings().rules.skip(FX_65, CAPABILITY);
        return Ok(());
    }
    let cards = Cards::of(context, site, boot).await?;
    let right = match kind {
        JobKind::TestFailover => cards.are_isolated(),
        _ if site.profile().kind.profile().is_cloud => cards.are_as_chosen(),
        _ => cards.are_the_sources(),
    };
    context.check(FX_65, right, format!("{label}: {}", cards.show()));
    Ok(())
}

/// The network cards of a machine: as its site shows them, the first one first, and as its guest
/// does.
struct Cards {
    machine: MachineView,
    guest: Vec<GuestNic>,
}

impl Cards {
    async fn of(context: &ScenarioContext, site: &StandInSite, boot: &Boot) -> Result<Self, ScenarioError> {
        let machine = site.machine(&boot.machine).await?;
        let step = context.evidence.step("", "addresses of both network cards");
        step.with(boot.guest.until_started(BOOT_WITHIN).await)?;
        // A guest describes itself before it has its addresses.
        let again = boot.guest.race("its network cards", BOOT_WITHIN, boot.guest.witness().hello_again());
        Ok(Self { machine, guest: again.await?.nics })
    }

    /// The cards by their site, the first one first.
    fn by_site(&self) -> impl Iterator<Item = &NicView> {
        std::iter::once(&self.machine.nic).chain(&self.machine.more_nics)
    }

    /// What the guest says of the card with this number.
    fn in_guest(&self, number: u8) -> Option<&GuestNic> {
        let mac = mac_of(&self.machine.id, number);
        self.guest.iter().find(|nic| nic.mac == mac)
    }

    /// Whether there are two cards, the guest has each at the address that the site shows, and
    /// each is right.
    fn are(&self, right: impl Fn(usize, &NicView, &GuestNic) -> bool) -> bool {
        let is_right = |(number, by_site): (usize, &NicView)| {
            let inside = u8::try_from(number).ok().and_then(|number| self.in_guest(number));
            let address = by_site.address.map(|address| address.to_string());
            inside.is_some_and(|nic| Some(&nic.address) == address.as_ref() && right(number, by_site, nic))
        };
        self.by_site().count() == SOURCE.len()
            && self.guest.len() == SOURCE.len()
            && self.by_site().enumerate().all(is_right)
    }

    fn are_the_sources(&self) -> bool {
        self.are(|number, by_site, inside| {
            let (name, address) = SOURCE[number];
            by_site.network == Network::Production && by_site.address == Some(address) && inside.name == name
        })
    }

    fn are_as_chosen(&self) -> bool {
        self.are(|number, by_site, _| {
            let (subnet, address) = CHOSEN[number];
            by_site.network == Network::Production
                && by_site.subnet.as_deref() == Some(subnet)
                && by_site.address == Some(address)
        })
    }

    fn are_isolated(&self) -> bool {
        self.are(|_, by_site, _| by_site.network == Network::Isolated)
    }

    fn show(&self) -> String {
        let by_site = self.by_site().map(|nic| {
            let address = nic.address.map_or("no address".to_owned(), |address| address.to_string());
            format!("{:?} {} {address}", nic.network, nic.subnet.as_deref().unwrap_or("-"))
        });
        let inside = self.guest.iter().map(|nic| format!("{} {} {}", nic.name, nic.mac, nic.address));
        let list = |all: Vec<String>| all.join(", ");
        format!("by the site: {}; inside: {}", list(by_site.collect()), list(inside.collect()))
    }
}
