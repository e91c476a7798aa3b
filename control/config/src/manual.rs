//! The manual page of the document, `sluicegate.toml(5)`, from the table of keys.

use crate::class::Class;
use crate::fit;
use crate::keys::TABLES;
use crate::reference::SITE;
use crate::schema::Key;
use roff::{Inline, Roff, bold, roman};

/// As roff, for `man`. `version`: of the program that it comes with.
pub fn keys_manual(version: &str) -> String {
    let mut page = Roff::new();
    page.control("TH", ["sluicegate.toml", "5", "", &format!("sluicegate {version}"), ""]);
    section(&mut page, "NAME");
    page.text([roman("sluicegate.toml - configuration of sluicegate")]);
    section(&mut page, "DESCRIPTION");
    page.text([
        roman("A document in TOML, read by "),
        bold("sluicegate run"),
        roman(", by "),
        bold("sluicectl apply"),
        roman(" and at SIGHUP. A key that does not exist is an error, and so is a value out of its bounds."),
    ]);
    paragraph(
        &mut page,
        "In tables, * is a name that you choose, and double brackets are an element of a list of tables.",
    );
    paragraph(
        &mut page,
        "A change is soft (applied to what runs), hard (needs a restart of the pool) or process (needs a restart of the \
         appliance). It also says when a soft change is first felt.",
    );
    paragraph(&mut page, "${NAME} within a text is the variable of that name; $$ is a dollar sign.");
    section(&mut page, "EXAMPLE");
    page.control("EX", []);
    SITE.lines().for_each(|line| _ = page.text([roman(line)]));
    page.control("EE", []);
    section(&mut page, "KEYS");
    for table in TABLES {
        let only = table.service.map(|service| format!(" ({} pools only)", fit::name(service))).unwrap_or_default();
        page.control("SS", [format!("{}{only}", headed(table.path)).as_str()]);
        page.text([roman(table.help())]);
        table.keys.iter().for_each(|key| describe(&mut page, key));
    }
    section(&mut page, "SEE ALSO");
    page.text([bold("sluicegate"), roman("(1), "), bold("sluicectl"), roman("(1)")]);
    page.to_roff()
}

fn section(page: &mut Roff, title: &str) {
    page.control("SH", [title]);
}

fn paragraph(page: &mut Roff, text: &str) {
    page.control("PP", []);
    page.text([roman(text)]);
}

fn headed(table: &str) -> String {
    match table.strip_suffix("[]") {
        _ if table.is_empty() => "top level".into(),
        Some(list) => format!("[[{list}]]"),
        None => format!("[{table}]"),
    }
}

fn describe(page: &mut Roff, key: &Key) {
    page.control("TP", []);
    let default: Vec<Inline> = match key.default_text() {
        Some(default) => vec![roman(" = "), roman(default)],
        None if key.is_required() => vec![roman(" (required)")],
        None => Vec::new(),
    };
    page.text([vec![bold(key.name)], default].concat());
    page.text([roman(key.help())]);
    let reason = key.reason;
    let change = match reason.class {
        Class::Soft => format!("soft, {}", reason.reach),
        Class::Hard | Class::Process => reason.class.to_string(),
    };
    page.text([roman(format!("Accepted: {}. A change is {change}. {}", key.accepted(), reason.sentence))]);
    for except in key.except {
        page.text([roman(format!("It is {} when {}: {}", except.reason.class, except.when, except.reason.sentence))]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `man` can show it is asked where the pages are written, by tests of the programs.
    #[test]
    fn every_key_is_on_the_page_under_its_table() {
        let page = keys_manual("0.0.0");
        for table in TABLES {
            assert!(page.contains(".SS"), "no section for {}", table.path);
            for key in table.keys {
                // Hyphens and dots are written otherwise there; names of keys have neither.
                assert!(page.contains(&format!("\n\\fB{}\\fR", key.name)), "{}", key.path);
            }
        }
        assert_eq!(page.matches("\n.SS").count(), TABLES.len());
    }
}
