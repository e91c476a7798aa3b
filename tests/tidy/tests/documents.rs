//! What the documents say must be there: keys, commands, folders, files.

use std::collections::BTreeSet;
use std::path::Path;
use tidy::graph::Graph;

#[test]
fn every_configuration_key_has_a_line() {
    let text = tidy::read("control/config/KEYS.md");
    let rows: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(key, _)| key).collect();
    let keys: BTreeSet<&str> = config::keys().map(|key| key.path).collect();
    let missing: Vec<_> = keys.difference(&rows).collect();
    assert!(missing.is_empty(), "without a line: {missing:?}");
    // Rows without a dot are of other tables of the same document.
    let stale: Vec<_> = rows.difference(&keys).filter(|row| row.contains('.')).collect();
    assert!(stale.is_empty(), "no such keys: {stale:?}");
}

/// Lines of shell in a document: what stands in its fenced blocks of this kind.
fn shell_lines(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.trim() {
            "```sh" | "```console" | "```bash" | "```shell" => inside = true,
            "```" => inside = false,
            line if inside => lines.push(line.trim_start_matches("$ ")),
            _ => {}
        }
    }
    lines
}

/// A command of the README names packages, tests and files that exist. (That the programs understand their
/// commands is shown by the end-to-end tests.)
#[test]
fn the_readme_names_what_exists() {
    let text = tidy::read("README.md");
    let lines = shell_lines(&text);
    for needed in ["cargo run --release", "cargo test --workspace"] {
        assert!(lines.iter().any(|line| line.starts_with(needed)), "the README does not say `{needed}`");
    }
    let graph = Graph::read();
    for line in &lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2).filter(|pair| ["-p", "--package"].contains(&pair[0])) {
            assert!(graph.members.contains_key(pair[1]), "{line}: no package `{}`", pair[1]);
        }
        if let Some(script) = words.first().filter(|word| word.starts_with("./") || word.starts_with('.')) {
            assert!(tidy::root().join(script).exists(), "{line}: no such file");
        }
    }
}

/// Links from one document to another, or to a file, lead somewhere.
#[test]
fn links_between_documents_lead_somewhere() {
    let mut dead = Vec::new();
    for path in tidy::source::files("md") {
        let text = tidy::read(&path);
        let folder = Path::new(&path).parent().expect("a document lies in a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let outside = link.contains("://") || file.is_empty() || file.contains(' ');
            if !outside && !tidy::root().join(folder).join(file).exists() {
                dead.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "\n{}", dead.join("\n"));
}

/// The README's map shows each folder that holds packages; the root manifest says what each package is.
#[test]
fn the_readme_maps_every_folder() {
    let text = tidy::read("README.md");
    let root = tidy::root();
    let graph = Graph::read();
    let folders = graph.members.values().filter_map(|member| {
        let inside = member.folder.strip_prefix(&root).expect("members lie below the root");
        inside.components().next()?.as_os_str().to_str()
    });
    let missing: BTreeSet<&str> = folders.filter(|folder| !text.contains(&format!("{folder}/"))).collect();
    assert!(missing.is_empty(), "the README does not show {missing:?}");
}
