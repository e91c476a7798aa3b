//! Paths, patterns of paths, and the permissions of files.

use super::{Describe, Form, Shown, Wrong};
use crate::tree::{Node, Value};
use serde_json::json;
use std::path::{Path, PathBuf};

/// An absolute path, or nothing.
pub(crate) struct FilePath;

impl Describe for FilePath {
    fn kind(&self) -> &'static str {
        "path"
    }
    fn accepted(&self) -> String {
        "an absolute path".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "pattern": "^/" })
    }
}

impl Form for FilePath {
    type Value = Option<PathBuf>;

    fn read(&self, node: &Node) -> Result<Self::Value, Vec<Wrong>> {
        let Value::Text { text, .. } = &node.value else {
            return Err(vec![Wrong::kind(node, "a path")]);
        };
        match absolute(text) {
            Ok(path) => Ok(Some(path)),
            Err(message) => Err(vec![Wrong::value(node, message)]),
        }
    }

    fn show(&self, path: &Self::Value) -> Shown {
        path.as_ref().map_or(Shown::Absent, |path| Shown::Text(path.display().to_string()))
    }
}

/// One spelling for one file as far as that can be told without looking: no `//`, no `/./`, no `..`.
pub(crate) fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    let path = Path::new(text);
    if text.contains('\0') {
        Err("a path holds no NUL byte")
    } else if !path.is_absolute() {
        Err("not an absolute path")
    } else if path.components().any(|part| part == std::path::Component::ParentDir) {
        Err("a path without `..` is needed, so that one file has one name")
    } else {
        Ok(path.components().collect())
    }
}

/// Patterns of files, relative to the file that has them.
pub(crate) struct Patterns;

impl Describe for Patterns {
    fn kind(&self) -> &'static str {
        "list of paths"
    }
    fn accepted(&self) -> String {
        "a list of paths, relative to this file; the last part may have * and ?".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "array", "items": { "type": "string" } })
    }
}

impl Form for Patterns {
    type Value = Vec<String>;

    fn read(&self, node: &Node) -> Result<Vec<String>, Vec<Wrong>> {
        let Some(list) = node.list() else {
            return Err(vec![Wrong::kind(node, "a list of paths")]);
        };
        let mut wrong = Vec::new();
        let patterns = list.iter().filter_map(|node| match &node.value {
            Value::Text { text, .. } if !text.is_empty() && !text.contains('\0') => Some(text.clone()),
            Value::Text { .. } => {
                wrong.push(Wrong::value(node, "not a path"));
                None
            }
            _ => {
                wrong.push(Wrong::kind(node, "a path"));
                None
            }
        });
        let patterns = patterns.collect();
        if wrong.is_empty() { Ok(patterns) } else { Err(wrong) }
    }

    fn show(&self, patterns: &Vec<String>) -> Shown {
        Shown::List(patterns.iter().cloned().map(Shown::Text).collect())
    }
}

/// Permissions of a file, in octal as `chmod` takes them.
pub(crate) struct FileMode;

impl Describe for FileMode {
    fn kind(&self) -> &'static str {
        "file mode"
    }
    fn accepted(&self) -> String {
        "permissions in octal, such as \"0660\", at most \"0777\"".into()
    }
    fn schema(&self) -> serde_json::Value {
        json!({ "type": "string", "pattern": "^0?[0-7]{3}$" })
    }
}

impl Form for FileMode {
    type Value = u32;

    fn read(&self, node: &Node) -> Result<u32, Vec<Wrong>> {
        let Value::Text { text, .. } = &node.value else {
            return Err(vec![Wrong::kind(node, "a string")]);
        };
        let octal = text.len() == 3 || (text.len() == 4 && text.starts_with('0'));
        match u32::from_str_radix(text, 8) {
            Ok(mode) if octal && text.bytes().all(|digit| digit.is_ascii_digit()) => Ok(mode),
            _ => Err(vec![Wrong::value(node, "not a file mode")]),
        }
    }

    fn show(&self, mode: &u32) -> Shown {
        Shown::Text(format!("{mode:04o}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::testing::check;

    #[test]
    fn paths_and_modes() {
        check(&FilePath, "\"/run/x.sock\"", "\"/run/x.sock\"");
        check(&FilePath, "\"/run//./x.sock\"", "\"/run/x.sock\"");
        check(&FilePath, "\"/a$$b\"", "\"/a$$b\"");
        check(&FilePath, "\"run/x.sock\"", "error: not an absolute path");
        check(&FilePath, "\"\"", "error: not an absolute path");
        check(&FilePath, "\"/run/../x\"", "error: a path without `..` is needed, so that one file has one name");
        check(&FilePath, "\"/a\\u0000\"", "error: a path holds no NUL byte");
        check(&FileMode, "\"0660\"", "\"0660\"");
        check(&FileMode, "\"600\"", "\"0600\"");
        for wrong in ["\"+660\"", "\"1777\"", "\"888\"", "\"\"", "\"66\""] {
            check(&FileMode, wrong, "error: not a file mode");
        }
        check(&FileMode, "0o660", "error: expected a string, found an integer");
    }
}
