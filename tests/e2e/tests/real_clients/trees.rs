//! Whole trees of files: mirrored with wget, cloned and pushed with git.

use crate::programs::{Said, installed, run_well};
use crate::servers::Server;
use crate::site::{Site, count};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[test]
fn wget_mirrors_a_tree() {
    let (Some(wget), Some(server)) = (installed("wget"), Server::nginx("")) else { return };
    const FOLDERS: usize = 4;
    const FILES: usize = 10;
    let mut index = String::new();
    for folder in 0..FOLDERS {
        let links: String = (0..FILES).map(|file| format!("<a href=\"{file}.bin\">{file}</a>\n")).collect();
        server.text(&format!("{folder}/index.html"), &links);
        (0..FILES).for_each(|file| _ = server.file(&format!("{folder}/{file}.bin"), folder * 50_000 + file));
        index += &format!("<a href=\"{folder}/\">{folder}</a>\n");
    }
    server.text("index.html", &index);
    let site = Site::before(&server.target);
    let url = site.url("/");
    let mirror = ["-nv", "--no-if-modified-since", "--mirror", "-nH", "-P", "mirror", "-e", "robots=off", &url];
    let said = site.run_well(&wget, &mirror);
    let files = 1 + FOLDERS * (FILES + 1);
    assert!(said.err.contains(&format!("Downloaded: {files} files")), "{}", said.err);
    assert_eq!(tree(&site.home().join("mirror")), tree(&server.files()));
    // The second time it looks whether a file is newer, and none is.
    let said = site.run_well(&wget, &mirror);
    assert!(!said.err.contains("Downloaded: "), "{}", said.err);
    let log = site.close(2 * files);
    assert_eq!((count(&log, "method", "GET"), count(&log, "method", "HEAD")), (files, files), "{log:#?}");
}

#[test]
fn wget_goes_on_where_it_was_and_sends() {
    let (Some(wget), Some(server)) = (installed("wget"), Server::nginx("dav_methods PUT;")) else { return };
    let site = Site::before(&server.target);
    let whole = server.file("whole", 400_000);
    std::fs::write(site.home().join("whole"), &whole[..100_001]).expect("a file can be written");
    site.run_well(&wget, &["-nv", "-c", &site.url("/whole")]);
    assert_eq!(site.read("whole"), whole);
    let content = site.file("content", 123_456);
    site.run_well(&wget, &["-nv", "-O", "page", "--method=PUT", "--body-file=content", &site.url("/sent")]);
    assert_eq!(std::fs::read(server.files().join("sent")).expect("it is there"), content);
    site.run_well(&wget, &["-nv", "--spider", &site.url("/whole")]);
    const SERVER_ERROR_ANSWER: i32 = 8;
    assert_eq!(site.run(&wget, &["-nv", "--spider", &site.url("/none")]).code, SERVER_ERROR_ANSWER);
    let log = site.close(4);
    assert_eq!((count(&log, "status", 206), count(&log, "status", 404)), (1, 1), "{log:#?}");
}

/// A repository that is only files to its server.
#[test]
fn git_clones_a_repository_of_files() {
    let (Some(git), Some(server)) = (installed("git"), Server::nginx("")) else { return };
    let site = Site::before(&server.target);
    let repository = Repository::new(&git, site.home());
    let bare = server.files().join("work.git");
    repository.git(&["clone", "--bare", "--no-hardlinks", "work", text(&bare)]);
    repository.git(&["--git-dir", text(&bare), "update-server-info"]);
    repository.git(&["clone", &site.url("/work.git"), "cloned"]);
    assert_eq!(repository.head("cloned"), repository.head("work"));
    repository.git(&["-C", "cloned", "fsck", "--strict"]);
    assert_eq!(tree(&site.home().join("cloned/files")), tree(&site.home().join("work/files")));
    // What is asked for and is not there is 404, which this protocol expects.
    let log = site.close_expecting(|line| line["reason"] == "finished" && line["status"].as_u64() < Some(500));
    assert!(count(&log, "status", 200) >= 3, "{log:#?}");
}

/// Apache runs git's own CGI: answers without a length, and packs that go up in chunks.
#[test]
fn git_clones_and_pushes_where_git_serves() {
    let Some(git) = installed("git") else { return };
    let said = run_well(std::process::Command::new(&git).arg("--exec-path"));
    let backend = Path::new(said.out.trim()).join("git-http-backend");
    if !backend.is_file() {
        return harness::skip(&format!("{} is not installed", backend.display()));
    }
    // The folder belongs to who runs the tests and not to who runs the CGI, which git does not serve unless told.
    let settings = format!(
        "SetEnv GIT_PROJECT_ROOT FOLDER/files\nSetEnv GIT_HTTP_EXPORT_ALL 1\nSetEnv GIT_CONFIG_COUNT 1\n\
         SetEnv GIT_CONFIG_KEY_0 safe.directory\nSetEnv GIT_CONFIG_VALUE_0 *\n\
         ScriptAlias / {}/\n<Directory {}>\nRequire all granted\n</Directory>",
        backend.display(),
        said.out.trim()
    );
    let Some(server) = Server::apache(&settings) else { return };
    let site = Site::before(&server.target);
    let repository = Repository::new(&git, site.home());
    let bare = server.files().join("work.git");
    repository.git(&["clone", "--bare", "--no-hardlinks", "work", text(&bare)]);
    repository.git(&["--git-dir", text(&bare), "config", "http.receivepack", "true"]);
    run_well(std::process::Command::new("chmod").args(["-R", "a+rwX"]).arg(&bare));

    repository.git(&["clone", &site.url("/work.git"), "cloned"]);
    assert_eq!(repository.head("cloned"), repository.head("work"));
    let large = site.file("cloned/files/large", 3_000_000);
    repository.commit("cloned", "more");
    // More than http.postBuffer (1 MiB) goes up in chunks.
    repository.git(&["-C", "cloned", "push", "origin", "HEAD"]);
    let served = run_well(site.command(&git, &["--git-dir", text(&bare)]).args(["rev-parse", "HEAD"]));
    assert_eq!(served.out, repository.head("cloned"));
    repository.git(&["clone", "--depth", "1", &site.url("/work.git"), "again"]);
    assert_eq!(site.read("again/files/large"), large);
    let log = site.close_expecting(|line| line["reason"] == "finished" && line["status"] == 200);
    assert!(count(&log, "method", "POST") >= 4, "{log:#?}");
}

/// A repository `work` with a few hundred objects, in the client's folder.
struct Repository<'a> {
    git: &'a Path,
    home: &'a Path,
}

impl Repository<'_> {
    fn new<'a>(git: &'a Path, home: &'a Path) -> Repository<'a> {
        let repository = Repository { git, home };
        repository.git(&["init", "-q", "work"]);
        std::fs::create_dir(home.join("work/files")).expect("a folder can be made");
        for round in 0..20 {
            for file in 0..5 {
                crate::site::write_pattern(&home.join(format!("work/files/{file}")), file * 20_000 + round);
            }
            repository.commit("work", &format!("round {round}"));
        }
        repository
    }

    #[track_caller]
    fn git(&self, arguments: &[&str]) -> Said {
        let who = ["-c", "user.name=tester", "-c", "user.email=tester@localhost", "-c", "safe.directory=*"];
        let mut command = crate::programs::command(self.git, self.home, &who);
        // So that nobody is asked for a password.
        run_well(command.args(arguments).env("GIT_TERMINAL_PROMPT", "0"))
    }

    fn commit(&self, name: &str, message: &str) {
        self.git(&["-C", name, "add", "-A"]);
        self.git(&["-C", name, "commit", "-q", "-m", message]);
    }

    fn head(&self, name: &str) -> String {
        self.git(&["-C", name, "rev-parse", "HEAD"]).out
    }
}

/// All files below, with what is in them.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display())) {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("it lies below").to_owned();
                found.insert(name, std::fs::read(&path).expect("a file can be read"));
            }
        }
    }
    found
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}
