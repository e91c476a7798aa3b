//! Addresses and names: how they are written, and the one spelling that each has.
//!
//! Identity hangs on them (a backend *is* pool, group and address; a listener *is* its address), so two
//! spellings of one address must become one value here.

use crate::form::{Describe, Form, Shown, Wrong, absolute};
use crate::problem::Code;
use crate::tree::{Node, Value};
use policy::generation::Address;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Longest path of a Unix socket: `sun_path` has 108 bytes, and the kernel wants one for the NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Longest name in the DNS, RFC 1035 section 2.3.4.
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Longest id of a pool, a group or a backend.
const ID_BYTES_MAX: usize = 63;

pub(crate) const ID_ACCEPTED: &str =
    "a name of 1 to 63 characters: a-z, 0-9, `_` and `-`, beginning with a letter or digit";

/// Ids end up in file names, metric labels and command lines, so they need no quoting in any of them.
pub(crate) fn is_id(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= ID_BYTES_MAX && text.bytes().next().is_some_and(first) && text.bytes().all(inner)
}

/// What is wrong with an address, and what to do.
#[derive(Debug, PartialEq)]
pub(crate) struct WrongAddress {
    message: String,
    help: Option<String>,
}

fn wrong(message: impl Into<String>) -> WrongAddress {
    WrongAddress { message: message.into(), help: None }
}

fn wrong_but(message: impl Into<String>, help: impl Into<String>) -> WrongAddress {
    WrongAddress { message: message.into(), help: Some(help.into()) }
}

/// An address that clients come to.
pub(crate) fn parse_listen(text: &str) -> Result<Address, WrongAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return parse_unix(path);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Address::Ip(canonical(address)));
    }
    if let Some(port) = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).filter(|port| !port.contains(':')) {
        return Err(wrong_but(
            "no IP address before the port",
            format!("write \"0.0.0.0:{port}\" or \"[::]:{port}\" to listen everywhere"),
        ));
    }
    match split_port(text)? {
        (host, port) if is_host(host).is_ok() => Err(wrong_but(
            format!("`{host}` is a name; what to listen on must not depend on a resolver"),
            format!("write the IP address, such as \"127.0.0.1:{port}\""),
        )),
        _ => Err(wrong("not an address")),
    }
}

/// An address to connect to.
pub(crate) fn parse_backend(text: &str) -> Result<Address, WrongAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        return parse_unix(path);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        let address = canonical(address);
        return match (address.ip(), address.port()) {
            (_, 0) => Err(wrong("nobody can connect to port 0")),
            (ip, port) if ip.is_unspecified() => Err(wrong_but(
                "not an address that one can connect to",
                format!("this host is \"127.0.0.1:{port}\" or \"[::1]:{port}\""),
            )),
            _ => Ok(Address::Ip(address)),
        };
    }
    let (host, port) = split_port(text)?;
    is_host(host).map_err(wrong)?;
    match port.parse::<u16>() {
        Ok(0) => Err(wrong("nobody can connect to port 0")),
        Ok(port) if !has_sign(text) => Ok(Address::Name { host: host.to_ascii_lowercase().into(), port }),
        _ => Err(wrong(format!("`{port}` is not a port"))),
    }
}

fn has_sign(text: &str) -> bool {
    text.contains(":+")
}

fn parse_unix(path: &str) -> Result<Address, WrongAddress> {
    let path = absolute(path).map_err(|message| wrong_but(message, "write \"unix:/run/name.sock\""))?;
    match path.as_os_str().len() {
        bytes if bytes > UNIX_PATH_BYTES_MAX => Err(wrong(format!(
            "the path of a Unix socket has at most {UNIX_PATH_BYTES_MAX} bytes, this one has {bytes}"
        ))),
        1 => Err(wrong("`/` is a folder")),
        _ => Ok(Address::Unix(path)),
    }
}

/// An IPv4 address inside IPv6 (`::ffff:192.0.2.1`) reaches the same sockets as the IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), address.port()),
        IpAddr::V6(_) => address,
    }
}

fn split_port(text: &str) -> Result<(&str, &str), WrongAddress> {
    if text.starts_with('/') {
        return Err(wrong_but("a path alone is not an address", format!("write \"unix:{text}\"")));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(wrong_but("no port", format!("write \"{text}:80\" with the port that is meant")));
    };
    if host.contains(':') {
        let inside = host.trim_start_matches('[').trim_end_matches(']');
        let help = format!("write \"[{inside}]:{port}\"");
        return match inside.parse::<std::net::Ipv6Addr>() {
            Ok(_) if !host.starts_with('[') => Err(wrong_but("an IPv6 address with a port needs brackets", help)),
            _ => Err(wrong("not an address")),
        };
    }
    Ok((host, port))
}

/// RFC 1123 section 2.1, with the underscore that service names have.
fn is_host(host: &str) -> Result<(), String> {
    let labels = host.strip_suffix('.').unwrap_or(host);
    if labels.is_empty() {
        return Err("no host before the port".into());
    }
    if labels.len() > HOST_BYTES_MAX {
        return Err(format!("a host name has at most {HOST_BYTES_MAX} bytes"));
    }
    for label in labels.split('.') {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if label.is_empty()
            || label.len() > LABEL_BYTES_MAX
            || !letters
            || label.starts_with('-')
            || label.ends_with('-')
        {
            return Err(format!("`{host}` is neither an IP address nor a host name"));
        }
    }
    // "10.0.0.300" would otherwise be looked up in the DNS, for ever.
    if labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(format!("`{host}` is not an IP address"));
    }
    Ok(())
}

/// Addresses that clients come to.
pub(crate) struct ListenList;

impl ListenList {
    /// Addresses of one pool. Each takes a socket for each shard.
    pub(crate) const ADDRESSES_MAX: usize = 256;

    /// Each address with its node, in the order of the document.
    pub(crate) fn items(node: &Node) -> impl Iterator<Item = (Address, &Node)> {
        node.list().unwrap_or_default().iter().filter_map(|node| match &node.value {
            Value::Text { text, .. } => Some((parse_listen(text).ok()?, node)),
            _ => None,
        })
    }
}

impl Describe for ListenList {
    fn kind(&self) -> &'static str {
        "list of addresses"
    }
    fn accepted(&self) -> String {
        "a list of \"127.0.0.1:7000\", \"[::1]:7000\" or \"unix:/run/name.sock\"".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": ListenList::ADDRESSES_MAX, "uniqueItems": true })
    }
}

impl Form for ListenList {
    type Value = Vec<Address>;

    fn read(&self, node: &Node) -> Result<Vec<Address>, Vec<Wrong>> {
        let Some(list) = node.list() else {
            let wrong = Wrong::kind(node, "a list of addresses");
            return Err(vec![match &node.value {
                Value::Text { text, .. } => wrong.help(format!("write [\"{text}\"]")),
                _ => wrong,
            }]);
        };
        if list.is_empty() {
            return Err(vec![
                Wrong::value(node, "no address at all: no client could come")
                    .help("remove the pool if it is not needed"),
            ]);
        }
        if list.len() > ListenList::ADDRESSES_MAX {
            let message = format!("{} addresses, at most {}", list.len(), ListenList::ADDRESSES_MAX);
            return Err(vec![Wrong { code: Code::TooMany, ..Wrong::value(node, message) }]);
        }
        let mut problems = Vec::new();
        for node in list {
            if let Err(wrong) = read(node, parse_listen) {
                problems.extend(wrong);
            }
        }
        let mut items: Vec<(Address, &Node)> = ListenList::items(node).collect();
        items.sort_by(|a, b| a.0.cmp(&b.0));
        for pair in items.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let wrong = Wrong::value(pair[1].1, format!("`{}` is listed twice", pair[1].0));
            let first = Some(("first listed here".to_string(), pair[0].1.span));
            problems.push(Wrong { code: Code::Duplicate, also: first, ..wrong });
        }
        if problems.is_empty() { Ok(items.into_iter().map(|(address, _)| address).collect()) } else { Err(problems) }
    }

    fn show(&self, addresses: &Vec<Address>) -> Shown {
        Shown::List(addresses.iter().map(|address| Shown::Text(address.to_string())).collect())
    }
}

/// Where a backend is.
pub(crate) struct BackendAddress;

impl Describe for BackendAddress {
    fn kind(&self) -> &'static str {
        "address"
    }
    fn accepted(&self) -> String {
        "\"127.0.0.1:9001\", \"[::1]:9001\", \"db.internal:5432\" or \"unix:/run/name.sock\"".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string" })
    }
}

impl Form for BackendAddress {
    type Value = Address;

    fn read(&self, node: &Node) -> Result<Address, Vec<Wrong>> {
        read(node, parse_backend)
    }

    fn show(&self, address: &Address) -> Shown {
        Shown::Text(address.to_string())
    }
}

fn read(node: &Node, parse: fn(&str) -> Result<Address, WrongAddress>) -> Result<Address, Vec<Wrong>> {
    let Value::Text { text, .. } = &node.value else {
        return Err(vec![Wrong::kind(node, "an address")]);
    };
    parse(text).map_err(|WrongAddress { message, help }| vec![Wrong { help, ..Wrong::value(node, message) }])
}

/// The name of a group. Whether there is one of that name is known only where all are.
pub(crate) struct GroupName;

impl Describe for GroupName {
    fn kind(&self) -> &'static str {
        "name"
    }
    fn accepted(&self) -> String {
        "the name of a group of this pool".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string" })
    }
}

impl Form for GroupName {
    type Value = Arc<str>;

    fn read(&self, node: &Node) -> Result<Arc<str>, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } if is_id(text) => Ok(text.as_str().into()),
            Value::Text { .. } => Err(vec![Wrong::value(node, "not a name that a group can have")]),
            _ => Err(vec![Wrong::kind(node, "a name")]),
        }
    }

    fn show(&self, name: &Arc<str>) -> Shown {
        Shown::Text(name.to_string())
    }
}

/// A backend's name. Without one a backend is called by its address.
pub(crate) struct BackendId;

impl Describe for BackendId {
    fn kind(&self) -> &'static str {
        "name"
    }
    fn accepted(&self) -> String {
        format!("{ID_ACCEPTED}; or its own address")
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string" })
    }
}

impl Form for BackendId {
    type Value = Arc<str>;

    /// Addresses pass: whether it is the backend's own is known only where both keys are.
    fn read(&self, node: &Node) -> Result<Arc<str>, Vec<Wrong>> {
        match &node.value {
            Value::Text { text, .. } if is_id(text) => Ok(text.as_str().into()),
            Value::Text { text, .. } => match parse_backend(text) {
                Ok(address) => Ok(address.to_string().into()),
                Err(_) => Err(vec![Wrong::value(node, "not a name")]),
            },
            _ => Err(vec![Wrong::kind(node, "a name")]),
        }
    }

    fn show(&self, id: &Arc<str>) -> Shown {
        Shown::Text(id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parse: fn(&str) -> Result<Address, WrongAddress>, text: &str, expected: &str) {
        let got = match parse(text) {
            Ok(address) => address.to_string(),
            Err(wrong) => format!("error: {}", wrong.message),
        };
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn listen_addresses_have_one_spelling() {
        check(parse_listen, "127.0.0.1:7000", "127.0.0.1:7000");
        check(parse_listen, "[::1]:7000", "[::1]:7000");
        check(parse_listen, "[0:0:0:0:0:0:0:1]:7000", "[::1]:7000");
        check(parse_listen, "[::ffff:127.0.0.1]:7000", "127.0.0.1:7000");
        check(parse_listen, "0.0.0.0:0", "0.0.0.0:0");
        check(parse_listen, "unix:/run//x.sock", "unix:/run/x.sock");
        check(parse_listen, ":80", "error: no IP address before the port");
        check(parse_listen, "*:80", "error: no IP address before the port");
        check(parse_listen, "127.0.0.1", "error: no port");
        check(parse_listen, "127.0.0.1:65536", "error: not an address");
        check(
            parse_listen,
            "localhost:80",
            "error: `localhost` is a name; what to listen on must not depend on a resolver",
        );
        check(parse_listen, "::1:7000", "error: an IPv6 address with a port needs brackets");
        check(parse_listen, "/run/x.sock", "error: a path alone is not an address");
        check(parse_listen, "unix:x.sock", "error: not an absolute path");
        check(parse_listen, "unix:/", "error: `/` is a folder");
        check(parse_listen, "", "error: no port");
        let long = format!("unix:/{}", "x".repeat(107));
        check(parse_listen, &long, "error: the path of a Unix socket has at most 107 bytes, this one has 108");
    }

    #[test]
    fn backend_addresses_have_one_spelling() {
        check(parse_backend, "127.0.0.1:9001", "127.0.0.1:9001");
        check(parse_backend, "[::ffff:10.0.0.1]:9001", "10.0.0.1:9001");
        check(parse_backend, "DB.Internal:5432", "db.internal:5432");
        check(parse_backend, "_pg.db.internal.:5432", "_pg.db.internal.:5432");
        check(parse_backend, "unix:/run/x.sock", "unix:/run/x.sock");
        check(parse_backend, "0.0.0.0:80", "error: not an address that one can connect to");
        check(parse_backend, "[::]:80", "error: not an address that one can connect to");
        check(parse_backend, "127.0.0.1:0", "error: nobody can connect to port 0");
        check(parse_backend, "db:0", "error: nobody can connect to port 0");
        check(parse_backend, "db:65536", "error: `65536` is not a port");
        check(parse_backend, "db:+80", "error: `+80` is not a port");
        check(parse_backend, "db:", "error: `` is not a port");
        check(parse_backend, "db", "error: no port");
        check(parse_backend, "10.0.0.300:80", "error: `10.0.0.300` is not an IP address");
        check(parse_backend, "10.0.0:80", "error: `10.0.0` is not an IP address");
        check(parse_backend, "-db:80", "error: `-db` is neither an IP address nor a host name");
        check(parse_backend, "a..b:80", "error: `a..b` is neither an IP address nor a host name");
        check(parse_backend, "dö:80", "error: `dö` is neither an IP address nor a host name");
        check(parse_backend, "http://db:80", "error: not an address");
        check(parse_backend, ":80", "error: no host before the port");
        check(parse_backend, "::1:9001", "error: an IPv6 address with a port needs brackets");
    }

    #[test]
    fn ids() {
        for good in ["a", "0", "web-1", "a_b", &"x".repeat(63)] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a.b", "a b", "ä", &"x".repeat(64)] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
