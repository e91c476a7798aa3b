//! Documents of which some pools are not in order.

use crate::{Files, config, parse_text};
use config::{Code, Colour, Config, NoFiles, Parsed, Problems, Severity, Source, Surroundings, parse_partial};
use policy::PoolId;
use std::path::Path;

fn parse_beside(running: &Config, text: &str, source: &dyn Source) -> Result<Parsed, Problems> {
    let around = Surroundings { source, variables: &|_| None, shards_auto: 4 };
    parse_partial(Path::new("site.toml"), text.as_bytes(), &around, running)
}

fn tcp(id: &str, port: u16, keys: &str) -> String {
    format!(
        "[pool.{id}.create]\nservice = \"tcp\"\nlisten = [\"127.0.0.1:{port}\"]\n[pool.{id}.group.main]\n{keys}\n\
         [[pool.{id}.group.main.backend]]\naddress = \"127.0.0.1:9001\"\n"
    )
}

fn http(id: &str, port: u16, keys: &str, rules: &str) -> String {
    format!(
        "[pool.{id}]\n{keys}\n[pool.{id}.create]\nservice = \"http\"\nlisten = [\"127.0.0.1:{port}\"]\n\
         [[pool.{id}.group.main.backend]]\naddress = \"127.0.0.1:9002\"\n{rules}\n"
    )
}

/// What is wrong with a pool, whatever else is in it.
const WRONG: &str = "balance = \"sideways\"";

fn warned(parsed: &Parsed) -> Vec<(&'static str, &str)> {
    parsed.warnings.warnings().iter().map(|warning| (warning.code.label(), warning.path.as_str())).collect()
}

#[test]
fn a_pool_that_is_not_in_order_is_left_as_it_runs_and_the_others_are_taken() {
    let running = config(&format!("{}{}{}", tcp("a", 1, ""), tcp("b", 2, ""), tcp("gone", 3, "")));
    let document = format!(
        "reload.keep_receipts = 5\n{}{}{}",
        tcp("a", 4, &format!("{WRONG}\nnonsense = 1")),
        tcp("b", 5, ""),
        tcp("new", 6, WRONG)
    );
    let parsed = parse_beside(&running, &document, &NoFiles).unwrap();
    assert_eq!(parsed.config, *config(&format!("reload.keep_receipts = 5\n{}{}", tcp("a", 1, ""), tcp("b", 5, ""))));
    assert_eq!(parsed.left_out, [PoolId::new("a"), PoolId::new("new")].into());
    let warnings = parsed.warnings.warnings();
    let messages: Vec<&str> = warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert!(messages.contains(&"pool `a` has 2 problems and is left as it runs"), "{messages:?}");
    assert!(messages.contains(&"pool `new` has 1 problem and stays away"), "{messages:?}");
    // Each as it would be told, but for its weight.
    let refused = parse_text(&document).unwrap_err();
    for error in refused.errors() {
        let told = warnings.iter().find(|warning| (&warning.path, warning.code) == (&error.path, error.code));
        let told = told.unwrap_or_else(|| panic!("{error} is not told: {messages:?}"));
        assert_eq!((told.severity, &told.place, &told.message), (Severity::Warning, &error.place, &error.message));
        let drawn = |problems: &Problems, problem| problems.draw_one(problem, Colour::Plain);
        assert_eq!(drawn(&parsed.warnings, told), drawn(&refused, error).replacen("error", "warning", 1));
    }
    assert_eq!((warnings.len(), parsed.warnings.errors()), (refused.errors().len() + 2, &[][..]));
}

#[test]
fn a_document_in_order_is_read_as_ever() {
    let running = config(&tcp("a", 1, ""));
    let text = format!("{}{}", tcp("a", 2, ""), tcp("b", 3, ""));
    let parsed = parse_beside(&running, &text, &NoFiles).unwrap();
    assert_eq!((parsed.config, parsed.left_out.len()), (parse_text(&text).unwrap().config, 0));
}

#[test]
fn what_cannot_be_told_apart_is_refused_with_all_that_is_wrong() {
    let running = config(&format!("{}{}", tcp("a", 1, ""), tcp("b", 2, "")));
    let check = |text: &str, expected: &[Code]| {
        let problems = parse_beside(&running, text, &NoFiles).unwrap_err();
        let codes: Vec<Code> = problems.errors().iter().map(|problem| problem.code).collect();
        assert_eq!(codes, expected, "{text}\n{problems}");
    };
    let (a, b) = (tcp("a", 1, WRONG), tcp("b", 2, ""));
    // Outside of pools.
    check(&format!("{a}{b}nonsense = = 1\n"), &[Code::BadValue, Code::Syntax, Code::Syntax]);
    check(&format!("reload.nonsense = 1\n{a}{b}"), &[Code::UnknownKey, Code::BadValue]);
    check(&format!("include = [\"none.toml\"]\n{a}{b}"), &[Code::File, Code::BadValue]);
    check("pool = 1\n", &[Code::WrongType]);
    // No pool is in order.
    check(&format!("{a}{}", tcp("b", 2, WRONG)), &[Code::BadValue, Code::BadValue]);
    check(&a, &[Code::BadValue]);
    // The rest wants an address of what would be left.
    check(&format!("{}{}", tcp("a", 3, WRONG), tcp("b", 1, "")), &[Code::Clash, Code::BadValue]);
    // A test leads to nothing.
    let test = "[[test]]\npool = \"new\"\nrequest = \"GET http://127.0.0.1:7/\"\nexpect = { status = 403 }\n";
    check(&format!("{b}{}{test}", http("new", 7, "nonsense = 1", "")), &[Code::BadValue, Code::UnknownKey]);
}

/// Two pools are told of one address, and one of them is left out: which can stand beside what runs is seen then.
#[test]
fn a_problem_of_two_pools_is_one_of_the_pool_that_it_is_told_at() {
    let running = config(&format!("{}{}", tcp("a", 1, ""), tcp("b", 2, "")));
    let parsed = parse_beside(&running, &format!("{}{}", tcp("a", 1, ""), tcp("b", 1, "")), &NoFiles).unwrap();
    assert_eq!(parsed.config, *running);
    assert_eq!(warned(&parsed), [("pool_left_out", "pool.b"), ("clash", "pool.b.create.listen")]);
    let refused = parse_beside(&running, &format!("{}{}", tcp("a", 2, ""), tcp("b", 2, "")), &NoFiles).unwrap_err();
    let told = refused.errors().iter().filter_map(|problem| problem.help.as_deref()).collect::<Vec<_>>();
    assert_eq!(told, ["pool `b` would be left as before, so nothing of the document is taken"]);
}

#[test]
fn pools_may_be_in_files_of_their_own() {
    let running = config(&format!("{}{}", tcp("a", 1, ""), tcp("b", 2, "")));
    let (a, b) = (tcp("a", 1, "nonsense = 1"), tcp("b", 3, ""));
    let files = Files::with([("a.toml", &a), ("b.toml", &b)]);
    let parsed = parse_beside(&running, "include = [\"*.toml\"]\n", &files).unwrap();
    assert_eq!(parsed.config, *config(&format!("{}{b}", tcp("a", 1, ""))));
    let places: Vec<_> = parsed.warnings.warnings().iter().filter_map(|warning| warning.place.clone()).collect();
    assert!(places.iter().all(|place| place.file == "a.toml") && places.len() == 2, "{places:?}");
    // One file twice is no pool's mistake, two files of one pool are.
    let twice = Files::with([("a.toml", &b), ("b.toml", &tcp("b", 4, "")), ("c.toml", &tcp("c", 5, ""))]);
    let parsed = parse_beside(&running, "include = [\"*.toml\"]\n", &twice).unwrap();
    assert_eq!(parsed.left_out, [PoolId::new("b")].into());
}

/// More than are kept: the rest is looked at by itself, so nothing of it is missed.
#[test]
fn a_pool_may_have_more_problems_than_are_told() {
    let running = config(&tcp("b", 2, ""));
    let nonsense: String = (0..Problems::MAX + 10).map(|number| format!("nonsense{number} = 1\n")).collect();
    let text = format!("{}{}{}", tcp("a", 1, &nonsense), tcp("b", 3, ""), tcp("c", 4, WRONG));
    let parsed = parse_beside(&running, &text, &NoFiles).unwrap();
    assert_eq!(parsed.left_out, [PoolId::new("a"), PoolId::new("c")].into());
    let first = &parsed.warnings.warnings()[0];
    assert_eq!(first.message, "pool `a` has at least 100 problems and stays away");
}

/// They are no pool's.
#[test]
fn lists_of_the_document_are_in_force_for_what_is_left() {
    let rule = "[[pool.web.rule]]\nsource = \"blocked\"\ndeny = 403\n[[pool.web.rule]]\ngroup = \"main\"\n";
    let list = |entry: &str| format!("[list.blocked]\nentries = [\"{entry}\"]\n");
    let web = |keys: &str| http("web", 1, keys, rule);
    let running = config(&format!("{}{}{}", list("192.0.2.1"), web(""), tcp("b", 2, "")));
    let text = format!("{}{}{}", list("192.0.2.9"), web("nonsense = 1"), tcp("b", 3, ""));
    let parsed = parse_beside(&running, &text, &NoFiles).unwrap();
    assert_eq!(parsed.config, *config(&format!("{}{}{}", list("192.0.2.9"), web(""), tcp("b", 3, ""))));
    for list in ["", "[list.blocked]\nkind = \"text\"\nentries = [\"x\"]\n"] {
        let text = format!("{list}{}{}", http("web", 1, "nonsense = 1", ""), tcp("b", 3, ""));
        let problems = parse_beside(&running, &text, &NoFiles).unwrap_err();
        let told = problems
            .errors()
            .iter()
            .any(|problem| problem.message == "pool `web` uses list `blocked`, which the document takes away");
        assert!(told, "{problems}");
    }
}

/// What is left takes its share of an address as what is new leaves it.
#[test]
fn addresses_are_divided_between_what_is_left_and_what_is_new() {
    let web = |id: &str, hosts: &str, keys: &str| http(id, 1, &format!("hosts = [{hosts}]\n{keys}"), "");
    let running = config(&format!("{}{}", web("a", "\"a.example\"", ""), web("b", "\"b.example\"", "")));
    let new = web("b", "\"b.example\", \"c.example\"", "");
    let parsed = parse_beside(&running, &format!("{}{new}", web("a", "\"a.example\"", "nonsense = 1")), &NoFiles);
    assert_eq!(parsed.unwrap().config, *config(&format!("{}{new}", web("a", "\"a.example\"", ""))));
}

#[test]
fn tests_lead_to_what_is_left() {
    let rule = "[[pool.web.rule]]\npath = \"/x\"\ndeny = 403\n[[pool.web.rule]]\ngroup = \"main\"\n";
    let test = "[[test]]\nrequest = \"GET http://127.0.0.1:1/x\"\nexpect = { status = 403 }\n";
    let web = |keys: &str| http("web", 1, keys, rule);
    let running = config(&format!("{}{}", web(""), tcp("b", 2, "")));
    let text = format!("{}{}{test}", web("nonsense = 1"), tcp("b", 3, ""));
    let parsed = parse_beside(&running, &text, &NoFiles).unwrap();
    assert_eq!(parsed.config, *config(&format!("{}{}{test}", web(""), tcp("b", 3, ""))));
    assert_eq!(parsed.config.tests.pools().collect::<Vec<_>>(), [&PoolId::new("web")]);
}
