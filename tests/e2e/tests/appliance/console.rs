//! `sluicectl` as an operator uses it: what it prints, for people and for machines, and that its exit code is the truth.

use e2e::Pool;
use harness::appliance::{Appliance, Launch};
use harness::backend::Backend;
use harness::binaries;
use harness::client::Tunnel;
use harness::net::Target;
use harness::process::{Finished, Process, finish};
use harness::wait::Deadline;
use rustix::process::Signal;
use serde_json::Value;
use std::process::{Command, Stdio};

struct Site {
    a: Backend,
    front: Target,
    appliance: Appliance,
}

impl Site {
    fn start() -> Site {
        let (a, front) = (Backend::echo(), Target::fresh());
        let appliance = Appliance::start(&Pool::new("db").listen(&front).backend("a", a.target()).to_string());
        Site { a, front, appliance }
    }

    /// Writes a document with this weight and gives its path.
    fn file(&self, weight: &str) -> String {
        let pool =
            Pool::new("db").listen(&self.front).backend_with("a", self.a.target(), &format!("weight = {weight}"));
        let path = self.appliance.folder().join("submitted.toml");
        std::fs::write(&path, self.appliance.document(&pool.to_string())).expect("a file can be written");
        path.display().to_string()
    }

    /// Runs it, expects this exit code, gives what it printed on stdout.
    #[track_caller]
    fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let done = self.appliance.ctl(arguments);
        assert_eq!(done.status.and_then(|status| status.code()), Some(code), "{arguments:?}: {}", said(&done));
        String::from_utf8(done.stdout).expect("it prints text")
    }

    /// As [`Site::expect`] with `--json`, which prints one object in one line.
    #[track_caller]
    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let text = self.expect(code, &[arguments, &["--json"]].concat());
        assert_eq!(text.trim_end().lines().count(), 1, "{arguments:?}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }
}

fn said(done: &Finished) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

#[test]
fn each_command_works_for_people_and_for_machines() {
    let site = Site::start();
    let _tunnel = Tunnel::open(&site.front).expect("it opens");
    let front = site.front.to_string();
    for (arguments, word) in [
        (&["status"][..], front.as_str()),
        (&["config"], "[pool.db.create]"),
        (&["generations"], "db"),
        (&["history"], "applied"),
        (&["receipt", "1"], "applied"),
        (&["jobs"], ""),
        (&["metrics"], "sluicegate_"),
        (&["keys"], "weight"),
        (&["version"], env!("CARGO_PKG_VERSION")),
    ] {
        let text = site.expect(0, arguments);
        assert!(text.contains(word), "{arguments:?} without {word:?}:\n{text}");
        assert!(!text.contains('\x1b'), "{arguments:?}: colours into a pipe:\n{text}");
        let answer = site.json(0, arguments);
        assert_eq!(answer["status"], "ok", "{arguments:?}: {answer}");
    }
    // A path is as long as it is.
    let status = site.expect(0, &["status"]);
    let wide: Vec<&str> = status.lines().filter(|line| line.chars().count() > 80 && !line.contains("/")).collect();
    assert!(wide.is_empty(), "wider than a terminal: {wide:?}");
}

#[test]
fn check_plan_apply_and_their_exit_codes() {
    let site = Site::start();
    let right = site.file("3");
    assert_eq!(site.json(0, &["check", &right])["status"], "ok");
    let plan = site.expect(0, &["plan", &right]);
    for word in ["weight", "soft", "next-connection"] {
        assert!(plan.contains(word), "no word of {word:?}:\n{plan}");
    }
    let receipt = site.json(0, &["apply", &right]);
    assert_eq!(receipt["result"]["outcome"], "applied", "{receipt}");
    assert_eq!(site.json(0, &["apply", &right])["result"]["outcome"], "unchanged");

    let wrong = site.file("\"heavy\"");
    for command in ["check", "plan", "apply"] {
        let answer = site.json(1, &[command, &wrong]);
        assert_eq!((&answer["status"], &answer["error"]["code"]), (&"error".into(), &"invalid_configuration".into()));
        let done = site.appliance.ctl(&[command, &wrong]);
        assert!(said(&done).contains("heavy") && said(&done).contains("submitted.toml:"), "{}", said(&done));
    }
    let stale = site.json(1, &["apply", &site.file("4"), "--if-generation", "999"]);
    assert_eq!(stale["error"]["code"], "conflict");
    site.expect(2, &["apply", "/nowhere/at/all.toml"]);
    site.expect(2, &["no-such-command"]);
    assert_eq!(site.json(1, &["receipt", "999"])["error"]["code"], "not_found");
}

#[test]
fn backends_are_added_set_and_removed_with_their_connections_told() {
    let site = Site::start();
    let b = Backend::echo();
    site.expect(0, &["backend", "add", "db", &b.target().to_string(), "--id", "b", "--weight", "2"]);
    site.expect(0, &["backend", "set", "db", "b", "--weight", "7"]);
    assert_eq!(e2e::backend(&site.appliance.status(), "b").weight, 7);
    site.expect(0, &["backend", "set", "db", "a", "--drain"]);
    let tunnel = Tunnel::open(&site.front).expect("b serves");
    assert_eq!(b.seen().open, 1);

    let socket = site.appliance.control_socket().display().to_string();
    let words = [binaries::path("sluicectl").display().to_string(), "--socket".into(), socket];
    let words: Vec<String> = words.into_iter().chain(["backend", "remove", "db", "b"].map(str::to_owned)).collect();
    let mut removing = Process::spawn(&words, &[]);
    site.appliance.wait_status("it is removed", |status| e2e::backend(status, "b").removed);
    assert!(removing.exited().is_none(), "it did not wait for the last connection: {:?}", removing.output());
    tunnel.close().expect("a proper end");
    let status = removing.wait_exit(Deadline::patient());
    assert!(status.is_some_and(|status| status.success()), "{:?}", removing.output());
    removing.wait_line("drained");

    let failure = site.json(1, &["backend", "remove", "db", "nobody"]);
    assert!(failure["error"]["message"].as_str().is_some_and(|message| message.contains("nobody")), "{failure}");
}

#[test]
fn reload_reads_the_appliances_own_file() {
    let site = Site::start();
    let path = site.file("5");
    std::fs::rename(path, site.appliance.folder().join("site.toml")).expect("a file can be moved");
    assert_eq!(site.json(0, &["reload"])["result"]["outcome"], "applied");
    assert_eq!(e2e::backend(&site.appliance.status(), "a").weight, 5);
}

#[test]
fn events_are_followed_line_by_line() {
    let site = Site::start();
    let words = ["events", "--json", "--socket"].map(str::to_owned);
    let program = binaries::path("sluicectl").display().to_string();
    let socket = site.appliance.control_socket().display().to_string();
    let words: Vec<String> = std::iter::once(program).chain(words).chain([socket]).collect();
    let mut following = Process::spawn(&words, &[]);
    // It follows from some moment on: changes are made until it has told of one.
    let file = |weight: usize| site.file(&weight.to_string());
    let line = harness::wait::until("an event is printed", || {
        site.expect(0, &["apply", &file(2 + following.output().len() + site.appliance.status().generation as usize)]);
        following.output().into_iter().find(|line| line.contains("job_ended")).ok_or("no event yet")
    });
    assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    // Not SIGINT: whoever runs this in the background may have it ignored.
    following.signal(Signal::TERM);
    assert!(following.wait_exit(Deadline::patient()).is_some());
}

/// Commands that the documents show are commands that there are.
#[test]
fn every_command_in_the_documents_is_understood() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut shown = std::collections::BTreeSet::new();
    for document in ["README.md", "control/README.md", "control/config/KEYS.md", "dataplane/ARCHITECTURE.md"] {
        let text =
            std::fs::read_to_string(format!("{root}/{document}")).unwrap_or_else(|error| panic!("{document}: {error}"));
        for line in text.lines().filter_map(|line| line.split_once("sluicectl ")).map(|(_, after)| after) {
            let words = line.split([' ', '`']).filter(|word| *word != "--");
            let words = words.take_while(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase()));
            let nested = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
            let words: Vec<&str> = words.take(2).collect();
            match words[..] {
                ["backend", what] => _ = shown.insert(nested(vec!["backend", what])),
                [command, ..] => _ = shown.insert(nested(vec![command])),
                [] => {}
            }
        }
    }
    assert!(shown.len() >= 10, "hardly any command is shown: {shown:?}");
    for command in shown {
        let words: Vec<String> = std::iter::once(binaries::path("sluicectl").display().to_string())
            .chain(command.iter().cloned())
            .chain(["--help".to_owned()])
            .collect();
        let mut process = Process::spawn(&words, &[]);
        let status = process.wait_exit(Deadline::patient());
        assert!(
            status.is_some_and(|status| status.success()),
            "{command:?} is in a document: {:?}",
            process.whole_output()
        );
    }
}

#[test]
fn without_an_appliance_it_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("nobody.sock");
    let child = Command::new(binaries::path("sluicectl"))
        .args(["status"])
        .env("SLUICEGATE_SOCKET", &socket)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let done = finish(child, Deadline::patient());
    assert_eq!(done.status.and_then(|status| status.code()), Some(3));
    let said = said(&done);
    assert!(said.contains("nobody.sock") && said.contains("sluicegate run"), "{said}");
}

#[test]
fn stop_stops() {
    let site = Site::start();
    let tunnel = Tunnel::open(&site.front).expect("it opens");
    let Site { mut appliance, .. } = site;
    let done = appliance.ctl(&["stop", "--deadline", "200ms"]);
    assert_eq!(done.status.and_then(|status| status.code()), Some(0), "{}", said(&done));
    assert!(appliance.wait_exit(Deadline::patient()).is_some_and(|status| status.success()));
    drop(tunnel);
}

/// A master that is killed leaves its socket behind; the next one takes its place.
#[test]
fn a_killed_appliance_is_replaced_without_tidying_up() {
    let site = Site::start();
    let Site { mut appliance, a, front } = site;
    appliance.signal(Signal::KILL);
    assert!(appliance.wait_exit(Deadline::patient()).is_some());
    assert!(appliance.control_socket().exists());
    let pool = Pool::new("db").listen(&front).backend("a", a.target());
    let next = Launch::new(&pool.to_string()).in_folder(appliance.into_folder()).start();
    assert_eq!(Tunnel::open(&front).map(drop), Ok(()));
    next.stop();
}
