//! What an HTTP pool is besides its groups, compiled.
//!
//! What is equal stays the same `Arc`: the service as a whole while neither a setting nor a rule changes, the
//! table of rules while no rule does.

use crate::document::{HttpContent, Pool};
use crate::keys::{Algorithm, Eject, Http, HttpGroup, Retry};
use crate::running::RunningPool;
use policy::generation::Service;
use policy::http::affinity::HashOn;
use policy::http::eject::EjectPolicy;
use policy::http::retry::RetryPolicy;
use policy::http::{ActionSpec, GroupHttp, GroupIx, HttpService, Limits, Pages, Rule, RuleSpec, Rules, When};
use std::sync::Arc;

/// The service, and what keeping it costs if its successor shares nothing of it.
pub(crate) fn compile(pool: &Pool, old: Option<&RunningPool>) -> (Service, usize) {
    let Some(content) = &pool.http else {
        return (Service::Tcp, 0);
    };
    let before = old.and_then(|old| match (&old.content.http, &old.generation.service) {
        (Some(content), Service::Http(service)) => Some((content, service)),
        (None, _) | (_, Service::Tcp) => None,
    });
    let rules = before.map_or_else(everywhere, |(_, service)| service.rules.clone());
    let service = match before {
        Some((old, service)) if old.settings == content.settings => service.clone(),
        _ => Arc::new(service(content, rules)),
    };
    let bytes = size_of::<HttpService>() + service.rules.shape().index_bytes;
    (Service::Http(service), bytes)
}

/// Where nothing is said, all requests go to the only group.
fn everywhere() -> Arc<Rules> {
    let rule = Rule::compile(&RuleSpec {
        id: "/*".into(),
        order: 0,
        when: When::always(),
        action: ActionSpec::Group(GroupIx(0)),
        request_edits: Vec::new(),
        response_edits: Vec::new(),
        rewrite: None,
        host: None,
    });
    let rule = rule.expect("nothing is asked, and nothing changed");
    Arc::new(Rules::new(vec![Arc::new(rule)]).expect("one rule is a table"))
}

fn service(content: &HttpContent, rules: Arc<Rules>) -> HttpService {
    let Http {
        head_max,
        line_max,
        fields_max,
        body_max,
        answer_head_max,
        answer_fields_max,
        x_forwarded,
        forwarded,
        ref via,
        request_id,
        upgrades,
        escaped_slash,
        generation_header,
    } = content.settings;
    HttpService {
        rules,
        request: Limits {
            line_bytes: line_max as usize,
            body_bytes: body_max.unwrap_or(u64::MAX),
            ..limits(Limits::REQUEST, head_max, fields_max)
        },
        response: limits(Limits::RESPONSE, answer_head_max, answer_fields_max),
        escaped_slash,
        upgrades,
        x_forwarded,
        forwarded,
        via: via.clone(),
        request_id,
        says_generation: generation_header,
        pages: Pages::default(),
    }
}

/// A larger head is wanted for a larger field in it, so the bound on one grows along.
fn limits(default: Limits, head_max: u64, fields_max: u32) -> Limits {
    let head_bytes = head_max as usize;
    Limits { head_bytes, fields: fields_max as usize, value_bytes: default.value_bytes.max(head_bytes / 2), ..default }
}

/// What requests ask of a group.
pub(crate) fn group(balance: Algorithm, settings: &HttpGroup, retry: &Retry, eject: Option<&Eject>) -> GroupHttp {
    let HttpGroup { hash_on, idle_max, idle_timeout } = settings;
    let Retry { attempts, budget, minimum, statuses } = retry;
    GroupHttp {
        retry: RetryPolicy {
            attempts: *attempts,
            per_mille: budget * 10,
            minimum_per_second: *minimum,
            statuses: statuses.as_slice().into(),
        },
        eject: eject.map(|Eject { errors, base, longest, percent_max }| EjectPolicy {
            errors: *errors,
            base: *base,
            longest: *longest,
            percent_max: *percent_max as u8,
        }),
        hash: if balance == Algorithm::Hash { hash_on.clone() } else { HashOn::Source },
        idle_max: *idle_max,
        idle_timeout: *idle_timeout,
    }
}
