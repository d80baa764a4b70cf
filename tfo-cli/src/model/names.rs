//! Names of cgroups by id. The model collects the ids it meets; the owner of the source resolves them.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::source::CgroupName;

/// Names kept at most. Beyond it all are forgotten and asked for again: cgroups come and go.
const MOST: usize = 16_384;

/// Ids with their names; `None` for a cgroup that is gone.
#[derive(Clone, Debug, Default)]
pub struct Names {
    known: Arc<HashMap<u64, Option<CgroupName>>>,
}

impl Names {
    /// Where the id leads, if that is known.
    pub fn get(&self, id: u64) -> Option<&CgroupName> {
        self.known.get(&id)?.as_ref()
    }

    /// Whether these are the very same names, not only equal ones.
    pub fn are(&self, others: &Self) -> bool {
        Arc::ptr_eq(&self.known, &others.known)
    }

    /// Whether it was asked for already.
    pub fn asked(&self, id: u64) -> bool {
        id == 0 || self.known.contains_key(&id)
    }

    /// Stores the answer.
    pub fn insert(&mut self, id: u64, name: Option<CgroupName>) {
        let known = Arc::make_mut(&mut self.known);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(id, name);
    }

    /// Something to call it, always.
    pub fn label(&self, id: u64) -> Cow<'_, str> {
        match self.get(id) {
            Some(name) => name.label().into(),
            None if id == 0 => "-".into(),
            None => format!("cgroup {id}").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::cgroup;

    #[test]
    fn every_id_can_be_called_something() {
        let mut names = Names::default();
        names.insert(5, Some(cgroup::parse("/system.slice/web.service")));
        names.insert(6, None);
        assert_eq!(
            ["web.service", "cgroup 6", "cgroup 7", "-"],
            [5, 6, 7, 0].map(|id| names.label(id).into_owned())[..]
        );
        assert!(names.asked(6) && names.asked(0) && !names.asked(7));
    }

    #[test]
    fn names_are_bounded() {
        let mut names = Names::default();
        for id in 1..=(MOST as u64 + 5) {
            names.insert(id, None);
        }
        assert!(names.known.len() <= MOST);
    }
}
