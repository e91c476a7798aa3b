//! The router against asking every rule: the same answer on random rules and requests.

use super::*;
use crate::http::naive;
use proptest::prelude::*;

/// Panics where the two disagree. Returns how many requests met a rule, and how many of those captured something.
fn agree(bytes: &[u8]) -> (usize, usize) {
    let (specs, requests) = naive::world(bytes);
    let rules = table(&specs);
    let mut scratch = Scratch::new();
    let (mut found, mut captures) = (0, 0);
    for asked in &requests {
        asked.with(|request| {
            let expected = naive::route(&specs, request);
            let route = rules.route(request, &naive::lists(), &mut scratch);
            let id = route.map(|(_, rule)| &rule.id);
            assert_eq!(id, expected.map(|rule| &rule.id), "{asked:?}\n{specs:#?}");
            if let Some(((_, rule), spec)) = route.zip(expected) {
                let captured = captured(rule, request, &scratch);
                assert_eq!(captured, naive::captured(spec, request), "{asked:?}\n{specs:#?}");
                captures += usize::from(captured.len() > captured.matches('|').count());
            }
            found += usize::from(route.is_some());
        });
    }
    (found, captures)
}

/// What the edit of the world's rules says was captured.
fn captured(rule: &Rule, request: &Request, scratch: &Scratch) -> String {
    let facts = Facts::of_captures(scratch.captures(request.path));
    let mut value = String::new();
    let mut sink = |_: &[u8], found: &[u8]| value = String::from_utf8(found.to_vec()).unwrap();
    rule.edit_request([], &facts, &mut Vec::new(), &mut sink).unwrap();
    value
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn the_router_agrees_with_asking_everybody(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        agree(&bytes);
    }

    /// The account ends with the rule that is met, blames only rules that do not match, and leaves out only such.
    #[test]
    fn the_account_is_of_what_happens(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (specs, requests) = naive::world(&bytes);
        let rules = table(&specs);
        for asked in &requests {
            asked.with(|request| {
                let steps = rules.explain(request, &naive::lists());
                let matched = |step: &Step| step.finding == Finding::Matched;
                let met = rules.route(request, &naive::lists(), &mut Scratch::new()).map(|(turn, _)| turn);
                assert_eq!(steps.last().filter(|step| matched(step)).map(|step| step.turn), met, "{asked:?}");
                let matching = specs.iter().filter(|spec| naive::matches(&spec.when, request));
                let matching: Vec<&Arc<str>> = matching.map(|spec| &spec.id).collect();
                for step in &steps {
                    assert_eq!(rules.rule(step.turn).unwrap().id, step.id);
                    assert_eq!(matching.contains(&&step.id), matched(step), "{asked:?}\n{step}");
                }
                assert!(steps.is_sorted_by(|a, b| a.turn < b.turn));
            });
        }
    }

    /// A table that has become what it is by one change after the other is the same as one that was made at once.
    #[test]
    fn a_changed_table_is_the_table_that_says_the_same(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        order in proptest::collection::vec((any::<u8>(), any::<bool>()), 0..40),
    ) {
        let (specs, requests) = naive::world(&bytes);
        let compiled: Vec<Arc<Rule>> = specs.iter().map(|spec| Arc::new(Rule::compile(spec).unwrap())).collect();
        let mut rules = Rules::default();
        let mut there = vec![false; compiled.len()];
        for (ix, stays) in &order {
            let Some(ix) = usize::from(*ix).checked_rem(compiled.len()) else { break };
            there[ix] = *stays;
            let mut replaced = 0;
            rules = rules.with([(Turn::nth(ix), stays.then(|| compiled[ix].clone()))], &mut replaced).unwrap();
        }
        let all = compiled.iter().enumerate().filter(|(ix, _)| there[*ix]);
        let at_once = Rules::at_turns(all.map(|(ix, rule)| (Turn::nth(ix), rule.clone())).collect()).unwrap();
        prop_assert_eq!(rules.shape(), at_once.shape());
        prop_assert_eq!(rules.shadows(), at_once.shadows());
        for asked in &requests {
            asked.with(|request| {
                let met = |rules: &Rules| rules.route(request, &naive::lists(), &mut Scratch::new()).map(|(turn, _)| turn);
                assert_eq!(met(&rules), met(&at_once), "{asked:?}\n{specs:#?}");
                assert_eq!(rules.explain(request, &naive::lists()), at_once.explain(request, &naive::lists()), "{asked:?}");
            });
        }
    }

    /// What [`Shape`] says is an upper bound.
    #[test]
    fn no_request_meets_more_candidates_than_the_shape_says(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (specs, requests) = naive::world(&bytes);
        let rules = table(&specs);
        for asked in &requests {
            let candidates = asked.with(|request| rules.candidate_count(request, &mut Scratch::new()));
            let (candidates, lists) = candidates.unwrap_or_default();
            prop_assert!(candidates <= rules.shape().candidates_max, "{asked:?}");
            prop_assert!(lists <= rules.shape().lists_max, "{asked:?}");
        }
    }
}

#[test]
fn the_account_names_the_condition_that_fails() {
    let rules = in_order(&[
        ("a", all([host("h"), prefix("/x"), header("x-a", "1")])),
        ("b", one_of([header("x-a", "1"), header("x-b", "2")])),
        ("c", all([prefix("/x"), not(host("h"))])),
        ("other", host("other")),
        ("d", host("h")),
    ]);
    let steps = get("h/x/y").with(|request| rules.explain(request, &naive::lists())).unwrap();
    let said: Vec<String> = steps.iter().map(Step::to_string).collect();
    let expected = [
        "a: fails header x-a = 1",
        "b: fails any(header x-a = 1, header x-b = 2)",
        "c: fails not(host h)",
        "d: matches",
    ];
    assert_eq!(said, expected);
}

/// The random worlds would show nothing if no request met a rule.
#[test]
fn the_random_worlds_are_inhabited() {
    let (mut found, mut captured, mut all) = (0, 0, 0);
    for seed in 0..200u64 {
        let bytes: Vec<u8> = (0..300)
            .map(|n| {
                (seed * 1_000 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(seed | 1) as u8
            })
            .collect();
        let (met, captures) = agree(&bytes);
        (found, captured) = (found + met, captured + captures);
        all += naive::world(&bytes).1.len();
    }
    assert!(found * 4 > all && found * 20 < all * 19, "{found} of {all} requests met a rule");
    assert!(captured > 20, "{captured} requests captured something");
}
