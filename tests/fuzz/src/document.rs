//! `config::parse` on text of any kind, and what follows from a document that it takes.

use crate::files::{self, Files};
use crate::problems;
use config::{Class, Config, Group, HttpContent, Parsed, Pool, diff};
use policy::generation::{Address, Endpoint};
use std::collections::{BTreeMap, BTreeSet};

/// A document, in one file or in several (`#### NAME` begins another).
///
/// Refused: with at least one error, each with a place inside the text. Taken: what is written of it reads as
/// the same document and is written the same again; its identities are unique and in order; a comment more
/// changes nothing. Read twice it is the same either way.
pub fn document(data: &[u8]) {
    let files = Files::split(data);
    match (files.parse(), files.parse()) {
        (Ok(parsed), Ok(again)) => {
            assert_eq!(parsed.config.hash(), again.config.hash(), "read twice");
            assert_eq!(parsed.warnings.to_string(), again.warnings.to_string(), "read twice");
            taken(&parsed, &files);
        }
        (Err(refused), Err(again)) => {
            assert_eq!(refused.to_string(), again.to_string(), "read twice");
            assert!(!refused.errors().is_empty(), "refused without an error");
            problems::of_document(&refused, &files);
        }
        (one, other) => panic!("read twice: {one:?}, then {other:?}"),
    }
}

fn taken(parsed: &Parsed, files: &Files) {
    let Parsed { config, warnings, files: read, rule_places, left_out: _ } = parsed;
    assert!(warnings.errors().is_empty(), "{warnings}");
    problems::of_document(warnings, files);
    assert_eq!(read[0].as_os_str(), files::MAIN);
    for file in read {
        let name = file.to_str().expect("names come from text");
        assert!(files.find(name).is_some(), "`{name}` was read and is not there");
    }

    for (id, pool) in &config.pools {
        for rule in pool.http.iter().flat_map(|http| http.rules.iter()) {
            let place = rule_places.find(id, rule).unwrap_or_else(|| panic!("rule `{}` stands nowhere", rule.id));
            let file = files.find(&place.file).expect("it is one that was read");
            let line = String::from_utf8_lossy(file).lines().nth(place.line as usize - 1).map(str::len);
            assert!(line.is_some_and(|bytes| place.column as usize <= bytes), "rule `{}` at {place}", rule.id);
        }
    }

    let commented = files.parse_with("\n# a comment\n").expect("a comment is always in order");
    assert_eq!(commented.config.hash(), config.hash(), "a comment changes the document");

    written_reads_the_same(config);
    identities(config);
}

fn written_reads_the_same(config: &Config) {
    let text = config.to_toml();
    let again = files::parse_alone(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}")).config;
    assert_eq!(again.hash(), config.hash(), "{text}");
    // The hash is the claim; the values are what it stands for.
    assert_eq!(again.to_json(), config.to_json(), "{text}");
    assert_eq!(again.to_toml(), text);
    let plan = diff(config, &again);
    assert!(plan.unchanged && plan.changes.is_empty() && plan.class == Class::Soft && plan.live().is_some());
}

/// What slots and state hang on.
fn identities(config: &Config) {
    let mut listens: BTreeMap<&Address, Vec<&Pool>> = BTreeMap::new();
    for (id, pool) in &config.pools {
        assert_eq!(*id, pool.id);
        assert_id(id.as_str());
        assert!(pool.groups.iter().all(|(id, group)| *id == group.id));
        match &pool.http {
            Some(http) => rules(config, pool, http),
            None => assert_eq!(pool.groups.len(), 1),
        }
        assert!(!pool.create.listen.is_empty() && pool.create.listen.is_sorted());
        for address in &pool.create.listen {
            assert!(!matches!(address, Address::Name { .. }), "{address} depends on a resolver");
            listens.entry(address).or_default().push(pool);
        }
        pool.groups.values().for_each(|group| members(group));
    }
    listens.into_iter().for_each(|(address, pools)| shared(address, &pools));
}

/// Each request at an address is one pool's, or nobody's.
fn shared(address: &Address, pools: &[&Pool]) {
    let leads = pools.iter().filter(|pool| pool.leads().contains(address)).count();
    assert_eq!(leads, 1, "{address} leads to one pool");
    if pools.len() == 1 {
        return;
    }
    let hosts = pools.iter().map(|pool| &pool.http.as_ref().expect("only pools of HTTP share an address").hosts.hosts);
    assert!(hosts.clone().filter(|hosts| hosts.is_empty()).count() <= 1, "two take all hosts at {address}");
    let all: Vec<_> = hosts.flatten().collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "a host is two pools' at {address}");
    assert!(pools.iter().all(|pool| pool.create.shards == pools[0].create.shards), "{address}");
}

/// What rules lead to and name is there.
fn rules(config: &Config, pool: &Pool, http: &HttpContent) {
    assert!(!http.rules.is_empty() || pool.groups.len() == 1, "nobody knows where requests go");
    let ids: BTreeSet<&str> = http.rules.iter().map(|rule| &*rule.id).collect();
    assert_eq!(ids.len(), http.rules.len(), "an id is one rule");
    for rule in http.rules.iter() {
        let actions = [rule.rule.group.is_some(), rule.rule.redirect.is_some(), rule.rule.respond.is_some()];
        let actions = actions.iter().filter(|said| **said).count() + usize::from(rule.rule.deny.is_some());
        assert_eq!(actions, 1, "`{}` does one thing", rule.id);
        assert!(rule.rule.group.as_ref().is_none_or(|group| pool.group(group).is_some()), "`{}`", rule.id);
        match &rule.rule.id {
            Some(id) => {
                assert_eq!(*id, rule.id);
                assert_id(id);
            }
            None => assert!(rule.id.contains(['/', '~']) && !rule.id.contains(char::is_control), "{:?}", rule.id),
        }
    }
    assert!(
        http.rules.iter().all(|rule| rule.rule.order.is_some())
            || http.rules.iter().all(|rule| rule.rule.order.is_none())
    );
    assert!(http.rules.iter().is_sorted_by_key(|rule| rule.rule.order));
    for (id, list) in &http.lists {
        assert_id(id);
        let named = config.lists.get(id).expect("what is named is there");
        assert_eq!(named.in_force().digest(), list.digest(), "{id}");
    }
    let mut statuses: Vec<u16> =
        http.pages.iter().flat_map(|page| &page.status).flat_map(|range| range.0..=range.1).collect();
    let pages = statuses.len();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses.len(), pages, "a status has one page");
}

fn members(group: &Group) {
    assert_id(&group.id);
    let backends = &group.backends;
    assert!(backends.windows(2).all(|pair| pair[0].id < pair[1].id), "ids are sorted, each there once");
    let addresses: BTreeSet<&Address> = backends.iter().map(|backend| &backend.address).collect();
    assert_eq!(addresses.len(), backends.len(), "an address is one backend");
    for backend in backends {
        assert!(backend.weight <= Endpoint::WEIGHT_MAX);
        if *backend.id != backend.address.to_string() {
            assert_id(&backend.id);
        }
    }
}

/// Fit for a file name, a metric label and a command line.
fn assert_id(id: &str) {
    let plain = id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
    assert!(plain && !id.is_empty() && id.len() <= 63 && !id.starts_with(['-', '_']), "{id:?}");
}
