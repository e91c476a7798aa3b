//! Names of backends become addresses.
//!
//! Asks `/etc/hosts` first and then the servers of `/etc/resolv.conf`, and reads both again when they have
//! changed. Owns no schedule: the prober decides when to ask. Knows nothing of ports or endpoints.

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// An answer is asked for again no earlier, whatever its TTL says.
pub const VALID_MIN: Duration = Duration::from_secs(1);
/// An answer is asked for again no later.
pub const VALID_MAX: Duration = Duration::from_secs(300);
/// Addresses taken from one answer, the lowest ones: a backend is not a fleet.
pub const ADDRESSES_MAX: usize = 64;
/// After a failure the name is asked for again after this, then twice as long, up to [`RETRY_MAX`].
pub const RETRY_MIN: Duration = Duration::from_secs(1);
pub const RETRY_MAX: Duration = Duration::from_secs(30);

/// Where names come from.
#[derive(Clone, Debug)]
pub enum NameSource {
    /// What the host is set up to use.
    System,
    /// These servers and this file of hosts.
    Explicit { servers: Vec<SocketAddr>, hosts: PathBuf },
}

/// What a name stands for, for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Sorted, so that servers that rotate their answers do not look like a change.
    pub addresses: Vec<IpAddr>,
    /// Within [`VALID_MIN`] and [`VALID_MAX`].
    pub valid: Duration,
}

/// When to ask again after so many failures in a row (at least one).
pub fn retry_after(failures: u32) -> Duration {
    let doubled = RETRY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(RETRY_MAX)
}

/// Asks. Cheap to keep, dear to make: one for the thread.
pub struct Resolver {
    source: NameSource,
    hosts: Fresh<Hosts>,
    servers: Fresh<Option<TokioResolver>>,
}

impl Resolver {
    pub fn new(source: NameSource) -> Resolver {
        let (hosts, servers) = match &source {
            NameSource::System => ("/etc/hosts".into(), Some("/etc/resolv.conf".into())),
            NameSource::Explicit { hosts, .. } => (hosts.clone(), None),
        };
        Resolver { source, hosts: Fresh::new(Some(hosts)), servers: Fresh::new(servers) }
    }

    /// The addresses of a name, or why there are none. Files are looked at now; the future asks the servers
    /// and does not borrow, so that a slow answer delays no other.
    pub fn resolve(&mut self, host: &str) -> impl Future<Output = Result<Answer, String>> + 'static {
        let known = self.begin(host);
        let host = host.to_owned();
        async move {
            let (servers, name) = match known? {
                Known::Answer(answer) => return Ok(answer),
                Known::Ask(servers, name) => (servers, name),
            };
            let found = servers.lookup_ip(name).await;
            let found = found.map_err(|error| explain(&host, &error))?;
            answer(&found, Instant::now()).ok_or_else(|| format!("`{host}` has no address"))
        }
    }

    fn begin(&mut self, host: &str) -> Result<Known, String> {
        let name = Name::from_utf8(host).map_err(|error| format!("`{host}` is not a host name: {error}"))?;
        if let Some(answer) = in_hosts(self.hosts.newest(read_hosts), &name) {
            return Ok(Known::Answer(answer));
        }
        let source = &self.source;
        match self.servers.newest(|_| servers(source)) {
            Some(servers) => Ok(Known::Ask(Box::new(servers.clone()), name)),
            None => Err(format!("`{host}` is not in the hosts file and no name server is configured")),
        }
    }
}

/// What is known without asking anybody.
enum Known {
    Answer(Answer),
    Ask(Box<TokioResolver>, Name),
}

/// A value made from a file, made anew when the file's time stamp differs.
struct Fresh<T> {
    path: Option<PathBuf>,
    made: Option<(Option<SystemTime>, T)>,
}

impl<T> Fresh<T> {
    fn new(path: Option<PathBuf>) -> Fresh<T> {
        Fresh { path, made: None }
    }

    fn newest(&mut self, make: impl FnOnce(Option<&Path>) -> T) -> &T {
        let path = self.path.as_deref();
        let stamp = path.and_then(|path| path.metadata().ok()?.modified().ok());
        let stale = self.made.as_ref().is_none_or(|(seen, _)| *seen != stamp);
        if stale {
            self.made = Some((stamp, make(path)));
        }
        &self.made.as_ref().expect("made above").1
    }
}

/// An unreadable file is an empty one, as for every other resolver.
fn read_hosts(path: Option<&Path>) -> Hosts {
    let mut hosts = Hosts::default();
    if let Some(file) = path.and_then(|path| std::fs::File::open(path).ok()) {
        let _ = hosts.read_hosts_conf(file);
    }
    hosts
}

/// As in libc, a name that the file knows in either family is not asked for elsewhere.
fn in_hosts(hosts: &Hosts, name: &Name) -> Option<Answer> {
    let mut addresses = Vec::new();
    for family in [RecordType::A, RecordType::AAAA] {
        if let Some(found) = hosts.lookup_static_host(&Query::query(name.clone(), family)) {
            addresses.extend(found.answers().iter().filter_map(|record| record.data.ip_addr()));
        }
    }
    let addresses = bounded(addresses);
    (!addresses.is_empty()).then_some(Answer { addresses, valid: VALID_MAX })
}

fn servers(source: &NameSource) -> Option<TokioResolver> {
    let mut builder = match source {
        NameSource::System => TokioResolver::builder_tokio().ok()?,
        NameSource::Explicit { servers, .. } => {
            let servers = servers.iter().map(|server| {
                let connection = |mut kind: ConnectionConfig| {
                    kind.port = server.port();
                    kind
                };
                NameServerConfig::new(server.ip(), true, vec![connection(ConnectionConfig::udp())])
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.options_mut().timeout = Duration::from_secs(1);
            builder
        }
    };
    let options: &mut ResolverOpts = builder.options_mut();
    // The schedule is the prober's: an answer out of a cache would be older than it says.
    options.cache_size = 0;
    options.use_hosts_file = hickory_resolver::config::ResolveHosts::Never;
    builder.build().ok()
}

fn answer(found: &LookupIp, now: Instant) -> Option<Answer> {
    let addresses = bounded(found.iter().collect());
    let valid = found.valid_until().saturating_duration_since(now).clamp(VALID_MIN, VALID_MAX);
    (!addresses.is_empty()).then_some(Answer { addresses, valid })
}

fn bounded(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

fn explain(host: &str, error: &NetError) -> String {
    if error.is_no_records_found() {
        format!("`{host}` has no address")
    } else {
        format!("asking for `{host}`: {error}")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, AAAA};
    use hickory_resolver::proto::rr::{RData, Record};
    use std::collections::HashMap;
    use std::net::{Ipv4Addr, UdpSocket};
    use std::sync::{Arc, Mutex};

    /// A name server on loopback. `None`: it keeps silent.
    #[derive(Clone)]
    pub struct Server {
        pub address: SocketAddr,
        zone: Arc<Mutex<HashMap<String, Zone>>>,
    }

    type Zone = Option<(Vec<IpAddr>, u32)>;

    impl Server {
        pub fn start() -> Server {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let server = Server { address: socket.local_addr().unwrap(), zone: Arc::default() };
            let zone = Arc::clone(&server.zone);
            // Ends with the test's process.
            std::thread::spawn(move || {
                let mut bytes = [0; 1500];
                while let Ok((len, client)) = socket.recv_from(&mut bytes) {
                    let Ok(question) = Message::from_vec(&bytes[..len]) else {
                        continue;
                    };
                    if let Some(answer) = answer_to(&question, &zone.lock().unwrap()) {
                        let _ = socket.send_to(&answer.to_vec().unwrap(), client);
                    }
                }
            });
            server
        }

        pub fn says(&self, name: &str, addresses: &[&str], ttl: u32) {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            self.zone.lock().unwrap().insert(format!("{name}."), Some((addresses, ttl)));
        }

        pub fn keeps_silent_about(&self, name: &str) {
            self.zone.lock().unwrap().insert(format!("{name}."), None);
        }

        pub fn source(&self) -> NameSource {
            NameSource::Explicit { servers: vec![self.address], hosts: "/nonexistent".into() }
        }
    }

    fn answer_to(question: &Message, zone: &HashMap<String, Zone>) -> Option<Message> {
        let query = question.queries.first()?.clone();
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.add_query(query.clone());
        answer.metadata.recursion_available = true;
        match zone.get(&query.name().to_lowercase().to_utf8()) {
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some(None) => return None,
            Some(Some((addresses, ttl))) => {
                answer.add_answers(addresses.iter().filter_map(|address| {
                    let data = match (address, query.query_type()) {
                        (IpAddr::V4(address), RecordType::A) => RData::A(A(*address)),
                        (IpAddr::V6(address), RecordType::AAAA) => RData::AAAA(AAAA(*address)),
                        _ => return None,
                    };
                    Some(Record::from_rdata(query.name().clone(), *ttl, data))
                }));
            }
        }
        Some(answer)
    }

    pub fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    fn resolve(source: NameSource, host: &str) -> Result<Answer, String> {
        block_on(Resolver::new(source).resolve(host))
    }

    fn addresses(answer: Result<Answer, String>) -> Vec<String> {
        answer.unwrap().addresses.iter().map(|address| address.to_string()).collect()
    }

    #[test]
    fn both_families_sorted() {
        let server = Server::start();
        server.says("db.test", &["127.0.0.3", "::1", "127.0.0.2"], 60);
        assert_eq!(addresses(resolve(server.source(), "db.test")), ["127.0.0.2", "127.0.0.3", "::1"]);
    }

    #[test]
    fn the_time_to_live_is_kept_within_its_bounds() {
        let server = Server::start();
        for (ttl, expected) in [(0, 1..=1), (1, 1..=1), (60, 59..=60), (86_400, 300..=300)] {
            server.says("db.test", &["127.0.0.1"], ttl);
            let valid = resolve(server.source(), "db.test").unwrap().valid.as_secs_f64().ceil() as u64;
            assert!(expected.contains(&valid), "ttl {ttl} gave {valid} s");
        }
    }

    #[test]
    fn failures_say_what_is_wrong() {
        let server = Server::start();
        for (host, expected) in [("no.test", "`no.test` has no address"), ("a..b", "`a..b` is not a host name")] {
            let error = resolve(server.source(), host).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        server.keeps_silent_about("mute.test");
        let error = resolve(server.source(), "mute.test").unwrap_err();
        assert!(error.contains("mute.test"), "{error}");
    }

    #[test]
    fn the_hosts_file_comes_first_and_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = folder.path().join("hosts");
        std::fs::write(&hosts, "127.0.0.5 db.test\n").unwrap();
        let server = Server::start();
        server.says("db.test", &["127.0.0.9"], 60);
        let source = NameSource::Explicit { servers: vec![server.address], hosts: hosts.clone() };
        let mut resolver = Resolver::new(source);
        assert_eq!(addresses(block_on(resolver.resolve("db.test"))), ["127.0.0.5"]);
        std::fs::write(&hosts, "127.0.0.6 db.test\n::1 db.test\n").unwrap();
        let later = SystemTime::now() + Duration::from_secs(10);
        std::fs::File::open(&hosts).unwrap().set_modified(later).unwrap();
        assert_eq!(addresses(block_on(resolver.resolve("db.test"))), ["127.0.0.6", "::1"]);
        std::fs::remove_file(&hosts).unwrap();
        assert_eq!(addresses(block_on(resolver.resolve("db.test"))), ["127.0.0.9"]);
    }

    #[test]
    fn localhost_needs_no_server() {
        let found = addresses(resolve(NameSource::System, "localhost"));
        assert!(found.contains(&"127.0.0.1".into()) || found.contains(&"::1".into()), "{found:?}");
    }

    #[test]
    fn retries_slow_down_to_a_bound() {
        let waits: Vec<u64> = (1..=7).map(|failures| retry_after(failures).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(retry_after(u32::MAX), RETRY_MAX);
    }
}
