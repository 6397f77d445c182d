//! The options that a run of the history had.

use super::record::RunRecord;

/// Rounds over the same machines.
const CYCLES: &str = "--cycles";
/// The rounds of a soak whose command names none.
const ROUNDS_OF_A_SOAK: &str = "100";

impl RunRecord {
    /// The value of an option of the run; `None` if it did not have the option.
    ///
    /// The request says what took effect, also where the command named no value because it had one
    /// of its own, as `cargo xtask soak` has for `--cycles`. What does not change a scenario stands
    /// only in the command, as everything does in records of older suites.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<String> {
        let given = value_of(&self.options, name).or_else(|| value_of(&self.command, name));
        given.or_else(|| (name == CYCLES && self.is_soak()).then(|| ROUNDS_OF_A_SOAK.to_owned()))
    }

    /// Whether its scenarios took as long as those of other runs may. Many rounds take longer, and
    /// the checks of single rules are over sooner.
    pub(super) fn takes_usual_time(&self) -> bool {
        [CYCLES, "--rule"].iter().all(|name| self.option(name).is_none())
    }

    fn is_soak(&self) -> bool {
        self.command.starts_with("cargo xtask soak")
    }
}

/// The last value that a command gives to an option. The words of a core's own command are no
/// options of the run.
fn value_of(command: &str, name: &str) -> Option<String> {
    let words = shell_words::split(command).unwrap_or_default();
    let mut values = words.iter().enumerate().filter_map(|(index, word)| match word.split_once('=') {
        Some((option, value)) => (option == name).then(|| value.to_owned()),
        None => (word == name).then(|| words.get(index + 1).cloned().unwrap_or_default()),
    });
    values.next_back()
}

#[cfg(test)]
mod tests {
    use super::super::store::tests::run;
    use super::*;

    fn with(command: &str, options: &str) -> RunRecord {
        RunRecord { command: command.to_owned(), options: options.to_owned(), ..run(1) }
    }

    #[test]
    fn what_took_effect_counts_and_not_only_what_was_typed() {
        let soak = with("cargo xtask soak --scenario vmware-azure", "--cycles 20 --seeds 1");
        assert_eq!(soak.option("--cycles").as_deref(), Some("20"));
        assert_eq!(with("x --jobs 2", "--kills 9").option("--jobs").as_deref(), Some("2"));
        assert_eq!(with("cargo xtask conformance", "").option("--cycles"), None);
    }

    #[test]
    fn a_record_of_an_older_suite_has_the_options_of_its_command() {
        assert_eq!(with("x --cycles 3 --cycles=5", "").option("--cycles").as_deref(), Some("5"));
        let soak = with("cargo xtask soak --scenario vmware-azure", "");
        assert_eq!(soak.option("--cycles").as_deref(), Some("100"));
    }

    #[test]
    fn options_inside_the_command_of_a_core_are_none_of_the_run() {
        assert_eq!(value_of("x --core './core --jobs 3' --kills 5", "--jobs"), None);
        assert_eq!(value_of("x --core './unbalanced", "--core"), None);
    }

    #[test]
    fn many_rounds_and_single_rules_say_nothing_about_usual_times() {
        assert!(with("cargo xtask conformance --tier real --jobs 2", "").takes_usual_time());
        for (command, options) in [
            ("cargo xtask soak", "--cycles 100"),
            ("cargo xtask soak", ""),
            ("cargo xtask conformance --cycles 100", ""),
            ("cargo xtask conformance --rule FO-04", "--rule FO-04"),
        ] {
            assert!(!with(command, options).takes_usual_time(), "{command} {options}");
        }
    }
}
