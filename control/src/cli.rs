//! The command line, and the order that each command is.
//!
//! Help, completions and manual pages are all made from here: a new order is a new variant of [`Command`] and its arm in
//! [`Command::order`], and nothing else. `edits` has those that change the document.

mod edits;
mod settings;

use crate::candidates;
use crate::document::{self, InputError};
use crate::duration::parse_duration;
use api::Order;
use api::order::{
    self, Apply, BackendAdd, BackendRemove, BackendSet, Check, ConfigOf, DiffOf, Events, Fold, Header, History, KeysOf,
    OnDrift, PlanOf, ReceiptOf, Reload, Rollback, Setting, Stop, StopMode,
};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::{ArgValueCompleter, Shell};
use std::path::PathBuf;
use std::time::Duration;

/// The operator's console of a running sluicegate.
#[derive(Parser, Debug)]
#[command(name = "sluicectl", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// The appliance's control socket [default: found, see `sluicectl --help`]
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = EVERYWHERE)]
    pub socket: Option<PathBuf>,
    /// Print the final answer as one line of JSON; of `events`, one line each
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
    /// Give up after so long a silence, such as 10s [default: as the order needs]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration, help_heading = EVERYWHERE)]
    pub timeout: Option<Duration>,
    #[command(subcommand)]
    pub task: Task,
}

const EVERYWHERE: &str = "Options of every command";

pub const AFTER_HELP: &str = "\
The socket, unless named: $SLUICEGATE_SOCKET, else the first that exists of
  $XDG_RUNTIME_DIR/sluicegate.sock
  /run/sluicegate/sluicegate.sock
  sluicegate-<uid>/sluicegate.sock in the temporary folder

Exit codes:
  0  the appliance did it
  1  the appliance says error (refused, invalid, ...); nothing was changed
  2  mistake on the command line, or FILE cannot be read
  3  the appliance cannot be reached; nothing was sent
  4  connection lost or silent before the final answer; what was ordered may
     have been carried out: see `sluicectl history`
  5  the answer came, but the output could not be written";

/// What is wanted of this program.
#[derive(Subcommand, Debug)]
pub enum Task {
    #[command(flatten)]
    Order(Command),
    /// Print what makes a shell complete these commands, with the names that the appliance knows
    Completions {
        /// To be read by the shell when it starts: source <(sluicectl completions bash)
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands into a folder
    Man {
        /// Is made if it is not there
        #[arg(value_hint = ValueHint::DirPath)]
        folder: Option<PathBuf>,
    },
}

/// What the appliance is asked.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// The appliance, its shards, pools and backends now
    Status,
    /// Print the running document, typed orders included; or one of the past
    Config {
        /// Of this generation [default: the one that runs]
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
    },
    /// Ask whether a document is valid
    Check(File),
    /// Show what a document would change, and change nothing
    Plan {
        #[command(flatten)]
        file: File,
        /// What becomes of what orders have changed [default: undo]
        #[arg(long, value_name = "keep|undo")]
        drift: Option<Drift>,
        /// Also as lines of text: what runs, written out, against what would run
        #[arg(long)]
        diff: bool,
        /// Pools that are not in order hold up no others: they are left as they run
        #[arg(long)]
        partial: bool,
    },
    /// Make a document the running one
    Apply {
        #[command(flatten)]
        file: File,
        /// Only if this generation is the running one
        #[arg(long, value_name = "N")]
        if_generation: Option<u64>,
        /// Stop after the plan and show it
        #[arg(long)]
        dry_run: bool,
        /// What becomes of what orders have changed [default: undo]
        #[arg(long, value_name = "keep|undo")]
        drift: Option<Drift>,
        /// Pools that are not in order hold up no others: they are left as they run
        #[arg(long)]
        partial: bool,
    },
    /// Have the appliance read its file again and apply it
    Reload {
        /// What becomes of what orders have changed [default: `reload.drift` of the document]
        #[arg(long, value_name = "keep|undo")]
        drift: Option<Drift>,
        /// Pools that are not in order hold up no others: they are left as they run
        #[arg(long)]
        partial: bool,
    },
    /// Write what orders have changed into the appliance's file, with all that people wrote around it
    Fold {
        /// Show the files as they would be, and write nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a generation of the past what runs, with all state as it is
    Rollback {
        /// Its number [default: the one before the one that runs]
        to: Option<u64>,
        /// Only if this generation is the running one
        #[arg(long, value_name = "N")]
        if_generation: Option<u64>,
    },
    /// What differs between two generations
    Diff {
        from: u64,
        /// [default: the one that runs]
        to: Option<u64>,
    },
    /// How what runs differs from the document that was given last, and whose orders made it so
    Drift,
    /// What runs in each pool, who still uses what came before, and what can be gone back to
    Generations,
    /// Past jobs, newest first
    History {
        /// Jobs at most
        #[arg(long, value_name = "N")]
        limit: Option<u32>,
        /// Only jobs before this one
        #[arg(long, value_name = "JOB")]
        before: Option<u64>,
    },
    /// The whole account of one job
    Receipt {
        /// Its number
        job: u64,
    },
    /// Jobs that have not ended
    Jobs,
    /// Add, remove or change one backend
    #[command(subcommand)]
    Backend(Backend),
    /// Add, remove or change a pool
    #[command(subcommand)]
    Pool(edits::Pool),
    /// Add or remove an address that a pool listens on
    #[command(subcommand)]
    Listen(edits::Listen),
    /// Add or remove a domain name
    #[command(subcommand)]
    Host(edits::Host),
    /// Add, remove or change a group of backends
    #[command(subcommand)]
    Group(edits::Group),
    /// Add, remove, move or change a rule
    #[command(subcommand)]
    Rule(edits::Rule),
    /// Set, add or remove a header where a rule decides
    #[command(subcommand)]
    Header(edits::Header),
    /// Change the limits of a pool
    #[command(subcommand)]
    Limit(edits::Limit),
    /// Change the entries of a list
    #[command(subcommand)]
    List(edits::List),
    /// Change the document by a merge patch or a JSON patch
    Patch(edits::PatchFile),
    /// Follow what happens, until interrupted
    Events {
        /// Begin with this event, if it is still remembered
        #[arg(long, value_name = "NUMBER")]
        from: Option<u64>,
    },
    /// Counters and gauges as Prometheus text
    Metrics,
    /// Stop the appliance
    Stop {
        /// End all connections at once
        #[arg(long, conflicts_with = "deadline")]
        now: bool,
        /// Let connections end until then [default: appliance.stop_grace]
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        deadline: Option<Duration>,
    },
    /// This program's version and the appliance's
    Version,
    /// Every configuration key with its class and reach
    Keys,
    /// What a configuration key sets, accepts and does; also all keys of a table, or with such an end
    ExplainKey {
        /// Such as pool.web.timeouts.idle, pool.*.timeouts.idle, idle or timeouts
        #[arg(add = ArgValueCompleter::new(candidates::keys))]
        key: String,
    },
    /// Show which rule a request would meet, and what would be done with it; nothing is sent
    #[command(override_usage = "sluicectl explain [OPTIONS] [METHOD] <URL>")]
    Explain(Explain),
}

#[derive(Args, Debug)]
pub struct Explain {
    /// Absolute; with --pool and --host also a path. METHOD: GET unless said
    #[arg(value_name = "[METHOD] URL", required = true, num_args = 1..=2)]
    request: Vec<String>,
    /// A header of the request; may be given again
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<Header>,
    /// The client's IP address [default: none, as over a Unix socket]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Host of the request [default: the URL's]
    #[arg(long)]
    host: Option<String>,
    /// The pool's id [default: the one that listens where the URL leads]
    #[arg(long, add = ArgValueCompleter::new(candidates::pools))]
    pool: Option<String>,
}

#[derive(Args, Debug)]
pub struct File {
    /// TOML; - reads the standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    path: PathBuf,
}

#[derive(Subcommand, Debug)]
pub enum Backend {
    /// New connections may go there
    Add {
        /// The pool's id
        #[arg(add = ArgValueCompleter::new(candidates::pools))]
        pool: String,
        #[arg(help = "127.0.0.1:9001, [::1]:9001, unix:/run/x.sock or host:port")]
        address: String,
        /// [default: derived from the address]
        #[arg(long)]
        id: Option<String>,
        #[command(flatten)]
        place: Group,
        /// Share of new connections, 0 to 65535 [default: 1]
        #[arg(long, value_name = "N")]
        weight: Option<u32>,
        /// Chosen only while no other is in rotation
        #[arg(long)]
        backup: bool,
        /// Takes no new connections yet
        #[arg(long)]
        drain: bool,
        /// Connections at most, over all shards
        #[arg(long, value_name = "N")]
        max_connections: Option<u32>,
    },
    /// No new connection goes there; waits until the last one has ended
    ///
    /// Interrupting it ends the wait and nothing else.
    Remove {
        /// The pool's id
        #[arg(add = ArgValueCompleter::new(candidates::pools))]
        pool: String,
        /// The backend's id
        #[arg(add = ArgValueCompleter::new(candidates::backends))]
        id: String,
        #[command(flatten)]
        place: Group,
        /// Also ask its connections to end
        #[arg(long)]
        now: bool,
        /// Do not wait for its connections
        #[arg(long)]
        no_wait: bool,
    },
    /// Change what is given, keep the rest
    #[command(override_usage = "sluicectl backend set [OPTIONS] <POOL> <ID>")]
    #[command(group = clap::ArgGroup::new("settings").required(true).multiple(true))]
    Set {
        /// The pool's id
        #[arg(add = ArgValueCompleter::new(candidates::pools))]
        pool: String,
        /// The backend's id
        #[arg(add = ArgValueCompleter::new(candidates::backends))]
        id: String,
        #[command(flatten)]
        place: Group,
        /// Share of new connections, 0 to 65535
        #[arg(long, value_name = "N", group = "settings")]
        weight: Option<u32>,
        /// Takes no new connections
        #[arg(long, value_name = "BOOL", group = "settings", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        drain: Option<bool>,
        /// Chosen only while no other is in rotation
        #[arg(long, value_name = "BOOL", group = "settings", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        backup: Option<bool>,
        /// Connections at most, over all shards; `none` lifts the limit
        #[arg(long, value_name = "N", group = "settings", value_parser = parse_limit)]
        max_connections: Option<Setting<u32>>,
    },
}

#[derive(Args, Debug)]
pub struct Group {
    /// [default: the pool's only group]
    #[arg(long, add = ArgValueCompleter::new(candidates::groups))]
    group: Option<String>,
}

/// What a document that comes does to what orders have changed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Drift {
    Keep,
    Undo,
}

impl From<Drift> for OnDrift {
    fn from(drift: Drift) -> OnDrift {
        match drift {
            Drift::Keep => OnDrift::Keep,
            Drift::Undo => OnDrift::Undo,
        }
    }
}

impl Command {
    /// Reads FILE where the order carries one.
    pub fn order(self) -> Result<Order, InputError> {
        Ok(match self {
            Command::Status => Order::Status,
            Command::Config { generation } => Order::ConfigGet(ConfigOf { generation }),
            Command::Rollback { to, if_generation } => Order::Rollback(Rollback { to, if_generation }),
            Command::Diff { from, to } => Order::Diff(DiffOf { from, to }),
            Command::Check(file) => Order::Check(Check::Document(document::read(&file.path)?)),
            Command::Plan { file, drift, diff, partial } => {
                let read = document::read(&file.path)?;
                Order::Plan(PlanOf { drift: drift.map(Into::into), diff, partial, ..read.into() })
            }
            Command::Apply { file, if_generation, dry_run, drift, partial } => {
                let read = document::read(&file.path)?;
                Order::Apply(Apply {
                    document: read.document,
                    name: read.name,
                    base: read.base,
                    if_generation,
                    dry_run,
                    drift: drift.map(Into::into),
                    partial,
                })
            }
            Command::Reload { drift, partial } => Order::Reload(Reload { drift: drift.map(Into::into), partial }),
            Command::Fold { dry_run } => Order::Fold(Fold { dry_run }),
            Command::Drift => Order::Drift,
            Command::Generations => Order::Generations,
            Command::History { limit, before } => Order::History(History { limit, before }),
            Command::Receipt { job } => Order::Receipt(ReceiptOf { job }),
            Command::Jobs => Order::Jobs,
            Command::Backend(backend) => backend.order(),
            Command::Pool(pool) => Order::Edit(pool.edit()?),
            Command::Listen(listen) => Order::Edit(listen.edit()),
            Command::Host(host) => Order::Edit(host.edit()),
            Command::Group(group) => Order::Edit(group.edit()?),
            Command::Rule(rule) => Order::Edit(rule.edit()?),
            Command::Header(header) => Order::Edit(header.edit()),
            Command::Limit(limit) => Order::Edit(limit.edit()?),
            Command::List(list) => Order::Edit(list.edit()?),
            Command::Patch(patch) => patch.order()?,
            Command::Events { from } => Order::Events(Events { from }),
            Command::Metrics => Order::Metrics,
            Command::Stop { now, deadline } => Order::Stop(Stop {
                mode: if now { StopMode::Now } else { StopMode::Graceful },
                deadline_millis: deadline.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            }),
            Command::Version => Order::Version,
            Command::Keys => Order::Keys(KeysOf::default()),
            Command::ExplainKey { key } => Order::Keys(KeysOf { key: Some(key) }),
            Command::Explain(explain) => explain.order(),
        })
    }
}

impl Explain {
    fn order(self) -> Order {
        let Explain { mut request, headers, from, host, pool } = self;
        let url = request.pop().unwrap_or_default();
        Order::Explain(order::Explain { url, method: request.pop(), pool, host, headers, from })
    }
}

impl Backend {
    fn order(self) -> Order {
        match self {
            Backend::Add { pool, address, id, place, weight, backup, drain, max_connections } => {
                Order::BackendAdd(BackendAdd {
                    pool,
                    group: place.group,
                    backend: id,
                    address,
                    weight,
                    backup: backup.then_some(true),
                    drain: drain.then_some(true),
                    max_connections,
                })
            }
            Backend::Remove { pool, id, place, now, no_wait } => {
                Order::BackendRemove(BackendRemove { pool, group: place.group, backend: id, now, wait: !no_wait })
            }
            Backend::Set { pool, id, place, weight, drain, backup, max_connections } => Order::BackendSet(BackendSet {
                pool,
                group: place.group,
                backend: id,
                weight,
                drain,
                backup,
                max_connections: max_connections.unwrap_or_default(),
            }),
        }
    }
}

fn parse_limit(text: &str) -> Result<Setting<u32>, String> {
    match text {
        "none" => Ok(Setting::Clear),
        number => {
            number.parse().map(Setting::Set).map_err(|_| "accepted is a number of connections, or `none`".to_owned())
        }
    }
}

fn parse_header(text: &str) -> Result<Header, &'static str> {
    let (name, value) = text.split_once(':').ok_or("accepted is a name, a colon and a value, such as `X-Tenant: a`")?;
    Ok(Header { name: name.to_owned(), value: value.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use serde_json::{Value, json};

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    /// The order as it goes over the socket.
    #[track_caller]
    fn check(line: &str, expected: Value) {
        let words = ["sluicectl"].into_iter().chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        let Task::Order(command) = cli.task else { panic!("{line} is no order") };
        let order = command.order().unwrap();
        assert_eq!(serde_json::to_value(order).unwrap(), expected, "{line}");
    }

    #[test]
    fn every_command_is_an_order() {
        check("status", json!({"order": "status"}));
        check("config", json!({"order": "config.get"}));
        check("reload", json!({"order": "reload"}));
        check("generations", json!({"order": "generations"}));
        check("history", json!({"order": "history"}));
        check("history --limit 5 --before 9", json!({"order": "history", "limit": 5, "before": 9}));
        check("receipt 9", json!({"order": "receipt", "job": 9}));
        check("jobs", json!({"order": "jobs"}));
        check("events --from 7", json!({"order": "events", "from": 7}));
        check("metrics", json!({"order": "metrics"}));
        check("version --json", json!({"order": "version"}));
        check("keys", json!({"order": "keys"}));
        check("explain-key pool.*.timeouts", json!({"order": "keys", "key": "pool.*.timeouts"}));
        check("stop", json!({"order": "stop", "mode": "graceful"}));
        check("stop --now", json!({"order": "stop", "mode": "now"}));
        check("stop --deadline 1m", json!({"order": "stop", "mode": "graceful", "deadline_millis": 60_000}));
        check("backend add db [::1]:9001", json!({"order": "backend.add", "pool": "db", "address": "[::1]:9001"}));
        check(
            "backend add db h:1 --id c --group main --weight 3 --backup --drain --max-connections 9",
            json!({"order": "backend.add", "pool": "db", "group": "main", "backend": "c", "address": "h:1",
                "weight": 3, "backup": true, "drain": true, "max_connections": 9}),
        );
        check("backend remove db a", json!({"order": "backend.remove", "pool": "db", "backend": "a"}));
        check(
            "backend remove db a --now --no-wait",
            json!({"order": "backend.remove", "pool": "db", "backend": "a", "now": true, "wait": false}),
        );
        check(
            "backend set --weight 0 --drain db a",
            json!({"order": "backend.set", "pool": "db", "backend": "a", "drain": true, "weight": 0}),
        );
        check(
            "backend set --drain=false --max-connections none db a",
            json!({"order": "backend.set", "pool": "db", "backend": "a", "drain": false, "max_connections": null}),
        );
    }

    #[test]
    fn every_object_has_its_commands() {
        check(
            "pool add web create.service=http create.listen=[\"127.0.0.1:80\"]",
            json!({"order": "pool.add", "pool": "web",
                "set": {"create": {"service": "http", "listen": ["127.0.0.1:80"]}}}),
        );
        check(
            "pool set web timeouts.idle=",
            json!({"order": "pool.set", "pool": "web", "set": {"timeouts": {"idle": null}}}),
        );
        check("pool remove web --missing-ok", json!({"order": "pool.remove", "pool": "web", "missing_ok": true}));
        check(
            "limit set web max_connections=7",
            json!({"order": "limit.set", "pool": "web", "set": {"max_connections": 7}}),
        );
        check("listen add web [::1]:80", json!({"order": "listen.add", "pool": "web", "address": "[::1]:80"}));
        check("listen remove web [::1]:80", json!({"order": "listen.remove", "pool": "web", "address": "[::1]:80"}));
        check("host add web a.test", json!({"order": "host.add", "pool": "web", "host": "a.test"}));
        check(
            "host remove web a.test --group app --missing-ok",
            json!({"order": "host.remove", "pool": "web", "host": "a.test", "group": "app", "missing_ok": true}),
        );
        check(
            "group add web app balance=random-two",
            json!({"order": "group.add", "pool": "web", "group": "app", "set": {"balance": "random-two"}}),
        );
        check(
            "group set web app backend.a.weight=3",
            json!({"order": "group.set", "pool": "web", "group": "app", "set": {"backend": {"a": {"weight": 3}}}}),
        );
        check("group remove web app", json!({"order": "group.remove", "pool": "web", "group": "app"}));
    }

    #[test]
    fn rules_and_their_headers_have_commands() {
        check(
            "rule add web deny=403 path=/x --first",
            json!({"order": "rule.add", "pool": "web", "set": {"path": "/x", "deny": 403}, "place": "first"}),
        );
        check(
            "rule add web r deny=403 --before a.test/*",
            json!({"order": "rule.add", "pool": "web", "rule": "r", "set": {"deny": 403}, "place": {"before": "a.test/*"}}),
        );
        check(
            "rule set web r deny=404",
            json!({"order": "rule.set", "pool": "web", "rule": "r", "set": {"deny": 404}}),
        );
        check("rule move web r --last", json!({"order": "rule.move", "pool": "web", "rule": "r", "place": "last"}));
        check(
            "rule move web r --behind s",
            json!({"order": "rule.move", "pool": "web", "rule": "r", "place": {"behind": "s"}}),
        );
        check("rule remove web r", json!({"order": "rule.remove", "pool": "web", "rule": "r"}));
        check(
            "header set web r X-A {host} --response",
            json!({"order": "header.set", "pool": "web", "rule": "r", "head": "response", "name": "X-A", "value": "{host}"}),
        );
        for verb in ["remove", "clear"] {
            check(
                &format!("header {verb} web r X-A"),
                json!({"order": format!("header.{verb}"), "pool": "web", "rule": "r", "head": "request", "name": "X-A"}),
            );
        }
        check(
            "header add web r X-A 1",
            json!({"order": "header.add", "pool": "web", "rule": "r", "head": "request", "name": "X-A", "value": "1"}),
        );
    }

    #[test]
    fn a_patch_is_of_either_kind() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let merge = path("merge.json", "{\"pool\": {\"web\": null}}");
        let merged = json!({"order": "patch", "merge": {"pool": {"web": null}}});
        check(&format!("patch {merge}"), merged.clone());
        check(
            &format!("patch {merge} --if-generation 3 --dry-run"),
            json!({"order": "transaction", "orders": [merged], "if_generation": 3, "dry_run": true}),
        );
        let steps = path("steps.json", " [{\"op\": \"remove\", \"path\": \"/pool/web\"}]");
        check(&format!("patch {steps}"), json!({"order": "patch", "patch": [{"op": "remove", "path": "/pool/web"}]}));
        for (text, part) in [("3", "no patch"), ("[{}]", "`op`"), ("[{\"op\": \"twist\"}]", "`twist`"), ("{", "EOF")] {
            let file = path("wrong.json", text);
            let Task::Order(command) = Cli::try_parse_from(["sluicectl", "patch", &file]).unwrap().task else {
                panic!("patch is an order")
            };
            let error = command.order().unwrap_err().to_string();
            assert!(error.contains("wrong.json") && error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_request_is_described_as_for_curl() {
        check("explain http://example.com/a?b", json!({"order": "explain", "url": "http://example.com/a?b"}));
        check(
            "explain POST http://example.com/ -H X-A:b --header X-B:c:d --from 192.0.2.7",
            json!({"order": "explain", "method": "POST", "url": "http://example.com/", "from": "192.0.2.7",
                "headers": [{"name": "X-A", "value": "b"}, {"name": "X-B", "value": "c:d"}]}),
        );
        check("explain --pool web /a --host h", json!({"order": "explain", "url": "/a", "pool": "web", "host": "h"}));
        let header = |text: &str| parse_header(text).map(|Header { name, value }| (name, value));
        assert_eq!(header("X-A: b "), Ok(("X-A".into(), "b".into())));
        assert_eq!(header("X-A:"), Ok(("X-A".into(), String::new())));
    }

    #[test]
    fn a_document_is_read_here_and_sent_as_text() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("site.toml");
        std::fs::write(&path, "x = 1\n").unwrap();
        let path = path.to_str().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let base = base.to_str().unwrap();
        for command in ["check", "plan"] {
            check(
                &format!("{command} {path}"),
                json!({"order": command, "document": "x = 1\n", "name": path, "base": base}),
            );
        }
        check(
            &format!("apply {path} --if-generation 41 --dry-run"),
            json!({"order": "apply", "document": "x = 1\n", "name": path, "base": base,
                "if_generation": 41, "dry_run": true}),
        );
    }

    #[test]
    fn mistakes_are_refused() {
        for line in [
            "",
            "statsu",
            "apply",
            "backend set db a",
            "backend add db",
            "backend set db a --weight -1",
            "backend set db a --max-connections some",
            "stop --now --deadline 1s",
            "stop --deadline soon",
            "receipt x",
            "explain",
            "explain GET http://a/ twice",
            "explain http://a/ -H X-A",
            "pool add web",
            "pool set web timeouts",
            "rule add web",
            "rule move web r",
            "rule move web r --first --last",
            "rule add web r deny=403 --before a --behind b",
            "header set web r X-A",
            "patch",
        ] {
            let words = ["sluicectl"].into_iter().chain(line.split_whitespace());
            let error = Cli::try_parse_from(words).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
