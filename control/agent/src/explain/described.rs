//! A request as somebody describes it, and the pool that it would come to.
//!
//! Owns the reading of the description: a URL as people type it, a host, headers. Refuses to know rules. A mistake is
//! told with the field that has it and with what would be accepted.

use api::ErrorCode;
use api::order::{Explain, Header};
use config::{Running, RunningPool};
use policy::generation::{Address, Service};
use policy::http::{Captures, FIELDS_MAX, Facts, HttpService, NormalPath, Pairs, Request};
use policy::{PoolId, generation};
use std::net::{IpAddr, Ipv6Addr};

/// Every part is text without control characters.
#[derive(Debug)]
pub struct Described<'a> {
    pub method: &'a str,
    /// The host with its port, if one was said.
    pub authority: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    /// Behind the `?`.
    pub query: Option<&'a str>,
    pub from: Option<IpAddr>,
    headers: &'a [Header],
    leads_to: LeadsTo<'a>,
}

/// How the pool is found.
#[derive(Debug)]
enum LeadsTo<'a> {
    Pool(&'a str),
    Address { host: &'a str, port: u16 },
}

/// The pool that a request comes to.
#[derive(Clone, Copy)]
pub struct Led<'r> {
    pub id: &'r PoolId,
    pub pool: &'r RunningPool,
    /// Else its connection is the pool's, and the request no pool's.
    pub takes: bool,
}

/// A name and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

impl<'a> Described<'a> {
    pub fn read(asked: &'a Explain) -> Result<Described<'a>, String> {
        let Explain { url, method, pool, host, headers, from } = asked;
        let method = method.as_deref().unwrap_or("GET");
        if !is_token(method) {
            return Err(format!("`method` is {method:?}; a token such as GET is accepted"));
        }
        let url = Url::read(url)?;
        check_headers(headers)?;
        let named = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
        let named: Vec<&str> = named.map(|header| header.value.trim_ascii()).chain(host.as_deref()).collect();
        let authority = match (&named[..], url.authority) {
            ([named], _) => named,
            ([_, _, ..], _) => return Err("the host is said twice, by `host` or headers; once is accepted".into()),
            ([], Some(authority)) => authority,
            ([], None) => return Err("a path alone has no host; with it `host` is needed".into()),
        };
        let leads_to = match (pool, url.authority) {
            (Some(pool), _) => LeadsTo::Pool(pool),
            (None, Some(authority)) => {
                let (host, port) = divide(authority).ok_or_else(|| no_host("url", authority))?;
                LeadsTo::Address { host, port: port.unwrap_or(url.scheme_port) }
            }
            (None, None) => {
                return Err("a path alone leads nowhere; with it `pool` is needed, else a URL such as \
                            http://example.com/path"
                    .into());
            }
        };
        let (host, _) = divide(authority).ok_or_else(|| no_host("host", authority))?;
        let from = from.as_deref().map(|from| {
            from.parse().map_err(|_| format!("`from` is {from:?}; an IP address such as 192.0.2.7 is accepted"))
        });
        let Url { path, query, .. } = url;
        Ok(Described { method, authority, host, path, query, from: from.transpose()?, headers, leads_to })
    }

    /// The pool that it comes to, and if that is not clear, why.
    pub fn pool<'r>(&self, running: &'r Running) -> Result<Led<'r>, (ErrorCode, String)> {
        let pools = &running.pools;
        match self.leads_to {
            LeadsTo::Pool(name) => match pools.get_key_value(&PoolId::new(name)) {
                Some((id, pool)) => Ok(Led { id, pool, takes: true }),
                None => Err((
                    ErrorCode::NotFound,
                    format!("there is no pool `{name}`; pools of HTTP are {}", of_http(pools.iter())),
                )),
            },
            LeadsTo::Address { host, port } => {
                let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
                let on = |wanted: &dyn Fn(IpAddr) -> bool| self.led(running, port, wanted);
                let found = match address {
                    None => on(&|_| true),
                    Some(address) => {
                        // One that listens on the address itself has its connections before one that listens on all.
                        let exactly = on(&|listening| listening == address);
                        // A socket of IPv6 on all addresses takes IPv4 too.
                        let all = |any: IpAddr| any.is_unspecified() && (any.is_ipv6() || address.is_ipv4());
                        if exactly.is_empty() { on(&all) } else { exactly }
                    }
                };
                let takers: Vec<Led<'r>> = found.iter().filter(|led| led.takes).copied().collect();
                match if takers.is_empty() { &found[..] } else { &takers[..] } {
                    [only] => Ok(*only),
                    [] => Err((
                        ErrorCode::NotFound,
                        format!(
                            "no pool listens where {host}:{port} could lead; accepted is `pool`, or the address of one \
                             of {}",
                            of_http(pools.iter())
                        ),
                    )),
                    several => Err((
                        ErrorCode::InvalidRequest,
                        format!(
                            "{host}:{port} could lead to several pools; accepted is `pool` with one of {}",
                            of_http(several.iter().map(|led| (led.id, led.pool)))
                        ),
                    )),
                }
            }
        }
    }

    /// Where each address with this port leads it, each pool once: as shards divide what comes in there.
    fn led<'r>(&self, running: &'r Running, port: u16, wanted: &dyn Fn(IpAddr) -> bool) -> Vec<Led<'r>> {
        let mut found: Vec<Led<'r>> = Vec::new();
        for (address, listen) in &running.listeners {
            if !matches!(address, Address::Ip(address) if address.port() == port && wanted(address.ip())) {
                continue;
            }
            let owner = running.pools.iter().find(|(_, pool)| pool.generation.slot == listen.pool);
            let Some((id, pool)) = owner else { continue };
            let site = match &pool.generation.service {
                Service::Http(service) => service.sites.at(listen.listener),
                Service::Tcp => None,
            };
            let led = match site.map(|site| site.find(self.host.as_bytes())) {
                None => Led { id, pool, takes: true },
                Some(None) => Led { id, pool, takes: false },
                Some(Some(member)) => match running.pools.get_key_value(&member.id) {
                    Some((id, pool)) => Led { id, pool, takes: true },
                    None => continue,
                },
            };
            if !found.iter().any(|other| (other.id, other.takes) == (led.id, led.takes)) {
                found.push(led);
            }
        }
        found
    }

    pub fn pairs(&self) -> Vec<Pair<'a>> {
        let pair = |header: &'a Header| (header.name.as_bytes(), header.value.trim_ascii().as_bytes());
        self.headers.iter().map(pair).chain(self.said_host()).collect()
    }

    /// The `Host` that is not among the headers.
    fn said_host(&self) -> Option<Pair<'a>> {
        let among = self.headers.iter().any(|header| header.name.eq_ignore_ascii_case("host"));
        (!among).then_some((b"Host", self.authority.as_bytes()))
    }

    /// As the rules see it.
    pub fn request<'r>(&'r self, path: NormalPath<'r>, headers: &'r Pairs<'r>) -> Request<'r> {
        Request {
            method: self.method.as_bytes(),
            host: self.host.as_bytes(),
            path,
            query: self.query.map(str::as_bytes),
            headers,
            source: self.from,
        }
    }

    /// What texts can name of it.
    pub fn facts<'f>(&'f self, service: &HttpService, captures: Captures<'f>) -> Facts<'f> {
        let sent = self.headers.iter().find(|header| header.name.eq_ignore_ascii_case("x-request-id"));
        Facts {
            client: self.from,
            scheme: "http",
            authority: self.authority.as_bytes(),
            method: self.method.as_bytes(),
            path: self.path.as_bytes(),
            query: self.query.map(str::as_bytes),
            // Ours is made when a request comes.
            request_id: match sent {
                _ if service.request_id => b"{request_id}",
                Some(header) => header.value.trim_ascii().as_bytes(),
                None => b"",
            },
            captures,
        }
    }
}

/// A URL as people type it: whole, without its scheme, or what stands behind the host.
struct Url<'a> {
    authority: Option<&'a str>,
    /// The port that the scheme means.
    scheme_port: u16,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Url<'a> {
    fn read(url: &'a str) -> Result<Url<'a>, String> {
        let wrong = |what: &str| {
            format!("`url` is {url:?}, {what}; accepted is one such as http://example.com/path?query, or a path")
        };
        if url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(wrong("with a space or control character in it"));
        }
        // What stands behind `#` is never sent.
        let url = url.split_once('#').map_or(url, |(sent, _)| sent);
        let (scheme, rest) = match url.split_once("://") {
            // A URL in a query, say.
            Some((scheme, _)) if scheme.contains(['/', '?']) => ("http", url),
            Some((scheme, rest)) => (scheme, rest),
            None => ("http", url),
        };
        let scheme_port = match scheme.to_ascii_lowercase().as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(wrong("whose scheme is neither http nor https")),
        };
        let relative = rest.len() == url.len() && (url.starts_with(['/', '?']) || url == "*");
        let behind = if relative { 0 } else { rest.find(['/', '?']).unwrap_or(rest.len()) };
        let (authority, rest) = rest.split_at(behind);
        if authority.contains('@') {
            return Err(wrong("with a user in it, which is an `Authorization` header"));
        }
        if authority.is_empty() && !relative {
            return Err(wrong("without a host"));
        }
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let path = if path.is_empty() { "/" } else { path };
        Ok(Url { authority: (!relative).then_some(authority), scheme_port, path, query })
    }
}

fn check_headers(headers: &[Header]) -> Result<(), String> {
    if headers.len() > FIELDS_MAX {
        return Err(format!("{} `headers`; at most {FIELDS_MAX} are accepted", headers.len()));
    }
    for Header { name, value } in headers {
        if !is_token(name) {
            return Err(format!("a header is called {name:?}; a token such as X-Tenant is accepted"));
        }
        if value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f) {
            return Err(format!("header `{name}` is {value:?}; text without control characters is accepted"));
        }
    }
    Ok(())
}

fn no_host(field: &str, authority: &str) -> String {
    format!("`{field}` has host {authority:?}; a name in ASCII or an address is accepted, and a port behind a colon")
}

/// Host and port (RFC 3986 section 3.2), if it is one that requests may have.
fn divide(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (address, _) = bracketed.split_once(']')?;
            address.parse::<Ipv6Addr>().ok()?;
            authority.split_at(address.len() + 2)
        }
        None => {
            let (host, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            (!host.is_empty() && host.bytes().all(of_a_name)).then_some((host, rest))?
        }
    };
    match rest.strip_prefix(':') {
        None => rest.is_empty().then_some((host, None)),
        Some("") => Some((host, None)),
        Some(digits) => {
            let port = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
            Some((host, Some(port)))
        }
    }
}

/// Pools that a failure names.
const NAMED_MAX: usize = 20;

/// Their ids and addresses, for people.
fn of_http<'r>(pools: impl Iterator<Item = (&'r PoolId, &'r RunningPool)>) -> String {
    let http = pools.filter(|(_, pool)| matches!(pool.generation.service, Service::Http(_)));
    let mut named: Vec<String> = http
        .map(|(id, pool)| {
            let addresses: Vec<String> =
                pool.content.create.listen.iter().map(generation::Address::to_string).collect();
            format!("`{id}` ({})", addresses.join(", "))
        })
        .collect();
    let more = named.len().saturating_sub(NAMED_MAX);
    named.truncate(NAMED_MAX);
    match (named.is_empty(), more) {
        (true, _) => "none".into(),
        (false, 0) => named.join(", "),
        (false, more) => format!("{} and {more} more", named.join(", ")),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(of_a_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str) -> Explain {
        Explain { url: url.into(), ..Explain::default() }
    }

    /// `expected`: host, port that it leads to, path, query.
    #[track_caller]
    fn check(text: &str, expected: (&str, u16, &str, Option<&str>)) {
        let asked = url(text);
        let described = Described::read(&asked).unwrap_or_else(|error| panic!("{error}"));
        let LeadsTo::Address { port, host } = described.leads_to else { panic!("no pool was said") };
        assert_eq!(host, described.host);
        assert_eq!((described.host, port, described.path, described.query), expected, "{text}");
    }

    #[test]
    fn a_url_is_read_as_curl_reads_it() {
        check("http://example.com/api/x?y", ("example.com", 80, "/api/x", Some("y")));
        check("HTTPS://Example.com", ("Example.com", 443, "/", None));
        check("http://example.com:8080?a=b?c", ("example.com", 8080, "/", Some("a=b?c")));
        check("http://[::1]:81/#top", ("[::1]", 81, "/", None));
        check("localhost:8080/a", ("localhost", 8080, "/a", None));
        check("example.com/to?http://other.test/", ("example.com", 80, "/to", Some("http://other.test/")));
        check("http://a:/x", ("a", 80, "/x", None));
        check("http://a/%zz/../\u{e4}", ("a", 80, "/%zz/../\u{e4}", None));
    }

    #[test]
    fn a_path_needs_pool_and_host() {
        let asked = |host: Option<&str>, pool: Option<&str>| Explain {
            host: host.map(Into::into),
            pool: pool.map(Into::into),
            ..url("/a?b")
        };
        let whole = asked(Some("h:81"), Some("web"));
        let read = Described::read(&whole).unwrap();
        assert_eq!((read.authority, read.host, read.path, read.query), ("h:81", "h", "/a", Some("b")));
        assert!(Described::read(&asked(None, Some("web"))).unwrap_err().contains("`host`"));
        assert!(Described::read(&asked(Some("h"), None)).unwrap_err().contains("`pool`"));
        let server = Explain { url: "*".into(), method: Some("OPTIONS".into()), ..asked(Some("h"), Some("web")) };
        assert_eq!(Described::read(&server).unwrap().path, "*");
    }

    #[test]
    fn a_host_among_the_headers_is_the_host() {
        let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
        let mut asked = url("http://127.0.0.1:8080/");
        asked.headers = vec![header("X-A", " b "), header("host", "example.com")];
        let described = Described::read(&asked).unwrap();
        assert_eq!((described.authority, described.host), ("example.com", "example.com"));
        assert_eq!(described.pairs(), [(&b"X-A"[..], &b"b"[..]), (b"host", b"example.com")]);
        assert!(matches!(described.leads_to, LeadsTo::Address { host: "127.0.0.1", port: 8080 }));
        asked.host = Some("other.test".into());
        assert!(Described::read(&asked).unwrap_err().contains("twice"));
    }

    #[test]
    fn mistakes_are_told_with_their_field() {
        #[track_caller]
        fn wrong(asked: &Explain, expected: &str) {
            let error = Described::read(asked).expect_err("is wrong");
            assert!(error.contains(expected) && error.contains("accepted"), "{error}");
        }
        wrong(&url("ftp://a/"), "scheme");
        wrong(&url("http:///a"), "without a host");
        wrong(&url(""), "without a host");
        wrong(&url("http://a b/"), "space");
        wrong(&url("http://u:p@a/"), "user");
        for host in ["a,b", "[::1", "[a]", "a:66000", "a:1x", "\u{e4}", ":80"] {
            wrong(&url(&format!("http://{host}/")), "host");
        }
        wrong(&Explain { method: Some("GET /".into()), ..url("http://a/") }, "`method`");
        wrong(&Explain { from: Some("a".into()), ..url("http://a/") }, "`from`");
        let header = |name: &str, value: &str| Explain {
            headers: vec![Header { name: name.into(), value: value.into() }],
            ..url("http://a/")
        };
        wrong(&header("X A", "b"), "\"X A\"");
        wrong(&header("X-A", "b\r\nX-B: c"), "`X-A`");
        let many = vec![Header { name: "A".into(), value: "b".into() }; FIELDS_MAX + 1];
        wrong(&Explain { headers: many, ..url("http://a/") }, "`headers`");
    }
}
