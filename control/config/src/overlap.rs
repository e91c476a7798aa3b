//! Addresses do not get into each other's way. Overlaps are found as `bind` would find them; HTTP pools may have the very same
//! address, and what must agree then is [`share`]'s.

use crate::check::pool_path;
use crate::document::PoolContent;
use crate::keys::Service;
use crate::place::Span;
use crate::problem::{Code, Problem, Problems};
use crate::share::{self, Sharer};
use policy::ShardSet;
use policy::generation::Address;
use policy::http::HostTest;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// A pool as it stands beside others: where it listens, and what must agree if another listens there too.
pub(crate) struct Party<'a> {
    pub(crate) pool: &'a str,
    /// `None`: it could not be read.
    pub(crate) service: Option<Service>,
    pub(crate) shards: Option<ShardSet>,
    pub(crate) shards_span: Option<Span>,
    pub(crate) listen: Vec<(Cow<'a, Address>, Option<Span>)>,
    /// `None`: all that no other pool takes.
    pub(crate) hosts: Option<Vec<(HostTest, Option<Span>)>>,
}

impl<'a> Party<'a> {
    pub(crate) fn of(pool: &'a PoolContent) -> Party<'a> {
        let hosts = pool.hosts();
        Party {
            pool: pool.id.as_str(),
            service: Some(pool.create.service),
            shards: pool.create.shards,
            shards_span: None,
            listen: pool.create.listen.iter().map(|address| (Cow::Borrowed(address), None)).collect(),
            hosts: (!hosts.is_empty()).then(|| hosts.iter().map(|host| (host.clone(), None)).collect()),
        }
    }
}

pub(crate) fn check(control_socket: Option<(&Path, Option<Span>)>, parties: &[Party<'_>], problems: &mut Problems) {
    let mut taken = Taken::default();
    let mut shared: BTreeMap<&Address, Vec<Sharer<'_>>> = BTreeMap::new();
    if let Some((path, span)) = control_socket {
        taken.unix.insert(path, Holder { party: None, span });
    }
    let listed =
        parties.iter().flat_map(|party| party.listen.iter().map(move |(address, span)| (party, &**address, *span)));
    for (party, address, span) in listed {
        let Some((first, as_what)) = taken.take(address, Holder { party: Some(party), span }) else { continue };
        let same = as_what == address.to_string();
        if same && let Some(holder) = first.party {
            // Twice in one list has been told by the list itself.
            if std::ptr::eq(holder, party) {
                continue;
            }
            if [holder, party].iter().all(|party| party.service != Some(Service::Tcp)) {
                shared.entry(address).or_insert_with(|| vec![(holder, first.span)]).push((party, span));
                continue;
            }
        }
        let pool = party.pool;
        let who = match first.party {
            Some(party) => format!("pool `{}`", party.pool),
            None => "the control socket".into(),
        };
        let message = match same {
            true => format!("pool `{pool}` listens on `{address}`, and so does {who}"),
            false => format!("pool `{pool}` listens on `{address}`, which overlaps `{as_what}` of {who}"),
        };
        let problem = Problem::error(Code::Clash, pool_path(pool, "create.listen"), span, message);
        let problem = match same && first.party.is_some() {
            true => problem.accepted("an address for each; only HTTP pools can share one, which `hosts` divides"),
            false => problem,
        };
        problems.push(problem.found(format!("\"{address}\"")).also(format!("taken by {who} here"), first.span));
    }
    share::check(&shared.into_iter().collect::<Vec<_>>(), problems);
}

/// Whether two different addresses cannot be bound at the same time.
pub(crate) fn overlaps(one: &Address, other: &Address) -> bool {
    let (Address::Ip(one), Address::Ip(other)) = (one, other) else { return false };
    let wild = one.ip().is_unspecified() || other.ip().is_unspecified();
    one != other && one.is_ipv6() == other.is_ipv6() && one.port() == other.port() && one.port() != 0 && wild
}

/// Addresses that are in use so far.
#[derive(Default)]
struct Taken<'a> {
    unix: HashMap<&'a Path, Holder<'a>>,
    /// By port and family; the unspecified address among them is the one that overlaps all others.
    ip: HashMap<(u16, bool), BTreeMap<SocketAddr, Holder<'a>>>,
}

#[derive(Clone, Copy)]
struct Holder<'a> {
    /// `None`: the control socket.
    party: Option<&'a Party<'a>>,
    span: Option<Span>,
}

impl<'a> Taken<'a> {
    /// `Some`: it is not free; who has it, and as what address.
    fn take(&mut self, address: &'a Address, holder: Holder<'a>) -> Option<(Holder<'a>, String)> {
        match address {
            Address::Unix(path) => match self.unix.get(&**path) {
                Some(first) => Some((*first, address.to_string())),
                None => {
                    self.unix.insert(path, holder);
                    None
                }
            },
            Address::Ip(address) => {
                // IPv6 sockets are bound for IPv6 only, so the families never overlap.
                let same_port = self.ip.entry((address.port(), address.is_ipv6())).or_default();
                // The kernel gives each port 0 a port of its own, so only equal ones clash, as identities.
                let wild = |ip: IpAddr| ip.is_unspecified() && address.port() != 0;
                let first = same_port.get_key_value(address).or_else(|| match wild(address.ip()) {
                    true => same_port.first_key_value(),
                    false => same_port.first_key_value().filter(|(first, _)| wild(first.ip())),
                });
                if let Some((first_address, first)) = first {
                    return Some((*first, first_address.to_string()));
                }
                same_port.insert(*address, holder);
                None
            }
            Address::Name { .. } => unreachable!("the form of `listen` takes no names"),
        }
    }
}
