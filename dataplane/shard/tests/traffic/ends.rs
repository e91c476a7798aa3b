//! How a tunnel ends, and what each side learns of it: an end is passed on as an end, a reset as a reset.

use crate::rig::Rig;
use crate::rig::peers::{Backend, Stream, refusing};
use crate::rig::site::Site;
use link::counters::EndpointCounter;
use policy::close::CloseReason;

/// A rig with one tunnel through which a message has passed both ways.
fn tunnel() -> (Rig, Stream, Stream) {
    let backend = Backend::new();
    let rig = Rig::new(Site::of(&[backend.address()]));
    let mut client = rig.connect(0);
    let mut served = backend.accept();
    client.say(b"hello");
    served.hear(b"hello");
    served.say(b"welcome");
    client.hear(b"welcome");
    (rig, client, served)
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let (mut rig, mut client, mut served) = tunnel();
    client.end();
    served.hear_end();
    served.say(b"the answer");
    client.hear(b"the answer");
    served.end();
    client.hear_end();
    rig.closed(CloseReason::Finished);
    rig.stop();
}

#[test]
fn a_backend_that_has_said_all_still_gets_the_rest() {
    let (mut rig, mut client, mut served) = tunnel();
    served.end();
    client.hear_end();
    client.say(b"the rest");
    served.hear(b"the rest");
    client.end();
    served.hear_end();
    rig.closed(CloseReason::Finished);
    rig.stop();
}

#[test]
fn a_backend_that_closes_at_once_is_an_end_and_no_reset() {
    let (mut rig, mut client, served) = tunnel();
    drop(served);
    client.hear_end();
    client.end();
    rig.closed(CloseReason::Finished);
    rig.stop();
}

#[test]
fn a_backends_reset_reaches_the_client_after_what_it_sent() {
    let (mut rig, mut client, mut served) = tunnel();
    served.say(b"half an answ");
    client.hear(b"half an answ");
    served.reset();
    client.hear_reset();
    rig.closed(CloseReason::BackendReset);
    assert_eq!(rig.endpoint(0, EndpointCounter::Resets), 1);
    rig.stop();
}

#[test]
fn a_clients_reset_reaches_the_backend() {
    let (mut rig, client, mut served) = tunnel();
    client.reset();
    served.hear_reset();
    rig.closed(CloseReason::ClientReset);
    rig.stop();
}

/// The backend had answered in full and closed with a part of the request unread, which is a reset. The answer was
/// in our socket, as the client had not asked for it yet, and closing with a reset threw it away.
#[test]
fn an_answer_that_was_taken_is_delivered_before_the_reset_behind_it() {
    const ANSWER: usize = 1 << 20;
    let (mut rig, mut client, mut served) = tunnel();
    client.say(b"never read");
    served.say(&vec![7; ANSWER]);
    let all = (ANSWER + b"welcome".len()) as u64;
    rig.until("the answer is ours to deliver", |rig| rig.endpoint(0, EndpointCounter::BytesOut) == all);
    drop(served);
    rig.closed(CloseReason::BackendReset);
    assert_eq!(client.hear_all(), (ANSWER, Err(std::io::ErrorKind::ConnectionReset)));
    rig.stop();
}

/// Only the backend was read then, and it had nothing to say.
#[test]
fn a_client_that_resets_after_its_end_is_noticed_while_the_backend_thinks() {
    let (mut rig, mut client, mut served) = tunnel();
    client.end();
    served.hear_end();
    client.reset();
    served.hear_break();
    rig.closed(CloseReason::ClientReset);
    rig.stop();
}

#[test]
fn a_backend_that_resets_after_its_end_is_noticed_while_the_client_thinks() {
    let (mut rig, mut client, mut served) = tunnel();
    served.end();
    client.hear_end();
    served.reset();
    client.hear_break();
    rig.closed(CloseReason::BackendReset);
    rig.stop();
}

#[test]
fn without_a_backend_the_client_gets_an_end_and_no_reset() {
    let (_port, address) = refusing();
    let mut rig = Rig::new(Site::of(&[address]));
    let mut client = rig.connect(0);
    client.say(&[7; 4096]);
    client.hear_end();
    client.end();
    let record = rig.closed(CloseReason::ConnectFailed);
    assert_eq!((record.endpoint, record.attempts), (None, 1));
    rig.stop();
}
