//! The promise about JSON records, `docs/schema-1.json`, held against records: they are as it says, and it says everything
//! that is in them.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

static TEXT: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../../../docs/schema-1.json");
    serde_json::from_str(text).expect("docs/schema-1.json is JSON")
});

static SCHEMA: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&TEXT).expect("docs/schema-1.json is a JSON Schema"));

/// What of a record is not as the schema says, and what of it the schema does not know.
pub fn problems(record: &Value) -> Vec<String> {
    let errors = SCHEMA.iter_errors(record);
    let wrong = errors.map(|error| format!("{}: {error}", error.instance_path()));
    wrong.chain(unknown(record)).collect()
}

/// Fields that the schema does not describe. A schema lets them pass, so that later versions may add some; this version has to
/// say what it prints.
fn unknown(record: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    match described_by(record) {
        Some(schema) => look(record, &TEXT["$defs"][schema], "", &mut unknown),
        None => unknown.push(format!("no record of type {} is described", record["type"])),
    }
    unknown
}

/// Name of the definition that applies to a record.
fn described_by(record: &Value) -> Option<&'static str> {
    let cases = TEXT["allOf"].as_array()?.iter();
    let mut applies = cases.filter(|case| {
        let condition = &case["if"];
        let types = condition["properties"]["type"]["enum"].as_array();
        let required = condition["required"].as_array().into_iter().flatten();
        types.is_some_and(|types| types.contains(&record["type"]))
            && required
                .filter_map(Value::as_str)
                .all(|name| record.get(name).is_some())
    });
    name_of(&applies.next()?["then"])
}

fn name_of(reference: &'static Value) -> Option<&'static str> {
    reference["$ref"].as_str()?.strip_prefix("#/$defs/")
}

fn look(value: &Value, schema: &'static Value, place: &str, unknown: &mut Vec<String>) {
    let schema = name_of(schema).map_or(schema, |name| &TEXT["$defs"][name]);
    if let Some(cases) = schema["anyOf"].as_array()
        && let Some(case) = cases.iter().find(|case| name_of(case).is_some())
        && !value.is_null()
    {
        return look(value, case, place, unknown);
    }
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let place = format!("{place}.{name}");
                // Counts by name have as many names as there are.
                let described = schema["properties"]
                    .get(name)
                    .or_else(|| schema.get("additionalProperties"));
                match described {
                    Some(schema) => look(field, schema, &place, unknown),
                    None => unknown.push(format!("{place} is not described")),
                }
            }
        }
        Value::Array(items) if schema.get("items").is_some() => {
            for item in items {
                look(item, &schema["items"], place, unknown);
            }
        }
        // Of a list it has to say what is in it.
        Value::Array(items) if items.iter().any(Value::is_object) => {
            unknown.push(format!("{place}: its items are not described"));
        }
        _ => {}
    }
}

/// Ends the test where a record is not as the schema says.
pub fn check(record: &Value) {
    let problems = problems(record);
    assert!(
        problems.is_empty(),
        "not as docs/schema-1.json says: {problems:?}: {record}"
    );
}
