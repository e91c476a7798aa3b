//! What the RFCs and our own strictness say, in the plainest code there is: whole messages only, no state, a copy
//! wherever it helps. Shares nothing with what it judges.

/// Where the content of a message ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Nothing,
    Length(u64),
    Chunked,
    Close,
}

/// What matters of a head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    pub bytes: usize,
    pub end: End,
    pub keep: bool,
    pub host: Option<String>,
}

/// A complete and faultless request at the front of these bytes.
pub fn request(bytes: &[u8]) -> Option<Read> {
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let (lines, taken) = section(&bytes[skipped..])?;
    let (first, rest) = lines.split_first()?;
    let parts: Vec<&str> = first.split(' ').collect();
    let [method, target, version] = parts[..] else { return None };
    let fields = fields(rest)?;
    let old = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return None,
    };
    if !token(method) {
        return None;
    }
    let named = match &values(&fields, "host")[..] {
        [] if old => None,
        [host] if authority(host).is_some() => Some(host.clone()),
        _ => return None,
    };
    let host = match self::target(method, target)? {
        Some(authority) => Some(authority),
        None => named,
    };
    let expectations = values(&fields, "expect");
    if !old && expectations.iter().any(|value| !value.eq_ignore_ascii_case("100-continue")) {
        return None;
    }
    let (length, chunked) = framing(&fields, old)?;
    if method == "CONNECT" && (length.is_some() || chunked) {
        return None;
    }
    let end = match (length, chunked) {
        (_, true) => End::Chunked,
        (Some(length), _) => End::Length(length),
        (None, false) => End::Nothing,
    };
    Some(Read { bytes: skipped + taken, end, keep: keep(&fields, old)?, host })
}

/// The same for the response to a GET, or to a HEAD.
pub fn response(bytes: &[u8], to_head: bool) -> Option<Read> {
    if bytes.starts_with(b"\r\n") {
        return None;
    }
    let (lines, taken) = section(bytes)?;
    let (first, rest) = lines.split_first()?;
    let fields = fields(rest)?;
    let old = match first.get(..8)? {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return None,
    };
    let status: String = first.chars().skip(9).take(3).collect();
    if first.chars().nth(8) != Some(' ') || status.chars().count() != 3 || !digits(&status) || status.starts_with('0') {
        return None;
    }
    let reason: String = first.chars().skip(12).collect();
    if !reason.is_empty() && (!reason.starts_with(' ') || reason.chars().any(control)) {
        return None;
    }
    let (length, chunked) = framing(&fields, old)?;
    let says_content = chunked || length.is_some_and(|length| length > 0);
    let keep = keep(&fields, old)?;
    let end = match &status[..] {
        "101" => return None,
        bodiless if bodiless.starts_with('1') || bodiless == "204" => {
            if says_content {
                return None;
            }
            End::Nothing
        }
        "304" => End::Nothing,
        _ if to_head => End::Nothing,
        _ if chunked => End::Chunked,
        _ => length.map_or(End::Close, End::Length),
    };
    Some(Read { bytes: taken, end, keep: keep && end != End::Close, host: None })
}

/// The content of a complete and faultless chunked body, and how many bytes it took.
pub fn chunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut content, mut at, mut extensions) = (Vec::new(), 0, 0);
    loop {
        let line_end = at + bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        let line = latin(&bytes[at..line_end]);
        at = line_end + 2;
        let size: String = line.chars().take_while(char::is_ascii_hexdigit).collect();
        let extension = &line[size.len()..];
        let blank = |c: char| c == ' ' || c == '\t';
        extensions += extension.chars().count();
        let fine = extension.is_empty() || extension.trim_start_matches(blank).starts_with(';');
        if size.is_empty() || size.len() > 16 || !fine || extension.chars().any(control) || extensions > 4096 {
            return None;
        }
        match usize::from_str_radix(&size, 16).ok()? {
            0 => break,
            size => {
                content.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
                at += size;
                if bytes.get(at..at + 2)? != b"\r\n" {
                    return None;
                }
                at += 2;
            }
        }
    }
    if bytes[at..].starts_with(b"\r\n") {
        return Some((content, at + 2));
    }
    let (lines, taken) = section(&bytes[at..])?;
    const REFUSED: [&str; 10] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "expect",
        "te",
        "trailer",
        "keep-alive",
        "proxy-connection",
    ];
    let fields = fields(&lines)?;
    let refused = fields.iter().any(|(name, _)| REFUSED.contains(&&name[..]));
    if refused { None } else { Some((content, at + taken)) }
}

/// Lines up to an empty one, and the length of all.
fn section(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let lines: Vec<String> = latin(&bytes[..end]).split("\r\n").map(str::to_owned).collect();
    let broken = lines.iter().any(|line| line.is_empty() || line.contains(['\r', '\n', '\0']));
    if broken { None } else { Some((lines, end + 4)) }
}

/// Names in lower case, values without blanks around.
fn fields(lines: &[String]) -> Option<Vec<(String, String)>> {
    lines
        .iter()
        .map(|line| {
            let (name, value) = line.split_once(':')?;
            let fine = token(name) && !value.chars().any(control);
            fine.then(|| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
        })
        .collect()
}

fn values(fields: &[(String, String)], name: &str) -> Vec<String> {
    fields.iter().filter(|(other, _)| other == name).map(|(_, value)| value.clone()).collect()
}

fn framing(fields: &[(String, String)], old: bool) -> Option<(Option<u64>, bool)> {
    let length = match &values(fields, "content-length")[..] {
        [] => None,
        [length] if digits(length) => Some(length.parse().ok()?),
        _ => return None,
    };
    match &values(fields, "transfer-encoding")[..] {
        [] => Some((length, false)),
        [coding] if coding.eq_ignore_ascii_case("chunked") && length.is_none() && !old => Some((None, true)),
        _ => None,
    }
}

fn keep(fields: &[(String, String)], old: bool) -> Option<bool> {
    let lists = values(fields, "connection").join(",").to_ascii_lowercase();
    let options: Vec<&str> =
        lists.split(',').map(|option| option.trim_matches([' ', '\t'])).filter(|option| !option.is_empty()).collect();
    if options.len() > 32 || !options.iter().all(|option| token(option)) {
        return None;
    }
    Some(!options.contains(&"close") && (!old || options.contains(&"keep-alive")))
}

/// `Some(None)`: a target that does not say whom it is for.
fn target(method: &str, target: &str) -> Option<Option<String>> {
    if method == "CONNECT" {
        let port = authority(target)??;
        return if port > 0 { Some(Some(target.to_owned())) } else { None };
    }
    if target == "*" {
        return if method == "OPTIONS" { Some(None) } else { None };
    }
    if target.starts_with('/') {
        return path(target).then_some(None);
    }
    let lower = target.to_ascii_lowercase();
    let rest =
        ["http://", "https://"].iter().find_map(|scheme| lower.starts_with(scheme).then(|| &target[scheme.len()..]))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    authority(&rest[..end])?;
    path(&rest[end..]).then(|| Some(rest[..end].to_owned()))
}

fn path(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fine = |c: char| c.is_ascii_graphic() && !"\"#<>".contains(c);
    path.chars().all(|c| fine(c) && c != '\\') && query.chars().all(fine)
}

/// The port, if there is one.
fn authority(text: &str) -> Option<Option<u16>> {
    let port = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        port
    } else {
        let host = text.split(':').next()?;
        if host.is_empty() || !host.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c)) {
            return None;
        }
        &text[host.len()..]
    };
    match port {
        "" | ":" => Some(None),
        port => {
            let digits = port.strip_prefix(':').filter(|port| self::digits(port))?;
            Some(Some(digits.parse().ok()?))
        }
    }
}

fn token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

fn control(c: char) -> bool {
    (c < ' ' && c != '\t') || c == '\x7f'
}

/// Each byte as the character of its number: no byte is lost, and none is taken for part of another.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
