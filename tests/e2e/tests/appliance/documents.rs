//! Mistaken documents of every kind: all problems at once, each drawn where it is, and nothing happens.

use e2e::Pool;
use harness::appliance::{Appliance, tell};
use harness::backend::Backend;
use harness::client::Tunnel;
use harness::net::Target;
use harness::pattern::Dice;
use harness::process::{Finished, finish};
use harness::{binaries, wait::Deadline};
use std::path::Path;
use std::process::{Command, Stdio};

const GOOD: &str = r#"
[pool.db.create]
service = "tcp"
listen = ["127.0.0.1:7000"]

[[pool.db.group.main.backend]]
id = "a"
address = "127.0.0.1:9001"
"#;

/// A pool of HTTP, to stand behind [`GOOD`].
const SITE: &str = r#"
[pool.web.create]
service = "http"
listen = ["127.0.0.1:7001"]

[[pool.web.rule]]
path_template = "/users/{id}"
method = ["GET", "HEAD"]
header = { X-Kind = { regex = "^[a-z]+$" } }
group = "app"
rewrite = "/v2/users/{id}"
response_headers = { set = { Server = "edge" } }

[[pool.web.rule]]
not = { source = "10.0.0.0/8" }
deny = 403

[pool.web.group.app]
balance = "least-requests"
backend = [{ address = "127.0.0.1:9002", weight = 3 }]
"#;

/// Mistakes, one a line: what is put in place of what in [`GOOD`], and what the complaint must contain, the
/// line and column first.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    // Not TOML at all.
    ("service = \"tcp\"", "service = ", &["3:"]),
    ("[pool.db.create]", "[pool.db.create", &["2:"]),
    ("service = \"tcp\"", "service = \"tcp\"\nservice = \"tcp\"", &["4:1", "service"]),
    // Keys and tables that do not exist, with a suggestion.
    ("service = \"tcp\"", "servise = \"tcp\"", &["3:1", "servise", "service"]),
    ("[pool.db.create]", "[pool.db.craete]", &["craete", "create"]),
    ("id = \"a\"", "id = \"a\"\nwieght = 3", &["8:1", "wieght", "weight"]),
    // Values of another type, or out of bounds, with what would be accepted.
    ("id = \"a\"", "id = \"a\"\nweight = \"heavy\"", &["8:10", "weight", "heavy", "65"]),
    ("id = \"a\"", "id = \"a\"\nweight = 65536", &["8:10", "weight", "65536", "65"]),
    ("id = \"a\"", "id = \"a\"\nweight = -1", &["8:10", "weight", "-1"]),
    ("id = \"a\"", "id = \"a\"\ndrain = 1", &["8:9", "drain", "true"]),
    ("service = \"tcp\"", "service = \"udp\"", &["3:11", "service", "udp", "tcp"]),
    ("[\"127.0.0.1:7000\"]", "\"127.0.0.1:7000\"", &["4:10", "listen"]),
    ("[\"127.0.0.1:7000\"]", "[]", &["4:10", "listen"]),
    ("[\"127.0.0.1:7000\"]", "[\"127.0.0.1\"]", &["4:11", "127.0.0.1", "port"]),
    ("[\"127.0.0.1:7000\"]", "[\"127.0.0.1:70000\"]", &["4:11", "70000"]),
    ("[\"127.0.0.1:7000\"]", "[\"db.internal:7000\"]", &["4:11", "db.internal"]),
    ("127.0.0.1:9001", "127.0.0.1:", &["8:11", "address"]),
    ("id = \"a\"", "id = \"\"", &["7:6", "id"]),
    ("pool.db.", "pool.\"d b\".", &["d b"]),
    // What is missing.
    ("service = \"tcp\"", "", &["service"]),
    ("address = \"127.0.0.1:9001\"", "", &["address"]),
    // Durations and sizes without sense.
    ("[[", "[pool.db.timeouts]\nidle = \"fast\"\n[[", &["7:8", "idle", "fast"]),
    ("[[", "[pool.db.timeouts]\nidle = 5\n[[", &["7:8", "idle"]),
    ("[[", "[reload]\njob_timeout = \"6m\"\n[[", &["7:15", "job_timeout", "5m"]),
    // The environment.
    ("127.0.0.1:9001", "${NOT_SET_ANYWHERE}", &["8:11", "NOT_SET_ANYWHERE"]),
    // What does not fit together: both places are named.
    ("[\"127.0.0.1:7000\"]", "[\"127.0.0.1:7000\", \"127.0.0.1:7000\"]", &["4:", "127.0.0.1:7000"]),
    ("[\"127.0.0.1:7000\"]", "[\"127.0.0.1:7000\", \"0.0.0.0:7000\"]", &["4:", "0.0.0.0:7000"]),
    ("[[", "[[pool.db.group.main.backend]]\nid = \"a\"\naddress = \"127.0.0.1:9002\"\n[[", &["10:6", "7 |", "a"]),
    (
        "[[",
        "[[pool.db.group.main.backend]]\nid = \"b\"\naddress = \"127.0.0.1:9001\"\n[[",
        &["11:11", "8 |", "127.0.0.1:9001"],
    ),
    ("[[", "[pool.db.group.other]\n[[", &["other"]),
    (
        "[[",
        "[pool.web.create]\nservice = \"tcp\"\nlisten = [\"127.0.0.1:7000\"]\n[[",
        &["8:11", "4 |", "127.0.0.1:7000"],
    ),
    // Files that are not there.
    ("\n[pool.db.create]", "include = [\"nowhere.toml\"]\n[pool.db.create]", &["nowhere.toml"]),
];

/// `sluicegate check` of a text, in a folder of its own.
fn check(folder: &Path, text: &str) -> Finished {
    std::fs::write(folder.join("site.toml"), text).expect("a file can be written");
    let mut command = Command::new(binaries::path("sluicegate"));
    command.args(["check", "site.toml"]).current_dir(folder);
    run(command)
}

fn run(mut command: Command) -> Finished {
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    finish(child, Deadline::patient())
}

fn said(done: &Finished) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

fn code(done: &Finished) -> Option<i32> {
    done.status.and_then(|status| status.code())
}

#[test]
fn a_good_document_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let done = check(folder.path(), GOOD);
    assert_eq!(code(&done), Some(0), "{}", said(&done));
}

#[test]
fn each_mistake_is_drawn_where_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    for (right, wrong, parts) in MISTAKES {
        let text = GOOD.replacen(right, wrong, if right.starts_with("pool") { usize::MAX } else { 1 });
        assert_ne!(text, GOOD, "{right:?} is not in the good document");
        let done = check(folder.path(), &text);
        let said = said(&done);
        assert_eq!(code(&done), Some(1), "{wrong:?} passes:\n{said}");
        let place = format!("site.toml:{}", if parts[0].contains(':') { parts[0] } else { "" });
        assert!(said.contains(&place), "{wrong:?}: not at {place}:\n{said}");
        for part in parts.iter().filter(|part| !part.ends_with(':')) {
            assert!(said.contains(part), "{wrong:?}: no word of {part:?}:\n{said}");
        }
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = GOOD
        .replace("\"tcp\"", "\"udp\"")
        .replace("127.0.0.1:7000", "nowhere")
        .replace("id = \"a\"", "id = \"a\"\nweight = \"much\"\ncolour = \"red\"");
    let said = said(&check(folder.path(), &text));
    for part in ["udp", "nowhere", "much", "colour"] {
        assert!(said.contains(part), "no word of {part:?}:\n{said}");
    }
}

#[test]
fn a_document_that_is_not_there_is_said_so() {
    let mut command = Command::new(binaries::path("sluicegate"));
    command.args(["check", "/nowhere/site.toml"]);
    let done = run(command);
    assert_eq!(code(&done), Some(1), "{}", said(&done));
    assert!(said(&done).contains("/nowhere/site.toml"), "{}", said(&done));
}

#[test]
fn the_appliance_does_not_run_a_mistaken_document() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("site.toml"), GOOD.replace("service", "servise")).expect("a file can be written");
    let mut command = Command::new(binaries::path("sluicegate"));
    command.args(["run", "site.toml"]).current_dir(folder.path());
    let done = run(command);
    assert_eq!(code(&done), Some(1), "{}", said(&done));
    assert!(said(&done).contains("site.toml:3:1"), "{}", said(&done));
}

/// The same mistakes over the control socket: each refused with its place, and nothing changes.
#[test]
fn a_running_appliance_keeps_what_runs() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let good = Pool::new("db").listen(&front).backend("a", echo.target()).to_string();
    let appliance = Appliance::start(&good);
    let mut tunnel = Tunnel::open(&front).expect("it opens");
    let before = appliance.status();
    for (right, wrong, parts) in MISTAKES {
        let text = GOOD.replacen(right, wrong, if right.starts_with("pool") { usize::MAX } else { 1 });
        let failure = appliance.try_apply(&text).err().unwrap_or_else(|| panic!("{wrong:?} is applied"));
        assert_eq!(failure.code, api::ErrorCode::InvalidConfiguration, "{wrong:?}: {}", tell(&failure));
        assert!(!failure.problems.is_empty(), "{wrong:?}: {}", tell(&failure));
        let told = serde_json::to_string(&failure.problems).expect("problems are JSON");
        for part in parts.iter().filter(|part| !part.contains([':', '|'])) {
            assert!(told.contains(part), "{wrong:?}: no word of {part:?}: {told}");
        }
        assert!(
            failure.problems.iter().all(|problem| !problem.code.is_empty() && !problem.message.is_empty()),
            "{told}"
        );
        assert_eq!(tunnel.ping(10), Ok(()));
    }
    let after = appliance.status();
    assert_eq!((before.generation, before.hash, before.pid), (after.generation, after.hash, after.pid));
    assert_eq!(Tunnel::open(&front).map(drop), Ok(()));
}

/// Documents with a piece cut out or overwritten: none is applied in part, and each mistake has its place.
#[test]
fn ten_thousand_mutilated_documents_change_nothing() {
    const DOCUMENTS: usize = 10_000;
    let (echo, front) = (Backend::echo(), Target::fresh());
    let appliance = Appliance::start(&Pool::new("db").listen(&front).backend("a", echo.target()).to_string());
    let mut tunnel = Tunnel::open(&front).expect("it opens");
    let (before, mut client) = (appliance.status(), appliance.client());
    let good = format!("{GOOD}{SITE}");
    appliance.check(&good).expect("it is right");
    let (mut dice, name) = (Dice::new(3), Some("site.toml".to_owned()));
    let mut refused = 0;
    while refused < DOCUMENTS {
        let mut bytes = good.clone().into_bytes();
        let begin = dice.below(bytes.len());
        let end = (begin + dice.below(20)).min(bytes.len());
        let piece: Vec<u8> = (0..dice.below(6)).map(|_| dice.roll() as u8).collect();
        bytes.splice(begin..end, piece);
        let document = String::from_utf8_lossy(&bytes).into_owned();
        // What is still in order is left alone: a change is no part of this.
        if appliance.check(&document).is_ok() {
            continue;
        }
        refused += 1;
        let apply = api::order::Apply { document: document.clone(), name: name.clone(), ..Default::default() };
        let answer = client.call(api::Order::Apply(apply), |_| {}).expect("it answers");
        let api::Reply::Error { error } = answer.reply else { panic!("{answer:?} to\n{document}") };
        assert_eq!(error.code, api::ErrorCode::InvalidConfiguration, "{} of\n{document}", tell(&error));
        // Of very many mistakes, the last word is only how many more there are.
        let mut told = error.problems.iter().filter(|problem| problem.code != "more").peekable();
        let placed = |problem: &api::Problem| {
            problem.place.as_ref().is_some_and(|place| place.file == "site.toml" && place.line > 0 && place.column > 0)
        };
        assert!(told.peek().is_some() && told.all(placed), "{} of\n{document}", tell(&error));
        if refused % 500 == 0 {
            let after = appliance.status();
            assert_eq!((before.generation, &before.hash, before.pid), (after.generation, &after.hash, after.pid));
            assert_eq!(tunnel.ping(10), Ok(()));
        }
    }
}

#[test]
fn documents_may_be_in_several_files_and_take_words_from_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("pools")).expect("a folder");
    std::fs::write(at("pools/web.toml"), GOOD.replace("pool.db", "pool.web").replace("7000", "7001")).expect("a file");
    std::fs::write(at("pools/db.toml"), GOOD.replace("127.0.0.1:9001", "${DB_HOST}:${DB_PORT:-5432}")).expect("a file");
    std::fs::write(at("site.toml"), "include = [\"pools/*.toml\"]\n").expect("a file");
    let with = |host: Option<&str>| {
        let mut command = Command::new(binaries::path("sluicegate"));
        command.args(["check", "site.toml"]).current_dir(folder.path()).env_remove("DB_HOST").env_remove("DB_PORT");
        host.map(|host| command.env("DB_HOST", host));
        run(command)
    };
    let done = with(Some("db.internal"));
    assert_eq!(code(&done), Some(0), "{}", said(&done));
    let done = with(None);
    assert_eq!(code(&done), Some(1));
    assert!(said(&done).contains("pools/db.toml:8:11") && said(&done).contains("DB_HOST"), "{}", said(&done));

    std::fs::write(at("pools/more.toml"), GOOD.replace("7000", "7002")).expect("a file");
    let done = with(Some("db.internal"));
    assert_eq!(code(&done), Some(1), "one pool in two files");
    assert!(said(&done).contains("pools/db.toml") && said(&done).contains("pools/more.toml"), "{}", said(&done));
}

/// Odd, but perhaps meant: told, and not in the way.
#[test]
fn what_is_only_odd_is_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let head = &GOOD[..GOOD.find("[[").expect("it has a backend")];
    let no_backend = format!("{head}[pool.db.group.main]\n");
    for text in [no_backend, format!("{GOOD}weight = 0\n"), format!("{GOOD}backup = true\n")] {
        let done = check(folder.path(), &text);
        assert_eq!(code(&done), Some(0), "{}", said(&done));
        assert!(said(&done).contains("warning"), "no warning of:\n{text}\n{}", said(&done));
    }
}

/// One file of two pools, and one of them is broken: with `--partial` the other serves its new version, the broken one its old.
#[test]
fn a_broken_pool_does_not_hold_up_the_others() {
    let (old, new, fronts) = (Backend::echo(), Backend::echo(), [Target::fresh(), Target::fresh()]);
    let pools = |backend: &Backend, keys: &str| {
        let a = Pool::new("a").listen(&fronts[0]).backend_with("x", backend.target(), keys);
        format!("{a}{}", Pool::new("b").listen(&fronts[1]).backend("x", backend.target()))
    };
    let appliance = Appliance::start(&pools(&old, ""));
    let mut tunnels: Vec<Tunnel> = fronts.iter().map(|front| Tunnel::open(front).expect("it opens")).collect();
    let file = appliance.write_document(&pools(&new, "weight = \"heavy\""));
    let file = file.to_str().expect("a path of ours");
    for refused in [&["apply", file][..], &["plan", file], &["reload"]] {
        let done = appliance.ctl(refused);
        assert!(code(&done) != Some(0) && said(&done).contains("heavy"), "{refused:?}: {}", said(&done));
    }
    let led = || (old.seen().accepted, new.seen().accepted);
    assert_eq!(led(), (2, 0));
    for taken in [&["plan", "--partial", file][..], &["apply", "--partial", file], &["reload", "--partial"]] {
        let done = appliance.ctl(taken);
        assert_eq!(code(&done), Some(0), "{taken:?}: {}", said(&done));
        for part in ["pool `a` has 1 problem and is left as it runs", "weight = \"heavy\""] {
            assert!(said(&done).contains(part), "{taken:?}: {}", said(&done));
        }
    }
    // Each front leads where its pool says: the old version of one, the new one of the other.
    tunnels.extend(fronts.iter().map(|front| Tunnel::open(front).expect("it opens")));
    assert_eq!(tunnels.iter_mut().try_for_each(|tunnel| tunnel.ping(100)), Ok(()));
    assert_eq!(led(), (3, 1));
    assert_eq!(appliance.apply(&pools(&new, "")).plan.expect("it was applied").pools, ["a"]);
}
