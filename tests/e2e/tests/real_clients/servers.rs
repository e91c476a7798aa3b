//! Origins that others wrote, each serving a folder in the foreground on an address of its own.

use crate::programs::{installed, words};
use crate::site::write_pattern;
use harness::net::{Stream, Target};
use harness::process::Process;
use harness::wait::{Deadline, until};
use rustix::process::Signal;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

pub struct Server {
    pub target: Target,
    process: Process,
    folder: TempDir,
}

impl Drop for Server {
    /// Asked to end, as being killed would leave to themselves what it has started.
    fn drop(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.wait_exit(Deadline::patient());
    }
}

impl Server {
    /// nginx, if it is installed. `settings`: more lines for its `server`.
    pub fn nginx(settings: &str) -> Option<Server> {
        let nginx = installed("nginx")?;
        let (target, folder) = (Target::fresh(), folder());
        let at = folder.path().display();
        let configuration = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr warn;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\naccess_log off; include /etc/nginx/mime.types;\n\
             client_body_temp_path {at}/temp; proxy_temp_path {at}/temp; fastcgi_temp_path {at}/temp;\n\
             uwsgi_temp_path {at}/temp; scgi_temp_path {at}/temp;\n\
             server {{ listen {target}; root {at}/files;\n{settings}\n}}\n}}\n"
        );
        let file = write(folder.path(), "nginx.conf", &configuration);
        let program = words(&[nginx.as_os_str(), "-e".as_ref(), "stderr".as_ref(), "-c".as_ref(), file.as_os_str()]);
        Some(Server::start(&program, target, folder))
    }

    /// Apache, if it is installed. `settings`: more lines of its configuration, where `FOLDER` stands for its folder,
    /// in which `files` is what it serves.
    pub fn apache(settings: &str) -> Option<Server> {
        let apache = installed("apache2")?;
        let (target, folder) = (Target::fresh(), folder());
        let at = folder.path().display().to_string();
        let modules: String = ["mpm_event", "authz_core", "dir", "env", "alias", "cgi", "deflate", "filter"]
            .iter()
            .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
            .collect();
        let configuration = format!(
            "ServerRoot {at}\nServerName localhost\nListen {target}\nPidFile {at}/pid\nDefaultRuntimeDir {at}\n\
             {modules}User www-data\nGroup www-data\nErrorLog /dev/stderr\nLogLevel warn\n\
             DocumentRoot {at}/files\n<Directory {at}/files>\nRequire all granted\n\
             </Directory>\n{}\n",
            settings.replace("FOLDER", &at)
        );
        let file = write(folder.path(), "apache.conf", &configuration);
        // One process, so that none can be left over.
        let program = words(&[apache.as_os_str(), "-X".as_ref(), "-f".as_ref(), file.as_os_str()]);
        Some(Server::start(&program, target, folder))
    }

    /// Python's own, if it is installed, in this version of HTTP.
    pub fn python(protocol: &str) -> Option<Server> {
        let python = installed("python3")?;
        let (target, folder) = (Target::fresh(), folder());
        let (address, files) = (target.ip(), folder.path().join("files").display().to_string());
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let asked = ["-m", "http.server", &port, "--bind", &ip, "--directory", &files, "--protocol", protocol];
        let program: Vec<&OsStr> = std::iter::once(python.as_os_str()).chain(asked.iter().map(OsStr::new)).collect();
        Some(Server::start(&words(&program), target, folder))
    }

    fn start(program: &[String], target: Target, folder: TempDir) -> Server {
        let mut process = Process::spawn(program, &[]);
        until("the origin listens", || {
            if let Some(status) = process.exited() {
                panic!("it ended with {status} instead: {}", process.whole_output().join("\n"));
            }
            Stream::connect(&target, Deadline::patient()).map(drop)
        });
        Server { target, process, folder }
    }

    /// The folder that it serves.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// A file of so many bytes.
    pub fn file(&self, name: &str, bytes: usize) -> Vec<u8> {
        let path = self.files().join(name);
        let content = write_pattern(&path, bytes);
        make_old(&path);
        content
    }

    /// A file with this in it, and the folders that lead there.
    pub fn text(&self, name: &str, content: &str) {
        write(&self.files(), name, content);
    }
}

/// One that a server can read which has given up being root.
fn folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::with_prefix("sluicegate-origin-").expect("a folder can be made");
    std::fs::create_dir(folder.path().join("files")).expect("a folder can be made");
    let all_may_read = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), all_may_read).expect("the owner may say who reads");
    folder
}

/// Of a file that may yet change within the second, Apache says less than of one that is old.
fn make_old(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).expect("it was just written");
    let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    file.set_modified(hour_ago).expect("its owner may say when it was written");
}

fn write(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder can be made");
    std::fs::write(&path, content).expect("a file can be written");
    make_old(&path);
    path
}
