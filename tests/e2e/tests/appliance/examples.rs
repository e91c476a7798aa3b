//! The examples of `control/README.md`, taken from there and run, and those of the client library.

use e2e::Pool;
use harness::appliance::Appliance;
use harness::backend::Backend;
use harness::binaries;
use harness::client::Tunnel;
use harness::net::Target;
use harness::process::Process;
use harness::wait::{Deadline, until};
use std::process::{Command, Stdio};

const README: &str = include_str!("../../../../control/README.md");
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../control/examples");

/// A program and what it prints.
struct Example {
    heading: &'static str,
    language: &'static str,
    program: &'static str,
    printed: &'static str,
}

/// Every block of the section in this language, with the `text` behind it.
fn examples(language: &'static str) -> Vec<Example> {
    let (_, section) = README.split_once("\n## Examples\n").expect("there is a section");
    let section = section.split("\n## ").next().expect("it ends");
    let mut examples = Vec::new();
    for part in section.split("\n### ").skip(1) {
        let heading = part.lines().next().expect("a heading has a line");
        for rest in part.split(&format!("\n```{language}\n")).skip(1) {
            let (program, rest) = rest.split_once("\n```\n").expect("a block ends");
            let printed = rest.trim_start().strip_prefix("```text\n").and_then(|rest| rest.split_once("\n```"));
            let (printed, _) = printed.unwrap_or_else(|| panic!("{heading}: what does it print?"));
            examples.push(Example { heading, language, program, printed });
        }
    }
    examples
}

impl Example {
    fn run(&self) {
        let (a, b, front) = (Backend::echo(), Backend::echo(), Target::fresh());
        let pool = Pool::new("db").listen(&front).backend("a", a.target()).backend("b", b.target());
        let appliance = Appliance::start(&pool.to_string());
        // Chosen in turn: one of two is at `b`, and the other is none of the examples' business.
        let mut tunnels: Vec<Tunnel> = (0..2).map(|_| Tunnel::open(&front).expect("it opens")).collect();
        assert_eq!((a.seen().open, b.seen().open), (1, 1));
        let interpreter = if self.language == "python" { "python3" } else { "bash" };
        let environment = [
            ("SLUICEGATE_SOCKET".to_owned(), appliance.control_socket().display().to_string()),
            ("PYTHONPATH".to_owned(), CLIENT.to_owned()),
            ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()),
        ];
        let mut process = Process::spawn(&[interpreter, "-c", self.program].map(str::to_owned), &environment);
        if self.program.contains("backend.remove") {
            // Progress is the newest: what has passed before it could be told is not.
            until("it says what is left", || if process.output().is_empty() { Err("nothing yet") } else { Ok(()) });
            assert!(e2e::backend(&appliance.status(), "b").removed);
            assert!(process.exited().is_none(), "{}: it did not wait: {:?}", self.heading, process.output());
            tunnels.drain(..).for_each(|tunnel| tunnel.close().expect("a proper end"));
        }
        let status = process.wait_exit(Deadline::patient());
        let printed = process.whole_output();
        assert!(status.is_some_and(|status| status.success()), "{}: {printed:#?}", self.heading);
        let expected: Vec<&str> = self.printed.lines().collect();
        let lines: Vec<&str> = printed.iter().map(String::as_str).collect();
        assert!(are_like(&lines, &expected), "{}\n{}\nprints\n{}", self.heading, self.program, printed.join("\n"));
    }
}

/// `…` alone is any lines.
fn are_like(lines: &[&str], patterns: &[&str]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((&"…", rest)) => (0..=lines.len()).any(|skipped| are_like(&lines[skipped..], rest)),
        Some((pattern, rest)) => {
            let Some((line, lines)) = lines.split_first() else { return false };
            is_like(line, pattern) && are_like(lines, rest)
        }
    }
}

/// `…` is any text.
fn is_like(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[test]
fn what_is_printed_is_compared() {
    assert!(is_like("a 17 b", "a … b") && is_like("abc", "…") && is_like("", ""));
    assert!(!is_like("a 17 c", "a … b") && !is_like("abc", "ab") && !is_like("ab", "abc") && !is_like("x", "…y…"));
    assert!(are_like(&["x", "y", "z"], &["…", "z"]) && are_like(&["z"], &["…", "z"]));
    assert!(!are_like(&["x", "y"], &["x"]) && !are_like(&["x"], &["x", "y"]));
}

fn has(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

const SUBJECTS: usize = 6;

#[test]
fn the_shell_examples_print_what_the_document_says() {
    if !has("nc", "-h") {
        return harness::skip("there is no nc on this machine");
    }
    let examples = examples("bash");
    assert_eq!(examples.len(), SUBJECTS);
    examples.iter().for_each(Example::run);
}

#[test]
fn the_python_examples_print_what_the_document_says() {
    if !has("python3", "--version") {
        return harness::skip("there is no python3 on this machine");
    }
    let examples = examples("python");
    assert_eq!(examples.len(), SUBJECTS);
    examples.iter().for_each(Example::run);
}

fn example_program(name: &str, appliance: &Appliance, arguments: &[&str]) -> Process {
    let program = binaries::example(name).display().to_string();
    let words: Vec<String> = std::iter::once(program).chain(arguments.iter().map(|word| (*word).to_owned())).collect();
    let socket = appliance.control_socket().display().to_string();
    Process::spawn(&words, &[("SLUICEGATE_SOCKET".to_owned(), socket)])
}

/// A bridge is a program beside the appliance: it makes the pool what the file says, without taking anything from clients,
/// and a file that says nothing changes nothing.
#[test]
fn a_bridge_keeps_the_pool_as_the_file_says() {
    let (a, b, c, front) = (Backend::echo(), Backend::echo(), Backend::echo(), Target::fresh());
    let appliance = Appliance::start(&Pool::new("db").listen(&front).backend("a", a.target()).to_string());
    let mut tunnel = Tunnel::open(&front).expect("it opens");
    let file = appliance.folder().join("addresses.txt");
    let write = |text: &str| {
        // As a careful writer does it: nobody reads half a file.
        let beside = file.with_extension("new");
        std::fs::write(&beside, text).expect("a file can be written");
        std::fs::rename(&beside, &file).expect("a file can be moved");
    };
    let addresses = || {
        let status = appliance.status();
        let backends = e2e::pool(&status, "db").backends.iter().filter(|backend| !backend.removed);
        let mut addresses: Vec<String> = backends.map(|backend| backend.address.clone()).collect();
        addresses.sort();
        addresses
    };
    let wait_for = |wanted: &[&Backend]| {
        let mut wanted: Vec<String> = wanted.iter().map(|backend| backend.target().to_string()).collect();
        wanted.sort();
        until("the pool is as the file says", || {
            let found = addresses();
            if found == wanted { Ok(()) } else { Err(found.join(", ")) }
        });
    };
    write(&format!("# by hand\n{}\n{}\n", a.target(), b.target()));
    let bridge = example_program("file_bridge", &appliance, &[&file.display().to_string(), "db"]);
    wait_for(&[&a, &b]);
    write(&format!("{}\n{}\n", b.target(), c.target()));
    wait_for(&[&b, &c]);
    tunnel.ping(100).expect("the tunnel to what was removed goes on");

    let generation = appliance.status().generation;
    write("# nothing\n");
    bridge.wait_line("names no address");
    assert_eq!(appliance.status().generation, generation);
    write(&format!("{}\nno address at all\n", a.target()));
    bridge.wait_line("refused");
    assert_eq!(appliance.status().generation, generation);
    write(&format!("{}\n", a.target()));
    wait_for(&[&a]);
    tunnel.ping(100).expect("and has not been touched");
}

#[test]
fn drains_are_watched() {
    let (a, b, front) = (Backend::echo(), Backend::echo(), Target::fresh());
    let pool = Pool::new("db").listen(&front).backend("a", a.target()).backend("b", b.target());
    let appliance = Appliance::start(&pool.to_string());
    // Its root is superseded and its backend empty, in whichever order.
    let mut watching = example_program("watch_drains", &appliance, &["2"]);
    let done = appliance.ctl(&["backend", "remove", "db", "b"]);
    assert!(done.status.is_some_and(|status| status.success()), "{done:?}");
    watching.wait_line("db/main/b is empty");
    watching.wait_line("db@1 pool is released");
    assert!(watching.wait_exit(Deadline::patient()).is_some_and(|status| status.success()));
}
