//! The dependency arrows of `dataplane/ARCHITECTURE.md`: what is absent is the architecture.

use std::collections::{BTreeMap, BTreeSet};
use tidy::graph::Graph;

/// Who may ask for whom, among ours. A crate may ask for less; anything more is another architecture.
const ARROWS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("link", &[]),
    ("api", &[]),
    ("journal", &[]),
    ("policy", &["wire"]),
    ("shard", &["policy", "wire", "link"]),
    ("config", &["policy"]),
    ("agent", &["config", "policy", "link", "api", "journal"]),
    ("sluicegate", &["agent", "shard", "config", "link", "policy"]),
    ("sluicectl", &["api"]),
];

/// Beside the architecture: what judges it.
const BESIDE: &[(&str, &[&str])] = &[
    ("harness", &["api"]),
    ("e2e", &["harness", "api"]),
    ("sim", &["policy", "config", "agent", "api", "journal"]),
    ("fuzz", &["config", "api", "policy", "wire", "journal", "agent"]),
    ("tidy", &["config"]),
];

/// Whose own tests ask the outside witnesses, and only they.
const WITNESSED: &[&str] = &["shard"];

/// Benches measure whatever they like.
const FREE: &[&str] = &["bench-macro", "bench-micro"];

#[test]
fn each_crate_asks_only_for_those_it_may_know() {
    let graph = Graph::read();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().chain(BESIDE).copied().collect();
    for member in graph.members.keys().map(String::as_str) {
        let asks_for = graph.asks_for_ours(member);
        let Some(allowed) = allowed.get(member) else {
            assert!(FREE.contains(&member), "`{member}` is new: say in this file whom it may know");
            continue;
        };
        let witnessed = |name: &str| name == "harness" && WITNESSED.contains(&member);
        let beyond: Vec<&&str> = asks_for.iter().filter(|name| !allowed.contains(*name) && !witnessed(name)).collect();
        assert!(beyond.is_empty(), "`{member}` may know {allowed:?}, but asks for {beyond:?}");
    }
    for (member, _) in ARROWS.iter().chain(BESIDE) {
        graph.member(member);
    }
    for member in WITNESSED {
        assert!(!graph.reaches(member).contains("harness"), "`{member}` is built with what only its tests need");
    }
}

/// The picture in the document is the list above.
#[test]
fn the_document_draws_the_same_arrows() {
    let text = tidy::read("dataplane/ARCHITECTURE.md");
    let mut drawn: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for level in text.lines().filter(|line| line.starts_with("level ")) {
        // `level 2   shard ──> policy, wire      config ──> policy`
        let mut words = level.split_whitespace().skip(2).peekable();
        while let Some(name) = words.next() {
            let knows = drawn.entry(name).or_default();
            let mut more = words.next_if_eq(&"──>").is_some();
            while more {
                let known = words.next().unwrap_or_else(|| panic!("an arrow leads nowhere: {level}"));
                more = known.ends_with(',');
                knows.insert(known.trim_end_matches(','));
            }
        }
    }
    let listed = ARROWS.iter().map(|(name, knows)| (*name, knows.iter().copied().collect()));
    assert_eq!(drawn, listed.collect());
}

/// What a crate must not reach, however many steps away.
#[test]
fn out_of_reach_means_by_any_way() {
    const EXECUTORS: &[&str] = &["glommio", "io-uring"];
    const OUTSIDE_WORLD: &[&str] =
        &["glommio", "io-uring", "tokio", "mio", "async-io", "smol", "socket2", "nix", "rand", "getrandom", "fastrand"];
    const TERMINAL: &[&str] = &["clap", "indicatif", "ratatui", "crossterm"];
    let forbidden: &[(&str, &[&str])] = &[
        ("agent", EXECUTORS),
        ("agent", TERMINAL),
        ("shard", TERMINAL),
        ("wire", OUTSIDE_WORLD),
        ("policy", OUTSIDE_WORLD),
        ("config", OUTSIDE_WORLD),
        ("api", OUTSIDE_WORLD),
        ("api", &["rustls", "hyper"]),
        ("link", &["glommio", "io-uring", "tokio"]),
        ("journal", OUTSIDE_WORLD),
        ("sluicectl", &["glommio", "io-uring", "tokio", "config", "policy"]),
        ("harness", &["config", "policy", "wire", "link", "shard", "agent"]),
        ("e2e", &["config", "policy", "wire", "link", "shard", "agent"]),
    ];
    let graph = Graph::read();
    for (member, names) in forbidden {
        let reached = graph.reaches(member);
        let met: Vec<&&str> = names.iter().filter(|name| reached.contains(**name)).collect();
        assert!(met.is_empty(), "`{member}` reaches {met:?}; ask `cargo tree -p {member} -i {}`", met[0]);
    }
    // The same question has an answer where the answer is yes: otherwise nothing above means anything.
    assert!(graph.reaches("shard").contains("io-uring"));
    assert!(graph.reaches("sluicegate").contains("glommio"));
}
