//! `${NAME}` in string values. The environment itself is handed in.

use std::borrow::Cow;

/// Looks a variable up; `None` if it is unset.
pub type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

pub(crate) const ACCEPTED: &str = "${NAME}, ${NAME:-default}, and $$ for a dollar sign";

/// Longest string after replacement. Unit: bytes. Without it a page of `${PATH}` would become a gigabyte.
const TEXT_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, PartialEq)]
pub(crate) struct Replaced {
    pub(crate) text: String,
    /// Whether there was a variable at all.
    pub(crate) any: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// A dollar sign that begins neither `${` nor `$$` stands for itself.
pub(crate) fn replace(text: &str, variables: &Variables<'_>) -> Result<Replaced, Wrong> {
    let mut out = String::new();
    let mut any = false;
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, after) = rest.split_at(dollar);
        out.push_str(before);
        if let Some(after) = after.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix("${") {
            let Some(end) = after.find('}') else {
                return Err(Wrong { message: "a variable is not closed by `}`".into(), help: None });
            };
            out.push_str(&value(&after[..end], variables)?);
            any = true;
            rest = &after[end + 1..];
        } else {
            out.push('$');
            rest = &after[1..];
        }
        if out.len() > TEXT_BYTES_MAX {
            return Err(Wrong {
                message: format!("longer than {TEXT_BYTES_MAX} bytes after variables are replaced"),
                help: None,
            });
        }
    }
    out.push_str(rest);
    Ok(Replaced { text: out, any })
}

/// The text that [`replace`] turns into `text`.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    match text.contains('$') {
        true => text.replace('$', "$$").into(),
        false => text.into(),
    }
}

fn value(inside: &str, variables: &Variables<'_>) -> Result<String, Wrong> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Wrong { message: format!("`{name}` is not the name of a variable"), help: None });
    }
    match (variables(name), default) {
        (Some(value), _) if !value.is_empty() || default.is_none() => Ok(value),
        (_, Some(default)) => Ok(default.to_string()),
        (_, None) => Err(Wrong {
            message: format!("the environment variable `{name}` is not set"),
            help: Some(format!("set it, or give a default: ${{{name}:-…}}")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let variables = |name: &str| match name {
            "HOST" => Some("db.internal".to_string()),
            "EMPTY" => Some(String::new()),
            "BIG" => Some("x".repeat(10_000)),
            _ => None,
        };
        let got = match replace(text, &variables) {
            Ok(replaced) => replaced.text,
            Err(wrong) => format!("error: {}", wrong.message),
        };
        assert_eq!(got, expected, "{text:?}");
    }

    #[test]
    fn replaces_and_escapes() {
        check("", "");
        check("plain", "plain");
        check("${HOST}:5432", "db.internal:5432");
        check("${HOST}${HOST}", "db.internaldb.internal");
        check("${UNSET:-127.0.0.1}:1", "127.0.0.1:1");
        check("${EMPTY:-x}", "x");
        check("${EMPTY}", "");
        check("${UNSET:-}", "");
        check("$${HOST}", "${HOST}");
        check("a$b $", "a$b $");
        check("$$$$", "$$");
        check("ö${HOST}ä", "ödb.internalä");
        check("${UNSET}", "error: the environment variable `UNSET` is not set");
        check("${HOST", "error: a variable is not closed by `}`");
        check("${}", "error: `` is not the name of a variable");
        check("${1A}", "error: `1A` is not the name of a variable");
        check("${A B}", "error: `A B` is not the name of a variable");
        check(&"${BIG}".repeat(7), "error: longer than 65536 bytes after variables are replaced");
    }

    #[test]
    fn an_escaped_text_reads_as_itself() {
        for text in ["", "a$b", "${HOST}", "$$", "$", "no dollar"] {
            let replaced = replace(&escape(text), &|_| None).unwrap();
            assert_eq!(replaced, Replaced { text: text.into(), any: false });
        }
    }
}
