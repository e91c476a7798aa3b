//! One appliance with an HTTP pool, a folder for the client's files, and the accounts that must agree at the end.

use crate::programs::{Said, command, run, run_well};
use e2e::{Pool, metric};
use harness::appliance::Appliance;
use harness::net::Target;
use harness::pattern::Pattern;
use harness::wait::Deadline;
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

pub struct Site {
    appliance: Appliance,
    front: Target,
    /// Home and working folder of the programs.
    home: TempDir,
}

impl Site {
    /// With the one backend `a` for what no rule takes.
    pub fn before(backend: &Target) -> Site {
        Site::with(backend, |pool| pool)
    }

    /// With more in its pool, such as rules that are asked before the one that leads to the backend.
    pub fn with(backend: &Target, add: impl FnOnce(Pool) -> Pool) -> Site {
        let front = Target::fresh();
        let pool = add(Pool::http("web").listen(&front).backend("a", backend)).rule("group = \"main\"");
        let home = TempDir::with_prefix("sluicegate-client-").expect("a folder can be made");
        Site { appliance: Appliance::start(&pool.to_string()), front, home }
    }

    pub fn front(&self) -> &Target {
        &self.front
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.front)
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        command(program, self.home(), arguments)
    }

    #[track_caller]
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Said {
        run(&mut self.command(program, arguments))
    }

    #[track_caller]
    pub fn run_well(&self, program: &Path, arguments: &[&str]) -> Said {
        run_well(&mut self.command(program, arguments))
    }

    /// A file of the client's, of bytes that no other length begins with.
    pub fn file(&self, name: &str, bytes: usize) -> Vec<u8> {
        write_pattern(&self.home().join(name), bytes)
    }

    #[track_caller]
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.home().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Ends the appliance, so that every account is closed, and shows that they agree: as many lines of the log as
    /// requests were counted, which are these, and each was answered whole and well.
    #[track_caller]
    pub fn close(self, requests: usize) -> Vec<Value> {
        let log = self.close_expecting(|line| line["reason"] == "finished" && line["status"].as_u64() < Some(500));
        assert_eq!(log.len(), requests, "requests: {log:#?}");
        log
    }

    /// As [`Site::close`], for a program that says less precisely how many requests it made, or ends worse than well.
    #[track_caller]
    pub fn close_expecting(mut self, as_expected: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.appliance.wait_status("every client has gone", |status| e2e::pool(status, "web").connections == 0);
        let text = self.appliance.metrics();
        let counted = metric(&text, "sluicegate_pool_requests_total", &["pool=\"web\""]);
        self.appliance.signal(Signal::TERM);
        let status = self.appliance.wait_exit(Deadline::patient());
        assert!(status.is_some_and(|status| status.success()), "after SIGTERM: {status:?}");
        let log = self.appliance.access_log();
        let odd: Vec<&Value> = log.iter().filter(|line| !as_expected(line)).collect();
        assert!(odd.is_empty(), "{} of {} requests did not end as they should: {odd:#?}", odd.len(), log.len());
        assert_eq!(log.len() as f64, counted, "lines of the log, and requests that were counted");
        assert!(log.iter().all(|line| line["status"].is_u64()), "a line that is not of a request: {log:#?}");
        log
    }
}

/// So many lines of the log have this in this field.
pub fn count(log: &[Value], field: &str, value: impl Into<Value>) -> usize {
    let value = value.into();
    log.iter().filter(|line| line[field] == value).count()
}

/// Writes so many bytes that no other length begins with.
pub fn write_pattern(path: &PathBuf, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    Pattern::new(bytes as u64).fill(0, &mut content);
    std::fs::write(path, &content).expect("a file can be written");
    content
}
