//! Text of any kind: answered, never a panic, in bounded time.

use crate::arbitrary::{PLAIN, model};
use crate::{Files, parse_from, parse_text};
use config::Colour;
use proptest::prelude::*;

fn survive(bytes: &[u8]) {
    if let Err(problems) = parse_from(bytes, &Files::with([("a", "include = [\"a\"]")])) {
        assert!(!problems.errors().is_empty());
        problems.draw(Colour::Plain);
        problems.draw(Colour::Terminal);
        serde_json::to_string(&problems.iter().collect::<Vec<_>>()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survive(&bytes);
    }

    /// Looks like TOML, mostly.
    #[test]
    fn any_words(words in prop::collection::vec(prop::sample::select(WORDS), 0..60)) {
        survive(words.concat().as_bytes());
    }

    /// Keys that exist, in places where they may, with values of any kind.
    #[test]
    fn any_shape(value in shape()) {
        survive(value.as_bytes());
    }

    /// A document that was in order, with a piece cut out, doubled or overwritten.
    #[test]
    fn mutated_documents(model in model(), at in any::<prop::sample::Index>(), len in 0..20usize, insert in prop::collection::vec(any::<u8>(), 0..6)) {
        let mut bytes = model.toml(PLAIN).into_bytes();
        let at = at.index(bytes.len());
        let end = (at + len).min(bytes.len());
        bytes.splice(at..end, insert);
        survive(&bytes);
    }
}

/// A pool that is in order but for some of its tables, which may be anything.
fn shape() -> impl Strategy<Value = String> {
    let part = |key: &'static str, good: &'static str| {
        prop_oneof![4 => Just(good.to_string()), 1 => Just("{}".into()), 1 => anything()]
            .prop_map(move |value| format!("{key} = {value}"))
    };
    let create = part("create", "{ service = 'tcp', listen = ['127.0.0.1:1'] }");
    let group = part("group", "{ main = { backend = [{ address = 'h:1' }] } }");
    let parts = (create, group, part("limits", "{}"), part("timeouts", "{ idle = '5s' }"), anything(), 0..8u8);
    parts.prop_map(|(create, group, limits, timeouts, other, hit)| {
        let pool = format!("pool.db = {{ {create}, {group}, {limits}, {timeouts} }}");
        match hit {
            0 => format!("pool = {other}"),
            1 => format!("{pool}\nlog = {other}"),
            2 => format!("{pool}\nappliance = {other}"),
            3 => format!("{pool}\ninclude = {other}"),
            _ => pool,
        }
    })
}

/// A value, or tables in tables under names that exist somewhere.
fn anything() -> impl Strategy<Value = String> {
    let scalars =
        &["1", "-7", "true", "'off'", "'5s'", "'1MiB'", "'tcp'", "'h:1'", "'127.0.0.1:1'", "1.5", "'${X}'", "07:32:00"]
            [..];
    let names =
        &["create", "listen", "service", "main", "health", "backend", "id", "address", "weight", "x", "idle", "access"]
            [..];
    let scalar = prop::sample::select(scalars).prop_map(String::from);
    scalar.prop_recursive(4, 30, 3, move |inner| {
        let table = prop::collection::btree_map(prop::sample::select(names), inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            table.prop_map(|table| format!("{{ {} }}", pairs(table, ", "))),
        ]
    })
}

fn pairs(table: std::collections::BTreeMap<&str, String>, between: &str) -> String {
    table.iter().map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(between)
}

const WORDS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\n",
    "\r\n",
    " ",
    "#",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\\",
    "\\u00e9",
    "ö",
    "\u{feff}",
    "${",
    "$$",
    "}",
    "pool",
    "db",
    "create",
    "listen",
    "service",
    "\"tcp\"",
    "group",
    "main",
    "backend",
    "address",
    "\"127.0.0.1:1\"",
    "weight",
    "1",
    "-1",
    "0x",
    "1e9",
    "true",
    "nan",
    "1979-05-27",
    "include",
    "\"a\"",
    "\"*\"",
    "appliance",
    "shards",
    "timeouts",
    "idle",
    "\"1h\"",
    "health",
    "limits",
    "log",
    "access",
    "\u{0}",
    "\u{7f}",
    "=1\n",
    "[pool.db]\n",
];

#[test]
fn a_byte_order_mark() {
    assert_eq!(parse_text("\u{feff}[pool]\n").unwrap().config, parse_text("[pool]\n").unwrap().config);
}

#[test]
fn deep_nesting() {
    survive("[".repeat(100_000).as_bytes());
    survive(format!("x = {}", "[".repeat(100_000)).as_bytes());
    survive(format!("x = {}", "{a=".repeat(100_000)).as_bytes());
    survive(format!("{}x = 1", "a.".repeat(100_000)).as_bytes());
    survive(format!("[{}x]", "a.".repeat(100_000)).as_bytes());
    // As deep as the parser lets through: tables inside tables, each of many dotted keys.
    let dotted = format!("{}a", "a.".repeat(78));
    let nested = format!("x = {}1{}", format!("{{ {dotted} = ").repeat(79), "}".repeat(79));
    survive(nested.as_bytes());
    survive(format!("[{dotted}]\n{dotted}.{nested}").as_bytes());
}

#[test]
fn floods_of_mistakes() {
    survive("=\n".repeat(50_000).as_bytes());
    survive("[a]\n".repeat(50_000).as_bytes());
    survive("x = 1\n".repeat(50_000).as_bytes());
    survive((0..20_000).map(|n| format!("weigth{n} = 1\n")).collect::<String>().as_bytes());
    survive((0..20_000).map(|n| format!("[pool.p{n}]\n")).collect::<String>().as_bytes());
    let backends: String = (0..20_000).map(|_| "[[pool.a.group.b.backend]]\naddress = \"h:1\"\n").collect();
    survive(backends.as_bytes());
    survive(format!("pool.a.create.listen = [{}]", "\"x\",".repeat(20_000)).as_bytes());
    survive(format!("x = \"{}\"", "$".repeat(100_000)).as_bytes());
    survive(format!("x = \"{}\"", "${HOST}".repeat(100_000)).as_bytes());
}

#[test]
fn a_group_at_its_bound() {
    let group = |count: usize| {
        let backends: String =
            (0..count).map(|n| format!("{{ address = \"10.{}.{}.{}:1\" }},", n >> 16, n >> 8 & 255, n & 255)).collect();
        format!(
            "[pool.a.create]\nservice = \"tcp\"\nlisten = [\"127.0.0.1:1\"]\n[pool.a.group.b]\nbackend = [{backends}]\n"
        )
    };
    let max = policy::generation::Group::ENDPOINTS_MAX;
    let parsed = parse_text(&group(max)).unwrap();
    assert_eq!(parsed.config.pools.values().next().unwrap().groups.values().next().unwrap().backends.len(), max);
    let problems = parse_text(&group(max + 1)).unwrap_err();
    assert_eq!(problems.errors()[0].code, config::Code::TooMany);
}
