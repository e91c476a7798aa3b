//! What the origin is told about the client and the way here: `X-Forwarded-*`, `Forwarded` (RFC 7239), `Via` (RFC
//! 9110 section 7.6.3), `X-Request-Id`.

use super::edit::{Edit, Edits};
use super::line;
use crate::h1::field::Field;
use crate::h1::name::Name;
use crate::h1::request::RequestHead;
use crate::h1::target::Scheme;
use crate::h1::version::Version;
use std::io::Write;
use std::net::IpAddr;

/// What the origin is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told<'a> {
    pub client: IpAddr,
    /// What the client speaks to us.
    pub scheme: Scheme,
    /// `X-Forwarded-For`, `-Proto` and `-Host`, and what else of the kind was received.
    pub x_forwarded: Chain,
    /// `Forwarded`.
    pub forwarded: Chain,
    /// The name under which we stand in `Via`; `None`: not at all.
    pub via: Option<&'a [u8]>,
    /// Instead of any `X-Request-Id` received; `None`: that is passed on.
    pub request_id: Option<&'a [u8]>,
}

/// What becomes of what clients and other proxies say about the way that a request came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Chain {
    /// Passed on as it came, and nothing is added.
    Pass,
    /// Ends here, and nothing is added.
    Remove,
    /// Ends here, and the origin is told what we know: right where clients come directly.
    Replace,
    /// What we know is added: right where clients are proxies that can be believed. They also know best what
    /// scheme and host were asked for.
    Append,
}

impl Told<'_> {
    /// Whether a received field of the chain goes on as it is.
    pub(super) fn passes(&self, id: Name) -> bool {
        match id {
            Name::XForwardedFor => self.x_forwarded == Chain::Pass,
            Name::XForwardedProto | Name::XForwardedHost | Name::XForwardedPort | Name::XRealIp => {
                matches!(self.x_forwarded, Chain::Pass | Chain::Append)
            }
            Name::Forwarded => self.forwarded == Chain::Pass,
            Name::Via => self.via.is_none(),
            Name::XRequestId => self.request_id.is_none(),
            _ => true,
        }
    }

    /// Our own links of the chain.
    pub(super) fn write<'e, E: Iterator<Item = Edit<'e>> + Clone>(
        &self,
        out: &mut Vec<u8>,
        bytes: &[u8],
        head: &RequestHead,
        edits: &Edits<E>,
    ) {
        let client = self.client.to_canonical();
        let host = head.host.map(|host| host.whole.of(bytes));
        let wanted = |id: Name| !edits.remove(id.text().as_bytes());
        let before = |chain: Chain, id: Name| received(head, id).filter(move |_| chain == Chain::Append);

        let chain = self.x_forwarded;
        if matches!(chain, Chain::Replace | Chain::Append) {
            if wanted(Name::XForwardedFor) {
                link(out, bytes, Name::XForwardedFor, before(chain, Name::XForwardedFor), |out| {
                    write!(out, "{client}").expect("memory takes all that is written");
                });
            }
            if wanted(Name::XForwardedProto) && before(chain, Name::XForwardedProto).next().is_none() {
                line::checked(out, b"X-Forwarded-Proto", self.scheme.text().as_bytes());
            }
            if let Some(host) = host
                && wanted(Name::XForwardedHost)
                && before(chain, Name::XForwardedHost).next().is_none()
            {
                line::checked(out, b"X-Forwarded-Host", host);
            }
        }
        let chain = self.forwarded;
        if matches!(chain, Chain::Replace | Chain::Append) && wanted(Name::Forwarded) {
            link(out, bytes, Name::Forwarded, before(chain, Name::Forwarded), |out| {
                forwarded_element(out, client, host, self.scheme);
            });
        }
        if let Some(name) = self.via
            && wanted(Name::Via)
        {
            via(out, bytes, received(head, Name::Via), head.version, name);
        }
        if let Some(id) = self.request_id
            && wanted(Name::XRequestId)
        {
            line::field(out, b"X-Request-Id", id);
        }
    }
}

fn received(head: &RequestHead, id: Name) -> impl Iterator<Item = &Field> {
    head.fields.all(id).filter(|field| !field.nominated)
}

/// `Via` with us as its last.
pub(super) fn via<'f>(
    out: &mut Vec<u8>,
    bytes: &[u8],
    before: impl Iterator<Item = &'f Field>,
    version: Version,
    name: &[u8],
) {
    link(out, bytes, Name::Via, before, |out| {
        // The protocol's name is left out where it is HTTP.
        out.extend_from_slice(&version.text().as_bytes()["HTTP/".len()..]);
        out.push(b' ');
        line::value(out, name);
    });
}

/// One field of all that came before and our own last member.
fn link<'f>(
    out: &mut Vec<u8>,
    bytes: &[u8],
    id: Name,
    before: impl Iterator<Item = &'f Field>,
    own: impl FnOnce(&mut Vec<u8>),
) {
    line::begin(out, id.text().as_bytes());
    for field in before.filter(|field| !field.value.is_empty()) {
        out.extend_from_slice(field.value.of(bytes));
        out.extend_from_slice(b", ");
    }
    own(out);
    out.extend_from_slice(line::CRLF);
}

/// RFC 7239 section 4: an IPv6 address, and a host with a colon, are no tokens and stand in quotes.
fn forwarded_element(out: &mut Vec<u8>, client: IpAddr, host: Option<&[u8]>, scheme: Scheme) {
    match client {
        IpAddr::V4(client) => write!(out, "for={client}"),
        IpAddr::V6(client) => write!(out, "for=\"[{client}]\""),
    }
    .expect("memory takes all that is written");
    if let Some(host) = host {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(host);
        out.push(b'"');
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(scheme.text().as_bytes());
}
