//! The values of `--shard`: `K/N`, or `auto` for what the engine of continuous integration says.

use std::str::FromStr;

use anyhow::Result;

use crate::error::usage;

/// One of several shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 1.
    pub number: usize,
    /// How many shards the run has.
    pub of: usize,
    /// The name that the engine gives to the whole run, if it told the shard.
    pub run: Option<String>,
}

/// What `--shard` was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// `K/N`.
    Given(Shard),
    /// `auto`.
    Auto,
}

/// An engine that starts the same command several times and numbers it by environment variables.
struct Engine {
    name: &'static str,
    /// The number of this shard.
    number: &'static str,
    /// The number of the first shard.
    first: usize,
    /// How many shards there are.
    of: &'static str,
    /// What names the whole run, if the engine does.
    run: Option<&'static str>,
}

/// The engines that `auto` knows. Kubernetes sets only the number of a shard;
/// `ci/kubernetes/job.yaml` sets how many there are.
const ENGINES: [Engine; 2] = [
    Engine {
        name: "GitLab's `parallel`",
        number: "CI_NODE_INDEX",
        first: 1,
        of: "CI_NODE_TOTAL",
        run: Some("CI_PIPELINE_ID"),
    },
    Engine {
        name: "a Kubernetes Indexed Job",
        number: "JOB_COMPLETION_INDEX",
        first: 0,
        of: "JOB_COMPLETIONS",
        run: None,
    },
];

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let numbers = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => {
                Ok(Self::Given(Shard { number, of, run: None }))
            }
            _ => Err("K/N with K from 1 to N, or `auto`".to_owned()),
        }
    }
}

impl Choice {
    /// The shard that was chosen. `auto` asks `variable` for environment variables.
    pub fn resolve(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Shard> {
        match self {
            Self::Given(shard) => Ok(shard.clone()),
            Self::Auto => automatic(variable),
        }
    }
}

fn automatic(variable: impl Fn(&str) -> Option<String>) -> Result<Shard> {
    let found: Vec<&Engine> = ENGINES.iter().filter(|engine| variable(engine.number).is_some()).collect();
    let engine = match found[..] {
        [engine] => engine,
        [] => {
            let known: Vec<_> =
                ENGINES.iter().map(|engine| format!("{} ({})", engine.number, engine.name)).collect();
            let known = known.join(" nor ");
            return Err(usage(format!(
                "--shard auto found neither {known} in the environment: say --shard K/N."
            )));
        }
        _ => {
            let names: Vec<_> = found.iter().map(|engine| engine.number).collect();
            let names = names.join(" and ");
            return Err(usage(format!("--shard auto found {names}, of two engines: say --shard K/N.")));
        }
    };
    let number = |name: &str| variable(name).and_then(|text| text.trim().parse::<usize>().ok());
    let shard = number(engine.number).zip(number(engine.of));
    let shard = shard.and_then(|(number, of)| Some((number.checked_sub(engine.first)? + 1, of)));
    match shard {
        Some((number, of)) if number <= of => Ok(Shard { number, of, run: engine.run.and_then(&variable) }),
        _ => {
            let values = [engine.number, engine.of]
                .map(|name| format!("{name}={}", variable(name).unwrap_or_else(|| "(not set)".to_owned())));
            let values = values.join(" ");
            Err(usage(format!("--shard auto found {values}, which is no shard of {}.", engine.name)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(variables: &[(&str, &str)]) -> Result<Shard> {
        Choice::Auto.resolve(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_shard_is_one_of_n() {
        for (text, number, of) in [("1/1", 1, 1), ("2/3", 2, 3), ("3/3", 3, 3)] {
            assert_eq!(text.parse(), Ok(Choice::Given(Shard { number, of, run: None })));
        }
        for wrong in ["", "0/3", "4/3", "1", "1/0", "a/b", "1/2/3", "-1/2", "automatic"] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_engine_counts_from_its_own_first_number() {
        let gitlab = auto(&[("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "3"), ("CI_PIPELINE_ID", "77")]);
        assert_eq!(gitlab.expect("a shard"), Shard { number: 2, of: 3, run: Some("77".to_owned()) });
        let kubernetes = auto(&[("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "3")]);
        assert_eq!(kubernetes.expect("a shard"), Shard { number: 1, of: 3, run: None });
    }

    #[test]
    fn without_one_engine_that_says_a_shard_auto_is_wrong_usage() {
        for (variables, named) in [
            (&[][..], "CI_NODE_INDEX"),
            (&[("JOB_COMPLETION_INDEX", "1")], "JOB_COMPLETIONS=(not set)"),
            (&[("JOB_COMPLETION_INDEX", "3"), ("JOB_COMPLETIONS", "3")], "JOB_COMPLETION_INDEX=3"),
            (&[("CI_NODE_INDEX", "0"), ("CI_NODE_TOTAL", "3")], "CI_NODE_INDEX=0"),
            (&[("CI_NODE_INDEX", "x"), ("CI_NODE_TOTAL", "3")], "CI_NODE_INDEX=x"),
            (&[("CI_NODE_INDEX", "1"), ("JOB_COMPLETION_INDEX", "0")], "two engines"),
        ] {
            let error = auto(variables).expect_err("no shard");
            assert_eq!(crate::error::code_of(&error), crate::error::USAGE);
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
