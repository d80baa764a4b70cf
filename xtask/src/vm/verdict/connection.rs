//! A connection of the scenario, and what `tfo-cli trace` should have recorded about it.

use std::net::SocketAddr;

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

/// Connections of `tfo-lab vm-denied` whose sockets would stall without the push, and the bytes each sends.
const AT_RISK: [&str; 2] = ["denied-quickack-off", "denied-defer-accept"];
/// See [`AT_RISK`].
const DENIED_LEN: u64 = 300;

/// A connection of the scenario: one line of `tfo-lab vm-scenario`.
pub struct Connection {
    name: String,
    /// Both addresses, because the same client port may be in use for IPv4 and IPv6.
    client_end: SocketAddr,
    server_end: SocketAddr,
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
        let end = |which: &str| {
            let address = value["report"][which].as_str().and_then(|text| text.parse().ok());
            address.with_context(|| format!("no {which} address in `{line}`"))
        };
        Ok(Self {
            client_end: end("local")?,
            server_end: end("remote")?,
            name: name.to_owned(),
            family: value["family"].clone(),
            tfo_requested: value["tfo_requested"].clone(),
            client: value["client"].clone(),
            server: value["server"].clone(),
        })
    }

    /// What is predicted on a kernel that cannot push: a denied socket that would stall keeps its Fast Open.
    pub fn without_push(mut self) -> Self {
        if AT_RISK.contains(&&*self.name) {
            for view in [&mut self.client, &mut self.server] {
                view["outcome"] = "accepted".into();
                view["option_sent"] = "cookie".into();
                view["syn_data_len"] = DENIED_LEN.into();
                view["syn_data_acked"] = DENIED_LEN.into();
                view["cookie_in_syn_ack"] = false.into();
            }
        }
        self
    }

    /// How the records of both ends differ from the prediction.
    pub fn problems(&self, records: &[Value]) -> Vec<String> {
        let mut problems = Vec::new();
        for (role, local, remote, view) in [
            ("client", self.client_end, self.server_end, &self.client),
            ("server", self.server_end, self.client_end, &self.server),
        ] {
            if view.is_null() {
                continue;
            }
            let is_at = |record: &Value, side: &str, end: SocketAddr| {
                record[format!("{side}_addr")] == end.ip().to_string()
                    && record[format!("{side}_port")] == end.port()
            };
            let record = records.iter().find(|record| {
                record["role"] == role && is_at(record, "local", local) && is_at(record, "remote", remote)
            });
            let Some(record) = record else {
                problems.push(format!("{}: no {role} record of {local} and {remote}", self.name));
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
