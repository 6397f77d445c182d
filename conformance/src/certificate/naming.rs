//! Names of platforms. No product of a vendor takes part in a run, so none is named without saying
//! that a stand-in took its place.

/// Platforms that have a stand-in, as texts name them.
const PLATFORMS: [&str; 6] = ["VMware", "Hyper-V", "Azure", "KVM", "Physical", "physical"];
/// What follows such a name.
const STAND_IN: &str = " stand-in";

/// The text with `stand-in` after each name of a platform that has none.
pub(super) fn with_stand_ins(text: &str) -> String {
    let mut said = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, name)) = first_platform(rest) {
        let (before, after) = rest.split_at(at + name.len());
        said += before;
        if !after.starts_with(STAND_IN) {
            said += STAND_IN;
        }
        rest = after;
    }
    said + rest
}

fn first_platform(text: &str) -> Option<(usize, &'static str)> {
    let places = |name: &'static str| {
        let places = text.match_indices(name).map(|(at, _)| at);
        places.filter(move |at| is_word(text, *at, name)).map(move |at| (at, name))
    };
    PLATFORMS.into_iter().flat_map(places).min()
}

/// Whether the name at this place is a word, and no part of one such as `physical-azure`, the name
/// of a scenario.
fn is_word(text: &str, at: usize, name: &str) -> bool {
    let joins = |letter: char| letter.is_alphanumeric() || (letter == '-' && name == "physical");
    !text[..at].ends_with(joins) && !text[at + name.len()..].starts_with(joins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_never_named_without_its_stand_in() {
        for (text, said) in [
            ("VMware to Azure and back", "VMware stand-in to Azure stand-in and back"),
            ("a Hyper-V stand-in", "a Hyper-V stand-in"),
            ("Physical machine", "Physical stand-in machine"),
            ("KVM stand-in hosts, Azure", "KVM stand-in hosts, Azure stand-in"),
            ("physical-azure: physically", "physical-azure: physically"),
            ("Azure's", "Azure stand-in's"),
        ] {
            assert_eq!(with_stand_ins(text), said);
            assert_eq!(with_stand_ins(said), said, "once is enough");
        }
    }

    #[test]
    fn no_title_of_a_scenario_or_rule_escapes() {
        let scenarios = crate::scenario::all().unwrap().into_iter().map(|row| row.title);
        let rules = crate::rules::catalogue().iter().map(|rule| rule.title.clone());
        for title in scenarios.chain(rules) {
            let said = with_stand_ins(&title);
            for name in PLATFORMS {
                let named = said.match_indices(name).filter(|(at, _)| is_word(&said, *at, name));
                let bare = named.filter(|(at, _)| !said[at + name.len()..].starts_with(STAND_IN));
                assert_eq!(bare.count(), 0, "{said}");
            }
        }
    }
}
