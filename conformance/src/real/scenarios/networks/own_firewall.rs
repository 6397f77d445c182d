//! A machine whose own firewall refuses SSH when it fails over (CN-02): whatever the network
//! allows, nobody can log in to the target until that firewall is opened, and from then on
//! everybody can.

use inventory::Way;
use witness::protocol::ToGuest;

use super::ssh_probe::SshProbe;
use crate::blame::ScenarioError;
use crate::real::context::{BOOT_WITHIN, ScenarioContext};
use crate::real::machine::Running;
use crate::rules::ids::CN_02;
use crate::ssh::Login;

/// Opens the firewall of the source, which stays closed for the next boot. If that is not what lets
/// a login in, the image's firewall is unfit and nothing can be said about a target.
pub(super) async fn open_on_source(source: &Running, probe: &SshProbe<'_>) -> Result<(), ScenarioError> {
    let closed = probe.connect(Way::Private).await?;
    open(source).await?;
    let opened = probe.connect(Way::Private).await?;
    if matches!(closed, Login::Failed(_)) && probe.reached_this_boot(&opened) {
        return Ok(());
    }
    Err(ScenarioError::Inconclusive(format!(
        "the source's own firewall does not decide whether a login succeeds: {closed:?} while it refuses SSH, \
         {opened:?} while it admits SSH"
    )))
}

/// CN-02, on a target whose network lets SSH in.
pub(super) async fn check(
    context: &ScenarioContext,
    target: &Running,
    probe: &SshProbe<'_>,
) -> Result<(), ScenarioError> {
    let login = probe.connect(Way::Private).await?;
    if login == Login::Refused {
        return Err(ScenarioError::Inconclusive(
            "the stand-in's network refuses what its rules allow".to_owned(),
        ));
    }
    let kept_out = matches!(login, Login::Failed(_));
    context.check(CN_02, kept_out, format!("its own firewall refuses SSH: {login:?}"));
    context
        .trace(format!("login (its own firewall refuses SSH): {}", if kept_out { "not in" } else { "in" }));
    if kept_out {
        open(target).await?;
    }
    probe.check_login(CN_02, Way::Private, "its own firewall admits SSH").await
}

/// Opens the firewall of a guest until its next boot.
async fn open(machine: &Running) -> Result<(), ScenarioError> {
    let guest = &machine.boot.guest;
    let opened = guest.witness().command(&ToGuest::OpenFirewall);
    guest.race("its firewall to open", BOOT_WITHIN, opened).await?;
    Ok(())
}
