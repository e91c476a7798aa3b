//! What would become of a request that nobody sends: the decisions of a shard, taken where they can be told.
//!
//! Asks the rules by the function that shards ask ([`policy::http::Decider`]) and keeps what it finds as text. What a request as it
//! is described cannot have (too long a head, two lengths) is not looked for.

use crate::describe::Described;
use policy::http::{Changes, Decided, Decider, Expanded, Memory, Outcome, Pairs, Rule, Scratch, Step, Turn};

/// What would become of it.
#[derive(Debug)]
pub struct Foretold<'d> {
    /// `None`: its path has no normal form.
    pub normal_path: Option<String>,
    /// The rule that it met, and its turn.
    pub rule: Option<(Turn, &'d Rule)>,
    pub outcome: Outcome,
    /// Path and query that the backend would be asked for.
    pub target: String,
    /// The host that it would be told.
    pub host: String,
    /// Of a redirect: where to.
    pub location: Option<String>,
    /// What the rule changes of the head that the backend is sent.
    pub request: Expanded,
    /// What is changed of the head that the client is sent.
    pub response: Expanded,
}

/// Decides a request of the pool that takes it.
pub fn foretell<'d>(decider: &Decider<'d>, described: &Described<'_>) -> Foretold<'d> {
    let pairs = described.pairs();
    let headers = Pairs(&pairs);
    let incoming = described.incoming(decider.service, &headers);
    let (mut scratch, mut path, mut text) = (Scratch::new(), Vec::new(), Vec::new());
    let (mut target, mut host) = (Vec::new(), Vec::new());
    let (mut request, mut response) = (Expanded::default(), Expanded::default());
    let memory = Memory { scratch: &mut scratch, path: &mut path, text: &mut text };
    let changes = Changes { target: &mut target, host: &mut host, request: &mut request, response: &mut response };
    let Decided { path, rule, outcome } = decider.decide(&incoming, memory, changes);
    let normal_path = path.map(|path| self::text(path.as_bytes()));
    let location = matches!(outcome, Outcome::Redirect { .. }).then(|| self::text(&target));
    let said = match described.query {
        Some(query) => format!("{}?{query}", described.path),
        None => described.path.to_owned(),
    };
    Foretold {
        normal_path,
        rule,
        outcome,
        target: if target.is_empty() || location.is_some() { said } else { self::text(&target) },
        host: if host.is_empty() { described.authority.to_owned() } else { self::text(&host) },
        location,
        request,
        response,
    }
}

/// The rules that such a request is held against, in order, up to the one that takes it. None: its path has no normal form.
pub fn asked_rules(decider: &Decider<'_>, described: &Described<'_>) -> Vec<Step> {
    let pairs = described.pairs();
    let headers = Pairs(&pairs);
    let incoming = described.incoming(decider.service, &headers);
    let mut buffer = Vec::new();
    match policy::http::normalise(incoming.path, decider.service.escaped_slash, &mut buffer) {
        Ok(path) => decider.service.explain(&incoming.seen(path)),
        Err(_) => Vec::new(),
    }
}

/// Nothing that was described is anything but text, nor what is made of it.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
