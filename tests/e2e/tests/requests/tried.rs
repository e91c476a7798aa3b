//! Tests that stand in the document: one that fails refuses the change, and what runs goes on.

use crate::Site;
use api::order::BackendSet;
use api::{ErrorCode, Order};
use harness::binaries;
use harness::http::Conduct;
use harness::process::finish;
use harness::wait::Deadline;
use std::process::{Command, Stdio};

const LINE_OF: &str = "[[test]]";

fn line(text: &str, wanted: &str) -> u32 {
    1 + text.lines().position(|line| line == wanted).unwrap_or_else(|| panic!("{wanted:?} in {text}")) as u32
}

/// The site with a rule that a test speaks of, which it takes as expected or not.
fn tried(site: &Site, deny: bool) -> String {
    let pool = site.pool().rule("id = \"private\"\npath_prefix = \"/private\"\ndeny = 403").rule("group = \"main\"");
    let test = format!("request = \"GET http://{}/private/x\"\nexpect = {{ deny = {deny} }}", site.front);
    format!("{pool}\n{LINE_OF}\n{test}\n")
}

#[test]
fn a_document_whose_test_fails_is_refused_with_both_lines() {
    let site = Site::with(Conduct::Good, |pool| pool);
    let generation = site.appliance.status().generation;
    let wrong = tried(&site, false);
    let text = site.appliance.document(&wrong);
    let refusals = [
        site.appliance.check(&text).map(drop),
        site.appliance.plan(&wrong).map(drop),
        site.appliance.try_apply(&wrong).map(drop),
    ];
    for refusal in refusals {
        let failure = refusal.expect_err("its test fails");
        assert_eq!(failure.code, ErrorCode::InvalidConfiguration);
        let [problem] = &failure.problems[..] else { panic!("{failure:?}") };
        assert_eq!((problem.code.as_str(), problem.path.as_deref()), ("test_failed", Some("test[0]")));
        assert_eq!(problem.place.as_ref().map(|place| place.line), Some(line(&text, LINE_OF)));
        assert_eq!(problem.also[0].line, line(&text, "id = \"private\"") - 1);
        assert!(problem.message.contains("deny would be true, not false; rule `private`"), "{}", problem.message);
    }
    assert_eq!(site.appliance.status().generation, generation);
    assert_eq!(site.get("/private/x").status, 200, "the old generation serves on");

    site.appliance.apply(&tried(&site, true));
    assert_eq!(site.get("/private/x").status, 403);
    assert_eq!(site.get("/").status, 200);
}

/// No backend decides where a request goes, so an order about one goes through whatever is tested.
#[test]
fn a_typed_order_goes_through_where_the_tests_hold() {
    let site = Site::with(Conduct::Good, |pool| pool);
    site.appliance.apply(&tried(&site, true));
    let set = BackendSet { pool: "web".into(), backend: "a".into(), weight: Some(3), ..BackendSet::default() };
    site.appliance.change(Order::BackendSet(set)).expect("the test holds");
    assert_eq!(site.get("/private/x").status, 403);
    assert_eq!(site.get("/").status, 200);
}

/// As the program that starts nothing says it.
#[test]
fn the_offline_check_ends_with_what_it_has_found() {
    let site = Site::with(Conduct::Good, |pool| pool);
    let folder = tempfile::tempdir().expect("a folder");
    for (holds, code) in [(true, 0), (false, 1)] {
        let text = site.appliance.document(&tried(&site, holds));
        std::fs::write(folder.path().join("site.toml"), &text).expect("a file can be written");
        let mut command = Command::new(binaries::path("sluicegate"));
        command.args(["check", "site.toml"]).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let done = finish(command.spawn().expect("it can be started"), Deadline::patient());
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.and_then(|status| status.code()), Some(code), "{said}");
        if !holds {
            assert!(said.contains(&format!("site.toml:{}:", line(&text, LINE_OF))), "{said}");
            assert!(said.contains(&format!("{} |", line(&text, "id = \"private\"") - 1)), "{said}");
        }
    }
}
