//! Which processes a campaign kills.

use anyhow::Result;

use super::processes::Kind;
use crate::cli::TortureArgs;
use crate::conformance::scenarios::TierChoice;
use crate::error::{infrastructure, usage};
use crate::room::{self, own_libvirt};
use crate::terminal::say;

/// The kinds of processes that are killed.
pub fn chosen(arguments: &TortureArgs) -> Result<Vec<Kind>> {
    let may_mount = || room::way().is_some_and(|way| !way.contains(&room::AS_USER));
    let no_libvirt = || own_libvirt::impossible().or_else(|| (!may_mount()).then_some(room::NO_MOUNTS));
    choose(arguments, no_libvirt)
}

/// As [`chosen`]. `no_libvirt` says why there cannot be a libvirt of the campaign's own. The host's
/// is never killed.
fn choose(arguments: &TortureArgs, no_libvirt: impl Fn() -> Option<&'static str>) -> Result<Vec<Kind>> {
    if !arguments.victims.is_empty() {
        if arguments.victims.contains(&Kind::Libvirtd) {
            require_libvirt(arguments, no_libvirt())?;
        }
        return Ok(arguments.victims.clone());
    }
    let mut victims = vec![Kind::Xtask, Kind::Nextest, Kind::Scenario];
    if arguments.core.is_some() {
        victims.push(Kind::Core);
    }
    if arguments.tier == TierChoice::Real {
        victims.extend([Kind::StorageDaemon, Kind::Qemu]);
        match no_libvirt() {
            Some(why) => say(format!("  libvirtd is not killed, because {why}")),
            None if arguments.connect.is_none() => victims.push(Kind::Libvirtd),
            None => {}
        }
    }
    Ok(victims)
}

/// Fails with one line if libvirt was asked for as a victim and cannot be one.
fn require_libvirt(arguments: &TortureArgs, no_libvirt: Option<&str>) -> Result<()> {
    if arguments.tier != TierChoice::Real {
        return Err(usage("No run in memory needs libvirtd: add --tier real."));
    }
    if arguments.connect.is_some() {
        return Err(usage("Only a libvirtd of the campaign's own is killed: leave --connect out."));
    }
    match no_libvirt {
        Some(why) => Err(infrastructure(format!(
            "Killing libvirtd is not possible, because {why}: run the campaign as root."
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::error::{INFRASTRUCTURE, USAGE, code_of};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: TortureArgs,
    }

    fn victims(line: &str, no_libvirt: Option<&'static str>) -> Result<Vec<Kind>, u8> {
        let words = ["torture"].into_iter().chain(line.split_whitespace());
        let arguments = Line::try_parse_from(words).expect("it is understood").arguments;
        choose(&arguments, || no_libvirt).map_err(|error| code_of(&error))
    }

    #[test]
    fn libvirt_is_drawn_only_on_guests_and_where_the_campaign_can_have_its_own() {
        let draws = |line: &str, why| victims(line, why).is_ok_and(|all| all.contains(&Kind::Libvirtd));
        assert!(draws("--tier real", None));
        assert!(!draws("--tier real", Some("this user may not mount anything")));
        assert!(!draws("--tier real --connect qemu:///session", None));
        assert!(!draws("", None) && !draws("--core x", None));
    }

    #[test]
    fn a_libvirt_that_is_asked_for_and_cannot_be_killed_is_an_error() {
        assert_eq!(victims("--tier real --victim libvirtd", None), Ok(vec![Kind::Libvirtd]));
        assert_eq!(victims("--tier real --victim libvirtd", Some("of this user")), Err(INFRASTRUCTURE));
        assert_eq!(victims("--victim core --victim libvirtd", None), Err(USAGE));
        assert_eq!(victims("--tier real --victim libvirtd --connect qemu:///system", None), Err(USAGE));
        assert_eq!(victims("--victim core", Some("of this user")), Ok(vec![Kind::Core]));
    }

    #[test]
    fn guests_and_their_disks_are_drawn_on_guests_and_a_core_only_if_there_is_one() {
        let has = |line: &str, kind| victims(line, None).is_ok_and(|all| all.contains(&kind));
        assert!(has("--tier real", Kind::Qemu) && !has("", Kind::Qemu));
        assert!(has("--core x", Kind::Core) && !has("--tier real", Kind::Core));
    }
}
