//! Starting: the embedded default, a real document, and the limits of the machine.

use e2e::Pool;
use harness::appliance::{Appliance, Launch};
use harness::backend::{Backend, Vice};
use harness::client::{self, Tunnel};
use harness::net::{Stream, Target};
use harness::process::Process;
use harness::wait::{Deadline, until};
use harness::{binaries, netns};
use rustix::process::Signal;
use std::path::Path;
use tempfile::TempDir;

/// What the embedded default listens on when nothing is said.
const DEFAULT_TCP: &str = "127.0.0.1:7000";

/// Starts `sluicegate` with these arguments, as somebody who has just unpacked it.
fn just_run(runtime_folder: &Path, arguments: &[&str]) -> Process {
    let program = binaries::path("sluicegate").display().to_string();
    let words: Vec<String> = std::iter::once(program).chain(arguments.iter().map(|word| (*word).to_owned())).collect();
    Process::spawn(&words, &[("XDG_RUNTIME_DIR".to_owned(), runtime_folder.display().to_string())])
}

fn target(address: &str) -> Target {
    Target::Ip(address.parse().expect("an address"))
}

/// Something behind this address answers an HTTP request.
fn wait_answering(address: &Target) {
    until("the demo answers", || {
        let mut stream = Stream::connect(address, Deadline::patient())?;
        stream.send(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")?;
        stream.receive_all(&mut [0; 12])
    });
}

/// The first flag, such as `--listen`, in what was printed.
fn named_flag(output: &[String]) -> Option<String> {
    let words = output.iter().flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-'));
    words.map(str::to_owned).find(|word| word.starts_with("--") && word.len() > 3)
}

#[test]
fn without_a_word_it_serves_the_demo_and_says_where() {
    netns::isolated_appliance(|| {
        let folder = TempDir::new().expect("a folder");
        let mut process = just_run(folder.path(), &[]);
        wait_answering(&target(DEFAULT_TCP));
        let socket = folder.path().join("sluicegate.sock");
        for word in [DEFAULT_TCP, socket.to_str().expect("a path of text")] {
            process.wait_line(word);
        }
        let next = until("three commands to try are printed", || {
            let output = process.output();
            let commands = output
                .iter()
                .filter(|line| line.contains("sluicectl") || line.contains("curl") || line.contains("nc "));
            let commands: Vec<String> = commands.cloned().collect();
            if commands.len() >= 3 { Ok(commands) } else { Err(output.join("\n")) }
        });
        assert!(next.iter().any(|command| command.contains("sluicectl") && command.ends_with(" status")), "{next:?}");
        process.signal(Signal::TERM);
        let status = process.wait_exit(Deadline::patient());
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
        assert!(!socket.exists(), "the control socket is left behind");
    });
}

#[test]
fn a_taken_port_names_the_flag_that_helps() {
    netns::isolated_appliance(|| {
        let _taken = Backend::at(Vice::Echo, &target(DEFAULT_TCP));
        let folder = TempDir::new().expect("a folder");
        let mut refused = just_run(folder.path(), &[]);
        let status = refused.wait_exit(Deadline::patient()).expect("it does not run");
        assert_eq!(status.code(), Some(1), "{:?}", refused.output());
        refused.wait_line(DEFAULT_TCP);
        let flag =
            named_flag(&refused.whole_output()).unwrap_or_else(|| panic!("no flag is named: {:?}", refused.output()));

        // What it says is true.
        let other = target("127.0.0.1:7777");
        let mut process = just_run(folder.path(), &[&flag, &other.to_string()]);
        wait_answering(&other);
        process.wait_line("127.0.0.1:7777");
        process.signal(Signal::TERM);
        assert!(process.wait_exit(Deadline::patient()).is_some_and(|status| status.success()));
    });
}

#[test]
fn two_appliances_do_not_share_a_socket() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let first = Appliance::start(&Pool::new("db").listen(&front).backend("a", echo.target()).to_string());
    let document = first.document(&Pool::new("db").listen(&Target::fresh()).backend("a", echo.target()).to_string());
    // A folder of its own for what outlives it: that one is not shared either.
    let own = first.folder().join("second");
    std::fs::create_dir(&own).expect("a folder");
    let shared = document.lines().find(|line| line.starts_with("state_dir")).expect("the folder is named").to_owned();
    let document = document.replace(&shared, &format!("state_dir = {own:?}"));
    let second = first.folder().join("second.toml");
    std::fs::write(&second, document).expect("a file");
    let mut refused = just_run(first.folder(), &["run", second.to_str().expect("a path of text")]);
    let status = refused.wait_exit(Deadline::patient()).expect("it does not run");
    assert!(!status.success());
    refused.wait_line("control.sock");
    // The first is untouched, and so is its socket.
    assert_eq!(first.status().pid, first.pid());
    assert_eq!(Tunnel::open(&front).map(drop), Ok(()));
}

#[test]
fn a_taken_listen_address_is_named() {
    let taken = Backend::echo();
    let (status, output) = Launch::new(&Pool::new("db").listen(taken.target()).to_string()).run_to_end();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{output:?}");
    assert!(output.iter().any(|line| line.contains(&taken.target().to_string())), "{output:?}");
}

/// A command that leaves the appliance these limits and no right to raise them or to pass them by.
fn limited(memlock: &str, nofile: &str) -> Vec<String> {
    let mut words =
        vec!["prlimit".to_owned(), format!("--memlock={memlock}:{memlock}"), format!("--nofile={nofile}:{nofile}")];
    if rustix::process::getuid().is_root() {
        words.extend(["setpriv", "--bounding-set=-ipc_lock,-sys_resource", "--"].map(str::to_owned));
    }
    words
}

fn limited_launch(pool: &str, memlock: &str, nofile: &str) -> Launch {
    let words = limited(memlock, nofile);
    Launch::new(pool).wrapped(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

const EIGHT_MIB: &str = "8388608";

/// Twenty lives one after another, on the same address, within 8 MiB of locked memory and 20,000 descriptors.
/// The kernel gives locked memory back late: a restart must not trip over what the life before still holds.
#[test]
fn it_restarts_in_a_loop_within_small_limits() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let pool = Pool::new("db").listen(&front).backend("a", echo.target()).to_string();
    for life in 0..20 {
        let mut appliance = limited_launch(&pool, EIGHT_MIB, "20000").start();
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", appliance.pid())).expect("it runs");
        let locked = limits.lines().find(|line| line.starts_with("Max locked memory")).expect("a limit");
        assert!(locked.contains(EIGHT_MIB), "{locked}");
        assert_eq!(client::echo(&front, life, 300_000, Deadline::patient()), Ok(()), "in life {life}");
        if life % 4 == 3 {
            appliance.signal(Signal::KILL);
            assert!(appliance.wait_exit(Deadline::patient()).is_some());
        } else {
            appliance.stop();
        }
    }
}

/// With less than it needs it says which limit, instead of failing somewhere later.
#[test]
fn a_limit_that_is_too_small_is_named() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let pool = Pool::new("db").listen(&front).backend("a", echo.target()).to_string();
    let (status, output) = limited_launch(&pool, EIGHT_MIB, "16").run_to_end();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{output:?}");
    assert!(output.iter().any(|line| line.contains("RLIMIT_NOFILE")), "{output:?}");
}

#[test]
fn it_says_what_it_sized() {
    let (echo, front) = (Backend::echo(), Target::fresh());
    let pool = Pool::new("db").listen(&front).backend("a", echo.target()).to_string();
    let appliance = Launch::new(&pool).appliance_keys("connections = 1234").start();
    until("bounds are printed", || {
        let output = appliance.output().join("\n");
        if output.contains("1234") || output.contains("1,234") { Ok(()) } else { Err(output) }
    });
    assert_eq!(appliance.status().shards.len(), 2);
}

#[test]
fn help_and_version_are_there() {
    for program in ["sluicegate", "sluicectl"] {
        for (argument, word) in
            [("--help", "Usage"), ("version", env!("CARGO_PKG_VERSION")), ("--version", env!("CARGO_PKG_VERSION"))]
        {
            if (program, argument) == ("sluicectl", "version") {
                continue; // It asks the appliance for its version too; see `console`.
            }
            let words = [binaries::path(program).display().to_string(), argument.to_owned()];
            let mut process = Process::spawn(&words, &[]);
            let status = process.wait_exit(Deadline::patient());
            assert!(status.is_some_and(|status| status.success()), "{program} {argument}: {:?}", process.output());
            process.wait_line(word);
        }
    }
}
