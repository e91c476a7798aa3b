//! Real services through the appliance while it reloads in a loop: Redis, PostgreSQL, HTTP.
//!
//! Their own load generators are the judges. Where a service is not installed the test is skipped and says so.

use e2e::Pool;
use harness::appliance::Appliance;
use harness::net::{Stream, Target};
use harness::process::{Finished, Process, finish};
use harness::wait::{Deadline, until};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// Longest run of one load generator.
const LOAD_TIME: Duration = Duration::from_secs(120);

/// The program, if it is installed; else the test is skipped.
fn installed(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from).into_iter();
    let postgres = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"));
    let found = folders.chain(postgres).map(|folder| folder.join(name)).find(|path| path.exists());
    if found.is_none() {
        harness::skip(&format!("{name} is not installed"));
    }
    found
}

fn words(program: &Path, arguments: &[&str]) -> Vec<String> {
    std::iter::once(program.display().to_string()).chain(arguments.iter().map(|word| (*word).to_owned())).collect()
}

fn wait_listening(target: &Target) {
    until("the service listens", || Stream::connect(target, Deadline::patient()).map(drop));
}

/// Runs the load generator while the appliance changes its configuration as fast as it can.
fn load_while_reloading(appliance: &Appliance, front: &Target, back: &Target, mut load: Command) -> Finished {
    let loaded = AtomicBool::new(false);
    thread::scope(|scope| {
        let reloading = scope.spawn(|| {
            let extra = Target::fresh();
            let mut rounds = 0;
            while !loaded.load(Ordering::Relaxed) || rounds < 20 {
                rounds += 1;
                let pool =
                    Pool::new("service").listen(front).backend_with("a", back, &format!("weight = {}", 1 + rounds % 5));
                let pool = if rounds % 3 == 0 { pool.listen(&extra) } else { pool };
                appliance.apply(&pool.to_string());
            }
            rounds
        });
        let child = load.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let done = finish(child.expect("the load generator starts"), Deadline::after(LOAD_TIME));
        loaded.store(true, Ordering::Relaxed);
        let rounds = reloading.join().expect("every reload is applied");
        assert!(rounds >= 20, "{rounds} reloads");
        done
    })
}

fn said(done: &Finished) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

fn service(front: &Target, back: &Target) -> Appliance {
    Appliance::start(&Pool::new("service").listen(front).backend_with("a", back, "weight = 9").to_string())
}

#[test]
fn redis_benchmark_sees_no_error() {
    let (Some(server), Some(benchmark)) = (installed("redis-server"), installed("redis-benchmark")) else { return };
    let (back, front) = (Target::fresh(), Target::fresh());
    let (host, port) = (back.ip().ip().to_string(), back.ip().port().to_string());
    let arguments = [
        "--bind",
        &host,
        "--port",
        &port,
        "--save",
        "",
        "--appendonly",
        "no",
        "--daemonize",
        "no",
        "--protected-mode",
        "no",
    ];
    let _redis = Process::spawn(&words(&server, &arguments), &[]);
    wait_listening(&back);
    let appliance = service(&front, &back);
    let mut load = Command::new(benchmark);
    let (host, port) = (front.ip().ip().to_string(), front.ip().port().to_string());
    load.args([
        "-h",
        &host,
        "-p",
        &port,
        "-q",
        "-n",
        "40000",
        "-c",
        "50",
        "-t",
        "ping_mbulk,set,get,lrange_100",
        "-d",
        "500",
        "--csv",
    ]);
    let done = load_while_reloading(&appliance, &front, &back, load);
    let said = said(&done);
    assert!(done.status.is_some_and(|status| status.success()), "{said}");
    assert!(!said.to_lowercase().contains("error"), "{said}");
    assert!(["SET", "GET", "LRANGE"].iter().all(|test| said.contains(test)), "{said}");
}

#[test]
fn pgbench_loses_no_transaction() {
    let (Some(initdb), Some(server), Some(pgbench)) =
        (installed("initdb"), installed("postgres"), installed("pgbench"))
    else {
        return;
    };
    // PostgreSQL refuses to run as root.
    let root = rustix::process::getuid().is_root();
    let folder = TempDir::with_prefix("sluicegate-pg-").expect("a folder");
    let data = folder.path().join("data");
    let as_user = |program: &Path, arguments: &[&str]| {
        let user = ["/usr/bin/setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"];
        let before: &[&str] = if root { &user } else { &[] };
        before.iter().map(|word| (*word).to_owned()).chain(words(program, arguments)).collect::<Vec<_>>()
    };
    if root {
        let owner = Command::new("chown").arg("postgres:postgres").arg(folder.path()).status();
        assert!(owner.is_ok_and(|status| status.success()), "the folder cannot be given to postgres");
    }
    let data = data.display().to_string();
    let mut init = Process::spawn(&as_user(&initdb, &["-D", &data, "-A", "trust", "-U", "tester", "--no-sync"]), &[]);
    assert!(init.wait_exit(Deadline::after(LOAD_TIME)).is_some_and(|status| status.success()), "{:?}", init.output());

    let (back, front) = (Target::fresh(), Target::fresh());
    let (host, port) = (back.ip().ip().to_string(), back.ip().port().to_string());
    let sockets = format!("unix_socket_directories={}", folder.path().display());
    let arguments =
        ["-D", &data, "-h", &host, "-p", &port, "-c", &sockets, "-c", "fsync=off", "-c", "max_connections=60"];
    let mut postgres = Process::spawn(&as_user(&server, &arguments), &[]);
    wait_listening(&back);
    let appliance = service(&front, &back);
    let (host, port) = (front.ip().ip().to_string(), front.ip().port().to_string());
    let through = |arguments: &[&str]| {
        let mut command = Command::new(&pgbench);
        command.args(["-h", &host, "-p", &port, "-U", "tester"]).args(arguments).arg("postgres");
        command
    };
    // The server may still be starting up when it listens.
    until("the tables are made through the appliance", || {
        let child = through(&["-i", "-q", "-s", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let done = finish(child.expect("pgbench starts"), Deadline::patient());
        if done.status.is_some_and(|status| status.success()) { Ok(()) } else { Err(said(&done)) }
    });
    // One run keeps its sessions, the other makes a new one for each transaction.
    for arguments in
        [&["-n", "-c", "8", "-j", "2", "-t", "250"][..], &["-n", "-C", "-c", "4", "-j", "2", "-t", "100", "-S"]]
    {
        let done = load_while_reloading(&appliance, &front, &back, through(arguments));
        let said = said(&done);
        assert!(done.status.is_some_and(|status| status.success()), "{said}");
        let whole = if arguments.contains(&"-C") { "400/400" } else { "2000/2000" };
        assert!(said.contains(whole), "transactions are missing:\n{said}");
        assert!(!said.contains("abort") && !said.contains("ERROR") && !said.contains("FATAL"), "{said}");
    }
    drop(appliance);
    // Its fast shutdown ends its children with it.
    postgres.signal(Signal::INT);
    assert!(postgres.wait_exit(Deadline::patient()).is_some());
}

#[test]
fn wrk_sees_no_socket_error() {
    let (Some(nginx), Some(wrk)) = (installed("nginx"), installed("wrk")) else { return };
    let folder = TempDir::with_prefix("sluicegate-nginx-").expect("a folder");
    let (back, front) = (Target::fresh(), Target::fresh());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let configuration = format!(
        "daemon off; master_process off; pid {pid}; error_log stderr warn;\nevents {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {temp}; proxy_temp_path {temp}; fastcgi_temp_path {temp}; uwsgi_temp_path {temp}; scgi_temp_path {temp};\n\
         server {{ listen {back}; keepalive_requests 1000000; location / {{ return 200 'hello from behind\\n'; }} }} }}\n",
        pid = at("nginx.pid"),
        temp = at("temp"),
    );
    std::fs::write(folder.path().join("nginx.conf"), configuration).expect("a file");
    let _nginx = Process::spawn(&words(&nginx, &["-c", &at("nginx.conf"), "-e", "stderr"]), &[]);
    wait_listening(&back);
    let appliance = service(&front, &back);
    let mut load = Command::new(wrk);
    load.args(["-t", "1", "-c", "64", "-d", "5s", &format!("http://{front}/")]);
    let done = load_while_reloading(&appliance, &front, &back, load);
    let said = said(&done);
    assert!(done.status.is_some_and(|status| status.success()), "{said}");
    assert!(said.contains("requests in") && !said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
}
