//! The JSON Schema against a validator that is not ours: it refuses nothing that is accepted, and sees the mistakes that
//! a schema can see. Every document that any test of this binary reads successfully passes through here.

use crate::parse_text;
use config::{SchemaOf, json_schema};
use jsonschema::Validator;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::LazyLock;

static DOCUMENT: LazyLock<Validator> = LazyLock::new(|| validator(SchemaOf::Document));
static PIECE: LazyLock<Validator> = LazyLock::new(|| validator(SchemaOf::Piece));

fn validator(of: SchemaOf) -> Validator {
    let schema = json_schema(of);
    jsonschema::meta::validate(&schema).expect("the schema is one");
    jsonschema::validator_for(&schema).expect("the schema can be used")
}

fn as_json(text: &str) -> Value {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    json!(table)
}

/// The first complaint.
fn complaint(validator: &Validator, document: &Value) -> Option<String> {
    let error = validator.iter_errors(document).next()?;
    Some(format!("{}: {error}", error.instance_path()))
}

/// What was accepted as a document must please the editor.
#[track_caller]
pub fn assert_pleases(text: &[u8]) {
    let document = as_json(std::str::from_utf8(text).expect("what is accepted is text"));
    let validator = if document.get("include").is_some() { &PIECE } else { &DOCUMENT };
    let complaint = complaint(validator, &document);
    assert_eq!(complaint, None, "accepted, and the schema refuses it:\n{}", String::from_utf8_lossy(text));
}

#[test]
fn examples_and_kept_documents_are_valid() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut accepted = 0;
    let corpus = std::fs::read_dir(root.join("tests/fuzz/corpus/document")).expect("there is a corpus");
    let corpus = corpus.map(|entry| entry.expect("it can be read").path());
    for path in corpus.chain([root.join("control/config/examples/site.toml")]) {
        let text = std::fs::read(&path).expect("it can be read");
        let in_order = crate::parse_from(&text, &config::NoFiles).is_ok();
        accepted += usize::from(in_order);
        assert!(in_order || !path.ends_with("site.toml"), "{}", path.display());
    }
    assert!(accepted >= 10, "only {accepted} documents are in order");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("there is one");
    for block in readme.split("```toml\n").skip(1) {
        let block = block.split("\n```").next().expect("a block has an end");
        assert_eq!(complaint(&PIECE, &as_json(block)), None, "{block}");
    }
}

#[test]
fn pieces_lack_what_stands_elsewhere() {
    let piece = as_json("[pool.web.create]\nmemory = \"64MiB\"");
    assert_eq!(complaint(&PIECE, &piece), None);
    assert!(complaint(&DOCUMENT, &piece).is_some());
    assert_eq!(complaint(&PIECE, &as_json("")), None);
    // An element of a list stands in one file.
    assert!(complaint(&PIECE, &as_json("[[pool.web.group.app.backend]]\nid = \"a\"")).is_some());
}

const WEB: &str = "[pool.web.create]\nservice = \"http\"\nlisten = [\"127.0.0.1:8080\"]\n";

/// A mistake, with what it is behind. The reader refuses it too.
#[track_caller]
fn refused(text: &str) {
    assert!(parse_text(text).is_err(), "in order:\n{text}");
    assert!(complaint(&DOCUMENT, &as_json(text)).is_some(), "the schema accepts it:\n{text}");
}

#[test]
fn mistakes_that_a_schema_can_see_are_seen() {
    refused("");
    refused("[appliances]");
    refused("[appliance]\nshards = 0");
    refused("[appliance]\nshards = \"many\"");
    refused("[appliance]\ncontrol_socket = \"s.sock\"");
    refused("[appliance]\ncontrol_mode = 660");
    refused("[reload]\njob_timeout = 5");
    refused("[reload]\njob_timeout = \"5\"");
    refused("[reload]\nretained_max = \"64MB\"");
    refused("[log.access]\nformat = \"fancy\"");
    refused("[list.office]");
    refused("[list.office]\nentries = \"192.0.2.0/24\"");
    refused("pool = 1");
    refused("[[appliance]]");
    refused("[pool.web]\naccess_log = true");
    refused("[pool.web.create]\nservice = \"http\"");
    for rest in [
        "[pool.web]\naccess_log = \"yes\"",
        "[pool.web.timeouts]\nidel = \"1s\"",
        "[pool.web.timeouts]\nidle = false",
        "[pool.web.limits]\nmax_connections = 0",
        "[pool.web.http]\nx_forwarded = \"maybe\"",
        "[pool.web.group.app]\nbackend = [{ weight = 1 }]",
        "[pool.web.group.app]\nbackend = [{ address = \"127.0.0.1:1\", weight = 65536 }]",
        "[pool.web.group.app]\nbackend = [{ address = \"127.0.0.1:1\", wieght = 1 }]",
        "[pool.web.group.app]\nbackend = { address = \"127.0.0.1:1\" }",
        "[pool.web.group.app.retry]\nstatuses = [200]",
        "[[pool.web.rule]]\ndeny = 302",
        "[[pool.web.rule]]\npath = []\ndeny = 403",
        "[[pool.web.rule]]\nredirect = { status = 301 }",
        "[[pool.web.rule]]\nredirect = { to = \"/\", stauts = 301 }",
        "[[pool.web.rule]]\nredirect = { to = \"/\", status = 304 }",
        "[[pool.web.rule]]\nrespond = { status = 99 }",
        "[[pool.web.rule]]\nrewrite = { strip = \"/a\" }\ngroup = \"app\"",
        "[[pool.web.rule]]\nheader = { X-A = { prefix = \"a\", regex = \"b\" } }\ndeny = 403",
        "[[pool.web.rule]]\nnot = { hots = \"a.example\" }\ndeny = 403",
        "[[pool.web.rule]]\nany = [{}]\ndeny = 403",
        "[[pool.web.rule]]\nnot = { any = [{ path = 7 }] }\ndeny = 403",
        "[[pool.web.page]]\nstatus = 404",
        "[[pool.web.page]]\nstatus = \"404-99\"\nbody = \"x\"",
    ] {
        refused(&format!("{WEB}{rest}\n"));
    }
}

#[test]
fn a_variable_may_stand_wherever_a_value_may() {
    for text in [
        "[appliance]\nshards = \"${YES}\"",
        "[appliance]\ncontrol_mode = \"${YES}\"",
        "[log.events]\nlevel = \"${YES}\"",
        "[pool.web.create]\nservice = \"${YES}\"\nlisten = [\"${HOST}:1\"]\nshards = [\"${WEIGHT}\"]",
    ] {
        assert_eq!(complaint(&PIECE, &as_json(text)), None, "{text}");
    }
}

#[test]
fn defaults_are_values_that_the_schema_accepts() {
    fn look(schema: &Value, whole: &Value, seen: &mut usize) {
        if let (Some(default), Some(_)) = (schema.get("default"), schema.get("description")) {
            let mut alone = schema.clone();
            alone["$defs"] = whole["$defs"].clone();
            let validator = jsonschema::validator_for(&alone).expect("a part of a schema is one");
            let says_nothing = *default == json!([]);
            assert!(says_nothing || validator.is_valid(default), "{schema:#}");
            *seen += 1;
        }
        let below = schema.as_object().into_iter().flat_map(|map| map.values());
        below.filter(|part| part.is_object()).for_each(|part| look(part, whole, seen));
    }
    let schema = json_schema(SchemaOf::Document);
    let mut seen = 0;
    look(&schema, &schema, &mut seen);
    assert!(seen > 50, "only {seen} defaults are in it");
}
