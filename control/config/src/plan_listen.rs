//! The part of a plan that is about addresses, and about the hosts by which pools divide them.

use crate::document::{Config, Pool, PoolContent};
use crate::edit::some_of;
use crate::form::Shown;
use crate::keys::Create;
use crate::overlap;
use crate::plan::{ChangeKind, Diff, Object, PlanWarningCode, PlannedChange, happenings};
use crate::plan_lists::LIST_ENTRIES_SHOWN;
use crate::schema::Key;
use policy::PoolId;
use policy::generation::Address;
use policy::http::HostTest;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Which pools have an address, before and after. Made when first asked: most changes move no address.
pub(crate) struct Owners<'a> {
    pub(crate) old: &'a Config,
    pub(crate) new: &'a Config,
    before: Option<OwnerMap<'a>>,
    after: Option<OwnerMap<'a>>,
}

type OwnerMap<'a> = HashMap<&'a Address, Vec<&'a Arc<Pool>>>;

impl<'a> Owners<'a> {
    pub(crate) fn new(old: &'a Config, new: &'a Config) -> Owners<'a> {
        Owners { old, new, before: None, after: None }
    }

    fn before(&mut self, address: &Address) -> Vec<&'a Arc<Pool>> {
        self.before.get_or_insert_with(|| owners(self.old)).get(address).cloned().unwrap_or_default()
    }

    pub(crate) fn after(&mut self, address: &Address) -> Vec<&'a Arc<Pool>> {
        self.after.get_or_insert_with(|| owners(self.new)).get(address).cloned().unwrap_or_default()
    }

    /// Why an address comes to or goes from a pool as a matter of another address or pool. `None`: no other has to do with
    /// it.
    fn exception(&mut self, pool: &PoolContent, address: &Address, kind: ChangeKind) -> Option<&'static str> {
        let (before, after) = (self.before(address), self.after(address));
        let added = kind == ChangeKind::Added;
        let Some(from) = before.first() else {
            return (added && self.port_is_held(address)).then_some("create_listen_overlaps");
        };
        if after.is_empty() {
            return None;
        }
        let stays = before.iter().any(|before| after.iter().any(|after| after.id == before.id));
        Some(match added {
            // Those that have an address together have it on the same shards.
            true if from.create.shards != pool.create.shards => "create_listen_resharded",
            _ if stays => "listen_shared",
            true if !before.iter().any(|from| self.new.pools.contains_key(&from.id)) => "create_listen_inherited",
            _ => "listen_moved",
        })
    }

    /// Whether an address that leaves has the port of this new one. (One that stays is an error of the document.)
    fn port_is_held(&mut self, address: &Address) -> bool {
        let before: Vec<&Address> = self
            .before
            .get_or_insert_with(|| owners(self.old))
            .keys()
            .copied()
            .filter(|old| overlap::overlaps(old, address))
            .collect();
        before.into_iter().any(|old| self.after(old).is_empty())
    }
}

fn owners(config: &Config) -> OwnerMap<'_> {
    let mut owners = OwnerMap::new();
    for pool in config.pools.values() {
        pool.create.listen.iter().for_each(|address| owners.entry(address).or_default().push(pool));
    }
    owners
}

impl Diff<'_> {
    /// One address of a pool that comes or goes.
    pub(crate) fn listen(
        &mut self,
        pool: &PoolContent,
        address: &Address,
        kind: ChangeKind,
        exception: Option<&'static str>,
    ) {
        let key = Create::KEYS.iter().find(|key| key.name == "listen").expect("the key that this function is about");
        let reason = match exception.or_else(|| self.owners.exception(pool, address, kind)) {
            Some(code) => {
                key.except.iter().find(|except| except.reason.code == code).expect("an exception of this key").reason
            }
            None => key.reason,
        };
        let path = format!("pool.{}.create.listen", pool.id);
        if kind == ChangeKind::Added && reason.code == "listen_moved" {
            let message = format!("`{address}` leads to pool `{}` from then on; is it the same service?", pool.id);
            self.warn(PlanWarningCode::AddressMoved, path.clone(), &pool.id, message);
        }
        let value = serde_json::Value::from(address.to_string());
        let (old, new) = match kind {
            ChangeKind::Added => (serde_json::Value::Null, value),
            ChangeKind::Removed | ChangeKind::Set => (value, serde_json::Value::Null),
        };
        let object = Object::Listen { address: address.clone() };
        self.changes.push(PlannedChange {
            path,
            pool: Some(pool.id.to_string()),
            object,
            kind,
            reason,
            old,
            new,
            touched: None,
        });
    }

    /// Addresses that lead to a pool now or from then on, and not both.
    pub(crate) fn leads(&mut self, old: &[Address], new: &[Address]) {
        let differ = |one: &[Address], other: &[Address]| {
            one.iter().filter(|address| !other.contains(address)).cloned().collect::<Vec<_>>()
        };
        self.touches.listeners.extend(differ(old, new).into_iter().chain(differ(new, old)));
    }

    /// Hosts of one pool. Of many it says only that they differ: a plan is read by people.
    pub(crate) fn hosts(&mut self, pool: &PoolId, key: &Key, old: Shown, new: Shown) {
        let is_short = |shown: &Shown| !matches!(shown, Shown::List(hosts) if hosts.len() > LIST_ENTRIES_SHOWN);
        let short = is_short(&old) && is_short(&new);
        let [old, new] = [old, new].map(|shown| if short { shown.to_json() } else { serde_json::Value::Null });
        self.change(Some(pool), format!("pool.{pool}.{}", key.name), Object::Pool, key.reason, old, new);
    }

    /// What follows for a pool from others at its addresses. What follows from the pool itself has been told as that.
    pub(crate) fn division(&mut self, old: &PoolContent, new: &PoolContent) {
        for address in &old.create.listen {
            let (before, after) = (others(old, address), others(new, address));
            if before == after || !new.create.listen.contains(address) {
                continue;
            }
            let all: BTreeSet<&PoolId> = before.keys().chain(after.keys()).copied().collect();
            let named: Vec<String> =
                all.into_iter().filter(|id| before.get(id) != after.get(id)).map(|id| format!("`{id}`")).collect();
            let text = format!("{address}: the hosts of {} have changed", some_of(named.iter().map(String::as_str)));
            self.changes.push(PlannedChange {
                path: format!("pool.{}.create.listen", new.id),
                pool: Some(new.id.to_string()),
                object: Object::Listen { address: address.clone() },
                kind: ChangeKind::Set,
                reason: happenings::HOSTS_DIVIDED,
                old: serde_json::Value::Null,
                new: text.into(),
                touched: None,
            });
        }
    }
}

/// The other pools at an address of this one, and their hosts.
fn others<'p>(pool: &'p PoolContent, address: &Address) -> BTreeMap<&'p PoolId, &'p [HostTest]> {
    let pools = pool.site(address).into_iter().flat_map(|site| &site.pools);
    pools.filter(|(id, _)| **id != pool.id).map(|(id, hosts)| (id, &hosts[..])).collect()
}
