//! What a pool of HTTP is besides its groups: everything that is decided of a request and its answer by the pool's
//! own generation.
//!
//! Owns no state: counts, idle connections and ejections belong to identities, on the shard.

use super::affinity::HashOn;
use super::eject::EjectPolicy;
use super::explain::Step;
use super::list::Lists;
use super::path::EscapedSlash;
use super::request::Request;
use super::retry::RetryPolicy;
use super::rule::Rule;
use super::rules::{Rules, Scratch, Turn};
use super::site::Sites;
use crate::meaning::Words;
use std::sync::Arc;
use std::time::Duration;
use wire::h1::Limits;
use wire::h1::write::{Chain, Upgrades};

/// Requests of one pool.
#[derive(Clone, Debug)]
pub struct HttpService {
    /// The same while no rule changes, whatever else does.
    pub rules: Arc<Rules>,
    /// Those that the rules name. Other content, other lists, and the rules stay the same.
    pub lists: Lists,
    /// Which requests of its connections are those of other pools, or nobody's.
    pub sites: Sites,
    /// Of what clients send.
    pub request: Limits,
    /// Of what backends send.
    pub response: Limits,
    pub escaped_slash: EscapedSlash,
    pub upgrades: Upgrades,
    pub x_forwarded: Chain,
    pub forwarded: Chain,
    /// The name under which we stand in `Via`, in both directions. `None`: not at all.
    pub via: Option<Arc<str>>,
    /// Each request gets an `X-Request-Id` of ours, whatever it came with. Otherwise the client's goes on.
    pub request_id: bool,
    /// Answers carry `X-Sluicegate-Generation: <pool>@<number>`.
    pub says_generation: bool,
    pub pages: Pages,
}

impl HttpService {
    /// See [`Rules::route`].
    pub fn route(&self, request: &Request, scratch: &mut Scratch) -> Option<(Turn, &Arc<Rule>)> {
        self.rules.route(request, &self.lists, scratch)
    }

    /// See [`Rules::explain`].
    pub fn explain(&self, request: &Request) -> Vec<Step> {
        self.rules.explain(request, &self.lists)
    }
}

/// What clients read in place of our own short texts.
#[derive(Clone, Default, Debug)]
pub struct Pages {
    /// Sorted by status, none twice.
    pages: Box<[(u16, Page)]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    pub content_type: Arc<str>,
    pub body: Arc<[u8]>,
}

impl Page {
    /// Bytes of one page: it is sent from memory, whole.
    pub const BODY_BYTES_MAX: usize = 1 << 20;
}

impl Pages {
    /// `None`: a status has two pages.
    pub fn new(mut pages: Vec<(u16, Page)>) -> Option<Pages> {
        pages.sort_by_key(|(status, _)| *status);
        let once = pages.windows(2).all(|pair| pair[0].0 != pair[1].0);
        once.then(|| Pages { pages: pages.into() })
    }

    /// For [`crate::meaning`].
    pub(super) fn say(&self, words: &mut Words) {
        words.each(&*self.pages, |words, (status, Page { content_type, body })| {
            words.count((*status).into());
            words.text(content_type);
            words.bytes(body);
        });
    }

    pub fn find(&self, status: u16) -> Option<&Page> {
        let at = self.pages.binary_search_by_key(&status, |(status, _)| *status).ok()?;
        Some(&self.pages[at].1)
    }
}

/// How long a request, and a connection between two, may take. All but `total` count anew with each byte.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct HttpTimeouts {
    /// The first byte of a head to its last one: counts once, so that a byte now and then keeps nothing open.
    pub head: Duration,
    /// Between two bytes of a request's content. `None`: no limit.
    pub body: Option<Duration>,
    /// The request has gone to the backend, and nothing of the answer has come. `None`: no limit.
    pub first_byte: Option<Duration>,
    /// Between two bytes of an answer, either side. `None`: no limit.
    pub answer: Option<Duration>,
    /// The whole exchange. `None`: no limit.
    pub total: Option<Duration>,
    /// Between two requests.
    pub keep_alive: Duration,
}

/// How requests use the backends of a group.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupHttp {
    pub retry: RetryPolicy,
    /// Backends are taken out for errors that their requests meet. `None`: never.
    pub eject: Option<EjectPolicy>,
    /// What a request is hashed by where the group's balance asks for a hash.
    pub hash: HashOn,
    /// Idle connections that are kept to one backend, over all shards; each shard has its part, rounded up.
    pub idle_max: u32,
    /// How long one is kept.
    pub idle_timeout: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_one_page() {
        let page = |text: &str| Page { content_type: "text/plain".into(), body: text.as_bytes().into() };
        let pages = Pages::new(vec![(503, page("later")), (404, page("nowhere"))]).unwrap();
        assert_eq!(pages.find(404), Some(&page("nowhere")));
        assert_eq!(pages.find(503), Some(&page("later")));
        assert_eq!(pages.find(500), None);
        assert!(Pages::new(vec![(404, page("a")), (404, page("b"))]).is_none());
    }
}
