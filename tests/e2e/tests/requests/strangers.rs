//! Clients and origins that others wrote. Where one is not installed its test is left out and says so.

use crate::{Site, start};
use e2e::Pool;
use harness::appliance::Appliance;
use harness::http::Origin;
use harness::net::Target;
use harness::pattern::Pattern;
use harness::process::{Process, finish};
use harness::wait::{Deadline, until};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Whether these can be started; where not, the test that asks is left out.
fn are_here(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| {
        let version = if **program == "nginx" { "-v" } else { "--version" };
        let asked = Command::new(program).arg(version).stdin(Stdio::null()).output();
        !asked.is_ok_and(|output| output.status.success())
    });
    if let Some(program) = missing {
        harness::skip(&format!("{program} is not installed"));
    }
    missing.is_none()
}

/// What a program prints. Panics unless it ends well.
#[track_caller]
fn run(words: &[&str]) -> String {
    run_in(Path::new("/"), words)
}

#[track_caller]
fn run_in(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(folder).env_remove("http_proxy").env_remove("HTTP_PROXY");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let finished = finish(child.spawn().expect("it is installed"), Deadline::patient());
    let (stdout, stderr) = (String::from_utf8_lossy(&finished.stdout), String::from_utf8_lossy(&finished.stderr));
    assert!(finished.status.is_some_and(|status| status.success()), "{words:?}: {finished:?}: {stdout}{stderr}");
    stdout.into_owned()
}

/// A program that serves the files of a folder.
struct Server {
    _process: Process,
    target: Target,
    folder: TempDir,
}

impl Server {
    /// The command is told address, port and folder.
    fn start(command: impl Fn(&Target, &Path) -> Vec<String>) -> Server {
        let (target, folder) = (Target::fresh(), TempDir::with_prefix("sluicegate-files-").expect("a folder"));
        std::fs::create_dir(folder.path().join("files")).expect("a folder");
        let process = Process::spawn(&command(&target, folder.path()), &[]);
        until("it listens", || TcpStream::connect(target.ip()));
        Server { _process: process, target, folder }
    }

    fn nginx() -> Server {
        Server::start(|target, folder| {
            let at = folder.display();
            let config = format!(
                "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr error;\nevents {{ }}\nhttp {{\n\
                 access_log off;\nclient_body_temp_path {at}/body;\nproxy_temp_path {at}/proxy;\nfastcgi_temp_path {at}/fastcgi;\n\
                 uwsgi_temp_path {at}/uwsgi;\nscgi_temp_path {at}/scgi;\n\
                 server {{\nlisten {target};\nroot {at}/files;\nclient_max_body_size 0;\ngzip on;\ngzip_types *;\n\
                 location / {{ dav_methods PUT DELETE; }}\nlocation /moved {{ return 301 /there; }}\n}}\n}}\n"
            );
            let file = folder.join("nginx.conf");
            std::fs::write(&file, config).expect("it can be written");
            ["nginx", "-p", &at.to_string(), "-c", &file.display().to_string()].map(str::to_owned).to_vec()
        })
    }

    /// Of this version of HTTP.
    fn python(protocol: &str) -> Server {
        Server::start(|target, folder| {
            let (address, files) = (target.ip(), folder.join("files").display().to_string());
            let port = address.port().to_string();
            [
                "python3",
                "-m",
                "http.server",
                &port,
                "--bind",
                &address.ip().to_string(),
                "--directory",
                &files,
                "--protocol",
                protocol,
            ]
            .map(str::to_owned)
            .to_vec()
        })
    }

    fn file(&self, name: &str, bytes: usize) -> Vec<u8> {
        let mut content = vec![0; bytes];
        Pattern::new(bytes as u64).fill(0, &mut content);
        std::fs::write(self.folder.path().join("files").join(name), &content).expect("it can be written");
        content
    }

    /// An appliance in front of it, and where.
    fn behind(&self) -> (Appliance, String) {
        let front = Target::fresh();
        let appliance = start(&Pool::http("web").listen(&front).backend("a", &self.target));
        (appliance, format!("http://{front}"))
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

const SIZES: [usize; 5] = [0, 1, 1_000, 100_000, 5_000_000];

/// curl before, nginx behind: files up and down, in parts, in chunks, with and without waiting to be told.
#[test]
fn curl_and_nginx_do_not_notice_who_is_between_them() {
    if !are_here(&["curl", "nginx"]) {
        return;
    }
    let server = Server::nginx();
    let (appliance, front) = server.behind();
    let folder = server.folder.path();
    let out = folder.join("out").display().to_string();
    let contents = SIZES.map(|bytes| server.file(&format!("f{bytes}"), bytes));
    for (bytes, content) in SIZES.iter().zip(&contents) {
        for version in ["--http1.0", "--http1.1"] {
            run(&["curl", "-sSf", version, "-o", &out, &format!("{front}/f{bytes}")]);
            assert_eq!(&server.read("out"), content, "{version}, {bytes} bytes");
        }
        let head = run(&["curl", "-sSfI", &format!("{front}/f{bytes}")]);
        assert!(
            head.contains("200 OK") && head.to_lowercase().contains(&format!("content-length: {bytes}\r")),
            "{head}"
        );
        let source = folder.join("files").join(format!("f{bytes}")).display().to_string();
        let ways =
            [&[][..], &["-H", "Expect: 100-continue"], &["-H", "Expect:"], &["-H", "Transfer-Encoding: chunked"]];
        // curl 7.88 never ends an empty file that it sends in chunks, whoever listens.
        for (nr, more) in ways.iter().enumerate().filter(|(nr, _)| *bytes > 0 || *nr < 3) {
            let name = format!("up{nr}-{bytes}");
            let url = format!("{front}/{name}");
            let words = [&["curl", "-sSf", "-o", "/dev/null", "-T", &source, &url][..], more].concat();
            run(&words);
            assert_eq!(&server.read(&format!("files/{name}")), content, "{words:?}");
        }
    }
    // A part, in chunks because it is compressed, and many files over one connection.
    let url = format!("{front}/f5000000");
    run(&["curl", "-sSf", "-r", "1000-1999", "-o", &out, &url]);
    assert_eq!(server.read("out"), contents[4][1_000..2_000]);
    run(&["curl", "-sSf", "--compressed", "-o", &out, &url]);
    assert_eq!(server.read("out"), contents[4]);
    let urls = vec![&*url; 5];
    let discard = "-o /dev/null ".repeat(5);
    let discard: Vec<&str> = discard.split_whitespace().collect();
    let words = [&["curl", "-sSf", "-w", "%{http_code}/%{num_connects} "][..], &discard, &urls].concat();
    assert_eq!(run(&words), "200/1 200/0 200/0 200/0 200/0 ");
    let head = run(&["curl", "-sSI", &format!("{front}/moved")]);
    assert!(head.contains("301 Moved Permanently"), "{head}");
    let status = run(&["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", &format!("{front}/none")]);
    assert_eq!(status, "404");
    let log = appliance.access_log();
    assert!(log.iter().all(|line| line["reason"] == "finished"), "{log:#?}");
}

/// One that closes after each answer, and one that does not.
#[test]
fn pythons_server_is_an_origin_like_any_other() {
    if !are_here(&["curl", "python3"]) {
        return;
    }
    for protocol in ["HTTP/1.0", "HTTP/1.1"] {
        let server = Server::python(protocol);
        let (appliance, front) = server.behind();
        let out = server.folder.path().join("out").display().to_string();
        for bytes in SIZES {
            let content = server.file(&format!("f{bytes}"), bytes);
            for _ in 0..3 {
                run(&["curl", "-sSf", "-o", &out, &format!("{front}/f{bytes}")]);
                assert_eq!(server.read("out"), content, "{protocol}, {bytes} bytes");
            }
        }
        let listing = run(&["curl", "-sSf", &format!("{front}/")]);
        assert!(listing.contains("f5000000"), "{listing}");
        let status =
            run(&["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", &format!("{front}/x")]);
        assert_eq!(status, "501");
        let log = appliance.access_log();
        assert!(log.iter().all(|line| line["reason"] == "finished"), "{protocol}: {log:#?}");
    }
}

/// The repository is read as files, many small requests one after the other.
#[test]
fn git_clones_through_it() {
    if !are_here(&["git", "python3"]) {
        return;
    }
    let server = Server::python("HTTP/1.1");
    let (_appliance, front) = server.behind();
    let folder = server.folder.path();
    let work = folder.join("work");
    std::fs::create_dir(&work).expect("a folder");
    let git = |words: &[&str]| {
        let who = ["git", "-c", "user.name=n", "-c", "user.email=e@x", "-c", "init.defaultBranch=main"];
        run_in(&work, &[&who, words].concat());
    };
    git(&["init", "-q"]);
    for nr in 0..20 {
        std::fs::write(work.join(format!("{nr}.txt")), format!("{nr}\n").repeat(1_000)).expect("it can be written");
        git(&["add", "."]);
        git(&["commit", "-q", "-m", &nr.to_string()]);
    }
    let bare = folder.join("files/repo.git").display().to_string();
    git(&["clone", "-q", "--bare", ".", &bare]);
    git(&["-C", &bare, "update-server-info"]);
    let copy = folder.join("copy").display().to_string();
    git(&["clone", "-q", &format!("{front}/repo.git"), &copy]);
    let heads = |folder: &str| run(&["git", "-C", folder, "rev-parse", "HEAD"]);
    assert_eq!(heads(&copy), heads(&bare));
}

/// Keeps its connections by itself, and sends what it does not know the length of in chunks.
#[test]
fn nodes_fetch_is_understood() {
    if !are_here(&["node"]) {
        return;
    }
    let site = Site::good();
    let script = r#"
        (async () => {
            const front = process.argv[1];
            for (let nr = 0; nr < 50; nr++) {
                const body = nr % 2 ? "x".repeat(nr * 1000) : undefined;
                const response = await fetch(`${front}/${nr}`, { method: body ? "POST" : "GET", body });
                const account = JSON.parse((await response.text()).split("\n")[0]);
                if (response.status !== 200 || account.target !== `/${nr}` || account.body_bytes !== (body ?? "").length)
                    throw new Error(JSON.stringify(account));
            }
            const pieces = new ReadableStream({
                start(controller) {
                    for (let nr = 0; nr < 10; nr++) controller.enqueue(new TextEncoder().encode("piece"));
                    controller.close();
                }
            });
            const response = await fetch(front, { method: "POST", body: pieces, duplex: "half" });
            const account = JSON.parse((await response.text()).split("\n")[0]);
            if (account.body_bytes !== 50 || account.framing !== "chunked") throw new Error(JSON.stringify(account));
            console.log("done");
        })();
    "#;
    assert_eq!(run(&["node", "-e", script, &format!("http://{}", site.front)]), "done\n");
}

#[test]
fn pythons_clients_are_understood() {
    if !are_here(&["python3"]) {
        return;
    }
    let site = Site::good();
    let script = r#"
import http.client, json, sys, urllib.request
host = sys.argv[1]
connection = http.client.HTTPConnection(host)
for nr in range(50):
    body = b"x" * (nr * 1000) if nr % 2 else None
    connection.request("PUT" if body else "GET", f"/{nr}", body=body)
    answer = connection.getresponse()
    account = json.loads(answer.read().split(b"\n")[0])
    assert (answer.status, account["target"], account["body_bytes"]) == (200, f"/{nr}", len(body or b"")), account
connection.request("POST", "/", body=iter([b"piece"] * 10), encode_chunked=True)
account = json.loads(connection.getresponse().read().split(b"\n")[0])
assert (account["body_bytes"], account["framing"]) == (50, "chunked"), account
with urllib.request.urlopen(f"http://{host}/x", data=b"form=1") as answer:
    assert json.loads(answer.read().split(b"\n")[0])["body_begin"] == "form=1"
print("done")
"#;
    assert_eq!(run(&["python3", "-c", script, &site.front.to_string()]), "done\n");
    assert!(site.origin.seen().requests == 52);
}

#[test]
fn wget_gets_it_whole() {
    if !are_here(&["wget"]) {
        return;
    }
    let site = Site::good();
    let text = run(&["wget", "-q", "-O", "-", "--header=X-Answer-Bytes: 1000000", &format!("http://{}/a", site.front)]);
    assert!(text.len() > 1_000_000 && text.contains("\"target\":\"/a\""));
}

/// One that judges by its own reading of the answers, on many connections at once.
#[test]
fn wrk_counts_no_error() {
    if !are_here(&["wrk"]) {
        return;
    }
    let (origin, front) = (Origin::good(), Target::fresh());
    let appliance = Appliance::start(&Pool::http("web").listen(&front).backend("a", origin.target()).to_string());
    let report = run(&["wrk", "-t2", "-c50", "-d1s", &format!("http://{front}/")]);
    assert!(report.contains("Requests/sec") && !report.contains("errors") && !report.contains("Non-2xx"), "{report}");
    assert_eq!(e2e::metric(&appliance.metrics(), "sluicegate_pool_answers_5xx_total", &[]), 0.0);
}
