//! What goes on to the origin and back to the client.

use wire::h1::write::{self, Chain, Edit, ToClient, ToOrigin, Told, Upgrades};
use wire::h1::{
    Asked, Content, Fields, Framing, Kind, Limits, Name, Onward, Persistence, Scheme, Search, Version, parse_request,
    parse_response,
};

/// How it is passed on, as a byte, then the head of a request or of a response (those that begin with `HTTP/`).
///
/// What is written from what was understood is understood again, as the same, and nothing survives that ends here.
pub fn h1_onward(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    if bytes.starts_with(b"HTTP/") { response(*how, bytes) } else { request(*how, bytes) }
}

const EDITS: [Edit<'_>; 4] = [
    Edit::Set { name: b"X-Set", value: b"a\r\nEvil: b" },
    Edit::Remove { name: b"Cookie" },
    Edit::Add { name: b"Content-Length", value: b"5" },
    Edit::Set { name: b"Host", value: b"evil" },
];

fn request(how: u8, bytes: &[u8]) {
    let Ok(Some(head)) = parse_request(bytes, &mut Search::default(), &Limits::REQUEST, &mut Fields::new()) else {
        return;
    };
    let chain = [Chain::Pass, Chain::Remove, Chain::Replace, Chain::Append][usize::from(how % 4)];
    let said = how & 4 != 0;
    let to = ToOrigin {
        target: (how & 8 != 0).then_some(bytes),
        host: None,
        host_default: b"default",
        upgrades: if said { Upgrades::Any } else { Upgrades::WebSocket },
        expect: said,
        close: said,
        told: Told {
            client: [127, 0, 0, 1].into(),
            scheme: Scheme::Http,
            x_forwarded: chain,
            forwarded: chain,
            via: said.then_some(bytes),
            request_id: said.then_some(bytes),
        },
    };
    let edits = if how & 16 != 0 { &EDITS[..] } else { &[] };
    let mut out = Vec::new();
    write::request(&mut out, bytes, &head, &to, edits.iter().copied());

    // What was added is of our own length.
    let limits = Limits { head_bytes: out.len(), line_bytes: out.len(), value_bytes: out.len(), ..Limits::REQUEST };
    let limits = Limits { fields: limits.fields + 10, ..limits };
    let again = parse_request(&out, &mut Search::default(), &limits, &mut Fields::new());
    let again = again.unwrap_or_else(|violation| panic!("{violation:?}: {}", out.escape_ascii())).expect("an end");
    assert_eq!(again.bytes, out.len());
    assert_eq!((again.framing, again.version), (head.framing, Version::Http11));
    assert_eq!(again.method.text(&out), head.method.text(bytes));
    if to.target.is_none() {
        assert_eq!((again.path(&out), again.query(&out)), (head.path(bytes), head.query(bytes)));
    }
    let host = again.fields.iter().next().expect("a host");
    assert_eq!(host.id, Name::Host);
    assert_eq!(host.value.of(&out), head.host.map_or(&b"default"[..], |host| host.whole.of(bytes)));
    assert_eq!(again.upgrade.is_some(), to.upgrades.pass(&head));
    assert_eq!(again.expects_continue, head.expects_continue && to.expect);
    for field in &again.fields {
        let name = field.name.of(&out);
        assert_ne!(field.id.onward(), Onward::Ends, "{}", out.escape_ascii());
        assert_eq!(Name::disguised(name).onward(), Onward::Passed, "{}", out.escape_ascii());
        let received = head.fields.values(bytes, b"evil").next().is_some();
        assert!(received || !name.eq_ignore_ascii_case(b"evil"), "{}", out.escape_ascii());
    }
    for field in head.fields.iter().filter(|field| field.nominated && field.id.onward() == Onward::Passed) {
        let name = field.name.of(bytes);
        let ours = !edits.is_empty() && name.eq_ignore_ascii_case(b"x-set");
        assert!(ours || again.fields.values(&out, name).next().is_none(), "{}", out.escape_ascii());
    }
}

fn response(how: u8, bytes: &[u8]) {
    let content = [Content::Framed, Content::Withheld, Content::Tunnel][usize::from(how % 3)];
    let asked = Asked { content, upgrade: how & 4 != 0 };
    let parsed = parse_response(bytes, asked, &mut Search::default(), &Limits::RESPONSE, &mut Fields::new());
    let Ok(Some(head)) = parsed else { return };
    let old = how & 8 != 0 && head.kind != Kind::Interim;
    let to = ToClient {
        client: if old { Version::Http10 } else { Version::Http11 },
        persistence: if how & 16 != 0 { Persistence::Keep } else { Persistence::Close },
        via: (how & 32 != 0).then_some(bytes),
    };
    let edits = if how & 64 != 0 { &EDITS[..] } else { &[] };
    let mut out = Vec::new();
    let said = write::response(&mut out, bytes, &head, &to, edits.iter().copied());

    let limits = Limits { head_bytes: out.len(), value_bytes: out.len(), fields: 220, ..Limits::RESPONSE };
    let again = parse_response(&out, asked, &mut Search::default(), &limits, &mut Fields::new());
    let again = again.unwrap_or_else(|violation| panic!("{violation:?}: {}", out.escape_ascii())).expect("an end");
    assert_eq!(again.bytes, out.len());
    assert_eq!((again.status, again.kind, again.length), (head.status, head.kind, head.length));
    assert_eq!(again.reason.of(&out), head.reason.of(bytes));
    if head.kind == Kind::Final {
        assert_eq!((again.framing, again.persistence), (said.framing, said.persistence));
        assert_eq!(said.framing == Framing::None, head.framing == Framing::None, "content is not lost");
    }
    assert!(!old || again.framing != Framing::Chunked);
    assert!(again.fields.iter().all(|field| field.id.onward() != Onward::Ends));
}
