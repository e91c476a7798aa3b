//! A request as somebody describes it.
//!
//! Owns the reading of the description: a URL as people type it, a host, headers. Refuses to know pools and rules. A mistake is
//! told with the field that has it and with what would be accepted.

use policy::http::{FIELDS_MAX, Headers, HttpService, Incoming};
use std::net::{IpAddr, Ipv6Addr};

/// What was said, unread.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Description<'a> {
    pub url: &'a str,
    /// `None`: GET.
    pub method: Option<&'a str>,
    /// `None`: the one that listens where the URL leads.
    pub pool: Option<&'a str>,
    /// `None`: that of the URL, unless a header says it.
    pub host: Option<&'a str>,
    pub headers: Vec<(&'a str, &'a str)>,
    /// The client's address. `None`: it has none.
    pub from: Option<&'a str>,
}

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
    pub(crate) leads_to: LeadsTo<'a>,
    headers: Vec<(&'a str, &'a str)>,
}

/// How the pool is found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeadsTo<'a> {
    Pool(&'a str),
    Address { host: &'a str, port: u16 },
}

/// A name and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

impl<'a> Described<'a> {
    pub fn read(said: &Description<'a>) -> Result<Described<'a>, String> {
        let Description { url, method, pool, host, headers, from } = said;
        let method = method.unwrap_or("GET");
        if !is_token(method) {
            return Err(format!("`method` is {method:?}; a token such as GET is accepted"));
        }
        let url = Url::read(url)?;
        check_headers(headers)?;
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.trim_ascii())).collect();
        let named = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host"));
        let named: Vec<&str> = named.map(|(_, value)| *value).chain(*host).collect();
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
        let from = from.map(|from| {
            from.parse().map_err(|_| format!("`from` is {from:?}; an IP address such as 192.0.2.7 is accepted"))
        });
        let Url { path, query, .. } = url;
        Ok(Described { method, authority, host, path, query, from: from.transpose()?, leads_to, headers })
    }

    pub fn pairs(&self) -> Vec<Pair<'a>> {
        let pair = |(name, value): &(&'a str, &'a str)| (name.as_bytes(), value.as_bytes());
        self.headers.iter().map(pair).chain(self.said_host()).collect()
    }

    /// The `Host` that is not among the headers.
    fn said_host(&self) -> Option<Pair<'a>> {
        let among = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        (!among).then_some((b"Host", self.authority.as_bytes()))
    }

    /// As it would come to a pool. `headers` are those of [`Described::pairs`].
    pub fn incoming<'r>(&'r self, service: &HttpService, headers: &'r dyn Headers) -> Incoming<'r> {
        Incoming {
            client: self.from,
            scheme: "http",
            method: self.method.as_bytes(),
            authority: self.authority.as_bytes(),
            host: self.host.as_bytes(),
            path: self.path.as_bytes(),
            query: self.query.map(str::as_bytes),
            headers,
            // Ours is made when a request comes.
            request_id: service.request_id.then_some(REQUEST_ID),
        }
    }
}

/// What stands for an id that is made when a request comes.
pub(crate) const REQUEST_ID: &[u8] = b"{request_id}";

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

fn check_headers(headers: &[(&str, &str)]) -> Result<(), String> {
    if headers.len() > FIELDS_MAX {
        return Err(format!("{} `headers`; at most {FIELDS_MAX} are accepted", headers.len()));
    }
    for (name, value) in headers {
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

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(of_a_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str) -> Description<'_> {
        Description { url, ..Description::default() }
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
        let asked = |host, pool| Description { host, pool, ..url("/a?b") };
        let whole = asked(Some("h:81"), Some("web"));
        let read = Described::read(&whole).unwrap();
        assert_eq!((read.authority, read.host, read.path, read.query), ("h:81", "h", "/a", Some("b")));
        assert!(Described::read(&asked(None, Some("web"))).unwrap_err().contains("`host`"));
        assert!(Described::read(&asked(Some("h"), None)).unwrap_err().contains("`pool`"));
        let server = Description { url: "*", method: Some("OPTIONS"), ..asked(Some("h"), Some("web")) };
        assert_eq!(Described::read(&server).unwrap().path, "*");
    }

    #[test]
    fn a_host_among_the_headers_is_the_host() {
        let mut asked = url("http://127.0.0.1:8080/");
        asked.headers = vec![("X-A", " b "), ("host", "example.com")];
        let described = Described::read(&asked).unwrap();
        assert_eq!((described.authority, described.host), ("example.com", "example.com"));
        assert_eq!(described.pairs(), [(&b"X-A"[..], &b"b"[..]), (b"host", b"example.com")]);
        assert!(matches!(described.leads_to, LeadsTo::Address { host: "127.0.0.1", port: 8080 }));
        asked.host = Some("other.test");
        assert!(Described::read(&asked).unwrap_err().contains("twice"));
    }

    #[test]
    fn mistakes_are_told_with_their_field() {
        #[track_caller]
        fn wrong(asked: &Description<'_>, expected: &str) {
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
        wrong(&Description { method: Some("GET /"), ..url("http://a/") }, "`method`");
        wrong(&Description { from: Some("a"), ..url("http://a/") }, "`from`");
        wrong(&Description { headers: vec![("X A", "b")], ..url("http://a/") }, "\"X A\"");
        wrong(&Description { headers: vec![("X-A", "b\r\nX-B: c")], ..url("http://a/") }, "`X-A`");
        let many = vec![("A", "b"); FIELDS_MAX + 1];
        wrong(&Description { headers: many, ..url("http://a/") }, "`headers`");
    }
}
