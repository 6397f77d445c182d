//! The OpenRPC document: every method with its parameters, result, errors and an example.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::examples::{self, Example};
use crate::method::Method;
use crate::methods::{self, core_methods, platform_methods};
use crate::protocol::{Connect, Discover, Now, SleepUntil, VERSION, code};

/// Who answers a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// The core.
    Core,
    /// The suite.
    Suite,
    /// Both sides.
    Both,
}

/// A method as the documentation describes it.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// Who answers it.
    pub receiver: Receiver,
    /// What it does.
    pub text: String,
    /// Its parameters: name, schema, and whether it is required.
    pub params: Vec<(String, Value, bool)>,
    /// The schema of its result.
    pub result: Value,
    /// An example.
    pub example: Example,
}

/// Every method, in the order of the documentation, and the schemas that they refer to.
#[must_use]
pub fn describe() -> (Vec<Described>, Map<String, Value>) {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut list =
        List { generator: settings.into_generator(), methods: Vec::new(), examples: examples::all() };
    list.add::<Connect>(Receiver::Suite, HANDSHAKE);
    list.add_core();
    list.add_platform();
    list.add::<Now>(Receiver::Suite, "Returns the time, in milliseconds since the Unix epoch.");
    list.add::<SleepUntil>(Receiver::Suite, "Is answered when that time has come.");
    list.add::<Discover>(Receiver::Both, "Returns the OpenRPC document of the protocol.");
    (list.methods, list.generator.take_definitions(true))
}

const HANDSHAKE: &str = "The first message of a connection, from the core. The suite refuses it with \
    error -32010 if the major versions of the protocol differ, and then closes the connection.";

const CORE_TRAIT: &str = include_str!("../../contract/src/core.rs");
const PLATFORM_TRAIT: &str = include_str!("../../contract/src/platform.rs");

struct List {
    generator: SchemaGenerator,
    methods: Vec<Described>,
    examples: Vec<Example>,
}

impl List {
    fn add<M: Method>(&mut self, receiver: Receiver, text: &str) {
        let params = params::<M>(&mut self.generator);
        let result = self.generator.subschema_for::<M::Result>().to_value();
        let example = self.examples.iter().find(|example| example.method == M::NAME).cloned();
        let example = example.unwrap_or_else(|| Example::missing(M::NAME));
        let text = text.to_owned();
        self.methods.push(Described { name: M::NAME, receiver, text, params, result, example });
    }
}

/// The parameters of a method, from the schema of the object that they make up.
fn params<M: JsonSchema>(generator: &mut SchemaGenerator) -> Vec<(String, Value, bool)> {
    let object = M::json_schema(generator).to_value();
    let required = |name: &str| {
        let names = object["required"].as_array();
        names.is_some_and(|names| names.iter().any(|other| other == name))
    };
    let Some(properties) = object["properties"].as_object() else { return Vec::new() };
    let bare = |schema: &Value| match schema {
        Value::Object(members) => {
            // Its description is only the name of the argument.
            let mut members = members.clone();
            members.remove("description");
            Value::Object(members)
        }
        other => other.clone(),
    };
    properties.iter().map(|(name, schema)| (name.clone(), bare(schema), required(name))).collect()
}

macro_rules! add_core {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        impl List {
            fn add_core(&mut self) {$(
                let text = documentation(CORE_TRAIT, stringify!($name));
                self.add::<methods::core::$name::Params>(Receiver::Core, &text);
            )+}
        }
    };
}
core_methods!(add_core);

macro_rules! add_platform {
    ($($kind:ident $needs:tt $name:ident($($argument:ident: [$($type:tt)+]),*) -> [$($result:tt)+];)+) => {
        impl List {
            fn add_platform(&mut self) {$(
                let text = documentation(PLATFORM_TRAIT, stringify!($name));
                self.add::<methods::platform::$name::Params>(Receiver::Suite, &text);
            )+}
        }
    };
}
platform_methods!(add_platform);

/// The documentation of a method, from the source of its trait.
fn documentation(source: &str, method: &str) -> String {
    let (before, _) = source.split_once(&format!("async fn {method}(")).unwrap_or_default();
    let lines: Vec<&str> = before.trim_end().lines().collect();
    let is_text = |line: &&str| line.trim_start().starts_with("///");
    let first = lines.len() - lines.iter().rev().take_while(|line| is_text(line)).count();
    let text = lines[first..].iter().map(|line| line.trim_start().trim_start_matches("///").trim());
    plain(&text.collect::<Vec<_>>().join("\n"))
}

/// Links of rustdoc become code, and its headings become words.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[`") {
        let Some((name, after)) = after.split_once("`]") else { break };
        plain.push_str(before);
        let last = name.rsplit("::").next().unwrap_or(name);
        plain.push_str(&format!("`{last}`"));
        rest = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    plain.push_str(rest);
    plain.replace("# Errors\n", "Errors: ")
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let (methods, schemas) = describe();
    let methods: Vec<Value> = methods.iter().map(method).collect();
    json!({
        "openrpc": "1.3.2",
        "info": {
            "title": "Roundtrip: a conformance suite and a replication core",
            "version": VERSION,
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "methods": methods,
        "components": { "schemas": schemas },
    })
}

fn method(method: &Described) -> Value {
    let params = |(name, schema, required): &(String, Value, bool)| json!({ "name": name, "required": required, "schema": schema });
    let errors: Vec<Value> = match method.name.split('.').next() {
        Some("core") => vec![json!({ "code": code::CORE, "message": "CoreError" })],
        Some("platform") => vec![json!({ "code": code::PLATFORM, "message": "PlatformError" })],
        _ => Vec::new(),
    };
    let example = json!({
        "name": "example",
        "params": method.example.params.as_object().into_iter().flatten()
            .map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
        "result": { "name": "result", "value": method.example.result },
    });
    json!({
        "name": method.name,
        "x-receiver": match method.receiver {
            Receiver::Core => "core",
            Receiver::Suite => "suite",
            Receiver::Both => "both",
        },
        "description": method.text,
        "paramStructure": "by-name",
        "params": method.params.iter().map(params).collect::<Vec<_>>(),
        "result": { "name": "result", "schema": method.result },
        "errors": errors,
        "examples": [example],
    })
}
