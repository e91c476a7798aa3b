//! What an HTTP pool is besides its groups, compiled.
//!
//! What is equal stays the same `Arc`: the service as a whole while neither a setting nor a rule changes, the
//! table of rules while no rule does; and one that changes shares what it can.

use crate::document::{HttpContent, Pool};
use crate::keys::{Algorithm, Eject, Http, HttpGroup, Retry};
use crate::place::At;
use crate::planted::{Mistake, is};
use crate::problem::{Code, Problem, Problems};
use crate::rule_list::{RuleDifference, RuleList, SealedRule};
use crate::rule_spec;
use crate::running::RunningPool;
use crate::slots::Slots;
use policy::GroupSlot;
use policy::generation::Service;
use policy::http::affinity::HashOn;
use policy::http::eject::EjectPolicy;
use policy::http::retry::RetryPolicy;
use policy::http::shadow::Shadow;
use policy::http::{
    Action, ActionSpec, GroupHttp, HttpService, Limits, List, Lists, Page, Pages, Rule, RuleSpec, Rules, Sites, Turn,
    When,
};
use std::sync::Arc;

/// Rules that one change brings, of which each is held against those before it. A document says of all of its rules which
/// are never asked, when it is read.
const SHADOWS_SOUGHT_MAX: usize = 16;

/// The service. `replaced` grows by the bytes of the old one's table of rules that this one does not share. `remarks`: rules
/// that are no table, in which case this is none that may run; and new rules that are never asked.
pub(crate) fn compile(
    pool: &Pool,
    sites: Sites,
    old: Option<&RunningPool>,
    slots: &Slots,
    replaced: &mut usize,
    remarks: &mut Problems,
) -> Service {
    let Some(content) = &pool.http else {
        return Service::Tcp;
    };
    let before = old.and_then(|old| match (&old.content.http, &old.generation.service) {
        (Some(content), Service::Http(service)) => Some((content, service)),
        (None, _) | (_, Service::Tcp) => None,
    });
    let rules = rules(pool, content, before, slots, replaced, remarks);
    let lists = lists(content, before, slots, replaced);
    match before {
        Some((old, service)) if old.settings == content.settings && old.pages == content.pages => {
            let same = Arc::ptr_eq(&service.rules, &rules) && service.lists.same(&lists) && service.sites.same(&sites);
            Service::Http(match same {
                true => service.clone(),
                false => Arc::new(HttpService { rules, lists, sites, ..(**service).clone() }),
            })
        }
        _ => Service::Http(Arc::new(service(content, rules, lists, sites))),
    }
}

/// What decides requests of a pool, without its neighbours at an address. `None`: it carries TCP.
pub(crate) fn alone(pool: &Pool, slots: &mut Slots) -> Option<HttpService> {
    let content = pool.http.as_ref()?;
    for group in pool.groups.keys() {
        let _ = slots.name_group(&pool.id, group);
    }
    for list in content.lists.keys() {
        slots.name_list(list);
    }
    // What is no table is told where the document is read.
    let rules = rules(pool, content, None, slots, &mut 0, &mut Problems::default());
    Some(service(content, rules, lists(content, None, slots, &mut 0), Sites::default()))
}

/// The lists that its rules name. One that says what it said is the same.
fn lists(
    content: &HttpContent,
    before: Option<(&HttpContent, &Arc<HttpService>)>,
    slots: &Slots,
    replaced: &mut usize,
) -> Lists {
    let each = content.lists.iter().map(|(name, list)| {
        let slot = slots.list(name).expect("lists are named before they are compiled");
        // What runs, and not what the document before held, which may be equal and in memory twice.
        let runs = before.and_then(|(_, service)| service.lists.find(slot));
        let says_the_same = |runs: &&Arc<List>| runs.digest() == list.digest() || is(Mistake::ListAsBefore);
        (slot, runs.filter(says_the_same).unwrap_or(list).clone())
    });
    let lists = Lists::new(each);
    for (slot, old) in before.iter().flat_map(|(_, service)| service.lists.iter()) {
        *replaced += match lists.find(slot) {
            Some(new) if Arc::ptr_eq(old, new) => 0,
            Some(new) => old.unshared_bytes(new),
            None => old.bytes() as usize,
        };
    }
    lists
}

/// What keeping it costs if nothing that runs shares anything of it but its addresses.
pub(crate) fn bytes(pool: &Pool, service: &Service) -> usize {
    match (&pool.http, service) {
        (Some(content), Service::Http(service)) => {
            size_of::<HttpService>() + service.rules.bytes() + service.lists.bytes() as usize + page_bytes(content)
        }
        (None, _) | (_, Service::Tcp) => 0,
    }
}

/// The table of rules: the old one with what differs.
fn rules(
    pool: &Pool,
    content: &HttpContent,
    before: Option<(&HttpContent, &Arc<HttpService>)>,
    slots: &Slots,
    replaced: &mut usize,
    remarks: &mut Problems,
) -> Arc<Rules> {
    let at = || At::ROOT.key("pool").key(pool.id.as_str()).key("rule").to_string();
    let slot_of = |id: &str| slots.group(&pool.id, id).expect("groups are named before rules lead to them");
    if content.rules.is_empty() {
        let only = pool.groups.keys().next().map_or(GroupSlot(0), |id| slot_of(id));
        let leads_there = |rules: &Rules| {
            let mut all = rules.rules().values();
            all.any(|rule| matches!(rule.action, Action::Group(slot) if slot == only))
        };
        let same = before.filter(|(old, service)| old.rules.is_empty() && leads_there(&service.rules));
        return same.map_or_else(|| everywhere(only), |(_, service)| service.rules.clone());
    }
    let list_slot = |name: &str| slots.list(name).expect("lists are named before rules name them");
    let compiled = |new: &SealedRule| {
        let group = new.rule.group.as_deref().map(slot_of);
        let rule = Rule::compile(&rule_spec::spec(new, group, &list_slot));
        let mut rule = rule.expect("a rule of a configuration has been compiled before");
        // Under the same id it is the same rule to whoever counts.
        let was = before.and_then(|(old, service)| service.rules.rule(old.rules.find(&new.id)?.0));
        rule.tally = was.and_then(|was| was.tally.clone()).or_else(|| slots.tally());
        Arc::new(rule)
    };
    // What no rule was compiled to is no rule of the document.
    let Some((old, service)) = before.filter(|(old, _)| !old.rules.is_empty()) else {
        let all = content.rules.turns().map(|(turn, rule)| (turn, compiled(rule)));
        return Rules::at_turns(all.collect()).map(Arc::new).unwrap_or_else(|error| {
            remarks.push(Problem::error(Code::TooMany, at(), None, error.to_string()));
            everywhere(GroupSlot(0))
        });
    };
    let mut changes: Vec<(Turn, Option<Arc<Rule>>)> = Vec::new();
    for RuleDifference { turn, old: _, new } in RuleList::diff(&old.rules, &content.rules) {
        if new.is_none() && is(Mistake::RuleAskedOn) {
            continue;
        }
        let rule = new.map(|new| {
            // One that has moved is what it was.
            let moved = old.rules.find(&new.id).filter(|(_, rule)| rule.hash() == new.hash());
            let moved = moved.and_then(|(turn, _)| service.rules.rule(turn));
            moved.cloned().unwrap_or_else(|| compiled(new))
        });
        changes.push((turn, rule));
    }
    if changes.is_empty() {
        return service.rules.clone();
    }
    let new: Vec<Turn> = changes.iter().filter_map(|(turn, rule)| rule.as_ref().map(|_| *turn)).collect();
    match service.rules.with(changes, replaced) {
        Ok(rules) => {
            if new.len() <= SHADOWS_SOUGHT_MAX {
                new.into_iter().for_each(|turn| shadowed(&rules, turn, &at(), remarks));
            }
            Arc::new(rules)
        }
        Err(error) => {
            remarks.push(Problem::error(Code::TooMany, at(), None, error.to_string()));
            service.rules.clone()
        }
    }
}

/// Whether a rule that has come is ever asked.
fn shadowed(rules: &Rules, turn: Turn, at: &str, remarks: &mut Problems) {
    let Some(rule) = rules.rule(turn) else { return };
    let Shadow::Never(never) = rules.shadow_over(turn, rule) else { return };
    let message = match never.behind.and_then(|behind| rules.rule(behind)) {
        Some(behind) => format!("rule `{}` is never asked: `{}` takes all of it before", rule.id, behind.id),
        None => format!("no request meets rule `{}`: its conditions exclude each other", rule.id),
    };
    remarks.push(Problem::warning(Code::NoEffect, format!("{at}.{}", rule.id), None, message));
}

/// Where nothing is said, all requests go to the only group.
fn everywhere(group: GroupSlot) -> Arc<Rules> {
    let rule = Rule::compile(&RuleSpec {
        id: "/*".into(),
        order: 0,
        when: When::always(),
        action: ActionSpec::Group(group),
        request_edits: Vec::new(),
        response_edits: Vec::new(),
        rewrite: None,
        host: None,
    });
    let rule = rule.expect("nothing is asked, and nothing changed");
    Arc::new(Rules::new(vec![Arc::new(rule)]).expect("one rule is a table"))
}

fn service(content: &HttpContent, rules: Arc<Rules>, lists: Lists, sites: Sites) -> HttpService {
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
        lists,
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
