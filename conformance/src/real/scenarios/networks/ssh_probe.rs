//! Somebody outside who wants to log in to a machine.

use std::sync::Arc;

use contract::{Decision, Platform, PowerState, SecurityRule, SecurityRules};
use inventory::Way;
use standins::StandInSite;
use witness::protocol::SERVICE_PORT;

use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::error::ScenarioError;
use crate::real::machine::Running;
use crate::rules::ids::*;
use crate::ssh::{self, Key, Login};

/// SSH's port.
pub(crate) const SSH: u16 = 22;
/// Prints what no other boot of any machine prints.
const WHO: &str = "cat /proc/sys/kernel/random/boot_id";

/// Rules with this word on SSH, and the suite's own questions to the service let in.
pub(crate) fn rules(ssh: Decision) -> SecurityRules {
    SecurityRules(vec![
        SecurityRule::tcp("suite-asks-the-service", 100, SERVICE_PORT, Decision::Allow),
        SecurityRule::tcp("ssh", 200, SSH, ssh),
    ])
}

/// Somebody outside, and the machine that is visited.
pub(crate) struct Visitor<'a> {
    world: &'a ScenarioContext,
    site: &'a Arc<StandInSite>,
    machine: &'a Running,
    key: &'a Key,
    /// Which boot of the machine it is.
    boot_id: String,
}

impl<'a> Visitor<'a> {
    /// Visits the machine in the cloud.
    pub(crate) async fn of(
        world: &'a ScenarioContext,
        machine: &'a Running,
        key: &'a Key,
    ) -> Result<Self, ScenarioError> {
        Self::at(&world.recovery, world, machine, key).await
    }

    /// Visits the machine at a site.
    pub(crate) async fn at(
        site: &'a Arc<StandInSite>,
        world: &'a ScenarioContext,
        machine: &'a Running,
        key: &'a Key,
    ) -> Result<Self, ScenarioError> {
        let guest = &machine.boot.guest;
        guest.until_started(BOOT_WITHIN).await?;
        let hello = guest.race("its hello", BOOT_WITHIN, guest.witness().hello_again()).await?;
        Ok(Self { world, site, machine, key, boot_id: hello.boot_id })
    }

    /// Tries to log in where the way leads or once led.
    pub(crate) async fn knock(&self, way: Way) -> Result<Login, ScenarioError> {
        let id = &self.machine.boot.machine;
        let endpoint = self.site.endpoint(id, way, SSH).await?;
        let endpoint = endpoint
            .ok_or_else(|| ScenarioError::Inconclusive(format!("{id}: no way ever led to its SSH port")))?;
        Ok(ssh::log_in(endpoint, self.key, WHO).await?)
    }

    /// Whether a login led to this boot of this machine.
    pub(crate) fn is_home(&self, login: &Login) -> bool {
        matches!(login, Login::Said(who) if *who == self.boot_id)
    }

    /// A login succeeds, as `rule` asks for.
    pub(crate) async fn gets_in(&self, rule: RuleId, way: Way, case: &str) -> Result<(), ScenarioError> {
        self.site.components().lets_in(&self.machine.boot.machine, way, SSH).map_err(stand_in)?;
        let login = self.knock(way).await?;
        let found = format!("{case}: {login:?}");
        self.world.check(rule, self.is_home(&login), found);
        self.world.trace(format!("login ({case}): {}", if self.is_home(&login) { "in" } else { "not in" }));
        Ok(())
    }

    /// Nobody listens, which `rule` asks for, and it can be told why. CN-06: the machine runs all the same.
    pub(crate) async fn is_shut_out(&self, rule: RuleId, way: Way, case: &str) -> Result<(), ScenarioError> {
        let id = &self.machine.boot.machine;
        let why = self.site.components().lets_in(id, way, SSH).err();
        let why =
            why.ok_or_else(|| ScenarioError::Inconclusive(format!("{case}: the stand-in lets SSH in")))?;
        match self.knock(way).await? {
            Login::Refused => {}
            login => return Err(stand_in(format!("{why}, and yet somebody listens: {login:?}"))),
        }
        self.world.check(rule, true, format!("{case}: {why}"));
        let power = self.site.machine(id).await?.power;
        let found = format!("refused because {why}; the machine is {power:?}");
        self.world.check(CN_06, power == PowerState::On, found);
        self.world.trace(format!("login ({case}): refused, {why}"));
        Ok(())
    }
}

/// What the stand-in's network did wrong says nothing of the core.
fn stand_in(what: impl std::fmt::Display) -> ScenarioError {
    ScenarioError::Inconclusive(format!("the stand-in's network: {what}"))
}
