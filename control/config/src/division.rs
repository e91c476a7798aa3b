//! What follows for each pool from all pools together: which of its addresses lead to it, and how they are divided by host.
//!
//! Part of a pool's content, though nobody writes it: a pool whose neighbour at an address takes other hosts has changed,
//! and whoever compares, plans or applies sees it among the pools that have.
//!
//! An address leads to one pool, in whose name connections come in: the one that takes what no other does, else the first
//! by its id. Whose a request is, its host says; see `policy::http::Site`.

use crate::document::{Canonical, Digest, PoolContent, Sealed};
use policy::PoolId;
use policy::generation::Address;
use policy::http::HostTest;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What follows for one pool. Most have nothing to divide, and none.
#[derive(Clone, PartialEq, Debug)]
pub struct Division {
    /// Addresses that lead to it, in the order of `create.listen`.
    pub(crate) leads: Vec<Address>,
    /// Addresses of which it has not all hosts, in the same order.
    pub(crate) sites: Vec<(Address, Arc<Site>)>,
}

/// The pools of one address.
pub(crate) type Site = Sealed<SiteContent>;

#[derive(Clone, PartialEq, Debug)]
pub struct SiteContent {
    /// Each with its hosts; the one that has none takes the rest.
    pub(crate) pools: BTreeMap<PoolId, Vec<HostTest>>,
}

impl Canonical for SiteContent {
    fn digest(&self, digest: &mut Digest) {
        let SiteContent { pools } = self;
        digest.count(pools.len());
        for (id, hosts) in pools {
            digest.text(id.as_str());
            digest.count(hosts.len());
            hosts.iter().for_each(|host| digest.text(&host.to_string()));
        }
    }
}

impl Division {
    pub(crate) fn digest(&self, digest: &mut Digest) {
        let Division { leads, sites } = self;
        digest.count(leads.len());
        leads.iter().for_each(|address| digest.text(&address.to_string()));
        digest.count(sites.len());
        for (address, site) in sites {
            digest.text(&address.to_string());
            digest.hash(site.hash());
        }
    }
}

impl PoolContent {
    /// Addresses that lead to it, of those that it has.
    pub fn leads(&self) -> &[Address] {
        self.division.as_ref().map_or(&self.create.listen, |division| &division.leads)
    }

    /// Hosts that are its own where others have its addresses too. None: what no other takes.
    pub(crate) fn hosts(&self) -> &[HostTest] {
        self.http.as_ref().map_or(&[], |http| &http.hosts.hosts)
    }

    pub(crate) fn sites(&self) -> &[(Address, Arc<Site>)] {
        self.division.as_ref().map_or(&[], |division| &division.sites)
    }

    pub(crate) fn site(&self, address: &Address) -> Option<&Arc<Site>> {
        self.sites().iter().find(|(other, _)| other == address).map(|(_, site)| site)
    }
}

/// Of the pools that have something to divide. Cost: O(pools and addresses).
pub(crate) fn divide<'p>(pools: impl Iterator<Item = &'p PoolContent> + Clone) -> BTreeMap<PoolId, Arc<Division>> {
    let mut at: HashMap<&Address, Vec<&PoolContent>> = HashMap::new();
    for pool in pools.clone() {
        pool.create.listen.iter().for_each(|address| at.entry(address).or_default().push(pool));
    }
    let is_divided = |pool: &PoolContent, address: &Address| at[address].len() > 1 || !pool.hosts().is_empty();
    let mut sites: HashMap<&Address, Arc<Site>> = HashMap::new();
    let mut divisions = BTreeMap::new();
    for pool in pools {
        let listen = &pool.create.listen;
        if !listen.iter().any(|address| is_divided(pool, address)) {
            continue;
        }
        let leads = listen.iter().filter(|address| owner(&at[*address]) == &pool.id).cloned().collect();
        let divided = listen.iter().filter(|address| is_divided(pool, address));
        let sites = divided.map(|address| {
            let site = sites.entry(address).or_insert_with(|| {
                let pools = at[address].iter().map(|pool| (pool.id.clone(), pool.hosts().to_vec()));
                Arc::new(Sealed::new(SiteContent { pools: pools.collect() }))
            });
            (address.clone(), site.clone())
        });
        divisions.insert(pool.id.clone(), Arc::new(Division { leads, sites: sites.collect() }));
    }
    divisions
}

/// To which of the pools that have an address it leads.
fn owner<'p>(pools: &[&'p PoolContent]) -> &'p PoolId {
    let first = pools.iter().min_by_key(|pool| (!pool.hosts().is_empty(), &pool.id));
    &first.expect("an address is some pool's").id
}
