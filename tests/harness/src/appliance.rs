//! One running appliance: started, asked, signalled, and always ended.
//!
//! Each has a folder of its own with its document, its control socket, its state and its access log. What
//! it prints is kept, and shown when the test fails.

use crate::binaries;
use crate::process::{self, Finished, Process};
use crate::wait::{Deadline, PATIENCE, until};
use api::answer::Failure;
use api::receipt::JobOutcome;
use api::status::Checked;
use api::{Body, Client, Event, Generations, Order, Plan, Progress, Receipt, Reply, Status};
use rustix::process::Signal;
use serde_json::Value;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// How an appliance is to be started.
pub struct Launch {
    pools: String,
    shards: usize,
    appliance_keys: String,
    other_tables: String,
    folder: Option<TempDir>,
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Launch {
    /// With these pools, as TOML. Two shards, access log as JSON in a file.
    pub fn new(pools: &str) -> Launch {
        Launch {
            pools: pools.to_owned(),
            shards: 2,
            appliance_keys: String::new(),
            other_tables: String::new(),
            folder: None,
            wrapper: Vec::new(),
            environment: Vec::new(),
        }
    }

    pub fn shards(self, shards: usize) -> Launch {
        Launch { shards, ..self }
    }

    /// More lines for the table `[appliance]`.
    pub fn appliance_keys(self, keys: &str) -> Launch {
        Launch { appliance_keys: keys.to_owned(), ..self }
    }

    /// More tables beside `[appliance]` and the pools.
    pub fn other_tables(self, tables: &str) -> Launch {
        Launch { other_tables: tables.to_owned(), ..self }
    }

    /// In the folder of another that has ended, with all that it left there.
    pub fn in_folder(self, folder: TempDir) -> Launch {
        Launch { folder: Some(folder), ..self }
    }

    /// A command that becomes the appliance, such as `prlimit --nofile=100`.
    pub fn wrapped(self, command: &[&str]) -> Launch {
        Launch { wrapper: command.iter().map(|word| (*word).to_owned()).collect(), ..self }
    }

    pub fn environment(mut self, name: &str, value: &str) -> Launch {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until it answers on its control socket.
    pub fn start(self) -> Appliance {
        let mut appliance = self.spawn();
        appliance.wait_ready();
        appliance
    }

    /// Starts it and waits for its end: for an appliance that is to refuse to run.
    pub fn run_to_end(self) -> (Option<ExitStatus>, Vec<String>) {
        let mut appliance = self.spawn();
        let status = appliance.wait_exit(Deadline::patient());
        (status, appliance.process.whole_output())
    }

    fn spawn(self) -> Appliance {
        let fresh = || TempDir::with_prefix("sluicegate-test-").expect("a folder can be made");
        let folder = self.folder.unwrap_or_else(fresh);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let head = format!(
            "[appliance]\nshards = {}\ncontrol_socket = {:?}\nstate_dir = {:?}\n{}\n\n[log.access]\nformat = \"json\"\nsink = \"file\"\npath = {:?}\n\n{}\n",
            self.shards,
            at("control.sock"),
            at("state"),
            self.appliance_keys,
            at("access.log"),
            self.other_tables,
        );
        std::fs::write(folder.path().join("site.toml"), format!("{head}{}", self.pools))
            .expect("the document can be written");
        let mut words = self.wrapper;
        words.push(binaries::path("sluicegate").display().to_string());
        words.extend(["run".to_owned(), at("site.toml")]);
        let process = Process::spawn(&words, &self.environment);
        let control = folder.path().join("control.sock");
        Appliance { process, control, head, folder }
    }
}

/// A running appliance.
pub struct Appliance {
    process: Process,
    control: PathBuf,
    /// The document without its pools.
    head: String,
    folder: TempDir,
}

impl Appliance {
    /// With these pools and everything else as [`Launch::new`] has it.
    pub fn start(pools: &str) -> Appliance {
        Launch::new(pools).start()
    }

    fn wait_ready(&mut self) {
        let (process, control) = (&mut self.process, &self.control);
        until("the appliance answers on its control socket", || {
            if let Some(status) = process.exited() {
                panic!("the appliance ended with {status} instead of starting");
            }
            let mut client = Client::connect(control)?;
            client.call(Order::Version, |_| {}).map(|_| ())
        });
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its folder, for the next one.
    pub fn into_folder(self) -> TempDir {
        self.folder
    }

    pub fn control_socket(&self) -> &Path {
        &self.control
    }

    /// The document with these pools instead of its own.
    pub fn document(&self, pools: &str) -> String {
        format!("{}{pools}", self.head)
    }

    /// Writes the document with these pools to the file that the appliance was started with.
    pub fn write_document(&self, pools: &str) -> PathBuf {
        let path = self.folder.path().join("site.toml");
        std::fs::write(&path, self.document(pools)).expect("the document can be written");
        path
    }

    // Orders.

    pub fn client(&self) -> Client {
        Client::connect(&self.control).unwrap_or_else(|error| panic!("{error}"))
    }

    /// One order on a connection of its own.
    pub fn call(&self, order: Order) -> Result<Body, Box<Failure>> {
        let name = order.name();
        let answer = self.client().call(order, |_| {}).unwrap_or_else(|error| panic!("{name}: {error}"));
        match answer.reply {
            Reply::Ok { result } => Ok(result),
            Reply::Error { error } => Err(error),
            Reply::Processing { .. } => panic!("{name}: the last answer is not a final one"),
        }
    }

    /// An order that changes the configuration.
    pub fn change(&self, order: Order) -> Result<Receipt, Box<Failure>> {
        match self.call(order)? {
            Body::Receipt(receipt) => Ok(*receipt),
            other => panic!("a receipt was expected, not {other:?}"),
        }
    }

    pub fn try_apply(&self, pools: &str) -> Result<Receipt, Box<Failure>> {
        self.change(Order::Apply(api::order::Apply { document: self.document(pools), ..Default::default() }))
    }

    /// Applies the document with these pools. Panics unless that is what runs then.
    #[track_caller]
    pub fn apply(&self, pools: &str) -> Receipt {
        let receipt = self.try_apply(pools).unwrap_or_else(|failure| panic!("not applied: {}", tell(&failure)));
        assert_eq!(receipt.outcome, JobOutcome::Applied, "{receipt:?}");
        receipt
    }

    pub fn plan(&self, pools: &str) -> Result<Plan, Box<Failure>> {
        let document = api::order::Document { document: self.document(pools), ..Default::default() };
        match self.call(Order::Plan(document.into()))? {
            Body::Plan(plan) => Ok(plan),
            other => panic!("a plan was expected, not {other:?}"),
        }
    }

    pub fn check(&self, document: &str) -> Result<Checked, Box<Failure>> {
        let document = api::order::Document { document: document.to_owned(), ..Default::default() };
        match self.call(Order::Check(api::order::Check::Document(document)))? {
            Body::Checked(checked) => Ok(checked),
            other => panic!("the result of a check was expected, not {other:?}"),
        }
    }

    pub fn status(&self) -> Status {
        match self.call(Order::Status) {
            Ok(Body::Status(status)) => status,
            other => panic!("a status was expected, not {other:?}"),
        }
    }

    pub fn generations(&self) -> Generations {
        match self.call(Order::Generations) {
            Ok(Body::Generations(generations)) => generations,
            other => panic!("the generations were expected, not {other:?}"),
        }
    }

    pub fn receipt(&self, job: u64) -> Receipt {
        match self.call(Order::Receipt(api::order::ReceiptOf { job })) {
            Ok(Body::Receipt(receipt)) => *receipt,
            other => panic!("the receipt of job {job} was expected, not {other:?}"),
        }
    }

    /// Prometheus text.
    pub fn metrics(&self) -> String {
        match self.call(Order::Metrics) {
            Ok(Body::Metrics(metrics)) => metrics.text,
            other => panic!("metrics were expected, not {other:?}"),
        }
    }

    /// Everything that happens from now on.
    ///
    /// Subscribing is not answered, so "now" is told by the clock: those still remembered from before are
    /// asked for too, and passed over.
    pub fn events(&self) -> Events {
        let since = rfc3339(SystemTime::now());
        let mut client = self.client();
        let all = api::order::Events { from: Some(1) };
        client.send(Order::Events(all)).unwrap_or_else(|error| panic!("events: {error}"));
        Events { client, since }
    }

    /// The operator's console, against this appliance.
    pub fn ctl(&self, arguments: &[&str]) -> Finished {
        let child = Command::new(binaries::path("sluicectl"))
            .args(arguments)
            .env("SLUICEGATE_SOCKET", &self.control)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sluicectl can be started");
        process::finish(child, Deadline::patient())
    }

    // What can be seen of it.

    /// Waits until its status is as asked.
    #[track_caller]
    pub fn wait_status(&self, what: &str, as_asked: impl Fn(&Status) -> bool) -> Status {
        until(what, || {
            let status = self.status();
            if as_asked(&status) {
                Ok(status)
            } else {
                Err(serde_json::to_string_pretty(&status).expect("a status is JSON"))
            }
        })
    }

    /// Lines of the access log so far.
    pub fn access_log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
            .collect()
    }

    /// Waits until the access log has so many lines.
    #[track_caller]
    pub fn wait_access_log(&self, lines: usize) -> Vec<Value> {
        until("the access log has its lines", || {
            let log = self.access_log();
            if log.len() >= lines { Ok(log) } else { Err(format!("{} of {lines} lines: {log:?}", log.len())) }
        })
    }

    /// What it has printed so far, line by line.
    pub fn output(&self) -> Vec<String> {
        self.process.output()
    }

    /// Waits until it has printed a line that contains this, and gives the line.
    #[track_caller]
    pub fn wait_line(&self, part: &str) -> String {
        self.process.wait_line(part)
    }

    // Its end.

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Every thread of it stops, until it is sent `SIGCONT`. Where processors are scarce a thread may go on for a
    /// while after `SIGSTOP` was sent, as the first to take the signal is the one that stops the others.
    #[track_caller]
    pub fn stand_still(&self) {
        self.signal(Signal::STOP);
        until("every thread stands still", || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
            for task in tasks {
                let file = task.expect("it runs").path().join("stat");
                let stat = std::fs::read_to_string(file).expect("it runs");
                // The state follows the name, which stands in parentheses: proc_pid_stat(5).
                let (_, rest) = stat.rsplit_once(") ").expect("a name comes first");
                if !rest.starts_with('T') {
                    return Err(stat);
                }
            }
            Ok(())
        });
    }

    /// Waits for its end. `None`: it still runs at the deadline.
    pub fn wait_exit(&mut self, deadline: Deadline) -> Option<ExitStatus> {
        self.process.wait_exit(deadline)
    }

    /// Stops it as a service manager would, and expects a proper end. Its folder, for the next one.
    #[track_caller]
    pub fn stop(mut self) -> TempDir {
        self.signal(Signal::TERM);
        let status = self.wait_exit(Deadline::patient());
        assert!(status.is_some_and(|status| status.success()), "after SIGTERM: {status:?}");
        self.folder
    }

    /// Ends it at whatever instruction it is. Its folder, for the next one.
    #[track_caller]
    pub fn kill(mut self) -> TempDir {
        self.signal(Signal::KILL);
        let status = self.wait_exit(Deadline::patient());
        assert_eq!(status.and_then(|status| status.signal()), Some(Signal::KILL.as_raw()), "{status:?}");
        self.folder
    }
}

/// What the appliance tells who listens.
pub struct Events {
    client: Client,
    /// RFC 3339, as the appliance writes times; texts of this form compare as the times do.
    since: String,
}

impl Events {
    /// The next one that is as asked; others are passed over.
    #[track_caller]
    pub fn wait(&mut self, what: &str, as_asked: impl Fn(&Event) -> bool) -> Event {
        let deadline = Deadline::patient();
        loop {
            let received = self.client.receive(Some(deadline.left())).unwrap_or_else(|error| panic!("{what}: {error}"));
            match received.answer.reply {
                Reply::Processing { progress: Progress::Event { event } }
                    if event.time >= self.since && as_asked(&event) =>
                {
                    return event;
                }
                Reply::Processing { .. } if !deadline.passed() => {}
                other => panic!("{what}: not within {PATIENCE:?}: {other:?}"),
            }
        }
    }
}

/// `2026-11-21T10:58:01.926328Z`
pub fn rfc3339(time: SystemTime) -> String {
    let since_epoch = time.duration_since(UNIX_EPOCH).expect("the clock is set");
    let (days, seconds) = (since_epoch.as_secs() / 86_400, since_epoch.as_secs() % 86_400);
    // Days to a date of the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let micros = since_epoch.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// A failure with everything in it, for the reader of a failed test.
pub fn tell(failure: &Failure) -> String {
    let problems: Vec<String> = failure.problems.iter().map(ToString::to_string).collect();
    format!("{}: {failure}\n{}", failure.code, problems.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_written_as_the_appliance_writes_them() {
        let check = |micros: u64, text: &str| assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_micros(micros)), text);
        check(0, "1970-01-01T00:00:00.000000Z");
        check(951_782_399_999_999, "2000-02-28T23:59:59.999999Z");
        check(951_782_400_000_000, "2000-02-29T00:00:00.000000Z");
        check(1_795_258_681_926_328, "2026-11-21T10:58:01.926328Z");
    }
}
