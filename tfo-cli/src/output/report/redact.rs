//! Addresses and names become labels, the same ones throughout a report.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use crate::model::{Flow, Snapshot};

/// What was replaced by what.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    addresses: HashMap<IpAddr, usize>,
    /// Longest first: a name may be part of another.
    names: Vec<(String, String)>,
}

impl Redactor {
    /// One that knows the names of a snapshot, and these: files, the host.
    pub fn new(snapshot: &Snapshot, more: &[(&str, String)]) -> Self {
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        let mut ids: Vec<u64> = snapshot.rows.iter().map(|row| row.key.cgroup_id).collect();
        // Of a finding's example the flow itself may be long forgotten.
        let findings = || snapshot.diagnosis.findings.iter();
        let examples = || findings().filter_map(|finding| finding.evidence.example.as_ref());
        let flows = || snapshot.flows.iter().chain(examples());
        ids.extend(flows().map(|flow| flow.event().cgroup_id));
        ids.extend(findings().filter_map(|finding| finding.subject.cgroup_id()));
        ids.extend(snapshot.listeners.iter().map(|listener| listener.cgroup_id));
        let mut services = 0;
        for id in ids {
            let Some(name) = snapshot.names.get(id) else {
                continue;
            };
            if !known.contains_key(&name.path) {
                services += 1;
                known.insert(name.path.clone(), format!("/service-{services}"));
                for part in [&name.unit, &name.container].into_iter().flatten() {
                    known
                        .entry(part.clone())
                        .or_insert_with(|| format!("service-{services}"));
                }
                known
                    .entry(name.label().to_owned())
                    .or_insert_with(|| format!("service-{services}"));
            }
        }
        let mut processes = 0;
        for comm in flows().filter_map(Flow::comm) {
            known.entry(comm.into_owned()).or_insert_with(|| {
                processes += 1;
                format!("process-{processes}")
            });
        }
        for (label, name) in more {
            known.entry(name.clone()).or_insert_with(|| (*label).to_owned());
        }
        if !snapshot.host.name.is_empty() {
            known.insert(snapshot.host.name.clone(), "host".to_owned());
        }
        // The texts have been cleaned, so the names have to be.
        let mut names: Vec<(String, String)> = known
            .into_iter()
            .map(|(name, label)| (super::super::clean(&name), label))
            .filter(|(name, _)| !name.is_empty() && name != "/")
            .collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Self {
            addresses: HashMap::new(),
            names,
        }
    }

    /// A text with labels instead.
    pub fn text(&mut self, text: &str) -> String {
        let named = self.without_names(text);
        self.without_addresses(&named)
    }

    /// Names where they stand alone: `x` in `box` stays.
    fn without_names(&self, text: &str) -> String {
        let is_word = |character: char| character.is_alphanumeric();
        let mut result = String::new();
        let mut rest = text;
        'text: while let Some(first) = rest.chars().next() {
            let begins = result.chars().last().is_none_or(|before| !is_word(before)) || !is_word(first);
            for (name, label) in self.names.iter().filter(|_| begins) {
                if let Some(after) = rest.strip_prefix(name.as_str()) {
                    let ends_in_word = name.chars().last().is_some_and(is_word);
                    if !ends_in_word || after.chars().next().is_none_or(|next| !is_word(next)) {
                        result.push_str(label);
                        rest = after;
                        continue 'text;
                    }
                }
            }
            result.push(first);
            rest = &rest[first.len_utf8()..];
        }
        result
    }

    fn without_addresses(&mut self, text: &str) -> String {
        let is_part = |character: char| character.is_ascii_hexdigit() || ".:".contains(character);
        let mut result = String::new();
        let mut rest = text;
        while let Some(begin) = rest.find(is_part) {
            result.push_str(&rest[..begin]);
            rest = &rest[begin..];
            let end = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            // A full stop or colon behind an address belongs to the sentence; one inside `::` does not.
            let shortest = word.trim_end_matches(['.', ':']).len();
            let found = (shortest..=word.len())
                .rev()
                .find_map(|end| Some((self.word(&word[..end])?, end)));
            match found {
                Some((label, end)) => {
                    result.push_str(&label);
                    result.push_str(&word[end..]);
                }
                None => result.push_str(word),
            }
            rest = after;
        }
        result.push_str(rest);
        result
    }

    fn word(&mut self, word: &str) -> Option<String> {
        if let Ok(ip) = word.parse::<IpAddr>() {
            return Some(self.label(ip));
        }
        let with_port: SocketAddr = word.parse().ok()?;
        Some(format!("{}:{}", self.label(with_port.ip()), with_port.port()))
    }

    fn label(&mut self, ip: IpAddr) -> String {
        let next = self.addresses.len() + 1;
        format!("address-{}", self.addresses.entry(ip).or_insert(next))
    }
}
