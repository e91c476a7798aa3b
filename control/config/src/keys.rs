//! Every key of the configuration, defined once.
//!
//! An entry reads: what it sets (the manual prints it) · `name: type = form, presence;` · class, category,
//! reach, `"reason_code": "reason"` · and, for a key whose changes are not all alike, exceptions. From it
//! come the struct's field, the reader, the default, the diff, the canonical writing, `KEYS.md` and the
//! JSON Schema. To add a key, add an entry; the compiler then asks for what it does in `compile`.

use crate::address::{BackendAddress, BackendId, GroupName, ListenList};
use crate::class::{Category, Class, Reach, Reason};
use crate::form::{
    Bytes, ClientAddress, ContentType, Count, Denial, Edits, Expect, Expected, FileMode, FilePath, Flag, Form,
    HashedBy, HeaderEdits, HostList, LogLine, LogTemplate, Maybe, MethodName, Named, Nested, NotNested, OneOf,
    Patterns, Plain, Redirect, RedirectTo, RequestLine, Respond, Response, Rewrite, Rewriting, SaidHeaders, ShardCount,
    ShardList, Shards, Shown, Sources, StatusRanges, Statuses, Target, Texts, Time, ValueTest, words,
};
use crate::list::{EntryTexts, ListEntry, ListPath};
use crate::page::{PageText, TextFile};
use crate::place::At;
use crate::problem::Problems;
use crate::rule_id::RuleId;
use crate::schema::{self, Exception, Key, Presence, TableKeys, keys};
use crate::tree::{Node, Table};
use policy::ShardSet;
use policy::generation::{Address, Endpoint};
use policy::http::affinity::HashOn;
use policy::http::{Chain, EscapedSlash, FIELDS_MAX, HostTest, Limits as HeadLimits, Upgrades};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

words! {
    /// What a pool speaks.
    Service {
        /// Bytes, both ways.
        Tcp = "tcp";
        /// Requests of HTTP/1.1 and 1.0, each to a backend of its own.
        Http = "http";
    }
}

words! {
    /// How a group's backend is chosen.
    Algorithm {
        RoundRobin = "round-robin";
        LeastConnections = "least-connections";
        RandomTwo = "random-two";
        SourceHash = "source-hash";
        /// Of HTTP pools.
        LeastRequests = "least-requests";
        /// Of HTTP pools.
        PeakEwma = "peak-ewma";
        /// Of HTTP pools.
        Hash = "hash";
    }
}

words! {
    /// What a file that is read again does to what orders have changed.
    DriftWord {
        /// It stays.
        Keep = "keep";
        /// The file says all.
        Undo = "undo";
    }
}

words! {
    /// What the entries of a list are.
    ListWord {
        /// Addresses and prefixes of them.
        Address = "address";
        /// Texts.
        Text = "text";
    }
}

words! {
    /// What a health check asks.
    CheckWord {
        /// That the backend takes a connection.
        Connect = "connect";
        /// That it answers a request as expected.
        Http = "http";
    }
}

words! {
    /// How an access-log line is written.
    AccessFormat {
        /// The common log format, then `key=value`.
        Common = "common";
        /// The combined log format, which has `Referer` and `User-Agent`, then `key=value`.
        Combined = "combined";
        /// One JSON object a line.
        Json = "json";
        /// As `template` says.
        Template = "template";
    }
}

words! {
    /// Where a log goes.
    LogSink {
        Off = "off";
        Stdout = "stdout";
        Stderr = "stderr";
        File = "file";
    }
}

words! {
    /// How an event-log line is written.
    EventFormat {
        Text = "text";
        Json = "json";
    }
}

words! {
    /// The least important event that is written.
    EventLevel {
        Error = "error";
        Warning = "warning";
        Info = "info";
        Debug = "debug";
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const MINUTE: Duration = secs(60);
const HOUR: Duration = secs(3_600);
const DAY: Duration = secs(86_400);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// More connections than one host can hold sockets for.
const CONNECTIONS_MAX: u32 = 10_000_000;

keys! {
    /// The document as a whole.
    table Root at "", keys begin "" {
        /// Files that are read as if they stood here: paths relative to this file, with `*` and `?` in the last part.
        /// A key may be defined in one of the files only.
        include: Vec<String> = Patterns, default(Vec::new());
            Soft, Reload, NextSubmission, "include": "Where a key stands changes nothing; what the files say is compared key by key.";
    }

    /// The process: sized and opened at start.
    table Appliance at "appliance", keys begin "appliance." {
        /// Executors, each pinned to a core. `"auto"`: one for each core that the process may use.
        shards: Shards = ShardCount, default(Shards::Auto);
            Process, Process, ApplianceRestart, "process_shards": "Shards are started with the process, and each owns its connections for their life.";

        /// The Unix socket for orders. Not written: `sluicegate.sock` in `$XDG_RUNTIME_DIR`, else in a private
        /// folder under the temporary one.
        control_socket: Option<PathBuf> = FilePath, default(None);
            Process, Process, ApplianceRestart, "process_control_socket": "The control socket is opened once, at start.";

        /// Permissions of the control socket.
        control_mode: u32 = FileMode, default(0o660);
            Process, Process, ApplianceRestart, "process_control_mode": "The control socket is opened once, at start.";

        /// Folder for receipts. Not written: they are kept in memory only.
        state_dir: Option<PathBuf> = FilePath, default(None);
            Process, Process, ApplianceRestart, "process_state_dir": "The journal of receipts is opened once, at start.";

        /// Connections of all pools and shards together. Each shard's tables hold its share.
        connections: u32 = Count::between(1, CONNECTIONS_MAX), default(100_000);
            Process, Process, ApplianceRestart, "process_connections": "The shards' connection tables are sized when they start.";

        /// How long connections may take to end by themselves after SIGTERM or `stop`.
        stop_grace: Duration = Time::between(secs(0), secs(24 * 3_600)), default(secs(30));
            Soft, Process, Now, "stop_grace": "Read when the appliance is asked to stop.";
    }

    /// How submissions are carried out.
    table Reload at "reload", keys begin "reload." {
        /// Longest life of a job, waiting included.
        job_timeout: Duration = Time::between(secs(1), secs(300)), default(secs(300));
            Soft, Reload, NextSubmission, "reload_job_timeout": "A job keeps the deadline it began with.";

        /// How long all shards may take to prepare. Afterwards the change is withdrawn and nothing has happened.
        prepare_timeout: Duration = Time::between(ms(10), secs(60)), default(secs(10));
            Soft, Reload, NextSubmission, "reload_prepare_timeout": "A job keeps the time-outs it began with.";

        /// How long a shard may take to adopt. Afterwards it counts as lost: it gets no new connections until it
        /// has caught up.
        adopt_timeout: Duration = Time::between(ms(10), secs(60)), default(secs(1));
            Soft, Reload, NextSubmission, "reload_adopt_timeout": "A job keeps the time-outs it began with.";

        /// Memory that superseded parts of one pool may hold. At the bound, submissions that change the pool wait
        /// and say what pins it; nothing is closed to make room.
        retained_max: u64 = Bytes::between(MIB, TIB), default(64 * MIB);
            Soft, Reload, NextSubmission, "reload_retained_max": "Asked before each change is prepared.";

        /// Receipts kept.
        keep_receipts: u32 = Count::between(1, 100_000), default(1_000);
            Soft, Reload, NextSubmission, "reload_keep_receipts": "The oldest receipts go when the next one is stored.";

        /// Generations kept in memory to go back to. What they have in common is there once.
        keep_generations: u32 = Count::between(2, 10_000), default(100);
            Soft, Reload, NextSubmission, "reload_keep_generations": "The oldest generations go when the next one is in force.";

        /// What becomes of what orders have changed when the file is read again (SIGHUP, `reload`). `keep`: it stays, and
        /// where the file has changed the same otherwise, nothing is done; `undo`: the file says all.
        drift: DriftWord = OneOf::<DriftWord>::words(), default(DriftWord::Keep);
            Soft, Reload, NextSubmission, "reload_drift": "Asked when the file is read.";

        /// Least time from one generation to the next. What is submitted meanwhile waits and becomes one generation; each
        /// submitter is told what became of his. Waiting for it is no part of `job_timeout`.
        min_interval: Duration = Time::between(secs(0), secs(60)), default(secs(0));
            Soft, Reload, NextSubmission, "reload_min_interval": "What waits already goes on when it would have.";

        /// Pause before a job is carried out.
        wait_before: Duration = Time::between(secs(0), secs(60)), default(secs(0));
            Soft, Reload, NextSubmission, "reload_wait_before": "A job keeps the pauses it began with.";

        /// Pause after a job was carried out, before it is answered.
        wait_after: Duration = Time::between(secs(0), secs(60)), default(secs(0));
            Soft, Reload, NextSubmission, "reload_wait_after": "A job keeps the pauses it began with.";
    }

    /// One line for each connection that ended.
    table AccessLog at "log.access", keys begin "log.access." {
        /// How a line is written.
        format: AccessFormat = OneOf::<AccessFormat>::words(), default(AccessFormat::Common);
            Soft, Log, Now, "log_access_format": "The log writer changes over between two lines.";

        /// The line, where the format is `"template"`. `{{` and `}}` are braces.
        template: Option<LogTemplate> = LogLine, default(None);
            Soft, Log, Now, "log_access_template": "The log writer changes over between two lines.";

        /// Where the lines go. `"file"` needs `path`.
        sink: LogSink = OneOf::<LogSink>::words(), default(LogSink::Stdout);
            Soft, Log, Now, "log_access_sink": "The log writer changes over between two lines; no line is lost.";

        /// The file. It is opened again at every SIGHUP, so it may be renamed away.
        path: Option<PathBuf> = FilePath, default(None);
            Soft, Log, Now, "log_access_path": "The log writer changes over between two lines; no line is lost.";
    }

    /// What the appliance says of itself, on stderr.
    table EventLog at "log.events", keys begin "log.events." {
        /// How a line is written.
        format: EventFormat = OneOf::<EventFormat>::words(), default(EventFormat::Text);
            Soft, Log, Now, "log_events_format": "The log writer changes over between two lines.";

        /// The least important event that is written.
        level: EventLevel = OneOf::<EventLevel>::words(), default(EventLevel::Info);
            Soft, Log, Now, "log_events_level": "Asked for each event.";
    }

    /// One service: its addresses, its backends and its policies.
    table PoolSwitches at "pool.*", keys begin "pool.*." {
        /// Whether connections of this pool are logged.
        access_log: bool = Flag, default(true);
            Soft, Log, NextConnection, "pool_access_log": "A connection is logged as it was decided when it began.";
    }

    /// Which requests are the pool's own where it shares an address with other HTTP pools.
    table Hosts at "pool.*" of Http, keys begin "pool.*." {
        /// Hosts whose requests are the pool's own, whatever their port. A name goes before a `*.name`, and a longer one of
        /// these before a shorter. Not written: all that no other pool at the address takes. What is no pool's is answered
        /// with 421.
        hosts: Vec<HostTest> = HostList, default(Vec::new());
            Soft, Rules, NextRequest, "pool_hosts": "Asked of each request, also on connections that are open.";
    }

    /// What the pool is created as.
    table Create at "pool.*.create", keys begin "pool.*.create." {
        /// What the pool speaks.
        service: Service = OneOf::<Service>::words(), required;
            Hard, Creation, PoolRestart, "create_service": "Connections are handled by the machinery of their service from their first byte on.";

        /// Where clients come in. HTTP pools may have addresses in common; `hosts` says whose a request is.
        listen: Vec<Address> = ListenList, required;
            Soft, Listen, Now, "listen": "An added address is bound before anything else happens; a removed one serves what it has already let in.",
            except Hard, Creation, PoolRestart, "create_listen_replaced": "No address stays, so this is another service under the same name; clients of the old addresses would be refused." when "every address is replaced at once",
            except Soft, Listen, Now, "listen_moved": "Its sockets stay open, and the other pool serves every connection from then on." when "the address served another pool until now",
            except Soft, Listen, Now, "listen_shared": "Its sockets stay open, and its pools divide its requests by host, also on connections that are open." when "another pool has the address before and after",
            except Hard, Creation, PoolRestart, "create_listen_resharded": "Its sockets belong to the shards of the pool that it served until now; remove it there first, then add it here." when "the address served a pool on other shards until now",
            except Hard, Creation, PoolRestart, "create_listen_inherited": "A pool that goes takes its addresses with it; move the address first, or remove the pool first." when "the address served a pool until now that goes in the same change",
            except Hard, Creation, PoolRestart, "create_listen_overlaps": "The port is still held by an address that leaves in this change; remove that first, then add this one." when "the address contains, or is contained in, one of the same port that leaves in the same change";

        /// Shards that serve it. Not written: all.
        shards: Option<ShardSet> = ShardList, default(None);
            Hard, Creation, PoolRestart, "create_shards": "Listening sockets, budgets and queues are divided among the pool's shards when it is created.";

        /// User memory for bytes on their way between the two sides, over all shards.
        memory: u64 = Bytes::between(MIB, TIB), default(64 * MIB);
            Hard, Creation, PoolRestart, "create_memory": "The budget is divided among the shards when the pool is created.";
    }

    /// How much a pool takes in.
    table Limits at "pool.*.limits", keys begin "pool.*.limits." {
        /// Connections of this pool over all shards.
        max_connections: Option<u32> = Count::between(1, CONNECTIONS_MAX).or_off(), default(None);
            Soft, RateLimits, NextConnection, "limit_connections": "Asked for each new connection; those above a lowered limit go on.";
    }

    /// How long a pool's connections wait.
    table Timeouts at "pool.*.timeouts", keys begin "pool.*.timeouts." {
        /// One attempt to reach one backend.
        connect: Duration = Time::between(ms(1), secs(600)), default(secs(5));
            Soft, Timeouts, NextConnection, "timeout_connect": "A connection finishes its attempts as it began them.";

        /// Nothing moved in either direction.
        idle: Option<Duration> = Time::between(ms(1), secs(365 * 86_400)).or_off(), default(Some(HOUR));
            Soft, Timeouts, NextTimerTick, "timeout_idle": "Open tunnels read their pool's current time-outs at each timer tick.";

        /// From accept to end.
        lifetime: Option<Duration> = Time::between(ms(1), secs(365 * 86_400)).or_off(), default(None);
            Soft, Timeouts, NextTimerTick, "timeout_lifetime": "Open tunnels read their pool's current time-outs at each timer tick.";
    }

    /// Requests of an HTTP pool: their bounds, and what backends are told of them.
    table Http at "pool.*.http" of Http, keys begin "pool.*.http." {
        /// Largest head of a request, from its first byte to the empty line.
        head_max: u64 = Bytes::between(KIB, 256 * KIB), default(HeadLimits::REQUEST.head_bytes as u64);
            Soft, RateLimits, NextRequest, "http_head_max": "A head is read within the bounds that it began with.";

        /// Longest request line; what makes it long is the path and query.
        line_max: u64 = Bytes::between(256, 256 * KIB), default(HeadLimits::REQUEST.line_bytes as u64);
            Soft, RateLimits, NextRequest, "http_line_max": "A head is read within the bounds that it began with.";

        /// Most header fields of a request.
        fields_max: u32 = Count::between(8, FIELDS_MAX as u32), default(HeadLimits::REQUEST.fields as u32);
            Soft, RateLimits, NextRequest, "http_fields_max": "A head is read within the bounds that it began with.";

        /// Largest content of a request.
        body_max: Option<u64> = Bytes::between(0, TIB).or_off(), default(None);
            Soft, RateLimits, NextRequest, "http_body_max": "A request is held to the bound that it began with.";

        /// Largest head of an answer.
        answer_head_max: u64 = Bytes::between(KIB, 256 * KIB), default(HeadLimits::RESPONSE.head_bytes as u64);
            Soft, RateLimits, NextRequest, "http_answer_head_max": "An answer is held to the bounds that its request began with.";

        /// Most header fields of an answer.
        answer_fields_max: u32 = Count::between(8, FIELDS_MAX as u32), default(HeadLimits::RESPONSE.fields as u32);
            Soft, RateLimits, NextRequest, "http_answer_fields_max": "An answer is held to the bounds that its request began with.";

        /// `X-Forwarded-For`, `-Proto` and `-Host`: passed on as they came, removed, replaced by what is known here
        /// (right where clients come directly), or appended to (right where clients are proxies that can be believed).
        x_forwarded: Chain = OneOf::<Chain>::words(), default(Chain::Replace);
            Soft, Rules, NextRequest, "http_x_forwarded": "Written into the head of each request that goes to a backend.";

        /// `Forwarded` (RFC 7239), likewise.
        forwarded: Chain = OneOf::<Chain>::words(), default(Chain::Remove);
            Soft, Rules, NextRequest, "http_forwarded": "Written into the head of each request that goes to a backend.";

        /// The name under which we stand in `Via`, in both directions.
        via: Option<Arc<str>> = Plain::PSEUDONYM, default(None);
            Soft, Rules, NextRequest, "http_via": "Written into the heads of each exchange.";

        /// Each request gets an `X-Request-Id` of ours, whatever it came with. Otherwise the client's goes on.
        request_id: bool = Flag, default(false);
            Soft, Rules, NextRequest, "http_request_id": "Decided for each request.";

        /// Which wishes for another protocol are passed on. `"any"` lets requests of that protocol pass unseen.
        upgrades: Upgrades = OneOf::<Upgrades>::words(), default(Upgrades::WebSocket);
            Soft, Rules, NextRequest, "http_upgrades": "Asked when a request wishes for it; what was upgraded goes on.";

        /// What becomes of `%2F` and `%5C` in a path, which some backends take for a slash and some do not.
        escaped_slash: EscapedSlash = OneOf::<EscapedSlash>::words(), default(EscapedSlash::Refuse);
            Soft, Rules, NextRequest, "http_escaped_slash": "Asked for each request.";

        /// Answers carry `X-Sluicegate-Generation: POOL@NUMBER`, the generation that decided them.
        generation_header: bool = Flag, default(false);
            Soft, Rules, NextRequest, "http_generation_header": "Written into the head of each answer.";
    }

    /// How long the requests of an HTTP pool may take.
    table HttpTimes at "pool.*.timeouts" of Http, keys begin "pool.*.timeouts." {
        /// A head, from its first byte to its last one.
        head: Duration = Time::between(ms(10), HOUR), default(secs(10));
            Soft, Timeouts, NextRequest, "timeout_head": "A head is read within the time that it began with.";

        /// Between two bytes of a request's content.
        body: Option<Duration> = Time::between(ms(10), DAY).or_off(), default(Some(MINUTE));
            Soft, Timeouts, NextRequest, "timeout_body": "A request keeps the time-outs that it began with.";

        /// From the end of the request to the first byte of the answer.
        first_byte: Option<Duration> = Time::between(ms(1), DAY).or_off(), default(Some(MINUTE));
            Soft, Timeouts, NextRequest, "timeout_first_byte": "A request keeps the time-outs that it began with.";

        /// Between two bytes of an answer, on either side.
        answer: Option<Duration> = Time::between(ms(10), DAY).or_off(), default(Some(MINUTE));
            Soft, Timeouts, NextRequest, "timeout_answer": "A request keeps the time-outs that it began with.";

        /// The whole exchange.
        total: Option<Duration> = Time::between(ms(10), DAY).or_off(), default(None);
            Soft, Timeouts, NextRequest, "timeout_total": "A request keeps the time-outs that it began with.";

        /// A client's connection between two requests.
        keep_alive: Duration = Time::between(ms(10), DAY), default(secs(75));
            Soft, Timeouts, NextRequest, "timeout_keep_alive": "A connection that waits for its next request keeps the time that it began to wait with.";
    }

    /// One rule of an HTTP pool: what it asks of a request. All that is said must hold; of a list, one element. Without
    /// any of these keys it asks nothing. The first rule that holds decides; a request that no rule takes gets 404.
    table Conditions at "pool.*.rule[]" of Http, keys begin "pool.*.rule[]." {
        /// The host that the client names, without its port.
        host: Vec<String> = Texts::HOSTS, default(Vec::new());
            Soft, Rules, NextRequest, "rule_host": "Asked of each request, also on connections that are open.";

        /// Names of lists of texts, one of which has the host: in lower case, without a final dot; the entry
        /// `*.example.com` stands for all hosts below `example.com`.
        host_list: Vec<String> = Texts::LISTS, default(Vec::new());
            Soft, Rules, NextRequest, "rule_host_list": "Asked of each request, also on connections that are open.";

        /// The path, all of it.
        path: Vec<String> = Texts::PATHS, default(Vec::new());
            Soft, Rules, NextRequest, "rule_path": "Asked of each request, also on connections that are open.";

        /// This path and all below it, by whole segments.
        path_prefix: Vec<String> = Texts::PATHS, default(Vec::new());
            Soft, Rules, NextRequest, "rule_path_prefix": "Asked of each request, also on connections that are open.";

        /// The path, in which names in braces stand for whole segments.
        path_template: Vec<String> = Texts::TEMPLATES, default(Vec::new());
            Soft, Rules, NextRequest, "rule_path_template": "Asked of each request, also on connections that are open.";

        /// A part of the path, or with `^` and `$` all of it.
        path_regex: Vec<String> = Texts::PATTERNS, default(Vec::new());
            Soft, Rules, NextRequest, "rule_path_regex": "Asked of each request, also on connections that are open.";

        /// The method.
        method: Vec<String> = Texts::METHODS, default(Vec::new());
            Soft, Rules, NextRequest, "rule_method": "Asked of each request, also on connections that are open.";

        /// Headers, each with what is asked of its values.
        header: Vec<(String, ValueTest)> = Named::HEADERS, default(Vec::new());
            Soft, Rules, NextRequest, "rule_header": "Asked of each request, also on connections that are open.";

        /// Parameters of the query, likewise.
        query: Vec<(String, ValueTest)> = Named::PARAMETERS, default(Vec::new());
            Soft, Rules, NextRequest, "rule_query": "Asked of each request, also on connections that are open.";

        /// The client's address.
        source: Vec<String> = Sources, default(Vec::new());
            Soft, Rules, NextRequest, "rule_source": "Asked of each request, also on connections that are open.";

        /// Conditions that must all hold.
        all: Vec<Conditions> = Nested, default(Vec::new());
            Soft, Rules, NextRequest, "rule_all": "Asked of each request, also on connections that are open.";

        /// Conditions of which one must hold.
        any: Vec<Conditions> = Nested, default(Vec::new());
            Soft, Rules, NextRequest, "rule_any": "Asked of each request, also on connections that are open.";

        /// A condition that must not hold.
        not: Option<Box<Conditions>> = NotNested, default(None);
            Soft, Rules, NextRequest, "rule_not": "Asked of each request, also on connections that are open.";
    }

    /// What is done with a request that the rule takes: exactly one of `group`, `redirect`, `respond` and `deny`.
    table Rule at "pool.*.rule[]" of Http, keys begin "pool.*.rule[]." {
        /// Its name in plans, logs and metrics. Not written: what it asks, such as `example.com/api/*`.
        id: Option<Arc<str>> = Maybe(RuleId), default(None);
            Soft, Rules, NextRequest, "rule_id": "Only the name changes.";

        /// Its place among the rules of its pool: lower ones are asked first. Where no rule says it, the rules are asked
        /// as they stand; where some do, the n-th of the document that does not has ten times n.
        order: Option<u32> = Maybe(Count::between(0, 1_000_000_000)), default(None);
            Soft, Rules, NextRequest, "rule_order": "Asked of each request, also on connections that are open.";

        /// The group whose backends get the request.
        group: Option<Arc<str>> = Maybe(GroupName), default(None);
            Soft, Rules, NextRequest, "rule_group": "Asked of each request, also on connections that are open.";

        /// The client is sent elsewhere. Placeholders: `{host}`, `{path}`, `{query}`, `{uri}`, `{scheme}`, `{method}`,
        /// `{client_ip}`, `{request_id}`, and what the path captures.
        redirect: Option<Redirect> = Maybe(RedirectTo), default(None);
            Soft, Rules, NextRequest, "rule_redirect": "Asked of each request, also on connections that are open.";

        /// The client is answered from here.
        respond: Option<Respond> = Maybe(Response), default(None);
            Soft, Rules, NextRequest, "rule_respond": "Asked of each request, also on connections that are open.";

        /// The client is refused with this status.
        deny: Option<u16> = Maybe(Denial), default(None);
            Soft, Rules, NextRequest, "rule_deny": "Asked of each request, also on connections that are open.";

        /// What the backend is asked for in place of the path and host that the client asked for.
        rewrite: Option<Rewrite> = Maybe(Rewriting), default(None);
            Soft, Rules, NextRequest, "rule_rewrite": "A request goes on as it was decided when it began.";

        /// Changes to the head that the backend is sent.
        request_headers: HeaderEdits = Edits, default(HeaderEdits::default());
            Soft, Rules, NextRequest, "rule_request_headers": "A request goes on as it was decided when it began.";

        /// Changes to the head that the client is sent.
        response_headers: HeaderEdits = Edits, default(HeaderEdits::default());
            Soft, Rules, NextRequest, "rule_response_headers": "A request goes on as it was decided when it began.";
    }

    /// What clients read in place of our own short texts, by status.
    table Page at "pool.*.page[]" of Http, keys begin "pool.*.page[]." {
        /// Statuses of the answers that are ours.
        status: Vec<(u16, u16)> = StatusRanges, required;
            Soft, Rules, NextRequest, "page_status": "Asked when an answer is made.";

        /// The text. In its place, `file` may name a file of UTF-8 text: it is read with the document, and what runs
        /// holds the text.
        body: Arc<str> = PageText, required;
            Soft, Rules, NextRequest, "page_body": "Asked when an answer is made.";

        /// A file that is read with the document, relative to the file that names it, and becomes `body`.
        file: Option<PathBuf> = TextFile, default(None);
            Soft, Rules, NextRequest, "page_file": "Asked when an answer is made.";

        /// What it is. Not written: by the ending of `file`, else plain text.
        content_type: Arc<str> = ContentType, default(Respond::CONTENT_TYPE.into());
            Soft, Rules, NextRequest, "page_content_type": "Asked when an answer is made.";
    }

    /// Addresses or texts that rules of any pool may name. At least one of `entries` and `file` is needed.
    ///
    /// A file has one entry a line; empty lines and lines that begin with `#` count for nothing. Behind an entry may stand
    /// `expires=2026-12-01T00:00:00Z`, then `# ` and the reason. A text with ` #` in it stands between quotes, in which `\"`
    /// and `\\` are a quote and a backslash. What is in the file is part of the document: the same path with other content
    /// is a change.
    table ListKeys at "list.*", keys begin "list.*." {
        /// What the entries are: addresses and prefixes, which rules ask as `source`; or texts, which they ask as `host_list`
        /// and as `{ list = "NAME" }` of headers and parameters.
        kind: ListWord = OneOf::<ListWord>::words(), default(ListWord::Address);
            Soft, Rules, NextRequest, "list_kind": "Asked of each request, also on connections that are open.";

        /// A file of entries, relative to the file that names it.
        file: Option<PathBuf> = ListPath, default(None);
            Soft, Rules, NextRequest, "list_file": "Asked of each request, also on connections that are open.";

        /// Entries besides those of the file; of one that is in both, what is noted here counts. From the time that is said
        /// of one on, it is no entry.
        entries: Vec<ListEntry> = EntryTexts, default(Vec::new());
            Soft, Rules, NextRequest, "list_entries": "Asked of each request, also on connections that are open.";

        /// Entries of the file that do not count.
        except: Vec<ListEntry> = EntryTexts, default(Vec::new());
            Soft, Rules, NextRequest, "list_except": "Asked of each request, also on connections that are open.";
    }

    /// A request that nobody sends, and what must become of it. Tests are tried whenever a configuration is checked, planned or
    /// applied, also where an order changes what they lead to; one that fails refuses the change. At most 10000.
    table Test at "test[]", keys begin "test[]." {
        /// What it is called. Not written: its number.
        name: Option<Arc<str>> = Plain::TEST, default(None);
            Soft, Reload, NextSubmission, "test_name": "Only the name changes.";

        /// Method and URL. Host and port of the URL say where it comes in.
        request: String = RequestLine, required;
            Soft, Reload, NextSubmission, "test_request": "Tried with each submission; no request is decided by it.";

        /// Its headers. A `Host` among them is what the rules see in place of the URL's.
        headers: Vec<(String, String)> = SaidHeaders, default(Vec::new());
            Soft, Reload, NextSubmission, "test_headers": "Tried with each submission; no request is decided by it.";

        /// The client's address.
        from: Option<IpAddr> = Maybe(ClientAddress), default(None);
            Soft, Reload, NextSubmission, "test_from": "Tried with each submission; no request is decided by it.";

        /// The pool that is asked. Not written: the one that listens where the URL leads.
        pool: Option<Arc<str>> = Plain::TEST, default(None);
            Soft, Reload, NextSubmission, "test_pool": "Tried with each submission; no request is decided by it.";

        /// What must become of it, all that is said. `deny` is true where it is refused: by a rule, for what it is, or because no
        /// rule takes it. `status` and `location` are of answers from here, `sent` is what a backend would be sent, and `headers` are
        /// those of the answer, of which a backend's own are not known.
        expect: Expect = Expected, required;
            Soft, Reload, NextSubmission, "test_expect": "Tried with each submission; no request is decided by it.";
    }

    /// The backends of a pool and how one is chosen. A TCP pool has one group, an HTTP pool any number, and none only if
    /// its rules need none; names are free.
    table Balancing at "pool.*.group.*", keys begin "pool.*.group.*." {
        /// How a backend is chosen. `"least-connections"` is for TCP pools; `"least-requests"`, `"peak-ewma"` (the one
        /// of two that is expected to answer sooner) and `"hash"` (by `hash_on`) are for HTTP pools.
        balance: Algorithm = OneOf::<Algorithm>::words(), default(Algorithm::RoundRobin);
            Soft, Backends, NextConnection, "group_balance": "Asked for each new connection; counts and health carry over to the new algorithm.";

        /// Connections that may wait for a backend while all are at their caps, over all shards.
        queue: u32 = Count::between(0, 1_000_000), default(128);
            Soft, RateLimits, NextConnection, "group_queue": "Asked before a connection joins the queue; those in a shortened queue stay.";

        /// How long one may wait.
        queue_wait: Duration = Time::between(ms(1), secs(600)), default(secs(5));
            Soft, RateLimits, NextConnection, "group_queue_wait": "A connection in the queue keeps its deadline.";
    }

    /// What only a TCP pool asks of its group.
    table TcpGroup at "pool.*.group.*" of Tcp, keys begin "pool.*.group.*." {
        /// Backends tried for one connection, the first included.
        attempts: u32 = Count::between(1, 100), default(3);
            Soft, Backends, NextConnection, "group_attempts": "A connection finishes its attempts as it began them.";
    }

    /// What only an HTTP pool asks of its groups.
    table HttpGroup at "pool.*.group.*" of Http, keys begin "pool.*.group.*." {
        /// What `balance = "hash"` hashes; requests without the header or cookie stay with their source.
        hash_on: HashOn = HashedBy, default(HashOn::Source);
            Soft, Backends, NextRequest, "group_hash_on": "Asked for each request; another part of it leads to other backends.";

        /// Idle connections that are kept to one backend, over all shards.
        idle_max: u32 = Count::between(0, 100_000), default(128);
            Soft, RateLimits, NextRequest, "group_idle_max": "Asked when a connection becomes idle; those above a lowered bound go as they are used.";

        /// How long one is kept. Below what backends allow, or a request may meet one that is being closed.
        idle_timeout: Duration = Time::between(ms(10), DAY), default(secs(30));
            Soft, Timeouts, NextRequest, "group_idle_timeout": "A connection that is idle keeps the time that it became so with.";
    }

    /// When a failed request is sent again. What could be done twice by that is never sent again.
    table Retry at "pool.*.group.*.retry" of Http, keys begin "pool.*.group.*.retry." {
        /// Attempts for one request, the first included.
        attempts: u32 = Count::between(1, 100), default(3);
            Soft, Backends, NextRequest, "retry_attempts": "A request finishes its attempts as it began them.";

        /// Retries per hundred requests, over time.
        budget: u32 = Count::between(0, 100), default(20);
            Soft, Backends, NextRequest, "retry_budget": "Asked at each failure; what is saved is kept.";

        /// Retries per second that are allowed however few requests there are.
        minimum: u32 = Count::between(0, 1_000_000), default(10);
            Soft, Backends, NextRequest, "retry_minimum": "Asked at each failure; what is saved is kept.";

        /// Answers that count as failures if their request may be sent again.
        statuses: Vec<u16> = Statuses, default(Vec::new());
            Soft, Backends, NextRequest, "retry_statuses": "Asked for each answer.";
    }

    /// Passive checks: a backend that answers requests with errors is left out for a while. Without this table none is.
    table Eject at "pool.*.group.*.eject" of Http, keys begin "pool.*.group.*.eject." {
        /// Errors in a row that eject: statuses from 500, failed connects, resets and time-outs. Each shard counts its own.
        errors: u32 = Count::between(1, 10_000), default(5);
            Soft, HealthChecks, NextRequest, "eject_errors": "Counted against the errors already seen.";

        /// How long the first ejection lasts; the n-th in close succession lasts n times as long.
        base: Duration = Time::between(ms(100), HOUR), default(secs(10));
            Soft, HealthChecks, NextRequest, "eject_base": "Whoever is ejected stays so for the time that it was told.";

        /// No ejection lasts longer.
        longest: Duration = Time::between(ms(100), DAY), default(secs(300));
            Soft, HealthChecks, NextRequest, "eject_longest": "Whoever is ejected stays so for the time that it was told.";

        /// Most backends of the group that may be out at once, per hundred. Never all.
        percent_max: u32 = Count::between(0, 100), default(50);
            Soft, HealthChecks, NextRequest, "eject_percent_max": "Asked before the next ejection.";
    }

    /// Active checks. Without this table backends count as up.
    table Health at "pool.*.group.*.health", keys begin "pool.*.group.*.health." {
        /// What is asked: a connection, or the answer to a request.
        kind: CheckWord = OneOf::<CheckWord>::words(), default(CheckWord::Connect);
            Soft, HealthChecks, Now, "health_kind": "Holds from the next check on; health is kept.";

        /// What a check of kind `"http"` asks for.
        path: Arc<str> = Target, default("/".into());
            Soft, HealthChecks, Now, "health_path": "Holds from the next check on; health is kept.";

        /// Its `Host`. Not written: the backend's address.
        host: Option<Arc<str>> = Plain::HOST, default(None);
            Soft, HealthChecks, Now, "health_host": "Holds from the next check on; health is kept.";

        /// Its method.
        method: Arc<str> = MethodName, default("GET".into());
            Soft, HealthChecks, Now, "health_method": "Holds from the next check on; health is kept.";

        /// Statuses with which it has succeeded.
        status: Vec<(u16, u16)> = StatusRanges, default(vec![(200, 399)]);
            Soft, HealthChecks, Now, "health_status": "Holds from the next check on; health is kept.";

        /// What the body must contain. Not written: it is not read.
        body: Option<Arc<str>> = Plain::PART, default(None);
            Soft, HealthChecks, Now, "health_body": "Holds from the next check on; health is kept.";

        /// Time between two checks of one backend.
        interval: Duration = Time::between(ms(100), HOUR), default(secs(2));
            Soft, HealthChecks, Now, "health_interval": "The next check follows the new interval; health is kept.";

        /// A check that takes longer has failed.
        timeout: Duration = Time::between(ms(10), secs(600)), default(secs(1));
            Soft, HealthChecks, Now, "health_timeout": "Holds from the next check on; health is kept.";

        /// Successes in a row that bring a backend up.
        rise: u32 = Count::between(1, 100), default(2);
            Soft, HealthChecks, Now, "health_rise": "Counted against the results already seen; health is kept.";

        /// Failures in a row that take it down.
        fall: u32 = Count::between(1, 100), default(3);
            Soft, HealthChecks, Now, "health_fall": "Counted against the results already seen; health is kept.";
    }

    /// One backend. It is known by its address: with another address it is another backend.
    table Backend at "pool.*.group.*.backend[]", keys begin "pool.*.group.*.backend[]." {
        /// Its name in orders, logs and metrics. Not written: its address.
        id: Arc<str> = BackendId, derived;
            Soft, Backends, Now, "backend_id": "Only the name changes; connections, health and counts belong to the address.";

        /// Where it is. Names are resolved off the shards, and the last good answer is kept.
        address: Address = BackendAddress, required;
            Soft, Backends, NextConnection, "backend_address": "Another address is another backend: the old one is removed, the new one added.";

        /// Its share of new connections. 0: none.
        weight: u32 = Count::between(0, Endpoint::WEIGHT_MAX), default(1);
            Soft, Backends, NextConnection, "backend_weight": "Asked for each new connection; open ones stay where they are.";

        /// Chosen only while no other backend is in rotation.
        backup: bool = Flag, default(false);
            Soft, Backends, NextConnection, "backend_backup": "Asked for each new connection; open ones stay where they are.";

        /// Takes no new connections; those it has go on.
        drain: bool = Flag, default(false);
            Soft, Backends, NextConnection, "backend_drain": "Asked for each new connection; open ones stay where they are.";

        /// Connections to it over all shards.
        max_connections: Option<u32> = Count::between(1, CONNECTIONS_MAX).or_off(), default(None);
            Soft, RateLimits, NextConnection, "backend_max_connections": "Asked for each new connection; those above a lowered limit go on.";
    }
}

/// Every key, in the order of the manual.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    TABLES.iter().flat_map(|table| table.keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn paths_and_reason_codes_are_unique() {
        let mut paths = HashSet::new();
        let mut codes = HashSet::new();
        for key in keys() {
            assert!(paths.insert(key.path), "{} is defined twice", key.path);
            let exceptions = key.except.iter().map(|except| except.reason);
            for reason in exceptions.chain([key.reason]) {
                assert!(codes.insert(reason.code), "reason code {} is used twice", reason.code);
                assert!(reason.sentence.ends_with('.'), "{}: the reason is a sentence", key.path);
            }
        }
    }

    #[test]
    fn a_key_lies_in_its_table() {
        for table in TABLES {
            for key in table.keys {
                let inside = key.path.strip_suffix(key.name).unwrap().trim_end_matches('.');
                assert_eq!(inside, table.path, "{}", key.path);
            }
        }
    }

    #[test]
    fn class_and_reach_agree() {
        for reason in keys().flat_map(|key| key.except.iter().map(|except| except.reason).chain([key.reason])) {
            assert_eq!(reason.class == Class::Hard, reason.reach == Reach::PoolRestart, "{}", reason.code);
            assert_eq!(reason.class == Class::Process, reason.reach == Reach::ApplianceRestart, "{}", reason.code);
            assert_eq!(reason.class == Class::Hard, reason.category == Category::Creation, "{}", reason.code);
        }
    }
}
