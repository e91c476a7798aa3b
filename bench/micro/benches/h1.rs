//! What reading and writing the head of a message costs.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use wire::h1::write::{self, Chain, ToClient, ToOrigin, Told, Upgrades};
use wire::h1::{
    Asked, Body, Content, Fields, Framing, Limits, Persistence, Scheme, Search, Version, parse_request, parse_response,
};

/// What `wrk` sends, and what a browser does.
const REQUESTS: [(&str, &[u8]); 2] = [
    ("small", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"),
    (
        "browser",
        b"GET /assets/application-6b2f.js?v=12 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n\
          sec-ch-ua-platform: \"Linux\"\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like \
          Gecko) Chrome/140.0.0.0 Safari/537.36\r\nAccept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: \
          no-cors\r\nSec-Fetch-Dest: script\r\nReferer: https://www.example.com/\r\nAccept-Encoding: gzip, deflate, \
          br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef0123456789abcdef; \
          theme=dark\r\nIf-None-Match: \"6b2f\"\r\n\r\n",
    ),
];

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\n\
    Content-Type: text/html\r\nContent-Length: 100\r\nLast-Modified: Sat, 21 Nov 2026 11:00:00 GMT\r\n\
    Connection: keep-alive\r\nETag: \"6560\"\r\nAccept-Ranges: bytes\r\n\r\n";

const ASKED: Asked = Asked { content: Content::Framed, upgrade: false };

fn read(c: &mut Criterion) {
    let mut benches = c.benchmark_group("h1-read");
    let mut spare = Fields::new();
    for (name, bytes) in REQUESTS {
        benches.throughput(Throughput::Bytes(bytes.len() as u64));
        benches.bench_function(BenchmarkId::new("request", name), |b| {
            b.iter(|| {
                let head = parse_request(black_box(bytes), &mut Search::default(), &Limits::REQUEST, &mut spare);
                let head = head.expect("a request").expect("an end");
                let framing = head.framing;
                spare = head.fields;
                framing
            });
        });
    }
    benches.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    benches.bench_function("response", |b| {
        b.iter(|| {
            let mut search = Search::default();
            let head = parse_response(black_box(RESPONSE), ASKED, &mut search, &Limits::RESPONSE, &mut spare);
            let head = head.expect("a response").expect("an end");
            let framing = head.framing;
            spare = head.fields;
            framing
        });
    });
}

fn written(c: &mut Criterion) {
    let mut benches = c.benchmark_group("h1-write");
    let told = Told {
        client: [192, 0, 2, 1].into(),
        scheme: Scheme::Http,
        x_forwarded: Chain::Replace,
        forwarded: Chain::Remove,
        via: None,
        request_id: Some(b"0123456789abcdef"),
    };
    let to = ToOrigin {
        target: None,
        host: None,
        host_default: b"default",
        upgrades: Upgrades::WebSocket,
        expect: true,
        close: false,
        told,
    };
    let mut out = Vec::with_capacity(4 << 10);
    for (name, bytes) in REQUESTS {
        let head = parse_request(bytes, &mut Search::default(), &Limits::REQUEST, &mut Fields::new());
        let head = head.expect("a request").expect("an end");
        benches.bench_function(BenchmarkId::new("request", name), |b| {
            b.iter(|| {
                out.clear();
                write::request(&mut out, black_box(bytes), &head, &to, [].into_iter());
                out.len()
            });
        });
    }
    let head = parse_response(RESPONSE, ASKED, &mut Search::default(), &Limits::RESPONSE, &mut Fields::new());
    let head = head.expect("a response").expect("an end");
    let to = ToClient { client: Version::Http11, persistence: Persistence::Keep, via: None };
    benches.bench_function("response", |b| {
        b.iter(|| {
            out.clear();
            write::response(&mut out, black_box(RESPONSE), &head, &to, [].into_iter())
        });
    });
}

/// 64 KiB in chunks of this size.
fn chunks(c: &mut Criterion) {
    let mut benches = c.benchmark_group("h1-chunks");
    const BYTES: usize = 64 << 10;
    for size in [16, 4 << 10] {
        let mut stream = Vec::new();
        for _ in 0..BYTES / size {
            write::chunk_begin(&mut stream, size as u64);
            stream.resize(stream.len() + size, b'x');
            stream.extend_from_slice(write::CHUNK_END);
        }
        write::last_chunk(&mut stream, b"", &Fields::new());
        let mut spare = Fields::new();
        benches.throughput(Throughput::Bytes(BYTES as u64));
        benches.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                let mut body = Body::new(Framing::Chunked, &Limits::REQUEST);
                let (mut at, mut content) = (0, 0);
                while !body.is_over() {
                    let step = body.feed(black_box(&stream[at..]), &Limits::REQUEST, &mut spare).expect("chunks");
                    at += step.consumed;
                    content += step.data.len();
                }
                content
            });
        });
    }
}

criterion_group!(h1, read, written, chunks);
criterion_main!(h1);
