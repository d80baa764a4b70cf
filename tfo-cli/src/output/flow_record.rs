//! A flow for programs: the same object in `trace`, `analyze`, findings and reports.

use serde::Serialize;

use super::{FlowLine, flow_fields::FlowFields, json::SCHEMA};

/// A flow.
#[derive(Clone, Debug, Serialize)]
pub struct FlowRecord<'a> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `flow`.
    pub r#type: &'static str,
    /// What is said about it. Absent values are `null`, never left out.
    #[serde(flatten)]
    pub fields: FlowFields<'a>,
}

impl<'a> FlowRecord<'a> {
    /// The record of a flow.
    pub fn new(line: &FlowLine<'a>) -> Self {
        Self {
            schema: SCHEMA,
            r#type: "flow",
            fields: FlowFields::of(line),
        }
    }
}
