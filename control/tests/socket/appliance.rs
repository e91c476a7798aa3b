//! An appliance that only knows its lines: it answers as `control/README.md` shows, or as a test tells it.

use api::framing::{Frame, encode};
use api::{Decoder, Request};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

pub const README: &str = include_str!("../../README.md");

/// What to do about one request.
pub enum Lines {
    /// Answer so, and go on listening.
    Say(Vec<Value>),
    /// Answer so, and close the connection.
    SayAndLeave(Vec<Value>),
    /// Answer so again and again, until the client is gone.
    Repeat(Value),
}

pub struct Appliance {
    folder: TempDir,
}

impl Appliance {
    /// Answers every order with the first transcript of that order.
    pub fn of_the_readme() -> Appliance {
        Appliance::with(|request| Lines::Say(transcript(request.order.name(), 0)))
    }

    /// Answers every order so. The answers need no `id`.
    pub fn saying(answers: Vec<Value>) -> Appliance {
        Appliance::with(move |_| Lines::Say(answers.clone()))
    }

    pub fn with(script: impl Fn(&Request) -> Lines + Send + 'static) -> Appliance {
        let folder = TempDir::new().unwrap();
        let appliance = Appliance { folder };
        let listener = UnixListener::bind(appliance.socket()).unwrap();
        // Ends with the test's process; until then it waits for connections and does nothing else.
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &script);
            }
        });
        appliance
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("sluicegate.sock")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the console against this appliance.
    pub fn sluicectl(&self, arguments: &str) -> Output {
        let mut command = sluicectl();
        command.arg("--socket").arg(self.socket());
        command.args(arguments.split_whitespace());
        finish(command)
    }
}

/// The console, without anything of this process's surroundings that it would heed.
pub fn sluicectl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicectl"));
    for variable in ["SLUICEGATE_SOCKET", "XDG_RUNTIME_DIR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command.stdin(std::process::Stdio::null());
    command
}

/// Runs to its end, or is ended when it takes far too long.
pub fn finish(mut command: Command) -> Output {
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    output_of(child)
}

/// How long a program of these tests may take before it counts as stuck.
const STUCK: Duration = Duration::from_secs(60);

pub fn output_of(child: Child) -> Output {
    let pid = child.id().to_string();
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(child.wait_with_output()));
    match receive.recv_timeout(STUCK) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            let _ = Command::new("kill").args(["-9", &pid]).status();
            panic!("stuck for {STUCK:?}");
        }
    }
}

/// The answers of the README's `nth` transcript of this order.
pub fn transcript(order: &str, nth: usize) -> Vec<Value> {
    let blocks = README.split("```json\n").skip(1);
    let messages = |rest: &str| -> Vec<Value> {
        let block = rest.split_once("\n```").unwrap().0;
        let values = serde_json::Deserializer::from_str(block).into_iter();
        values.collect::<Result<_, _>>().unwrap()
    };
    let mut transcripts = blocks.map(messages).filter(|messages| messages[0]["order"] == order);
    let messages = transcripts.nth(nth).unwrap_or_else(|| panic!("no transcript of {order}"));
    messages[1..].to_vec()
}

fn serve(mut stream: UnixStream, script: &impl Fn(&Request) -> Lines) {
    let mut decoder = Decoder::default();
    let mut chunk = [0; 4096];
    loop {
        while let Some(frame) = decoder.decode() {
            let frame = frame.expect("is short");
            if !answer(&mut stream, &frame, script) {
                return;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(count) => decoder.feed(&chunk[..count]),
        }
    }
}

/// False: the connection is over.
fn answer(stream: &mut UnixStream, frame: &Frame, script: &impl Fn(&Request) -> Lines) -> bool {
    let request = Request::decode(&frame.text).expect("the console sends requests");
    let mut say = |mut answer: Value| {
        answer["id"] = request.id.clone();
        stream.write_all(&encode(&answer, frame.end)).is_ok()
    };
    match script(&request) {
        Lines::Say(answers) => answers.into_iter().all(say),
        Lines::SayAndLeave(answers) => {
            answers.into_iter().all(say);
            false
        }
        Lines::Repeat(answer) => {
            while say(answer.clone()) {}
            false
        }
    }
}
