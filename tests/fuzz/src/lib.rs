//! Fuzz targets: each parser and state machine that must stand whatever comes, as a function of bytes.
//!
//! Owns what must hold for any input, the corpus that is kept, and a mutation that knows the languages of the
//! inputs. Does not know who makes the bytes: `cargo test` replays the corpus and a bounded random run, and
//! `libfuzzer/` is led by coverage.
//!
//! A target asserts more than the absence of a panic: it holds the code against something simpler that must
//! agree with it, and it can fail. What each asserts is written at its function.

#![forbid(unsafe_code)]

mod adopter;
mod answer;
pub mod corpus;
mod dice;
mod document;
mod edits;
mod entries;
mod exchange;
mod files;
mod framing;
mod h1;
mod leases;
pub mod mutate;
mod patch;
mod plan;
mod problems;
pub mod reader;
mod request;
mod rules;
mod running;
mod script;
mod segment;
mod tunnel;
mod words;

pub use adopter::adopter;
pub use answer::answer;
pub use dice::Dice;
pub use document::document;
pub use edits::edits;
pub use entries::entries;
pub use exchange::exchange;
pub use framing::framing;
pub use h1::{h1_body, h1_onward, h1_request, h1_response};
pub use leases::leases;
pub use patch::patch;
pub use plan::plan;
pub use request::request;
pub use rules::rules;
pub use segment::segment;
pub use tunnel::tunnel;

use mutate::Language;

/// One thing to fuzz.
pub struct Target {
    /// Also the name of its corpus folder and of its file in `libfuzzer/`.
    pub name: &'static str,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
    pub language: Language,
}

/// Every target.
pub static TARGETS: &[Target] = &[
    Target { name: "adopter", run: adopter, language: Language::Bytes },
    Target { name: "answer", run: answer, language: Language::Text(words::messages) },
    Target { name: "document", run: document, language: Language::Text(words::documents) },
    Target { name: "edits", run: edits, language: Language::Text(words::documents) },
    Target { name: "entries", run: entries, language: Language::Text(words::entries) },
    Target { name: "exchange", run: exchange, language: Language::Text(words::http) },
    Target { name: "framing", run: framing, language: Language::Bytes },
    Target { name: "h1-body", run: h1_body, language: Language::Text(words::http) },
    Target { name: "h1-onward", run: h1_onward, language: Language::Text(words::http) },
    Target { name: "h1-request", run: h1_request, language: Language::Text(words::http) },
    Target { name: "h1-response", run: h1_response, language: Language::Text(words::http) },
    Target { name: "leases", run: leases, language: Language::Bytes },
    Target { name: "patch", run: patch, language: Language::Text(words::documents) },
    Target { name: "plan", run: plan, language: Language::Text(words::documents) },
    Target { name: "request", run: request, language: Language::Text(words::messages) },
    Target { name: "rules", run: rules, language: Language::Bytes },
    Target { name: "segment", run: segment, language: Language::Bytes },
    Target { name: "tunnel", run: tunnel, language: Language::Bytes },
];

/// The target of this name.
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target `{name}`"))
}
