//! Destinations added up by service (cgroup), client and server side together.

use std::collections::HashMap;

use tfo_common::Role;

use super::{row::DestRow, sort::SortKey};

/// One service.
#[derive(Clone, Debug)]
pub struct Service {
    /// cgroup v2 id.
    pub cgroup_id: u64,
    /// All its destinations as if they were one. Of the key only the cgroup means something.
    pub sum: DestRow,
    /// Attempts as a client.
    pub client: u64,
    /// Attempts as a server.
    pub server: u64,
    /// Its destinations: indices of rows, in their order.
    pub rows: Vec<u32>,
}

/// Adds up the rows that satisfy the test; sorted by the key.
pub fn sum(rows: &[DestRow], mut wanted: impl FnMut(&DestRow) -> bool, sort: SortKey) -> Vec<Service> {
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut services: Vec<Service> = Vec::new();
    for (index, row) in (0u32..).zip(rows).filter(|(_, row)| wanted(row)) {
        let known = places.get(&row.key.cgroup_id).copied();
        let place = known.unwrap_or(services.len());
        if known.is_some() {
            services[place].sum = services[place].sum.plus(row);
        } else {
            places.insert(row.key.cgroup_id, place);
            let (sum, cgroup_id) = (row.clone(), row.key.cgroup_id);
            services.push(Service {
                cgroup_id,
                sum,
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
    services.sort_by(|left, right| sort.compare(&left.sum, &right.sum));
    services
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake::Scenario;

    #[test]
    fn services_add_up_their_destinations() {
        let snapshot = Scenario::default().model(5).snapshot();
        let services = sum(&snapshot.rows, |_| true, SortKey::Lost);
        assert_eq!(services.len(), 4);
        assert_eq!((services[0].cgroup_id, services[0].rows.len()), (1, 2));
        assert_eq!((services[0].client, services[0].server), (65, 0));
        assert_eq!(services[0].sum.attempts(), 65);
        let lost: u64 = services.iter().map(|service| service.sum.lost_us).sum();
        assert_eq!(lost, snapshot.ledger_us().1);
        assert!(sum(&snapshot.rows, |_| false, SortKey::Lost).is_empty());
    }
}
