//! `policy::http` against `policy::http::naive`, which asks every rule, one after the other.

use policy::http::{Facts, Request, Rule, Rules, Scratch, naive};
use std::sync::Arc;

/// Bytes are read as a few rules and the requests that meet them, by `naive::world`.
///
/// Both must find the same rule for every request, with the same captures; one memory serves all searches, so that
/// nothing of one is left for the next.
pub fn rules(data: &[u8]) {
    let (specs, requests) = naive::world(data);
    let compiled = specs.iter().map(|spec| Arc::new(Rule::compile(spec).expect("the world's rules are well-formed")));
    let rules = Rules::new(compiled.collect()).expect("the world's rules are few");
    let (lists, mut scratch) = (naive::lists(), Scratch::new());
    for asked in &requests {
        asked.with(|request| {
            let expected = naive::route(&specs, request);
            let found = rules.route(request, &lists, &mut scratch).map(|(_, rule)| rule);
            assert_eq!(found.map(|rule| &rule.id), expected.map(|spec| &spec.id), "{asked:?}\n{specs:#?}");
            if let Some((rule, spec)) = found.zip(expected) {
                let expected = naive::captured(spec, request);
                assert_eq!(captured(rule, request, &scratch), expected, "{asked:?}\n{specs:#?}");
            }
        });
    }
}

/// What the edit of the world's rules says was captured.
fn captured(rule: &Rule, request: &Request, scratch: &Scratch) -> String {
    let facts = Facts::of_captures(scratch.captures(request.path));
    let mut value = String::new();
    let mut sink = |_: &[u8], found: &[u8]| value = String::from_utf8_lossy(found).into_owned();
    rule.edit_request([], &facts, &mut Vec::new(), &mut sink).expect("captures are short");
    value
}
