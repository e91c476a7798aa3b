//! The control socket as a program in any language meets it: bytes, no library of ours.

use e2e::Pool;
use harness::appliance::Appliance;
use harness::backend::Backend;
use harness::net::Target;
use harness::process::finish;
use harness::wait::{Deadline, PATIENCE};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

fn start() -> (Appliance, Backend, Target) {
    let (a, front) = (Backend::echo(), Target::fresh());
    let appliance = Appliance::start(&Pool::new("db").listen(&front).backend("a", a.target()).to_string());
    (appliance, a, front)
}

fn connect(appliance: &Appliance) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(appliance.control_socket()).expect("the socket takes connections");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    BufReader::new(stream)
}

fn send(stream: &mut BufReader<UnixStream>, bytes: &[u8]) {
    stream.get_mut().write_all(bytes).expect("the bytes are taken");
}

fn answer(stream: &mut BufReader<UnixStream>, end: u8) -> Value {
    let mut text = Vec::new();
    stream.read_until(end, &mut text).expect("an answer comes");
    assert_eq!(text.pop(), Some(end), "an answer ends as its question did");
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)))
}

#[test]
fn an_answer_ends_as_its_question_did() {
    let (appliance, ..) = start();
    let mut stream = connect(&appliance);
    send(&mut stream, b"{\"id\":1,\"order\":\"version\"}\n{\"id\":\"two\",\"order\":\"status\"}\0");
    let first = answer(&mut stream, b'\n');
    assert_eq!((&first["id"], &first["status"]), (&1.into(), &"ok".into()));
    let second = answer(&mut stream, 0);
    assert_eq!((&second["id"], &second["result"]["kind"]), (&"two".into(), &"status".into()));
}

#[test]
fn mistaken_messages_are_answered_and_the_connection_goes_on() {
    let (appliance, ..) = start();
    let mut stream = connect(&appliance);
    for (message, id, code, part) in [
        (&b"{nonsense}\n"[..], Value::Null, "invalid_request", ""),
        (b"[1,2,3]\n", Value::Null, "invalid_request", ""),
        (b"{\"id\":3}\n", 3.into(), "invalid_request", "order"),
        (b"{\"id\":4,\"order\":\"stauts\"}\n", 4.into(), "unknown_order", "status"),
        (b"{\"id\":5,\"order\":\"receipt\"}\n", 5.into(), "invalid_request", "job"),
        (b"{\"id\":6,\"order\":\"receipt\",\"job\":\"x\"}\n", 6.into(), "invalid_request", "job"),
        (b"{\"id\":7,\"order\":\"status\",\"colour\":1}\n", 7.into(), "invalid_request", "colour"),
        (b"\xff\xfe\n", Value::Null, "invalid_request", ""),
    ] {
        send(&mut stream, message);
        let answer = answer(&mut stream, b'\n');
        assert_eq!(
            (&answer["id"], &answer["status"], &answer["error"]["code"]),
            (&id, &"error".into(), &code.into()),
            "{answer}"
        );
        let told = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(told.contains(part) && told.len() > 10, "no word of {part:?}: {told}");
    }
    send(&mut stream, b"\n\r\n{\"id\":8,\"order\":\"version\"}\r\n");
    assert_eq!(answer(&mut stream, b'\n')["id"], 8);
}

/// In pieces of any size, and many in one piece.
#[test]
fn messages_may_be_cut_and_heaped() {
    let (appliance, ..) = start();
    let mut stream = connect(&appliance);
    for byte in b"{\"id\":1,\"order\":\"version\"}\n" {
        send(&mut stream, &[*byte]);
    }
    assert_eq!(answer(&mut stream, b'\n')["id"], 1);
    let heap: String = (2..202).map(|id| format!("{{\"id\":{id},\"order\":\"version\"}}\n")).collect();
    send(&mut stream, heap.as_bytes());
    for id in 2..202 {
        assert_eq!(answer(&mut stream, b'\n')["id"], id);
    }
}

#[test]
fn a_shell_is_enough() {
    let (appliance, a, _) = start();
    let socket = appliance.control_socket().display();
    let script = format!(
        "printf '{{\"id\":1,\"order\":\"backend.set\",\"pool\":\"db\",\"backend\":\"a\",\"weight\":9}}\\n' | nc -N -U {socket}"
    );
    assert!(script.len() < 1000, "a change of one backend is a small message");
    let child = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let done = finish(child.expect("sh runs"), Deadline::patient());
    if String::from_utf8_lossy(&done.stderr).contains("not found") {
        return harness::skip("there is no nc on this machine");
    }
    let text = String::from_utf8(done.stdout).expect("it prints text");
    let last = text.lines().last().unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&done.stderr)));
    let answer: Value = serde_json::from_str(last).expect("an answer is JSON");
    assert_eq!(
        (&answer["id"], &answer["status"], &answer["result"]["outcome"]),
        (&1.into(), &"ok".into(), &"applied".into()),
        "{text}"
    );
    assert_eq!(e2e::backend(&appliance.status(), "a").weight, 9);
    drop(a);
}

/// Three answers and no others: any number of `processing`, then one `ok` or `error`.
#[test]
fn an_order_has_exactly_one_final_answer() {
    let (appliance, a, front) = start();
    let mut stream = connect(&appliance);
    let document = |weight: u32| {
        let pool = Pool::new("db").listen(&front).backend_with("a", a.target(), &format!("weight = {weight}"));
        Value::from(appliance.document(&pool.to_string()))
    };
    let mut asked = 0;
    for weight in 2..6 {
        for order in [
            format!("{{\"id\":{asked},\"order\":\"apply\",\"document\":{}}}\n", document(weight)),
            format!("{{\"id\":{},\"order\":\"apply\",\"document\":\"x = \"}}\n", asked + 1),
        ] {
            send(&mut stream, order.as_bytes());
        }
        asked += 2;
    }
    send(&mut stream, b"{\"id\":\"end\",\"order\":\"version\"}\n");
    let mut finals = vec![0; asked];
    let mut ended = false;
    while !ended || finals.contains(&0) {
        let answer = answer(&mut stream, b'\n');
        let status = answer["status"].as_str().expect("an answer has a status");
        assert!(["ok", "error", "processing"].contains(&status), "{answer}");
        match answer["id"].as_u64() {
            Some(id) if status != "processing" => finals[id as usize] += 1,
            Some(_) => {}
            None => ended = true,
        }
    }
    assert_eq!(finals, vec![1; asked]);
}

#[test]
fn the_socket_is_guarded_by_its_mode() {
    let (appliance, ..) = start();
    let mode = std::fs::metadata(appliance.control_socket()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

/// More clients than there are places: the next is told so, and those inside are served.
#[test]
fn sessions_are_bounded() {
    const PLACES: usize = 64;
    let (appliance, ..) = start();
    // Whoever asked whether it has started may hold a place for a moment yet, so what is counted is who got in.
    let mut inside = Vec::new();
    let said = loop {
        let mut stream = connect(&appliance);
        // One that is turned away may be closed before its question is through.
        let _ = stream.get_mut().write_all(b"{\"id\":1,\"order\":\"version\"}\n");
        let mut text = Vec::new();
        let _ = stream.read_until(b'\n', &mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        if !text.contains("\"ok\"") {
            break text;
        }
        inside.push(stream);
        assert!(inside.len() <= PLACES, "more than {PLACES} are let in");
    };
    assert!(said.is_empty() || said.contains("\"busy\""), "{said}");
    assert!(inside.len() >= PLACES - 2, "only {} are let in", inside.len());
    drop(inside.pop());
    harness::wait::until("a place is free", || {
        let mut stream = connect(&appliance);
        let _ = stream.get_mut().write_all(b"{\"id\":1,\"order\":\"version\"}\n");
        let mut text = Vec::new();
        let _ = stream.read_until(b'\n', &mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        if text.contains("\"ok\"") { Ok(()) } else { Err(text) }
    });
}
