//! An SSH client outside a machine, which finds out whether a login succeeds.

use std::sync::Arc;

use contract::{Decision, Platform, PowerState, SecurityRule, SecurityRules};
use inventory::Way;
use standins::StandInSite;
use witness::protocol::SERVICE_PORT;

use crate::blame::ScenarioError;
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::edge::recover::describe_again;
use crate::real::machine::Running;
use crate::rules::RuleId;
use crate::rules::ids::*;
use crate::ssh::{self, Key, Login};

/// SSH's port.
pub(crate) const SSH: u16 = 22;
/// Prints an id that no other boot of any machine has.
const PRINT_BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// Security rules that decide about SSH, and always let the suite reach the guest's service.
pub(crate) fn rules(ssh: Decision) -> SecurityRules {
    SecurityRules(vec![
        SecurityRule::tcp("suite-asks-the-service", 100, SERVICE_PORT, Decision::Allow),
        SecurityRule::tcp("ssh", 200, SSH, ssh),
    ])
}

/// An SSH client, and the machine to which it connects.
pub(crate) struct SshProbe<'a> {
    context: &'a ScenarioContext,
    site: &'a Arc<StandInSite>,
    machine: &'a Running,
    key: &'a Key,
    /// Identifies the machine's present boot.
    boot_id: String,
}

impl<'a> SshProbe<'a> {
    /// A probe of a machine at a site.
    pub(crate) async fn to(
        context: &'a ScenarioContext,
        site: &'a Arc<StandInSite>,
        machine: &'a Running,
        key: &'a Key,
    ) -> Result<Self, ScenarioError> {
        let guest = &machine.boot.guest;
        guest.until_started(BOOT_WITHIN).await?;
        let hello = describe_again(guest).await?;
        Ok(Self { context, site, machine, key, boot_id: hello.boot_id })
    }

    /// Tries to log in at the port that is or was forwarded to the machine's SSH server.
    pub(crate) async fn connect(&self, way: Way) -> Result<Login, ScenarioError> {
        let id = &self.machine.boot.machine;
        let endpoint = self.site.endpoint(id, way, SSH).await?.ok_or_else(|| {
            ScenarioError::Inconclusive(format!("{id}: no port was ever forwarded to its SSH server"))
        })?;
        Ok(ssh::log_in(endpoint, self.key, PRINT_BOOT_ID).await?)
    }

    /// Whether a login reached the present boot of the machine.
    pub(crate) fn reached_this_boot(&self, login: &Login) -> bool {
        matches!(login, Login::Printed(boot_id) if *boot_id == self.boot_id)
    }

    /// Checks that a login succeeds, as `rule` demands.
    pub(crate) async fn check_login(&self, rule: RuleId, way: Way, case: &str) -> Result<(), ScenarioError> {
        self.site.components().lets_in(&self.machine.boot.machine, way, SSH).map_err(network_failure)?;
        let watched = self.machine.boot.guest.watch();
        let login = self.connect(way).await?;
        let reached = self.reached_this_boot(&login);
        match watched.starved().filter(|_| !reached) {
            Some(why) => {
                let why = format!("{case}: {login:?}, while the host starved the guest: {why}");
                self.context.unknown(rule, why);
            }
            None => self.context.check(rule, reached, format!("{case}: {login:?}")),
        }
        self.context.trace(format!("login ({case}): {}", if reached { "in" } else { "not in" }));
        Ok(())
    }

    /// ST-06: checks that the stand-in's network refuses a connection, and that the security rule
    /// in the way can be named. ST-07: the machine is shown as running all the same.
    pub(crate) async fn check_refused(&self, way: Way, case: &str) -> Result<(), ScenarioError> {
        let id = &self.machine.boot.machine;
        let why = self.site.components().lets_in(id, way, SSH).err();
        let why =
            why.ok_or_else(|| ScenarioError::Inconclusive(format!("{case}: the stand-in lets SSH in")))?;
        let login = self.connect(way).await?;
        let refused = login == Login::Refused;
        self.context.check(ST_06, refused, format!("{case}: {why}; the connection: {login:?}"));
        if !refused {
            return Err(network_failure(format!("{why}, and yet the port is open: {login:?}")));
        }
        let power = self.site.machine(id).await?.power;
        let found = format!("refused because {why}; the machine is {power:?}");
        self.context.check(ST_07, power == PowerState::On, found);
        self.context.trace(format!("login ({case}): refused, {why}"));
        Ok(())
    }
}

/// A failure of the stand-in's network, which says nothing about the core.
fn network_failure(what: impl std::fmt::Display) -> ScenarioError {
    ScenarioError::Inconclusive(format!("the stand-in's network: {what}"))
}
