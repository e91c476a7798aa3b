//! What a path leads to: the objects that are read and changed as a whole, and the tables that hold them.
//!
//! Edits see the document as tables all the way down: what the text has as lists of tables with ids (`[[rule]]`,
//! `[[backend]]`) are tables by id here, so that a path never shifts.

/// One object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Target {
    Appliance,
    Reload,
    AccessLog,
    EventLog,
    List { id: String },
    Pool { id: String },
    Rule { pool: String, id: String },
    Group { pool: String, id: String },
    Backend { pool: String, group: String, id: String },
}

/// Where a path leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Led<'p> {
    /// A table of objects.
    Table(Objects),
    /// An object, and what of the path leads into it.
    Object(Target, &'p [String]),
    Nowhere,
}

/// A table of objects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Objects {
    Root,
    Logs,
    Lists,
    Pools,
    Rules { pool: String },
    Groups { pool: String },
    Backends { pool: String, group: String },
}

impl Objects {
    /// What may stand there, where it is not named freely.
    pub(super) fn names(&self) -> Option<&'static [&'static str]> {
        match self {
            Objects::Root => Some(&["appliance", "reload", "log", "list", "pool"]),
            Objects::Logs => Some(&["access", "events"]),
            _ => None,
        }
    }
}

pub(super) fn led(path: &[String]) -> Led<'_> {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let id = |word: &str| word.to_owned();
    let object = |target, used: usize| Led::Object(target, &path[used..]);
    match &words[..] {
        [] => Led::Table(Objects::Root),
        ["appliance", ..] => object(Target::Appliance, 1),
        ["reload", ..] => object(Target::Reload, 1),
        ["log"] => Led::Table(Objects::Logs),
        ["log", "access", ..] => object(Target::AccessLog, 2),
        ["log", "events", ..] => object(Target::EventLog, 2),
        ["list"] => Led::Table(Objects::Lists),
        ["list", list, ..] => object(Target::List { id: id(list) }, 2),
        ["pool"] => Led::Table(Objects::Pools),
        ["pool", pool, "rule"] => Led::Table(Objects::Rules { pool: id(pool) }),
        ["pool", pool, "rule", rule, ..] => object(Target::Rule { pool: id(pool), id: id(rule) }, 4),
        ["pool", pool, "group"] => Led::Table(Objects::Groups { pool: id(pool) }),
        ["pool", pool, "group", group, "backend"] => Led::Table(Objects::Backends { pool: id(pool), group: id(group) }),
        ["pool", pool, "group", group, "backend", backend, ..] => {
            object(Target::Backend { pool: id(pool), group: id(group), id: id(backend) }, 6)
        }
        ["pool", pool, "group", group, ..] => object(Target::Group { pool: id(pool), id: id(group) }, 4),
        ["pool", pool, ..] => object(Target::Pool { id: id(pool) }, 2),
        _ => Led::Nowhere,
    }
}

impl Target {
    pub(crate) fn path(&self) -> Vec<String> {
        let words: Vec<&str> = match self {
            Target::Appliance => vec!["appliance"],
            Target::Reload => vec!["reload"],
            Target::AccessLog => vec!["log", "access"],
            Target::EventLog => vec!["log", "events"],
            Target::List { id } => vec!["list", id],
            Target::Pool { id } => vec!["pool", id],
            Target::Rule { pool, id } => vec!["pool", pool, "rule", id],
            Target::Group { pool, id } => vec!["pool", pool, "group", id],
            Target::Backend { pool, group, id } => vec!["pool", pool, "group", group, "backend", id],
        };
        words.into_iter().map(str::to_owned).collect()
    }

    /// Tables of other objects that stand in its table.
    pub(super) fn holds(&self) -> &'static [&'static str] {
        match self {
            Target::Pool { .. } => &["rule", "group"],
            Target::Group { .. } => &["backend"],
            _ => &[],
        }
    }

    /// For people.
    pub(super) fn word(&self) -> String {
        match self {
            Target::Appliance | Target::Reload | Target::AccessLog | Target::EventLog => {
                format!("`{}`", self.path().join("."))
            }
            Target::List { id } => format!("list `{id}`"),
            Target::Pool { id } => format!("pool `{id}`"),
            Target::Rule { pool, id } => format!("rule `{id}` of pool `{pool}`"),
            Target::Group { pool, id } => format!("group `{id}` of pool `{pool}`"),
            Target::Backend { pool, group, id } => format!("backend `{id}` of group `{group}` of pool `{pool}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_objects_and_into_them() {
        let check = |path: &str, expected: &str, within: &str| {
            let words: Vec<String> = path.split_whitespace().map(str::to_owned).collect();
            match led(&words) {
                Led::Object(target, rest) => {
                    assert_eq!((target.path().join(" "), rest.join(" ")), (expected.into(), within.into()), "{path}")
                }
                Led::Table(objects) => assert_eq!(format!("{objects:?}"), expected, "{path}"),
                Led::Nowhere => assert_eq!(expected, "nowhere", "{path}"),
            }
        };
        check("", "Root", "");
        check("log", "Logs", "");
        check("log access format", "log access", "format");
        check("pool web hosts 0", "pool web", "hosts 0");
        check("pool web rule", "Rules { pool: \"web\" }", "");
        check("pool web rule a order", "pool web rule a", "order");
        check("pool web group app health path", "pool web group app", "health path");
        check("pool web group app backend a weight", "pool web group app backend a", "weight");
        check("pools web", "nowhere", "");
        check("log other", "nowhere", "");
    }
}
