//! The embedded default: what runs when no document is given.

use std::net::SocketAddr;
use std::path::Path;

/// Where the HTTP pool listens unless `--http` says otherwise.
pub const HTTP: &str = "127.0.0.1:8080";

/// Where the TCP pool listens unless `--tcp` says otherwise.
pub const TCP: &str = "127.0.0.1:7000";

/// Where the pools listen.
#[derive(Clone, Copy)]
pub struct Addresses<'a> {
    pub http: &'a str,
    pub tcp: &'a str,
}

/// The document, as a user could have written it.
pub fn document(
    listen: Addresses<'_>,
    origins: &[SocketAddr],
    control_socket: Option<&Path>,
    shards: Option<usize>,
) -> String {
    let mut text =
        String::from("# The embedded default of Sluicegate: loopback only, two built-in origins.\n\n[appliance]\n");
    if let Some(socket) = control_socket {
        text += &format!("control_socket = {}\n", quoted(&socket.display().to_string()));
    }
    if let Some(shards) = shards {
        text += &format!("shards = {shards}\n");
    }
    let (http, tcp) = (quoted(listen.http), quoted(listen.tcp));
    text += &format!(
        r#"
[pool.web.create]
service = "http"
listen = [{http}]

[[pool.web.rule]]
id = "api"
path_prefix = "/api"
group = "origins"
rewrite = {{ strip_prefix = "/api" }}
response_headers = {{ set = {{ X-Rule = "api" }} }}

[[pool.web.rule]]
id = "all"
group = "origins"
"#
    );
    group(&mut text, "web", origins);
    text += &format!("\n[pool.demo.create]\nservice = \"tcp\"\nlisten = [{tcp}]\n");
    group(&mut text, "demo", origins);
    text
}

/// The built-in origins as the only group of this pool.
fn group(text: &mut String, pool: &str, origins: &[SocketAddr]) {
    *text += &format!("\n[pool.{pool}.group.origins]\n\n[pool.{pool}.group.origins.health]\ninterval = \"1s\"\n");
    for (name, address) in crate::demo::ORIGINS.iter().zip(origins) {
        let id = quoted(name);
        *text += &format!("\n[[pool.{pool}.group.origins.backend]]\nid = {id}\naddress = \"{address}\"\n");
    }
}

/// A TOML basic string. `{:?}` of Rust writes `\u{7f}`, which TOML does not read.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // `$` begins a variable in our documents.
            '$' => quoted += "$$",
            c if c.is_control() => quoted += &format!("\\u{:04X}", c as u32),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{NoFiles, Surroundings, parse};

    #[test]
    fn the_default_is_in_order_without_a_warning() {
        let origins = ["127.0.0.1:1", "127.0.0.1:2"].map(|address| address.parse().unwrap());
        let odd = Path::new("/tmp/a \"b\" $c\\d/x.sock");
        for socket in [None, Some(odd)] {
            let text = document(Addresses { http: HTTP, tcp: TCP }, &origins, socket, Some(1));
            let around = Surroundings { source: &NoFiles, variables: &|_| None, shards_auto: 1 };
            let parsed = parse(Path::new("embedded"), text.as_bytes(), &around)
                .unwrap_or_else(|problems| panic!("{}\n{text}", problems.draw(config::Colour::Plain)));
            assert!(parsed.warnings.is_empty(), "{}", parsed.warnings.draw(config::Colour::Plain));
        }
    }
}
