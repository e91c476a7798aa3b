//! curl: every way in which it sends and takes content.

use crate::programs::{installed, run, run_reading};
use crate::servers::Server;
use crate::site::{Site, count};
use harness::http::{Conduct, Fields, Framing, Origin, Received};

/// Around the sizes that matter on the way: nothing, less than a head's buffer, spliced, and more than a socket holds.
const SIZES: [usize; 5] = [0, 1, 4_096, 100_000, 5_000_000];

#[test]
fn files_come_whole_and_in_parts() {
    let (Some(curl), Some(server)) = (installed("curl"), Server::nginx("")) else { return };
    let site = Site::before(&server.target);
    let mut requests = 0;
    let mut curl = |arguments: &[&str]| {
        requests += 1;
        site.run_well(&curl, &[&["-sSf"], arguments].concat())
    };
    for bytes in SIZES {
        let content = server.file(&bytes.to_string(), bytes);
        let url = site.url(&format!("/{bytes}"));
        for version in ["--http1.0", "--http1.1"] {
            let said = curl(&[version, "-o", "taken", "-w", "%{http_version} %{http_code}", &url]);
            assert_eq!(said.out, "1.1 200", "we answer in our own version (RFC 9110, 2.5)");
            assert_eq!(site.read("taken"), content, "{version}, {bytes} bytes");
        }
        let head = curl(&["-I", &url]).out.to_lowercase();
        assert!(head.starts_with("http/1.1 200 ok\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {bytes}\r\n")), "{head}");
    }

    let whole = server.file("whole", 300_000);
    let url = site.url("/whole");
    for (range, part) in
        [("0-0", &whole[..1]), ("1000-199999", &whole[1_000..200_000]), ("-7", &whole[299_993..]), ("5-", &whole[5..])]
    {
        let said = curl(&["-r", range, "-o", "part", "-w", "%{http_code}", &url]);
        assert_eq!((&*said.out, &site.read("part")[..]), ("206", part), "bytes {range}");
    }
    // Several parts at once are one body with borders between them.
    let said = curl(&["-r", "0-9,200000-200009", "-o", "parts", "-w", "%{http_code} %{content_type}", &url]);
    assert!(said.out.starts_with("206 multipart/byteranges; boundary="), "{}", said.out);
    let parts = site.read("parts");
    assert!([&whole[..10], &whole[200_000..200_010]].iter().all(|part| parts.windows(10).any(|at| at == *part)));
    // Half a file is made whole.
    std::fs::write(site.home().join("resumed"), &whole[..123_456]).expect("a file can be written");
    curl(&["-C", "-", "-o", "resumed", &url]);
    assert_eq!(site.read("resumed"), whole);
    // What it has already is not sent again.
    curl(&["--etag-save", "etag", "-o", "taken", &url]);
    let said = curl(&["--etag-compare", "etag", "-o", "taken", "-w", "%{http_code} %{size_download}", &url]);
    assert_eq!(said.out, "304 0");

    let log = site.close(requests);
    assert_eq!(count(&log, "method", "HEAD"), SIZES.len());
    assert_eq!((count(&log, "status", 206), count(&log, "status", 304)), (6, 1));
}

#[test]
fn content_goes_up_with_and_without_waiting_to_be_asked() {
    let Some(curl) = installed("curl") else { return };
    let origin = Origin::good();
    let site = Site::before(origin.target());
    let mut expected = Vec::new();
    for bytes in SIZES {
        let sum = crc32fast::hash(&site.file("content", bytes));
        let length = Framing::Length(bytes as u64);
        let mut send = |framing, arguments: &[&str]| {
            let url = site.url(&format!("/{}", expected.len()));
            let written = ["-sSf", "-v", "-o", "account", "-w", "%{http_code} %{size_upload}", &url];
            let said = site.run_well(&curl, &[&written, arguments].concat());
            // A small file sent in chunks is counted with or without them, by curl's version.
            assert!(said.out.starts_with("200 "), "{arguments:?}: {}", said.out);
            expected.push((framing, bytes as u64, sum));
            said.err.contains("< HTTP/1.1 100 Continue")
        };
        send(length, &["-T", "content", "-H", "Expect:"]);
        send(length, &["-T", "content", "-H", "Expect:", "--http1.0"]);
        send(length, &["--data-binary", "@content"]);
        send(Framing::Chunked, &["--data-binary", "@content", "-H", "Transfer-Encoding: chunked"]);
        // curl 7.88 says nothing at all in place of an empty file in chunks, and nobody waits to send nothing.
        if bytes == 0 {
            continue;
        }
        send(Framing::Chunked, &["-T", "content", "-H", "Transfer-Encoding: chunked", "-H", "Expect:"]);
        let asked = ["-H", "Expect: 100-continue", "--expect100-timeout", "60"];
        assert!(send(length, &[&["-T", "content"], &asked[..]].concat()), "{bytes} bytes: never told to go on");
        let chunked = [&["-T", "content", "-H", "Transfer-Encoding: chunked"], &asked[..]].concat();
        assert!(send(Framing::Chunked, &chunked), "{bytes} bytes in chunks: never told to go on");
    }
    let mut received = origin.requests();
    received.sort_by_key(|request| request.target[1..].parse::<usize>().expect("the path is a number"));
    let told = |request: &Received| (request.framing, request.body_bytes, request.body_sum);
    assert_eq!(received.iter().map(told).collect::<Vec<_>>(), expected);
    site.close(expected.len());
}

#[test]
fn a_form_and_what_comes_from_a_pipe_arrive() {
    let Some(curl) = installed("curl") else { return };
    let origin = Origin::good();
    let site = Site::before(origin.target());
    let content = site.file("content", 200_000);
    site.run_well(&curl, &["-sSf", "-o", "account", "-F", "name=value", "-F", "file=@content", &site.url("/form")]);
    let mut piped = site.command(&curl, &["-sSf", "-o", "account", "-T", "-", &site.url("/pipe")]);
    let said = run_reading(&mut piped, std::fs::File::open(site.home().join("content")).expect("it is there").into());
    assert_eq!(said.code, 0, "{said:?}");
    let received = origin.requests();
    let [form, pipe] = &received[..] else { panic!("two requests were expected: {received:?}") };
    assert!(form.body_begin.contains("name=\"name\"\r\n\r\nvalue\r\n") && form.body_bytes > 200_000, "{form:?}");
    assert_eq!((pipe.framing, pipe.body_sum), (Framing::Chunked, crc32fast::hash(&content)));
    site.close(2);
}

/// Who waits to be asked is spared what nobody wants.
#[test]
fn content_that_is_too_large_is_not_sent() {
    let Some(curl) = installed("curl") else { return };
    let origin = Origin::good();
    let site = Site::with(origin.target(), |pool| pool.keys(".http", "body_max = \"1MiB\""));
    site.file("content", 2_000_000);
    let written = "%{http_code} %{size_upload}";
    let asked = ["-H", "Expect: 100-continue", "--expect100-timeout", "60"];
    let said = site.run_well(
        &curl,
        &[&["-sS", "-o", "page", "-w", written, "-T", "content", &site.url("/")], &asked[..]].concat(),
    );
    assert_eq!(said.out, "413 0");
    assert_eq!(origin.seen().requests, 0);
    let log = site.close_expecting(|line| line["status"] == 413);
    assert_eq!(log.len(), 1);
}

#[test]
fn one_invocation_keeps_its_connection() {
    let Some(curl) = installed("curl") else { return };
    let origin = Origin::choosing("origin", |request| match &*request.target {
        "/chunks" => Conduct::Chunks { bytes: 100 },
        "/none" => Conduct::Sends { bytes: b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), ends: false },
        "/trailers" => Conduct::Trailers(Fields::of(&[("X-Last", "word")])),
        _ => Conduct::Good,
    });
    let site = Site::before(origin.target());
    site.file("content", 70_000);
    let [chunks, none, trailers, sent, other] =
        ["/chunks", "/none", "/trailers", "/sent", "/"].map(|path| site.url(path));
    let steps: [&[&str]; 8] = [
        &[&other],
        &["-I", &chunks],
        &["--data-binary", "@content", &chunks],
        &[&none],
        &["-T", "content", "-H", "Transfer-Encoding: chunked", &sent],
        &["-X", "DELETE", &other],
        &[&trailers],
        &["-X", "OPTIONS", "--request-target", "*", &other],
    ];
    let mut arguments = Vec::new();
    for (ix, step) in steps.iter().enumerate() {
        let next: &[&str] = if ix == 0 { &[] } else { &["--next"] };
        arguments.extend([next, &["-sSf", "-o", "/dev/null", "-w", "%{http_code}/%{num_connects} "], step].concat());
    }
    let said = site.run_well(&curl, &arguments);
    assert_eq!(said.out, "200/1 200/0 200/0 204/0 200/0 200/0 200/0 200/0 ");
    let targets: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/", "/chunks", "/chunks", "/none", "/sent", "/", "/trailers", "*"]);
    assert_eq!(origin.seen().accepted, 1, "the origin's connection is kept as well");
    site.close(steps.len());
}

#[test]
fn it_may_ask_for_many_at_once() {
    let (Some(curl), Some(server)) = (installed("curl"), Server::nginx("")) else { return };
    let site = Site::before(&server.target);
    let sizes = (0..60).map(|ix| ix * 3_777);
    let contents: Vec<Vec<u8>> = sizes.clone().map(|bytes| server.file(&bytes.to_string(), bytes)).collect();
    let mut arguments = ["-sSf", "-Z", "--parallel-max", "20"].map(str::to_owned).to_vec();
    for bytes in sizes.clone() {
        arguments.extend(["-o".to_owned(), format!("taken-{bytes}"), site.url(&format!("/{bytes}"))]);
    }
    site.run_well(&curl, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    for (bytes, content) in sizes.zip(&contents) {
        assert_eq!(&site.read(&format!("taken-{bytes}")), content);
    }
    site.close(60);
}

#[test]
fn redirects_by_a_rule_are_followed() {
    let Some(curl) = installed("curl") else { return };
    let origin = Origin::good();
    let site = Site::with(origin.target(), |pool| {
        pool.rule("path_prefix = \"/old\"\nredirect = { to = \"http://{host}/new{uri}\", status = 308 }")
            .rule("path = \"/seen\"\nredirect = { to = \"/new\", status = 303 }")
            .rule("path = \"/loop\"\nredirect = { to = \"/loop\", status = 302 }")
    });
    site.file("content", 50_000);
    let ask = |path: &str, arguments: &[&str]| {
        let written = "%{http_code} %{num_redirects} %{url_effective}";
        let url = site.url(path);
        site.run(&curl, &[&["-sS", "-L", "-o", "page", "-w", written, &url], arguments].concat())
    };
    assert_eq!(ask("/old/thing?a=b", &[]).out, format!("200 1 {}", site.url("/new/old/thing?a=b")));
    // 308 keeps method and content, 303 neither.
    assert_eq!(ask("/old", &["--data-binary", "@content"]).out, format!("200 1 {}", site.url("/new/old")));
    assert_eq!(ask("/seen", &["--data-binary", "@content"]).out, format!("200 1 {}", site.url("/new")));
    let received: Vec<(String, u64)> =
        origin.requests().into_iter().map(|request| (request.method, request.body_bytes)).collect();
    assert_eq!(received, [("GET".to_owned(), 0), ("POST".to_owned(), 50_000), ("GET".to_owned(), 0)]);
    const TOO_MANY_REDIRECTS: i32 = 47;
    assert_eq!(ask("/loop", &["--max-redirs", "5"]).code, TOO_MANY_REDIRECTS);
    site.close(2 + 2 + 2 + 6);
}

/// An origin that compresses does not know the length beforehand, and answers in chunks.
#[test]
fn what_is_compressed_stays_compressed() {
    let settings = "gzip on; gzip_types *; gzip_min_length 1;";
    let (Some(curl), Some(server)) = (installed("curl"), Server::nginx(settings)) else { return };
    let site = Site::before(&server.target);
    let text = "one line of a text that is worth compressing\n".repeat(20_000);
    server.text("text.txt", &text);
    let (url, direct) = (site.url("/text.txt"), format!("http://{}/text.txt", server.target));
    let written = "%header{content-encoding} %header{transfer-encoding}";
    let said = site.run_well(&curl, &["-sSf", "--compressed", "-o", "text", "-w", written, &url]);
    assert_eq!(said.out, "gzip chunked");
    assert_eq!(site.read("text"), text.as_bytes());
    // As it is on the wire, byte for byte what the origin sends when nobody is between.
    for (name, url) in [("through", &url), ("direct", &direct)] {
        site.run_well(&curl, &["-sSf", "-H", "Accept-Encoding: gzip", "-o", name, url]);
    }
    assert_eq!(site.read("through"), site.read("direct"));
    // In HTTP/1.0 the end of the connection is the end of the text.
    site.run_well(&curl, &["-sSf", "--http1.0", "--compressed", "-o", "text", &url]);
    assert_eq!(site.read("text"), text.as_bytes());
    let said = site.run_well(&curl, &["-sSf", "-o", "text", "-w", written, &url]);
    assert_eq!(said.out, " ", "nobody asked for gzip");
    assert_eq!(site.read("text"), text.as_bytes());
    site.close(4);
}

/// As a client that takes us for its forward proxy: the absolute form is understood, a tunnel to anywhere is not opened.
#[test]
fn the_absolute_form_is_taken_and_a_tunnel_refused() {
    let Some(curl) = installed("curl") else { return };
    let origin = Origin::good();
    let site = Site::before(origin.target());
    let proxy = site.url("");
    site.run_well(&curl, &["-sSf", "-x", &proxy, "-o", "account", "http://elsewhere.example/path?query"]);
    let request = &origin.requests()[0];
    assert_eq!((&*request.target, request.fields.first("Host")), ("/path?query", Some("elsewhere.example")));
    const CANNOT_CONNECT_TO_PROXY: [i32; 2] = [7, 56];
    let said = site.run(&curl, &["-sS", "-p", "-x", &proxy, "http://elsewhere.example/"]);
    assert!(CANNOT_CONNECT_TO_PROXY.contains(&said.code) && said.err.contains("501"), "{said:?}");
    assert_eq!(origin.seen().requests, 1);
    let log = site.close_expecting(|line| line["status"] == if line["method"] == "CONNECT" { 501 } else { 200 });
    assert_eq!(log.len(), 2);
}

/// HTTP/0.9 has no head, so nothing says what its bytes are: refused from either side.
#[test]
fn http_0_9_is_refused() {
    let Some(curl) = installed("curl") else { return };
    let origin = Origin::start(Conduct::Sends { bytes: b"<html>just text</html>".to_vec(), ends: true });
    let site = Site::before(origin.target());
    let said = site.run_well(&curl, &["-sS", "--http0.9", "-o", "page", "-w", "%{http_code}", &site.url("/")]);
    assert_eq!(said.out, "502");
    assert!(!String::from_utf8_lossy(&site.read("page")).contains("just text"));
    let asked = origin.seen().requests;
    // curl asks in HTTP/0.9 no more, so its telnet says it.
    std::fs::write(site.home().join("request"), "GET /\r\n\r\n").expect("a file can be written");
    let mut telnet = site.command(&curl, &["-sS", &format!("telnet://{}", site.front())]);
    let request = std::fs::File::open(site.home().join("request")).expect("it is there");
    let said = run_reading(&mut telnet, request.into());
    assert!(said.out.starts_with("HTTP/1.1 400 "), "{said:?}");
    assert_eq!(origin.seen().requests, asked, "a request without a version went on");
    let log = site.close_expecting(|line| [400, 502].iter().any(|status| line["status"] == *status));
    assert_eq!(log.len(), 2);
}

/// Slower than the origin by far: what the client does not take yet waits behind, and all of it comes.
#[test]
fn a_slow_client_gets_all_of_it() {
    let (Some(curl), Some(server)) = (installed("curl"), Server::nginx("")) else { return };
    let site = Site::before(&server.target);
    let content = server.file("content", 6_000_000);
    site.run_well(&curl, &["-sSf", "--limit-rate", "3M", "-o", "taken", &site.url("/content")]);
    assert_eq!(site.read("taken"), content);
    site.close(1);
}

/// A client that has enough before the end: counted as its own doing, and the next one is served.
#[test]
fn a_client_that_breaks_off_harms_nobody() {
    let (Some(curl), Some(server)) = (installed("curl"), Server::nginx("")) else { return };
    let site = Site::before(&server.target);
    let content = server.file("content", 20_000_000);
    // It looks at Content-Length, and leaves with the content under way.
    const TOO_LARGE: i32 = 63;
    let mut bounded = site.command(&curl, &["-sS", "--max-filesize", "1000000", "-o", "part", &site.url("/content")]);
    assert_eq!(run(&mut bounded).code, TOO_LARGE);
    site.run_well(&curl, &["-sSf", "-o", "taken", &site.url("/content")]);
    assert_eq!(site.read("taken"), content);
    let log = site.close_expecting(|line| line["status"] == 200);
    assert_eq!((log.len(), count(&log, "reason", "finished")), (2, 1), "{log:#?}");
}
