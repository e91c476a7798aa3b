//! The pool that a described request comes to.
//!
//! Owns the way from host and port to a pool, as shards divide what comes in: by the configuration alone, so that it can be
//! asked before anything runs. Refuses to know rules.

use crate::describe::{Described, LeadsTo};
use crate::document::{Document, Pool};
use policy::generation::{Address, ContentHash};
use policy::http::{Member, Site};
use policy::{PoolId, PoolSlot};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// The pool that a request comes to.
#[derive(Clone, Copy, Debug)]
pub struct Led<'c> {
    pub pool: &'c Arc<Pool>,
    /// Else its connection is the pool's, and the request no pool's.
    pub takes: bool,
}

/// Why it is not clear to which.
#[derive(Clone, PartialEq, Debug)]
pub enum Unclear {
    /// There is none. What is wrong, and what would be accepted.
    Nowhere(String),
    /// There are several.
    Several(String),
}

/// Where addresses of one configuration lead. Made once for all that is asked of it: O(addresses).
pub struct Leads<'c> {
    document: &'c Document,
    ports: HashMap<u16, Vec<Entry<'c>>>,
    /// Those that were asked for.
    sites: RefCell<HashMap<ContentHash, Rc<Site>>>,
}

struct Entry<'c> {
    ip: IpAddr,
    address: &'c Address,
    pool: &'c Arc<Pool>,
}

impl<'c> Leads<'c> {
    pub fn new(document: &'c Document) -> Leads<'c> {
        let mut ports: HashMap<u16, Vec<Entry<'c>>> = HashMap::new();
        for pool in document.pools.values() {
            for address in pool.leads() {
                if let Address::Ip(at) = address {
                    ports.entry(at.port()).or_default().push(Entry { ip: at.ip(), address, pool });
                }
            }
        }
        Leads { document, ports, sites: RefCell::default() }
    }

    pub fn find(&self, described: &Described<'_>) -> Result<Led<'c>, Unclear> {
        match described.leads_to {
            LeadsTo::Pool(name) => match self.document.pools.get(&PoolId::new(name)) {
                Some(pool) => Ok(Led { pool, takes: true }),
                None => {
                    let pools = of_http(self.document.pools.values());
                    Err(Unclear::Nowhere(format!("there is no pool `{name}`; pools of HTTP are {pools}")))
                }
            },
            LeadsTo::Address { host, port } => self.at(host, port, described.host),
        }
    }

    fn at(&self, host: &str, port: u16, named: &str) -> Result<Led<'c>, Unclear> {
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let on = |wanted: &dyn Fn(IpAddr) -> bool| self.led(port, wanted, named);
        let found = match address {
            None => on(&|_| true),
            Some(address) => {
                // One that listens on the address itself has its connections before one that listens on all.
                let exactly = on(&|listening| listening == address);
                // A socket of IPv6 on all addresses takes IPv4 too.
                let all = |any: IpAddr| any.is_unspecified() && (any.is_ipv6() || address.is_ipv4());
                if exactly.is_empty() { on(&all) } else { exactly }
            }
        };
        let takers: Vec<Led<'c>> = found.iter().filter(|led| led.takes).copied().collect();
        match if takers.is_empty() { &found[..] } else { &takers[..] } {
            [only] => Ok(*only),
            [] => Err(Unclear::Nowhere(format!(
                "no pool listens where {host}:{port} could lead; accepted is `pool`, or the address of one of {}",
                of_http(self.document.pools.values())
            ))),
            several => Err(Unclear::Several(format!(
                "{host}:{port} could lead to several pools; accepted is `pool` with one of {}",
                of_http(several.iter().map(|led| led.pool))
            ))),
        }
    }

    /// Where each address with this port leads it, each pool once: as shards divide what comes in there.
    fn led(&self, port: u16, wanted: &dyn Fn(IpAddr) -> bool, host: &str) -> Vec<Led<'c>> {
        let mut found: Vec<Led<'c>> = Vec::new();
        let mut seen = HashSet::new();
        let entries = self.ports.get(&port).into_iter().flatten();
        for Entry { address, pool, .. } in entries.filter(|entry| wanted(entry.ip)) {
            let led = match pool.site(address) {
                None => Led { pool, takes: true },
                Some(site) => match self.site(site).find(host.as_bytes()) {
                    None => Led { pool, takes: false },
                    Some(member) => {
                        let pool = self.document.pools.get(&member.id).expect("a division names pools of its document");
                        Led { pool, takes: true }
                    }
                },
            };
            if seen.insert((&led.pool.id, led.takes)) {
                found.push(led);
            }
        }
        found
    }

    fn site(&self, site: &crate::division::Site) -> Rc<Site> {
        let make = || {
            let pools = site.pools.iter().zip(0..).map(|((id, hosts), ix)| {
                // Nobody asks for the slot.
                (Member { id: id.clone(), slot: PoolSlot(ix) }, hosts.clone())
            });
            Rc::new(Site::new(pools.collect()).expect("in a configuration each host of an address has one pool"))
        };
        Rc::clone(self.sites.borrow_mut().entry(site.hash()).or_insert_with(make))
    }
}

/// Pools that a failure names.
const NAMED_MAX: usize = 20;

/// Their ids and addresses, for people.
fn of_http<'c>(pools: impl Iterator<Item = &'c Arc<Pool>>) -> String {
    let http = pools.filter(|pool| pool.http.is_some());
    let mut named: Vec<String> = http
        .map(|pool| {
            let addresses: Vec<String> = pool.create.listen.iter().map(Address::to_string).collect();
            format!("`{}` ({})", pool.id, addresses.join(", "))
        })
        .collect();
    let more = named.len().saturating_sub(NAMED_MAX);
    named.truncate(NAMED_MAX);
    match (named.is_empty(), more) {
        (true, _) => "none".into(),
        (false, 0) => named.join(", "),
        (false, more) => format!("{} and {more} more", named.join(", ")),
    }
}
