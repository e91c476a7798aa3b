//! What texts are made of: the vocabularies of the configuration, of the control protocol and of HTTP.
//!
//! Taken from the table of keys and from the protocol's documentation as far as these say it, so that a key or
//! an order of tomorrow is in them too.

use std::collections::BTreeSet;
use std::sync::LazyLock;

/// What a text may say.
pub struct Words {
    /// Whole lines.
    pub lines: Vec<String>,
    /// To be put in place of another word, or anywhere.
    pub words: Vec<String>,
}

/// Of the configuration, and what divides an input into its parts.
pub fn documents() -> &'static Words {
    static WORDS: LazyLock<Words> = LazyLock::new(|| {
        let mut lines: Vec<String> = LINES.lines().map(str::to_owned).collect();
        for table in config::TABLES.iter().filter(|table| !table.path.is_empty()) {
            for (pool, group) in [("web", "main"), ("db", "other")] {
                let path =
                    table.path.replacen("list.*", "list.office", 1).replacen('*', pool, 1).replacen('*', group, 1);
                lines.push(match path.strip_suffix("[]") {
                    Some(list) => format!("[[{list}]]"),
                    None => format!("[{path}]"),
                });
            }
        }
        for key in config::keys() {
            let values = VALUES.lines().map(str::to_owned).chain(key.default_text());
            lines.extend(values.map(|value| format!("{} = {value}", key.name)));
        }
        let names = config::keys().map(|key| key.name);
        let words = VALUES.lines().chain(PIECES.split(' ')).chain(ODD_PIECES).chain(names);
        Words { lines, words: words.map(str::to_owned).collect() }
    });
    &WORDS
}

/// Of the journal: what its entries say, and what documents do.
pub fn entries() -> &'static Words {
    static WORDS: LazyLock<Words> = LazyLock::new(|| {
        let documents = documents();
        let lines = ENTRIES.lines().chain(documents.lines.iter().map(String::as_str));
        let between = |byte: char| "{}[],:".contains(byte) || byte.is_whitespace();
        let words: BTreeSet<&str> = ENTRIES.split(between).collect();
        let words = words.into_iter().chain(JSON.lines()).chain(VALUES.lines());
        Words { lines: lines.map(str::to_owned).collect(), words: words.map(str::to_owned).collect() }
    });
    &WORDS
}

/// Entries of every kind, and accounts.
const ENTRIES: &str = r##"{"base":{"source":"embedded","blob":"@0","hash":"x"}}
{"running":{"generation":1,"since":"x","document":{"source":"embedded","blob":"@0","hash":"x"}}}
{"adopted":{"generation":2,"since":"x","change":{"edits":{"orders":[{"order":"backend.set","pool":"db","backend":"a","weight":2}]}},"moment":0}}
{"adopted":{"generation":3,"since":"x","change":{"document":{"source":{"submitted":"s"},"blob":"@1","hash":"x"}},"moment":18446744073709551615}}
{"adopted":{"generation":4,"since":"x","change":{"back":1}}}
{"stopped":{"at":"x"}}
{"started":{"at":"x","pid":1,"moment":0}}
.
2 {"job":1}
3 {}"##;

/// Of the control protocol: its documentation, line by line and word by word.
pub fn messages() -> &'static Words {
    static WORDS: LazyLock<Words> = LazyLock::new(|| {
        let documentation = include_str!("../../../control/README.md");
        let transcripts: Vec<&str> =
            documentation.split("```json\n").skip(1).filter_map(|block| block.split("\n```").next()).collect();
        assert!(!transcripts.is_empty(), "the documentation of the protocol has transcripts");
        let between = |byte: char| "{}[],:".contains(byte) || byte.is_whitespace();
        let words: BTreeSet<&str> = transcripts.iter().flat_map(|text| text.split(between)).collect();
        Words {
            lines: transcripts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect(),
            words: words.into_iter().chain(JSON.lines()).map(str::to_owned).collect(),
        }
    });
    &WORDS
}

/// Of HTTP/1.1: lines of heads, and what stands in them. A line's CR is part of it here, its LF is added.
pub fn http() -> &'static Words {
    static WORDS: LazyLock<Words> = LazyLock::new(|| {
        let names = wire::h1::Name::ALL.iter().map(|name| name.text());
        let fields = names.clone().flat_map(|name| HTTP_VALUES.iter().map(move |value| format!("{name}: {value}\r")));
        Words {
            lines: HTTP_LINES.lines().map(|line| format!("{line}\r")).chain(fields).collect(),
            words: names.chain(HTTP_VALUES).chain(HTTP_PIECES).map(str::to_owned).collect(),
        }
    });
    &WORDS
}

const HTTP_LINES: &str = r##"GET / HTTP/1.1
GET /a?b HTTP/1.0
OPTIONS * HTTP/1.1
CONNECT a:1 HTTP/1.1
POST http://b/c?d HTTP/1.1
HTTP/1.1 200 OK
HTTP/1.0 404
HTTP/1.1 204 No Content
HTTP/1.1 101 Switching Protocols
Host: a
Connection: upgrade
Upgrade: websocket
X-Mine: 1

 folded
0
5
hello
5;a=b
"##;

const HTTP_VALUES: [&str; 17] = [
    "",
    "a",
    "0",
    "5",
    "18446744073709551615",
    "18446744073709551616",
    "chunked",
    "gzip, chunked",
    "close",
    "keep-alive, x-mine",
    "upgrade",
    "websocket",
    "trailers",
    "100-continue",
    "a:80",
    "[::1]:80",
    "5, 5",
];

const HTTP_PIECES: [&str; 16] = [
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "_",
    "ffffffffffffffff",
    "HTTP/1.1",
    "HTTP/1.2",
    "\u{e4}",
    "\x7f",
];

/// Lines that mean something only as a whole.
const LINES: &str = r##"service = "tcp"
listen = ["127.0.0.1:7001"]
listen = ["127.0.0.1:7001", "[::1]:7001", "unix:/run/web.sock"]
listen = ["0.0.0.0:7001"]
service = "http"
path_prefix = "/api"
path = ["/a", "/b"]
path_template = "/users/{id}"
path_regex = '^/v[0-9]+'
host = "*.a.test"
hosts = ["a.test", "*.a.test"]
hosts = "B.test."
method = ["GET", "POST"]
header = { X-A = "1", X-B = true, X-C = { prefix = "x" } }
query = { a = ["1", "2"] }
source = ["10.0.0.0/8", "office"]
any = [{ path = "/a" }, { not = { method = "GET" } }]
not = { all = [{ host = "a.test" }, { source = "office" }] }
order = 5
group = "main"
group = "other"
redirect = "https://{host}{uri}"
redirect = { to = "/{id}", status = 301 }
respond = { status = 404, body = "no", content_type = "text/html" }
respond = { file = "a.toml" }
deny = 403
rewrite = { strip_prefix = "/api" }
rewrite = { regex = '^/(.*)', to = "/{1}", host = "b.test" }
request_headers = { set = { X-A = "{client_ip}" }, remove = ["X-B"] }
response_headers = { add = { Vary = "Accept" } }
status = [404, "500-599"]
body = "sorry"
[list.office]
entries = ["10.0.0.0/8", "::1"]
entries = [{ entry = "10.0.0.1", expires = "2026-12-01T00:00:00Z", reason = "x" }]
except = ["10.0.0.1"]
kind = "text"
file = "a.txt"
host_list = "office"
header = { X-A = { list = "office" } }
rule = [{ path = "/x", group = "main" }, { deny = 404 }]
address = "127.0.0.1:9001"
address = "db.internal:5432"
address = "unix:/run/db.sock"
address = "${HOST}:${PORT}"
backend = [{ address = "a:1" }, { address = "b:1", weight = 3 }]
backend = []
balance = "source-hash"
shards = [0, 1]
shards = 2
include = ["a.toml", "b/*.toml"]
include = ["a.toml"]
#### a.toml
#### b/a.toml
#### b/b.toml
====
==== held
==== withdrawn
==== taken back
----
add web 127.0.0.1:9002
add web c.internal:80 id=c weight=0 backup=true drain=true max=7
add db unix:/run/x.sock group=main
set web a weight=5 drain=false max=off
set web 127.0.0.1:9001 backup=true
remove web a
remove db 127.0.0.1:9001 group=other
{"pool": {"web": {"rule": {"a": null, "b": {"deny": 403}}}}}
{"pool": {"web": {"group": {"main": {"backend": {"a": {"weight": 3}, "b": null}}}}}}
{"pool": {"web": {"limits": {"max_connections": 5}, "timeouts": null}, "db": null}}
[{"op": "add", "path": "/pool/web/create/listen/-", "value": "127.0.0.1:7005"}]
[{"op": "move", "from": "/pool/web/rule/a", "path": "/pool/web/rule/c"}, {"op": "remove", "path": "/pool/web/group/other"}]
[{"op": "test", "path": "/pool/web/timeouts/idle", "value": "1h"}, {"op": "replace", "path": "/pool/web/timeouts/idle", "value": "5m"}]
[{"op": "copy", "from": "/pool/web/group/main", "path": "/pool/web/group/other"}]"##;

/// Values of every kind, each as it stands in TOML: taken by some key, or by none.
const VALUES: &str = r##"true
false
0
1
2
-1
64
65
65535
65536
4294967295
4294967296
0x1f
1e3
nan
1979-05-27
"off"
"auto"
"0s"
"1ms"
"250ms"
"1s"
"90s"
"5m"
"1h"
"365d"
"366d"
"1MiB"
"64MiB"
"1TiB"
"17179869184GiB"
"tcp"
"http"
"/"
"/api"
"/users/{id}"
"office"
"a.test"
"GET"
"{"
"("
"10.0.0.0/8"
404
"500-599"
"round-robin"
"least-connections"
"random-two"
"source-hash"
"json"
"file"
"debug"
"0660"
"/run/x.sock"
"/a/../b"
"a"
"web"
"127.0.0.1:9001"
"127.0.0.1:9002"
"[::1]:9001"
"[::ffff:127.0.0.1]:9001"
"127.0.0.1:0"
"0.0.0.0:80"
"[::]:80"
"[fe80::1%2]:80"
"DB.Internal.:80"
"unix:/run/a.sock"
"unix:/run//./a.sock"
"${COUNT}"
"${NO}"
"${UNSET}"
"${UNSET:-3}"
"${EMPTY:-x}"
"${LONG}${LONG}${LONG}"
"${ODD}"
"$${HOST}"
"${DOLLAR}"
"${"
"\u0000"
"\u001b[31m"
"\u202e"
""
[]
{}
[[]]
[{}]
["a:1", "a:1"]
[0, 0]
[0, 3]
"""a
'a'
"a.toml"
"*.toml"
"b/*"
"../a.toml"
"/a.toml"
"site.toml"
"?""##;

/// Names, and marks of TOML.
const PIECES: &str = "[ ] [[ ]] { } = , . # \" ' \"\"\" ''' \\ web db main other pool group backend include a b c \
                      pool. .create group.main web.group \"we.b\" id=a id=b weight=1 max=off max=1 group=main";

const ODD_PIECES: [&str; 8] = ["\r\n", "\t", "\0", "\u{feff}", "\u{6f22}", "e\u{301}", "\u{1b}[2J", "\u{202e}"];

/// What JSON can say, and what it cannot.
const JSON: &str = r##"{
}
[
]
:
,
null
-1
0
-0.0
1e400
0.1
1.7976931348623157e308
4294967296
18446744073709551615
18446744073709551616
""
"\u0000"
"\ud800"
"é漢"
"id":
"order":
"wait":false,
"id":"x",
\n"##;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_every_order_is_a_word() {
        for key in config::keys() {
            assert!(documents().words.iter().any(|word| word == key.name), "{}", key.name);
        }
        for order in api::Order::NAMES {
            assert!(messages().words.iter().any(|word| word.trim_matches('"') == *order), "{order}");
        }
    }
}
