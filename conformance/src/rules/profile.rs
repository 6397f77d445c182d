//! Profiles: numbers and choices that differ from one edition of the vendor's documentation to
//! another, from `conformance/profiles.toml`.
//!
//! A run is judged by one profile, which its reports name. Most values are documented data that no
//! check uses yet.

use std::sync::LazyLock;

use toml::{Table, Value};

const SOURCE: &str = include_str!("../../profiles.toml");
/// The environment variable that selects a profile.
pub const VARIABLE: &str = "ROUNDTRIP_PROFILE";
/// The profile of a run that selects none. Its values are those of the built-in core.
pub const DEFAULT: &str = "asr-2019";

/// A profile. There is a method for each of its values, generated from `profiles.toml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    name: String,
    values: Table,
}

include!(concat!(env!("OUT_DIR"), "/profile_values.rs"));

/// There is no profile of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile {name}; known: {}", names().join(", "))]
pub struct UnknownProfile {
    /// The name that was given.
    pub name: String,
}

/// Every profile, in the order of `profiles.toml`.
///
/// # Panics
/// `profiles.toml` is not a table of tables; a test prevents that.
#[must_use]
pub fn profiles() -> &'static [Profile] {
    static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
        let file: Table = SOURCE.parse().unwrap_or_else(|error| panic!("profiles.toml: {error}"));
        let profile = |(name, values): (String, Value)| match values {
            Value::Table(values) => Profile { name, values },
            other => panic!("profiles.toml: {name} is a {}, not a table", other.type_str()),
        };
        file.into_iter().map(profile).collect()
    });
    &PROFILES
}

fn names() -> Vec<&'static str> {
    profiles().iter().map(Profile::name).collect()
}

impl Profile {
    /// The profile of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(name: &str) -> Result<&'static Self, UnknownProfile> {
        let found = profiles().iter().find(|profile| profile.name == name);
        found.ok_or_else(|| UnknownProfile { name: name.to_owned() })
    }

    /// The profile that the environment variable selects, or the default one.
    ///
    /// # Errors
    /// The variable names no profile.
    pub fn selected() -> Result<&'static Self, UnknownProfile> {
        let name = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
        Self::find(name.as_deref().unwrap_or(DEFAULT))
    }

    /// The profile that this run is judged by.
    ///
    /// # Panics
    /// The environment variable names no profile. A run refuses that before its first check.
    #[must_use]
    pub fn active() -> &'static Self {
        Self::selected().unwrap_or_else(|error| panic!("{VARIABLE}: {error}"))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A value of the type that its accessor was generated for.
    fn value<'a, T>(&'a self, key: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> T {
        let value = self.values.get(key).and_then(read);
        value.unwrap_or_else(|| unreachable!("a test compares the types of {key} in all profiles"))
    }

    fn number(&self, key: &str) -> u64 {
        self.value(key, as_number)
    }

    fn numbers(&self, key: &str) -> Vec<u64> {
        self.value(key, as_numbers)
    }

    fn table(&self, key: &str) -> Vec<Vec<u64>> {
        self.value(key, |value| value.as_array()?.iter().map(as_numbers).collect())
    }

    fn text(&self, key: &str) -> &str {
        self.value(key, Value::as_str)
    }

    fn texts(&self, key: &str) -> Vec<&str> {
        self.value(key, |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    fn flag(&self, key: &str) -> bool {
        self.value(key, Value::as_bool)
    }
}

fn as_number(value: &Value) -> Option<u64> {
    u64::try_from(value.as_integer()?).ok()
}

fn as_numbers(value: &Value) -> Option<Vec<u64>> {
    value.as_array()?.iter().map(as_number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form of a value: its type, and that of its elements.
    fn form(value: &Value) -> String {
        match value {
            Value::Array(elements) => {
                let mut forms: Vec<_> = elements.iter().map(form).collect();
                forms.dedup();
                format!("array of {}", forms.join(" and "))
            }
            other => other.type_str().to_owned(),
        }
    }

    #[test]
    fn both_profiles_have_the_same_149_keys_of_the_same_types() {
        let [old, new] = profiles() else { panic!("there are two profiles") };
        assert_eq!([old.name(), new.name()], ["asr-2019", "asr-2024"]);
        assert_eq!(old.values.len(), 149);
        let forms = |profile: &Profile| -> Vec<_> {
            profile.values.iter().map(|(key, value)| (key.clone(), form(value))).collect()
        };
        assert_eq!(forms(old), forms(new));
    }

    #[test]
    fn values_of_every_type_can_be_read() {
        let [old, new] = profiles() else { panic!("there are two profiles") };
        assert_eq!((old.vmware_retention_max_hours(), new.vmware_retention_max_hours()), (72, 360));
        assert_eq!(old.hyperv_interval_choices_seconds(), [30, 300, 900]);
        assert_eq!(new.thinning_tiers_hours(), [[2, 1], [24, 2], [168, 4]]);
        assert_eq!(old.plan_on_error_planned(), "stop");
        assert_eq!(old.cloud_to_hyperv_verbs(), ["planned"]);
        assert!(!old.any_failed_reprotect_can_be_retried() && new.any_failed_reprotect_can_be_retried());
    }

    #[test]
    fn an_unknown_profile_is_refused_with_the_known_ones() {
        let error = Profile::find("asr-1999").expect_err("there is no such profile");
        assert_eq!(error.to_string(), "there is no profile asr-1999; known: asr-2019, asr-2024");
        assert_eq!(Profile::active().name(), DEFAULT);
    }
}
