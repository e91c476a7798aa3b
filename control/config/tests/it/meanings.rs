//! What a pool means, as one hash: the same however it came about, and another with every key that shards see.

use crate::{Files, SHARDS, config, parse_from};
use config::{Afresh, Config, Running, Slots, compile, diff, keys, recompile};
use policy::generation::ContentHash;
use policy::{JobId, PoolId, ShardSet};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What pools mean that are compiled from nothing.
pub fn afresh(config: &Config) -> BTreeMap<PoolId, ContentHash> {
    let afresh = Afresh::new(config, ShardSet::first(SHARDS));
    config.pools.iter().map(|(id, pool)| (id.clone(), afresh.meaning(pool))).collect()
}

/// What runs means what its document says, pool by pool.
#[track_caller]
pub fn check(running: &Running) {
    let (runs, says) = (running.meanings(), afresh(&running.config));
    assert!(runs.keys().all(|id| running.meaning(id) == runs.get(id).copied()));
    let differ: Vec<&PoolId> = says.keys().filter(|id| runs.get(*id) != says.get(*id)).collect();
    assert!(
        differ.is_empty() && runs.len() == says.len(),
        "{differ:?} do not mean what the document says: {running:#?}"
    );
}

fn started(config: &Arc<Config>) -> (Running, Slots) {
    let (mut slots, before) = (Slots::default(), Running::at_start(config));
    let live = diff(&before.config, config).live().expect("a first document needs no restart");
    let compiled = compile(&before, config, live, JobId(1), ShardSet::first(SHARDS), &mut slots);
    compiled.applied(&mut slots);
    (before.after(&compiled), slots)
}

/// Every key of a pool, at least once.
const BASE: &str = r#"
[list.office]
entries = ['10.0.0.0/8']
[list.blocked]
file = 'blocked.txt'
except = ['192.0.2.9']
entries = ['192.0.2.1']
[list.tenants]
kind = 'text'
entries = ['a.example']

[pool.db]
access_log = true
[pool.db.create]
service = 'tcp'
listen = ['127.0.0.1:1', 'unix:/run/db.sock']
memory = '32MiB'
shards = [0, 1]
[pool.db.limits]
max_connections = 100
[pool.db.timeouts]
connect = '1s'
idle = '2s'
lifetime = '3h'
[pool.db.group.main]
balance = 'round-robin'
attempts = 2
queue = 10
queue_wait = '4s'
backend = [
    { id = 'a', address = '127.0.0.1:9001', weight = 1 },
    { id = 'b', address = 'b.internal:9002', backup = false, drain = false, max_connections = 9 },
]
[pool.db.group.main.health]
kind = 'http'
path = '/up'
host = 'h.internal'
method = 'GET'
status = '200-299'
body = 'ready'
interval = '5s'
timeout = '1s'
rise = 2
fall = 3

[pool.web]
hosts = ['a.example', '*.a.example']
[pool.web.create]
service = 'http'
listen = ['127.0.0.1:8']
[pool.web.http]
head_max = '32KiB'
line_max = '8KiB'
fields_max = 100
body_max = '1MiB'
answer_head_max = '32KiB'
answer_fields_max = 100
x_forwarded = 'replace'
forwarded = 'remove'
via = 'edge'
request_id = false
upgrades = 'websocket'
escaped_slash = 'refuse'
generation_header = false
[pool.web.timeouts]
head = '1s'
body = '2s'
first_byte = '3s'
answer = '4s'
total = '5s'
keep_alive = '6s'
[[pool.web.page]]
status = 404
body = 'nowhere'
content_type = 'text/plain'
[[pool.web.page]]
status = 503
file = 'later.txt'
[[pool.web.rule]]
id = 'host'
order = 1
host = 'a.example'
deny = 401
[[pool.web.rule]]
id = 'listed'
order = 2
host_list = 'tenants'
deny = 402
[[pool.web.rule]]
id = 'path'
order = 3
path = '/x'
redirect = { to = 'https://{host}/y', status = 301 }
[[pool.web.rule]]
id = 'below'
order = 4
path_prefix = '/api'
rewrite = { prefix = '/api', to = '/v2' }
request_headers = { set = { X-A = '1' }, remove = ['X-B'] }
response_headers = { add = { X-C = '{host}' } }
group = 'app'
[[pool.web.rule]]
id = 'template'
order = 5
path_template = '/users/{id}'
rewrite = '/u/{id}'
group = 'app'
[[pool.web.rule]]
id = 'regex'
order = 6
path_regex = '^/v[0-9]+/'
respond = { status = 200, body = 'pong' }
[[pool.web.rule]]
id = 'asks'
order = 7
method = ['GET', 'BREW']
header = { Upgrade = 'h2c', Cookie = { prefix = 'a=' }, X-L = { list = 'tenants' } }
query = { live = true, dead = false, k = { regex = '^1' } }
deny = 403
[[pool.web.rule]]
id = 'source'
order = 8
source = ['172.16.0.0/12', '2001:db8::/32', 'office', 'blocked']
deny = 404
[[pool.web.rule]]
id = 'all'
order = 9
all = [{ host = 'b.a.example' }, { path = '/all' }]
deny = 405
[[pool.web.rule]]
id = 'any'
order = 10
any = [{ host = 'c.a.example' }, { path = '/any' }]
not = { method = 'PUT' }
deny = 406
[[pool.web.rule]]
id = 'rest'
order = 11
group = 'other'
[pool.web.group.app]
balance = 'hash'
hash_on = 'cookie:session'
idle_max = 10
idle_timeout = '7s'
backend = [{ id = 'p', address = '127.0.0.1:9003' }, { id = 'q', address = '127.0.0.1:9004' }]
[pool.web.group.app.retry]
attempts = 2
budget = 20
minimum = 3
statuses = [502]
[pool.web.group.app.eject]
errors = 5
base = '8s'
longest = '9m'
percent_max = 50
[pool.web.group.other]
backend = [{ id = 'p', address = '127.0.0.1:9005' }]

[pool.neighbour]
hosts = ['n.example']
[pool.neighbour.create]
service = 'http'
listen = ['127.0.0.1:8']
[pool.neighbour.group.main]
backend = [{ address = '127.0.0.1:9006' }]
"#;

/// A key, what stands in [`BASE`], and what in its place.
const CHANGES: &[(&str, &str, &str)] = &[
    ("pool.*.access_log", "access_log = true", "access_log = false"),
    ("pool.*.hosts", "'*.a.example']", "'*.a.example', 'more.example']"),
    ("pool.*.hosts", "hosts = ['n.example']", "hosts = ['*.n.example']"),
    ("pool.*.create.listen", "'127.0.0.1:1',", "'127.0.0.1:1', '127.0.0.1:2',"),
    (
        "pool.*.create.listen",
        "listen = ['127.0.0.1:8']\n[pool.web.http]",
        "listen = ['127.0.0.1:8', '127.0.0.1:9']\n[pool.web.http]",
    ),
    ("pool.*.create.shards", "shards = [0, 1]", "shards = [0, 2]"),
    ("pool.*.create.memory", "memory = '32MiB'", "memory = '33MiB'"),
    (
        "pool.*.create.service",
        "[pool.neighbour.group.main]",
        "[pool.more.create]\nservice = 'tcp'\nlisten = ['127.0.0.1:3']\n[pool.more.group.main]\nbackend = [{ address = '127.0.0.1:4' }]\n[pool.neighbour.group.main]",
    ),
    ("pool.*.limits.max_connections", "max_connections = 100", "max_connections = 101"),
    ("pool.*.timeouts.connect", "connect = '1s'", "connect = '2s'"),
    ("pool.*.timeouts.idle", "idle = '2s'", "idle = 'off'"),
    ("pool.*.timeouts.lifetime", "lifetime = '3h'", "lifetime = '2s'"),
    ("pool.*.group.*.balance", "balance = 'round-robin'", "balance = 'random-two'"),
    ("pool.*.group.*.balance", "balance = 'round-robin'", "balance = 'least-connections'"),
    ("pool.*.group.*.balance", "balance = 'round-robin'", "balance = 'source-hash'"),
    ("pool.*.group.*.balance", "[pool.web.group.other]", "[pool.web.group.other]\nbalance = 'peak-ewma'"),
    ("pool.*.group.*.attempts", "attempts = 2\nqueue", "attempts = 3\nqueue"),
    ("pool.*.group.*.queue", "queue = 10", "queue = 11"),
    ("pool.*.group.*.queue_wait", "queue_wait = '4s'", "queue_wait = '5s'"),
    ("pool.*.group.*.backend[].id", "id = 'a', address", "id = 'c', address"),
    ("pool.*.group.*.backend[].address", "127.0.0.1:9001", "127.0.0.1:9010"),
    ("pool.*.group.*.backend[].address", "b.internal:9002", "c.internal:9002"),
    ("pool.*.group.*.backend[].address", "127.0.0.1:9004", "127.0.0.1:9040"),
    ("pool.*.group.*.backend[].weight", "weight = 1", "weight = 2"),
    ("pool.*.group.*.backend[].backup", "backup = false", "backup = true"),
    ("pool.*.group.*.backend[].drain", "drain = false", "drain = true"),
    ("pool.*.group.*.backend[].max_connections", "max_connections = 9 ", "max_connections = 8 "),
    (
        "pool.*.group.*.health.kind",
        "kind = 'http'\npath = '/up'\nhost = 'h.internal'\nmethod = 'GET'\nstatus = '200-299'\nbody = 'ready'\n",
        "kind = 'connect'\n",
    ),
    ("pool.*.group.*.health.path", "path = '/up'", "path = '/down'"),
    ("pool.*.group.*.health.host", "h.internal", "i.internal"),
    ("pool.*.group.*.health.method", "method = 'GET'\nstatus", "method = 'HEAD'\nstatus"),
    ("pool.*.group.*.health.status", "'200-299'", "[200, '202-299']"),
    ("pool.*.group.*.health.body", "body = 'ready'", "body = 'steady'"),
    ("pool.*.group.*.health.interval", "interval = '5s'", "interval = '6s'"),
    ("pool.*.group.*.health.timeout", "timeout = '1s'\nrise", "timeout = '2s'\nrise"),
    ("pool.*.group.*.health.rise", "rise = 2", "rise = 3"),
    ("pool.*.group.*.health.fall", "fall = 3", "fall = 2"),
    ("pool.*.http.head_max", "\nhead_max = '32KiB'", "\nhead_max = '33KiB'"),
    ("pool.*.http.line_max", "line_max = '8KiB'", "line_max = '9KiB'"),
    ("pool.*.http.fields_max", "\nfields_max = 100", "\nfields_max = 101"),
    ("pool.*.http.body_max", "body_max = '1MiB'", "body_max = 'off'"),
    ("pool.*.http.answer_head_max", "answer_head_max = '32KiB'", "answer_head_max = '33KiB'"),
    ("pool.*.http.answer_fields_max", "answer_fields_max = 100", "answer_fields_max = 101"),
    ("pool.*.http.x_forwarded", "x_forwarded = 'replace'", "x_forwarded = 'append'"),
    ("pool.*.http.forwarded", "\nforwarded = 'remove'", "\nforwarded = 'replace'"),
    ("pool.*.http.via", "via = 'edge'", "via = 'ridge'"),
    ("pool.*.http.request_id", "request_id = false", "request_id = true"),
    ("pool.*.http.upgrades", "upgrades = 'websocket'", "upgrades = 'any'"),
    ("pool.*.http.escaped_slash", "escaped_slash = 'refuse'", "escaped_slash = 'keep'"),
    ("pool.*.http.generation_header", "generation_header = false", "generation_header = true"),
    ("pool.*.timeouts.head", "\nhead = '1s'", "\nhead = '2s'"),
    ("pool.*.timeouts.body", "\nbody = '2s'", "\nbody = '3s'"),
    ("pool.*.timeouts.first_byte", "first_byte = '3s'", "first_byte = '4s'"),
    ("pool.*.timeouts.answer", "\nanswer = '4s'", "\nanswer = '5s'"),
    ("pool.*.timeouts.total", "total = '5s'", "total = '6s'"),
    ("pool.*.timeouts.keep_alive", "keep_alive = '6s'", "keep_alive = '7s'"),
    ("pool.*.page[].status", "status = 404\nbody = 'nowhere'", "status = 405\nbody = 'nowhere'"),
    ("pool.*.page[].body", "body = 'nowhere'", "body = 'here'"),
    ("pool.*.page[].file", "file = 'later.txt'\n[[pool.web.rule]]", "file = 'never.txt'\n[[pool.web.rule]]"),
    ("pool.*.page[].content_type", "content_type = 'text/plain'", "content_type = 'text/html'"),
    ("pool.*.rule[].id", "id = 'host'", "id = 'ghost'"),
    ("pool.*.rule[].order", "order = 1\n", "order = 12\n"),
    ("pool.*.rule[].host", "host = 'a.example'\ndeny", "host = 'x.a.example'\ndeny"),
    ("pool.*.rule[].host_list", "host_list = 'tenants'", "host_list = 'guests'"),
    ("pool.*.rule[].path", "path = '/x'", "path = '/z'"),
    ("pool.*.rule[].path_prefix", "path_prefix = '/api'", "path_prefix = '/api/more'"),
    ("pool.*.rule[].path_template", "path_template = '/users/{id}'", "path_template = '/people/{id}'"),
    ("pool.*.rule[].path_template", "path_template = '/users/{id}'", "path_template = '/users/{id*}'"),
    ("pool.*.rule[].path_regex", "'^/v[0-9]+/'", "'^/v[0-9]/'"),
    ("pool.*.rule[].method", "['GET', 'BREW']", "['GET', 'WHEN']"),
    ("pool.*.rule[].method", "['GET', 'BREW']", "['HEAD', 'BREW']"),
    ("pool.*.rule[].header", "Upgrade = 'h2c'", "Upgrade = 'h3'"),
    ("pool.*.rule[].header", "prefix = 'a='", "regex = 'a='"),
    ("pool.*.rule[].header", "X-L = { list = 'tenants' }", "X-L = { list = 'guests' }"),
    ("pool.*.rule[].query", "live = true", "live = false"),
    ("pool.*.rule[].query", "k = { regex = '^1' }", "k = { regex = '^2' }"),
    ("pool.*.rule[].source", "'172.16.0.0/12', ", "'172.16.0.0/13', "),
    ("pool.*.rule[].source", "'2001:db8::/32', ", "'2001:db9::/32', "),
    ("pool.*.rule[].source", "'office', 'blocked'", "'blocked'"),
    ("pool.*.rule[].all", "{ path = '/all' }", "{ path = '/always' }"),
    ("pool.*.rule[].any", "any = [{ host = 'c.a.example' }", "any = [{ host = 'd.a.example' }"),
    ("pool.*.rule[].not", "not = { method = 'PUT' }", "not = { method = 'POST' }"),
    ("pool.*.rule[].group", "group = 'other'", "group = 'app'"),
    ("pool.*.rule[].redirect", "https://{host}/y", "https://{host}/z"),
    ("pool.*.rule[].redirect", "status = 301", "status = 302"),
    ("pool.*.rule[].respond", "'pong'", "'ping'"),
    ("pool.*.rule[].deny", "deny = 401", "deny = 499"),
    ("pool.*.rule[].rewrite", "to = '/v2'", "to = '/v3'"),
    ("pool.*.rule[].rewrite", "rewrite = '/u/{id}'", "rewrite = { to = '/u/{id}', host = 'o.internal' }"),
    ("pool.*.rule[].request_headers", "X-A = '1'", "X-A = '2'"),
    ("pool.*.rule[].request_headers", "remove = ['X-B']", "remove = ['X-D']"),
    ("pool.*.rule[].response_headers", "add = { X-C = '{host}' }", "set = { X-C = '{host}' }"),
    ("pool.*.rule[].response_headers", "X-C = '{host}'", "X-C = '{path}'"),
    ("pool.*.group.*.hash_on", "'cookie:session'", "'header:session'"),
    ("pool.*.group.*.idle_max", "idle_max = 10", "idle_max = 11"),
    ("pool.*.group.*.idle_timeout", "idle_timeout = '7s'", "idle_timeout = '8s'"),
    ("pool.*.group.*.retry.attempts", "attempts = 2\nbudget", "attempts = 3\nbudget"),
    ("pool.*.group.*.retry.budget", "budget = 20", "budget = 21"),
    ("pool.*.group.*.retry.minimum", "minimum = 3", "minimum = 4"),
    ("pool.*.group.*.retry.statuses", "statuses = [502]", "statuses = [502, 503]"),
    ("pool.*.group.*.eject.errors", "errors = 5", "errors = 6"),
    ("pool.*.group.*.eject.base", "base = '8s'", "base = '9s'"),
    ("pool.*.group.*.eject.longest", "longest = '9m'", "longest = '8m'"),
    ("pool.*.group.*.eject.percent_max", "percent_max = 50", "percent_max = 51"),
    (
        "list.*.kind",
        "entries = ['a.example']",
        "entries = ['a.example']\n[list.guests]\nkind = 'text'\nentries = ['a.example']\n[[pool.web.rule]]\nid = 'guests'\norder = 1\nhost_list = 'guests'\ndeny = 403",
    ),
    ("list.*.file", "file = 'blocked.txt'", "file = 'others.txt'"),
    ("list.*.except", "except = ['192.0.2.9']", "except = []"),
    ("list.*.entries", "entries = ['10.0.0.0/8']", "entries = ['10.0.0.0/8', '11.0.0.0/8']"),
    ("list.*.entries", "entries = ['10.0.0.0/8']", "entries = [{ entry = '10.0.0.0/8', reason = 'ours' }]"),
    ("list.*.entries", "entries = ['a.example']", "entries = ['b.example']"),
];

/// Keys that no shard ever sees, by the beginning of their paths.
const UNSEEN: [&str; 6] = ["include", "appliance.", "reload.", "log.", "test[].", "list.*.kind"];

fn document(text: &str) -> Arc<Config> {
    let guests = "[list.guests]\nkind = 'text'\nentries = ['g.example']\n";
    let text = if text.contains("'guests'") && !text.contains("[list.guests]") {
        format!("{text}{guests}")
    } else {
        text.into()
    };
    let files = Files::with([
        ("blocked.txt", "198.51.100.0/24\n192.0.2.9\n"),
        ("others.txt", "198.51.0.0/16\n192.0.2.9\n"),
        ("later.txt", "later"),
        ("never.txt", "never"),
    ]);
    match parse_from(text.as_bytes(), &files) {
        Ok(parsed) => Arc::new(parsed.config),
        Err(problems) => panic!("{}\n{text}", problems.draw(config::Colour::Plain)),
    }
}

#[test]
fn every_key_that_shards_see_is_in_the_meaning() {
    let base = afresh(&document(BASE));
    let mut seen = BTreeMap::from([(base.clone(), "nothing")]);
    for (key, from, to) in CHANGES {
        assert_eq!(BASE.matches(from).count(), 1, "{key}: {from}");
        let changed = afresh(&document(&BASE.replace(from, to)));
        let other = seen.insert(changed, to);
        assert!(other.is_none(), "{key}: {to} means what {} means", other.unwrap_or_default());
    }
    for key in keys() {
        let is_unseen = UNSEEN.iter().any(|unseen| key.path.starts_with(unseen));
        let is_tried = CHANGES.iter().any(|(path, ..)| *path == key.path);
        assert!(
            is_unseen || is_tried,
            "{}: add a change of it to CHANGES, or say in UNSEEN that no shard sees it",
            key.path
        );
    }
}

/// Each change is made to what runs, and taken back.
#[test]
fn a_change_of_any_key_ends_in_what_the_document_says() {
    let base = document(BASE);
    let (first, mut slots) = started(&base);
    check(&first);
    let mut running = first.clone();
    let mut job = 1;
    for (key, from, to) in CHANGES {
        for new in [document(&BASE.replace(from, to)), base.clone()] {
            // What needs a restart is not compiled by differences.
            let Some(live) = diff(&running.config, &new).live() else { continue };
            job += 1;
            let compiled = compile(&running, &new, live, JobId(job), ShardSet::first(SHARDS), &mut slots);
            compiled.applied(&mut slots);
            running = running.after(&compiled);
            check(&running);
        }
        assert_eq!(running.config.hash(), base.hash(), "{key}");
    }
    assert_eq!(running.meanings(), first.meanings());
}

#[test]
fn what_depends_on_the_past_alone_is_not_meant() {
    let base = document(BASE);
    let one = started(&base).0;
    // Other slots for all, another number, and rules and backends that came in another order.
    let other =
        document(&BASE.replace("id = 'q', address = '127.0.0.1:9004' }", "id = 'q', address = '127.0.0.1:1' }"));
    let (before, mut slots) = started(&config(
        "[pool.x.create]\nservice = 'tcp'\nlisten = ['127.0.0.1:7']\n[pool.x.group.main]\nbackend = [{ address = 'x:1' }]\n",
    ));
    let mut running = before;
    for (new, job) in [other, base].iter().zip(7..) {
        let live = diff(&running.config, new).live().unwrap();
        let compiled = compile(&running, new, live, JobId(job), ShardSet::first(SHARDS), &mut slots);
        compiled.applied(&mut slots);
        running = running.after(&compiled);
    }
    let slot = |running: &Running| running.pools.get("web").unwrap().generation.slot;
    assert_ne!(slot(&one), slot(&running));
    assert_eq!(one.meanings(), running.meanings());
}

#[test]
fn what_is_compiled_from_nothing_in_place_of_what_runs_means_the_same_and_keeps_its_slots() {
    let base = document(BASE);
    let (running, mut slots) = started(&base);
    let used = slots.in_use();
    let web = PoolId::new("web");
    let afresh = BTreeSet::from([web.clone()]);
    let live = diff(&running.config, &base).live().unwrap();
    let compiled = recompile(&running, &base, live, JobId(2), ShardSet::first(SHARDS), &mut slots, &afresh);
    let change = &compiled.change;
    assert_eq!(change.pools.len(), 1);
    assert!(change.listen.is_empty() && change.leave.is_empty() && compiled.bind.is_empty());
    assert!(change.endpoints_come.is_empty() && change.endpoints_gone.is_empty() && compiled.endpoints.is_empty());
    compiled.applied(&mut slots);
    let after = running.after(&compiled);
    assert_eq!(slots.in_use(), used);
    assert_eq!(after.meanings(), running.meanings());
    let of = |running: &Running| running.pools.get(&web).unwrap().generation.clone();
    assert_eq!((of(&after).slot, of(&after).number.0), (of(&running).slot, 2));
    assert!(
        of(&after).endpoints().zip(of(&running).endpoints()).all(|(new, old)| new == old && !Arc::ptr_eq(new, old))
    );
    check(&after);
}
