//! The load sees nothing wrong where nothing is, and each thing that is.

use harness::churn::Doors;
use harness::http::{Conduct, Fields, Kind, Load, Mark, Marks, Origin, Plan, Received};
use harness::net::Target;

fn plan(target: &Target, kinds: &[Kind]) -> Plan {
    let clients = kinds.iter().map(|kind| (*kind, 2)).collect();
    Plan { clients, ..Plan::of_every_kind(&Doors::new(std::slice::from_ref(target)), "a.test") }
}

/// Kinds that ask with plain requests.
const ASKING: [Kind; 4] = [Kind::KeepAlive, Kind::Fresh, Kind::Pipelining, Kind::Download];

/// Answers with this account, whoever asked for what.
fn answer(received: &Received, origin: &str) -> Conduct {
    let body = received.line();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Origin: {origin}\r\n\r\n", body.len());
    Conduct::Sends { bytes: [head.as_bytes(), &body].concat(), ends: false }
}

/// Answers well, with these fields: what a product would add.
fn adds(fields: &[(&str, &str)]) -> Conduct {
    Conduct::Adds(Fields::of(fields))
}

#[test]
fn good_origins_leave_every_client_content() {
    let (one, two) = (Origin::good(), Origin::good());
    let doors = Doors::new(&[one.target().clone(), two.target().clone()]);
    let load = Load::start(Plan::of_every_kind(&doors, "a.test"));
    load.all_again();
    let outcome = load.finish();
    outcome.assert_clean();
    assert_eq!((outcome.tallies.len(), outcome.retired), (6, 0));
    for origin in [&one, &two] {
        let seen = origin.wait_seen("all have left", |seen| seen.open == 0);
        assert_eq!((seen.malformed, seen.cut, seen.reset, seen.ended), (0, 0, 0, seen.accepted), "{seen:?}");
    }
}

/// Each conduct is seen, under one of the classes that it can have, by every kind of client that meets it.
#[test]
fn each_vice_is_seen_by_every_kind() {
    let check = |conduct: Conduct, classes: &[&str], kinds: &[Kind]| {
        let origin = Origin::start(conduct.clone());
        let load = Load::start(plan(origin.target(), kinds));
        load.all_again();
        let outcome = load.finish();
        for kind in kinds {
            let seen: u64 = classes.iter().map(|class| outcome.of(*kind).count(class)).sum();
            assert!(seen > 0, "{conduct:?}: {kind} did not see {classes:?}: {outcome}");
            assert_eq!(seen, outcome.of(*kind).failed(), "{conduct:?}: {kind} saw more than {classes:?}: {outcome}");
        }
    };
    let all = Kind::ALL;
    let reset = ["reset before a byte"];
    check(Conduct::Refuses, &["refused"], &all);
    // A reset that comes while the request is being sent is met there.
    check(Conduct::ResetsAtOnce, &reset, &all);
    check(Conduct::ResetsBeforeHead, &reset, &all);
    check(Conduct::EndsBeforeHead, &["end before a byte"], &all);
    check(Conduct::ResetsMidBody { after: 50 }, &["reset mid-response"], &ASKING);
    check(Conduct::EndsMidHead, &["early end"], &all);
    check(Conduct::SaysTooMuch { by: 3 }, &["wrong length"], &ASKING);
    check(Conduct::EndsBeforeLastChunk, &["early end", "wrong body"], &ASKING);
    check(Conduct::Answers { status: 503 }, &["wrong status"], &all);
    check(Conduct::TwoLengths, &["malformed"], &ASKING);
    check(
        Conduct::Sends { bytes: b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".to_vec(), ends: false },
        &["wrong body"],
        &[Kind::KeepAlive, Kind::Fresh, Kind::Upload, Kind::Download],
    );
    check(
        Conduct::ClosesOnReuse,
        &["end before a byte", "reset before a byte", "reset mid-response"],
        &[Kind::KeepAlive, Kind::Upload, Kind::Download],
    );
}

#[test]
fn a_connection_that_ends_as_it_said_is_retired_and_no_failure() {
    let origin = Origin::start(Conduct::ClosesAfterEach);
    let load = Load::start(plan(origin.target(), &[Kind::KeepAlive, Kind::Pipelining, Kind::Upload]));
    load.all_again();
    let outcome = load.finish();
    outcome.assert_clean();
    assert!(outcome.retired > 0);
}

#[test]
fn a_connection_that_ends_without_a_word_is_a_failure() {
    let origin = Origin::start(Conduct::ClosesSilently);
    let load = Load::start(plan(origin.target(), &[Kind::KeepAlive]));
    load.all_again();
    let outcome = load.finish();
    // The end is there with the answer, or before the next request, or that is sent into it.
    let classes = ["unannounced end", "end before a byte", "reset before a byte"];
    let seen: u64 = classes.iter().map(|class| outcome.count(class)).sum();
    assert!(seen > 0 && seen == outcome.failed(), "{outcome}");
}

#[test]
fn an_answer_to_another_request_is_seen() {
    let first = std::sync::Mutex::new(None);
    let origin = Origin::choosing("forgetful", move |asked| {
        answer(first.lock().expect("nobody panics").get_or_insert_with(|| asked.clone()), "forgetful")
    });
    let load = Load::start(plan(origin.target(), &[Kind::Pipelining]));
    load.wait_failure("wrong answer");
    let outcome = load.finish();
    assert_eq!(outcome.count("wrong answer"), outcome.failed(), "{outcome}");
}

#[test]
fn an_answer_whose_head_and_body_have_different_origins_is_seen() {
    let origin = Origin::choosing("body", |asked| answer(asked, "head"));
    let load = Load::start(plan(origin.target(), &[Kind::Pipelining]));
    load.wait_failure("wrong body");
    let outcome = load.finish();
    assert_eq!(outcome.count("wrong body"), outcome.failed(), "{outcome}");
}

/// Label and generation of each answer are taken together.
#[test]
fn marks_that_agree_are_no_failure() {
    let origin = Origin::named("any@1", adds(&[("X-Label", "1"), ("X-Generation", "web@40")]));
    let marks = Marks::new(&[Mark::Answer("x-label".into()), Mark::Origin]).with_generation("X-Generation");
    let load = Load::start(Plan { marks, ..plan(origin.target(), &ASKING) });
    load.all_again();
    origin.behave(adds(&[("X-Label", "1"), ("X-Generation", "web@41")]));
    load.all_again();
    load.finish().assert_clean();
}

#[test]
fn answers_that_mix_generations_are_seen() {
    let check = |class: &str, marks: Marks, before: Conduct, after: Conduct| {
        let origin = Origin::named("any@1", before);
        let load = Load::start(Plan { marks, ..plan(origin.target(), &ASKING) });
        load.all_again();
        assert_eq!(load.outcome().failed(), 0, "{}", load.outcome());
        origin.behave(after);
        load.all_again();
        let outcome = load.finish();
        for kind in ASKING {
            assert!(outcome.of(kind).count(class) > 0, "{kind} did not see it: {outcome}");
        }
        assert_eq!(outcome.count(class), outcome.failed(), "{outcome}");
    };
    let label = || Mark::Answer("X-Label".into());
    let mixed = "mixed generations";
    // Another label than the name of the origin has.
    check(mixed, Marks::new(&[label(), Mark::Origin]), adds(&[("X-Label", "1")]), adds(&[("X-Label", "2")]));
    // No label.
    check(mixed, Marks::new(&[label()]), adds(&[("X-Label", "1")]), Conduct::Good);
    // No generation.
    let generation = || Marks::new(&[label()]).with_generation("X-Generation");
    let both = |label, generation| adds(&[("X-Label", label), ("X-Generation", generation)]);
    check(mixed, generation(), both("1", "web@7"), adds(&[("X-Label", "1")]));
    // The same generation with another label.
    check(mixed, generation(), both("1", "web@7"), both("2", "web@7"));
    let kept_alive_only = |before: Conduct, after: Conduct| {
        let origin = Origin::start(before);
        let marks = generation();
        let load = Load::start(Plan { marks, ..plan(origin.target(), &[Kind::KeepAlive, Kind::Fresh]) });
        load.all_again();
        origin.behave(after);
        load.all_again();
        let outcome = load.finish();
        assert!(outcome.of(Kind::KeepAlive).count("older generation") > 0, "{outcome}");
        assert_eq!(outcome.of(Kind::Fresh).failed(), 0, "a new connection may meet any: {outcome}");
    };
    kept_alive_only(both("2", "web@8"), both("1", "web@7"));
}

/// The request's own fields are marks too: what a product adds on the way reaches the origin, and is told.
#[test]
fn a_label_that_did_not_reach_the_origin_is_seen() {
    let origin = Origin::good();
    let marks = Marks::new(&[Mark::Request("X-Load-Id".into())]);
    let load = Load::start(Plan { marks, ..plan(origin.target(), &[Kind::KeepAlive]) });
    load.all_again();
    load.finish().assert_clean();
    let marks = Marks::new(&[Mark::Request("X-Never".into())]);
    let load = Load::start(Plan { marks, ..plan(origin.target(), &[Kind::KeepAlive]) });
    load.wait_failure("mixed generations");
}
