//! One address leads to one pool. Overlaps are found as `bind` would find them.

use crate::check::pool_path;
use crate::place::Span;
use crate::problem::{Code, Problem, Problems};
use policy::generation::Address;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// An address that a pool listens on.
pub(crate) struct Listed<'a> {
    pub(crate) pool: &'a str,
    pub(crate) address: &'a Address,
    pub(crate) span: Option<Span>,
}

pub(crate) fn check<'a>(
    control_socket: Option<(&'a Path, Option<Span>)>,
    listed: impl Iterator<Item = Listed<'a>>,
    problems: &mut Problems,
) {
    let mut taken = Taken::default();
    if let Some((path, span)) = control_socket {
        taken.unix.insert(path, Holder { pool: None, span });
    }
    for Listed { pool, address, span } in listed {
        let Some((first, as_what)) = taken.take(address, Holder { pool: Some(pool), span }) else { continue };
        let same = as_what == address.to_string();
        // Twice in one list has been told by the list itself.
        if same && first.pool == Some(pool) {
            continue;
        }
        let who = match first.pool {
            Some(pool) => format!("pool `{pool}`"),
            None => "the control socket".into(),
        };
        let message = match same {
            true => format!("pool `{pool}` listens on `{address}`, and so does {who}"),
            false => format!("pool `{pool}` listens on `{address}`, which overlaps `{as_what}` of {who}"),
        };
        let problem = Problem::error(Code::Clash, pool_path(pool, "create.listen"), span, message);
        problems.push(problem.found(format!("\"{address}\"")).also(format!("taken by {who} here"), first.span));
    }
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
    pool: Option<&'a str>,
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
