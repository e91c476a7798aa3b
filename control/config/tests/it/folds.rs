//! What runs is written back into the files: they say it, and what people wrote about the rest is still there.

use crate::arbitrary::{Model, PLAIN, spelling, three_models, two_models};
use crate::{Files, SHARDS, config, parse_from};
use config::{Config, Edit, ListEdit, Problems, Rewritten, RulePlace, Surroundings, fold};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const MAIN: &str = "site.toml";

fn read(files: &Files) -> Config {
    let parsed = parse_from(&files.0[Path::new(MAIN)], files);
    parsed.unwrap_or_else(|problems| panic!("{}", problems.draw(config::Colour::Plain))).config
}

fn folded(files: &Files, base: &Config, running: &Config) -> Result<Vec<Rewritten>, Problems> {
    let variables = |name: &str| match name {
        "HOST" => Some("db.internal".to_owned()),
        "WEIGHT" => Some("7".to_owned()),
        _ => None,
    };
    let around = Surroundings { source: files, variables: &variables, shards_auto: SHARDS };
    fold(Path::new(MAIN), base, running, &around)
}

/// The files after they were written.
fn written(files: &Files, rewritten: Vec<Rewritten>) -> Files {
    let mut after = Files(files.0.clone());
    for Rewritten { path, text } in rewritten {
        assert_ne!(after.0.insert(path, text.clone().into_bytes()), Some(text.into_bytes()), "nothing changed in it");
    }
    after
}

fn text(files: &Files, path: &str) -> String {
    String::from_utf8(files.0[Path::new(path)].clone()).expect("text")
}

/// A model in files, with a comment above each head and behind each line.
struct Commented {
    files: Files,
    comments: Vec<Comment>,
}

/// Of the head that it is above or behind, or of a line below.
struct Comment {
    text: String,
    head: Vec<String>,
    /// The `id` that is said below the head.
    id: Option<String>,
    of_head: bool,
}

/// `apart`: some pools stand in a file of their own.
fn commented(text: &str, apart: bool) -> Commented {
    let mut files = [format!("include = [\"pools.toml\"] # {}\n\n", "more"), String::new()];
    let mut comments: Vec<Comment> = Vec::new();
    let (mut head, mut first) = (Vec::new(), 0);
    for (nth, line) in text.lines().enumerate() {
        let of_head = line.starts_with('[');
        if of_head {
            let path = line.trim_start_matches('[').split(']').next().unwrap_or_default();
            head = path.split('.').map(str::to_owned).collect();
            first = comments.len();
        }
        let is_apart = apart && head.first().is_some_and(|first| first == "pool") && ["b", "c"].contains(&&*head[1]);
        let file = &mut files[usize::from(is_apart)];
        let mut tell = |text: &str| {
            comments.push(Comment { text: text.to_owned(), head: head.clone(), id: None, of_head });
        };
        if of_head {
            let comment = format!("# above {nth}");
            file.push_str(&format!("{comment}\n"));
            tell(&comment);
        }
        file.push_str(line);
        if !line.is_empty() {
            let comment = format!("# behind {nth}");
            file.push_str(&format!(" {comment}"));
            tell(&comment);
        }
        file.push('\n');
        if let Some(id) = line.strip_prefix("id = '").and_then(|rest| rest.strip_suffix('\'')) {
            comments[first..].iter_mut().for_each(|comment| comment.id = Some(id.to_owned()));
        }
    }
    let [main, pools] = files;
    let all = [(PathBuf::from(MAIN), main.into_bytes()), ("pools.toml".into(), pools.into_bytes())];
    Commented { files: Files(all.into()), comments }
}

impl Comment {
    /// Whether what it belongs to is still there, so that it has to be.
    fn stays(&self, base: &Config, running: &Config) -> bool {
        let words: Vec<&str> = self.head.iter().map(String::as_str).collect();
        let [first, pool, within @ ..] = &words[..] else { return true };
        if *first != "pool" {
            return true;
        }
        let (Some(was), Some(is)) = (base.pools.get(*pool), running.pools.get(*pool)) else { return false };
        if was.hash() == is.hash() {
            return true;
        }
        let id = self.id.as_deref();
        match within {
            ["create" | "limits" | "timeouts" | "http"] => true,
            ["rule"] => {
                let rules = is.http.as_ref().map(|http| &http.rules);
                self.of_head && id.is_some_and(|id| rules.is_some_and(|rules| rules.find(id).is_some()))
            }
            ["group", group] => self.of_head && is.group(group).is_some(),
            ["group", group, "backend"] => {
                let backends = is.group(group).map(|group| &group.backends[..]).unwrap_or_default();
                self.of_head && id.is_some_and(|id| backends.iter().any(|backend| *backend.id == *id))
            }
            _ => false,
        }
    }
}

fn check_folded(commented: &Commented, model: &Model, running: &Config) -> Result<(), TestCaseError> {
    let Commented { files, comments } = commented;
    let base = read(files);
    prop_assert_eq!(base.hash(), config(&model.toml(PLAIN)).hash());
    let all = |files: &Files| format!("{}\n----\n{}", text(files, MAIN), text(files, "pools.toml"));
    let rewritten = folded(files, &base, running).map_err(|problems| {
        TestCaseError::fail(format!("{problems}\n{}\nshall say\n{}", all(files), running.to_toml()))
    })?;
    let after = written(files, rewritten);
    prop_assert_eq!(read(&after).hash(), running.hash());
    let after = all(&after);
    for comment in comments.iter().filter(|comment| comment.stays(&base, running)) {
        let there = after.contains(&format!("{}\n", comment.text));
        prop_assert!(there, "{} is gone:\n{}\nof\n{}", comment.text, after, all(files));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the files are written, and whatever runs.
    #[test]
    fn files_say_what_runs((base, running) in two_models(), how in spelling(), apart in any::<bool>()) {
        let commented = commented(&base.toml(how), apart);
        check_folded(&commented, &base, &config(&running.toml(PLAIN)))?;
    }

    #[test]
    fn files_say_what_was_changed_a_little([base, running, _] in three_models(), how in spelling(), apart in any::<bool>()) {
        let commented = commented(&base.toml(how), apart);
        check_folded(&commented, &base, &config(&running.toml(PLAIN)))?;
    }

    #[test]
    fn what_runs_as_it_is_written_changes_no_file(base in crate::arbitrary::model(), how in spelling()) {
        let commented = commented(&base.toml(how), true);
        let config = read(&commented.files);
        prop_assert_eq!(folded(&commented.files, &config, &config).ok(), Some(Vec::new()));
    }
}

fn path(words: &str) -> Vec<String> {
    words.split('.').map(str::to_owned).collect()
}

fn set(at: &str, value: Value) -> Edit {
    Edit::Set { path: path(at), value }
}

fn add(at: &str, value: Value, place: Option<RulePlace>) -> Edit {
    Edit::Add { path: path(at), value, place }
}

fn remove(at: &str) -> Edit {
    Edit::Remove { path: path(at), missing_ok: false }
}

fn item(at: &str, item: &str) -> Edit {
    Edit::AddItem { path: path(at), item: item.into() }
}

/// The main file before and after these orders.
#[track_caller]
fn check_in(files: Files, edits: &[Edit], expected: &[(&str, &str)]) {
    let base = read(&files);
    let running = base.edit(edits, SHARDS).unwrap_or_else(|problems| panic!("{problems}")).config;
    let rewritten = folded(&files, &base, &running).unwrap_or_else(|problems| panic!("{problems}"));
    let after = written(&files, rewritten);
    for (file, expected) in expected {
        let text = text(&after, file);
        assert_eq!(text, *expected, "\n{text}");
    }
}

#[track_caller]
fn check(before: &str, edits: &[Edit], after: &str) {
    check_in(Files::with([(MAIN, before)]), edits, &[(MAIN, after)]);
}

const BEFORE: &str = r#"# The site, as of last spring.
# Ask Ada before you change it.

include = ["pools/*.toml"] # one file for each team

# Who we are.
[appliance]
shards = 2 # of 4

[list.office]
# All of the second floor.
entries = [
  "192.0.2.0/24", # Vienna
  # Graz has moved twice.
  "198.51.100.0/24", # Graz
  { entry = "203.0.113.0/24", reason = "guests" },
]

# ---- the shop ----

[pool.web] # in front of everything
hosts = ["shop.example", "www.shop.example"]
create = { service = "http", listen = ["127.0.0.1:80"] } # no TLS yet
limits.max_connections = 1000  # measured in March

# Requests of the application.
[[pool.web.rule]]
id = "api"            # lined up
path_prefix = "/api"  # by hand
group = "app"

# Nobody needs this.
[[pool.web.rule]]
id = "bad"
path_prefix = "/bad"
deny = 403

# The rest.
[[pool.web.rule]]
id = "all"
group = "app"

[pool.web.group.app]
balance = "least-requests"
backend = [
  { id = "a", address = "10.0.0.1:80", weight = 2 }, # rack 1
  # The new one.
  { id = "b", address = "10.0.0.2:80" }, # rack 2
  { id = "c", address = "${HOST}:80", weight = "${WEIGHT}" }, # wherever it is
]

# The database has its own file.
"#;

const POOL: &str = r#"[pool.db.create]
service = "tcp"
listen = ["127.0.0.1:5432"]

# Two of them.
[pool.db.group.main]
[[pool.db.group.main.backend]]
id = "one"
address = "10.0.1.1:5432" # the old one

# This one is faster.
[[pool.db.group.main.backend]]
id = "two"
address = "10.0.1.2:5432"
weight = 3
"#;

#[test]
fn a_file_full_of_comments_keeps_them() {
    let list = |edit: fn(String) -> ListEdit, entry: &str| Edit::List(edit(entry.into()));
    let goes = |entry| ListEdit::Remove { list: "office".into(), entry, missing_ok: false };
    let comes = |entry| ListEdit::Add { list: "office".into(), entry, expires: None, reason: Some("$5".into()) };
    let edits = [
        set("appliance", json!({"shards": 3})),
        list(goes, "198.51.100.0/24"),
        list(comes, "203.0.113.7"),
        item("pool.web.hosts", "m.shop.example"),
        item("pool.web.create.listen", "127.0.0.1:81"),
        set("pool.web", json!({"limits": {"max_connections": 2000}, "timeouts": {"idle": "1m"}})),
        set("pool.web.rule.api", json!({"path_prefix": "/v2"})),
        remove("pool.web.rule.bad"),
        add("pool.web.rule.new", json!({"path": "/new", "group": "app"}), Some(RulePlace::Before("all".into()))),
        set("pool.web.group.app.backend.c", json!({"max_connections": 9})),
        remove("pool.web.group.app.backend.b"),
        add("pool.web.group.app.backend.d", json!({"address": "10.0.0.4:80", "weight": 5}), None),
        set("pool.db.group.main.backend.one", json!({"weight": 4})),
        remove("pool.db.group.main.backend.two"),
        set("pool.db.group.main", json!({"health": {"interval": "3s"}})),
        add(
            "pool.new",
            json!({"create": {"service": "tcp", "listen": ["127.0.0.1:9"]}, "group": {"main": {"backend": {"x": {"address": "10.0.0.9:9"}}}}}),
            None,
        ),
    ];
    let after = r#"# The site, as of last spring.
# Ask Ada before you change it.

include = ["pools/*.toml"] # one file for each team

# Who we are.
[appliance]
shards = 3 # of 4

[list.office]
# All of the second floor.
entries = [
  "192.0.2.0/24", # Vienna
  { entry = "203.0.113.0/24", reason = "guests" },
  { entry = "203.0.113.7", reason = "$$5" },
]

# ---- the shop ----

[pool.web] # in front of everything
hosts = ["shop.example", "www.shop.example", "m.shop.example"]
create = { service = "http", listen = ["127.0.0.1:80", "127.0.0.1:81"] } # no TLS yet
limits.max_connections = 2000  # measured in March

# Requests of the application.
[[pool.web.rule]]
id = "api"            # lined up
path_prefix = "/v2"  # by hand
group = "app"

[[pool.web.rule]]
id = "new"
path = "/new"
group = "app"

# The rest.
[[pool.web.rule]]
id = "all"
group = "app"

[pool.web.group.app]
balance = "least-requests"
backend = [
  { id = "a", address = "10.0.0.1:80", weight = 2 }, # rack 1
  { id = "c", address = "${HOST}:80", weight = "${WEIGHT}", max_connections = 9 }, # wherever it is
  { id = "d", address = "10.0.0.4:80", weight = 5 },
]

[pool.web.timeouts]
idle = "1m"

[pool.new.create]
service = "tcp"
listen = ["127.0.0.1:9"]

[pool.new.group.main]

[[pool.new.group.main.backend]]
id = "x"
address = "10.0.0.9:9"

# The database has its own file.
"#;
    let pool = r#"[pool.db.create]
service = "tcp"
listen = ["127.0.0.1:5432"]

# Two of them.
[pool.db.group.main]
[[pool.db.group.main.backend]]
id = "one"
address = "10.0.1.1:5432" # the old one
weight = 4

[pool.db.group.main.health]
interval = "3s"
"#;
    check_in(Files::with([(MAIN, BEFORE), ("pools/db.toml", POOL)]), &edits, &[(MAIN, after), ("pools/db.toml", pool)]);
}

#[test]
fn keys_with_dots_get_neighbours_with_dots() {
    let before = r#"pool.db.create = { service = "tcp", listen = ["127.0.0.1:1"] } # one
pool.db.group.main.backend = [{ address = "10.0.0.1:1" }] # two
list.a.entries = [] # three
"#;
    let group = json!({"main": {"queue": 7, "backend": {"x": {"address": "10.0.0.9:9"}}}});
    let edits = [
        set("pool.db", json!({"limits": {"max_connections": 5}})),
        set("pool.db.group.main", json!({"queue": 3, "health": {}})),
        Edit::AddBackend {
            pool: "db".into(),
            group: None,
            id: None,
            address: "10.0.0.2:1".into(),
            set: config::BackendSettings::default(),
        },
        add("pool.new", json!({"create": {"service": "tcp", "listen": ["127.0.0.1:9"]}, "group": group}), None),
        add("list.b", json!({"entries": ["10.0.0.1"]}), None),
    ];
    let after = r#"pool.db.create = { service = "tcp", listen = ["127.0.0.1:1"] } # one
pool.db.group.main.backend = [{ address = "10.0.0.1:1" }, { address = "10.0.0.2:1" }] # two
pool.db.group.main.health = {}
pool.db.group.main.queue = 3
pool.db.limits = { max_connections = 5 }
pool.new = { create = { service = "tcp", listen = ["127.0.0.1:9"] }, group = { main = { queue = 7, backend = [{ id = "x", address = "10.0.0.9:9" }] } } }
list.a.entries = [] # three
list.b = { entries = ["10.0.0.1"] }
"#;
    check(before, &edits, after);
}

#[test]
fn all_in_braces_stays_in_braces() {
    let before = r#"pool = { db = { create = { service = "tcp", listen = ["127.0.0.1:1"] }, group = { main = { backend = [{ id = "a", address = "10.0.0.1:1", weight = 2 }, { id = "b", address = "10.0.0.2:1" }] } } } } # all
"#;
    let edits = [
        set("pool.db", json!({"access_log": false})),
        set("pool.db.group.main.backend.a", json!({"weight": 1, "drain": true})),
        remove("pool.db.group.main.backend.b"),
    ];
    let after = r#"pool = { db = { create = { service = "tcp", listen = ["127.0.0.1:1"] }, group = { main = { backend = [{ id = "a", address = "10.0.0.1:1", weight = 1, drain = true }] } }, access_log = false } } # all
"#;
    check(before, &edits, after);
}

#[test]
fn what_goes_takes_its_own_comments_and_no_other() {
    let pool = |name: &str, port: u16| {
        format!(
            "# The pool {name}.\n[pool.{name}]\ncreate = {{ service = \"tcp\", listen = [\"127.0.0.1:{port}\"] }}\n[pool.{name}.group.main]\n"
        )
    };
    let before =
        format!("# Ask Ada.\n\n{}\n# Nobody's.\n\n{}\n{}# The end.\n", pool("a", 1), pool("b", 2), pool("c", 3));
    let after = format!("# Ask Ada.\n\n# Nobody's.\n\n{}# The end.\n", pool("c", 3));
    check(&before, &[remove("pool.a"), remove("pool.b")], &after);
    // What says nothing would not be read.
    let edits = [remove("pool.a"), remove("pool.b"), remove("pool.c")];
    check(&before, &edits, "# Ask Ada.\n\n# Nobody's.\n\n# The end.\n[appliance]\n");
}

#[test]
fn lines_end_as_they_did() {
    let before = "[reload] # one\r\nkeep_receipts = 7 # two\r\n";
    check(before, &[set("reload", json!({"keep_receipts": 8}))], "[reload] # one\r\nkeep_receipts = 8 # two\r\n");
    let before = "\u{feff}[reload] # one\nkeep_receipts = 7\n";
    check(before, &[set("reload", json!({"keep_receipts": 8}))], "\u{feff}[reload] # one\nkeep_receipts = 8\n");
    // Of a file in which nothing changes not even that which nobody sees.
    let main = "include = [\"more.toml\"]\n[reload]\nkeep_receipts = 7\n";
    let files = Files::with([(MAIN, main), ("more.toml", "\u{feff}[log.events]\r\nlevel = 'debug'\n")]);
    let base = read(&files);
    let running = base.edit(&[set("reload", json!({"keep_receipts": 8}))], SHARDS).unwrap().config;
    let rewritten = folded(&files, &base, &running).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(rewritten, [Rewritten { path: MAIN.into(), text: main.replace('7', "8") }]);
}

#[test]
fn rules_are_moved_with_what_is_written_about_them() {
    let before = r#"[pool.web.create]
service = "http"
listen = ["127.0.0.1:80"]
[pool.web.group.app]
# First.
[[pool.web.rule]]
path = "/one" # 1
[pool.web.rule.redirect] # where to
to = "/elsewhere"
# Second.
[[pool.web.rule]]
path = "/two" # 2
group = "app"
# Third.
[[pool.web.rule]]
group = "app" # 3
"#;
    let moved = |rule: &str, place| Edit::MoveRule { pool: "web".into(), rule: rule.into(), place };
    let after = r#"[pool.web.create]
service = "http"
listen = ["127.0.0.1:80"]
[pool.web.group.app]
# Second.
[[pool.web.rule]]
path = "/two" # 2
group = "app"
# First.
[[pool.web.rule]]
path = "/one" # 1
[pool.web.rule.redirect] # where to
to = "/elsewhere"
# Third.
[[pool.web.rule]]
group = "app" # 3
"#;
    check(before, &[moved("/one", RulePlace::Behind("/two".into()))], after);
    let inline = r#"[pool.web]
create = { service = "http", listen = ["127.0.0.1:80"] }
group.app = {}
rule = [
  # First.
  { path = "/one", deny = 403 }, # 1
  # Second.
  { path = "/two", group = "app" }, # 2
  { group = "app" }, # 3
]
"#;
    let after = r#"[pool.web]
create = { service = "http", listen = ["127.0.0.1:80"] }
group.app = {}
rule = [
  # Second.
  { path = "/two", group = "app" }, # 2
  # First.
  # 1
  { path = "/one", deny = 403 },
  { group = "app" }, # 3
]
"#;
    check(inline, &[moved("/one", RulePlace::Behind("/two".into()))], after);
}

/// A value that has heads of its own becomes one on a line.
#[test]
fn values_with_heads_are_values() {
    let before = r#"[pool.web]
create = { service = "http", listen = ["127.0.0.1:80"] }
[[pool.web.rule]]
id = "one"
# Where to.
[pool.web.rule.redirect]
to = "/elsewhere"

[reload] # the end
"#;
    let after = r#"[pool.web]
create = { service = "http", listen = ["127.0.0.1:80"] }
[[pool.web.rule]]
id = "one"
redirect = { status = 301, to = "/there" }

[reload] # the end
"#;
    check(before, &[set("pool.web.rule.one", json!({"redirect": {"to": "/there", "status": 301}}))], after);
}

#[test]
fn where_one_says_its_order_all_do() {
    let before = r#"[pool.web]
create = { service = "http", listen = ["127.0.0.1:80"] }
group.app = {}
[[pool.web.rule]]
path = "/one"
deny = 403
[[pool.web.rule]]
group = "app"
"#;
    let rule = json!({"path": "/two", "deny": 404, "order": 15});
    let after = r#"[pool.web]
create = { service = "http", listen = ["127.0.0.1:80"] }
group.app = {}
[[pool.web.rule]]
path = "/one"
deny = 403
order = 10

[[pool.web.rule]]
id = "two"
order = 15
path = "/two"
deny = 404
[[pool.web.rule]]
group = "app"
order = 20
"#;
    check(before, &[add("pool.web.rule.two", rule, None)], after);
}

/// A page whose text came from a file says its text itself once an order has changed it.
#[test]
fn texts_of_files_are_written_where_they_have_changed() {
    let before = r#"[pool.web]
create = { service = "http", listen = ["127.0.0.1:80"] }
group.app = {}
[[pool.web.page]]
status = 502 # no backend
file = "sorry.html"
[[pool.web.page]]
status = 503
file = "sorry.html"
"#;
    let text = json!("text/html; charset=utf-8");
    let pages = json!([
        {"status": 502, "body": "gone", "content_type": text},
        {"status": 503, "body": "sorry", "content_type": text},
    ]);
    let after = r#"[pool.web]
create = { service = "http", listen = ["127.0.0.1:80"] }
group.app = {}
[[pool.web.page]]
status = 502 # no backend
body = "gone"
content_type = "text/html; charset=utf-8"
[[pool.web.page]]
status = 503
file = "sorry.html"
"#;
    let files = Files::with([(MAIN, before), ("sorry.html", "sorry")]);
    check_in(files, &[set("pool.web", json!({ "page": pages }))], &[(MAIN, after)]);
}

#[test]
fn a_list_says_what_its_file_does_not() {
    let main = "include = [\"lists/all.toml\"]\n";
    let before = "[list.x]\nfile = \"x.txt\" # made at night\n";
    let files = Files::with([(MAIN, main), ("lists/all.toml", before), ("lists/x.txt", "10.0.0.1\n10.0.0.2\n")]);
    let edits = [
        Edit::List(ListEdit::Remove { list: "x".into(), entry: "10.0.0.1".into(), missing_ok: false }),
        Edit::List(ListEdit::Add { list: "x".into(), entry: "10.0.0.9".into(), expires: None, reason: None }),
    ];
    let after = "[list.x]\nfile = \"x.txt\" # made at night\nentries = [\"10.0.0.9\"]\nexcept = [\"10.0.0.1\"]\n";
    check_in(files, &edits, &[(MAIN, main), ("lists/all.toml", after)]);
}

/// What has expired by now is in the files, and is not what runs.
#[test]
fn what_has_expired_needs_not_go_from_the_files() {
    let before = "[list.x]\nfile = \"x.txt\"\n";
    let files = Files::with([(MAIN, before), ("x.txt", "10.0.0.1 expires=2020-01-01T00:00:00Z\n10.0.0.2\n")]);
    let base = read(&files);
    let running = base.at(2_000_000_000);
    assert_ne!(base.hash(), running.hash());
    let added = Edit::List(ListEdit::Add { list: "x".into(), entry: "10.0.0.9".into(), expires: None, reason: None });
    let running = running.edit(&[added], SHARDS).unwrap().config;
    let after = written(&files, folded(&files, &base, &running).unwrap_or_else(|problems| panic!("{problems}")));
    assert_eq!(text(&after, MAIN), format!("{before}entries = [\"10.0.0.9\"]\n"));
}

#[test]
fn files_that_have_changed_are_not_written() {
    let files = Files::with([(MAIN, "[reload]\nkeep_receipts = 7\n")]);
    let given = config("[reload]\nkeep_receipts = 6\n");
    let problems = folded(&files, &given, &given).unwrap_err();
    let first = &problems.errors()[0];
    assert_eq!((first.code.label(), &*first.path), ("clash", "reload.keep_receipts"));
    assert_eq!((first.found.as_deref(), first.accepted.as_deref()), (Some("7"), Some("6")));
    let problems = folded(&Files::with([(MAIN, "[reload\n")]), &given, &given).unwrap_err();
    assert_eq!(problems.errors()[0].code.label(), "syntax");
    let problems = fold(
        Path::new("none.toml"),
        &given,
        &given,
        &Surroundings { source: &files, variables: &|_| None, shards_auto: SHARDS },
    );
    assert_eq!(problems.unwrap_err().errors()[0].code.label(), "file");
}

/// What cannot be said in these files is told, and nothing is given out.
#[test]
fn what_came_of_it_is_read_before_it_is_given_out() {
    let files = Files::with([(MAIN, "[list.x]\nfile = \"x.txt\"\n"), ("x.txt", "10.0.0.1\n")]);
    let base = read(&files);
    let other = Files::with([(MAIN, "[list.x]\nfile = \"x.txt\"\n"), ("x.txt", "10.0.0.2\n")]);
    let problems = folded(&files, &base, &read(&other)).unwrap_err();
    let first = &problems.errors()[0];
    assert_eq!((first.code.label(), &*first.path), ("clash", "list.x.entries"));
}
