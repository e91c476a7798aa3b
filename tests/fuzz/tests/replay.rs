//! The kept corpus, and a bounded random run from it: the same inputs on every machine, every time.

#![forbid(unsafe_code)]

use fuzz::{Dice, Target, corpus, mutate::mutate, target};
use std::collections::BTreeSet;

/// Random inputs of each target. A few seconds in a development build for the slowest of them.
const RANDOM_INPUTS: usize = 3_000;

#[test]
fn adopter() {
    replay(target("adopter"));
}

#[test]
fn answer() {
    replay(target("answer"));
}

#[test]
fn document() {
    replay(target("document"));
}

#[test]
fn edits() {
    replay(target("edits"));
}

#[test]
fn entries() {
    replay(target("entries"));
}

#[test]
fn exchange() {
    replay(target("exchange"));
}

#[test]
fn framing() {
    replay(target("framing"));
}

#[test]
fn h1_body() {
    replay(target("h1-body"));
}

#[test]
fn h1_onward() {
    replay(target("h1-onward"));
}

#[test]
fn h1_request() {
    replay(target("h1-request"));
}

#[test]
fn h1_response() {
    replay(target("h1-response"));
}

#[test]
fn leases() {
    replay(target("leases"));
}

#[test]
fn patch() {
    replay(target("patch"));
}

#[test]
fn plan() {
    replay(target("plan"));
}

#[test]
fn request() {
    replay(target("request"));
}

#[test]
fn rules() {
    replay(target("rules"));
}

#[test]
fn segment() {
    replay(target("segment"));
}

#[test]
fn tunnel() {
    replay(target("tunnel"));
}

fn replay(target: &Target) {
    let kept = corpus::of(target.name);
    for (name, bytes) in &kept {
        run(target, bytes, &format!("corpus/{}/{name}", target.name));
    }
    let mut dice = Dice::new(0x5106_ce9a);
    for turn in 0..RANDOM_INPUTS {
        let (one, other) = (dice.choose(&kept), dice.choose(&kept));
        let bytes = mutate(target.language, &one.1, &other.1, &mut dice);
        run(target, &bytes, &format!("random input {turn} of `{}`", target.name));
    }
}

/// Says which input it was if it fails, and where it is left.
fn run(target: &Target, bytes: &[u8], what: &str) {
    struct Culprit<'a>(&'a Target, &'a [u8], &'a str);
    impl Drop for Culprit<'_> {
        fn drop(&mut self) {
            let Culprit(target, bytes, what) = *self;
            if std::thread::panicking() {
                let path = format!("{}/{}-failed", env!("CARGO_TARGET_TMPDIR"), target.name);
                let left = std::fs::write(&path, bytes).map_or_else(|error| error.to_string(), |()| path);
                eprintln!("that was {what}; it is left in {left}");
            }
        }
    }
    let _culprit = Culprit(target, bytes, what);
    (target.run)(bytes);
}

/// A target without corpus, without fuzzer or without test is one that nobody runs.
#[test]
fn every_target_has_its_corpus_its_fuzzer_and_its_test() {
    let names: BTreeSet<String> = fuzz::TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let listed = |folder: &str, suffix: &str| -> BTreeSet<String> {
        let folder = corpus::folder().parent().expect("the package's folder").join(folder);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let names = entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned());
        names.map(|name| name.strip_suffix(suffix).unwrap_or(&name).to_owned()).collect()
    };
    assert_eq!(listed("corpus", ""), names);
    assert_eq!(listed("libfuzzer/fuzz_targets", ".rs"), names);
    for name in &names {
        let function = name.replace('-', "_");
        let test = format!("#[test]\nfn {function}() {{\n    replay(target(\"{name}\"));");
        assert!(include_str!("replay.rs").contains(&test), "no test replays `{name}`");
    }
}
