//! What an HTTP pool is besides its groups, compiled.
//!
//! What is equal stays the same `Arc`: the service as a whole while neither a setting nor a rule changes, the
//! table of rules while no rule does.

use crate::document::{HttpContent, Pool, RuleContent, Sealed};
use crate::keys::{Algorithm, Eject, Http, HttpGroup, Retry};
use crate::rule_spec::{self, Lists};
use crate::running::RunningPool;
use policy::generation::Service;
use policy::http::affinity::HashOn;
use policy::http::eject::EjectPolicy;
use policy::http::retry::RetryPolicy;
use policy::http::{
    Action, ActionSpec, GroupHttp, GroupIx, HttpService, Limits, Page, Pages, Rule, RuleSpec, Rules, Sites, When,
};
use std::collections::HashMap;
use std::sync::Arc;

/// The service, and what keeping it costs if its successor shares nothing of it but `sites`.
pub(crate) fn compile(pool: &Pool, sites: Sites, old: Option<&RunningPool>) -> (Service, usize) {
    let Some(content) = &pool.http else {
        return (Service::Tcp, 0);
    };
    let before = old.and_then(|old| match (&old.content.http, &old.generation.service) {
        (Some(content), Service::Http(service)) => Some((content, service)),
        (None, _) | (_, Service::Tcp) => None,
    });
    let rules = rules(pool, content, before);
    let service = match before {
        Some((old, service))
            if Arc::ptr_eq(&service.rules, &rules)
                && service.sites.same(&sites)
                && old.settings == content.settings
                && old.pages == content.pages =>
        {
            service.clone()
        }
        _ => Arc::new(service(content, rules, sites)),
    };
    let bytes = size_of::<HttpService>() + service.rules.shape().index_bytes + page_bytes(content);
    (Service::Http(service), bytes)
}

/// What decides requests of a pool, without its neighbours at an address. `None`: it carries TCP.
pub(crate) fn alone(pool: &Pool) -> Option<HttpService> {
    let content = pool.http.as_ref()?;
    Some(service(content, rules(pool, content, None), Sites::default()))
}

/// The table of rules: the old one if it would come out the same, else one of the old rules as far as they say the
/// same.
fn rules(pool: &Pool, content: &HttpContent, before: Option<(&HttpContent, &Arc<HttpService>)>) -> Arc<Rules> {
    if content.rules.is_empty() {
        let same = before.filter(|(old, _)| old.rules.is_empty());
        return same.map_or_else(everywhere, |(_, service)| service.rules.clone());
    }
    // What no rule was compiled to is no rule of the document.
    let before = before.filter(|(old, _)| !old.rules.is_empty());
    let mut olds: HashMap<&str, (&Sealed<RuleContent>, &Arc<Rule>)> = HashMap::new();
    let mut same_lists = true;
    if let Some((old, service)) = before {
        let pairs = old.rules.iter().zip(service.rules.rules());
        olds.extend(pairs.map(|(content, rule)| (&*content.id, (&**content, rule))));
        same_lists = old.lists == content.lists;
    }
    let mut lists = None;
    let compiled = content.rules.iter().map(|new| {
        let group = new.rule.group.as_ref().map(|group| {
            let ix = pool.group_ix(group).expect("a rule names a group of its pool");
            GroupIx(ix as u32)
        });
        let leads_there = |rule: &Rule| match rule.action {
            Action::Group(ix) => group == Some(ix),
            Action::Redirect { .. } | Action::Respond { .. } | Action::Deny { .. } => group.is_none(),
        };
        let same = |old: &Sealed<RuleContent>| {
            old.hash() == new.hash() && (same_lists || !before.is_some_and(|(old, _)| differs(new, old, content)))
        };
        match olds.get(&*new.id) {
            Some((old, rule)) if same(old) && leads_there(rule) => (*rule).clone(),
            _ => {
                let lists = lists.get_or_insert_with(|| Lists::new(content.lists.iter()));
                let rule = Rule::compile(&rule_spec::spec(new, group, lists));
                Arc::new(rule.expect("a rule of a configuration has been compiled before"))
            }
        }
    });
    let compiled: Vec<Arc<Rule>> = compiled.collect();
    if let Some((_, service)) = before {
        let olds = service.rules.rules();
        if olds.len() == compiled.len() && olds.iter().zip(&compiled).all(|(old, new)| Arc::ptr_eq(old, new)) {
            return service.rules.clone();
        }
    }
    Arc::new(Rules::in_sequence(compiled).expect("the rules of a configuration have been a table before"))
}

/// Whether a list that the rule names is another one.
fn differs(rule: &RuleContent, old: &HttpContent, new: &HttpContent) -> bool {
    let mut differs = false;
    rule_spec::lists_of(&rule.conditions, &mut |name| differs |= old.lists.get(name) != new.lists.get(name));
    differs
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

fn service(content: &HttpContent, rules: Arc<Rules>, sites: Sites) -> HttpService {
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
        sites,
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
        pages: pages(content),
    }
}

fn page_bytes(content: &HttpContent) -> usize {
    content.pages.iter().map(|page| page.body.len()).sum()
}

fn pages(content: &HttpContent) -> Pages {
    let pages = content.pages.iter().flat_map(|page| {
        let made = Page { content_type: page.content_type.clone(), body: page.body.clone().into() };
        let statuses = page.status.iter().flat_map(|(first, last)| *first..=*last);
        statuses.map(move |status| (status, made.clone()))
    });
    Pages::new(pages.collect()).expect("no status of a configuration has two pages")
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
