//! The router as a whole: its rules of order, and that it agrees with asking everybody.

mod decide;
mod edits;
mod oracle;
mod order;
mod shadow;

use super::naive::Asked;
use super::*;
use std::sync::Arc;

/// A rule that only matches.
fn spec(id: &str, order: u64, when: When) -> RuleSpec {
    RuleSpec {
        id: id.into(),
        order,
        when,
        action: ActionSpec::Deny { status: 403 },
        request_edits: vec![],
        response_edits: vec![],
        rewrite: None,
        host: None,
    }
}

fn host(host: &str) -> When {
    When::Host(host.into())
}

fn exact(path: &str) -> When {
    When::Path(PathSpec::Exact(path.into()))
}

fn prefix(path: &str) -> When {
    When::Path(PathSpec::Prefix(path.into()))
}

fn template(path: &str) -> When {
    When::Path(PathSpec::Template(path.into()))
}

fn regex(path: &str) -> When {
    When::Path(PathSpec::Regex(path.into()))
}

fn header(name: &str, value: &str) -> When {
    When::Header { name: name.into(), value: ValueSpec::Equals(value.into()) }
}

fn all<const N: usize>(conditions: [When; N]) -> When {
    When::All(conditions.into())
}

fn one_of<const N: usize>(conditions: [When; N]) -> When {
    When::Any(conditions.into())
}

fn not(condition: When) -> When {
    When::Not(Box::new(condition))
}

fn table(specs: &[RuleSpec]) -> Rules {
    let rules = specs.iter().map(|spec| Arc::new(Rule::compile(spec).unwrap())).collect();
    Rules::new(rules).unwrap()
}

/// Rules in this order, with these ids.
fn in_order(rules: &[(&str, When)]) -> Rules {
    let specs: Vec<_> = rules.iter().zip(0..).map(|((id, when), order)| spec(id, order, when.clone())).collect();
    table(&specs)
}

/// `GET http://host/path`, from 10.0.0.1.
fn get(url: &str) -> Asked {
    let (host, path) = url.find('/').map_or((url, "/"), |at| url.split_at(at));
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    Asked {
        method: "GET".into(),
        host: host.into(),
        path: path.into(),
        query: query.map(str::to_owned),
        headers: vec![],
        source: Some("10.0.0.1".parse().unwrap()),
    }
}

/// Id of the rule that the request meets.
fn met(rules: &Rules, asked: &Asked) -> Option<String> {
    let route =
        asked.with(|request| rules.route(request, Lists::NONE, &mut Scratch::new())).expect("a path that is accepted");
    route.map(|(_, rule)| rule.id.to_string())
}

#[track_caller]
fn check(rules: &Rules, url: &str, expected: &str) {
    assert_eq!(met(rules, &get(url)).as_deref().unwrap_or("-"), expected, "GET {url}");
}
