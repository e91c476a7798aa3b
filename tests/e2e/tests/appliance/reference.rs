//! What the programs tell about themselves: keys, schema, completions and manual pages.

use e2e::Pool;
use harness::appliance::Appliance;
use harness::backend::Backend;
use harness::binaries;
use harness::net::Target;
use harness::process::{Finished, finish};
use harness::wait::Deadline;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

fn start() -> (Appliance, Backend) {
    let (a, front) = (Backend::echo(), Target::fresh());
    let pool = Pool::new("db").listen(&front).backend("alpha", a.target()).backend_at("beta", "127.0.0.1:9", "");
    (Appliance::start(&pool.to_string()), a)
}

fn run(command: &mut Command) -> Finished {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(piped.spawn().unwrap_or_else(|error| panic!("{error}")), Deadline::patient())
}

/// What it prints, if it exits with this code.
#[track_caller]
fn printed(command: &mut Command, code: i32) -> String {
    let done = run(command);
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.and_then(|status| status.code()), Some(code), "{command:?}: {told}");
    let out = String::from_utf8(done.stdout).expect("it prints text");
    if code == 0 { out } else { format!("{out}{told}") }
}

fn sluicegate() -> Command {
    Command::new(binaries::path("sluicegate"))
}

fn sluicectl(appliance: &Appliance) -> Command {
    let mut command = Command::new(binaries::path("sluicectl"));
    command.env("SLUICEGATE_SOCKET", appliance.control_socket());
    command
}

fn is_there(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

#[test]
fn a_key_is_explained_alike_with_and_without_an_appliance() {
    let (appliance, _a) = start();
    for key in ["pool.db.group.main.backend.alpha.weight", "pool.*.timeouts.idle", "idle", "limits", "create.listen"] {
        let offline = printed(sluicegate().args(["explain-key", key]), 0);
        assert_eq!(offline, printed(sluicectl(&appliance).args(["explain-key", key]), 0));
        let wide: Vec<&str> = offline.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "wider than a terminal: {wide:?}");
        let offline: Value = serde_json::from_str(&printed(sluicegate().args(["explain-key", key, "--json"]), 0))
            .expect("it prints JSON");
        let answer: Value =
            serde_json::from_str(&printed(sluicectl(&appliance).args(["explain-key", key, "--json"]), 0))
                .expect("it prints JSON");
        assert_eq!((&answer["result"]["keys"], &answer["result"]["tables"]), (&offline["keys"], &offline["tables"]));
    }
    let weight = printed(sluicegate().args(["explain-key", "backend.weight"]), 0);
    for part in ["pool.*.group.*.backend[].weight\n", "integer", "0 to 65535", "soft (next-connection)", "weight = 1"] {
        assert!(weight.contains(part), "no word of {part:?}:\n{weight}");
    }
    for program in [&mut sluicegate(), &mut sluicectl(&appliance)] {
        let told = printed(program.args(["explain-key", "pool.db.timeouts.idel"]), 1);
        assert!(told.contains("did you mean `pool.*.timeouts.idle`?"), "{told}");
    }
}

#[test]
fn the_schema_is_printed_for_documents_and_pieces() {
    let schema = |arguments: &[&str]| -> Value {
        serde_json::from_str(&printed(sluicegate().arg("schema").args(arguments), 0)).expect("a schema is JSON")
    };
    let create = |schema: &Value| schema["properties"]["pool"]["additionalProperties"]["properties"]["create"].clone();
    let (document, piece) = (create(&schema(&[])), create(&schema(&["--piece"])));
    assert_eq!(document["required"], serde_json::json!(["listen", "service"]));
    assert!(piece.get("required").is_none() && piece["properties"] == document["properties"]);
}

/// Drives what `complete` would call: the words so far, the last of them being typed.
fn offered_by_bash(script: &str, words: &[&str], appliance: &Appliance) -> BTreeSet<String> {
    let program = words[0];
    let drive = format!(
        "{script}\n\
         complete -p {program} > /dev/null || exit 9\n\
         words=({})\n\
         COMP_WORDS=(\"${{words[@]}}\"); COMP_CWORD=$((${{#words[@]}} - 1)); COMP_TYPE=9\n\
         COMP_LINE=\"${{words[*]}}\"; COMP_POINT=${{#COMP_LINE}}\n\
         function=$(complete -p {program} | sed 's/.* -F \\([^ ]*\\).*/\\1/')\n\
         \"$function\" {program} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
    );
    offered(Command::new("bash").args(["--norc", "-c", &drive]), appliance)
}

fn offered(shell: &mut Command, appliance: &Appliance) -> BTreeSet<String> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(binaries::folder().to_owned()).chain(std::env::split_paths(&folders));
    shell.env("PATH", std::env::join_paths(folders).expect("folders of tests have no colons"));
    shell.env("SLUICEGATE_SOCKET", appliance.control_socket());
    printed(shell, 0).lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn bash_completes_commands_and_what_the_appliance_knows() {
    if !is_there("bash") {
        return harness::skip("there is no bash on this machine");
    }
    let (appliance, _a) = start();
    let script = printed(sluicectl(&appliance).args(["completions", "bash"]), 0);
    let offered = |words: &[&str]| offered_by_bash(&script, words, &appliance);
    assert!(offered(&["sluicectl", "back"]).contains("backend"));
    assert!(offered(&["sluicectl", "backend", ""]).is_superset(&set(&["add", "remove", "set"])));
    assert!(offered(&["sluicectl", "backend", "remove", "db", "--no"]).contains("--no-wait"));
    assert_eq!(offered(&["sluicectl", "backend", "remove", "d"]), set(&["db"]));
    assert_eq!(offered(&["sluicectl", "backend", "set", "db", "al"]), set(&["alpha"]));
    assert_eq!(offered(&["sluicectl", "backend", "set", "db", "alpha", "--group", "m"]), set(&["main"]));
    assert_eq!(offered(&["sluicectl", "explain-key", "reload.wait_b"]), set(&["reload.wait_before"]));
    assert_eq!(offered(&["sluicectl", "backend", "set", "db", "x"]), set(&[]));

    let script = printed(sluicegate().args(["completions", "bash"]), 0);
    let of_sluicegate = offered_by_bash(&script, &["sluicegate", "ch"], &appliance);
    assert!(of_sluicegate.contains("check"), "{of_sluicegate:?}");
}

/// Nobody answers: the commands are completed all the same, and nobody waits.
#[test]
fn completion_needs_no_appliance() {
    if !is_there("bash") {
        return harness::skip("there is no bash on this machine");
    }
    let (appliance, _a) = start();
    let script = printed(sluicectl(&appliance).args(["completions", "bash"]), 0);
    let nowhere = ["sluicectl", "--socket", "/nowhere/at/all.sock", "backend"];
    let offered = |words: &[&str]| offered_by_bash(&script, &[&nowhere, words].concat(), &appliance);
    assert!(offered(&["se"]).contains("set"));
    assert_eq!(offered(&["set", "d"]), set(&[]));
}

#[test]
fn zsh_takes_the_scripts() {
    if !is_there("zsh") {
        return harness::skip("there is no zsh on this machine");
    }
    let (appliance, _a) = start();
    for (program, command) in [("sluicectl", &mut sluicectl(&appliance)), ("sluicegate", &mut sluicegate())] {
        let script = printed(command.args(["completions", "zsh"]), 0);
        let file = appliance.folder().join(program);
        std::fs::write(&file, script).expect("a file can be written");
        let take =
            format!("autoload -Uz compinit; compinit -u -D; source {}; print -r -- $_comps[{program}]", file.display());
        let taken = offered(Command::new("zsh").args(["-f", "-c", &take]), &appliance);
        assert_eq!(taken.len(), 1, "{program}: no function completes it: {taken:?}");
    }
}

#[test]
fn fish_completes_commands_and_what_the_appliance_knows() {
    if !is_there("fish") {
        return harness::skip("there is no fish on this machine");
    }
    let (appliance, _a) = start();
    for (program, command, line, word) in [
        ("sluicectl", &mut sluicectl(&appliance), "sluicectl backend set db al", "alpha"),
        ("sluicegate", &mut sluicegate(), "sluicegate che", "check"),
    ] {
        let script = printed(command.args(["completions", "fish"]), 0);
        let file = appliance.folder().join(format!("{program}.fish"));
        std::fs::write(&file, script).expect("a file can be written");
        let ask = format!("source {}; complete -C '{line}'", file.display());
        let mut fish = Command::new("fish");
        fish.args(["--no-config", "-c", &ask]).env("HOME", appliance.folder());
        let found = offered(&mut fish, &appliance);
        assert!(found.iter().any(|line| line.split('\t').next() == Some(word)), "{program}: {found:?}");
    }
}

/// Every page of both programs, written into a folder.
fn pages(appliance: &Appliance) -> Vec<std::path::PathBuf> {
    let folder = appliance.folder().join("man");
    printed(sluicectl(appliance).arg("man").arg(&folder), 0);
    printed(sluicegate().arg("man").arg(&folder), 0);
    let entries = std::fs::read_dir(&folder).expect("the folder is made");
    let mut pages: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    pages.sort();
    let names: BTreeSet<String> =
        pages.iter().filter_map(|page| Some(page.file_name()?.to_str()?.to_owned())).collect();
    let expected =
        ["sluicectl.1", "sluicectl-backend-add.1", "sluicegate.1", "sluicegate-check.1", "sluicegate.toml.5"];
    assert!(names.is_superset(&set(&expected)), "{names:?}");
    pages
}

fn clean(program: &str, arguments: &[&str], page: &Path) {
    let done = run(Command::new(program).args(arguments).arg(page));
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let shown = done.status.is_some_and(|status| status.success());
    assert!(shown && said.trim().is_empty(), "{}: {said}", page.display());
}

#[test]
fn groff_shows_every_page_without_complaint() {
    if !is_there("groff") {
        return harness::skip("there is no groff on this machine");
    }
    let (appliance, _a) = start();
    pages(&appliance).iter().for_each(|page| clean("groff", &["-man", "-Tutf8", "-ww", "-z", "-K", "utf8"], page));
}

/// Warnings are left out: the generator of the programs' pages gives them no date and too many breaks.
#[test]
fn mandoc_shows_every_page_without_an_error() {
    if !is_there("mandoc") {
        return harness::skip("there is no mandoc on this machine");
    }
    let (appliance, _a) = start();
    pages(&appliance).iter().for_each(|page| clean("mandoc", &["-T", "lint", "-W", "error"], page));
}

/// One page without a folder: `sluicectl man | man -l -`.
#[test]
fn the_page_of_a_program_is_printed() {
    let (appliance, _a) = start();
    for program in [&mut sluicectl(&appliance), &mut sluicegate()] {
        let page = printed(program.arg("man"), 0);
        assert!(page.contains(".TH sluice") && page.contains(".SH SYNOPSIS"), "{page}");
    }
}
