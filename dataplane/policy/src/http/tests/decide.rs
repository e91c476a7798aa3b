//! What is decided of a request as a whole.

use super::*;
use crate::ids::GroupSlot;
use crate::{GenerationId, PoolId};
use wire::h1::write::Edit;

fn service(rules: Rules) -> HttpService {
    HttpService {
        rules: Arc::new(rules),
        lists: Lists::default(),
        sites: Sites::default(),
        request: Limits::REQUEST,
        response: Limits::RESPONSE,
        escaped_slash: EscapedSlash::Refuse,
        upgrades: Upgrades::None,
        x_forwarded: Chain::Pass,
        forwarded: Chain::Pass,
        via: None,
        request_id: false,
        says_generation: true,
        pages: Pages::default(),
    }
}

/// Rules of which each shows one way in which a request can end.
fn rules() -> Rules {
    let does = |id: &str, order, path: &str, action| RuleSpec { action, ..spec(id, order, template(path)) };
    let set = |name: &str, value: &str| EditSpec::Set { name: name.into(), value: value.into() };
    let redirect = ActionSpec::Redirect { status: 301, target: "https://{host}/{id}".into() };
    let respond = ActionSpec::Respond { status: 200, content_type: "text/plain".into(), body: (*b"hello").into() };
    table(&[
        RuleSpec {
            request_edits: vec![set("X-Id", "{id}")],
            response_edits: vec![EditSpec::Remove { name: "Server".into() }],
            rewrite: Some(RewriteSpec::Whole { to: "/v2/{id}".into() }),
            host: Some("{method}.internal".into()),
            ..does("api", 0, "/api/{id}", ActionSpec::Group(GroupSlot(1)))
        },
        does("plain", 1, "/plain/{id}", ActionSpec::Group(GroupSlot(0))),
        does("deny", 2, "/deny", ActionSpec::Deny { status: 451 }),
        does("old", 3, "/old/{id}", redirect),
        does("hello", 4, "/hello", respond),
        RuleSpec { host: Some("{path}".into()), ..does("unfit", 5, "/unfit", ActionSpec::Group(GroupSlot(0))) },
    ])
}

/// Outcome and rule; target and host; edits of both heads.
fn told(service: &HttpService, url: &str) -> (String, String, String) {
    let (url, query) = url.split_once('?').map_or((url, None), |(url, query)| (url, Some(query.as_bytes())));
    let (host, path) = url.split_at(url.find('/').expect("a path"));
    let pool = PoolId::new("web");
    let decider = Decider { pool: &pool, number: GenerationId(7), service, only_group: None };
    let incoming = Incoming {
        client: None,
        scheme: "http",
        method: b"GET",
        authority: host.as_bytes(),
        host: host.as_bytes(),
        path: path.as_bytes(),
        query,
        headers: &Pairs(&[]),
        request_id: None,
    };
    // What requests before have left must not show.
    let (mut target, mut host) = (b"before".to_vec(), b"before".to_vec());
    let (mut request, mut response) = (Expanded::default(), Expanded::default());
    request.add(b"Before", b"before");
    response.add(b"Before", b"before");
    let memory = Memory { scratch: &mut Scratch::new(), path: &mut b"before".to_vec(), text: &mut b"before".to_vec() };
    let changes = Changes { target: &mut target, host: &mut host, request: &mut request, response: &mut response };
    let Decided { rule, outcome, .. } = decider.decide(&incoming, memory, changes);
    let rule = rule.map_or("-".into(), |(_, rule)| rule.id.to_string());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let edits = |edits: &Expanded| {
        let edit = |edit| match edit {
            Edit::Add { name, value } => format!("+{}={}", text(name), text(value)),
            Edit::Set { name, value } => format!("{}={}", text(name), text(value)),
            Edit::Remove { name } => format!("-{}", text(name)),
        };
        edits.iter().map(edit).collect::<Vec<_>>().join(" ")
    };
    let edits = format!("{} / {}", edits(&request), edits(&response));
    (format!("{outcome:?} {rule}"), format!("{} {}", text(&target), text(&host)), edits)
}

#[track_caller]
fn check(url: &str, outcome: &str, sent: &str, edits: &str) {
    let told = told(&service(rules()), url);
    assert_eq!((told.0.as_str(), told.1.as_str(), told.2.as_str()), (outcome, sent, edits), "{url}");
}

const SAYS: &str = " / X-Sluicegate-Generation=web@7";

#[test]
fn a_request_ends_in_one_way() {
    check(
        "h/api/a%62?x=1",
        "Group(GroupSlot(1)) api",
        "/v2/ab?x=1 GET.internal",
        "X-Id=ab / -Server X-Sluicegate-Generation=web@7",
    );
    check("h/plain/7?x", "Group(GroupSlot(0)) plain", " ", SAYS);
    check("h/deny", "Deny { status: 451 } deny", " ", SAYS);
    check("h:81/old/7?x", "Redirect { status: 301 } old", "https://h:81/7 ", SAYS);
    check("h/hello", "Respond { status: 200 } hello", " ", SAYS);
    check("h/", "NoRule -", " ", SAYS);
}

#[test]
fn what_cannot_be_is_refused_before_anything_else_is_said() {
    check("h/api/%2e%2e/..", "Refused(Path(AboveRoot)) -", " ", " / ");
    check("h/api/%00", "Refused(Path(EscapedNul)) -", " ", " / ");
    // Of the rule that it has met, what came before the misfit.
    check("h/unfit", "Refused(Host) unfit", " /unfit", " / ");
}

#[test]
fn a_refused_redirect_leads_nowhere() {
    let long = format!("h/old/{}", "a".repeat(Text::EXPANDED_BYTES_MAX));
    check(&long, "Refused(Oversized) old", " ", SAYS);
}

#[test]
fn statuses_are_those_of_what_was_decided() {
    let check = |outcome: Outcome, expected| assert_eq!(outcome.status(), expected, "{outcome:?}");
    check(Outcome::Group(GroupSlot(3)), None);
    check(Outcome::NoRule, Some(404));
    check(Outcome::Redirect { status: 308 }, Some(308));
    check(Outcome::Refused(Unfit::Oversized), Some(431));
    check(Outcome::Refused(Unfit::Path(PathViolation::BadEscape)), Some(400));
}

/// A pool without a rule has one group that takes everything; with several, nobody says which.
#[test]
fn without_rules_the_only_group_has_everything() {
    let none = service(table(&[]));
    let pool = PoolId::new("web");
    let outcome = |only_group| {
        let decider = Decider { pool: &pool, number: GenerationId(1), service: &none, only_group };
        let incoming = Incoming {
            client: None,
            scheme: "http",
            method: b"GET",
            authority: b"h",
            host: b"h",
            path: b"/",
            query: None,
            headers: &Pairs(&[]),
            request_id: None,
        };
        let memory = Memory { scratch: &mut Scratch::new(), path: &mut Vec::new(), text: &mut Vec::new() };
        let changes = Changes {
            target: &mut Vec::new(),
            host: &mut Vec::new(),
            request: &mut Expanded::default(),
            response: &mut Expanded::default(),
        };
        decider.decide(&incoming, memory, changes).outcome
    };
    assert_eq!(outcome(Some(GroupSlot(7))), Outcome::Group(GroupSlot(7)));
    assert_eq!(outcome(None), Outcome::NoRule);
}
