//! The part of JSON Schema that the OpenRPC document uses. A keyword that is not known here fails
//! the test that meets it.

use serde_json::{Map, Value};

/// Where the types of the document are.
const TYPES: &str = "#/components/schemas/";

/// What a schema says against a value; nothing if the value fits. `types` are those of the
/// document.
pub(crate) fn objections(schema: &Value, types: &Map<String, Value>, value: &Value) -> Vec<String> {
    let Value::Object(keywords) = schema else {
        return if schema == &Value::Bool(true) { vec![] } else { vec!["nothing fits".to_owned()] };
    };
    keywords.iter().flat_map(|(keyword, wanted)| against(keywords, (keyword, wanted), types, value)).collect()
}

fn against(
    keywords: &Map<String, Value>,
    (keyword, wanted): (&str, &Value),
    types: &Map<String, Value>,
    value: &Value,
) -> Vec<String> {
    let objections_to = |schema, value| objections(schema, types, value);
    let all = || wanted.as_array().unwrap();
    let unless = |fits: bool| {
        if fits { vec![] } else { vec![format!("{value} does not fit {keyword}: {wanted}")] }
    };
    match keyword {
        "$ref" => objections_to(&types[wanted.as_str().unwrap().strip_prefix(TYPES).unwrap()], value),
        "allOf" => all().iter().flat_map(|one| objections_to(one, value)).collect(),
        "anyOf" => unless(all().iter().any(|one| objections_to(one, value).is_empty())),
        "oneOf" => unless(all().iter().filter(|one| objections_to(one, value).is_empty()).count() == 1),
        "const" => unless(wanted == value),
        "type" => {
            let kinds = wanted.as_array().map_or(std::slice::from_ref(wanted), Vec::as_slice);
            unless(kinds.iter().any(|kind| is_of_type(value, kind.as_str().unwrap())))
        }
        "minimum" => unless(value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap())),
        "maximum" => unless(value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap())),
        "minItems" => {
            unless(value.as_array().is_none_or(|items| items.len() as u64 >= wanted.as_u64().unwrap()))
        }
        "maxItems" => {
            unless(value.as_array().is_none_or(|items| items.len() as u64 <= wanted.as_u64().unwrap()))
        }
        "items" => {
            let items = value.as_array().into_iter().flatten().enumerate();
            let fixed = wanted.as_array();
            items.flat_map(|(at, item)| objections_to(fixed.map_or(wanted, |all| &all[at]), item)).collect()
        }
        "required" => {
            let has = |name: &Value| value.get(name.as_str().unwrap()).is_some();
            unless(!value.is_object() || all().iter().all(has))
        }
        "properties" => {
            let members = value.as_object().into_iter().flatten();
            let of_wanted = members.filter_map(|(name, member)| Some((wanted.get(name)?, member)));
            of_wanted.flat_map(|(schema, member)| objections_to(schema, member)).collect()
        }
        "additionalProperties" => {
            let known = |name: &String| keywords.get("properties").is_some_and(|all| all.get(name).is_some());
            let others = value.as_object().into_iter().flatten().filter(|(name, _)| !known(name));
            others.flat_map(|(_, member)| objections_to(wanted, member)).collect()
        }
        // These say nothing that a value could break, or what `minimum` and `maximum` say as well.
        "description" | "default" | "format" | "contentEncoding" => vec![],
        unknown => panic!("this test does not know the keyword {unknown}"),
    }
}

fn is_of_type(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("this test does not know the type {unknown}"),
    }
}
