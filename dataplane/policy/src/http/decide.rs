//! What is decided of a request, in the one order in which it is decided.
//!
//! Owns that order: the path's normal form, the rule, what the rule makes of target, host and both heads, the action. A shard
//! asks here for traffic, `explain` and the tests of a configuration for requests that nobody sends, so what is told of a
//! request is what is done with it. Refuses to know whose the request is ([`site`](super::site)), which backend gets it, and how
//! heads are kept and written.
//!
//! Takes no memory per request: what it needs and what it makes is the asker's.

use super::edits::{Expanded, Unfit};
use super::path::{NormalPath, normalise};
use super::request::{Headers, Request};
use super::rule::{Action, Rule};
use super::rules::{Scratch, Turn};
use super::service::HttpService;
use super::text::{Captures, Facts};
use crate::ids::{GenerationId, GroupSlot, PoolId};
use std::io::Write;
use std::net::IpAddr;

/// A pool, as far as it decides.
#[derive(Clone, Copy, Debug)]
pub struct Decider<'a> {
    pub pool: &'a PoolId,
    pub number: GenerationId,
    pub service: &'a HttpService,
    /// Its group, if it has one only.
    pub only_group: Option<GroupSlot>,
}

/// A request as it came.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// `None`: the client has no address.
    pub client: Option<IpAddr>,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'a str,
    pub method: &'a [u8],
    /// The host with its port, if the client sent one.
    pub authority: &'a [u8],
    /// Without its port.
    pub host: &'a [u8],
    /// As sent.
    pub path: &'a [u8],
    /// What stands behind the first `?`, as sent.
    pub query: Option<&'a [u8]>,
    pub headers: &'a dyn Headers,
    /// The one that it has from us. `None`: it goes by the client's, if there is one.
    pub request_id: Option<&'a [u8]>,
}

/// Memory of a decision, used again for the next.
pub struct Memory<'a> {
    pub scratch: &'a mut Scratch,
    pub path: &'a mut Vec<u8>,
    pub text: &'a mut Vec<u8>,
}

/// Where it is written what becomes of the request and its answer. Whatever is there goes.
pub struct Changes<'a> {
    /// Path and query that the backend is asked for, and of a redirect, where to. Empty: those that were asked for.
    pub target: &'a mut Vec<u8>,
    /// What the backend is told instead of the client's host. Empty: nothing.
    pub host: &'a mut Vec<u8>,
    pub request: &'a mut Expanded,
    pub response: &'a mut Expanded,
}

#[derive(Clone, Copy, Debug)]
pub struct Decided<'d, 'm> {
    /// `None`: it has no normal form, and no rule was came.
    pub path: Option<NormalPath<'m>>,
    /// The rule that it met, and its turn.
    pub rule: Option<(Turn, &'d Rule)>,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Group(GroupSlot),
    /// The client is answered with what the rule says.
    Respond {
        status: u16,
    },
    /// Where to is the target of the [`Changes`].
    Redirect {
        status: u16,
    },
    Deny {
        status: u16,
    },
    /// No rule takes it.
    NoRule,
    /// It cannot be read in one way only, or not become what the rule would send.
    Refused(Unfit),
}

impl Outcome {
    /// What the client is answered. `None`: the backend says it.
    pub fn status(self) -> Option<u16> {
        match self {
            Outcome::Group(_) => None,
            Outcome::Respond { status } | Outcome::Redirect { status } | Outcome::Deny { status } => Some(status),
            Outcome::NoRule => Some(404),
            Outcome::Refused(unfit) => Some(unfit.answer()),
        }
    }
}

impl<'d> Decider<'d> {
    pub fn decide<'m>(&self, came: &Incoming<'m>, memory: Memory<'m>, changes: Changes<'_>) -> Decided<'d, 'm> {
        changes.target.clear();
        changes.host.clear();
        changes.request.clear();
        changes.response.clear();
        let Memory { scratch, path: buffer, text } = memory;
        let path = match normalise(came.path, self.service.escaped_slash, buffer) {
            Ok(path) => path,
            Err(violation) => {
                return Decided { path: None, rule: None, outcome: Outcome::Refused(Unfit::Path(violation)) };
            }
        };
        let service: &'d HttpService = self.service;
        let rule = service.route(&came.seen(path), scratch).map(|(turn, rule)| (turn, &**rule));
        let outcome = self.meet(came, path, rule.map(|(_, rule)| rule), scratch, text, changes);
        Decided { path: Some(path), rule, outcome: outcome.unwrap_or_else(Outcome::Refused) }
    }

    fn meet(
        &self,
        came: &Incoming<'_>,
        path: NormalPath<'_>,
        rule: Option<&Rule>,
        scratch: &mut Scratch,
        text: &mut Vec<u8>,
        changes: Changes<'_>,
    ) -> Result<Outcome, Unfit> {
        let Changes { target, host, request, response } = changes;
        if let Some(rule) = rule {
            if rule.rewrite_path(path, scratch, target)?
                && let Some(query) = came.query
            {
                target.push(b'?');
                target.extend_from_slice(query);
            }
            // Most rules say nothing, and then nothing is looked up for them.
            if rule.has_texts() {
                let facts = came.facts(scratch.captures(path));
                rule.expand_request_edits(&facts, request)?;
                rule.expand_response_edits(&facts, response)?;
                rule.rewrite_host(&facts, host)?;
            }
        }
        if self.service.says_generation {
            text.clear();
            write!(text, "{}@{}", self.pool, self.number).expect("memory takes all that is written");
            response.set(b"X-Sluicegate-Generation", text);
        }
        Ok(match rule.map(|rule| &rule.action) {
            // Without rules the only group has everything.
            None => match self.only_group {
                Some(only) if self.service.rules.rules().is_empty() => Outcome::Group(only),
                _ => Outcome::NoRule,
            },
            Some(Action::Group(slot)) => Outcome::Group(*slot),
            Some(Action::Deny { status }) => Outcome::Deny { status: *status },
            Some(Action::Respond { status, .. }) => Outcome::Respond { status: *status },
            Some(Action::Redirect { status, target: to }) => {
                target.clear();
                to.expand(&came.facts(scratch.captures(path)), target)?;
                Outcome::Redirect { status: *status }
            }
        })
    }
}

impl<'a> Incoming<'a> {
    /// As rules see it.
    pub fn seen<'p>(&self, path: NormalPath<'p>) -> Request<'p>
    where
        'a: 'p,
    {
        let Incoming { client, method, host, query, headers, .. } = *self;
        Request { method, host, path, query, headers, source: client }
    }

    fn facts<'f>(&self, captures: Captures<'f>) -> Facts<'f>
    where
        'a: 'f,
    {
        let Incoming { client, scheme, method, authority, path, query, headers, .. } = *self;
        let request_id = self.request_id.or_else(|| headers.first(b"x-request-id")).unwrap_or(b"");
        Facts { client, scheme, authority, method, path, query, request_id, captures }
    }
}
