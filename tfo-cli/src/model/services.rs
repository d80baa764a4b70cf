//! Destinations added up by service (cgroup) or by network, client and server side together.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use tfo_common::Role;

use super::{row::DestRow, sort::SortKey};

/// What destinations are added up by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// A service, by its cgroup v2 id.
    Service(u64),
    /// A network, by its label; `None` for all addresses that no prefix holds.
    Network(Option<Arc<str>>),
}

impl Group {
    /// The cgroup v2 id of a service.
    pub fn cgroup_id(&self) -> Option<u64> {
        match self {
            Group::Service(id) => Some(*id),
            Group::Network(_) => None,
        }
    }

    /// A network's place beside others: by name, those without one last. Services have none.
    fn name(&self) -> Option<(bool, &str)> {
        match self {
            Group::Service(_) => None,
            Group::Network(label) => Some((label.is_none(), label.as_deref().unwrap_or_default())),
        }
    }
}

/// One service, or one network.
#[derive(Clone, Debug)]
pub struct Service {
    /// Which.
    pub group: Group,
    /// All its destinations as if they were one. Of the key only the cgroup of a service means something.
    pub sum: DestRow,
    /// Attempts as a client.
    pub client: u64,
    /// Attempts as a server.
    pub server: u64,
    /// Its destinations: indices of rows, in their order.
    pub rows: Vec<u32>,
}

/// Adds up the rows of which it is said what they belong to; sorted by the key.
pub fn sum(rows: &[DestRow], group: impl Fn(&DestRow) -> Option<Group>, sort: SortKey) -> Vec<Service> {
    let mut places: HashMap<Group, usize> = HashMap::new();
    let mut services: Vec<Service> = Vec::new();
    for (index, row) in (0u32..).zip(rows) {
        let Some(group) = group(row) else { continue };
        let known = places.get(&group).copied();
        let place = known.unwrap_or(services.len());
        if known.is_some() {
            services[place].sum = services[place].sum.plus(row);
        } else {
            places.insert(group.clone(), place);
            services.push(Service {
                group,
                sum: row.clone(),
                client: 0,
                server: 0,
                rows: Vec::new(),
            });
        }
        let service = &mut services[place];
        match row.role() {
            Role::Client => service.client += row.attempts(),
            Role::Server => service.server += row.attempts(),
        }
        service.rows.push(index);
    }
    services.sort_by(|left, right| {
        let by_name = match sort {
            SortKey::Network => left.group.name().cmp(&right.group.name()),
            _ => Ordering::Equal,
        };
        by_name.then_with(|| sort.compare(&left.sum, &right.sum))
    });
    services
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{fake::Scenario, networks::Networks};

    #[test]
    fn services_add_up_their_destinations() {
        let snapshot = Scenario::default().model(5).snapshot();
        let by_service = |row: &DestRow| Some(Group::Service(row.key.cgroup_id));
        let services = sum(&snapshot.rows, by_service, SortKey::Lost);
        assert_eq!(services.len(), 4);
        assert_eq!(
            (services[0].group.cgroup_id(), services[0].rows.len()),
            (Some(1), 2)
        );
        assert_eq!((services[0].client, services[0].server), (65, 0));
        assert_eq!(services[0].sum.attempts(), 65);
        let lost: u64 = services.iter().map(|service| service.sum.lost_us).sum();
        assert_eq!(lost, snapshot.ledger_us().1);
        assert!(sum(&snapshot.rows, |_| None, SortKey::Lost).is_empty());
    }

    /// The rows of the view are those of the sums that tables and reports show.
    #[test]
    fn networks_add_up_the_same_as_in_tables() {
        let mut model = Scenario::default().model(5);
        let file = "192.0.2.0/24 = office\n198.51.100.0/25 = mobile\n2001:db8::/32 = AS64500";
        model.set_networks(Arc::new(Networks::parse(file).expect("it is a file")));
        let snapshot = model.snapshot();
        let groups = snapshot.by_network(|_| true, SortKey::Network);
        let tables = snapshot
            .networks
            .sums(snapshot.rows.iter(), snapshot.server_prefixes);
        assert!(tables.len() > 1, "{tables:?}");
        assert_eq!(groups.len(), tables.len());
        let unnamed = groups.iter().position(|one| one.group == Group::Network(None));
        assert!(
            unnamed.is_none_or(|place| place + 1 == groups.len()),
            "it is the last"
        );
        for table in &tables {
            let group = groups
                .iter()
                .find(|one| one.group == Group::Network(table.label.clone()))
                .expect("it is there, too");
            assert_eq!(group.rows.len(), table.destinations);
            assert_eq!(
                (group.sum.attempts(), group.sum.failures(), group.sum.lost_us),
                (table.attempts, table.failures, table.lost_us)
            );
            assert_eq!(group.client + group.server, table.attempts);
        }
    }
}
