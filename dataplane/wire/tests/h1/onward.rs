//! What is written is read as it was meant, and nothing that ends here survives.

use crate::messages;
use crate::{request, response};
use proptest::prelude::*;
use proptest::sample::select;
use std::net::{IpAddr, Ipv6Addr};
use wire::h1::write::{self, Chain, Edit, Said, ToClient, ToOrigin, Told, Upgrades};
use wire::h1::{Asked, Content, Framing, Kind, Name, Onward, Persistence, RequestHead, Scheme, Version};

/// Of edits, some of which may not be made.
const NAMES: &[&[u8]] = &[b"Accept", b"x-odd", b"Host", b"Content-Length", b"Via", b"Connection", b"New"];

const VALUES: &[&[u8]] = &[b"v", b"", b"a\r\nEvil: b", b"\0"];

const TARGETS: &[&[u8]] = &[b"/", b"/x y?z\r\n", b"/\xff#", b"x", b"?", b""];

const CHAINS: &[Chain] = &[Chain::Pass, Chain::Remove, Chain::Replace, Chain::Append];

fn told() -> impl Strategy<Value = Told<'static>> {
    let names = (prop::option::of(Just(&b"us\r\n"[..])), prop::option::of(Just(&b"id\0"[..])));
    (select(CHAINS), select(CHAINS), names).prop_map(|(x_forwarded, forwarded, (via, request_id))| Told {
        client: IpAddr::V6(Ipv6Addr::LOCALHOST),
        scheme: Scheme::Https,
        x_forwarded,
        forwarded,
        via,
        request_id,
    })
}

fn to_origin() -> impl Strategy<Value = ToOrigin<'static>> {
    let target = prop::option::of(select(TARGETS));
    let host = prop::option::of(Just(&b"inner:81"[..]));
    let upgrades = select(&[Upgrades::None, Upgrades::WebSocket, Upgrades::Any][..]);
    (target, host, upgrades, any::<(bool, bool)>(), told()).prop_map(
        |(target, host, upgrades, (expect, close), told)| ToOrigin {
            target,
            host,
            host_default: b"default",
            upgrades,
            expect,
            close,
            told,
        },
    )
}

fn edits() -> impl Strategy<Value = Vec<Edit<'static>>> {
    let edit = (select(NAMES), 0..3_u8, select(VALUES));
    let edit = edit.prop_map(|(name, kind, value)| match kind {
        0 => Edit::Add { name, value },
        1 => Edit::Set { name, value },
        _ => Edit::Remove { name },
    });
    prop::collection::vec(edit, 0..4)
}

/// Names and values of fields that go on as they are.
fn passed(head: &RequestHead, bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let goes =
        |id: Name, name: &[u8]| id.onward() == Onward::Passed && Name::disguised(name).onward() == Onward::Passed;
    let fields = head.fields.iter().filter(|field| !field.nominated && goes(field.id, field.name.of(bytes)));
    fields.map(|field| (field.name.of(bytes).to_vec(), field.value.of(bytes).to_vec())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests(bytes in messages::bent(messages::requests()), to in to_origin(), edits in edits()) {
        let Ok(Some(head)) = request(&bytes) else { return Ok(()) };
        let mut out = Vec::new();
        write::request(&mut out, &bytes, &head, &to, edits.iter().copied());
        let again = request(&out);
        let Ok(Some(again)) = again else { panic!("{:?}: {}", again, out.escape_ascii()) };
        prop_assert_eq!(again.bytes, out.len());
        prop_assert_eq!(again.method.text(&out), head.method.text(&bytes));
        prop_assert_eq!(again.framing, head.framing);
        prop_assert_eq!(again.expects_continue, head.expects_continue && to.expect);
        prop_assert_eq!(again.accepts_trailers, head.accepts_trailers);
        prop_assert_eq!(again.upgrade.is_some(), to.upgrades.pass(&head));
        prop_assert_eq!(again.persistence == Persistence::Close, to.close);

        // Host once and first, and the one that was meant.
        let host = again.fields.iter().next().expect("a host");
        prop_assert_eq!(host.id, Name::Host);
        let meant = to.host.or(head.host.map(|host| host.whole.of(&bytes))).unwrap_or(b"default");
        prop_assert_eq!(host.value.of(&out), meant);
        if to.target.is_none() {
            prop_assert_eq!(again.path(&out), head.path(&bytes));
            prop_assert_eq!(again.query(&out), head.query(&bytes));
        }

        for field in &again.fields {
            prop_assert_ne!(field.id.onward(), Onward::Ends);
            prop_assert!(!field.name.of(&out).eq_ignore_ascii_case(b"evil"), "{}", out.escape_ascii());
            let disguise = Name::disguised(field.name.of(&out));
            prop_assert_eq!(disguise.onward(), Onward::Passed);
            // Whoever is nominated now is so because we say it.
            let ours = [Name::Te, Name::Upgrade].contains(&field.id);
            prop_assert!(!field.nominated || ours, "{}", out.escape_ascii());
        }
        if edits.is_empty() {
            prop_assert_eq!(passed(&again, &out), passed(&head, &bytes));
        }
    }

    /// What we write ourselves we would write again.
    #[test]
    fn the_second_time_changes_nothing(bytes in messages::requests(), to in to_origin()) {
        let told = Told { x_forwarded: Chain::Pass, forwarded: Chain::Pass, via: None, request_id: None, ..to.told };
        let to = ToOrigin { target: None, host: None, close: false, told, ..to };
        let Ok(Some(head)) = request(&bytes) else { return Ok(()) };
        let (mut once, mut twice) = (Vec::new(), Vec::new());
        write::request(&mut once, &bytes, &head, &to, [].into_iter());
        let head = request(&once).unwrap().unwrap();
        write::request(&mut twice, &once, &head, &to, [].into_iter());
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn responses(
        bytes in messages::bent(messages::responses()),
        (content, upgrade) in (select(&[Content::Framed, Content::Withheld, Content::Tunnel][..]), any::<bool>()),
        (old, keep) in any::<(bool, bool)>(),
        via in prop::option::of(Just(&b"us"[..])),
        edits in edits(),
    ) {
        let asked = Asked { content, upgrade };
        let Ok(Some(head)) = response(&bytes, asked) else { return Ok(()) };
        let to = ToClient {
            client: if old && head.kind != Kind::Interim { Version::Http10 } else { Version::Http11 },
            persistence: if keep { Persistence::Keep } else { Persistence::Close },
            via,
        };
        let mut out = Vec::new();
        let said = write::response(&mut out, &bytes, &head, &to, edits.iter().copied());
        let again = response(&out, asked);
        let Ok(Some(again)) = again else { panic!("{:?}: {}", again, out.escape_ascii()) };
        prop_assert_eq!(again.bytes, out.len());
        prop_assert_eq!((again.kind, again.status), (head.kind, head.status));
        prop_assert_eq!(again.reason.of(&out), head.reason.of(&bytes));
        prop_assert_eq!(again.length, head.length);
        if head.kind == Kind::Final {
            prop_assert_eq!(Said { framing: again.framing, persistence: again.persistence }, said);
        }
        prop_assert!(to.client == Version::Http11 || again.framing != Framing::Chunked);
        for field in &again.fields {
            prop_assert_ne!(field.id.onward(), Onward::Ends);
            prop_assert!(!field.nominated || field.id == Name::Upgrade, "{}", out.escape_ascii());
        }
    }
}
