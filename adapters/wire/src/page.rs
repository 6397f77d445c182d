//! The page `docs/protocol.md`.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::openrpc::{self, Described, Receiver};
use crate::protocol::VERSION;

/// Width of the page.
const COLUMNS: usize = 100;

const INTRODUCTION: &str = include_str!("introduction.md");

/// The page.
#[must_use]
pub fn page() -> String {
    let (methods, schemas) = openrpc::describe();
    let mut page = INTRODUCTION.replace("VERSION", VERSION);
    let sections =
        [("Methods of the core", "core."), ("Methods of a platform", "platform."), ("Other methods", "")];
    for (heading, prefix) in sections {
        let _ = writeln!(page, "\n## {heading}");
        for method in methods.iter().filter(|method| section_of(method.name) == prefix) {
            describe(&mut page, method);
        }
    }
    page.push_str("\n## Types\n\nOptional members may be missing.\n");
    for (name, schema) in &schemas {
        describe_type(&mut page, name, schema);
    }
    page
}

fn section_of(method: &str) -> &'static str {
    ["core.", "platform."].into_iter().find(|prefix| method.starts_with(prefix)).unwrap_or_default()
}

fn describe(page: &mut String, method: &Described) {
    let _ = writeln!(page, "\n### `{}`\n", method.name);
    if section_of(method.name).is_empty() {
        let by = match method.receiver {
            Receiver::Core => "the core",
            Receiver::Suite => "the suite",
            Receiver::Both => "both sides",
        };
        let _ = writeln!(page, "Answered by {by}.\n");
    }
    let _ = writeln!(page, "{}\n", wrapped(&method.text));
    if !method.params.is_empty() {
        page.push_str("| parameter | type |\n|---|---|\n");
        for (name, schema, required) in &method.params {
            let optional = if *required { "" } else { ", optional" };
            let _ = writeln!(page, "| `{name}` | {}{optional} |", type_name(schema));
        }
        page.push('\n');
    }
    let _ = writeln!(page, "{}\n", wrapped(&format!("Result: {}", type_name(&method.result))));
    let params = &method.example.params;
    let request = json!({ "jsonrpc": "2.0", "id": 7, "method": method.name, "params": params });
    let answer = json!({ "jsonrpc": "2.0", "id": 7, "result": method.example.result });
    let _ = writeln!(page, "```json\n{request}\n{answer}\n```");
}

/// Paragraphs, filled up to the width of the page.
fn wrapped(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let mut lines = vec![String::new()];
        for word in paragraph.split_whitespace() {
            let line = lines.last().map_or(0, |line| line.chars().count());
            if line > 0 && line + 1 + word.chars().count() > COLUMNS {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                let gap = if line.is_empty() { "" } else { " " };
                line.push_str(gap);
                line.push_str(word);
            }
        }
        lines.join("\n")
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// The type of a schema, in words.
fn type_name(schema: &Value) -> String {
    if let Some(target) = schema["$ref"].as_str() {
        let name = target.rsplit('/').next().unwrap_or(target);
        return format!("[`{name}`](#{})", name.to_lowercase());
    }
    if let Some(value) = schema.get("const") {
        return format!("`{value}`");
    }
    for (any, word) in [("anyOf", " or "), ("oneOf", " or "), ("allOf", " and "), ("enum", " or ")] {
        if let Some(all) = schema[any].as_array() {
            let name = |one: &Value| if any == "enum" { format!("`{one}`") } else { type_name(one) };
            return all.iter().map(name).collect::<Vec<_>>().join(word);
        }
    }
    match &schema["type"] {
        Value::Array(types) => {
            types.iter().map(|one| type_name(&with_type(schema, one))).collect::<Vec<_>>().join(" or ")
        }
        Value::String(name) => match name.as_str() {
            "array" => match &schema["items"] {
                Value::Array(items) => {
                    format!("[{}]", items.iter().map(type_name).collect::<Vec<_>>().join(", "))
                }
                items => format!("list of {}", type_name(items)),
            },
            "object" => "object".to_owned(),
            other => other.to_owned(),
        },
        _ => "any value".to_owned(),
    }
}

/// The schema with one of its types.
fn with_type(schema: &Value, one: &Value) -> Value {
    let mut members: Map<String, Value> = schema.as_object().cloned().unwrap_or_default();
    members.insert("type".to_owned(), one.clone());
    Value::Object(members)
}

fn describe_type(page: &mut String, name: &str, schema: &Value) {
    let _ = writeln!(page, "\n### {name}\n");
    if let Some(text) = schema["description"].as_str() {
        let _ = writeln!(page, "{}\n", wrapped(&openrpc::plain(text)));
    }
    let variants = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array());
    if let Some(variants) = variants {
        page.push_str("| value | meaning |\n|---|---|\n");
        for variant in variants {
            let _ = writeln!(page, "| {} | {} |", value_name(variant), cell(variant));
        }
    } else if let Some(properties) = schema["properties"].as_object() {
        members(page, schema, properties);
    } else {
        let _ = writeln!(page, "{}", wrapped(&format!("Type: {}", type_name(schema))));
    }
}

fn members(page: &mut String, schema: &Value, properties: &Map<String, Value>) {
    page.push_str("| member | type | meaning |\n|---|---|---|\n");
    let required = schema["required"].as_array();
    for (name, member) in properties {
        let is_required = required.is_some_and(|names| names.iter().any(|other| other == name));
        let optional = if is_required { "" } else { ", optional" };
        let _ = writeln!(page, "| `{name}` | {}{optional} | {} |", type_name(member), cell(member));
    }
}

/// A variant of an enumeration: its name, or an object with its members.
fn value_name(variant: &Value) -> String {
    let Some(properties) = variant["properties"].as_object() else { return type_name(variant) };
    let member = |(name, schema): (&String, &Value)| format!("`{name}`: {}", type_name(schema));
    format!("object with {}", properties.iter().map(member).collect::<Vec<_>>().join(", "))
}

/// A description as the cell of a table.
fn cell(schema: &Value) -> String {
    let text = openrpc::plain(schema["description"].as_str().unwrap_or_default());
    text.replace('\n', " ").replace('|', "\\|")
}
