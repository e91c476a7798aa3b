//! The manual of the keys, written from the table of keys.

use crate::class::{Class, Reason};
use crate::keys::{TABLES, keys};
use crate::plan::happenings;
use crate::schema::Key;
use std::fmt::Write;

/// Every key as Markdown. `KEYS.md` beside this crate is this text.
pub fn keys_markdown() -> String {
    let mut out = String::from(
        "# Configuration keys\n\n\
         Written from the table in `src/keys.rs`; a test compares the two. In paths, `*` is a name that you\n\
         choose and `[]` an element of a list of tables (`[[…]]`).\n\n\
         A change is **soft** (applied to what runs), **hard** (needs a restart of the pool) or **process** (needs a\n\
         restart of the appliance). *Reach* says when a soft change is first felt; what is felt by the next connection\n\
         in a group of a TCP pool is felt by the next request in one of an HTTP pool.\n\n\
         `sluicegate explain-key KEY` and `sluicectl explain-key KEY` tell the same of one key or table, and\n\
         `sluicegate man FOLDER` writes it as `sluicegate.toml.5`.\n\n\
         ## In an editor\n\n\
         Editors that know TOML (Even Better TOML, or any with the language server Taplo) complete, explain and underline by\n\
         the JSON Schema of this program. Write it once beside the document, and name it in the first line:\n\n\
         ```sh\nsluicegate schema > sluicegate.schema.json\n```\n\n\
         ```toml\n#:schema ./sluicegate.schema.json\n```\n\n\
         For a file that includes others or is included, `sluicegate schema --piece` asks for nothing that may stand\n\
         elsewhere. A schema cannot see everything: `sluicegate check` has the last word.\n\n\
         ## A site, as it is written\n\n",
    );
    write!(out, "```toml\n{SITE}```\n").expect(TAKES_EVERYTHING);
    for table in TABLES {
        let title = if table.path.is_empty() { "top level" } else { table.path };
        let only =
            table.service.map(|service| format!(", {} pools only", crate::fit::name(service))).unwrap_or_default();
        write!(out, "\n## {title}{only}\n\n{}\n\n", table.help()).expect(TAKES_EVERYTHING);
        out.push_str("| key | what it sets | accepted | default | a change is |\n|---|---|---|---|---|\n");
        for key in table.keys {
            row(&mut out, key);
        }
    }
    out.push_str("\n## Changes that need a restart\n\n| key | when | reason |\n|---|---|---|\n");
    for key in keys() {
        if key.reason.class != Class::Soft {
            restart(&mut out, key, "always", &key.reason);
        }
        for except in key.except.iter().filter(|except| except.reason.class != Class::Soft) {
            restart(&mut out, key, except.when, &except.reason);
        }
    }
    out.push_str("\n## Changes that are not of one key\n\n| reason code | a change is | why |\n|---|---|---|\n");
    for reason in happenings::ALL {
        writeln!(out, "| `{}` | {} | {} |", reason.code, change(reason), cell(reason.sentence))
            .expect(TAKES_EVERYTHING);
    }
    out
}

/// Tests compile it and send requests through it.
pub(crate) const SITE: &str = include_str!("../examples/site.toml");

const TAKES_EVERYTHING: &str = "a string takes everything";

fn row(out: &mut String, key: &Key) {
    let default = match key.default_text() {
        Some(text) => format!("`{}`", cell(&text)),
        None if key.is_required() => "required".into(),
        None => "–".into(),
    };
    let (path, help, change) = (key.path, cell(key.help()), change(&key.reason));
    writeln!(out, "| `{path}` | {help} | {} | {default} | {change} |", cell(&key.accepted())).expect(TAKES_EVERYTHING);
}

fn restart(out: &mut String, key: &Key, when: &str, reason: &Reason) {
    let (path, class, code, sentence) = (key.path, reason.class, reason.code, cell(reason.sentence));
    writeln!(out, "| `{path}` | {when} | {class}, `{code}`: {sentence} |").expect(TAKES_EVERYTHING);
}

fn change(reason: &Reason) -> String {
    let Reason { class, category, reach, code, sentence: _ } = reason;
    format!("{class}, {reach} · {category} · `{code}`")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_md_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/KEYS.md");
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == keys_markdown(),
            "{path} is not what the table of keys says; `cargo run -q -p config --example keys` prints what it should be"
        );
    }

    #[test]
    fn the_manual_names_every_key_and_every_reason() {
        let manual = keys_markdown();
        for key in keys() {
            assert!(manual.contains(&format!("| `{}` |", key.path)), "{}", key.path);
            assert!(manual.contains(key.reason.code));
        }
        for reason in happenings::ALL {
            assert!(manual.contains(reason.code));
        }
    }
}
