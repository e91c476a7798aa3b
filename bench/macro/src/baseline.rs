//! Where a run is kept: `<out>/<machine>/<date>-<commit>-<run>/{raw.json,summary.md}`, written once, never again.

use crate::machine::Machine;
use crate::run::{Plan, Sample};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use time::macros::format_description;
use time::{Date, OffsetDateTime};

/// A folder that did not exist before and is ours to fill.
pub struct Baseline {
    folder: PathBuf,
}

/// What `raw.json` holds of a run of scenarios: enough to make every summary again.
#[derive(Serialize)]
pub struct Raw<'a> {
    pub machine: &'a Machine,
    pub plan: &'a Plan,
    pub samples: &'a [Sample],
}

impl Baseline {
    /// `run`: what was measured, as the command line names it. Takes the folder before anything is measured: a refusal
    /// after ten minutes helps nobody.
    pub fn reserve(out: &Path, machine: &Machine, run: &str) -> io::Result<Baseline> {
        let folder = out.join(&machine.slug).join(name(OffsetDateTime::now_utc().date(), &machine.commit, run));
        fs::create_dir_all(out.join(&machine.slug))?;
        fs::create_dir(&folder).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::other(format!(
                "{} exists and a baseline is never overwritten: commit what is measured, choose another --out, or \
                 remove it if it is of no use",
                folder.display()
            )),
            _ => io::Error::new(error.kind(), format!("{}: {error}", folder.display())),
        })?;
        Ok(Baseline { folder })
    }

    pub fn write(&self, raw: &impl Serialize, summary: &str) -> io::Result<&Path> {
        let mut raw = serde_json::to_string_pretty(raw)?;
        raw.push('\n');
        for (file, text) in [("raw.json", raw.as_str()), ("summary.md", summary)] {
            File::create_new(self.folder.join(file))?.write_all(text.as_bytes())?;
        }
        Ok(&self.folder)
    }
}

impl Drop for Baseline {
    /// A run that came to nothing leaves no folder; one that holds something is not removed by this.
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

fn name(date: Date, commit: &str, run: &str) -> String {
    let date = date.format(format_description!("[year]-[month]-[day]")).expect("a date has year, month and day");
    format!("{date}-{commit}-{run}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestant::Programs;
    use crate::scenario::Protocol;

    fn machine() -> Machine {
        Machine::look(
            &Programs { own: PathBuf::new(), nginx: None, haproxy: None, sluicegate: None },
            Some("box".to_owned()),
        )
    }

    #[test]
    fn name_is_date_commit_and_run() {
        let date = Date::from_calendar_date(2026, time::Month::March, 4).unwrap();
        assert_eq!(name(date, "abc-dirty", "http"), "2026-03-04-abc-dirty-http");
    }

    #[test]
    fn a_baseline_is_written_once() {
        let out = tempfile::tempdir().unwrap();
        let machine = machine();
        let plan = Plan {
            protocol: Protocol::Tcp,
            scenarios: Vec::new(),
            contestants: Vec::new(),
            rounds: 0,
            warm_up: Default::default(),
            window: Default::default(),
            layout: crate::cpu::Layout { proxy_cpu: 0, load_cpu: 1 },
        };
        let baseline = Baseline::reserve(out.path(), &machine, "tcp").unwrap();
        let folder =
            baseline.write(&Raw { machine: &machine, plan: &plan, samples: &[] }, "summary").unwrap().to_owned();
        drop(baseline);
        assert_eq!(fs::read_to_string(folder.join("summary.md")).unwrap(), "summary");
        assert!(fs::read_to_string(folder.join("raw.json")).unwrap().contains("\"slug\": \"box\""));

        let refusal = Baseline::reserve(out.path(), &machine, "tcp").err().expect("the folder exists").to_string();
        assert!(refusal.contains("never overwritten"), "{refusal}");
        assert_eq!(fs::read_to_string(folder.join("summary.md")).unwrap(), "summary");
    }

    #[test]
    fn a_run_that_came_to_nothing_leaves_no_folder() {
        let out = tempfile::tempdir().unwrap();
        let machine = machine();
        drop(Baseline::reserve(out.path(), &machine, "tcp").unwrap());
        assert!(Baseline::reserve(out.path(), &machine, "tcp").is_ok());
    }

    #[test]
    fn runs_of_two_kinds_stand_beside_each_other() {
        let out = tempfile::tempdir().unwrap();
        let machine = machine();
        let tcp = Baseline::reserve(out.path(), &machine, "tcp").unwrap();
        let http = Baseline::reserve(out.path(), &machine, "http").unwrap();
        assert_ne!(tcp.folder, http.folder);
    }
}
