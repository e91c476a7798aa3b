//! A network of one's own: the test runs again, alone, in a new network namespace.
//!
//! There the kernel's counters count nothing but the test, and no other test is disturbed by its load.

use crate::binaries;
use crate::wait::Deadline;
use std::any::type_name;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Set in the process that runs inside.
const INSIDE: &str = "SLUICEGATE_TEST_NETNS";

/// Longest run of one body.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs `body` in a private network namespace with its loopback up: starts this test binary a second time
/// for the calling test only. Call it as the only statement of a `#[test]`, with a closure written there, because
/// the test's name is read from the closure's type.
///
/// Without the right to make a namespace the test is skipped and says so; under `CI=true` that is a failure.
pub fn isolated<Body: FnOnce()>(body: Body) {
    run(body, |_| {});
}

/// As [`isolated`], for bodies that start an appliance: inside there is no network for a build to use, so
/// the binaries are built out here.
pub fn isolated_appliance<Body: FnOnce()>(body: Body) {
    run(body, |child| _ = child.env(binaries::FOLDER, binaries::folder()));
}

fn run<Body: FnOnce()>(body: Body, prepare: impl FnOnce(&mut Command)) {
    if std::env::var_os(INSIDE).is_some() {
        body();
        return;
    }
    let unshare = match permitted_unshare() {
        Ok(unshare) => unshare,
        Err(reason) => return crate::skip(&format!("no network namespace can be made: {reason}")),
    };
    let test = test_name(type_name::<Body>());
    let this_binary = std::env::current_exe().expect("a process knows its executable");
    let mut child = Command::new("unshare");
    prepare(&mut child);
    let child = child
        .args(unshare)
        .args(["sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(this_binary)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare can be started");
    let output = crate::process::finish(child, Deadline::after(PATIENCE));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{stdout}");
    eprint!("{stderr}");
    assert!(
        output.status.is_some_and(|status| status.success()),
        "failed inside its network namespace: {:?}",
        output.status
    );
    assert!(stdout.contains("1 passed"), "the test `{test}` was not found inside: is isolated() called from its body?");
}

/// The options of `unshare` that work here.
fn permitted_unshare() -> Result<&'static [&'static str], String> {
    let mut reason = String::new();
    // A plain one needs privilege; one inside a user namespace of our own needs that the system allows those.
    for options in [&["-n"][..], &["-r", "-n"]] {
        match Command::new("unshare").args(options).arg("true").stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => return Ok(options),
            Ok(output) => reason = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => reason = format!("unshare: {error}"),
        }
    }
    Err(reason)
}

/// `crate::module::test::{{closure}}` without its first and last part: the name libtest knows.
fn test_name(closure: &str) -> &str {
    let test = closure.strip_suffix("::{{closure}}").unwrap_or(closure);
    test.split_once("::").map_or(test, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Counters;
    use crate::net::{Stream, Target};
    use crate::outcome::Failure;

    #[test]
    fn a_closure_names_its_test() {
        assert_eq!(test_name("e2e::reload::nobody_notices::{{closure}}"), "reload::nobody_notices");
    }

    /// Refused connections show in the kernel's counters, and nobody else's do.
    #[test]
    fn inside_only_our_own_traffic_is_counted() {
        isolated(|| {
            let before = Counters::read();
            assert_eq!(before.of("Tcp.OutSegs"), 0, "somebody else has used this network");
            for _ in 0..3 {
                let refused = Stream::connect(&Target::fresh(), crate::wait::Deadline::patient());
                assert_eq!(refused.err(), Some(Failure::Refused));
            }
            let moved = Counters::read().resets_since(&before);
            assert_eq!(moved.by("Tcp.OutRsts"), 3, "{moved}");
            assert_eq!(moved.by("Tcp.AttemptFails"), 3, "{moved}");
        });
    }
}
