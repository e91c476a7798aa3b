//! Finding programs, running one to its end, and what it said.

use harness::process::{Finished, finish};
use harness::wait::Deadline;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longest run of one program. Only one that hangs runs so long.
const RUN_TIME: Duration = Duration::from_secs(120);

/// The program, if it is installed; else the test is left out and says so.
pub fn installed(name: &str) -> Option<PathBuf> {
    let found = found(name);
    if found.is_none() {
        harness::skip(&format!("{name} is not installed"));
    }
    found
}

/// As [`installed`], for a program so large that not even the machine of CI needs to have it.
pub fn installed_by_choice(name: &str) -> Option<PathBuf> {
    let found = found(name);
    if found.is_none() {
        println!("SKIPPED: {name} is not installed");
    }
    found
}

/// Distributions put servers where only the administrator's `PATH` leads.
fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(["/usr/bin".into(), "/usr/sbin".into()]).collect();
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The system's Python, if it has this module. Another one on the `PATH` would not see what the system's packages bring.
pub fn python_with(module: &str) -> Option<PathBuf> {
    let python = PathBuf::from("/usr/bin/python3");
    let asked = Command::new(&python).args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
    if asked.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    harness::skip(&format!("{} has no module {module}", python.display()));
    None
}

/// A script of this test, beside its source.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_clients/scripts").join(name)
}

/// A program with its arguments, and with nothing of this machine's own settings: no proxy, and `home` as its home.
pub fn command(program: &Path, home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    let proxies = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    proxies.iter().for_each(|name| _ = command.env_remove(name));
    command.args(arguments).current_dir(home).env("HOME", home).env("GIT_CONFIG_NOSYSTEM", "1").env("LC_ALL", "C");
    command
}

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit status.
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs it to its end, with nothing to read.
#[track_caller]
pub fn run(command: &mut Command) -> Said {
    run_reading(command, Stdio::null())
}

/// Runs it to its end with this as its standard input.
#[track_caller]
pub fn run_reading(command: &mut Command, input: Stdio) -> Said {
    let named = format!("{command:?}");
    let child = command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{named} cannot be started: {error}"));
    let Finished { status, stdout, stderr } = finish(child, Deadline::after(RUN_TIME));
    let (out, err) = (text(stdout), text(stderr));
    let code = status.and_then(|status| status.code());
    let code = code.unwrap_or_else(|| panic!("{named}: not ended within {RUN_TIME:?}, or killed: {out}{err}"));
    Said { code, out, err }
}

/// Runs it and expects it to be content.
#[track_caller]
pub fn run_well(command: &mut Command) -> Said {
    let said = run(command);
    assert_eq!(said.code, 0, "{command:?} said: {}{}", said.out, said.err);
    said
}

/// The words of a command line.
pub fn words<S: AsRef<OsStr>>(words: &[S]) -> Vec<String> {
    words.iter().map(|word| word.as_ref().to_str().expect("paths of tests are UTF-8").to_owned()).collect()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
