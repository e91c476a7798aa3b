//! The programs in `control/README.md` do what they say. They need Python 3 and the `nc` that knows `-U`
//! and `-N` (Debian: netcat-openbsd).

use crate::appliance::{Appliance, README, finish, transcript};
use serde_json::Value;
use std::process::Command;

/// Runs the README's block of this language and gives what it printed.
fn run(language: &str, interpreter: &str, appliance: &Appliance) -> String {
    let fence = format!("```{language}\n");
    let (_, rest) = README.split_once(&fence).expect("there is such a block");
    let program = rest.split_once("\n```").unwrap().0;
    let mut command = Command::new(interpreter);
    command.args(["-c", program]);
    command.env("SLUICEGATE_SOCKET", appliance.socket());
    let output = finish(command);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_shell_program_prints_its_answers() {
    let appliance = Appliance::of_the_readme();
    let printed = run("bash", "bash", &appliance);
    let printed: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut expected = [transcript("version", 0), transcript("receipt", 0)].concat();
    for answer in &mut expected {
        answer["id"] = Value::Null;
    }
    assert_eq!(printed, expected);
}

#[test]
fn the_python_program_removes_a_backend() {
    let appliance = Appliance::of_the_readme();
    let printed = run("python", "python3", &appliance);
    let lines: Vec<&str> = printed.lines().collect();
    let [first, second, last] = lines[..] else {
        panic!("{printed}");
    };
    assert!(first.starts_with("... ") && first.contains("'connections': 17"), "{first}");
    assert!(second.contains("'connections': 1"), "{second}");
    assert_eq!(last, "applied generation 46");
}
