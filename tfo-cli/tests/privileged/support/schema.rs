//! The promise about JSON records, `docs/schema-1.json`, held against records.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let text = include_str!("../../../../docs/schema-1.json");
    let schema: Value = serde_json::from_str(text).expect("docs/schema-1.json is JSON");
    jsonschema::validator_for(&schema).expect("docs/schema-1.json is a JSON Schema")
});

/// What of a record is not as the schema says.
pub fn problems(record: &Value) -> Vec<String> {
    let errors = SCHEMA.iter_errors(record);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// Ends the test where a record is not as the schema says.
pub fn check(record: &Value) {
    let problems = problems(record);
    assert!(
        problems.is_empty(),
        "not as docs/schema-1.json says: {problems:?}: {record}"
    );
}
