//! One whole request without a socket: from the client's bytes to the origin's, and back.
//!
//! The steps are those of "Life of a request" in `ARCHITECTURE.md`, one after the other as the shard takes them, with
//! memory that requests leave to each other. What is not here is what only a shard has: sockets, leases, timers,
//! counters.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policy::GroupSlot;
use policy::http::{
    ActionSpec, Changes, Decider, EscapedSlash, Expanded, Headers, HttpService, Incoming, Limits as HttpLimits, Lists,
    Memory as Room, Outcome as Decided, Pages, PathSpec, Rule, RuleSpec, Rules, Scratch, Sites, When,
};
use policy::{GenerationId, PoolId};
use std::hint::black_box;
use std::sync::Arc;
use wire::h1::exchange::{Ended, Exchange, Front, Outcome, Standing, Step, Upstream};
use wire::h1::write::{self, Chain, ToClient, ToOrigin, Told, Upgrades};
use wire::h1::{Asked, Fields, Limits, RequestHead, Scheme, Search, Version, parse_request, parse_response};
use wire::tunnel::Way;

/// Recorded: a small request of a load generator and one of a browser.
const REQUESTS: [(&str, &[u8]); 2] = [
    ("small", b"GET /v1/items/7 HTTP/1.1\r\nHost: api.example\r\nAccept: */*\r\n\r\n"),
    (
        "browser",
        b"GET /assets/application-6b2f.js?v=12 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n\
          User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 \
          Safari/537.36\r\nAccept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: \
          script\r\nReferer: https://www.example.com/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: \
          en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nIf-None-Match: \
          \"6b2f\"\r\n\r\n",
    ),
];

const RESPONSE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\n\
    Content-Type: text/html\r\nContent-Length: 200\r\nLast-Modified: Sat, 21 Nov 2026 11:00:00 GMT\r\n\
    Connection: keep-alive\r\nETag: \"6560\"\r\nAccept-Ranges: bytes\r\n\r\n";

/// What requests of one connection leave to each other.
struct Memory {
    fields: Fields,
    reply_fields: Fields,
    scratch: Scratch,
    path: Vec<u8>,
    text: Vec<u8>,
    target: Vec<u8>,
    host: Vec<u8>,
    request_edits: Expanded,
    response_edits: Expanded,
    to_origin: Vec<u8>,
    to_client: Vec<u8>,
}

fn request(c: &mut Criterion) {
    let service = service(rules());
    let pool = PoolId::new("web");
    let decider = Decider { pool: &pool, number: GenerationId(1), service: &service, only_group: None };
    let response = [RESPONSE_HEAD, &[b'x'; 200]].concat();
    let mut memory = Memory {
        fields: Fields::new(),
        reply_fields: Fields::new(),
        scratch: Scratch::new(),
        path: Vec::new(),
        text: Vec::new(),
        target: Vec::new(),
        host: Vec::new(),
        request_edits: Expanded::default(),
        response_edits: Expanded::default(),
        to_origin: Vec::with_capacity(4 << 10),
        to_client: Vec::with_capacity(4 << 10),
    };
    let mut benches = c.benchmark_group("request");
    for (name, bytes) in REQUESTS {
        let ended = one(bytes, &response, &decider, &mut memory);
        let kept = Ended { outcome: Outcome::Answered, front: Front::Reuse, upstream: Upstream::Reuse };
        assert_eq!(ended, Standing::Over(kept), "{name} is answered and both connections are kept");
        assert!(memory.to_client.ends_with(&[b'x'; 200]));
        benches.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| one(black_box(bytes), black_box(&response), &decider, &mut memory));
        });
    }
}

fn one(bytes: &[u8], response: &[u8], decider: &Decider<'_>, memory: &mut Memory) -> Standing {
    let Memory {
        fields,
        reply_fields,
        scratch,
        path,
        text,
        target,
        host,
        request_edits,
        response_edits,
        to_origin,
        to_client,
    } = memory;
    to_origin.clear();
    to_client.clear();

    let head = parse_request(bytes, &mut Search::default(), &Limits::REQUEST, fields);
    let head = head.expect("a request").expect("an end");

    let asking = Asking { head: &head, bytes };
    let incoming = Incoming {
        client: Some([192, 0, 2, 1].into()),
        scheme: "http",
        method: head.method.text(bytes),
        authority: head.host.map_or(b"", |host| host.whole.of(bytes)),
        host: head.host.map_or(b"", |host| host.host.of(bytes)),
        path: head.path(bytes),
        query: head.query(bytes),
        headers: &asking,
        request_id: None,
    };
    let room = Room { scratch, path, text };
    let changes = Changes { target, host, request: request_edits, response: response_edits };
    let decided = black_box(decider.decide(&incoming, room, changes));
    assert_eq!(decided.outcome, Decided::Group(GroupSlot(0)), "every request meets a rule");

    let told = Told {
        client: [192, 0, 2, 1].into(),
        scheme: Scheme::Http,
        x_forwarded: Chain::Replace,
        forwarded: Chain::Remove,
        via: None,
        request_id: None,
    };
    let to = ToOrigin {
        target: (!target.is_empty()).then_some(target),
        host: (!host.is_empty()).then_some(host),
        host_default: b"",
        upgrades: Upgrades::WebSocket,
        expect: true,
        close: false,
        told,
    };
    write::request(to_origin, bytes, &head, &to, request_edits.iter());
    let mut exchange = Exchange::new(&head, to_origin.len() as u64, &Limits::REQUEST);
    while exchange.next(Way::In) == Step::Send {
        exchange.taken(Way::In, exchange.held(Way::In));
    }

    let by = Asked::by(&head, Upgrades::WebSocket.pass(&head));
    let reply = parse_response(response, by, &mut Search::default(), &Limits::RESPONSE, reply_fields);
    let reply = reply.expect("a response").expect("an end");
    let to = ToClient { client: Version::Http11, persistence: exchange.may_keep(), via: None };
    let said = write::response(to_client, response, &reply, &to, response_edits.iter());
    let behind = &response[reply.bytes..];
    exchange.answered(&reply, said, to_client.len() as u64, behind.len(), &Limits::RESPONSE);
    *reply_fields = reply.fields;
    let put = |piece: &[u8]| to_client.extend_from_slice(piece);
    exchange.forward(Way::Out, behind, &Limits::RESPONSE, reply_fields, put);
    while exchange.next(Way::Out) == Step::Send {
        exchange.taken(Way::Out, exchange.held(Way::Out));
    }
    *fields = head.fields;
    exchange.standing()
}

/// Five: by host and prefix, by host and template, two by prefix, and one for all.
fn rules() -> Rules {
    let path = When::Path;
    let all = [
        When::All(vec![When::Host("admin.example".into()), path(PathSpec::Prefix("/metrics".into()))]),
        When::All(vec![When::Host("api.example".into()), path(PathSpec::Template("/v1/items/{id}".into()))]),
        path(PathSpec::Prefix("/static".into())),
        path(PathSpec::Prefix("/assets".into())),
        When::always(),
    ];
    let compiled = all.into_iter().zip(0..).map(|(when, order)| {
        let spec = RuleSpec {
            id: format!("r{order}").into(),
            order,
            when,
            action: ActionSpec::Group(GroupSlot(0)),
            request_edits: vec![],
            response_edits: vec![],
            rewrite: None,
            host: None,
        };
        Arc::new(Rule::compile(&spec).expect("well-formed"))
    });
    Rules::new(compiled.collect()).expect("few candidates each")
}

fn service(rules: Rules) -> HttpService {
    HttpService {
        lists: Lists::default(),
        rules: Arc::new(rules),
        sites: Sites::default(),
        request: HttpLimits::REQUEST,
        response: HttpLimits::RESPONSE,
        escaped_slash: EscapedSlash::Refuse,
        upgrades: Upgrades::WebSocket,
        x_forwarded: Chain::Replace,
        forwarded: Chain::Remove,
        via: None,
        request_id: false,
        says_generation: false,
        pages: Pages::default(),
    }
}

/// Fields as the shard shows them to the rules.
struct Asking<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
}

impl Headers for Asking<'_> {
    fn any(&self, name: &[u8], holds: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.head.fields.values(self.bytes, name).any(holds)
    }

    fn first(&self, name: &[u8]) -> Option<&[u8]> {
        self.head.fields.values(self.bytes, name).next()
    }
}

criterion_group!(benches, request);
criterion_main!(benches);
