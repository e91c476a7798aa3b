//! Commands that edit the document: one object, one item of a list, or a patch.

use super::settings::{Setting, keys, parse_setting};
use crate::candidates;
use crate::document::{self, InputError};
use api::edit::{
    Entries, GroupEdit, GroupRemove, Head, HeaderOf, HeaderSet, HostAdd, HostRemove, LimitSet, ListAdd, ListRemove,
    ListReplace, ListenAdd, ListenRemove, Patch, Place, PoolEdit, PoolRemove, RuleAdd, RuleMove, RuleRemove, RuleSet,
};
use api::order::Transaction;
use api::{Edit, Order};
use clap::{ArgGroup, Args, Subcommand, ValueHint};
use clap_complete::ArgValueCompleter;
use std::path::PathBuf;

#[derive(Subcommand, Debug)]
pub enum Pool {
    /// A pool that is not there yet
    Add(PoolSettings),
    /// Change what is given, keep the rest
    Set(PoolSettings),
    /// A pool and all that it holds
    Remove {
        #[command(flatten)]
        pool: PoolName,
        #[command(flatten)]
        missing: Missing,
    },
}

#[derive(Subcommand, Debug)]
pub enum Limit {
    /// Change limits of a pool: keys of its `limits`
    Set(PoolSettings),
}

#[derive(Subcommand, Debug)]
pub enum List {
    /// One more entry, or one that is noted otherwise from now on
    Add {
        /// Its name
        list: String,
        /// An address, a prefix or a text, by the kind of the list
        entry: String,
        /// When it is no entry any more, such as 2026-12-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// Why it is there
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// An entry is none any more
    Remove {
        /// Its name
        list: String,
        /// As the list has it
        entry: String,
        #[command(flatten)]
        missing: Missing,
    },
    /// The list has the entries of a file, and no others
    Replace {
        /// Its name
        list: String,
        /// Which the appliance reads
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

#[derive(Subcommand, Debug)]
pub enum Listen {
    /// One more address that a pool listens on
    Add {
        #[command(flatten)]
        pool: PoolName,
        #[arg(help = "127.0.0.1:8080, [::1]:8080 or unix:/run/x.sock")]
        address: String,
    },
    /// Nobody is let in there any more
    Remove {
        #[command(flatten)]
        pool: PoolName,
        /// As the pool has it
        #[arg(add = ArgValueCompleter::new(candidates::addresses))]
        address: String,
        #[command(flatten)]
        missing: Missing,
    },
}

#[derive(Subcommand, Debug)]
pub enum Host {
    /// One more domain name that a pool takes, or that leads to a group
    Add(HostName),
    /// The pool does not take it any more, or the rule that led to the group goes
    Remove {
        #[command(flatten)]
        host: HostName,
        #[command(flatten)]
        missing: Missing,
    },
}

#[derive(Subcommand, Debug)]
pub enum Group {
    /// A group that is not there yet
    Add(GroupSettings),
    /// Change what is given, keep the rest
    Set(GroupSettings),
    /// A group and its backends, if no rule leads there
    Remove {
        #[command(flatten)]
        group: GroupName,
        #[command(flatten)]
        missing: Missing,
    },
}

#[derive(Subcommand, Debug)]
pub enum Rule {
    /// A rule that is not there yet; the last, unless said
    #[command(override_usage = "sluicectl rule add [OPTIONS] <POOL> [ID] <KEY=VALUE>...")]
    Add {
        #[command(flatten)]
        pool: PoolName,
        /// Its id [default: what it asks], and its keys
        #[arg(value_name = "[ID] KEY=VALUE", required = true)]
        words: Vec<String>,
        #[command(flatten)]
        place: Placing,
    },
    /// Change what is given, keep the rest
    Set {
        #[command(flatten)]
        rule: RuleName,
        #[command(flatten)]
        settings: Settings,
    },
    /// Have it asked elsewhere
    #[command(override_usage = "sluicectl rule move <POOL> <RULE> <--first|--last|--before R|--behind R>")]
    #[command(group = ArgGroup::new("where").args(["first", "last", "before", "behind"]).required(true))]
    Move {
        #[command(flatten)]
        rule: RuleName,
        #[command(flatten)]
        place: Placing,
    },
    /// No request meets it any more
    Remove {
        #[command(flatten)]
        rule: RuleName,
        #[command(flatten)]
        missing: Missing,
    },
}

#[derive(Subcommand, Debug)]
pub enum Header {
    /// The header has this value, whatever it had
    Set(HeaderValue),
    /// The header is there once more
    Add(HeaderValue),
    /// The header does not go on
    Remove(HeaderName),
    /// The rule does nothing about this header any more
    Clear(HeaderName),
}

#[derive(Args, Debug)]
pub struct PatchFile {
    /// JSON: an array is a JSON patch, an object a merge patch; - reads the standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    path: PathBuf,
    /// Only if this generation is the running one
    #[arg(long, value_name = "N")]
    if_generation: Option<u64>,
    /// Stop after the plan and show it
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub struct PoolName {
    /// The pool's id
    #[arg(add = ArgValueCompleter::new(candidates::pools))]
    pool: String,
}

#[derive(Args, Debug)]
pub struct PoolSettings {
    #[command(flatten)]
    pool: PoolName,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args, Debug)]
pub struct HostName {
    #[command(flatten)]
    pool: PoolName,
    /// shop.example or *.shop.example
    host: String,
    /// By a rule that leads there [default: the host is one of the pool's own]
    #[arg(long, add = ArgValueCompleter::new(candidates::groups))]
    group: Option<String>,
}

#[derive(Args, Debug)]
pub struct GroupName {
    #[command(flatten)]
    pool: PoolName,
    /// The group's id
    #[arg(add = ArgValueCompleter::new(candidates::groups))]
    group: String,
}

#[derive(Args, Debug)]
pub struct GroupSettings {
    #[command(flatten)]
    group: GroupName,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Args, Debug)]
pub struct RuleName {
    #[command(flatten)]
    pool: PoolName,
    /// The rule's id
    #[arg(add = ArgValueCompleter::new(candidates::rules))]
    rule: String,
}

#[derive(Args, Debug)]
pub struct HeaderName {
    #[command(flatten)]
    rule: RuleName,
    /// The header's name
    name: String,
    /// Of what the client is sent [default: of what the backend is sent]
    #[arg(long)]
    response: bool,
}

#[derive(Args, Debug)]
pub struct HeaderValue {
    #[command(flatten)]
    rule: RuleName,
    /// The header's name
    name: String,
    /// A text, with placeholders as in the document
    value: String,
    /// Of what the client is sent [default: of what the backend is sent]
    #[arg(long)]
    response: bool,
}

#[derive(Args, Debug)]
pub struct Settings {
    /// Such as weight=3 or timeouts.idle=30s; KEY= takes the key back to its default
    #[arg(value_name = "KEY=VALUE", required = true, value_parser = parse_setting)]
    settings: Vec<Setting>,
}

#[derive(Args, Debug)]
pub struct Missing {
    /// What is not there is as good as removed
    #[arg(long)]
    missing_ok: bool,
}

#[derive(Args, Debug)]
pub struct Placing {
    /// Asked before all others
    #[arg(long, conflicts_with_all = ["last", "before", "behind"])]
    first: bool,
    /// Asked behind all others
    #[arg(long, conflicts_with_all = ["before", "behind"])]
    last: bool,
    /// Asked just before this one
    #[arg(long, value_name = "RULE", conflicts_with = "behind", add = ArgValueCompleter::new(candidates::rules))]
    before: Option<String>,
    /// Asked just behind this one
    #[arg(long, value_name = "RULE", add = ArgValueCompleter::new(candidates::rules))]
    behind: Option<String>,
}

impl Pool {
    pub fn edit(self) -> Result<Edit, InputError> {
        Ok(match self {
            Pool::Add(add) => Edit::PoolAdd(add.edit()?),
            Pool::Set(set) => Edit::PoolSet(set.edit()?),
            Pool::Remove { pool: PoolName { pool }, missing: Missing { missing_ok } } => {
                Edit::PoolRemove(PoolRemove { pool, missing_ok })
            }
        })
    }
}

impl PoolSettings {
    fn edit(self) -> Result<PoolEdit, InputError> {
        Ok(PoolEdit { pool: self.pool.pool, set: keys(self.settings.settings)? })
    }
}

impl Limit {
    pub fn edit(self) -> Result<Edit, InputError> {
        let Limit::Set(set) = self;
        let PoolEdit { pool, set } = set.edit()?;
        Ok(Edit::LimitSet(LimitSet { pool, set }))
    }
}

impl Listen {
    pub fn edit(self) -> Edit {
        match self {
            Listen::Add { pool: PoolName { pool }, address } => Edit::ListenAdd(ListenAdd { pool, address }),
            Listen::Remove { pool: PoolName { pool }, address, missing: Missing { missing_ok } } => {
                Edit::ListenRemove(ListenRemove { pool, address, missing_ok })
            }
        }
    }
}

impl List {
    pub fn edit(self) -> Result<Edit, InputError> {
        Ok(match self {
            List::Add { list, entry, expires, reason } => Edit::ListAdd(ListAdd { list, entry, expires, reason }),
            List::Remove { list, entry, missing: Missing { missing_ok } } => {
                Edit::ListRemove(ListRemove { list, entry, missing_ok })
            }
            List::Replace { list, file } => {
                Edit::ListReplace(ListReplace { list, with: Entries::File(document::whole_path(&file)?) })
            }
        })
    }
}

impl Host {
    pub fn edit(self) -> Edit {
        match self {
            Host::Add(HostName { pool: PoolName { pool }, host, group }) => {
                Edit::HostAdd(HostAdd { pool, host, group })
            }
            Host::Remove {
                host: HostName { pool: PoolName { pool }, host, group },
                missing: Missing { missing_ok },
            } => Edit::HostRemove(HostRemove { pool, host, group, missing_ok }),
        }
    }
}

impl Group {
    pub fn edit(self) -> Result<Edit, InputError> {
        Ok(match self {
            Group::Add(add) => Edit::GroupAdd(add.edit()?),
            Group::Set(set) => Edit::GroupSet(set.edit()?),
            Group::Remove { group: GroupName { pool: PoolName { pool }, group }, missing: Missing { missing_ok } } => {
                Edit::GroupRemove(GroupRemove { pool, group, missing_ok })
            }
        })
    }
}

impl GroupSettings {
    fn edit(self) -> Result<GroupEdit, InputError> {
        let GroupName { pool: PoolName { pool }, group } = self.group;
        Ok(GroupEdit { pool, group, set: keys(self.settings.settings)? })
    }
}

impl Rule {
    pub fn edit(self) -> Result<Edit, InputError> {
        Ok(match self {
            Rule::Add { pool: PoolName { pool }, mut words, place } => {
                // An id has no `=`, and a setting always has.
                let is_named = words.first().is_some_and(|word| !word.contains('='));
                let rule = is_named.then(|| words.remove(0));
                let settings = words
                    .iter()
                    .map(|word| parse_setting(word).map_err(|accepted| InputError::no_setting(word.clone(), accepted)));
                let set = keys(settings.collect::<Result<_, _>>()?)?;
                Edit::RuleAdd(RuleAdd { pool, rule, set, place: place.place() })
            }
            Rule::Set { rule: RuleName { pool: PoolName { pool }, rule }, settings: Settings { settings } } => {
                Edit::RuleSet(RuleSet { pool, rule, set: keys(settings)? })
            }
            Rule::Move { rule: RuleName { pool: PoolName { pool }, rule }, place } => {
                let place = place.place().expect("one of them is required");
                Edit::RuleMove(RuleMove { pool, rule, place })
            }
            Rule::Remove { rule: RuleName { pool: PoolName { pool }, rule }, missing: Missing { missing_ok } } => {
                Edit::RuleRemove(RuleRemove { pool, rule, missing_ok })
            }
        })
    }
}

impl Placing {
    fn place(self) -> Option<Place> {
        let Placing { first, last, before, behind } = self;
        let first = first.then_some(Place::First);
        first.or(last.then_some(Place::Last)).or(before.map(Place::Before)).or(behind.map(Place::Behind))
    }
}

impl Header {
    pub fn edit(self) -> Edit {
        match self {
            Header::Set(value) => Edit::HeaderSet(value.edit()),
            Header::Add(value) => Edit::HeaderAdd(value.edit()),
            Header::Remove(name) => Edit::HeaderRemove(name.edit()),
            Header::Clear(name) => Edit::HeaderClear(name.edit()),
        }
    }
}

impl HeaderValue {
    fn edit(self) -> HeaderSet {
        let HeaderValue { rule: RuleName { pool: PoolName { pool }, rule }, name, value, response } = self;
        HeaderSet { pool, rule, head: head(response), name, value }
    }
}

impl HeaderName {
    fn edit(self) -> HeaderOf {
        let HeaderName { rule: RuleName { pool: PoolName { pool }, rule }, name, response } = self;
        HeaderOf { pool, rule, head: head(response), name }
    }
}

fn head(response: bool) -> Head {
    if response { Head::Response } else { Head::Request }
}

impl PatchFile {
    /// With a condition or as a dry run it is a transaction, which has both.
    pub fn order(self) -> Result<Order, InputError> {
        let PatchFile { path, if_generation, dry_run } = self;
        let edit = Edit::Patch(patch(&document::read(&path)?)?);
        Ok(match (if_generation, dry_run) {
            (None, false) => Order::Edit(edit),
            _ => Order::Transaction(Transaction { orders: vec![edit], if_generation, dry_run }),
        })
    }
}

fn patch(file: &api::order::Document) -> Result<Patch, InputError> {
    let no_patch = |error| InputError::no_patch(file.name.clone().unwrap_or_default(), error);
    // Read as what it begins as, so that a mistake in an operation has its line.
    if file.document.trim_start().starts_with('[') {
        serde_json::from_str(&file.document).map(Patch::Steps).map_err(no_patch)
    } else {
        let merge = serde_json::from_str(&file.document).map(|fields| Patch::Merge(serde_json::Value::Object(fields)));
        merge.map_err(no_patch)
    }
}
