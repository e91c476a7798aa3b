//! nginx: whatever changes, the master reads everything again and starts a new worker.

use super::document::{self, Edition, LIST, Size};
use super::standing::Site;
use super::{Plan, Record, Start, ask, in_turns, start_in_turns};
use crate::contestant::Programs;
use crate::cpu::Layout;
use crate::process::{self, Process};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// From SIGHUP to an answer of the new worker.
const RELOAD_MAX: Duration = Duration::from_secs(120);

pub fn measure(plan: &Plan, programs: &Programs, records: &mut [Record; 2]) -> Result<(), String> {
    let mut pair = start_in_turns(plan.starts, records, |size| Nginx::start(size, plan.layout, programs))?;
    in_turns("reload", plan.reloads, &mut pair, records, Nginx::reload)
}

/// One that runs.
struct Nginx {
    size: Size,
    process: Process,
    version: u32,
    site: Site,
}

impl Nginx {
    fn start(size: Size, layout: Layout, programs: &Programs) -> Result<(Nginx, Start), String> {
        let program = programs.nginx.as_deref().ok_or("nginx is not on this machine")?;
        let site = Site::choose()?;
        let text = document::nginx(size, Edition::FIRST, site.front, site.path());
        let list = document::list(size, " 1;");
        let bytes = site.write(&[("nginx.conf", &text), (&format!("{LIST}.geo"), &list)])?;
        let mut command = process::bound_to_us(&programs.own, layout.proxy_cpu, program);
        // Before it has read where its log is, it would open the one it was built with.
        command.arg("-e").arg("stderr").arg("-p").arg(site.path()).arg("-c").arg(site.path().join("nginx.conf"));
        let (process, start) = site.start(&mut command, bytes)?;
        Ok((Nginx { size, process, version: Edition::FIRST.version, site }, start))
    }

    fn reload(&mut self, record: &mut Record) -> Result<(), String> {
        self.version += 1;
        let edition = Edition { version: self.version, weight: self.version };
        self.site.write(&[("nginx.conf", &document::nginx(self.size, edition, self.site.front, self.site.path()))])?;
        let began = Instant::now();
        self.process.signal(Signal::HUP).map_err(|error| error.to_string())?;
        ask::until(&self.version.to_string(), self.site.front, &self.process, began + RELOAD_MAX)?;
        record.note("reload", began.elapsed());
        Ok(())
    }
}
