//! What the kernel counted in this network namespace: the witness that no client can be.

use std::collections::BTreeMap;
use std::fmt;

/// Counters of `/proc/net/snmp` and `/proc/net/netstat`, named `Tcp.OutRsts`, `TcpExt.ListenDrops` …
#[derive(Clone, Debug)]
pub struct Counters(BTreeMap<String, u64>);

/// Every counter by which a reset, or a connection that found no place, shows. `TCPAbort*` alone would miss
/// the most important case: connections queued on a listener that is closed.
pub const RESET_WITNESSES: [&str; 11] = [
    "Tcp.OutRsts",
    "Tcp.EstabResets",
    "Tcp.AttemptFails",
    "TcpExt.ListenDrops",
    "TcpExt.ListenOverflows",
    "TcpExt.TCPAbortOnData",
    "TcpExt.TCPAbortOnClose",
    "TcpExt.TCPAbortOnMemory",
    "TcpExt.TCPAbortOnTimeout",
    "TcpExt.TCPAbortOnLinger",
    "TcpExt.TCPMigrateReqFailure",
];

impl Counters {
    /// As they stand now, in the calling thread's namespace.
    pub fn read() -> Counters {
        let mut counters = BTreeMap::new();
        for file in ["/proc/thread-self/net/snmp", "/proc/thread-self/net/netstat"] {
            let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
            parse(&text, &mut counters);
        }
        for witness in RESET_WITNESSES {
            assert!(counters.contains_key(witness), "this kernel does not count {witness}");
        }
        Counters(counters)
    }

    pub fn of(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("this kernel does not count {name}"))
    }

    /// The witnesses that moved since `earlier`, and by how much.
    pub fn resets_since(&self, earlier: &Counters) -> Moved {
        let moved = RESET_WITNESSES.iter().map(|name| (*name, self.of(name) - earlier.of(name)));
        Moved(moved.filter(|(_, by)| *by > 0).collect())
    }
}

/// Witnesses that moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moved(pub BTreeMap<&'static str, u64>);

impl Moved {
    pub fn by(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(|(name, by)| format!("{name} +{by}")).collect();
        f.write_str(if words.is_empty() { "nothing" } else { "" })?;
        f.write_str(&words.join(", "))
    }
}

/// Two lines a group: `Tcp: name name …`, `Tcp: value value …`.
fn parse(text: &str, counters: &mut BTreeMap<String, u64>) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let Some((group, names)) = names.split_once(':') else {
            continue;
        };
        let values = values.split_once(':').map_or("", |(_, values)| values);
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            // Some values of other groups are negative limits, not counters.
            if let Ok(value) = value.parse() {
                counters.insert(format!("{group}.{name}"), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_paired() {
        let mut counters = BTreeMap::new();
        parse("Ip: A B\nIp: 1 2\nTcp: RtoMin MaxConn OutRsts\nTcp: 200 -1 7\n", &mut counters);
        assert_eq!(counters["Ip.B"], 2);
        assert_eq!(counters["Tcp.OutRsts"], 7);
        assert!(!counters.contains_key("Tcp.MaxConn"));
    }

    #[test]
    fn the_running_kernel_counts_every_witness() {
        let counters = Counters::read();
        assert!(counters.resets_since(&counters).is_empty());
    }
}
