//! What finding a request's rule costs as the rules grow: ten thousand should cost about what ten do.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policy::http::{
    ActionSpec, EscapedSlash, Lists, Pairs, PathSpec, Request, Rule, RuleSpec, Rules, Scratch, ValueSpec, When,
    normalise,
};
use std::hint::black_box;
use std::sync::Arc;

const SIZES: [u64; 3] = [10, 10_000, 100_000];

/// Requests that meet the rules of [`rules`], one after the other.
fn route(c: &mut Criterion) {
    let mut benches = c.benchmark_group("route");
    for kind in ["hosts", "prefixes", "templates"] {
        for size in SIZES {
            let rules = rules(kind, size);
            let asked: Vec<_> = (0..1_000).map(|n| asked(kind, n * 7_919 % size)).collect();
            let mut scratch = Scratch::new();
            let mut n = 0;
            benches.bench_function(BenchmarkId::new(kind, size), |b| {
                b.iter(|| {
                    n = (n + 1) % asked.len();
                    let (host, path) = &asked[n];
                    let mut buffer = Vec::new();
                    let request = Request {
                        method: b"GET",
                        host: host.as_bytes(),
                        path: normalise(path.as_bytes(), EscapedSlash::Refuse, &mut buffer).expect("a plain path"),
                        query: None,
                        headers: &Pairs(&[(b"accept", b"*/*"), (b"user-agent", b"bench")]),
                        source: None,
                    };
                    rules.route(black_box(&request), Lists::NONE, &mut scratch).expect("every request meets a rule")
                });
            });
        }
    }
}

/// On the compiler thread: the rules, and the table round rules that there are.
fn table(c: &mut Criterion) {
    let mut benches = c.benchmark_group("rules");
    for size in [10, 10_000] {
        benches.bench_function(BenchmarkId::new("compile", size), |b| b.iter(|| rules("templates", size)));
        let rules = rules("templates", size).rules().values().cloned().collect::<Vec<_>>();
        benches.bench_function(BenchmarkId::new("index", size), |b| b.iter(|| Rules::new(rules.clone())));
    }
}

/// `size` rules that differ in host, in a prefix or in a template; in front one that asks a header, at the end one for
/// all.
fn rules(kind: &str, size: u64) -> Rules {
    let only_with = When::Header { name: "x-canary".into(), value: ValueSpec::Present };
    let each = (0..size).map(|n| match kind {
        "hosts" => When::Host(format!("h{n}.example")),
        "prefixes" => When::All(vec![host(), When::Path(PathSpec::Prefix(format!("/service/{n}")))]),
        "templates" => When::All(vec![host(), When::Path(PathSpec::Template(format!("/v1/{{tenant}}/{n}/{{id}}")))]),
        other => panic!("no rules of kind {other}"),
    });
    let all = [only_with].into_iter().chain(each).chain([When::always()]).zip(0..);
    let compiled = all.map(|(when, order)| {
        let spec = RuleSpec {
            id: format!("r{order}").into(),
            order,
            when,
            action: ActionSpec::Deny { status: 403 },
            request_edits: vec![],
            response_edits: vec![],
            rewrite: None,
            host: None,
        };
        Arc::new(Rule::compile(&spec).expect("well-formed"))
    });
    Rules::new(compiled.collect()).expect("few candidates each")
}

fn host() -> When {
    When::Host("api.example".into())
}

/// Host and path of the `n`-th rule.
fn asked(kind: &str, n: u64) -> (String, String) {
    match kind {
        "hosts" => (format!("h{n}.example"), "/some/where".into()),
        "prefixes" => ("api.example".into(), format!("/service/{n}/some/where")),
        _ => ("api.example".into(), format!("/v1/acme/{n}/77")),
    }
}

criterion_group!(benches, route, table);
criterion_main!(benches);
