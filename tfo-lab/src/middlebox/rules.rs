//! The nft rules of each effect, as text.
//!
//! With nft 1.0.6 on Linux 6.18, `tcp doff . ip length` cannot be put into one set, because the ranges come out as zero;
//! so there is a rule for each header length. `reset tcp option` has no condition on the length of the option.

use super::{Effect, Place, Rule};

const SYN: &str = "tcp flags & (syn|ack) == syn";
const SYN_ACK: &str = "tcp flags & (syn|ack) == (syn|ack)";
/// TCP header lengths in 32-bit words.
const HEADER_WORDS: std::ops::RangeInclusive<u16> = 5..=15;

/// The nft table of a rule.
pub(super) fn ruleset(table: &str, rule: &Rule, place: Place) -> String {
    let memory = match rule.effect {
        Effect::DropEarlySynAcks => sent_syns(rule),
        Effect::Grudge => GRUDGE.to_owned(),
        _ => String::new(),
    };
    let hook = hook(rule.effect, place);
    let lines = lines(rule).join("\n");
    format!("table inet {table} {{\n{memory}chain c {{\n{hook}\n{lines}\n}}\n}}\n")
}

/// Who used Fast Open, and the connections whose first SYN was dropped since.
const GRUDGE: &str = "set clients { type ipv4_addr; size 65535; flags dynamic; }
set dropped { type ipv4_addr . inet_service; size 65535; flags dynamic; }
";

/// Two sets: the connections whose SYN has left, and those whose SYN has left a second time.
fn sent_syns(rule: &Rule) -> String {
    let address = if rule.server.is_ipv4() {
        "ipv4_addr"
    } else {
        "ipv6_addr"
    };
    let set = |name| format!("set {name} {{ type {address} . inet_service; size 65535; flags dynamic; }}\n");
    let flow = format!("{} saddr . tcp sport", family(rule));
    let syn = format!("{} {SYN}", to_server(rule));
    format!(
        "{}{}chain sent {{\ntype filter hook output priority filter;\n{syn} {flow} @once add @again {{ {flow} }}\n\
         {syn} add @once {{ {flow} }}\n}}\n",
        set("once"),
        set("again"),
    )
}

/// The netfilter hook that sees the packets of the effect.
fn hook(effect: Effect, place: Place) -> &'static str {
    match (place, effect) {
        (Place::Output, _) => "type filter hook output priority filter;",
        // `reject` works only on packets that have been routed.
        (Place::Arrival, Effect::ResetSynData | Effect::ResetTfoSyn) => {
            "type filter hook input priority filter;"
        }
        (Place::Arrival, _) => "type filter hook prerouting priority raw;",
    }
}

fn lines(rule: &Rule) -> Vec<String> {
    let (to, from) = (to_server(rule), from_server(rule));
    match rule.effect {
        Effect::DropSynData => syn_data(rule, "drop"),
        Effect::ResetSynData => syn_data(rule, "reject with tcp reset"),
        Effect::DropTfoSyn => {
            with_option(|option| format!("{to} {SYN} tcp option {option} exists counter drop"))
        }
        Effect::ResetTfoSyn => with_option(|option| {
            format!("{to} {SYN} tcp option {option} exists counter reject with tcp reset")
        }),
        Effect::DropSyn => vec![format!("{to} {SYN} counter drop")],
        Effect::DropAfterSyn => vec![format!("{to} tcp flags & syn == 0 counter drop")],
        Effect::DropServerReset => vec![format!("{from} tcp flags & rst == rst counter drop")],
        Effect::Loss(per_mille) => {
            vec![format!("{to} numgen random mod 1000 < {per_mille} counter drop")]
        }
        Effect::DropEarlySynAcks => {
            let flow = format!("{} daddr . tcp dport", family(rule));
            vec![format!("{from} {SYN_ACK} {flow} != @again counter drop")]
        }
        Effect::Grudge => {
            let mut lines = with_option(|option| {
                format!("{to} {SYN} tcp option {option} exists add @clients {{ ip saddr }} counter drop")
            });
            let flow = "ip saddr . tcp sport";
            lines.push(format!(
                "{to} {SYN} ip saddr @clients {flow} != @dropped add @dropped {{ {flow} }} counter drop"
            ));
            lines
        }
        Effect::StripSyn { experimental } => strip(&format!("{to} {SYN}"), experimental),
        Effect::StripSynAck { experimental } => strip(&format!("{from} {SYN_ACK}"), experimental),
    }
}

fn with_option(line: impl Fn(u8) -> String) -> Vec<String> {
    vec![line(34), line(254)]
}

fn strip(packets: &str, experimental: bool) -> Vec<String> {
    let numbers: &[u8] = if experimental { &[34, 254] } else { &[34] };
    let line = |number| format!("{packets} tcp option {number} exists counter reset tcp option {number}");
    numbers.iter().map(line).collect()
}

/// SYNs longer than their headers, exactly: nft has no arithmetic, so each header length gets a
/// rule. An IPv6 length does not include the IPv6 header.
fn syn_data(rule: &Rule, verdict: &str) -> Vec<String> {
    let to = to_server(rule);
    let (field, ip_header) = if rule.server.is_ipv4() {
        ("ip", 20)
    } else {
        ("ip6", 0)
    };
    let line = |words: u16| {
        let headers = ip_header + 4 * words;
        format!("{to} {SYN} tcp doff {words} {field} length > {headers} counter {verdict}")
    };
    HEADER_WORDS.map(line).collect()
}

fn to_server(rule: &Rule) -> String {
    packets(rule, ["daddr", "saddr"], "dport")
}

fn from_server(rule: &Rule) -> String {
    packets(rule, ["saddr", "daddr"], "sport")
}

/// Packets of the rule's connections in one direction, given by the names of the header fields.
fn packets(rule: &Rule, [server, client]: [&str; 2], port: &str) -> String {
    let family = family(rule);
    let mut matches = vec![format!("{family} {server} {}", rule.server)];
    matches.extend(rule.client.map(|ip| format!("{family} {client} {ip}")));
    matches.push(rule.port.map_or_else(
        || "meta l4proto tcp".to_owned(),
        |number| format!("tcp {port} {number}"),
    ));
    matches.join(" ")
}

fn family(rule: &Rule) -> &'static str {
    if rule.server.is_ipv4() { "ip" } else { "ip6" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab;

    #[test]
    fn payload_is_told_from_options_at_every_header_length() {
        let lines = syn_data(
            &Rule::new(Effect::DropSynData, lab::server_v4(0)).port(80),
            "drop",
        );
        assert_eq!(lines.len(), 11);
        assert!(lines[0].contains("tcp doff 5 ip length > 40 "));
        assert!(lines[10].contains("tcp doff 15 ip length > 80 "));
        let lines = syn_data(&Rule::new(Effect::DropSynData, lab::server_v6(0)), "drop");
        assert!(lines[0].contains("tcp doff 5 ip6 length > 20 "));
    }

    #[test]
    fn local_drops_sit_in_output_and_the_rest_on_the_path() {
        let rule = Rule::new(Effect::DropSynData, lab::server_v4(0));
        assert!(ruleset("t", &rule, Place::Output).contains("hook output"));
        assert!(ruleset("t", &rule, Place::Arrival).contains("hook prerouting"));
    }
}
