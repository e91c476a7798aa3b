//! `sluicectl` as its users meet it: what it prints, and what it exits with.

use crate::appliance::{Appliance, Lines, finish, output_of, sluicectl, transcript};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Output, Stdio};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_output(output: &Output, code: i32, out: &str, err: &str) {
    assert_eq!(text(&output.stdout), out);
    assert_eq!(text(&output.stderr), err);
    assert_eq!(output.status.code(), Some(code));
}

/// The appliance answers as the README shows; what do people see?
#[track_caller]
fn shows(arguments: &str, out: &str) {
    let output = Appliance::of_the_readme().sluicectl(arguments);
    assert_output(&output, 0, out.trim_start_matches('\n'), "");
}

#[test]
fn status_fits_80_columns() {
    shows(
        "status",
        "
sluicegate 0.1.0  pid 4242, up 3d 4h
generation 42  9f2c51d06a3b4e7788aa01c2d3e4f506
from /etc/sluicegate/site.toml

SHARD  STATE    GENERATION  CONNECTIONS   ACCEPTED
    0  serving          42          131  1,204,312
    1  serving          42          128  1,203,977  started again once

db@42  240 connections, 3 waiting for a backend, 20,011 accepted
  listens on 127.0.0.1:7000, [::1]:7000 (leaving)
  BACKEND  ADDRESS           HEALTH    CONNECTIONS  WEIGHT
  a        127.0.0.1:9001    up                223       3
  b        127.0.0.1:9002    down               17       1  removed
  spare    db.internal:5432  unproven            0       1  drain backup max 100
                                                            -> 10.0.0.7:5432

web@40  19 connections, 2,388,278 accepted
  listens on unix:/run/web.sock
  9,001,234 requests, 3 1xx, 8,999,000 2xx, 2,000 3xx, 231 4xx, 12 sent again,
  half within 410 us, 99 % within 2.3 ms
  GROUP  BACKEND  HEALTH     BUSY  IDLE   REQUESTS  REUSED  ERRORS  P99
  main   w        unchecked     4    11  9,001,231    99 %       2    -
",
    );
}

#[test]
fn explain_goes_down_the_page_as_the_request_does() {
    shows(
        "explain http://127.0.0.1:8080/api/./users/7?all",
        "
shop@47  GET example.com/api/./users/7 from 192.0.2.7
  matched as /api/users/7

TURN  RULE    PLACE
   1  office  /etc/sluicegate/site.toml:21  fails source office
   3  writes  /etc/sluicegate/shop.toml:4   fails method POST PUT
   4  users   /etc/sluicegate/shop.toml:9   matches
1 rule between them: for another host or path

group api, balanced by least-requests
  is sent /v2/users/7?all for host api.internal
    set X-User: 7
    remove Cookie
  BACKEND  ADDRESS         HEALTH  OPEN  WEIGHT  STANDING
  a        127.0.0.1:9001  up         3       2  asked     max 100
  b        127.0.0.1:9002  down       0       1  out
  c        127.0.0.1:9003  up         0       1  spare     backup
the answer
    add Vary: Accept
",
    );
    let redirect = Appliance::saying(transcript("explain", 1)).sluicectl("explain /old --pool shop --host example.com");
    let out = "shop@47  GET example.com/old from a client without address\n\n\
               TURN  RULE   PLACE\n   8  moved  /etc/sluicegate/shop.toml:30  matches\n\
               7 rules between them: for another host or path\n\nredirect 301 to https://example.com/new\n";
    assert_output(&redirect, 0, out, "");
}

#[test]
fn config_and_metrics_are_printed_as_they_are() {
    shows("config", "[pool.db.create]\nservice = \"tcp\"\nlisten = [\"127.0.0.1:7000\"]\n");
    shows(
        "metrics",
        "# HELP sluicegate_generation Newest generation in force.\n# TYPE sluicegate_generation gauge\nsluicegate_generation 46\n",
    );
}

#[test]
fn check_tells_warnings() {
    shows(
        "check /dev/null",
        "
valid: 2 pools, 1 warning  9f2c51d06a3b4e7788aa01c2d3e4f506
  /etc/sluicegate/site.toml:14:1: warning: pool.web.group.app: group `app` has
  no backend: every connection will be refused
",
    );
}

#[test]
fn plan_goes_by_pool_and_says_what_cannot_be_live() {
    shows(
        "plan /dev/null",
        r#"
compared with generation 41: 5 changes in 2 pools, 1 of them not live

appliance
  ~ appliance.shards  2 -> 4
      process, restart, process, 259 connections touched
      Shards are started with the process, and each owns its connections for
      their life.

db
  ~ group.main.backend.a.weight  1 -> 3
      soft, next-connection, lbBackends, 223 tunnels touched
      Asked for each new connection; open ones stay where they are.
  - group.main.backend.b
      soft, next-connection, lbBackends, 17 tunnels touched
      It gets no new connections; those that it has go on until they end.

web
  ~ group.app  "old" -> "new"
      soft, next-connection, lbBackends
      Backends belong to their group, so under another name they begin anew.
      all targets are others: perhaps another application
  + create.listen  "127.0.0.1:7001"
      soft, now, listen
      An added address is bound before anything else happens; a removed one
      serves what it has already let in.

cannot be made live, and so `apply` will be refused:
  appliance.shards (process)
      Shards are started with the process, and each owns its connections for
      their life.
"#,
    );
}

#[test]
fn generations_say_who_pins_what() {
    shows(
        "generations",
        "
generation 46; superseded parts hold 5.2 KiB, at most 64.0 MiB for each pool

POOL  GENERATION     HELD  BY
db            46  1.2 KiB  tunnel-policy@41: 192 B, 17 leases, shards 0, 1
                           pool@42: 1.0 KiB, shard 1
old         gone  4.0 KiB  tunnel-policy@12: 4.0 KiB, 1 lease, shard 0
web           40      0 B

`rollback` goes back to:
  GENERATION  SINCE                        HASH
          45  2026-11-21T09:12:00.000000Z  9f2c51d06a3b4e7788aa01c2d3e4f506
",
    );
}

#[test]
fn history_and_jobs_have_a_line_for_each_job() {
    shows(
        "history",
        "
JOB  OUTCOME    SUBMITTED (UTC)        TOOK  BY     WHAT
 46  applied    2026-11-21 09:20:01  12.4 s  anna   backend.remove: db
 45  kept-old   2026-11-21 09:14:02  2.1 ms  -      sighup: shard 1 would not
                                                    take the change, so none did
 43  unchanged  2026-11-21 09:12:54  770 µs  uid 0  apply: equal to what runs
older ones: sluicectl history --before 43
",
    );
    shows(
        "jobs",
        "
JOB  STAGE    SUBMITTED (UTC)      BY    WHAT
 48  prepare  2026-11-21 09:30:00  -     file: db; until 2026-11-21 09:35:00
 49  wait     2026-11-21 09:30:00  anna  transaction: db; behind job 48; until
                                         2026-11-21 09:35:00
",
    );
}

#[test]
fn a_receipt_is_the_whole_account() {
    shows(
        "receipt 45",
        r#"
job 45
kept-old: generation 42 goes on
shard 1 would not take the change, so none did (refused)
  shard 1: the endpoints table is full (4096 entries)
  it ended at stage prepare
sighup at 2026-11-21T09:14:02.000000Z
stages: check 600 µs, plan 90 µs, compile 400 µs, bind 20 µs, prepare 1.0 ms

db
  ~ timeouts.idle  "1h" -> "5m"
      soft, next-timer-tick, timeouts, 240 tunnels touched
      Open tunnels read their pool's current time-outs at each timer tick.
"#,
    );
    let applied = Appliance::saying(transcript("backend.remove", 0));
    let output = applied.sluicectl("receipt 46");
    let expected = r#"
job 46
applied: generation 46 in 2.0 ms, 1 change in 1 pool, all soft
socket backend.remove at 2026-11-21T09:20:01.000200Z by anna (uid 1000, gid
1000, pid 5190)
stages: check 15 µs, plan 60 µs, compile 300 µs, prepare 900 µs, adopt 700 µs,
drain 12.4 s

db
  - group.main.backend.b
      soft, next-connection, lbBackends, 17 tunnels touched
      It gets no new connections; those that it has go on until they end.

SHARD  ADOPTED AFTER  PAUSE  CARRIED  ADOPTED  RETIRED
    0         290 µs   3 µs      121        2        0
    1         388 µs   4 µs      117        0        0

238 connections carried, 2 adopted, 0 retired; closed: 1 client-reset, 16
finished
memory: 46.0 MiB before, 46.0 MiB after
what it superseded was released at 2026-11-21 09:20:13
"#;
    assert_eq!(text(&output.stdout), expected.trim_start());
}

#[test]
fn orders_that_edit_are_told_as_any_change() {
    let appliance = Appliance::of_the_readme();
    let applied = |generation: u64, took: &str| {
        format!("applied: generation {generation} in {took}, 1 change in 1 pool, all soft\n")
    };
    let output = appliance.sluicectl("rule add shop attack path_prefix=/wp-admin deny=403 --first");
    assert_output(&output, 0, &applied(59, "1.8 ms"), "");
    let output = appliance.sluicectl("pool add shop create.service=http create.listen=[\"127.0.0.1:8080\"]");
    assert_output(&output, 0, &applied(50, "2.0 ms"), "");
    let output = appliance.sluicectl("listen remove shop 127.0.0.1:8081 --missing-ok");
    assert_output(&output, 0, "unchanged: generation 50 already says this\n", "");
    let output = appliance.sluicectl("host remove shop shop.example --group main");
    let err = "error: there is no rule `shop.example/*` of pool `shop` (not_found)\n  it ended at stage check\n  \
               generation 50 goes on\n  sluicectl receipt 56\n";
    assert_output(&output, 1, "", err);
}

#[test]
fn a_patch_with_a_condition_is_sent_as_a_transaction() {
    let appliance = Appliance::with(|request| {
        let api::Order::Transaction(transaction) = &request.order else { panic!("asked {request:?}") };
        assert_eq!((transaction.if_generation, transaction.dry_run), (Some(41), true));
        assert!(matches!(transaction.orders[..], [api::Edit::Patch(api::edit::Patch::Steps(_))]));
        Lines::Say(transcript("plan", 0))
    });
    let mut command = sluicectl();
    command.arg("--socket").arg(appliance.socket()).args(["patch", "-", "--if-generation", "41", "--dry-run"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"[{\"op\": \"remove\", \"path\": \"/pool/web\"}]").unwrap();
    let output = output_of(child);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).starts_with("compared with generation 41: 5 changes"), "{output:?}");
}

#[test]
fn keys_and_version() {
    shows(
        "keys",
        "
pool.*.timeouts.idle
  Nothing moved in either direction.

  type      duration in ms, s, m, h, d
  accepted  a duration such as 30s, or off
  default   \"1h\"
  a change  soft (next-timer-tick), timeouts, timeout_idle: Open tunnels read
            their pool's current time-outs at each timer tick.

    [pool.web.timeouts]
    idle = \"1h\"
",
    );
    let unknown = Appliance::saying(transcript("keys", 1)).sluicectl("explain-key pool.db.timeouts.idel");
    let err = "error: there is no configuration key `pool.db.timeouts.idel`; did you mean `pool.*.timeouts.idle`? (not_found)\n";
    assert_output(&unknown, 1, "", err);
    let version = env!("CARGO_PKG_VERSION");
    shows("version", &format!("sluicectl  {version} (protocol 1)\nsluicegate 0.1.0 (protocol 1)\n"));
}

#[test]
fn apply_says_what_it_waits_for_and_what_came_of_it() {
    let output = Appliance::of_the_readme().sluicectl("apply /dev/null");
    let applied = "applied: generation 42 in 3.1 ms, 1 change in 1 pool, all soft\n";
    let waits = "job 42 waits for job 41\n";
    assert_output(&output, 0, applied, waits);

    let output = Appliance::saying(transcript("apply", 1)).sluicectl("apply /dev/null");
    let unchanged = "unchanged: generation 42 already says this\n";
    assert_output(&output, 0, unchanged, "");
}

#[test]
fn a_removed_backend_is_watched_until_it_is_drained() {
    let output = Appliance::of_the_readme().sluicectl("backend remove db b");
    assert_output(
        &output,
        0,
        "applied: generation 46 in 2.0 ms, 1 change in 1 pool, all soft\ndrained after 12.4 s\n",
        "db/b: 17 connections left\ndb/b: 1 connection left\n",
    );
}

#[test]
fn progress_that_does_not_change_is_told_once() {
    let mut answers = transcript("stop", 0);
    answers.insert(0, answers[0].clone());
    let output = Appliance::saying(answers).sluicectl("stop");
    assert_output(&output, 0, "stopped; 2 connections had to be ended\n", "stopping: 259 connections left\n");
}

#[test]
fn what_the_appliance_refuses_is_exit_code_1() {
    #[track_caller]
    fn refused(answers: Vec<Value>, arguments: &str, err: &str) {
        let output = Appliance::saying(answers).sluicectl(arguments);
        assert_output(&output, 1, "", err.trim_start_matches('\n'));
    }
    refused(
        transcript("reload", 0),
        "reload",
        "
error: shard 1 would not take the change, so none did (refused)
  shard 1: the endpoints table is full (4096 entries)
  it ended at stage prepare
  generation 42 goes on
  sluicectl receipt 45
",
    );
    refused(
        transcript("backend.add", 0),
        "backend add db h:1",
        "error: the running generation is 43, not 42 (conflict)\n  generation 43 goes on\n",
    );
    refused(
        transcript("check", 1),
        "check /dev/null",
        r#"
error: site.toml has 1 problem (invalid_configuration)
error: unknown key `idel`: did you mean `idle`?
 --> site.toml:2:1
  |
2 | idel = "5m"
  | ^^^^
  |
  generation 42 goes on
"#,
    );
    refused(
        transcript("apply", 2),
        "apply /dev/null",
        "
error: 1 change cannot be made live, so none was made (restart_required)
  appliance.shards (process)
      Shards are started with the process, and each owns its connections for
      their life.
  it ended at stage plan
  generation 42 goes on
  sluicectl receipt 44
",
    );
}

#[test]
fn json_is_the_final_answer_as_it_came() {
    let mut answers = transcript("apply", 0);
    let last = answers.last_mut().unwrap();
    last["not_known_yet"] = json!(true);
    last["id"] = json!(1);
    let expected = format!("{last}\n");
    let appliance = Appliance::saying(answers);
    for arguments in ["--json apply /dev/null", "apply /dev/null --json"] {
        assert_output(&appliance.sluicectl(arguments), 0, &expected, "");
    }

    let mut answers = transcript("reload", 0);
    answers[0]["id"] = json!(1);
    let expected = format!("{}\n", answers[0]);
    let output = Appliance::saying(answers).sluicectl("--json reload");
    assert_output(&output, 1, &expected, "");
}

#[test]
fn events_are_a_line_each() {
    let leaving = || Appliance::with(|_| Lines::SayAndLeave(transcript("events", 0)));
    let output = leaving().sluicectl("events");
    let lost = "ended before the final answer\n";
    assert!(text(&output.stderr).ends_with(lost), "{output:?}");
    assert_eq!(output.status.code(), Some(4));
    let expected = "
09:20:01.000     7  job 46 submitted by socket
09:20:01.000     8  job 46 prepare
09:20:01.002     9  job 46 adopted by shard 0 after 290 µs, pause 3 µs
09:20:01.003    10  job 46 applied, generation 46 runs
09:20:05.000    11  db/main/a down: connection refused
09:20:06.000    12  db/main/spare resolves to 10.0.0.8:5432
09:20:13.404    13  db/main/b drained
09:20:13.410    14  db@42 tunnel-policy released, 192 B
09:20:20.000    15  db [::1]:7000 closed
09:20:21.000    16  shard 1 lost: did not adopt job 47 in time, accepts nothing until it has
09:20:22.000    17  shard 1 died
09:20:22.100    18  shard 1 is back
09:20:22.200    19  db@46 is not what its document says: it means 5f0c9d2e7a1b48360e8d4c2f9a7b6150, not c1d7e3f9a5b04c628d9e1f3a5b7c9d0e
09:20:23.000    30  11 events are left out here
09:20:24.000    31  stopping, connections may end within 30.0 s
";
    assert_eq!(text(&output.stdout), expected.trim_start());

    let output = leaving().sluicectl("--json events");
    let lines = text(&output.stdout).lines();
    let events: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let sent = transcript("events", 0);
    let sent: Vec<&Value> = sent.iter().map(|answer| &answer["progress"]["event"]).collect();
    assert_eq!(events.iter().collect::<Vec<_>>(), sent);
}

#[test]
fn an_output_that_nobody_reads_any_more_is_no_error() {
    let event = transcript("events", 0).remove(0);
    let appliance = Appliance::with(move |_| Lines::Repeat(event.clone()));
    let mut command = sluicectl();
    command.arg("--socket").arg(appliance.socket()).arg("events");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    // Dropped after one line, as by `head -1`.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("job 46 submitted"), "{first}");
    assert_output(&output_of(child), 0, "", "");
}

#[test]
fn an_output_that_cannot_be_written_is_exit_code_5() {
    let appliance = Appliance::of_the_readme();
    let mut command = sluicectl();
    command.arg("--socket").arg(appliance.socket()).arg("status");
    command.stdout(File::options().write(true).open("/dev/full").unwrap());
    command.stderr(Stdio::piped());
    let output = output_of(command.spawn().unwrap());
    assert_eq!(output.status.code(), Some(5));
    let err = text(&output.stderr);
    assert!(err.contains("could not be written: No space left"), "{err}");
}

#[test]
fn a_mistake_on_the_command_line_is_exit_code_2() {
    let appliance = Appliance::with(|request| panic!("nothing is sent, not even {request:?}"));
    for arguments in [
        "",
        "statsu",
        "receipt x",
        "apply",
        "apply /nonexistent",
        "patch /nonexistent",
        "pool set db a=1 a=2",
        "rule add db r s",
        "--timeout soon status",
    ] {
        let output = appliance.sluicectl(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {output:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}

#[test]
fn who_cannot_be_reached_is_exit_code_3() {
    let folder = tempfile::TempDir::new().unwrap();
    let run = |socket: Option<&str>| {
        let mut command = sluicectl();
        command.env("TMPDIR", folder.path()).env("XDG_RUNTIME_DIR", folder.path());
        if let Some(socket) = socket {
            command.arg("--socket").arg(folder.path().join(socket));
        }
        let output = finish({
            command.arg("status");
            command
        });
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(output.stdout.is_empty());
        text(&output.stderr).to_owned()
    };
    let absent = run(Some("absent.sock"));
    assert!(absent.contains("absent.sock: is sluicegate running?"), "{absent}");

    let dead = folder.path().join("sluicegate.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    for socket in [Some("sluicegate.sock"), None] {
        let dead = run(socket);
        assert!(dead.contains("nothing listens on"), "{dead}");
    }
}

#[test]
fn a_final_answer_that_does_not_come_is_exit_code_4() {
    let mut begun = transcript("backend.remove", 0);
    begun.truncate(1);
    let leaving = begun.clone();
    let appliance = Appliance::with(move |_| Lines::SayAndLeave(leaving.clone()));
    let output = appliance.sluicectl("backend remove db b");
    assert_eq!(output.status.code(), Some(4));
    let err = text(&output.stderr);
    assert!(err.starts_with("db/b: 17 connections left\nerror: the connection to "), "{err}");
    assert!(err.contains("`sluicectl history` tells"), "{err}");

    let output = Appliance::saying(begun).sluicectl("backend remove db b --timeout 1ms");
    assert_eq!(output.status.code(), Some(4));
    let err = text(&output.stderr);
    assert!(err.contains("for 0.001 s. The order may have been carried out"), "{err}");
}

#[test]
fn the_socket_is_found_where_the_environment_says() {
    let appliance = Appliance::of_the_readme();
    let mut named = sluicectl();
    named.env("SLUICEGATE_SOCKET", appliance.socket());
    let mut beside = sluicectl();
    beside.env("XDG_RUNTIME_DIR", appliance.folder());
    for mut command in [named, beside] {
        command.arg("version");
        assert_eq!(finish(command).status.code(), Some(0));
    }
}

#[test]
fn the_standard_input_is_a_document_too() {
    let appliance = Appliance::with(|request| {
        let api::Order::Apply(apply) = &request.order else {
            panic!("asked {request:?}");
        };
        assert_eq!(apply.document, "x = 1\n");
        assert_eq!(apply.name.as_deref(), Some("standard input"));
        assert!(apply.base.as_deref().is_some_and(|base| base.starts_with('/')));
        Lines::Say(transcript("apply", 1))
    });
    let mut command = sluicectl();
    command.arg("--socket").arg(appliance.socket()).args(["apply", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"x = 1\n").unwrap();
    assert_output(&output_of(child), 0, "unchanged: generation 42 already says this\n", "");
}

#[test]
fn help_names_the_exit_codes_and_fits_80_columns() {
    let help_of = |command: &str| {
        let mut run = sluicectl();
        run.env("COLUMNS", "80");
        run.args(command.split_whitespace()).arg("--help");
        let output = finish(run);
        assert_eq!(output.status.code(), Some(0));
        let help = text(&output.stdout).to_owned();
        let widest = help.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{widest:?} columns:\n{help}");
        help
    };
    let help = help_of("");
    for code in 0..=5 {
        assert!(help.contains(&format!("\n  {code}  ")), "{help}");
    }
    for command in [
        "apply",
        "backend add",
        "backend set",
        "backend remove",
        "events",
        "stop",
        "rule add",
        "rule move",
        "header set",
        "patch",
    ] {
        help_of(command);
    }
}
