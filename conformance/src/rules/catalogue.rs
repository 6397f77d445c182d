//! The catalogue of rules: `conformance/rules.toml`, read once.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

const SOURCE: &str = include_str!("../../rules.toml");

/// Name of a rule in the catalogue, such as `FO-04`. There is a constant for each in [`ids`]; no
/// other value exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RuleId(&'static str);

/// A constant for every rule of the catalogue.
pub mod ids {
    pub use super::RuleId;

    include!(concat!(env!("OUT_DIR"), "/rule_ids.rs"));
}

impl RuleId {
    /// The id as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// The letters of the id, which name the rule's area: `FO` for `FO-04`.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        self.0.split_once('-').map_or(self.0, |(prefix, _)| prefix)
    }

    /// The name of the rule's constant in [`ids`].
    #[must_use]
    pub fn constant(self) -> String {
        self.0.replace('-', "_")
    }

    /// The rule with this id, if the catalogue has it.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        catalogue().iter().map(|rule| rule.id).find(|id| id.0 == text)
    }

    /// The rule's entry in the catalogue.
    ///
    /// # Panics
    /// Never: the constants are generated from the catalogue.
    #[must_use]
    pub fn rule(self) -> &'static Rule {
        let found = catalogue().iter().find(|rule| rule.id == self);
        found.unwrap_or_else(|| unreachable!("{self} is generated from the catalogue"))
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl<'de> Deserialize<'de> for RuleId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        RuleId::find(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("the catalogue has no rule {text}")))
    }
}

impl JsonSchema for RuleId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RuleId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[A-Z]{2}-[A-Z]*[0-9]+$"})
    }
}

/// How a rule is scored; see [`Score`](super::Score).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Must hold.
    Guarantee,
    /// A documented limit of the product. Scored separately: a core that is better than documented
    /// does not fail.
    Limitation,
    /// Shown in the report, and never the reason why a run fails.
    Advice,
    /// About the suite's own stand-ins: whether this host could judge a core at all.
    StandIn,
}

impl Class {
    /// The class as `rules.toml` writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guarantee => "guarantee",
            Self::Limitation => "limitation",
            Self::Advice => "advice",
            Self::StandIn => "stand-in",
        }
    }
}

/// The kind of source that a rule applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Machines of Hyper-V hosts.
    Hyperv,
    /// Machines of VMware hosts.
    Vmware,
    /// Physical servers.
    Physical,
    /// Machines of one cloud region that are protected in another.
    Azure,
    /// Machines of KVM hosts.
    Kvm,
}

impl Source {
    /// The kind as `rules.toml` writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hyperv => "hyperv",
            Self::Vmware => "vmware",
            Self::Physical => "physical",
            Self::Azure => "azure",
            Self::Kvm => "kvm",
        }
    }
}

/// One rule. Its fields are those of `rules.toml`, which explains them.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Permanent name.
    pub id: RuleId,
    /// What a core must do, in one sentence.
    pub title: String,
    /// How it is scored.
    pub class: Class,
    /// Sources that it applies to.
    pub platforms: Vec<Source>,
    /// Tags of the documents that state it.
    pub documents: Vec<String>,
    /// Public reports of products that broke it.
    pub reports: Vec<String>,
    /// Whether no document states it in these words.
    pub derived: bool,
    /// What shows that it held: what a check expects to find.
    pub evidence: String,
    /// For a rule that demands a refusal: the request that must be accepted.
    pub twin: String,
    /// Why no check judges it; empty if one does.
    pub unchecked: String,
}

/// A part of the catalogue: the rules whose ids begin with the same letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// The letters.
    pub prefix: &'static str,
    /// What the rules are about.
    pub name: &'static str,
}

/// The areas in the catalogue's order. `rules.toml` begins each with a line such as
/// `# --- Lifecycle (LC) ---`.
pub fn areas() -> impl Iterator<Item = Area> {
    SOURCE.lines().filter_map(|line| {
        let (name, prefix) = line.strip_prefix("# --- ")?.strip_suffix(") ---")?.split_once(" (")?;
        Some(Area { prefix, name })
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    title: String,
    class: Class,
    platforms: Vec<Source>,
    source: Vec<String>,
    derived: bool,
    evidence: String,
    twin: String,
    #[serde(default)]
    reports: Vec<String>,
    #[serde(default)]
    unchecked: String,
}

#[derive(Deserialize)]
struct File {
    rule: Vec<Row>,
}

/// Every rule, in the catalogue's order.
///
/// # Panics
/// `rules.toml` does not have the form that it describes; a test prevents that.
#[must_use]
pub fn catalogue() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let file: File = toml::from_str(SOURCE).unwrap_or_else(|error| panic!("rules.toml: {error}"));
        file.rule.into_iter().map(Rule::from).collect()
    });
    &RULES
}

impl From<Row> for Rule {
    fn from(row: Row) -> Self {
        Self {
            id: RuleId(row.id.leak()),
            title: row.title,
            class: row.class,
            platforms: row.platforms,
            documents: row.source,
            reports: row.reports,
            derived: row.derived,
            evidence: row.evidence,
            twin: row.twin,
            unchecked: row.unchecked,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_catalogue_has_198_rules_apart_from_external_facts_and_stand_ins() {
        let ids: BTreeSet<_> = catalogue().iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), catalogue().len(), "a rule occurs twice");
        let product = catalogue()
            .iter()
            .filter(|rule| !["EX", "FX"].contains(&rule.id.prefix()) && rule.class != Class::StandIn)
            .count();
        // The documents' 196, and two about what follows from them in a registry (FB-15, HY-10).
        assert_eq!(product, 198);
    }

    #[test]
    fn every_rule_has_one_sentence_platforms_and_evidence() {
        for rule in catalogue() {
            let sentence = rule.title.starts_with(char::is_uppercase) && rule.title.ends_with('.');
            assert!(sentence && rule.title.len() <= 200, "{}: {}", rule.id, rule.title);
            assert!(!rule.platforms.is_empty() && !rule.evidence.is_empty(), "{}", rule.id);
        }
    }

    #[test]
    fn every_rule_about_field_failures_names_a_report() {
        for rule in catalogue().iter().filter(|rule| rule.id.prefix() == "FX") {
            assert!(!rule.reports.is_empty(), "{}", rule.id);
        }
    }

    #[test]
    fn every_rule_belongs_to_an_area() {
        for rule in catalogue() {
            assert!(areas().any(|area| area.prefix == rule.id.prefix()), "{}", rule.id);
        }
    }

    #[test]
    fn classes_and_sources_are_named_as_in_the_catalogue() {
        for class in [Class::Guarantee, Class::Limitation, Class::Advice, Class::StandIn] {
            assert_eq!(serde_json::to_value(class).ok(), Some(class.as_str().into()));
        }
        for source in [Source::Hyperv, Source::Vmware, Source::Physical, Source::Azure, Source::Kvm] {
            assert_eq!(serde_json::to_value(source).ok(), Some(source.as_str().into()));
        }
    }

    #[test]
    fn a_rule_is_found_by_its_name_and_no_other_is() {
        assert_eq!(RuleId::find("FO-04"), Some(ids::FO_04));
        assert_eq!(ids::FO_04.rule().class, Class::Guarantee);
        assert_eq!(RuleId::find("XX-99"), None);
    }
}
