//! From one table of keys: structs, reader, defaults, diff, canonical writing and metadata.
//!
//! [`keys!`] is the only place that turns an entry of `keys` into code. An entry that lacks its class,
//! category, reach or reason does not match the macro, so it does not compile.

use crate::class::Reason;
use crate::form::{Describe, Form, Shown, Wrong};
use crate::keys::Service;
use crate::place::At;
use crate::problem::{Code, Problem, Problems};
use crate::tree::Node;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// One key of the configuration, as everything but the reader sees it.
pub struct Key {
    /// `pool.*.timeouts.idle`; `*` is an id, `[]` an element of a list of tables.
    pub path: &'static str,
    /// The last part of the path.
    pub name: &'static str,
    pub reason: Reason,
    /// Special cases that are classified otherwise.
    pub except: &'static [Exception],
    pub presence: Presence,
    /// As the macro collects it, with a space before each line.
    pub(crate) help: &'static str,
    pub(crate) form: &'static dyn Describe,
}

/// Whether a key must be written.
pub enum Presence {
    Required,
    /// Follows from another key unless written; the help says how.
    Derived,
    Default(fn() -> Shown),
}

/// A change of a key that is of another class than its other changes.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Exception {
    /// Completes "when …".
    pub when: &'static str,
    #[serde(flatten)]
    pub reason: Reason,
}

impl Key {
    /// What it sets. Sentences.
    pub fn help(&self) -> &'static str {
        self.help.trim_start()
    }

    /// The type, in a word or two.
    pub fn kind(&self) -> &'static str {
        self.form.kind()
    }

    pub fn unit(&self) -> Option<&'static str> {
        self.form.unit()
    }

    /// Continues "accepted: …".
    pub fn accepted(&self) -> String {
        self.form.accepted()
    }

    /// Of the value, as JSON Schema.
    pub fn schema(&self) -> serde_json::Value {
        self.form.schema()
    }

    /// As it would be written. `None`: there is none, or it means "not written".
    pub fn default_text(&self) -> Option<String> {
        match self.presence {
            Presence::Default(shown) => {
                Some(shown()).filter(|shown| *shown != Shown::Absent).map(|shown| shown.to_string())
            }
            Presence::Required | Presence::Derived => None,
        }
    }

    /// As [`Key::default_text`], as a value.
    pub(crate) fn default_json(&self) -> Option<serde_json::Value> {
        match self.presence {
            Presence::Default(shown) => {
                Some(shown()).filter(|shown| *shown != Shown::Absent).map(|shown| shown.to_json())
            }
            Presence::Required | Presence::Derived => None,
        }
    }

    pub(crate) fn is_default(&self, value: &Shown) -> bool {
        match self.presence {
            Presence::Default(shown) => shown() == *value,
            Presence::Required | Presence::Derived => false,
        }
    }

    pub fn is_required(&self) -> bool {
        matches!(self.presence, Presence::Required)
    }
}

/// For machines that list the keys (`sluicectl keys --json`).
impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Reason { class, category, reach, code, sentence } = self.reason;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", self.path)?;
        map.serialize_entry("type", self.kind())?;
        map.serialize_entry("unit", &self.unit())?;
        map.serialize_entry("default", &self.default_text())?;
        map.serialize_entry("required", &self.is_required())?;
        map.serialize_entry("accepted", &self.accepted())?;
        map.serialize_entry("help", self.help())?;
        map.serialize_entry("class", &class)?;
        map.serialize_entry("category", &category)?;
        map.serialize_entry("reach", &reach)?;
        map.serialize_entry("reason_code", code)?;
        map.serialize_entry("reason", sentence)?;
        map.serialize_entry("except", self.except)?;
        map.serialize_entry("example", &self.example())?;
        map.end()
    }
}

/// One table of the document and its keys.
pub struct TableKeys {
    /// `pool.*.timeouts`; empty for the top level.
    pub path: &'static str,
    /// The only service whose pools have this table. `None`: it is no pool's, or every pool's.
    pub service: Option<Service>,
    pub keys: &'static [Key],
    pub(crate) help: &'static str,
}

impl TableKeys {
    pub fn help(&self) -> &'static str {
        self.help.trim_start()
    }
}

/// Reads one key with its form; every complaint becomes a problem.
pub(crate) fn read_key<F: Form>(
    form: &F,
    key: &Key,
    node: &Node,
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<F::Value> {
    let wrongs = match form.read(node) {
        Ok(value) => return Some(value),
        Err(wrongs) => wrongs,
    };
    if node.is_told() {
        return None;
    }
    wrongs.into_iter().for_each(|wrong| problems.push_error(|| complaint(wrong, form, key, node, at)));
    None
}

fn complaint(wrong: Wrong, form: &dyn Describe, key: &Key, node: &Node, at: &At<'_>) -> Problem {
    let Wrong { code, message, found, span, help, also, at: part, accepted } = wrong;
    let message = format!("`{}{part}`: {message}", key.name);
    let path = format!("{}{part}", at.key(key.name));
    let mut problem = Problem::error(code, path, span.or(node.span), message);
    problem = problem.found(found).accepted(accepted.unwrap_or_else(|| form.accepted()));
    if let Some(help) = help {
        problem = problem.help(help);
    }
    if let Some((label, span)) = also {
        problem = problem.also(label, span);
    }
    problem
}

pub(crate) fn missing(key: &Key, at: &At<'_>, table: &Node, problems: &mut Problems) {
    let message = format!("`{}` is missing", key.name);
    let make = || Problem::error(Code::Missing, at.key(key.name), table.span, message).accepted(key.accepted());
    problems.push_error(make);
}

/// One invocation defines every key; see `keys` for the grammar by example.
macro_rules! keys {
    ($(
        $(#[doc = $table_help:literal])+
        table $table:ident at $path:literal $(of $service:ident)?, keys begin $prefix:literal {
            $(
                $(#[doc = $help:literal])+
                $key:ident: $type:ty = $form:expr, $presence:ident $(($default:expr))?;
                    $class:ident, $category:ident, $reach:ident, $code:literal: $sentence:literal
                    $(, except $except_class:ident, $except_category:ident, $except_reach:ident, $except_code:literal: $except_sentence:literal when $when:literal)*;
            )*
        }
    )*) => {
        $(
            $(#[doc = $table_help])+
            #[derive(Clone, PartialEq, Debug)]
            pub struct $table {
                $($(#[doc = $help])+ pub $key: $type,)*
            }

            impl $table {
                pub const KEYS: &'static [Key] = &[$(
                    Key {
                        path: concat!($prefix, stringify!($key)),
                        name: stringify!($key),
                        help: concat!($($help,)+),
                        reason: Reason {
                            class: Class::$class,
                            category: Category::$category,
                            reach: Reach::$reach,
                            code: $code,
                            sentence: $sentence,
                        },
                        except: &[$(
                            Exception {
                                when: $when,
                                reason: Reason {
                                    class: Class::$except_class,
                                    category: Category::$except_category,
                                    reach: Reach::$except_reach,
                                    code: $except_code,
                                    sentence: $except_sentence,
                                },
                            },
                        )*],
                        presence: keys!(@presence $presence $(($default))? $type, $form),
                        form: &$form,
                    },
                )*];

                /// Everything written, and defaults for the rest. `None`: a key without a default is missing
                /// or wrong; the other keys are read all the same, so that all their problems are told.
                #[allow(unused_assignments, unused_mut, unused_variables)]
                pub(crate) fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<$table> {
                    let empty = Table::default();
                    let table = node.table().unwrap_or(&empty);
                    let mut ix = 0;
                    $(
                        let key = &Self::KEYS[ix];
                        let written = table.get(key.name);
                        let value = written.and_then(|node| schema::read_key(&$form, key, node, at, problems));
                        let $key: Option<$type> = keys!(@settle $presence $(($default))? value, written, key, at, node, problems);
                        ix += 1;
                    )*
                    Some($table { $($key: $key?,)* })
                }

                /// Each key with its value in canonical writing.
                #[allow(dead_code, reason = "`Root` is read by the loader and is no part of the document")]
                pub(crate) fn each(&self, visit: &mut dyn FnMut(&'static Key, Shown)) {
                    let $table { $($key,)* } = self;
                    let mut keys = Self::KEYS.iter();
                    $(visit(keys.next().expect("one key for each field"), $form.show($key));)*
                }

                /// Each key whose value differs.
                #[allow(dead_code, reason = "as `each`")]
                pub(crate) fn diff(&self, new: &$table, visit: &mut dyn FnMut(&'static Key, Shown, Shown)) {
                    let $table { $($key,)* } = self;
                    let mut keys = Self::KEYS.iter();
                    $(
                        let key = keys.next().expect("one key for each field");
                        if *$key != new.$key {
                            visit(key, $form.show($key), $form.show(&new.$key));
                        }
                    )*
                }
            }
        )*

        /// Every table of the document, in the order of the manual.
        pub static TABLES: &[TableKeys] = &[$(
            TableKeys { path: $path, service: keys!(@service $($service)?), help: concat!($($table_help,)+), keys: $table::KEYS },
        )*];
    };

    (@service) => { None };
    (@service $service:ident) => { Some(Service::$service) };

    (@presence default($default:expr) $type:ty, $form:expr) => {
        Presence::Default(|| { let value: $type = $default; $form.show(&value) })
    };
    (@presence required $type:ty, $form:expr) => { Presence::Required };
    (@presence derived $type:ty, $form:expr) => { Presence::Derived };

    // A key whose value is wrong gets its default too, so that the checks that follow see a whole table.
    (@settle default($default:expr) $value:ident, $written:ident, $key:ident, $at:ident, $node:ident, $problems:ident) => {
        Some($value.unwrap_or_else(|| $default))
    };
    (@settle required $value:ident, $written:ident, $key:ident, $at:ident, $node:ident, $problems:ident) => {{
        if $written.is_none() {
            schema::missing($key, $at, $node, $problems);
        }
        $value
    }};
    // Whoever reads the table puts a derived value in before; if it is absent then what it derives from is too.
    (@settle derived $value:ident, $written:ident, $key:ident, $at:ident, $node:ident, $problems:ident) => { $value };
}
pub(crate) use keys;
