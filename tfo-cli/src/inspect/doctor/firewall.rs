//! Finds firewall rules that drop or rewrite SYNs with data or with the Fast Open option, in the output of
//! `nft -j list ruleset` and of iptables-save. Without I/O; any text is accepted.
//!
//! Only the rule itself is examined: chains that it jumps to, sets and maps are not followed.

use serde_json::Value;

/// The option kinds of Fast Open and of experiments.
const KINDS: [u64; 2] = [34, 254];

/// A rule that affects Fast Open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallRule {
    /// Its place: `nft inet filter input handle 7`.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    /// The command that removes it.
    pub remove: String,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// SYNs with the option do not pass.
    DropsOption,
    /// SYNs with data do not pass.
    DropsSynData,
    /// The option is taken out or changed.
    RewritesOption,
}

impl Effect {
    /// The effect in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::DropsOption => "drops or rejects packets with the Fast Open option",
            Self::DropsSynData => "drops or rejects SYNs by their length: those that carry data",
            Self::RewritesOption => "takes the Fast Open option out of packets, or changes it",
        }
    }
}

/// Rules of `nft -j list ruleset`. `None` when it is not what nft writes.
pub fn nft(json: &str) -> Option<Vec<FirewallRule>> {
    let value: Value = serde_json::from_str(json).ok()?;
    let objects = value.get("nftables")?.as_array()?;
    let rules = objects.iter().filter_map(|object| object.get("rule"));
    Some(rules.filter_map(nft_rule).collect())
}

fn nft_rule(rule: &Value) -> Option<FirewallRule> {
    let statements = rule.get("expr")?.as_array()?;
    let has = |name: &str| statements.iter().any(|one| one.get(name).is_some());
    let stops = has("drop") || has("reject");
    let names_option = |name: &str| {
        let found = statements.iter().filter_map(|one| one.get(name));
        found.clone().any(is_option)
    };
    let matched = |test: fn(&Value) -> bool| statements.iter().filter_map(|one| one.get("match")).any(test);
    let effect = if names_option("reset") || names_option("mangle") {
        Effect::RewritesOption
    } else if stops && names_option("match") {
        Effect::DropsOption
    } else if stops && matched(is_syn) && matched(is_length) {
        Effect::DropsSynData
    } else {
        return None;
    };
    let text = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or("?");
    let place = format!("{} {} {}", text("family"), text("table"), text("chain"));
    let handle = rule.get("handle").and_then(Value::as_u64).unwrap_or(0);
    Some(FirewallRule {
        name: format!("nft {place} handle {handle}"),
        effect,
        remove: format!(
            "nft delete rule {place} handle {handle}    (undo: note it first: nft -a list chain {place})"
        ),
    })
}

/// Whether the Fast Open option is named anywhere inside.
fn is_option(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, inner)| {
            let by_name = inner.get("name").and_then(Value::as_str) == Some("fastopen");
            let by_number = inner
                .get("base")
                .and_then(Value::as_u64)
                .is_some_and(|kind| KINDS.contains(&kind));
            name == "tcp option" && (by_name || by_number) || is_option(inner)
        }),
        Value::Array(values) => values.iter().any(is_option),
        _ => false,
    }
}

/// Whether an expression matches TCP flags with SYN among them.
fn is_syn(test: &Value) -> bool {
    let left = test.get("left").is_some_and(|left| mentions(left, "flags"));
    left && test.get("right").is_some_and(|right| mentions(right, "syn"))
}

/// Whether an expression matches the length of the packet.
fn is_length(test: &Value) -> bool {
    let Some(left) = test.get("left") else {
        return false;
    };
    let meta = left.pointer("/meta/key").and_then(Value::as_str);
    let field = left.pointer("/payload/field").and_then(Value::as_str);
    meta == Some("length") || field == Some("length")
}

fn mentions(value: &Value, word: &str) -> bool {
    match value {
        Value::String(text) => text == word,
        Value::Array(values) => values.iter().any(|inner| mentions(inner, word)),
        Value::Object(members) => members.values().any(|inner| mentions(inner, word)),
        _ => false,
    }
}

/// Rules of iptables-save or ip6tables-save (`program` is `iptables` or `ip6tables`).
pub fn iptables(program: &str, saved: &str) -> Vec<FirewallRule> {
    let mut table = "filter";
    let mut found = Vec::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim();
        }
        let Some(rule) = line.strip_prefix("-A ") else {
            continue;
        };
        if let Some(effect) = iptables_effect(rule) {
            found.push(FirewallRule {
                name: format!("{program} -t {table} -A {rule}"),
                effect,
                remove: format!("{program} -t {table} -D {rule}    (undo: the same with -A)"),
            });
        }
    }
    found
}

fn iptables_effect(rule: &str) -> Option<Effect> {
    let words: Vec<&str> = rule.split_whitespace().collect();
    let after = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1).copied()
    };
    let is_kind = |text: &str| {
        text.split(',')
            .any(|kind| KINDS.iter().any(|known| kind == known.to_string()))
    };
    let target = after("-j").unwrap_or_default();
    let stops = ["DROP", "REJECT"].contains(&target);
    let is_syn = words.contains(&"--syn")
        || after("--tcp-flags").is_some_and(|_| {
            let at = words.iter().position(|word| *word == "--tcp-flags").unwrap_or(0);
            words
                .get(at + 2)
                .is_some_and(|set| set.split(',').any(|flag| flag == "SYN"))
        });
    if target == "TCPOPTSTRIP" && after("--strip-options").is_some_and(is_kind) {
        Some(Effect::RewritesOption)
    } else if stops && after("--tcp-option").is_some_and(is_kind) {
        Some(Effect::DropsOption)
    } else if stops && is_syn && words.contains(&"--length") {
        Some(Effect::DropsSynData)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As nft 1.0.6 writes `tcp flags syn / syn,ack meta length > 100 drop` and others.
    fn ruleset(expr: &str) -> String {
        format!(
            r#"{{"nftables": [{{"metainfo": {{"version": "1.0.6"}}}}, {{"table": {{"family": "inet", "name": "t"}}}},
            {{"rule": {{"family": "inet", "table": "t", "chain": "in", "handle": 7, "expr": {expr}}}}}]}}"#
        )
    }

    const SYN: &str = r#"{"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, {"|": ["syn", "ack"]}]}, "right": "syn"}}"#;
    const LENGTH: &str = r#"{"match": {"op": ">", "left": {"meta": {"key": "length"}}, "right": 100}}"#;
    const OPTION: &str =
        r#"{"match": {"op": "==", "left": {"tcp option": {"name": "fastopen"}}, "right": true}}"#;

    #[test]
    fn rules_on_fast_open_are_found() {
        let effect = |statements: &[&str]| {
            let found = nft(&ruleset(&format!("[{}]", statements.join(",")))).expect("a ruleset");
            found.first().map(|rule| rule.effect)
        };
        let (drop, accept) = (r#"{"drop": null}"#, r#"{"accept": null}"#);
        let counter = r#"{"counter": {"packets": 0, "bytes": 0}}"#;
        assert_eq!(effect(&[SYN, LENGTH, counter, drop]), Some(Effect::DropsSynData));
        assert_eq!(
            effect(&[SYN, LENGTH, r#"{"reject": {"type": "tcp reset"}}"#]),
            Some(Effect::DropsSynData)
        );
        assert_eq!(effect(&[OPTION, drop]), Some(Effect::DropsOption));
        let raw = r#"{"match": {"op": "==", "left": {"tcp option": {"base": 254, "offset": 16, "len": 16}}, "right": 63881}}"#;
        assert_eq!(effect(&[raw, drop]), Some(Effect::DropsOption));
        assert_eq!(
            effect(&[r#"{"reset": {"tcp option": {"name": "fastopen"}}}"#]),
            Some(Effect::RewritesOption)
        );
        // Similar rules that stop nothing, or are about something else.
        for harmless in [
            &[SYN, LENGTH, accept][..],
            &[SYN, drop],
            &[LENGTH, drop],
            &[OPTION, counter],
        ] {
            assert_eq!(effect(harmless), None, "{harmless:?}");
        }
        let sack = r#"{"reset": {"tcp option": {"name": "sack-perm"}}}"#;
        assert_eq!(effect(&[sack]), None);
        let found = nft(&ruleset(&format!("[{OPTION}, {drop}]"))).expect("a ruleset");
        assert_eq!(found[0].name, "nft inet t in handle 7");
        assert!(
            found[0].remove.starts_with("nft delete rule inet t in handle 7 "),
            "{found:?}"
        );
    }

    #[test]
    fn iptables_rules_are_found() {
        let saved = "# Generated\n*filter\n:INPUT ACCEPT [0:0]\n\
                     -A INPUT -p tcp -m tcp --tcp-option 34 -j DROP\n\
                     -A INPUT -p tcp -m tcp --tcp-flags SYN,ACK SYN -m length --length 100:65535 -j DROP\n\
                     -A INPUT -p tcp -m tcp --tcp-flags SYN,ACK ACK -m length --length 100:65535 -j DROP\n\
                     -A INPUT -p tcp -m tcp --syn -j DROP\nCOMMIT\n*mangle\n\
                     -A POSTROUTING -p tcp -j TCPOPTSTRIP --strip-options 19,34\n\
                     -A POSTROUTING -p tcp -j TCPOPTSTRIP --strip-options 19\nCOMMIT\n";
        let found = iptables("iptables", saved);
        let effects: Vec<Effect> = found.iter().map(|rule| rule.effect).collect();
        assert_eq!(
            effects,
            [Effect::DropsOption, Effect::DropsSynData, Effect::RewritesOption]
        );
        assert!(
            found[2].remove.starts_with("iptables -t mangle -D POSTROUTING "),
            "{found:?}"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,200}", words in proptest::collection::vec("(-A|-j|DROP|--tcp-option|34|--tcp-flags|SYN|\\*x)", 0..8)) {
            let _ = nft(&text);
            let _ = nft(&ruleset(&text));
            let _ = iptables("iptables", &text);
            let _ = iptables("iptables", &words.join(" "));
        }
    }
}
