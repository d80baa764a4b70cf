//! One connection of the scenario, and what `tfo-cli trace` should have recorded about it.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Fields of a record that the scenario predicts for each end, under the same name in both.
const PREDICTED: [&str; 5] = [
    "outcome",
    "option_sent",
    "option_kind",
    "syn_data_len",
    "syn_data_acked",
];

/// A connection of the scenario: one line of `tfo-lab vm-scenario`.
pub struct Connection {
    name: String,
    /// The client's port tells the connections apart.
    port: u64,
    family: Value,
    tfo_requested: Value,
    client: Value,
    /// Null where the server never saw the connection.
    server: Value,
}

impl Connection {
    pub fn parse(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: `{line}`"))?;
        let name = value["scenario"].as_str().context("no string `scenario`")?;
        let local = value["report"]["local"]
            .as_str()
            .and_then(|address| address.rsplit_once(':'));
        let port = local.and_then(|(_, port)| port.parse().ok());
        Ok(Self {
            port: port.with_context(|| format!("no client port in `{line}`"))?,
            name: name.to_owned(),
            family: value["family"].clone(),
            tfo_requested: value["tfo_requested"].clone(),
            client: value["client"].clone(),
            server: value["server"].clone(),
        })
    }

    /// What the records of both ends have wrong.
    pub fn problems(&self, records: &[Value]) -> Vec<String> {
        let mut problems = Vec::new();
        for (role, port_field, view) in [
            ("client", "local_port", &self.client),
            ("server", "remote_port", &self.server),
        ] {
            if view.is_null() {
                continue;
            }
            let record = records
                .iter()
                .find(|record| record["role"] == role && record[port_field] == self.port);
            let Some(record) = record else {
                problems.push(format!(
                    "{}: no {role} record for client port {}",
                    self.name, self.port
                ));
                continue;
            };
            let mut predicted = PREDICTED.map(|field| (field, &view[field])).to_vec();
            predicted.push(("family", &self.family));
            if role == "client" {
                predicted.push(("tfo_requested", &self.tfo_requested));
                predicted.push(("cookie_received", &view["cookie_in_syn_ack"]));
            }
            for (field, should) in predicted {
                let is = &record[field];
                if is != should {
                    problems.push(format!(
                        "{}: {role} {field} is {is}, should be {should}",
                        self.name
                    ));
                }
            }
        }
        problems
    }
}
