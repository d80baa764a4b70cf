//! Connections of which this host sees both ends: what their client can only guess their server knows. The two findings
//! become one, the server's, which says so and stands for the rows of both.

use super::{Facts, Finding, Id, Subject};

/// Findings of a server that explain one of its clients.
fn explained_by(client: Id) -> &'static [Id] {
    match client {
        // A client cannot tell these apart.
        Id::ServerNotEnabled => &[
            Id::ServerNotEnabled,
            Id::TfoQueueOverflow,
            Id::SyncookiesActive,
            Id::OptionStripped,
        ],
        Id::CookieKeyMismatch => &[Id::CookieKeyMismatch],
        _ => &[],
    }
}

/// Puts what clients of this host see together with what its servers know.
pub fn merge(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let mut place = 0;
    while let Some(client) = findings.get(place) {
        let server = findings.iter().position(|server| {
            explained_by(client.id).contains(&server.id) && is_other_end(facts, client, server)
        });
        let Some(server) = server else {
            place += 1;
            continue;
        };
        let client = findings.remove(place);
        let server = if server > place { server - 1 } else { server };
        if let Some(server) = findings.get_mut(server) {
            server.severity = server.severity.max(client.severity);
            server.rows.extend(client.rows);
            server.evidence.lines.push(format!(
                "both ends are on this host; seen from the client: {}",
                client.sentence
            ));
        }
    }
}

/// Whether connections of this server came to the destination of this client.
fn is_other_end(facts: &Facts<'_>, client: &Finding, server: &Finding) -> bool {
    let (
        Subject::Destination {
            remote, port: wanted, ..
        },
        Subject::Listener { cgroup_id, port, .. },
    ) = (&client.subject, &server.subject)
    else {
        return false;
    };
    if wanted.is_some_and(|wanted| wanted != *port) {
        return false;
    }
    let service = facts.service(*cgroup_id, *port);
    // Whose cookie was refused is the same address, whatever the port: one connection shows it.
    service.flows.iter().any(|flow| flow.local_ip() == *remote)
}
